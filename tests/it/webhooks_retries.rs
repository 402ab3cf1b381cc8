//! Failing receivers: retries, the circuit breaker, abandoned deliveries, and no effect on other
//! receivers (R18, R19).

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::eventually;
use crate::support::receiver::{OK, Receiver, Reply};
use crate::support::{Dossier, Response, TestApp};

/// The vendor's delays, in minutes (contract §11).
const MINUTES: [i64; 12] = [1, 10, 60, 120, 120, 120, 240, 240, 240, 480, 480, 720];

async fn upload(app: &TestApp, name: &str) {
    app.upload_csvs(Uuid::new_v4(), [name.to_owned()]).await;
}

/// Runs through the whole retry schedule; the last attempt gets the reply `last`.
async fn walk(app: &TestApp, receiver: &Receiver, webhook: &str, last: Reply) -> i64 {
    let mut elapsed = 0;
    for (minutes, attempt) in MINUTES.iter().zip(1..) {
        receiver.wait_for_deliveries(attempt).await;
        let delivery = app.wait_for_state(webhook, "pending", attempt).await.remove(0);
        if attempt == MINUTES.len() {
            receiver.reply(last.clone());
        }
        let waited = app.advance_to(&delivery);
        assert!((minutes * 60..=minutes * 66 + 1).contains(&waited), "{minutes} min: {waited} s");
        elapsed += waited;
    }
    receiver.wait_for_deliveries(MINUTES.len() + 1).await;
    elapsed
}

#[tokio::test]
async fn a_delivery_is_tried_thirteen_times_over_two_days_and_is_then_dead_until_replayed() {
    let (app, receiver) =
        (TestApp::start_with_webhooks().await, Receiver::start(Reply::Status(500, "")).await);
    let webhook = app.subscribe(&receiver).await;
    upload(&app, "a.csv").await;
    let elapsed = walk(&app, &receiver, &webhook, Reply::Status(500, "")).await;
    let delivery = app.wait_for_state(&webhook, "dead", 13).await.remove(0);
    assert!((47 * 3_600..52 * 3_600).contains(&elapsed), "{elapsed} s");
    let deliveries = receiver.deliveries();
    assert!(deliveries.iter().all(|item| item.id() == deliveries[0].id()));
    let mut tokens: Vec<&str> = deliveries.iter().map(|item| item.token.as_str()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 13, "each attempt has a token of its own");
    assert_eq!(delivery["attempts"][12]["problem"], "status 500, expected 200");
    app.advance_and_wake(40 * 3_600);
    let path = format!("/dossier/v1/webhooks/{webhook}/replay");
    receiver.reply(OK);
    let replayed = app.post(&path, &json!({ "eventIds": [deliveries[0].id()] })).await.ok();
    assert_eq!(replayed["replayed"], 1);
    app.wait_for_state(&webhook, "delivered", 14).await;
    let deliveries = receiver.deliveries();
    assert_eq!((deliveries.len(), deliveries[13].id()), (14, deliveries[0].id()));
}

#[tokio::test]
async fn after_47_hours_the_token_is_fresh_and_its_link_works() {
    let (app, receiver) =
        (TestApp::start_with_webhooks().await, Receiver::start(Reply::Close).await);
    let webhook = app.subscribe(&receiver).await;
    upload(&app, "late.csv").await;
    walk(&app, &receiver, &webhook, OK).await;
    app.wait_for_state(&webhook, "delivered", 13).await;
    let delivery = receiver.deliveries().pop().unwrap();
    let now_s = app.app().clock.now_ms() / 1_000;
    assert_eq!(
        (&delivery.claims["iat"], &delivery.claims["exp"]),
        (&json!(now_s), &json!(now_s + 3_600))
    );
    assert_eq!(delivery.event["eventTime"], "2027-01-15T08:00:00.000Z");
    let link = delivery.event["createdEvent"]["entity"]["document"]["url"].as_str().unwrap();
    assert_eq!(app.open(link).await.body, b"name\nlate.csv\n");
}

#[tokio::test]
async fn anything_but_a_200_in_time_is_a_failure_with_its_reason() {
    let app = TestApp::start_with_webhooks_and(&[("webhook_timeout_ms", "400")]).await;
    let elsewhere = Receiver::start(OK).await;
    let location = format!("Location: {}\r\n", elsewhere.url()).leak();
    let long_head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(60_000)).leak();
    let cases = [
        (Reply::Silence, "no response within 400 ms"),
        (Reply::Close, "the connection was closed without a response"),
        (Reply::Status(204, ""), "status 204, expected 200"),
        (Reply::Status(202, ""), "status 202, expected 200"),
        (Reply::Status(301, location), "status 301, expected 200"),
        (Reply::Status(410, ""), "status 410, expected 200"),
        (Reply::Status(503, ""), "status 503, expected 200"),
        (Reply::Bytes(b"SSH-2.0-x\r\n"), "the response is not HTTP"),
        (Reply::Bytes(long_head.as_bytes()), "the response head is larger than 16384 bytes"),
    ];
    let mut receivers = Vec::new();
    for (reply, problem) in cases {
        let receiver = Receiver::start(reply).await;
        let webhook = app.subscribe(&receiver).await;
        receivers.push((receiver, webhook, problem));
    }
    upload(&app, "a.csv").await;
    for (_, webhook, problem) in &receivers {
        let log = app.wait_for_state(webhook, "pending", 1).await;
        assert_eq!(log[0]["attempts"][0]["problem"], *problem, "{log:?}");
    }
    assert_eq!(elsewhere.connections(), 0, "a redirect was followed");
}

