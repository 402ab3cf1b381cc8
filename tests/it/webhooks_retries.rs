//! Receivers that fail: when they are tried again, when they are left alone, when a delivery is
//! given up, and that no other receiver notices (R18, R19).

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::eventually;
use crate::support::receiver::{OK, Receiver, Reply};
use crate::support::{Answer, Dossier, TestApp};

/// The vendor's delays, in minutes (contract §11).
const MINUTES: [i64; 12] = [1, 10, 60, 120, 120, 120, 240, 240, 240, 480, 480, 720];

async fn upload(app: &TestApp, name: &str) {
    app.upload_csvs(Uuid::new_v4(), [name.to_owned()]).await;
}

/// Walks the whole schedule; the last attempt is answered by `last`.
async fn walk(app: &TestApp, receiver: &Receiver, webhook: &str, last: Reply) -> i64 {
    let mut elapsed = 0;
    for (minutes, attempt) in MINUTES.iter().zip(1..) {
        receiver.told_times(attempt).await;
        let delivery = app.settled(webhook, "pending", attempt).await.remove(0);
        if attempt == MINUTES.len() {
            receiver.reply(last.clone());
        }
        let waited = app.advance_to(&delivery);
        assert!((minutes * 60..=minutes * 66 + 1).contains(&waited), "{minutes} min: {waited} s");
        elapsed += waited;
    }
    receiver.told_times(MINUTES.len() + 1).await;
    elapsed
}

#[tokio::test]
async fn a_delivery_is_tried_thirteen_times_over_two_days_and_is_then_dead_until_it_is_replayed() {
    let (app, receiver) = (TestApp::telling().await, Receiver::start(Reply::Status(500, "")).await);
    let webhook = app.subscribe(&receiver).await;
    upload(&app, "a.csv").await;
    let elapsed = walk(&app, &receiver, &webhook, Reply::Status(500, "")).await;
    let delivery = app.settled(&webhook, "dead", 13).await.remove(0);
    assert!((47 * 3_600..52 * 3_600).contains(&elapsed), "{elapsed} s");
    let told = receiver.told();
    assert!(told.iter().all(|one| one.id() == told[0].id()));
    let mut tokens: Vec<&str> = told.iter().map(|one| one.token.as_str()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 13, "each attempt has a token of its own");
    assert_eq!(delivery["attempts"][12]["problem"], "answered 500, not 200");
    app.advance_and_look(40 * 3_600);
    let path = format!("/dossier/v1/webhooks/{webhook}/replay");
    receiver.reply(OK);
    let replayed = app.post(&path, &json!({ "eventIds": [told[0].id()] })).await.ok();
    assert_eq!(replayed["replayed"], 1);
    app.settled(&webhook, "delivered", 14).await;
    let told = receiver.told();
    assert_eq!((told.len(), told[13].id()), (14, told[0].id()));
}

#[tokio::test]
async fn after_47_hours_the_token_is_fresh_and_its_link_opens() {
    let (app, receiver) = (TestApp::telling().await, Receiver::start(Reply::Close).await);
    let webhook = app.subscribe(&receiver).await;
    upload(&app, "late.csv").await;
    walk(&app, &receiver, &webhook, OK).await;
    app.settled(&webhook, "delivered", 13).await;
    let told = receiver.told().pop().unwrap();
    let now_s = app.app().clock.now_ms() / 1_000;
    assert_eq!((&told.claims["iat"], &told.claims["exp"]), (&json!(now_s), &json!(now_s + 3_600)));
    assert_eq!(told.event["eventTime"], "2027-01-15T08:00:00.000Z");
    let link = told.event["createdEvent"]["entity"]["document"]["url"].as_str().unwrap();
    assert_eq!(app.open(link).await.body, b"name\nlate.csv\n");
}

#[tokio::test]
async fn everything_but_a_200_in_time_is_a_failure_and_says_why() {
    let app = TestApp::telling_with(&[("webhook_timeout_ms", "400")]).await;
    let elsewhere = Receiver::start(OK).await;
    let location = format!("Location: {}\r\n", elsewhere.url()).leak();
    let long_head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(60_000)).leak();
    let cases = [
        (Reply::Silence, "no answer within 400 ms"),
        (Reply::Close, "the connection was closed without an answer"),
        (Reply::Status(204, ""), "answered 204, not 200"),
        (Reply::Status(202, ""), "answered 202, not 200"),
        (Reply::Status(301, location), "answered 301, not 200"),
        (Reply::Status(410, ""), "answered 410, not 200"),
        (Reply::Status(503, ""), "answered 503, not 200"),
        (Reply::Bytes(b"SSH-2.0-x\r\n"), "the answer is not HTTP"),
        (Reply::Bytes(long_head.as_bytes()), "the answer's head is larger than 16384 bytes"),
    ];
    let mut receivers = Vec::new();
    for (reply, problem) in cases {
        let receiver = Receiver::start(reply).await;
        let webhook = app.subscribe(&receiver).await;
        receivers.push((receiver, webhook, problem));
    }
    upload(&app, "a.csv").await;
    for (_, webhook, problem) in &receivers {
        let log = app.settled(webhook, "pending", 1).await;
        assert_eq!(log[0]["attempts"][0]["problem"], *problem, "{log:?}");
    }
    assert_eq!(elsewhere.connections(), 0, "a redirect was followed");
}

