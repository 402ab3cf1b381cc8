//! The response of an upload, field by field (contract §8), and the list that follows it.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::{PDF, jpeg, quarters, sha256_hex};
use crate::support::{PNG, Response, START_MS, TestApp};

/// The time of everything created while the clock stands still.
const START: &str = "2027-01-15T08:00:00.000Z";

/// Removes and returns a string field that differs from run to run.
fn take(value: &mut Value, pointer: &str) -> String {
    let field = value.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}"));
    field.take().as_str().unwrap_or_else(|| panic!("{pointer} is not a string")).to_owned()
}

fn is_media_id(id: &str, ending: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    id.strip_suffix(ending)
        .and_then(|id| id.split_once('_'))
        .is_some_and(|(prefix, rest)| hex(prefix) && rest.len() == 32 && hex(rest))
}

#[tokio::test]
async fn an_image_is_described_in_full() {
    let app = TestApp::start().await;
    let photo = jpeg(&quarters(90, 60));
    let response = app.upload(Uuid::new_v4(), "My photo.jpeg", "image/jpeg", &photo).await;
    assert_eq!(response.header("content-type"), "application/json");
    assert!(!response.header("x-wix-request-id").is_empty());
    let mut descriptor = response.ok();
    let id = take(&mut descriptor, "/file/id");
    assert!(is_media_id(&id, "~mv2.jpg"), "{id}");
    let url = take(&mut descriptor, "/file/url");
    assert!(url.starts_with(&format!("{}/media/{id}?token=", app.base)), "{url}");
    for pointer in ["/file/thumbnailUrl", "/file/media/image/image/url"] {
        assert_eq!(take(&mut descriptor, pointer), url);
    }
    assert_eq!(take(&mut descriptor, "/file/media/image/image/id"), id);
    let size = photo.len().to_string();
    assert_eq!(
        descriptor,
        json!({ "file": {
            "id": null,
            "displayName": "My photo.jpeg",
            "url": null,
            "parentFolderId": "media-root",
            "hash": sha256_hex(&photo),
            "sizeInBytes": size,
            "private": true,
            "mediaType": "IMAGE",
            "media": { "image": {
                "image": {
                    "id": null, "url": null, "height": 60, "width": 90,
                    "filename": "My photo.jpeg", "sizeInBytes": size,
                },
                "faces": [],
            } },
            "operationStatus": "READY",
            "labels": [],
            "createdDate": START,
            "updatedDate": START,
            "siteId": app.site.to_string(),
            "thumbnailUrl": null,
        } })
    );
    assert_eq!(app.open(&url).await.body, photo, "the link opens at once");
}

#[tokio::test]
async fn a_document_is_described_in_full() {
    let app = TestApp::start().await;
    let mut descriptor = app.upload(Uuid::new_v4(), "cv.pdf", "application/pdf", PDF).await.ok();
    let id = take(&mut descriptor, "/file/id");
    assert!(is_media_id(&id, ".pdf") && !id.contains('~'), "{id}");
    let url = take(&mut descriptor, "/file/url");
    assert!(url.starts_with(&format!("{}/ugd/{id}?token=", app.base)), "{url}");
    assert_eq!(take(&mut descriptor, "/file/media/document/url"), url);
    assert_eq!(take(&mut descriptor, "/file/media/document/id"), id);
    let size = PDF.len().to_string();
    assert_eq!(
        descriptor,
        json!({ "file": {
            "id": null,
            "displayName": "cv.pdf",
            "url": null,
            "parentFolderId": "media-root",
            "hash": sha256_hex(PDF),
            "sizeInBytes": size,
            "private": true,
            "mediaType": "DOCUMENT",
            "media": { "document": {
                "id": null, "url": null, "filename": "cv.pdf", "sizeInBytes": size,
            } },
            "operationStatus": "READY",
            "labels": [],
            "createdDate": START,
            "updatedDate": START,
            "siteId": app.site.to_string(),
        } })
    );
}

