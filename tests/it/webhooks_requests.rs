//! Webhook requests: what is rejected by which rule, and that rejected requests change nothing
//! (S23, S31, S40).

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::receiver::{OK, Receiver};
use crate::support::{Response, TestApp};

const WEBHOOKS: &str = "/dossier/v1/webhooks";

fn rule_names(response: &Response) -> Vec<String> {
    let json = response.json();
    let violations = json["details"]["validationError"]["fieldViolations"].as_array();
    let violations = violations.unwrap_or_else(|| panic!("no violations: {json}"));
    let name = |violation: &Value| {
        let name = violation["ruleName"].as_str().or(violation["violatedRule"].as_str());
        name.unwrap().to_owned()
    };
    violations.iter().map(name).collect()
}

#[tokio::test]
async fn urls_into_private_networks_are_rejected() {
    let app = TestApp::start().await;
    let before = app.snapshot().await;
    let long = format!("https://example.com/{}", "a".repeat(2_048));
    for (url, rule) in [
        ("http://example.com/hook", "URL_SCHEME"),
        ("file:///etc/passwd", "URL_SCHEME"),
        ("https://user:secret@example.com/", "URL_CREDENTIALS"),
        ("https://example.com/#a", "URL_FRAGMENT"),
        ("https://example.com./", "URL_HOST_SPELLING"),
        ("https://2130706433/", "URL_HOST_SPELLING"),
        ("https://0x7f000001/", "URL_HOST_SPELLING"),
        ("https://127.0.0.1/", "URL_NOT_PUBLIC"),
        ("https://169.254.169.254/", "URL_NOT_PUBLIC"),
        ("https://[::ffff:127.0.0.1]/", "URL_NOT_PUBLIC"),
        ("https://localhost/", "URL_NOT_PUBLIC"),
        ("hook", "FORMAT"),
        (&long, "MAX_LENGTH"),
    ] {
        let response = app.post(WEBHOOKS, &json!({ "url": url })).await;
        assert_eq!(rule_names(&response), [rule], "{url}");
        assert_eq!(response.violations()[0].0, "url");
    }
    assert_eq!(app.snapshot().await, before);
}

#[tokio::test]
async fn every_invalid_field_is_reported_at_once() {
    let app = TestApp::start().await;
    let body = json!({
        "eventTypes": ["attachment_updated"], "appId": "x", "instanceId": 7, "enabled": "yes",
    });
    let response = app.post(WEBHOOKS, &body).await;
    let fields: Vec<String> = response.violations().into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["eventTypes", "appId", "instanceId", "enabled", "url"]);
    for (event_types, rule) in [
        (json!([]), "REQUIRED_FIELD"),
        (json!("attachment_created"), "FORMAT"),
        (json!([1]), "UNKNOWN_EVENT_TYPE"),
        (json!(["wix.contacts.v4.contact_created"]), "UNKNOWN_EVENT_TYPE"),
    ] {
        let body = json!({ "url": "https://example.com/", "eventTypes": event_types });
        assert_eq!(rule_names(&app.post(WEBHOOKS, &body).await), [rule], "{event_types}");
    }
}

#[tokio::test]
async fn a_subscription_shows_its_settings_and_changes() {
    let app = TestApp::start().await;
    let (app_id, instance_id) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let body = json!({ "url": "https://example.com", "appId": app_id, "instanceId": instance_id });
    let mut created = app.post(WEBHOOKS, &body).await.ok()["webhook"].take();
    let path = format!("{WEBHOOKS}/{}", created["id"].as_str().unwrap());
    assert_eq!(app.get(&path).await.ok()["webhook"], created);
    created.as_object_mut().unwrap().remove("id").unwrap();
    assert_eq!(
        created,
        json!({
            "url": "https://example.com/",
            "eventTypes":
                ["wix.contacts.v4.attachment_created", "wix.contacts.v4.attachment_deleted"],
            "appId": app_id, "instanceId": instance_id, "enabled": true, "failuresInARow": 0,
            "createdDate": "2027-01-15T08:00:00.000Z",
        })
    );
    let patch = json!({ "eventTypes": ["attachment_deleted"], "enabled": false });
    let changed = Response::to(app.request(Method::PATCH, &path).json(&patch)).await.ok();
    let changed = &changed["webhook"];
    assert_eq!(changed["eventTypes"], json!(["wix.contacts.v4.attachment_deleted"]));
    assert_eq!((&changed["enabled"], &changed["url"]), (&json!(false), &created["url"]));
}

