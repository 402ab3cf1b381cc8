//! `dossier webhook`, `trigger` and `listen` while a server runs.

use serde_json::{Value, json};

use crate::support::files::eventually;
use crate::support::receiver::{Delivery, OK, Receiver, Reply};
use crate::support::{Dossier, TestApp, failure, printed, run};

/// Runs a command on a server's data folder and parses the JSON it prints.
fn json_of(app: &TestApp, arguments: &[&str]) -> Value {
    let data = app.data().to_str().unwrap();
    let out = printed(&[arguments, &["--json", "--data", data]].concat());
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// A server on the system clock, which the commands use too.
fn serve(folder: &tempfile::TempDir) -> (Dossier, String, String) {
    let (server, ready) = Dossier::serve(folder.path(), &[]);
    let text = |name: &str| ready[name].as_str().unwrap().to_owned();
    (server, text("http"), text("apiKey"))
}

async fn upload(base: &str, key: &str) {
    let client = reqwest::Client::new();
    let contact = uuid::Uuid::new_v4();
    let url = client
        .post(format!("{base}/contacts/v4/attachments/{contact}/upload-url"))
        .header("authorization", key)
        .json(&json!({ "fileName": "a.csv", "mimeType": "text/csv" }));
    let url: Value = url.send().await.unwrap().json().await.unwrap();
    let put = client.put(url["uploadUrl"].as_str().unwrap()).body("a,b\n1,2\n");
    assert_eq!(put.send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_created_shown_tested_replayed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (server, base, key) = serve(&folder);
    let receiver = Receiver::start(OK).await;
    let data = folder.path().to_str().unwrap();
    let command = |arguments: &[&str]| -> Value {
        let out = printed(&[arguments, &["--json", "--data", data]].concat());
        serde_json::from_str(&out).unwrap()
    };
    let url = receiver.url();
    let error = failure(&["webhook", "add", &url, "--data", data]);
    assert!(error.contains("the URL must begin with https://"), "{error}");
    let created = command(&["webhook", "add", &url, "--local", "--events", "attachment_created"]);
    let id = created["id"].as_str().unwrap();
    assert_eq!(command(&["webhook", "list"])["webhooks"][0]["id"], *id);
    let tested = command(&["webhook", "test", id]);
    assert_eq!(tested["attempts"][0]["status"], 200);
    // A received event is replayed only once it is recorded as delivered.
    let settled = async || {
        eventually("all is delivered", async || {
            let log = command(&["webhook", "deliveries", id]);
            let log = log["deliveries"].as_array().unwrap().clone();
            log.iter().all(|item| item["state"] == "delivered")
        })
        .await;
    };
    upload(&base, &key).await;
    let delivery = receiver.wait_for_deliveries(2).await.remove(1);
    let log = command(&["webhook", "deliveries", id]);
    assert_eq!(log["deliveries"][0]["eventId"], delivery.id());
    settled().await;
    let replayed = command(&["webhook", "replay", id, "--event", &delivery.id()]);
    assert_eq!(replayed["replayed"], 1);
    assert_eq!(receiver.wait_for_deliveries(3).await[2].id(), delivery.id());
    settled().await;
    let since = command(&["webhook", "replay", id, "--since", "2020-01-01T00:00:00Z"]);
    assert_eq!(since["replayed"], 2);
    receiver.wait_for_deliveries(5).await;
    settled().await;
    let text = printed(&["webhook", "deliveries", id, "--data", data]);
    assert!(text.contains("delivered") && text.contains("200, "), "{text}");
    receiver.reply(Reply::Status(500, ""));
    let failed = run(&["webhook", "test", id, "--data", data]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.out.contains("status 500, expected 200"), "{failed:?}");
    printed(&["webhook", "remove", id, "--data", data]);
    assert_eq!(command(&["webhook", "list"])["webhooks"], json!([]));
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_key_is_shown_in_three_formats_and_rotated() {
    let app = TestApp::start_with_webhooks().await;
    let data = app.data().to_str().unwrap();
    let pem = printed(&["webhook", "public-key", "--data", data]);
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{pem}");
    let line = printed(&["webhook", "public-key", "--base64", "--data", data]);
    assert!(!line.contains('\n') && line.starts_with("LS0tLS1CRUdJTiBQVUJMSUMg"), "{line}");
    let before = json_of(&app, &["webhook", "public-key"]);
    let rotated = printed(&["webhook", "rotate-key", "--after-hours", "1", "--data", data]);
    assert!(rotated.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{rotated}");
    let after = json_of(&app, &["webhook", "public-key"]);
    let keys = after["keys"].as_array().unwrap();
    assert_eq!((keys.len(), &keys[0]), (2, &before["keys"][0]));
    assert_eq!(printed(&["webhook", "public-key", "--data", data]), pem);
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_forwards_events_and_ends_with_its_subscription() {
    let folder = tempfile::tempdir().unwrap();
    let (server, base, key) = serve(&folder);
    let data = folder.path().to_str().unwrap();
    let receiver = Receiver::start(OK).await;
    let forward = receiver.url();
    let listen = ["listen", "--json", "--forward", &forward, "--data", data];
    let mut listen = Dossier::start(&listen, &[]);
    let started: Value = listen.ready();
    upload(&base, &key).await;
    let first = listen.ready();
    assert_eq!((&first["outcome"], &first["slug"]), (&json!("200"), &json!("created")));
    assert_eq!(receiver.wait_for_deliveries(1).await[0].id(), first["eventId"].as_str().unwrap());
    let triggered = printed(&["trigger", "attachment_deleted", "--json", "--data", data]);
    let triggered: Value = serde_json::from_str(&triggered).unwrap();
    assert_eq!(triggered["webhooks"], 1);
    let second = listen.ready();
    assert_eq!((&second["eventId"], &second["slug"]), (&triggered["eventId"], &json!("deleted")));
    // The receiver's response is passed back to the server.
    receiver.reply(Reply::Status(500, ""));
    upload(&base, &key).await;
    assert_eq!(listen.ready()["outcome"], "500");
    listen.stop();
    let list = printed(&["webhook", "list", "--json", "--data", data]);
    assert!(!list.contains(started["webhookId"].as_str().unwrap()), "{list}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_repeats_and_reorders_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let (server, base, key) = serve(&folder);
    let data = folder.path().to_str().unwrap();
    let receiver = Receiver::start(OK).await;
    let forward = receiver.url();
    let mut listen = Dossier::start(
        &["listen", "--forward", &forward, "--data", data, "--repeat", "100", "--json"],
        &[],
    );
    listen.ready();
    upload(&base, &key).await;
    let deliveries = receiver.wait_for_deliveries(2).await;
    assert_eq!(deliveries[0].id(), deliveries[1].id());
    let labels = [listen.ready()["label"].clone(), listen.ready()["label"].clone()];
    assert_eq!(labels, [json!(""), json!("again")]);
    listen.stop();
    // An event that is held back follows the next one if that comes within two seconds, which a
    // busy machine may miss.
    let mut listen = Dossier::start(
        &[
            "listen",
            "--forward",
            &forward,
            "--data",
            data,
            "--reorder",
            "50",
            "--seed",
            "3",
            "--json",
        ],
        &[],
    );
    listen.ready();
    let is_reordered = async |round: usize| {
        for _ in 0..4 {
            printed(&["trigger", "attachment_created", "--data", data]);
        }
        let deliveries = receiver.wait_for_deliveries(2 + 4 * (round + 1)).await.split_off(2);
        let sequence: Vec<String> = deliveries.iter().map(Delivery::id).collect();
        !sequence.is_sorted()
    };
    let mut round = 0;
    while !is_reordered(round).await {
        round += 1;
        assert!(round < 20, "nothing was reordered");
    }
    listen.stop();
    server.stop();
}
