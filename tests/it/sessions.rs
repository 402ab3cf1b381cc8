//! Sessions on the page: keys, single-use links, the cookie and its CSRF token (S12, S27, S28,
//! S37).

use dossier::actions::sessions::{
    LINK_LIFE_MS, SESSION_LIFE_MS, SIGN_IN_ATTEMPTS_PER_MINUTE, sign_in_link,
};
use dossier::actions::sweep::sweep;
use dossier::domain::ids::SiteId;
use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Dossier, PNG, Response, TestApp, printed};

const SESSION: &str = "/dossier/v1/session";

/// A session cookie and its CSRF token.
struct Session {
    cookie: String,
    csrf: String,
    body: Value,
}

impl Session {
    fn of(response: &Response) -> Self {
        let body = response.ok();
        let cookie = response.header("set-cookie").split(';').next().unwrap().to_owned();
        Self { cookie, csrf: body["csrfToken"].as_str().unwrap().to_owned(), body }
    }

    fn read_request(&self, app: &TestApp, method: Method, path: &str) -> RequestBuilder {
        app.anonymous(method, path).header("cookie", &self.cookie)
    }

    fn write_request(&self, app: &TestApp, method: Method, path: &str) -> RequestBuilder {
        self.read_request(app, method, path).header("x-csrf-token", &self.csrf)
    }
}

async fn try_to_sign_in(app: &TestApp, body: Value) -> Response {
    Response::to(app.anonymous(Method::POST, SESSION).json(&body)).await
}

async fn sign_in(app: &TestApp, key: &str) -> Session {
    Session::of(&try_to_sign_in(app, json!({ "apiKey": key })).await)
}

/// The token after `#/sign-in/` in a new link for the first key.
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
async fn a_key_signs_in_with_its_role() {
    let app = TestApp::start().await;
    for (scopes, role) in [("VIEW", "viewer"), ("VIEW,MODIFY", "editor"), ("ADMIN", "admin")] {
        let key = app.other_key(scopes).await;
        let session = sign_in(&app, &key.key).await;
        assert_eq!(session.body["role"], role);
        assert_eq!(session.body["site"]["id"], app.site.to_string());
        let shown = Response::to(session.read_request(&app, Method::GET, SESSION)).await;
        assert_eq!(shown.ok(), session.body);
        assert_eq!(shown.header("cache-control"), "no-store");
    }
    assert_eq!(sign_in(&app, &app.key).await.body["role"], "admin");
    let blind = app.other_key("MODIFY").await;
    let response = try_to_sign_in(&app, json!({ "apiKey": blind.key })).await;
    assert_eq!(response.rejection(), denied());
}

#[tokio::test]
async fn s27_the_cookie_is_host_only_and_hidden_from_scripts() {
    let app = TestApp::start().await;
    let body = json!({ "apiKey": app.key });
    for (origin, started, secure) in [
        (None, "dossier_session=", false),
        (Some("http://127.0.0.1"), "dossier_session=", false),
        (Some("https://files.example.com"), "__Host-dossier_session=", true),
    ] {
        let request = app.anonymous(Method::POST, SESSION).json(&body);
        let request = match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        };
        let response = Response::to(request).await;
        let cookie = response.header("set-cookie");
        assert!(cookie.starts_with(started), "{cookie}");
        for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age=43200"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
        assert_eq!(cookie.contains("; Secure"), secure, "{cookie}");
        assert!(
            !response.body.windows(8).any(|text| text == b"dossier_"),
            "the body contains a secret"
        );
        let session = Session::of(&response);
        Response::to(session.read_request(&app, Method::GET, SESSION)).await.ok();
    }
}