#[tokio::test]
async fn all_webhook_requests_need_modify() {
    let (app, id) = (TestApp::start().await, Uuid::new_v4());
    let viewer = app.other_key("VIEW").await;
    for (method, path) in [
        (Method::GET, WEBHOOKS.to_owned()),
        (Method::POST, WEBHOOKS.to_owned()),
        (Method::GET, format!("{WEBHOOKS}/{id}")),
        (Method::PATCH, format!("{WEBHOOKS}/{id}")),
        (Method::DELETE, format!("{WEBHOOKS}/{id}")),
        (Method::POST, format!("{WEBHOOKS}/{id}/test")),
        (Method::GET, format!("{WEBHOOKS}/{id}/deliveries")),
        (Method::POST, format!("{WEBHOOKS}/{id}/replay")),
    ] {
        let denied = Response::to(app.request_as(&viewer, method.clone(), &path)).await;
        assert_eq!(denied.rejection(), (403, "PERMISSION_DENIED".to_owned()), "{method} {path}");
        let unknown = Response::to(app.anonymous(method.clone(), &path)).await;
        assert_eq!(unknown.rejection().0, 401, "{method} {path}");
    }
}

#[tokio::test]
async fn ids_and_times_are_validated() {
    let (app, receiver) = (TestApp::start_with_webhooks().await, Receiver::start(OK).await);
    let webhook = app.subscribe(&receiver).await;
    let unknown = Uuid::new_v4();
    assert_eq!(app.get(&format!("{WEBHOOKS}/{unknown}")).await.rejection().0, 404);
    let response = app.get(&format!("{WEBHOOKS}/undefined")).await;
    assert_eq!(response.violations(), [("webhookId".to_owned(), "FORMAT".to_owned())]);
    let path = format!("{WEBHOOKS}/{webhook}/replay");
    for (body, field) in [
        (json!({}), "eventIds"),
        (json!({ "eventIds": "all" }), "eventIds"),
        (json!({ "eventIds": ["x"] }), "eventIds"),
        (json!({ "eventIds": vec![unknown.to_string(); 1_001] }), "eventIds"),
        (json!({ "since": "yesterday" }), "since"),
        (json!({ "since": "2027-01-15T08:00:00Z", "eventIds": [] }), "since"),
    ] {
        let response = app.post(&path, &body).await;
        assert_eq!(response.violations()[0].0, field, "{body}");
    }
    let unknown = app.post(&path, &json!({ "eventIds": [unknown.to_string()] })).await.ok();
    assert_eq!(unknown["replayed"], 0);
    for (query, field) in [("state=lost", "state"), ("limit=101", "limit"), ("before=x", "before")]
    {
        let response = app.get(&format!("{WEBHOOKS}/{webhook}/deliveries?{query}")).await;
        assert_eq!(response.violations()[0].0, field, "{query}");
    }
}

#[tokio::test]
async fn the_log_is_paged_and_filtered_by_state() {
    let (app, receiver) = (TestApp::start_with_webhooks().await, Receiver::start(OK).await);
    let webhook = app.subscribe(&receiver).await;
    app.upload_csvs(Uuid::new_v4(), (0..5).map(|number| format!("{number}.csv"))).await;
    receiver.wait_for_deliveries(5).await;
    let all = app.wait_for_state(&webhook, "delivered", 1).await;
    let path = format!("{WEBHOOKS}/{webhook}/deliveries");
    let before = all[1]["eventId"].as_str().unwrap();
    let page = app.get(&format!("{path}?limit=2&before={before}")).await.ok();
    assert_eq!(page["deliveries"], json!(&all[2..4]));
    let dead = app.get(&format!("{path}?state=dead")).await.ok();
    assert_eq!(dead["deliveries"], json!([]));
}

#[tokio::test]
async fn a_test_delivers_one_generated_event_and_shows_the_response() {
    let (app, receiver) = (TestApp::start_with_webhooks().await, Receiver::start(OK).await);
    let webhook = app.subscribe_to(&receiver, &["attachment_deleted"]).await;
    let tested = app.post(&format!("{WEBHOOKS}/{webhook}/test"), &json!({})).await.ok();
    assert_eq!(tested["delivery"]["state"], "delivered");
    assert_eq!(tested["delivery"]["attempts"][0]["status"], 200);
    let deliveries = receiver.deliveries();
    assert_eq!((deliveries.len(), &deliveries[0].event["slug"]), (1, &json!("deleted")));
}