#[tokio::test]
async fn an_endless_body_is_cut_and_its_200_counts() {
    let (app, receiver) =
        (TestApp::start_with_webhooks().await, Receiver::start(Reply::Endless).await);
    let webhook = app.subscribe(&receiver).await;
    upload(&app, "a.csv").await;
    let log = app.wait_for_state(&webhook, "delivered", 1).await;
    let response = log[0]["attempts"][0]["response"].as_str().unwrap();
    assert_eq!(response, "x".repeat(1_024));
}

#[tokio::test]
async fn connection_and_tls_failures_are_reported() {
    let app = TestApp::start_with_webhooks_and(&[("listen_tls", "127.0.0.1:0")]).await;
    let gone = Receiver::start(OK).await.address;
    let own_tls = app.server.https.unwrap();
    let plain = Receiver::start(OK).await;
    for (url, problem) in [
        (format!("http://{gone}/"), "cannot connect: connection refused"),
        (
            format!("https://{own_tls}/"),
            "the certificate is not valid for this host, or from an unknown authority",
        ),
        (format!("https://{}/", app.server.http), "the TLS handshake failed"),
        ("https://name.invalid/".to_owned(), "the host was not found"),
    ] {
        let created = app.post("/dossier/v1/webhooks", &json!({ "url": url })).await.ok();
        let path =
            format!("/dossier/v1/webhooks/{}/test", created["webhook"]["id"].as_str().unwrap());
        let tested = app.post(&path, &json!({})).await.ok();
        assert_eq!(tested["delivery"]["attempts"][0]["problem"], problem, "{url}");
        assert_eq!(tested["delivery"]["state"], "dead", "a test is tried once");
    }
    drop(plain);
}

#[tokio::test]
async fn receivers_with_a_configured_certificate_authority_are_trusted() {
    // On the system clock, in which the certificate is valid.
    let folder = tempfile::tempdir().unwrap();
    let (receiver, ready) = Dossier::serve(folder.path(), &[]);
    let text = |name: &str| ready[name].as_str().unwrap();
    let app = TestApp::start_with_webhooks_and(&[("webhook_ca", text("caFile"))]).await;
    let url = format!("{}/contacts/v4/attachments", text("https"));
    let created = app.post("/dossier/v1/webhooks", &json!({ "url": url })).await.ok();
    let path = format!("/dossier/v1/webhooks/{}/test", created["webhook"]["id"].as_str().unwrap());
    let tested = app.post(&path, &json!({})).await.ok();
    assert_eq!(tested["delivery"]["attempts"][0]["status"], 405, "{tested}");
    receiver.stop();
}

#[tokio::test]
async fn retry_after_applies_to_all_events_of_the_receiver() {
    let busy = Reply::Status(429, "Retry-After: 600\r\n");
    let (app, receiver) = (TestApp::start_with_webhooks().await, Receiver::start(busy).await);
    let webhook = app.subscribe(&receiver).await;
    upload(&app, "a.csv").await;
    let delivery = app.wait_for_state(&webhook, "pending", 1).await.remove(0);
    assert_eq!(delivery["nextAttempt"], "2027-01-15T08:10:00.000Z");
    let shown = app.get(&format!("/dossier/v1/webhooks/{webhook}")).await.ok();
    assert_eq!(shown["webhook"]["pausedUntil"], "2027-01-15T08:10:00.000Z");
    receiver.reply(OK);
    upload(&app, "b.csv").await;
    app.advance_and_wake(599);
    assert!(!app.app().db.has_due_deliveries(app.app().clock.now_ms()).await.unwrap());
    assert_eq!(receiver.deliveries().len(), 1);
    app.advance_and_wake(1);
    receiver.wait_for_deliveries(3).await;
}

#[tokio::test]
async fn a_hanging_receiver_uses_its_own_slots_and_delays_no_other() {
    let app = TestApp::start_with_webhooks_and(&[
        ("webhook_timeout_ms", "60000"),
        ("shutdown_seconds", "1"),
    ]);
    let app = app.await;
    let dead = Receiver::start(Reply::Silence).await;
    app.subscribe(&dead).await;
    let mut healthy = Vec::new();
    for _ in 0..9 {
        let receiver = Receiver::start(OK).await;
        app.subscribe(&receiver).await;
        healthy.push(receiver);
    }
    app.upload_csvs(Uuid::new_v4(), (0..40).map(|number| format!("{number}.csv"))).await;
    for receiver in &healthy {
        receiver.wait_for_deliveries(40).await;
    }
    assert_eq!(dead.wait_for_deliveries(32).await.len(), 32, "the places of one receiver");
}

