//! Who may call (contract §7, §16).

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Member, Response, TestApp};

/// How long a change made behind the server's back may take to apply on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// The four methods on one attachment, in an order in which each can succeed.
fn all_methods(
    app: &TestApp,
    who: &Member,
    contact: Uuid,
    id: &str,
) -> [(&'static str, RequestBuilder); 4] {
    let path = format!("/contacts/v4/attachments/{contact}");
    let generate = json!({ "fileName": "a.csv", "mimeType": "text/csv" });
    [
        ("list", app.request_as(who, Method::GET, &path)),
        ("get", app.request_as(who, Method::GET, &format!("{path}/{id}"))),
        (
            "generate",
            app.request_as(who, Method::POST, &format!("{path}/upload-url")).json(&generate),
        ),
        ("delete", app.request_as(who, Method::DELETE, &format!("{path}/{id}"))),
    ]
}

fn unauthenticated() -> (u16, String) {
    (401, "UNAUTHENTICATED".to_owned())
}

fn denied() -> (u16, String) {
    (403, "PERMISSION_DENIED".to_owned())
}

#[tokio::test]
async fn every_method_is_rejected_without_a_key() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let id = app.upload_as(&app.first(), contact, "a.csv").await;
    for key in ["", " ", "Bearer", "Bearer ", "dossier_unknown", &app.key[..app.key.len() - 1]] {
        let who = Member { key: key.to_owned(), ..app.first() };
        for (method, request) in all_methods(&app, &who, contact, &id) {
            assert_eq!(
                Response::to(request).await.rejection(),
                unauthenticated(),
                "{method} {key:?}"
            );
        }
    }
    let path = format!("/contacts/v4/attachments/{contact}");
    let response = Response::to(app.anonymous(Method::GET, &path)).await;
    assert_eq!(response.rejection(), unauthenticated());
    assert_eq!(response.json()["message"], "the Authorization header is missing");
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
}

#[tokio::test]
async fn a_bad_key_is_reported_before_a_bad_request() {
    let app = TestApp::start().await;
    let path = "/contacts/v4/attachments/undefined/upload-url";
    let request = app.anonymous(Method::POST, path).header("authorization", "x").body("{");
    assert_eq!(Response::to(request).await.rejection(), unauthenticated());
}

#[tokio::test]
async fn a_key_is_accepted_bare_or_as_a_bearer_token() {
    let app = TestApp::start().await;
    let path = format!("/contacts/v4/attachments/{}", Uuid::new_v4());
    for prefix in ["", "Bearer ", "bearer ", "BEARER  "] {
        let value = format!("{prefix}{}", app.key);
        let request = app.anonymous(Method::GET, &path).header("authorization", value);
        Response::to(request).await.ok();
    }
    for wrong in [format!("Basic {}", app.key), format!("Bearer Bearer {}", app.key)] {
        let request = app.anonymous(Method::GET, &path).header("authorization", wrong);
        assert_eq!(Response::to(request).await.rejection(), unauthenticated());
    }
}

#[tokio::test]
async fn the_site_header_is_optional_only_while_there_is_one_site() {
    let app = TestApp::start().await;
    let path = format!("/contacts/v4/attachments/{}", Uuid::new_v4());
    let without_site = || app.anonymous(Method::GET, &path).header("authorization", &app.key);
    Response::to(without_site()).await.ok();
    app.other_site().await;
    let response = Response::to(without_site()).await;
    assert_eq!(response.rejection(), denied());
    assert_eq!(response.json()["message"], "the wix-site-id header is missing");
    app.get(&path).await.ok();
}

