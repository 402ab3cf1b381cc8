//! Caching of lists by clients and by the server: `ETag`s, link windows, and the page cache, which
//! must never be noticeable.

use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{PNG, Response, TestApp};

/// Half of a link's default lifetime, which is the length of a window.
const WINDOW_S: i64 = 1_800;

async fn list_if_changed(app: &TestApp, path: &str, etag: &str) -> Response {
    Response::to(app.request(Method::GET, path).header("if-none-match", etag)).await
}

#[tokio::test]
async fn a_client_with_the_current_page_gets_304_until_it_changes() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let path = format!("/contacts/v4/attachments/{contact}");
    let mut etag = app.get(&path).await.header("etag").to_owned();
    for step in ["upload", "upload", "delete"] {
        let unchanged = list_if_changed(&app, &path, &etag).await;
        assert_eq!((unchanged.status, unchanged.body.len()), (StatusCode::NOT_MODIFIED, 0));
        assert_eq!(unchanged.header("etag"), etag);
        if step == "upload" {
            app.upload(contact, "dot.png", "image/png", PNG).await.ok();
        } else {
            let list = app.list(contact).await.ok();
            let id = list["attachments"][0]["id"].as_str().unwrap();
            app.delete(&format!("{path}/{id}")).await.ok();
        }
        let changed = list_if_changed(&app, &path, &etag).await;
        assert_eq!(changed.status, StatusCode::OK, "after {step}");
        etag = changed.header("etag").to_owned();
    }
}

#[tokio::test]
async fn etags_are_compared_as_http_requires() {
    let app = TestApp::start().await;
    let path = format!("/contacts/v4/attachments/{}", Uuid::new_v4());
    let etag = app.get(&path).await.header("etag").to_owned();
    for (given, status) in [
        (format!("\"other\", {etag}"), 304),
        (format!("W/{etag}"), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
        ("nonsense".to_owned(), 200),
    ] {
        assert_eq!(list_if_changed(&app, &path, &given).await.status.as_u16(), status, "{given}");
    }
}

#[tokio::test]
async fn different_pages_have_different_etags() {
    let app = TestApp::start().await;
    let (contact, other) = (Uuid::new_v4(), Uuid::new_v4());
    let peer = app.other_site().await;
    for contact in [contact, other] {
        app.upload(contact, "dot.png", "image/png", PNG).await.ok();
        app.upload_as(&peer, contact, "b.csv").await;
    }
    let path = format!("/contacts/v4/attachments/{contact}");
    let by_sdk = app.request(Method::GET, &path).header("x-wix-bi-gateway", "environment=js-sdk");
    // The last three share a URL and differ only in body or key.
    let by_body = |contact: Uuid| {
        app.request(Method::GET, "/contacts/v4/attachments")
            .json(&json!({ "contactId": contact.to_string() }))
    };
    let by_peer = app
        .request_as(&peer, Method::GET, "/contacts/v4/attachments")
        .json(&json!({ "contactId": contact.to_string() }));
    let requests = [
        app.request(Method::GET, &format!("{path}?paging.limit=1")),
        app.request(Method::GET, &format!("{path}?paging.limit=2")),
        app.request(Method::GET, &format!("{path}?paging.limit=1&paging.offset=1")),
        by_sdk,
        by_body(contact),
        by_body(other),
        by_peer,
    ];
    let mut tags = Vec::new();
    for request in requests {
        let response = Response::to(request).await;
        response.ok();
        tags.push(response.header("etag").to_owned());
    }
    let distinct: std::collections::HashSet<&String> = tags.iter().collect();
    assert_eq!(distinct.len(), tags.len(), "{tags:?}");
}

#[tokio::test]
async fn lists_must_not_be_stored_by_shared_caches() {
    let app = TestApp::start().await;
    let response = app.list(Uuid::new_v4()).await;
    assert_eq!(response.header("cache-control"), "private, no-cache");
}

#[tokio::test]
async fn links_repeat_within_a_window_and_change_after_it() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    let path = format!("/contacts/v4/attachments/{contact}");
    let first = app.get(&path).await;
    app.advance_seconds(WINDOW_S - 1);
    let same = app.get(&path).await;
    assert_eq!(same.body, first.body);
    app.advance_seconds(1);
    let later = list_if_changed(&app, &path, first.header("etag")).await;
    let (first, later) = (first.ok(), later.ok());
    for field in ["image", "previewImage"] {
        for part in ["url", "urlExpirationDate"] {
            let of = |list: &Value| list["attachments"][0][field][part].clone();
            assert_ne!(of(&first), of(&later), "{field}.{part}");
        }
    }
    // Links of the previous window stay valid until they expire.
    let old = first["attachments"][0]["image"]["url"].as_str().unwrap();
    assert_eq!(app.open(old).await.body, PNG);
}