#[tokio::test]
async fn s27_changes_need_the_token_besides_the_cookie() {
    let app = TestApp::start().await;
    let (session, other) = (sign_in(&app, &app.key).await, sign_in(&app, &app.key).await);
    let contact = Uuid::new_v4();
    let path = format!("/contacts/v4/attachments/{contact}");
    let generate = format!("{path}/upload-url");
    // Not a picture: its preview would be stored at some later time.
    let body = json!({ "fileName": "a.csv", "mimeType": "text/csv" });
    let created =
        Response::to(session.write_request(&app, Method::POST, &generate).json(&body)).await.ok();
    app.put(created["uploadUrl"].as_str().unwrap(), b"a,b\n").await.ok();
    let list = Response::to(session.read_request(&app, Method::GET, &path)).await.ok();
    let file = format!("{path}/{}", list["attachments"][0]["id"].as_str().unwrap());
    let hook = json!({ "url": "https://hooks.example.com/" });
    let before = app.snapshot().await;
    for token in [None, Some(""), Some("x"), Some(other.csrf.as_str())] {
        for (method, path, body) in [
            (Method::POST, generate.as_str(), &body),
            (Method::DELETE, file.as_str(), &Value::Null),
            (Method::PUT, &format!("/dossier/v1/contacts/{contact}"), &json!({})),
            (Method::POST, "/dossier/v1/webhooks", &hook),
            (Method::DELETE, SESSION, &Value::Null),
        ] {
            // As another site's form would send it.
            let request =
                session.read_request(&app, method, path).header("origin", "https://evil.example");
            let request = match token {
                Some(token) => request.header("x-csrf-token", token),
                None => request,
            };
            let response = Response::to(request.body(body.to_string())).await;
            assert_eq!(response.rejection(), denied(), "{path} with {token:?}");
        }
    }
    assert_eq!(app.snapshot().await, before);
    Response::to(session.write_request(&app, Method::DELETE, &file)).await.ok();
    // A key needs no token, even with a cookie.
    let request = app.request(Method::DELETE, &file).header("cookie", &session.cookie);
    assert_eq!(Response::to(request).await.rejection(), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_form_on_another_site_cannot_sign_anyone_in() {
    let app = TestApp::start().await;
    let body = json!({ "apiKey": app.key }).to_string();
    for form in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let request = app.anonymous(Method::POST, SESSION).body(body.clone());
        let request = match form {
            Some(form) => request.header("content-type", form),
            None => request,
        };
        let response = Response::to(request).await;
        assert_eq!(response.rejection(), (400, "INVALID_ARGUMENT".to_owned()), "{form:?}");
        assert_eq!(response.header("set-cookie"), "");
    }
}

#[tokio::test]
async fn pages_on_other_hosts_get_neither_credentials_nor_the_header() {
    let app = TestApp::start().await;
    let preflight = app
        .anonymous(Method::OPTIONS, SESSION)
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "DELETE")
        .header("access-control-request-headers", "x-csrf-token");
    let response = Response::to(preflight).await;
    assert!(!response.header("access-control-allow-headers").contains("csrf"));
    assert_eq!(response.header("access-control-allow-credentials"), "");
}

#[tokio::test]
async fn a_link_signs_in_once_even_under_a_race() {
    let app = TestApp::start().await;
    let link = link(&app).await;
    let tries = join_all((0..20).map(|_| try_to_sign_in(&app, json!({ "link": link })))).await;
    let taken: Vec<_> = tries.iter().filter(|response| response.status == 200).collect();
    assert_eq!(taken.len(), 1);
    assert!(
        tries.iter().filter(|one| one.status != 200).all(|o| o.rejection() == unauthenticated())
    );
    let session = Session::of(taken[0]);
    assert_eq!(session.body["role"], "admin");
    Response::to(session.read_request(&app, Method::GET, SESSION)).await.ok();
}

#[tokio::test]
async fn a_link_ends_when_it_expires_or_its_key_is_revoked() {
    let app = TestApp::start().await;
    let late = link(&app).await;
    app.advance_seconds(LINK_LIFE_MS / 1_000);
    let response = try_to_sign_in(&app, json!({ "link": late })).await;
    assert_eq!(response.rejection(), unauthenticated());
    let key = app.other_key("ADMIN").await;
    let (db, now_ms) = (&app.app().db, app.app().clock.now_ms());
    let created = sign_in_link(db, now_ms, (SiteId(app.site), key.key_id), "/").await.unwrap();
    db.revoke_key(key.key_id, now_ms).await.unwrap();
    let response = try_to_sign_in(&app, json!({ "link": created.rsplit('/').next() })).await;
    assert_eq!(response.rejection(), unauthenticated());
}

#[tokio::test]
async fn the_first_start_prints_a_link_that_signs_in() {
    let app = TestApp::start().await;
    let first = app.sign_in_link.as_deref().unwrap();
    let token = first.strip_prefix(&format!("{}/#/sign-in/", app.base)).unwrap();
    let session = Session::of(&try_to_sign_in(&app, json!({ "link": token })).await);
    assert_eq!(session.body["role"], "admin");
}

