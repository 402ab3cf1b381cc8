//! Being signed in at the page: keys, links that work once, the cookie and the token beside it (S12, S27,
//! S28, S37).

use dossier::actions::sessions::{LINK_LIFE_MS, SESSION_LIFE_MS, TRIES_A_MINUTE, sign_in_link};
use dossier::actions::sweep::sweep;
use dossier::domain::ids::SiteId;
use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, Dossier, PNG, TestApp, printed};

const SESSION: &str = "/dossier/v1/session";

/// A cookie and the token that goes with it.
struct SignedIn {
    cookie: String,
    csrf: String,
    body: Value,
}

impl SignedIn {
    fn of(answer: &Answer) -> Self {
        let body = answer.ok();
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        Self { cookie, csrf: body["csrfToken"].as_str().unwrap().to_owned(), body }
    }

    fn asks(&self, app: &TestApp, method: Method, path: &str) -> RequestBuilder {
        app.anonymous(method, path).header("cookie", &self.cookie)
    }

    fn changes(&self, app: &TestApp, method: Method, path: &str) -> RequestBuilder {
        self.asks(app, method, path).header("x-csrf-token", &self.csrf)
    }
}

async fn try_to_sign_in(app: &TestApp, body: Value) -> Answer {
    Answer::of(app.anonymous(Method::POST, SESSION).json(&body)).await
}

async fn sign_in(app: &TestApp, key: &str) -> SignedIn {
    SignedIn::of(&try_to_sign_in(app, json!({ "apiKey": key })).await)
}

/// What stands behind `#/sign-in/` in a new link of the first key.
async fn link(app: &TestApp) -> String {
    let keys = app.app().db.api_keys(false).await.unwrap();
    let first = (SiteId(app.site), keys[0].id);
    let (db, now_ms) = (&app.app().db, app.app().clock.now_ms());
    let link = sign_in_link(db, now_ms, first, "http://x/").await.unwrap();
    link.strip_prefix("http://x/#/sign-in/").unwrap().to_owned()
}

fn unauthenticated() -> (u16, String) {
    (401, "UNAUTHENTICATED".to_owned())
}

fn denied() -> (u16, String) {
    (403, "PERMISSION_DENIED".to_owned())
}

#[tokio::test]
async fn whoever_has_a_key_signs_in_with_its_role() {
    let app = TestApp::start().await;
    for (scopes, role) in [("VIEW", "viewer"), ("VIEW,MODIFY", "editor"), ("ADMIN", "admin")] {
        let key = app.other_key(scopes).await;
        let session = sign_in(&app, &key.key).await;
        assert_eq!(session.body["role"], role);
        assert_eq!(session.body["site"]["id"], app.site.to_string());
        let shown = Answer::of(session.asks(&app, Method::GET, SESSION)).await;
        assert_eq!(shown.ok(), session.body);
        assert_eq!(shown.header("cache-control"), "no-store");
    }
    assert_eq!(sign_in(&app, &app.key).await.body["role"], "admin");
    let blind = app.other_key("MODIFY").await;
    let answer = try_to_sign_in(&app, json!({ "apiKey": blind.key })).await;
    assert_eq!(answer.refused(), denied());
}

#[tokio::test]
async fn s27_the_cookie_is_for_this_host_and_for_no_script() {
    let app = TestApp::start().await;
    let body = json!({ "apiKey": app.key });
    for (origin, begin, secure) in [
        (None, "dossier_session=", false),
        (Some("http://127.0.0.1"), "dossier_session=", false),
        (Some("https://files.example.com"), "__Host-dossier_session=", true),
    ] {
        let request = app.anonymous(Method::POST, SESSION).json(&body);
        let request = match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        };
        let answer = Answer::of(request).await;
        let cookie = answer.header("set-cookie");
        assert!(cookie.starts_with(begin), "{cookie}");
        for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age=43200"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
        assert_eq!(cookie.contains("; Secure"), secure, "{cookie}");
        assert!(!answer.body.windows(8).any(|text| text == b"dossier_"), "the body holds a secret");
        let session = SignedIn::of(&answer);
        Answer::of(session.asks(&app, Method::GET, SESSION)).await.ok();
    }
}

