//! Links on a second host, which serves only files (S12).

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::files::{PDF, jpeg, quarters, transformed};
use crate::support::raw::RawResponse;
use crate::support::receiver::{OK, Receiver};
use crate::support::{PNG, TestApp};

const MEDIA: (&str, &str) = ("media_url", "https://files.example.net/");

async fn fetch(app: &TestApp, host: &str, target: &str) -> RawResponse {
    let key = &app.key;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {key}\r\nConnection: close\r\n\r\n"
    );
    app.raw(request).await
}

#[tokio::test]
async fn media_links_start_with_the_media_url_and_upload_urls_do_not() {
    let app = TestApp::start_with(&[MEDIA]).await;
    let contact = Uuid::new_v4();
    let upload = app.upload_url(contact, "dot.png", "image/png").await;
    assert!(upload.starts_with(&app.base), "{upload}");
    let file = app.put(&upload, PNG).await.ok();
    app.upload(contact, "a.pdf", "application/pdf", PDF).await.ok();
    let list = app.list(contact).await.ok();
    let (image, document) = (&list["attachments"][0], &list["attachments"][1]);
    for link in [
        &file["file"]["url"],
        &file["file"]["thumbnailUrl"],
        &image["image"]["url"],
        &image["previewImage"]["url"],
        &document["document"]["url"],
    ] {
        assert!(link.as_str().unwrap().starts_with(MEDIA.1), "{link}");
    }
}

#[tokio::test]
async fn s12_the_media_host_serves_only_files() {
    let app = TestApp::start_with(&[MEDIA]).await;
    let contact = Uuid::new_v4();
    app.upload(contact, "photo.jpg", "image/jpeg", &jpeg(&quarters(40, 20))).await.ok();
    let attachment = app.list(contact).await.ok()["attachments"][0].clone();
    let path = |link: &serde_json::Value| {
        link.as_str().unwrap().replacen("https://files.example.net", "", 1)
    };
    let (original, preview) =
        (path(&attachment["image"]["url"]), path(&attachment["previewImage"]["url"]));
    let list = format!("/contacts/v4/attachments/{contact}");
    let stable = format!("/dossier/v1/media/{}/{}", app.site, attachment["id"].as_str().unwrap());
    for host in ["files.example.net", "FILES.example.net:443", "files.example.net."] {
        for target in
            [&original, &preview, &transformed(&original, "fit/w_64,h_64/a"), "/dossier/v1/health"]
        {
            let response = fetch(&app, host, target).await;
            assert_eq!(response.status, 200, "{host} {target}");
            assert!(!response.head.to_lowercase().contains("set-cookie"));
        }
        for target in
            [&list, &format!("/_api{list}"), &stable, "/upload/x", "/upload/tus", "/", "/metrics"]
        {
            assert_eq!(fetch(&app, host, target).await.status, 404, "{host} {target}");
        }
    }
    // The main host serves everything, older links too.
    for host in ["127.0.0.1", "api.example.net"] {
        for target in [&original, &list] {
            assert_eq!(fetch(&app, host, target).await.status, 200, "{host} {target}");
        }
    }
    let put = app.anonymous(Method::PUT, "/upload/x").header("host", "files.example.net");
    assert_eq!(crate::support::Response::to(put.json(&json!({}))).await.status, 404);
}

#[tokio::test]
async fn events_contain_working_links_on_the_media_host() {
    let (app, receiver) =
        (TestApp::start_with_webhooks_and(&[MEDIA]).await, Receiver::start(OK).await);
    app.subscribe(&receiver).await;
    let picture = jpeg(&quarters(40, 20));
    app.upload(Uuid::new_v4(), "photo.jpg", "image/jpeg", &picture).await.ok();
    app.upload(Uuid::new_v4(), "a.pdf", "application/pdf", PDF).await.ok();
    let (mut original, mut others) = (Vec::new(), 0);
    for delivery in receiver.wait_for_deliveries(2).await {
        let entity = &delivery.event["createdEvent"]["entity"];
        for part in ["image", "document", "previewImage", "documentPreview"] {
            let Some(url) = entity[part]["url"].as_str() else { continue };
            let target = url.strip_prefix("https://files.example.net").unwrap();
            assert!(target.starts_with('/'), "{url}");
            let response = fetch(&app, "files.example.net", target).await;
            assert_eq!(response.status, 200, "{url}");
            match part {
                "image" | "document" => original.push(response.body),
                _ => others += 1,
            }
        }
    }
    original.sort();
    assert_eq!((original, others), (vec![PDF.to_vec(), picture], 1));
}

#[tokio::test]
async fn a_shared_host_serves_everything() {
    let url = "http://files.example.net";
    let app = TestApp::start_with(&[("media_url", url), ("public_url", url)]).await;
    let list = format!("/contacts/v4/attachments/{}", Uuid::new_v4());
    assert_eq!(fetch(&app, "files.example.net", &list).await.status, 200);
}

#[tokio::test]
async fn a_new_media_url_changes_the_etag_of_lists() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "a.pdf", "application/pdf", PDF).await.ok();
    let before = app.list(contact).await.header("etag").to_owned();
    let app = app.restart_with(&[MEDIA]).await;
    let path = format!("/contacts/v4/attachments/{contact}");
    let again = app.request(Method::GET, &path).header("if-none-match", &before);
    let again = crate::support::Response::to(again).await;
    assert_eq!(again.status, 200);
    assert!(again.ok()["attachments"][0]["document"]["url"].as_str().unwrap().starts_with(MEDIA.1));
}