#[tokio::test]
async fn the_list_matches_the_response_of_the_upload() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let image = app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    let document = app.upload(contact, "cv.pdf", "application/pdf", PDF).await.ok();
    let list = app.list(contact).await.ok();
    let [listed_image, listed_document] = [0, 1].map(|index| &list["attachments"][index]);
    assert_eq!(listed_image["image"]["id"], image["file"]["id"]);
    assert_eq!(listed_image["image"]["url"], image["file"]["url"]);
    assert_eq!(listed_image["image"]["width"], 1);
    assert_eq!(listed_image["fileName"], image["file"]["displayName"]);
    assert_eq!(listed_document["document"]["id"], document["file"]["id"]);
    assert_eq!(listed_document["document"]["url"], document["file"]["url"]);
    assert!(
        listed_document.get("previewImage").is_none() && listed_document.get("image").is_none()
    );
}

#[tokio::test]
async fn attachments_are_listed_in_order_of_upload_completion() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let mut urls = Vec::new();
    for number in 0..10 {
        urls.push(app.upload_url(contact, &format!("{number}.png"), "image/png").await);
    }
    // The clock stands still, so only the order of completion can distinguish them.
    for url in urls.iter().rev() {
        app.put(url, PNG).await.ok();
    }
    let list = app.list(contact).await.ok();
    let listed = list["attachments"].as_array().unwrap();
    let names: Vec<_> = listed.iter().map(|one| one["fileName"].as_str().unwrap()).collect();
    let expected: Vec<_> = (0..10).rev().map(|number| format!("{number}.png")).collect();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn the_time_of_an_upload_is_its_arrival_not_the_creation_of_its_url() {
    let app = TestApp::start().await;
    let url = app.upload_url(Uuid::new_v4(), "dot.png", "image/png").await;
    app.advance_seconds(3_600);
    let file = app.put(&url, PNG).await.ok();
    assert_eq!(file["file"]["createdDate"], "2027-01-15T09:00:00.000Z");
}

#[tokio::test]
async fn upload_urls_and_links_survive_a_restart() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "dot.png", "image/png").await;
    let first = app.upload(contact, "cv.pdf", "application/pdf", PDF).await.ok();
    let old_base = app.base.clone();
    let app = app.restart_with(&[]).await;
    // Only the port differs, and nothing else in the URLs matters.
    let moved = |url: &str| url.replacen(&old_base, &app.base, 1);
    app.put(&moved(&url), PNG).await.ok();
    let link = moved(first["file"]["url"].as_str().unwrap());
    assert_eq!(app.open(&link).await.body, PDF);
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 2);
}

#[tokio::test]
async fn an_upload_url_expires() {
    let app = TestApp::start_with(&[("upload_url_life_seconds", "600")]).await;
    let contact = Uuid::new_v4();
    let (in_time, late) = (
        app.upload_url(contact, "a.png", "image/png").await,
        app.upload_url(contact, "b.png", "image/png").await,
    );
    app.advance_seconds(599);
    app.put(&in_time, PNG).await.ok();
    app.advance_seconds(1);
    let rejected = app.put(&late, PNG).await;
    assert_eq!(rejected.rejection(), (403, "INVALID_UPLOAD_TOKEN".to_owned()));
    assert!(rejected.json()["message"].as_str().unwrap().contains("expired"));
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
}

#[tokio::test]
async fn the_upload_url_of_another_server_is_rejected() {
    let (one, other) = (TestApp::start().await, TestApp::start().await);
    let url = other.upload_url(Uuid::new_v4(), "dot.png", "image/png").await;
    let foreign = format!("{}{}", one.base, other.path_of(&url));
    assert_eq!(one.put(&foreign, PNG).await.rejection(), (403, "INVALID_UPLOAD_TOKEN".to_owned()));
    one.wait_until_store_is_empty().await;
    other.put(&url, PNG).await.ok();
}

#[tokio::test]
async fn links_start_with_the_public_url() {
    let app = TestApp::start_with(&[("public_url", "https://files.example.com/base")]).await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "dot.png", "image/png").await;
    let path = url.strip_prefix("https://files.example.com/base").expect("the public URL");
    let response =
        Response::to(app.client().put(format!("{}{path}", app.base)).body(PNG)).await.ok();
    let link = response["file"]["url"].as_str().unwrap();
    assert!(link.starts_with("https://files.example.com/base/media/"), "{link}");
    assert_eq!(START_MS, 1_800_000_000_000, "START is this instant");
}