#[tokio::test]
async fn s27_what_changes_something_needs_the_token_beside_the_cookie() {
    let app = TestApp::start().await;
    let (session, other) = (sign_in(&app, &app.key).await, sign_in(&app, &app.key).await);
    let contact = Uuid::new_v4();
    let path = format!("/contacts/v4/attachments/{contact}");
    let generate = format!("{path}/upload-url");
    // No picture: its preview would be stored at some later time.
    let body = json!({ "fileName": "a.csv", "mimeType": "text/csv" });
    let made = Answer::of(session.changes(&app, Method::POST, &generate).json(&body)).await.ok();
    app.put(made["uploadUrl"].as_str().unwrap(), b"a,b\n").await.ok();
    let list = Answer::of(session.asks(&app, Method::GET, &path)).await.ok();
    let file = format!("{path}/{}", list["attachments"][0]["id"].as_str().unwrap());
    let hook = json!({ "url": "https://hooks.example.com/" });
    let before = app.stored().await;
    for token in [None, Some(""), Some("x"), Some(other.csrf.as_str())] {
        for (method, path, body) in [
            (Method::POST, generate.as_str(), &body),
            (Method::DELETE, file.as_str(), &Value::Null),
            (Method::PUT, &format!("/dossier/v1/contacts/{contact}"), &json!({})),
            (Method::POST, "/dossier/v1/webhooks", &hook),
            (Method::DELETE, SESSION, &Value::Null),
        ] {
            // As a form of another page would send it.
            let request = session.asks(&app, method, path).header("origin", "https://evil.example");
            let request = match token {
                Some(token) => request.header("x-csrf-token", token),
                None => request,
            };
            let answer = Answer::of(request.body(body.to_string())).await;
            assert_eq!(answer.refused(), denied(), "{path} with {token:?}");
        }
    }
    assert_eq!(app.stored().await, before);
    Answer::of(session.changes(&app, Method::DELETE, &file)).await.ok();
    // A key needs no token, whatever cookie comes with it.
    let request = app.request(Method::DELETE, &file).header("cookie", &session.cookie);
    assert_eq!(Answer::of(request).await.refused(), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn nobody_is_signed_in_by_a_form_of_another_page() {
    let app = TestApp::start().await;
    let body = json!({ "apiKey": app.key }).to_string();
    for form in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let request = app.anonymous(Method::POST, SESSION).body(body.clone());
        let request = match form {
            Some(form) => request.header("content-type", form),
            None => request,
        };
        let answer = Answer::of(request).await;
        assert_eq!(answer.refused(), (400, "INVALID_ARGUMENT".to_owned()), "{form:?}");
        assert_eq!(answer.header("set-cookie"), "");
    }
}

#[tokio::test]
async fn pages_of_other_hosts_get_neither_credentials_nor_the_header() {
    let app = TestApp::start().await;
    let preflight = app
        .anonymous(Method::OPTIONS, SESSION)
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "DELETE")
        .header("access-control-request-headers", "x-csrf-token");
    let answer = Answer::of(preflight).await;
    assert!(!answer.header("access-control-allow-headers").contains("csrf"));
    assert_eq!(answer.header("access-control-allow-credentials"), "");
}

#[tokio::test]
async fn a_link_signs_in_once_even_when_it_is_raced() {
    let app = TestApp::start().await;
    let link = link(&app).await;
    let tries = join_all((0..20).map(|_| try_to_sign_in(&app, json!({ "link": link })))).await;
    let taken: Vec<_> = tries.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(taken.len(), 1);
    assert!(tries.iter().filter(|one| one.status != 200).all(|o| o.refused() == unauthenticated()));
    let session = SignedIn::of(taken[0]);
    assert_eq!(session.body["role"], "admin");
    Answer::of(session.asks(&app, Method::GET, SESSION)).await.ok();
}

#[tokio::test]
async fn a_link_ends_with_its_time_and_with_its_key() {
    let app = TestApp::start().await;
    let late = link(&app).await;
    app.advance_seconds(LINK_LIFE_MS / 1_000);
    let answer = try_to_sign_in(&app, json!({ "link": late })).await;
    assert_eq!(answer.refused(), unauthenticated());
    let key = app.other_key("ADMIN").await;
    let (db, now_ms) = (&app.app().db, app.app().clock.now_ms());
    let made = sign_in_link(db, now_ms, (SiteId(app.site), key.key_id), "/").await.unwrap();
    db.revoke_key(key.key_id, now_ms).await.unwrap();
    let answer = try_to_sign_in(&app, json!({ "link": made.rsplit('/').next() })).await;
    assert_eq!(answer.refused(), unauthenticated());
}

#[tokio::test]
async fn the_first_start_makes_a_link_that_signs_in() {
    let app = TestApp::start().await;
    let first = app.sign_in_link.as_deref().unwrap();
    let token = first.strip_prefix(&format!("{}/#/sign-in/", app.base)).unwrap();
    let session = SignedIn::of(&try_to_sign_in(&app, json!({ "link": token })).await);
    assert_eq!(session.body["role"], "admin");
}

