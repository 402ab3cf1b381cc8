//! Who can open a link and until when (contract §10, S19), and how a delete affects it (R6).

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::support::files::{PDF, csv, eventually};
use crate::support::{PNG, START_MS, TestApp};

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

async fn link_of(app: &TestApp, name: &str, mime_type: &str, bytes: &[u8]) -> String {
    let file = app.upload(Uuid::new_v4(), name, mime_type, bytes).await.ok();
    text(&file["file"]["url"])
}

fn invalid_link() -> (u16, String) {
    (403, "INVALID_LINK".to_owned())
}

#[tokio::test]
async fn a_link_expires_as_listed_and_is_not_cached_longer() {
    let app = TestApp::start_with(&[("media_link_life_seconds", "1000")]).await;
    let contact = Uuid::new_v4();
    // Somewhere within a window of 500 seconds.
    app.advance_seconds(123);
    app.upload(contact, "cv.pdf", "application/pdf", PDF).await.ok();
    let document = app.list(contact).await.ok()["attachments"][0]["document"].clone();
    let link = text(&document["url"]);
    let ends = OffsetDateTime::parse(&text(&document["urlExpirationDate"]), &Rfc3339).unwrap();
    let left = ends.unix_timestamp() - (START_MS / 1_000 + 123);
    assert_eq!(left, 877);
    let max_age = |left: i64| format!("private, max-age={left}, immutable");
    assert_eq!(app.open(&link).await.header("cache-control"), max_age(877));
    app.advance_seconds(left - 1);
    let last = app.open(&link).await;
    assert_eq!((last.status.as_u16(), last.header("cache-control")), (200, &*max_age(1)));
    app.advance_seconds(1);
    let expired = app.open(&link).await;
    assert_eq!(expired.rejection(), invalid_link());
    assert!(text(&expired.json()["message"]).contains("expired"));
    let again = app.list(contact).await.ok()["attachments"][0]["document"]["url"].clone();
    assert_eq!(app.open(&text(&again)).await.status, 200);
}

#[tokio::test]
async fn within_a_window_lists_return_the_same_link() {
    let app = TestApp::start_with(&[("media_link_life_seconds", "1000")]).await;
    let contact = Uuid::new_v4();
    app.upload(contact, "cv.pdf", "application/pdf", PDF).await.ok();
    let link = async || text(&app.list(contact).await.ok()["attachments"][0]["document"]["url"]);
    let first = link().await;
    app.advance_seconds(499);
    assert_eq!(link().await, first);
    app.advance_seconds(1);
    let second = link().await;
    assert_ne!(second, first);
    assert_eq!(app.open(&first).await.status, 200, "the older link has half its lifetime left");
}

#[tokio::test]
async fn changing_any_character_of_a_token_invalidates_it() {
    let app = TestApp::start().await;
    let link = link_of(&app, "cv.pdf", "application/pdf", PDF).await;
    let (path, token) = link.split_once("?token=").unwrap();
    for (at, character) in token.char_indices() {
        for other in ['A', 'B', '-'] {
            if other != character {
                let forged = format!("{}{other}{}", &token[..at], &token[at + 1..]);
                let response = app.open(&format!("{path}?token={forged}")).await;
                assert_eq!(response.rejection(), invalid_link(), "{forged}");
            }
        }
        let cut = app.open(&format!("{path}?token={}", &token[..at])).await;
        assert_eq!(cut.rejection(), invalid_link(), "{at}");
    }
    for query in [
        String::new(),
        "?token".to_owned(),
        format!("?Token={token}"),
        format!("?token={token}A"),
        format!("?token={token}%20"),
        format!("?token={token}&token={token}"),
        format!("?token={token}&token=x"),
        format!("?token={token}&{}token=x", "a=1&".repeat(100)),
    ] {
        assert_eq!(
            app.open(&format!("{path}{query}")).await.rejection(),
            invalid_link(),
            "{query}"
        );
    }
    assert_eq!(app.open(&format!("{path}?a=1&token={token}&b")).await.status, 200);
}

#[tokio::test]
async fn a_token_opens_no_other_attachment() {
    let app = TestApp::start().await;
    let one = link_of(&app, "one.pdf", "application/pdf", PDF).await;
    let other = link_of(&app, "other.pdf", "application/pdf", PDF).await;
    let (path, _) = one.split_once('?').unwrap();
    let (_, token) = other.split_once('?').unwrap();
    assert_eq!(app.open(&format!("{path}?{token}")).await.rejection(), invalid_link());
    let url = app.upload_url(Uuid::new_v4(), "a.pdf", "application/pdf").await;
    let upload_token = url.rsplit_once('/').unwrap().1;
    assert_eq!(app.open(&format!("{path}?token={upload_token}")).await.rejection(), invalid_link());
}

#[tokio::test]
async fn the_media_id_must_be_exactly_right() {
    let app = TestApp::start().await;
    let link = link_of(&app, "dot.png", "image/png", PNG).await;
    for (from, to) in [
        (".png", ".jpg"),
        (".png", ".PNG"),
        (".png", ""),
        (".png", ".png.png"),
        ("~mv2", ""),
        ("~mv2", "~mv1"),
        ("/media/", "/media//"),
        ("/media/", "/media/./"),
        ("/media/", "/media/x/../"),
        ("?token", "/?token"),
        ("_", "%2F"),
        ("_", "__"),
    ] {
        let url = link.replacen(from, to, 1);
        // The client would normalize dot segments.
        let path = app.path_of(&url);
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let response = app.raw(request).await;
        assert_eq!(response.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_deleted_attachment_is_unreachable_at_once() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    let attachment = app.list(contact).await.ok()["attachments"][0].clone();
    let links = [&attachment["image"]["url"], &attachment["previewImage"]["url"]].map(text);
    for link in &links {
        assert_eq!(app.open(link).await.status, 200);
    }
    let id = text(&attachment["id"]);
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    for link in &links {
        assert_eq!(app.open(link).await.rejection(), (404, "NOT_FOUND".to_owned()));
    }
    app.advance_seconds(3_600);
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    app.wait_until_store_is_empty().await;
}

#[tokio::test]
async fn a_delete_during_a_download_never_mixes_bytes() {
    let app = TestApp::start_with(&[("removal_grace_seconds", "0")]).await;
    let file = csv(2 * 1024 * 1024);
    for round in 0..50 {
        let contact = Uuid::new_v4();
        app.upload(contact, "a.csv", "text/csv", &file).await.ok();
        let attachment = app.list(contact).await.ok()["attachments"][0].clone();
        let link = text(&attachment["document"]["url"]);
        let mut body = app.client().get(&link).send().await.unwrap().bytes_stream();
        let mut read = Vec::new();
        for _ in 0..round % 5 {
            read.extend_from_slice(&body.next().await.unwrap().unwrap());
        }
        let id = text(&attachment["id"]);
        app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
        app.advance_seconds(1);
        dossier::actions::sweep::sweep(app.app()).await.unwrap();
        // The bytes are removed and their disk space may be reused at once.
        let next = app.upload(contact, "b.csv", "text/csv", &vec![b'x'; file.len()]).await;
        assert_eq!(next.status, 200);
        let complete = loop {
            match body.next().await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(bytes)) => {
                    let bytes: Bytes = bytes;
                    read.extend_from_slice(&bytes);
                }
            }
        };
        assert!(file.starts_with(&read), "round {round}: foreign bytes");
        assert!(!complete || read.len() == file.len(), "round {round}: truncated but complete");
    }
    eventually("only the second files remain", async || app.stored_files().len() == 50).await;
}
