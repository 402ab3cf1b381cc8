//! API keys over HTTP: created, shown and revoked by a site's administrators only.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Member, Response, TestApp};

const WHO: &str = "/dossier/v1/whoami";
const KEYS: &str = "/dossier/v1/keys";

async fn add(app: &TestApp, body: &Value) -> Response {
    Response::to(app.request(Method::POST, KEYS).json(body)).await
}

#[tokio::test]
async fn a_key_is_created_shown_once_used_and_revoked() {
    let app = TestApp::start().await;
    // Younger than the first key, so that the order is certain.
    app.advance_seconds(1);
    let created = add(&app, &json!({ "name": " Desk ", "scopes": ["VIEW"] })).await;
    assert_eq!(created.header("cache-control"), "no-store");
    let created = created.ok();
    let (key, secret) = (&created["key"], created["apiKey"].as_str().unwrap());
    let id = key["id"].as_str().unwrap();
    assert_eq!(
        *key,
        json!({
            "id": id, "name": "Desk", "scopes": ["CONTACTS_ATTACHMENTS.VIEW"], "role": "viewer",
            "createdAt": "2027-01-15T08:00:01.000Z", "revokedAt": null,
        })
    );
    let desk =
        Member { site: app.site, key: secret.to_owned(), key_id: Uuid::parse_str(id).unwrap() };
    let usage =
        async || Response::to(app.request_as(&desk, Method::GET, "/dossier/v1/usage")).await;
    usage().await.ok();
    let listed = app.get(KEYS).await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(secret));
    let listed = listed.ok()["keys"].clone();
    assert_eq!((listed.as_array().unwrap().len(), &listed[1]), (2, key));
    assert_eq!(listed[0]["role"], "admin");
    app.advance_seconds(1);
    for _ in 0..2 {
        assert_eq!(app.delete(&format!("{KEYS}/{id}")).await.ok(), json!({}));
        assert_eq!(usage().await.rejection(), (401, "UNAUTHENTICATED".to_owned()));
        app.advance_seconds(1);
    }
    let listed = app.get(KEYS).await.ok();
    assert_eq!(listed["keys"][1]["revokedAt"], "2027-01-15T08:00:02.000Z");
}

#[tokio::test]
async fn keys_are_managed_only_by_administrators_of_their_site() {
    let app = TestApp::start().await;
    let other = app.other_site().await;
    let editor = app.other_key("VIEW MODIFY").await;
    let unknown = Uuid::new_v4();
    let before = app.snapshot().await;
    for (method, path) in [
        (Method::GET, KEYS.to_owned()),
        (Method::POST, KEYS.to_owned()),
        (Method::DELETE, format!("{KEYS}/{unknown}")),
        (Method::GET, "/dossier/v1/requests".to_owned()),
        (Method::GET, "/dossier/v1/operations".to_owned()),
    ] {
        let response = Response::to(app.request_as(&editor, method, &path)).await;
        assert_eq!(response.rejection(), (403, "PERMISSION_DENIED".to_owned()), "{path}");
    }
    let theirs = app.delete(&format!("{KEYS}/{}", other.key_id)).await;
    let none = app.delete(&format!("{KEYS}/{unknown}")).await;
    let words = |response: &Response, id: Uuid| {
        String::from_utf8(response.body.clone()).unwrap().replace(&id.to_string(), "ID")
    };
    assert_eq!(none.rejection(), (404, "NOT_FOUND".to_owned()));
    assert_eq!((theirs.status, words(&theirs, other.key_id)), (none.status, words(&none, unknown)));
    assert_eq!(app.snapshot().await, before);
    let listed = app.get(KEYS).await.ok().to_string();
    assert!(!listed.contains(&other.key_id.to_string()));
    Response::to(app.request_as(&other, Method::GET, "/dossier/v1/usage")).await.ok();
}

#[tokio::test]
async fn mistakes_in_a_new_key_are_reported() {
    let app = TestApp::start().await;
    for (body, expected) in [
        (json!({}), [("name", "REQUIRED_FIELD"), ("scopes", "REQUIRED_FIELD")].as_slice()),
        (
            json!({ "name": " ", "scopes": [] }),
            &[("name", "REQUIRED_FIELD"), ("scopes", "REQUIRED_FIELD")],
        ),
        (
            json!({ "name": "ж".repeat(201), "scopes": "VIEW" }),
            &[("name", "MAX_LENGTH"), ("scopes", "FORMAT")],
        ),
        (json!({ "name": "a\0", "scopes": ["ROOT"] }), &[("name", "OTHER"), ("scopes", "OTHER")]),
        (json!({ "name": "a", "scopes": [7] }), &[("scopes", "OTHER")]),
    ] {
        let found = add(&app, &body).await.violations();
        let found: Vec<_> = found.iter().map(|(field, rule)| (&**field, &**rule)).collect();
        assert_eq!(found, expected, "{body}");
    }
    let response = app.delete(&format!("{KEYS}/x")).await;
    assert_eq!(response.violations(), [("keyId".to_owned(), "FORMAT".to_owned())]);
}

#[tokio::test]
async fn any_key_can_look_itself_up() {
    let app = TestApp::start().await;
    let reader = app.other_key("VIEW").await;
    let whoami = async |member| Response::to(app.request_as(member, Method::GET, WHO)).await.ok();
    let who = whoami(&reader).await;
    assert_eq!(
        (&who["key"]["id"], &who["key"]["scopes"], &who["key"]["role"]),
        (&json!(reader.key_id), &json!(["CONTACTS_ATTACHMENTS.VIEW"]), &json!("viewer"))
    );
    let usage = Response::to(app.request_as(&reader, Method::GET, "/dossier/v1/usage")).await.ok();
    assert_eq!(who["site"]["id"], usage["site"]["siteId"]);
    let response = Response::to(app.anonymous(Method::GET, WHO)).await;
    assert_eq!(response.rejection(), (401, "UNAUTHENTICATED".to_owned()));
}