#[tokio::test]
async fn the_command_prints_a_link_of_the_oldest_key_that_administers_or_of_one_that_is_named() {
    // Two programs that share the true clock.
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let (_server, ready) = Dossier::serve(folder.path(), &[]);
    let made = printed(&["key", "create", "--json", "--data", data, "--scope", "VIEW"]);
    let viewer: Value = serde_json::from_str(&made).unwrap();
    let viewer = viewer["id"].as_str().unwrap();
    let command =
        ["sign-in", "--json", "--data", data, "--public-url", "https://files.example.com"];
    for (more, role) in [(&[][..], "admin"), (&["--key", viewer], "viewer")] {
        let made: Value = serde_json::from_str(&printed(&[&command, more].concat())).unwrap();
        let link = made["link"].as_str().unwrap();
        let token = link.strip_prefix("https://files.example.com/#/sign-in/").unwrap();
        let url = format!("{}{SESSION}", ready["http"].as_str().unwrap());
        let asked = reqwest::Client::new().post(url).json(&json!({ "link": token }));
        assert_eq!(SignedIn::of(&Answer::of(asked).await).body["role"], role);
    }
}

#[tokio::test]
async fn a_session_ends_by_signing_out_with_its_time_and_with_its_key() {
    let app = TestApp::start().await;
    let key = app.other_key("VIEW").await;
    let sessions = [sign_in(&app, &key.key).await, sign_in(&app, &key.key).await];
    let out = Answer::of(sessions[0].changes(&app, Method::DELETE, SESSION)).await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    let ask = async |one: &SignedIn| Answer::of(one.asks(&app, Method::GET, SESSION)).await;
    assert_eq!(ask(&sessions[0]).await.refused(), unauthenticated());
    ask(&sessions[1]).await.ok();
    app.app().db.revoke_key(key.key_id, 1).await.unwrap();
    assert_eq!(ask(&sessions[1]).await.refused(), unauthenticated());
    let late = sign_in(&app, &app.key).await;
    app.advance_seconds(SESSION_LIFE_MS / 1_000 - 1);
    ask(&late).await.ok();
    app.advance_seconds(1);
    assert_eq!(ask(&late).await.refused(), unauthenticated());
    let swept = sweep(app.app()).await.unwrap();
    assert!(swept.sessions >= 2, "{swept:?}");
    assert!(!app.stored().await.iter().any(|row| row.starts_with("sessions")));
}

#[tokio::test]
async fn of_too_many_sessions_of_a_key_the_oldest_end() {
    let app = TestApp::start().await;
    let first = sign_in(&app, &app.key).await;
    app.advance_seconds(1);
    let other = app.other_key("VIEW").await;
    let others = sign_in(&app, &other.key).await;
    for _ in 0..50 {
        sign_in(&app, &app.key).await;
    }
    let answer = Answer::of(first.asks(&app, Method::GET, SESSION)).await;
    assert_eq!(answer.refused(), unauthenticated());
    Answer::of(others.asks(&app, Method::GET, SESSION)).await.ok();
}

#[tokio::test]
async fn s28_guessing_is_slowed_and_a_known_key_is_not() {
    let app = TestApp::start().await;
    let link = link(&app).await;
    for _ in 0..TRIES_A_MINUTE {
        let forged = format!("{}.{}", app.site.simple(), "A".repeat(43));
        let answer = try_to_sign_in(&app, json!({ "link": forged })).await;
        assert_eq!(answer.refused(), unauthenticated());
    }
    for body in [json!({ "link": link }), json!({ "apiKey": "dossier_guess" })] {
        let answer = try_to_sign_in(&app, body).await;
        assert_eq!(answer.refused(), (429, "RESOURCE_EXHAUSTED".to_owned()));
        assert_ne!(answer.header("retry-after"), "");
    }
    sign_in(&app, &app.key).await;
    app.advance_seconds(60);
    try_to_sign_in(&app, json!({ "link": link })).await.ok();
}

