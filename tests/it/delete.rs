//! Deletes: unreachable at once, bytes removed after the grace period.

use dossier::actions::sweep::sweep;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{PNG, Response, TestApp};

/// The default of `removal_grace_seconds`.
const GRACE_S: i64 = 60;

fn not_found() -> (u16, String) {
    (404, "NOT_FOUND".to_owned())
}

/// The first attachment of a contact, and its path.
async fn first_attachment(app: &TestApp, contact: Uuid) -> (Value, String) {
    let list = app.list(contact).await.ok();
    let attachment = list["attachments"][0].clone();
    let path = format!("/contacts/v4/attachments/{contact}/{}", attachment["id"].as_str().unwrap());
    (attachment, path)
}

#[tokio::test]
async fn a_delete_returns_an_empty_object_once() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    let (_, path) = first_attachment(&app, contact).await;
    // The SDK repeats both ids in the query string.
    let id = path.rsplit_once('/').unwrap().1;
    let response = app.delete(&format!("{path}?contactId={contact}&attachmentId={id}")).await;
    assert_eq!((response.ok(), response.header("content-type")), (json!({}), "application/json"));
    assert_eq!(app.delete(&path).await.rejection(), not_found());
}

#[tokio::test]
async fn a_delete_with_contradicting_ids_changes_nothing() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    let (_, path) = first_attachment(&app, contact).await;
    let other = Uuid::new_v4();
    let response = app.delete(&format!("{path}?contactId={other}&attachmentId={other}")).await;
    let mismatch = |field: &str| (field.to_owned(), "OTHER".to_owned());
    assert_eq!(response.violations(), [mismatch("contactId"), mismatch("attachmentId")]);
    app.get(&path).await.ok();
}

#[tokio::test]
async fn a_deleted_attachment_is_unreachable_at_once() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    app.upload(contact, "a.csv", "text/csv", b"a,b\n").await.ok();
    let (attachment, path) = first_attachment(&app, contact).await;
    let url = |field: &str| attachment[field]["url"].as_str().unwrap().to_owned();
    let (image, preview) = (url("image"), url("previewImage"));
    for link in [&image, &preview] {
        assert_eq!(app.open(link).await.status, StatusCode::OK);
    }
    app.delete(&path).await.ok();
    assert_eq!(app.get(&path).await.rejection(), not_found());
    for link in [&image, &preview] {
        assert_eq!(app.open(link).await.rejection(), not_found());
    }
    let list = app.list(contact).await.ok();
    assert_eq!(
        list["metadata"],
        json!({ "count": 1, "offset": 0, "total": 1, "tooManyToCount": false })
    );
    assert_eq!(list["attachments"][0]["fileName"], "a.csv");
}

#[tokio::test]
async fn the_upload_url_of_a_deleted_attachment_stays_used() {
    let mut app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "dot.png", "image/png").await;
    app.put(&url, PNG).await.ok();
    let (_, path) = first_attachment(&app, contact).await;
    app.delete(&path).await.ok();
    let token = url.rsplit_once('/').unwrap().1.to_owned();
    for restarted in [false, true] {
        if restarted {
            app = app.restart_with(&[]).await;
        }
        app.advance_seconds(2 * GRACE_S);
        sweep(app.app()).await.unwrap();
        let url = format!("{}/upload/{token}", app.base);
        assert_eq!(app.put(&url, PNG).await.rejection(), (403, "INVALID_UPLOAD_TOKEN".to_owned()));
        assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
    }
}

#[tokio::test]
async fn bytes_are_removed_after_the_grace_period_and_no_others() {
    let app = TestApp::start().await;
    let (contact, other) = (Uuid::new_v4(), Uuid::new_v4());
    app.upload(other, "a.csv", "text/csv", b"a,b\n").await.ok();
    let kept = app.blob_files();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    let (attachment, path) = first_attachment(&app, contact).await;
    // Waits for the preview, so that its file exists before the delete.
    let preview = attachment["previewImage"]["url"].as_str().unwrap();
    assert_eq!(app.open(preview).await.status, StatusCode::OK);
    app.wait_until_staging_is_empty().await;
    let all = app.blob_files();
    assert_eq!((kept.len(), all.len()), (1, 3), "{all:?}");
    app.delete(&path).await.ok();
    app.advance_seconds(GRACE_S - 1);
    sweep(app.app()).await.unwrap();
    assert_eq!(app.blob_files(), all);
    app.advance_seconds(1);
    sweep(app.app()).await.unwrap();
    assert_eq!(app.blob_files(), kept);
    assert_eq!(app.list(other).await.ok()["metadata"]["total"], 1);
}

#[tokio::test]
async fn a_running_download_completes_despite_a_delete() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    // More than socket buffers hold, so that the download is still in flight during the delete.
    let bytes: Vec<u8> =
        (0..2_000_000_u32).flat_map(|line| format!("{line:07},x\n").into_bytes()).collect();
    app.upload(contact, "long.csv", "text/csv", &bytes).await.ok();
    let (attachment, path) = first_attachment(&app, contact).await;
    let url = attachment["document"]["url"].as_str().unwrap();
    let mut download = app.client().get(url).send().await.unwrap();
    let mut read = download.chunk().await.unwrap().unwrap().to_vec();
    app.delete(&path).await.ok();
    app.advance_seconds(GRACE_S);
    sweep(app.app()).await.unwrap();
    assert_eq!(app.blob_files(), Vec::<std::path::PathBuf>::new());
    assert_eq!(app.open(url).await.rejection(), not_found());
    while let Some(chunk) = download.chunk().await.unwrap() {
        read.extend_from_slice(&chunk);
    }
    assert!(read == bytes, "{} bytes came, {} were sent", read.len(), bytes.len());
}

#[tokio::test]
async fn one_of_many_concurrent_deletes_wins() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    app.upload(contact, "a.csv", "text/csv", b"a,b\n").await.ok();
    let (_, path) = first_attachment(&app, contact).await;
    let deletes = (0..20).map(|_| app.delete(&path));
    let responses: Vec<Response> = futures_util::future::join_all(deletes).await;
    let count = |status: u16| responses.iter().filter(|a| a.status.as_u16() == status).count();
    assert_eq!((count(200), count(404)), (1, 19));
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
}