#[tokio::test]
async fn a_site_other_than_the_keys_own_is_rejected() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    let id = app.upload_as(&app.first(), contact, "a.csv").await;
    for sites in [1, 2] {
        let foreign = if sites == 1 { Uuid::new_v4() } else { app.other_site().await.site };
        let who = Member { site: foreign, ..app.first() };
        for (method, request) in all_methods(&app, &who, contact, &id) {
            assert_eq!(
                Response::to(request).await.rejection(),
                denied(),
                "{method}, {sites} sites"
            );
        }
    }
    let path = format!("/contacts/v4/attachments/{contact}");
    for site in ["", "undefined", "null"] {
        let request = app
            .anonymous(Method::GET, &path)
            .header("authorization", &app.key)
            .header("wix-site-id", site);
        assert_eq!(Response::to(request).await.rejection(), denied(), "{site:?}");
    }
    let upper = Member { site: app.site, ..app.first() };
    let request = app
        .anonymous(Method::GET, &path)
        .header("authorization", &upper.key)
        .header("wix-site-id", upper.site.to_string().to_uppercase());
    Response::to(request).await.ok();
}

#[tokio::test]
async fn a_key_can_do_exactly_what_its_scopes_allow() {
    let app = TestApp::start().await;
    for (scopes, allowed) in [
        ("VIEW", &["list", "get"][..]),
        ("MODIFY", &["generate", "delete"]),
        ("VIEW,MODIFY", &["list", "get", "generate", "delete"]),
    ] {
        let contact = Uuid::new_v4();
        let id = app.upload_as(&app.first(), contact, "a.csv").await;
        let who = app.other_key(scopes).await;
        for (method, request) in all_methods(&app, &who, contact, &id) {
            let response = Response::to(request).await;
            if allowed.contains(&method) {
                response.ok();
            } else {
                assert_eq!(response.rejection(), denied(), "{method} with {scopes}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_created_by_another_process_works_at_once() {
    let app = TestApp::start().await;
    let path = format!("/contacts/v4/attachments/{}", Uuid::new_v4());
    // Each unknown key makes the server query the database; the next one must not wait because of
    // that.
    for round in 0..10 {
        let unknown = Member { key: format!("unknown-{round}"), ..app.first() };
        let response = Response::to(app.request_as(&unknown, Method::GET, &path)).await;
        assert_eq!(response.rejection(), unauthenticated());
        let created = app.other_key("VIEW").await;
        let response = Response::to(app.request_as(&created, Method::GET, &path)).await;
        assert_eq!(response.status.as_u16(), 200, "round {round}");
    }
}

#[tokio::test]
async fn a_revoked_key_soon_stops_working_and_others_continue() {
    let app = TestApp::start().await;
    let path = format!("/contacts/v4/attachments/{}", Uuid::new_v4());
    let key = app.other_key("VIEW").await;
    Response::to(app.request_as(&key, Method::GET, &path)).await.ok();
    let revoked = app.app().db.revoke_key(key.key_id, 1).await.unwrap();
    assert_eq!(revoked, Some(1));
    let started = Instant::now();
    let response = loop {
        let response = Response::to(app.request_as(&key, Method::GET, &path)).await;
        if response.status.as_u16() != 200 {
            break response;
        }
        assert!(started.elapsed() < DEADLINE, "the key still works");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(response.rejection(), unauthenticated());
    app.get(&path).await.ok();
}

#[tokio::test]
async fn no_file_in_the_data_folder_contains_a_secret() {
    let app = TestApp::start().await;
    let other = app.other_site().await;
    let contact = Uuid::new_v4();
    app.upload_as(&other, contact, "a.csv").await;
    app.upload_as(&app.first(), contact, "a.csv").await;
    let mut folders = vec![app.data().to_path_buf()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            for key in [&app.key, &other.key] {
                let secret = key.trim_start_matches("dossier_").as_bytes();
                let found = bytes.windows(secret.len()).any(|window| window == secret);
                assert!(!found, "the secret of a key is in {}", path.display());
            }
            files += 1;
        }
    }
    assert!(files >= 3, "only {files} files were searched");
    // The rows may be in PostgreSQL.
    for row in app.snapshot().await {
        for key in [&app.key, &other.key] {
            assert!(!row.contains(key.trim_start_matches("dossier_")), "{row}");
        }
    }
}