#[tokio::test]
async fn the_expiration_date_is_when_the_link_ends() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    let list = app.list(contact).await.ok();
    let image = &list["attachments"][0]["image"];
    // The tests' clock starts at the beginning of a window.
    assert_eq!(image["urlExpirationDate"], "2027-01-15T09:00:00.000Z");
    let url = image["url"].as_str().unwrap();
    app.advance_seconds(2 * WINDOW_S - 1);
    assert_eq!(app.open(url).await.status, StatusCode::OK);
    app.advance_seconds(1);
    assert_eq!(app.open(url).await.rejection(), (403, "INVALID_LINK".to_owned()));
}

#[tokio::test]
async fn a_site_can_have_its_own_link_lifetime() {
    let app = TestApp::start().await;
    let (hasty, contact) = (app.site_with_link_life(Some(60)).await, Uuid::new_v4());
    app.upload(contact, "a.csv", "text/csv", b"a,b\n").await.ok();
    app.upload_as(&hasty, contact, "a.csv").await;
    let mut links = Vec::new();
    for (who, end) in [(&app.first(), "09:00:00"), (&hasty, "08:01:00")] {
        let path = format!("/contacts/v4/attachments/{contact}");
        let list = Response::to(app.request_as(who, Method::GET, &path)).await.ok();
        let document = &list["attachments"][0]["document"];
        assert_eq!(document["urlExpirationDate"], format!("2027-01-15T{end}.000Z"));
        links.push(document["url"].as_str().unwrap().to_owned());
    }
    app.advance_seconds(60);
    assert_eq!(app.open(&links[0]).await.status, StatusCode::OK);
    assert_eq!(app.open(&links[1]).await.rejection(), (403, "INVALID_LINK".to_owned()));
}

#[tokio::test]
async fn the_page_cache_does_not_change_a_byte() {
    let mut app = TestApp::start().await;
    let contact = Uuid::new_v4();
    for number in 0..3 {
        app.upload(contact, &format!("{number}.png"), "image/png", PNG).await.ok();
    }
    let paths = ["", "?paging.limit=2", "?paging.offset=1", "?paging.offset=9"];
    let paths = paths.map(|query| format!("/contacts/v4/attachments/{contact}{query}"));
    let mut responses = Vec::new();
    for cache in ["33554432", "0"] {
        let settings = [("public_url", "https://files.example"), ("page_cache_bytes", cache)];
        app = app.restart_with(&settings).await;
        for round in 0..2 {
            for path in &paths {
                let response = app.get(path).await;
                response.ok();
                let etag = response.header("etag").to_owned();
                responses.push((cache, round, path, response.body, etag));
            }
        }
    }
    for (cache, round, path, body, etag) in &responses {
        let first = responses.iter().find(|(_, _, same, ..)| same == path).unwrap();
        assert_eq!((body, etag), (&first.3, &first.4), "{path}, cache {cache}, round {round}");
    }
}

/// Every acknowledged change is in every list requested afterwards, even while other lists keep
/// filling the cache with stale pages (R7).
#[tokio::test]
async fn every_acknowledged_change_is_in_the_next_list() {
    const FILES: usize = 30;
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let done = AtomicBool::new(false);
    let path = format!("/contacts/v4/attachments/{contact}");
    let writer = async {
        for number in 0..FILES {
            let name = format!("{number}.csv");
            app.upload(contact, &name, "text/csv", b"a,b\n").await.ok();
            let list = app.list(contact).await.ok();
            assert_eq!(list["metadata"]["total"], 1, "after upload {number}");
            assert_eq!(list["attachments"][0]["fileName"], name);
            let id = list["attachments"][0]["id"].as_str().unwrap();
            app.delete(&format!("{path}/{id}")).await.ok();
            let list = app.list(contact).await.ok();
            assert_eq!(list["metadata"]["total"], 0, "after delete {number}");
        }
        done.store(true, Ordering::SeqCst);
    };
    let reader = async || {
        while !done.load(Ordering::SeqCst) {
            let list = app.get(&path).await.ok();
            let found = list["attachments"].as_array().unwrap().len();
            assert_eq!(list["metadata"]["total"], found, "a page must agree with its total");
        }
    };
    tokio::join!(writer, reader(), reader(), reader());
}

#[tokio::test]
async fn an_etag_changes_when_the_form_of_links_changes() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    let tag = app.list(contact).await.header("etag").to_owned();
    let app = app.restart_with(&[("public_url", "https://files.example/")]).await;
    let path = format!("/contacts/v4/attachments/{contact}");
    let again = app.request(Method::GET, &path).header("if-none-match", tag);
    let list = Response::to(again).await.ok();
    let url = list["attachments"][0]["image"]["url"].as_str().unwrap();
    assert!(url.starts_with("https://files.example/media/"), "{url}");
}
