//! Links on a second host, which serves files and nothing else (S12).

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::files::{PDF, jpeg, quarters, transformed};
use crate::support::raw::RawAnswer;
use crate::support::receiver::{OK, Receiver};
use crate::support::{PNG, TestApp};

const MEDIA: (&str, &str) = ("media_url", "https://files.example.net/");

async fn ask(app: &TestApp, host: &str, target: &str) -> RawAnswer {
    let key = &app.key;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {key}\r\nConnection: close\r\n\r\n"
    );
    app.raw(request).await
}

#[tokio::test]
async fn media_links_begin_with_the_media_url_and_upload_urls_do_not() {
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
async fn s12_the_media_host_answers_for_files_only() {
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
            let answer = ask(&app, host, target).await;
            assert_eq!(answer.status, 200, "{host} {target}");
            assert!(!answer.head.to_lowercase().contains("set-cookie"));
        }
        for target in
            [&list, &format!("/_api{list}"), &stable, "/upload/x", "/upload/tus", "/", "/metrics"]
        {
            assert_eq!(ask(&app, host, target).await.status, 404, "{host} {target}");
        }
    }
    // The other host answers everything, older links too.
    for host in ["127.0.0.1", "api.example.net"] {
        for target in [&original, &list] {
            assert_eq!(ask(&app, host, target).await.status, 200, "{host} {target}");
        }
    }
    let put = app.anonymous(Method::PUT, "/upload/x").header("host", "files.example.net");
    assert_eq!(crate::support::Answer::of(put.json(&json!({}))).await.status, 404);
}

#[tokio::test]
async fn events_show_links_of_the_media_host_and_they_open() {
    let (app, receiver) = (TestApp::telling_with(&[MEDIA]).await, Receiver::start(OK).await);
    app.subscribe(&receiver).await;
    let picture = jpeg(&quarters(40, 20));
    app.upload(Uuid::new_v4(), "photo.jpg", "image/jpeg", &picture).await.ok();
    app.upload(Uuid::new_v4(), "a.pdf", "application/pdf", PDF).await.ok();
    let (mut original, mut others) = (Vec::new(), 0);
    for told in receiver.told_times(2).await {
        let entity = &told.event["createdEvent"]["entity"];
        for part in ["image", "document", "previewImage", "documentPreview"] {
            let Some(url) = entity[part]["url"].as_str() else { continue };
            let target = url.strip_prefix("https://files.example.net").unwrap();
            assert!(target.starts_with('/'), "{url}");
            let answer = ask(&app, "files.example.net", target).await;
            assert_eq!(answer.status, 200, "{url}");
            match part {
                "image" | "document" => original.push(answer.body),
                _ => others += 1,
            }
        }
    }
    original.sort();
    assert_eq!((original, others), (vec![PDF.to_vec(), picture], 1));
}

#[tokio::test]
async fn one_host_for_both_answers_everything() {
    let url = "http://files.example.net";
    let app = TestApp::start_with(&[("media_url", url), ("public_url", url)]).await;
    let list = format!("/contacts/v4/attachments/{}", Uuid::new_v4());
    assert_eq!(ask(&app, "files.example.net", &list).await.status, 200);
}

#[tokio::test]
async fn a_new_media_url_makes_lists_new() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "a.pdf", "application/pdf", PDF).await.ok();
    let before = app.list(contact).await.header("etag").to_owned();
    let app = app.restart_with(&[MEDIA]).await;
    let path = format!("/contacts/v4/attachments/{contact}");
    let again = app.request(Method::GET, &path).header("if-none-match", &before);
    let again = crate::support::Answer::of(again).await;
    assert_eq!(again.status, 200);
    assert!(again.ok()["attachments"][0]["document"]["url"].as_str().unwrap().starts_with(MEDIA.1));
}