#[tokio::test]
async fn a_session_sees_its_own_site_and_need_not_name_it() {
    let app = TestApp::start().await;
    let other = app.other_site().await;
    let contact = Uuid::new_v4();
    app.upload_as(&other, contact, "theirs.csv").await;
    let session = sign_in(&app, &app.key).await;
    let path = format!("/contacts/v4/attachments/{contact}");
    let list = Answer::of(session.asks(&app, Method::GET, &path)).await.ok();
    assert_eq!(list["metadata"]["total"], 0);
    let wrong =
        session.asks(&app, Method::GET, &path).header("wix-site-id", other.site.to_string());
    assert_eq!(Answer::of(wrong).await.refused(), denied());
    let theirs = sign_in(&app, &other.key).await;
    let list = Answer::of(theirs.asks(&app, Method::GET, &path)).await.ok();
    assert_eq!(list["metadata"]["total"], 1);
    // The cookie of one site's session does not open another's by another site's id.
    let moved = SignedIn {
        cookie: theirs
            .cookie
            .replace(&other.site.simple().to_string(), &app.site.simple().to_string()),
        ..theirs
    };
    assert_ne!(moved.cookie, session.cookie);
    let answer = Answer::of(moved.asks(&app, Method::GET, SESSION)).await;
    assert_eq!(answer.refused(), unauthenticated());
}

#[tokio::test]
async fn a_session_may_what_its_key_may() {
    let app = TestApp::start().await;
    let viewer = app.other_key("VIEW").await;
    let session = sign_in(&app, &viewer.key).await;
    let path = format!("/contacts/v4/attachments/{}/upload-url", Uuid::new_v4());
    let body = json!({ "fileName": "a.png", "mimeType": "image/png" });
    let answer = Answer::of(session.changes(&app, Method::POST, &path).json(&body)).await;
    assert_eq!(answer.refused(), denied());
}

#[tokio::test]
async fn s12_s37_files_and_the_media_host_know_no_cookie() {
    let app = TestApp::start_with(&[("media_url", "http://files.example.net/")]).await;
    let session = sign_in(&app, &app.key).await;
    let contact = Uuid::new_v4();
    app.upload(contact, "a.png", "image/png", PNG).await.ok();
    let list = app.list(contact).await.ok();
    let link = list["attachments"][0]["image"]["url"].as_str().unwrap();
    let link = link.replace("http://files.example.net", "");
    let at = |path: &str| session.asks(&app, Method::GET, path).header("host", "files.example.net");
    let file = Answer::of(at(&link)).await;
    assert_eq!((file.status.as_u16(), file.header("set-cookie")), (200, ""));
    for path in ["/", "/page/x/app.js", SESSION, "/dossier/v1/contacts"] {
        assert_eq!(Answer::of(at(path)).await.status, 404, "{path}");
    }
    let unsigned = link.split('?').next().unwrap();
    assert_eq!(Answer::of(session.asks(&app, Method::GET, unsigned)).await.status, 403);
}

#[tokio::test]
async fn s12_where_files_and_pages_would_share_a_host_there_is_no_page_unless_told() {
    let public = ("public_url", "https://files.example.com/");
    let media = ("media_url", "https://files.example.net/");
    let same_name = ("media_url", "https://files.example.com:8443/");
    for (settings, is_on) in [
        (&[][..], true),
        (&[public], false),
        (&[public, same_name], false),
        (&[public, media], true),
        (&[public, ("page", "on")], true),
        (&[("page", "off")], false),
    ] {
        let app = TestApp::start_with(settings).await;
        let index = Answer::of(app.anonymous(Method::GET, "/")).await;
        let answer = try_to_sign_in(&app, json!({ "apiKey": app.key })).await;
        assert_eq!(app.sign_in_link.is_some(), is_on, "{settings:?}");
        if is_on {
            assert_eq!((index.status.as_u16(), answer.status.as_u16()), (200, 200), "{settings:?}");
        } else {
            assert_eq!((index.refused(), answer.refused()), (denied(), denied()), "{settings:?}");
            assert!(index.json()["message"].as_str().unwrap().contains("media_url"));
        }
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_session_and_a_link_of_one_node_are_known_to_the_other() {
    let a = TestApp::start().await;
    let b = a.another_node(&[]).await;
    let session = sign_in(&a, &a.key).await;
    Answer::of(session.asks(&b, Method::GET, SESSION)).await.ok();
    let made = a.other_key("VIEW").await;
    let theirs = sign_in(&b, &made.key).await;
    Answer::of(theirs.asks(&a, Method::GET, SESSION)).await.ok();
    let link = link(&a).await;
    let tries = join_all((0..12).map(|at| {
        let (node, body) = (if at % 2 == 0 { &a } else { &b }, json!({ "link": link }));
        try_to_sign_in(node, body)
    }))
    .await;
    assert_eq!(tries.iter().filter(|answer| answer.status == 200).count(), 1);
    let out = Answer::of(session.changes(&b, Method::DELETE, SESSION)).await;
    assert_eq!(out.status, 204);
    let answer = Answer::of(session.asks(&a, Method::GET, SESSION)).await;
    assert_eq!(answer.refused(), unauthenticated());
}
