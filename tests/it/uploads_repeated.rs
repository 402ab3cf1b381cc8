//! An upload URL creates one attachment, however often and however concurrently it is used (R17,
//! S18), and whether or not the client waits for the response.

use futures_util::future::join_all;
use serde_json::Value;
use uuid::Uuid;

use crate::support::files::{PDF, csv, eventually};
use crate::support::raw::Raw;
use crate::support::{PNG, Response, TestApp};

async fn total(app: &TestApp, contact: Uuid) -> Value {
    app.list(contact).await.ok()["metadata"]["total"].clone()
}

/// Counts blobs that are not previews.
fn originals(app: &TestApp) -> usize {
    let is_original = |path: &&std::path::PathBuf| path.extension().is_none();
    app.stored_files().iter().filter(is_original).count()
}

#[tokio::test]
async fn the_same_bytes_again_get_the_same_response_and_create_nothing() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "dot.png", "image/png").await;
    let first = app.put(&url, PNG).await.ok();
    for _ in 0..100 {
        assert_eq!(app.put(&url, PNG).await.ok(), first);
    }
    assert_eq!(total(&app, contact).await, 1);
    eventually("one blob is stored", async || originals(&app) == 1).await;
}

#[tokio::test]
async fn a_repeat_by_form_gets_the_first_response_too() {
    let app = TestApp::start().await;
    let url = app.upload_url(Uuid::new_v4(), "dot.png", "image/png").await;
    let first = app.put(&url, PNG).await.ok();
    let part = reqwest::multipart::Part::bytes(PNG);
    let form = reqwest::multipart::Form::new().part("file", part);
    assert_eq!(Response::to(app.client().post(&url).multipart(form)).await.ok(), first);
}

#[tokio::test]
async fn other_bytes_are_a_conflict_and_leave_the_first_unchanged() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    let first = app.put(&url, b"a,b\n").await.ok();
    for other in [&b"a,c\n"[..], b"a,b\na", b"a,b", b"", b"\0\0"] {
        let rejected = app.put(&url, other).await;
        assert_eq!(rejected.rejection(), (409, "ALREADY_EXISTS".to_owned()), "{other:?}");
    }
    assert_eq!(total(&app, contact).await, 1);
    assert_eq!(app.open(first["file"]["url"].as_str().unwrap()).await.body, b"a,b\n");
    eventually("one blob is stored", async || originals(&app) == 1).await;
}

#[tokio::test]
async fn after_its_attachment_was_deleted_the_url_stays_used() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "dot.png", "image/png").await;
    app.put(&url, PNG).await.ok();
    let list = app.list(contact).await.ok();
    let id = list["attachments"][0]["id"].as_str().unwrap();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    assert_eq!(app.put(&url, PNG).await.rejection(), (403, "INVALID_UPLOAD_TOKEN".to_owned()));
    assert_eq!(total(&app, contact).await, 0);
}

#[tokio::test]
async fn fifty_parallel_uploads_of_different_bytes_have_one_winner() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    let bodies: Vec<_> = (0..50).map(|n| format!("number,{n}\n").repeat(2_000)).collect();
    let responses = join_all(bodies.iter().map(|body| app.put(&url, body.as_bytes()))).await;
    let won: Vec<_> = (0..50).filter(|n| responses[*n].status == 200).collect();
    assert_eq!(won.len(), 1, "{won:?}");
    for (number, response) in responses.iter().enumerate().filter(|(number, _)| *number != won[0]) {
        assert_eq!(response.rejection(), (409, "ALREADY_EXISTS".to_owned()), "{number}");
    }
    let kept = responses[won[0]].json();
    let opened = app.open(kept["file"]["url"].as_str().unwrap()).await;
    assert_eq!(opened.body, bodies[won[0]].as_bytes());
    assert_eq!(total(&app, contact).await, 1);
    eventually("one blob is stored", async || app.stored_files().len() == 1).await;
}

#[tokio::test]
async fn fifty_parallel_uploads_of_the_same_bytes_all_get_the_same_response() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    let body = csv(100_000);
    let responses = join_all((0..50).map(|_| app.put(&url, &body))).await;
    let first = responses[0].ok();
    for response in &responses {
        assert_eq!(response.ok(), first);
    }
    assert_eq!(total(&app, contact).await, 1);
    eventually("one blob is stored", async || app.stored_files().len() == 1).await;
}

#[tokio::test]
async fn parallel_uploads_to_one_contact_are_all_stored_and_counted() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let upload = async |number: usize| {
        let body = format!("number,{number}\n");
        app.upload(contact, &format!("{number}.csv"), "text/csv", body.as_bytes()).await.ok()
    };
    join_all((0..40).map(upload)).await;
    let list = app.list(contact).await.ok();
    let listed = list["attachments"].as_array().unwrap();
    let mut names: Vec<_> = listed.iter().map(|item| item["fileName"].as_str().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!((names.len(), &list["metadata"]["total"]), (40, &Value::from(40)));
}

#[tokio::test]
async fn a_client_that_disconnects_early_leaves_a_whole_attachment_or_nothing() {
    let app = TestApp::start().await;
    let mut contacts = Vec::new();
    for round in 0..60 {
        let contact = Uuid::new_v4();
        contacts.push(contact);
        let url = app.upload_url(contact, "cv.pdf", "application/pdf").await;
        let (path, length) = (app.path_of(&url), PDF.len());
        let mut raw = Raw::connect(&app).await;
        let head = format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        raw.send([head.as_bytes(), PDF].concat()).await;
        // Some disconnect at once, others while the bytes are being synced.
        for _ in 0..round * 4 {
            tokio::task::yield_now().await;
        }
        raw.finish_sending().await;
        let response = raw.read_response().await;
        assert!(matches!(response.status, 0 | 200 | 408), "{response:?}");
        if response.status == 200 {
            assert_eq!(total(&app, contact).await, 1);
        }
    }
    eventually("no upload is in progress", async || {
        std::fs::read_dir(app.data().join("staging")).unwrap().count() == 0
    })
    .await;
    let mut attachments = 0;
    for contact in contacts {
        attachments += total(&app, contact).await.as_u64().unwrap();
    }
    assert_eq!(attachments, originals(&app) as u64, "every file belongs to an attachment");
}