#[tokio::test]
async fn the_command_prints_a_link_for_the_oldest_admin_key_or_a_named_one() {
    // The two programs share the real clock.
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let (_server, ready) = Dossier::serve(folder.path(), &[]);
    let created = printed(&["key", "create", "--json", "--data", data, "--scope", "VIEW"]);
    let viewer: Value = serde_json::from_str(&created).unwrap();
    let viewer = viewer["id"].as_str().unwrap();
    let command =
        ["sign-in", "--json", "--data", data, "--public-url", "https://files.example.com"];
    for (more, role) in [(&[][..], "admin"), (&["--key", viewer], "viewer")] {
        let created: Value = serde_json::from_str(&printed(&[&command, more].concat())).unwrap();
        let link = created["link"].as_str().unwrap();
        let token = link.strip_prefix("https://files.example.com/#/sign-in/").unwrap();
        let url = format!("{}{SESSION}", ready["http"].as_str().unwrap());
        let request = reqwest::Client::new().post(url).json(&json!({ "link": token }));
        assert_eq!(Session::of(&Response::to(request).await).body["role"], role);
    }
}

#[tokio::test]
async fn a_session_ends_on_sign_out_expiry_or_revocation_of_its_key() {
    let app = TestApp::start().await;
    let key = app.other_key("VIEW").await;
    let sessions = [sign_in(&app, &key.key).await, sign_in(&app, &key.key).await];
    let out = Response::to(sessions[0].write_request(&app, Method::DELETE, SESSION)).await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    let get_session =
        async |one: &Session| Response::to(one.read_request(&app, Method::GET, SESSION)).await;
    assert_eq!(get_session(&sessions[0]).await.rejection(), unauthenticated());
    get_session(&sessions[1]).await.ok();
    app.app().db.revoke_key(key.key_id, 1).await.unwrap();
    assert_eq!(get_session(&sessions[1]).await.rejection(), unauthenticated());
    let late = sign_in(&app, &app.key).await;
    app.advance_seconds(SESSION_LIFE_MS / 1_000 - 1);
    get_session(&late).await.ok();
    app.advance_seconds(1);
    assert_eq!(get_session(&late).await.rejection(), unauthenticated());
    let swept = sweep(app.app()).await.unwrap();
    assert!(swept.sessions >= 2, "{swept:?}");
    assert!(!app.snapshot().await.iter().any(|row| row.starts_with("sessions")));
}

#[tokio::test]
async fn the_oldest_sessions_of_a_key_end_above_the_limit() {
    let app = TestApp::start().await;
    let first = sign_in(&app, &app.key).await;
    app.advance_seconds(1);
    let other = app.other_key("VIEW").await;
    let others = sign_in(&app, &other.key).await;
    for _ in 0..50 {
        sign_in(&app, &app.key).await;
    }
    let response = Response::to(first.read_request(&app, Method::GET, SESSION)).await;
    assert_eq!(response.rejection(), unauthenticated());
    Response::to(others.read_request(&app, Method::GET, SESSION)).await.ok();
}

#[tokio::test]
async fn s28_guessing_is_throttled_and_valid_keys_are_not() {
    let app = TestApp::start().await;
    let link = link(&app).await;
    for _ in 0..SIGN_IN_ATTEMPTS_PER_MINUTE {
        let forged = format!("{}.{}", app.site.simple(), "A".repeat(43));
        let response = try_to_sign_in(&app, json!({ "link": forged })).await;
        assert_eq!(response.rejection(), unauthenticated());
    }
    for body in [json!({ "link": link }), json!({ "apiKey": "dossier_guess" })] {
        let response = try_to_sign_in(&app, body).await;
        assert_eq!(response.rejection(), (429, "RESOURCE_EXHAUSTED".to_owned()));
        assert_ne!(response.header("retry-after"), "");
    }
    sign_in(&app, &app.key).await;
    app.advance_seconds(60);
    try_to_sign_in(&app, json!({ "link": link })).await.ok();
}

