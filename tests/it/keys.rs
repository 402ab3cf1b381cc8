//! API keys over HTTP: made, shown, revoked by those who administer a site, and by no one else.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, Member, TestApp};

const WHO: &str = "/dossier/v1/whoami";
const KEYS: &str = "/dossier/v1/keys";

async fn add(app: &TestApp, body: &Value) -> Answer {
    Answer::of(app.request(Method::POST, KEYS).json(body)).await
}

#[tokio::test]
async fn a_key_is_made_shown_once_used_and_revoked() {
    let app = TestApp::start().await;
    // Younger than the first key, so that the order is certain.
    app.advance_seconds(1);
    let made = add(&app, &json!({ "name": " Desk ", "scopes": ["VIEW"] })).await;
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.ok();
    let (key, secret) = (&made["key"], made["apiKey"].as_str().unwrap());
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
    let usage = async || Answer::of(app.request_as(&desk, Method::GET, "/dossier/v1/usage")).await;
    usage().await.ok();
    let listed = app.get(KEYS).await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(secret));
    let listed = listed.ok()["keys"].clone();
    assert_eq!((listed.as_array().unwrap().len(), &listed[1]), (2, key));
    assert_eq!(listed[0]["role"], "admin");
    app.advance_seconds(1);
    for _ in 0..2 {
        assert_eq!(app.delete(&format!("{KEYS}/{id}")).await.ok(), json!({}));
        assert_eq!(usage().await.refused(), (401, "UNAUTHENTICATED".to_owned()));
        app.advance_seconds(1);
    }
    let listed = app.get(KEYS).await.ok();
    assert_eq!(listed["keys"][1]["revokedAt"], "2027-01-15T08:00:02.000Z");
}

#[tokio::test]
async fn keys_are_for_administrators_of_their_own_site() {
    let app = TestApp::start().await;
    let other = app.other_site().await;
    let editor = app.other_key("VIEW MODIFY").await;
    let unknown = Uuid::new_v4();
    let before = app.stored().await;
    for (method, path) in [
        (Method::GET, KEYS.to_owned()),
        (Method::POST, KEYS.to_owned()),
        (Method::DELETE, format!("{KEYS}/{unknown}")),
        (Method::GET, "/dossier/v1/requests".to_owned()),
        (Method::GET, "/dossier/v1/operations".to_owned()),
    ] {
        let answer = Answer::of(app.request_as(&editor, method, &path)).await;
        assert_eq!(answer.refused(), (403, "PERMISSION_DENIED".to_owned()), "{path}");
    }
    let theirs = app.delete(&format!("{KEYS}/{}", other.key_id)).await;
    let none = app.delete(&format!("{KEYS}/{unknown}")).await;
    let words = |answer: &Answer, id: Uuid| {
        String::from_utf8(answer.body.clone()).unwrap().replace(&id.to_string(), "ID")
    };
    assert_eq!(none.refused(), (404, "NOT_FOUND".to_owned()));
    assert_eq!((theirs.status, words(&theirs, other.key_id)), (none.status, words(&none, unknown)));
    assert_eq!(app.stored().await, before);
    let listed = app.get(KEYS).await.ok().to_string();
    assert!(!listed.contains(&other.key_id.to_string()));
    Answer::of(app.request_as(&other, Method::GET, "/dossier/v1/usage")).await.ok();
}

#[tokio::test]
async fn what_a_new_key_gets_wrong_is_named() {
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
    let answer = app.delete(&format!("{KEYS}/x")).await;
    assert_eq!(answer.violations(), [("keyId".to_owned(), "FORMAT".to_owned())]);
}

#[tokio::test]
async fn a_key_is_told_who_it_is_whatever_it_may() {
    let app = TestApp::start().await;
    let reader = app.other_key("VIEW").await;
    let asked = async |member| Answer::of(app.request_as(member, Method::GET, WHO)).await.ok();
    let who = asked(&reader).await;
    assert_eq!(
        (&who["key"]["id"], &who["key"]["scopes"], &who["key"]["role"]),
        (&json!(reader.key_id), &json!(["CONTACTS_ATTACHMENTS.VIEW"]), &json!("viewer"))
    );
    let usage = Answer::of(app.request_as(&reader, Method::GET, "/dossier/v1/usage")).await.ok();
    assert_eq!(who["site"]["id"], usage["site"]["siteId"]);
    let answer = Answer::of(app.anonymous(Method::GET, WHO)).await;
    assert_eq!(answer.refused(), (401, "UNAUTHENTICATED".to_owned()));
}