#[tokio::test]
async fn a_body_without_end_is_cut_and_the_200_before_it_counts() {
    let (app, receiver) = (TestApp::telling().await, Receiver::start(Reply::Endless).await);
    let webhook = app.subscribe(&receiver).await;
    upload(&app, "a.csv").await;
    let log = app.settled(&webhook, "delivered", 1).await;
    let response = log[0]["attempts"][0]["response"].as_str().unwrap();
    assert_eq!(response, "x".repeat(1_024));
}

#[tokio::test]
async fn where_nobody_listens_or_speaks_tls_it_says_so() {
    let app = TestApp::telling_with(&[("listen_tls", "127.0.0.1:0")]).await;
    let gone = Receiver::start(OK).await.address;
    let own_tls = app.server.https.unwrap();
    let plain = Receiver::start(OK).await;
    for (url, problem) in [
        (format!("http://{gone}/"), "cannot connect: connection refused"),
        (
            format!("https://{own_tls}/"),
            "the certificate is not valid for this host, or of an unknown authority",
        ),
        (format!("https://{}/", app.server.http), "TLS could not be agreed on"),
        ("https://name.invalid/".to_owned(), "the host was not found"),
    ] {
        let made = app.post("/dossier/v1/webhooks", &json!({ "url": url })).await.ok();
        let path = format!("/dossier/v1/webhooks/{}/test", made["webhook"]["id"].as_str().unwrap());
        let tested = app.post(&path, &json!({})).await.ok();
        assert_eq!(tested["delivery"]["attempts"][0]["problem"], problem, "{url}");
        assert_eq!(tested["delivery"]["state"], "dead", "a test is tried once");
    }
    drop(plain);
}

#[tokio::test]
async fn a_file_of_authorities_makes_their_receivers_known() {
    // On the system's clock, as the certificate is.
    let folder = tempfile::tempdir().unwrap();
    let (receiver, ready) = Dossier::serve(folder.path(), &[]);
    let text = |name: &str| ready[name].as_str().unwrap();
    let app = TestApp::telling_with(&[("webhook_ca", text("caFile"))]).await;
    let url = format!("{}/contacts/v4/attachments", text("https"));
    let made = app.post("/dossier/v1/webhooks", &json!({ "url": url })).await.ok();
    let path = format!("/dossier/v1/webhooks/{}/test", made["webhook"]["id"].as_str().unwrap());
    let tested = app.post(&path, &json!({})).await.ok();
    assert_eq!(tested["delivery"]["attempts"][0]["status"], 405, "{tested}");
    receiver.stop();
}

#[tokio::test]
async fn retry_after_is_kept_for_all_events_of_the_receiver() {
    let busy = Reply::Status(429, "Retry-After: 600\r\n");
    let (app, receiver) = (TestApp::telling().await, Receiver::start(busy).await);
    let webhook = app.subscribe(&receiver).await;
    upload(&app, "a.csv").await;
    let delivery = app.settled(&webhook, "pending", 1).await.remove(0);
    assert_eq!(delivery["nextAttempt"], "2027-01-15T08:10:00.000Z");
    let shown = app.get(&format!("/dossier/v1/webhooks/{webhook}")).await.ok();
    assert_eq!(shown["webhook"]["pausedUntil"], "2027-01-15T08:10:00.000Z");
    receiver.reply(OK);
    upload(&app, "b.csv").await;
    app.advance_and_look(599);
    assert!(!app.app().db.has_due_deliveries(app.app().clock.now_ms()).await.unwrap());
    assert_eq!(receiver.told().len(), 1);
    app.advance_and_look(1);
    receiver.told_times(3).await;
}