#[tokio::test]
async fn a_session_sees_only_its_site_and_need_not_name_it() {
    let app = TestApp::start().await;
    let other = app.other_site().await;
    let contact = Uuid::new_v4();
    app.upload_as(&other, contact, "theirs.csv").await;
    let session = sign_in(&app, &app.key).await;
    let path = format!("/contacts/v4/attachments/{contact}");
    let list = Response::to(session.read_request(&app, Method::GET, &path)).await.ok();
    assert_eq!(list["metadata"]["total"], 0);
    let wrong = session
        .read_request(&app, Method::GET, &path)
        .header("wix-site-id", other.site.to_string());
    assert_eq!(Response::to(wrong).await.rejection(), denied());
    let theirs = sign_in(&app, &other.key).await;
    let list = Response::to(theirs.read_request(&app, Method::GET, &path)).await.ok();
    assert_eq!(list["metadata"]["total"], 1);
    // A cookie does not give access to another site by naming that site's id.
    let moved = Session {
        cookie: theirs
            .cookie
            .replace(&other.site.simple().to_string(), &app.site.simple().to_string()),
        ..theirs
    };
    assert_ne!(moved.cookie, session.cookie);
    let response = Response::to(moved.read_request(&app, Method::GET, SESSION)).await;
    assert_eq!(response.rejection(), unauthenticated());
}

#[tokio::test]
async fn a_session_has_the_scopes_of_its_key() {
    let app = TestApp::start().await;
    let viewer = app.other_key("VIEW").await;
    let session = sign_in(&app, &viewer.key).await;
    let path = format!("/contacts/v4/attachments/{}/upload-url", Uuid::new_v4());
    let body = json!({ "fileName": "a.png", "mimeType": "image/png" });
    let response = Response::to(session.write_request(&app, Method::POST, &path).json(&body)).await;
    assert_eq!(response.rejection(), denied());
}

#[tokio::test]
async fn s12_s37_files_and_the_media_host_ignore_cookies() {
    let app = TestApp::start_with(&[("media_url", "http://files.example.net/")]).await;
    let session = sign_in(&app, &app.key).await;
    let contact = Uuid::new_v4();
    app.upload(contact, "a.png", "image/png", PNG).await.ok();
    let list = app.list(contact).await.ok();
    let link = list["attachments"][0]["image"]["url"].as_str().unwrap();
    let link = link.replace("http://files.example.net", "");
    let at = |path: &str| {
        session.read_request(&app, Method::GET, path).header("host", "files.example.net")
    };
    let file = Response::to(at(&link)).await;
    assert_eq!((file.status.as_u16(), file.header("set-cookie")), (200, ""));
    for path in ["/", "/page/x/app.js", SESSION, "/dossier/v1/contacts"] {
        assert_eq!(Response::to(at(path)).await.status, 404, "{path}");
    }
    let unsigned = link.split('?').next().unwrap();
    assert_eq!(Response::to(session.read_request(&app, Method::GET, unsigned)).await.status, 403);
}

#[tokio::test]
async fn s12_the_page_is_off_by_default_where_it_would_share_a_host_with_files() {
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
        let index = Response::to(app.anonymous(Method::GET, "/")).await;
        let response = try_to_sign_in(&app, json!({ "apiKey": app.key })).await;
        assert_eq!(app.sign_in_link.is_some(), is_on, "{settings:?}");
        if is_on {
            assert_eq!(
                (index.status.as_u16(), response.status.as_u16()),
                (200, 200),
                "{settings:?}"
            );
        } else {
            assert_eq!(
                (index.rejection(), response.rejection()),
                (denied(), denied()),
                "{settings:?}"
            );
            assert!(index.json()["message"].as_str().unwrap().contains("media_url"));
        }
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn sessions_and_links_of_one_node_work_on_the_other() {
    let a = TestApp::start().await;
    let b = a.another_node(&[]).await;
    let session = sign_in(&a, &a.key).await;
    Response::to(session.read_request(&b, Method::GET, SESSION)).await.ok();
    let created = a.other_key("VIEW").await;
    let theirs = sign_in(&b, &created.key).await;
    Response::to(theirs.read_request(&a, Method::GET, SESSION)).await.ok();
    let link = link(&a).await;
    let tries = join_all((0..12).map(|at| {
        let (node, body) = (if at % 2 == 0 { &a } else { &b }, json!({ "link": link }));
        try_to_sign_in(node, body)
    }))
    .await;
    assert_eq!(tries.iter().filter(|response| response.status == 200).count(), 1);
    let out = Response::to(session.write_request(&b, Method::DELETE, SESSION)).await;
    assert_eq!(out.status, 204);
    let response = Response::to(session.read_request(&a, Method::GET, SESSION)).await;
    assert_eq!(response.rejection(), unauthenticated());
}
