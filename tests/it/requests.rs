//! The most recent requests of a site, for its administrators.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Response, TestApp};

const REQUESTS: &str = "/dossier/v1/requests";

async fn list_requests(app: &TestApp, after: u64) -> Vec<Value> {
    let found = app.get(&format!("{REQUESTS}?after={after}")).await.ok();
    found["requests"].as_array().unwrap().clone()
}

#[tokio::test]
async fn requests_are_shown_by_route_and_key_without_their_url() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let viewer = app.other_key("VIEW").await;
    let other = app.other_site().await;
    app.list(contact).await.ok();
    let path = format!("/contacts/v4/attachments/{contact}/{contact}?secret=canary");
    let denied = Response::to(app.request_as(&viewer, Method::DELETE, &path)).await;
    assert_eq!(denied.status, 403);
    assert_eq!(app.get("/contacts/v4/attachments/x").await.status, 400);
    // None of these belongs to a caller of this site.
    Response::to(app.request_as(&other, Method::GET, "/dossier/v1/usage")).await.ok();
    Response::to(app.anonymous(Method::GET, "/dossier/v1/usage")).await;
    let found = list_requests(&app, 0).await;
    let facts: Vec<Value> = found
        .iter()
        .map(|item| {
            json!([item["seq"], item["method"], item["route"], item["status"], item["scope"]])
        })
        .collect();
    let (view, modify) = ("CONTACTS_ATTACHMENTS.VIEW", "CONTACTS_ATTACHMENTS.MODIFY");
    assert_eq!(
        facts,
        [
            json!([1, "GET", "/contacts/v4/attachments/{contact}", 200, view]),
            json!([2, "DELETE", "/contacts/v4/attachments/{contact}/{attachment}", 403, modify]),
            json!([3, "GET", "/contacts/v4/attachments/{contact}", 400, view]),
        ]
    );
    assert_eq!(
        (&found[1]["keyName"], &found[1]["at"]),
        (&json!("test"), &json!("2027-01-15T08:00:00.000Z"))
    );
    assert!(found[1]["durationMs"].is_u64());
    let text = json!(found).to_string();
    for secret in ["canary", &contact.to_string(), &app.key, &viewer.key] {
        assert!(!text.contains(secret), "{text}");
    }
    assert_eq!(list_requests(&app, 2).await, found[2..]);
    let theirs = Response::to(app.request_as(&other, Method::GET, REQUESTS)).await.ok();
    assert_eq!(theirs["requests"].as_array().unwrap().len(), 1);
    let response = app.get(&format!("{REQUESTS}?after=-1")).await;
    assert_eq!(response.violations(), [("after".to_owned(), "FORMAT".to_owned())]);
}

#[tokio::test]
async fn only_the_last_requests_are_kept() {
    let app = TestApp::start().await;
    for _ in 0..1_005 {
        app.get("/dossier/v1/usage").await.ok();
    }
    let found = list_requests(&app, 0).await;
    assert_eq!((found.len(), &found[0]["seq"]), (1_000, &json!(6)));
    assert_eq!(found[999]["seq"], 1_005);
}