#[tokio::test]
async fn a_receiver_that_hangs_keeps_its_own_places_and_delays_no_other() {
    let app = TestApp::telling_with(&[("webhook_timeout_ms", "60000"), ("shutdown_seconds", "1")]);
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
        receiver.told_times(40).await;
    }
    assert_eq!(dead.told_times(32).await.len(), 32, "the places of one receiver");
}

#[tokio::test]
async fn a_receiver_that_fails_again_and_again_is_left_alone_and_tried_by_one() {
    let (app, receiver) = (TestApp::telling().await, Receiver::start(Reply::Status(500, "")).await);
    let webhook = app.subscribe(&receiver).await;
    for count in 1..=5 {
        upload(&app, "failing.csv").await;
        receiver.told_times(count).await;
        app.settled(&webhook, "pending", 1).await;
    }
    for _ in 0..3 {
        upload(&app, "waiting.csv").await;
    }
    // The probe fails: one more attempt, and a longer pause.
    app.advance_and_look(15);
    receiver.told_times(6).await;
    let path = format!("/dossier/v1/webhooks/{webhook}");
    eventually("it is left alone for longer", async || {
        let shown = app.get(&path).await.ok();
        shown["webhook"]["pausedUntil"] == "2027-01-15T08:00:45.000Z"
    })
    .await;
    assert_eq!(receiver.told().len(), 6);
    // The next one does not: all that wait are told.
    receiver.reply(OK);
    app.advance_and_look(30);
    receiver.told_times(8).await;
    app.advance_and_look(120);
    receiver.told_times(14).await;
    eventually("all of them are delivered", async || {
        app.deliveries(&webhook).await.iter().all(|one| one["state"] == "delivered")
    })
    .await;
    let shown = app.get(&path).await.ok();
    let webhook = &shown["webhook"];
    assert_eq!((&webhook["failuresInARow"], webhook.get("pausedUntil")), (&json!(0), None));
}

#[tokio::test]
async fn what_waits_for_a_dead_receiver_is_given_up_in_time() {
    let (app, receiver) = (TestApp::telling().await, Receiver::start(Reply::Status(500, "")).await);
    let webhook = app.subscribe(&receiver).await;
    let path = format!("/dossier/v1/webhooks/{webhook}");
    upload(&app, "a.csv").await;
    app.settled(&webhook, "pending", 1).await;
    // Whoever disables it lets it wait, but not for ever.
    let off = app.request(Method::PATCH, &path).json(&json!({ "enabled": false }));
    Answer::of(off).await.ok();
    app.advance_and_look(52 * 3_600);
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    app.settled(&webhook, "pending", 1).await;
    app.advance_and_look(2 * 3_600);
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    app.settled(&webhook, "dead", 1).await;
}

#[tokio::test]
async fn everything_since_a_time_is_told_again_and_to_newcomers() {
    let (app, first, newcomer) =
        (TestApp::telling().await, Receiver::start(OK).await, Receiver::start(OK).await);
    let webhook = app.subscribe(&first).await;
    upload(&app, "before.csv").await;
    app.advance_and_look(10);
    app.upload_csvs(Uuid::new_v4(), (0..3).map(|number| format!("{number}.csv"))).await;
    first.told_times(4).await;
    app.settled(&webhook, "delivered", 1).await;
    let late = app.subscribe(&newcomer).await;
    let since = json!({ "since": "2027-01-15T08:00:10.000Z" });
    for webhook in [&webhook, &late] {
        let path = format!("/dossier/v1/webhooks/{webhook}/replay");
        assert_eq!(app.post(&path, &since).await.ok()["replayed"], 3);
    }
    let ids = |told: Vec<crate::support::receiver::Told>| -> Vec<String> {
        let mut ids: Vec<String> = told.iter().map(crate::support::receiver::Told::id).collect();
        ids.sort();
        ids.dedup();
        ids
    };
    assert_eq!(ids(first.told_times(7).await).len(), 4);
    assert_eq!(ids(newcomer.told_times(3).await).len(), 3);
}

#[tokio::test]
async fn old_events_and_their_log_are_forgotten() {
    let (app, receiver) = (TestApp::telling().await, Receiver::start(OK).await);
    let webhook = app.subscribe(&receiver).await;
    upload(&app, "a.csv").await;
    app.settled(&webhook, "delivered", 1).await;
    receiver.told_times(1).await;
    app.advance_and_look(31 * 86_400);
    upload(&app, "b.csv").await;
    receiver.told_times(2).await;
    app.settled(&webhook, "delivered", 1).await;
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    let log: Vec<Value> = app.deliveries(&webhook).await;
    assert_eq!(
        (log.len(), log[0]["eventId"].as_str().unwrap()),
        (1, receiver.told()[1].id().as_str())
    );
}