#[tokio::test]
async fn a_repeatedly_failing_receiver_is_paused_and_probed_with_one_delivery() {
    let (app, receiver) =
        (TestApp::start_with_webhooks().await, Receiver::start(Reply::Status(500, "")).await);
    let webhook = app.subscribe(&receiver).await;
    for count in 1..=5 {
        upload(&app, "failing.csv").await;
        receiver.wait_for_deliveries(count).await;
        app.wait_for_state(&webhook, "pending", 1).await;
    }
    for _ in 0..3 {
        upload(&app, "waiting.csv").await;
    }
    // The probe fails: one more attempt, and a longer pause.
    app.advance_and_wake(15);
    receiver.wait_for_deliveries(6).await;
    let path = format!("/dossier/v1/webhooks/{webhook}");
    eventually("the pause is longer", async || {
        let shown = app.get(&path).await.ok();
        shown["webhook"]["pausedUntil"] == "2027-01-15T08:00:45.000Z"
    })
    .await;
    assert_eq!(receiver.deliveries().len(), 6);
    // The next probe succeeds: everything waiting is delivered.
    receiver.reply(OK);
    app.advance_and_wake(30);
    receiver.wait_for_deliveries(8).await;
    app.advance_and_wake(120);
    receiver.wait_for_deliveries(14).await;
    eventually("all of them are delivered", async || {
        app.deliveries(&webhook).await.iter().all(|item| item["state"] == "delivered")
    })
    .await;
    let shown = app.get(&path).await.ok();
    let webhook = &shown["webhook"];
    assert_eq!((&webhook["failuresInARow"], webhook.get("pausedUntil")), (&json!(0), None));
}

#[tokio::test]
async fn deliveries_to_a_dead_receiver_are_abandoned_in_time() {
    let (app, receiver) =
        (TestApp::start_with_webhooks().await, Receiver::start(Reply::Status(500, "")).await);
    let webhook = app.subscribe(&receiver).await;
    let path = format!("/dossier/v1/webhooks/{webhook}");
    upload(&app, "a.csv").await;
    app.wait_for_state(&webhook, "pending", 1).await;
    // Deliveries of a disabled subscription wait, but not forever.
    let off = app.request(Method::PATCH, &path).json(&json!({ "enabled": false }));
    Response::to(off).await.ok();
    app.advance_and_wake(52 * 3_600);
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    app.wait_for_state(&webhook, "pending", 1).await;
    app.advance_and_wake(2 * 3_600);
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    app.wait_for_state(&webhook, "dead", 1).await;
}

#[tokio::test]
async fn a_replay_since_a_time_includes_new_subscriptions() {
    let (app, first, newcomer) = (
        TestApp::start_with_webhooks().await,
        Receiver::start(OK).await,
        Receiver::start(OK).await,
    );
    let webhook = app.subscribe(&first).await;
    upload(&app, "before.csv").await;
    app.advance_and_wake(10);
    app.upload_csvs(Uuid::new_v4(), (0..3).map(|number| format!("{number}.csv"))).await;
    first.wait_for_deliveries(4).await;
    app.wait_for_state(&webhook, "delivered", 1).await;
    let late = app.subscribe(&newcomer).await;
    let since = json!({ "since": "2027-01-15T08:00:10.000Z" });
    for webhook in [&webhook, &late] {
        let path = format!("/dossier/v1/webhooks/{webhook}/replay");
        assert_eq!(app.post(&path, &since).await.ok()["replayed"], 3);
    }
    let ids = |deliveries: Vec<crate::support::receiver::Delivery>| -> Vec<String> {
        let mut ids: Vec<String> =
            deliveries.iter().map(crate::support::receiver::Delivery::id).collect();
        ids.sort();
        ids.dedup();
        ids
    };
    assert_eq!(ids(first.wait_for_deliveries(7).await).len(), 4);
    assert_eq!(ids(newcomer.wait_for_deliveries(3).await).len(), 3);
}

#[tokio::test]
async fn old_events_and_their_log_are_deleted() {
    let (app, receiver) = (TestApp::start_with_webhooks().await, Receiver::start(OK).await);
    let webhook = app.subscribe(&receiver).await;
    upload(&app, "a.csv").await;
    app.wait_for_state(&webhook, "delivered", 1).await;
    receiver.wait_for_deliveries(1).await;
    app.advance_and_wake(31 * 86_400);
    upload(&app, "b.csv").await;
    receiver.wait_for_deliveries(2).await;
    app.wait_for_state(&webhook, "delivered", 1).await;
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    let log: Vec<Value> = app.deliveries(&webhook).await;
    assert_eq!(
        (log.len(), log[0]["eventId"].as_str().unwrap()),
        (1, receiver.deliveries()[1].id().as_str())
    );
}
