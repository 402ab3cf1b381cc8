//! An erasure leaves nothing of a person, proves it with a receipt, and survives a restore.

use std::path::Path;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use dossier::actions::contacts::continue_unfinished;
use dossier::actions::sweep::sweep;

use crate::support::files::eventually;
use crate::support::receiver::{OK, Receiver};
use crate::support::{PNG, Response, TestApp, printed};

const NO_BODY: &Value = &Value::Null;

impl TestApp {
    async fn erase(&self, contact: Uuid) -> Response {
        self.contact(Method::POST, &format!("/{contact}/erase"), NO_BODY).await
    }

    async fn receipt(&self, id: &Value) -> Value {
        self.get(&format!("/dossier/v1/receipts/{}", id.as_str().unwrap())).await.ok()
    }

    /// Waits until an erasure is complete and returns its receipt.
    async fn completed(&self, id: &Value) -> Value {
        eventually("the erasure is complete", async || {
            sweep(self.app()).await.unwrap();
            continue_unfinished(self.app()).await.unwrap();
            !self.receipt(id).await["receipt"]["completedDate"].is_null()
        })
        .await;
        self.receipt(id).await
    }
}

/// Files below a folder whose name or content contains one of the texts.
fn files_with(folder: &Path, texts: &[&str]) -> Vec<String> {
    let (mut folders, mut found) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            let bytes = if path.is_dir() { Vec::new() } else { std::fs::read(&path).unwrap() };
            for text in texts {
                let holds = bytes.windows(text.len()).any(|part| part == text.as_bytes());
                if holds || name.contains(text) {
                    found.push(format!("{name} holds {text}"));
                }
            }
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[tokio::test]
async fn an_erasure_leaves_no_trace_of_the_person_in_the_data_folder() {
    let settings = [("trash_days", "30")];
    let (app, receiver) =
        (TestApp::start_with_webhooks_and(&settings).await, Receiver::start(OK).await);
    app.subscribe(&receiver).await;
    let (contact, merged, other) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let canaries = ["CanaryName", "CanaryContent", "CanaryLabel", "CanaryPart"];
    let content = b"a,b\nCanaryContent,1\n".repeat(50);
    for (contact, label) in [(contact, "CanaryLabel one"), (merged, "CanaryLabel two")] {
        let body = json!({ "label": label });
        app.contact(Method::PUT, &format!("/{contact}"), &body).await.ok();
    }
    for number in 0..40 {
        let name = format!("CanaryName {number}.csv");
        let who = if number % 2 == 0 { contact } else { merged };
        app.upload(who, &name, "text/csv", &content).await.ok();
        app.upload(other, &format!("{number}.csv"), "text/csv", b"a,b\n1,2\n").await.ok();
    }
    app.upload(contact, "CanaryName.png", "image/png", PNG).await.ok();
    let (thrown, _) = app.upload_pdf(contact, "CanaryName thrown.pdf").await;
    app.delete(&format!("/contacts/v4/attachments/{contact}/{thrown}")).await.ok();
    let (_, upload) = app.tus_begin(contact, 1_000).await;
    app.tus_patch(&upload, 0, b"CanaryPart").await;
    let body = json!({ "sourceContactIds": [merged] });
    app.contact(Method::POST, &format!("/{contact}/merge"), &body).await.ok();
    receiver.wait_for_deliveries(83).await;
    for canary in canaries {
        assert!(!files_with(app.data(), &[canary]).is_empty(), "{canary} was planted nowhere");
    }
    let erased = app.erase(contact).await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
    assert_eq!(app.tus_patch(&upload, 10, b"more").await.rejection().0, 410);
    let receipt = app.completed(&erased["receipt"]["receiptId"]).await["receipt"].clone();
    assert_eq!(receipt["attachmentCount"], 42);
    app.wait_until_staging_is_empty().await;
    assert_eq!(files_with(app.data(), &canaries), Vec::<String>::new());
    assert_eq!(app.list(other).await.ok()["metadata"]["total"], 40);
}

#[tokio::test]
async fn receivers_learn_that_each_deletion_was_a_privacy_request() {
    let (app, receiver, contact) =
        (TestApp::start_with_webhooks().await, Receiver::start(OK).await, Uuid::new_v4());
    app.subscribe(&receiver).await;
    let ids = [app.upload_pdf(contact, "a.pdf").await.0, app.upload_pdf(contact, "b.pdf").await.0];
    receiver.wait_for_deliveries(2).await;
    app.erase(contact).await.ok();
    let deliveries = receiver.wait_for_deliveries(4).await.split_off(2);
    for id in ids {
        let of_it: Vec<_> =
            deliveries.iter().filter(|delivery| delivery.event["entityId"] == *id).collect();
        assert_eq!(of_it.len(), 1);
        assert_eq!(of_it[0].event["slug"], "deleted");
        assert_eq!(of_it[0].event["triggeredByAnonymizeRequest"], true);
    }
}

#[tokio::test]
async fn a_receipt_states_what_was_erased_and_when_and_is_signed() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let (id, _) = app.upload_pdf(contact, "a.pdf").await;
    let erased = app.erase(contact).await.ok();
    let first = &erased["receipt"];
    assert_eq!(first["attachments"], json!([{ "attachmentId": id, "bytesErasedDate": null }]));
    assert_eq!((&first["completedDate"], &first["mergedContactIds"]), (&json!(null), &json!([])));
    app.advance_seconds(5);
    let done = app.completed(&first["receiptId"]).await;
    let receipt = &done["receipt"];
    assert_eq!(receipt["requestedDate"], "2027-01-15T08:00:00.000Z");
    assert_eq!(receipt["attachments"][0]["bytesErasedDate"], "2027-01-15T08:00:05.000Z");
    assert_eq!(receipt["completedDate"], "2027-01-15T08:00:05.000Z");
    assert_eq!(receipt["contactId"], contact.to_string());
    // Repeated, also after a delete, it returns the same receipt.
    assert_eq!(app.erase(contact).await.ok()["receipt"], *receipt);
    let delete = app.contact(Method::DELETE, &format!("/{contact}"), NO_BODY).await;
    assert_eq!(delete.rejection().0, 404);
    let keys = app.get("/dossier/v1/webhooks/public-key").await.ok();
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let number = |name: &str| decode(keys["keys"][0][name].as_str().unwrap());
    let (signed, signature) = done["signed"].as_str().unwrap().rsplit_once('.').unwrap();
    let key = PublicKeyComponents { n: number("n"), e: number("e") };
    key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &decode(signature)).unwrap();
    let content = decode(signed.split('.').nth(1).unwrap());
    assert_eq!(serde_json::from_slice::<Value>(&content).unwrap(), *receipt);
    // No other site sees it.
    let other = app.other_site().await;
    let path = format!("/dossier/v1/receipts/{}", receipt["receiptId"].as_str().unwrap());
    let theirs = Response::to(app.request_as(&other, Method::GET, &path)).await;
    assert_eq!(theirs.rejection(), (404, "NOT_FOUND".to_owned()));
    let wrong = app.get("/dossier/v1/receipts/nonsense").await;
    assert_eq!(wrong.violations(), [("receiptId".to_owned(), "FORMAT".to_owned())]);
}

#[tokio::test]
async fn a_deleted_contact_can_still_be_erased() {
    let (app, contact) = (TestApp::start_with(&[("trash_days", "9")]).await, Uuid::new_v4());
    app.upload_pdf(contact, "a.pdf").await;
    app.contact(Method::DELETE, &format!("/{contact}"), NO_BODY).await.ok();
    let erased = app.erase(contact).await.ok();
    assert_eq!(erased["receipt"]["attachmentCount"], 1);
    app.completed(&erased["receipt"]["receiptId"]).await;
    assert_eq!(app.blob_files().len(), 0);
    let restore = app.contact(Method::POST, &format!("/{contact}/restore"), NO_BODY).await;
    assert_eq!(restore.rejection().0, 404);
}

#[tokio::test]
async fn restoring_an_older_backup_does_not_bring_back_an_erased_contact() {
    let app = TestApp::start_with(&[("removal_grace_seconds", "0")]).await;
    let (erased, deleted, kept) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    for contact in [erased, deleted, kept] {
        app.upload_pdf(contact, "CanaryName.pdf").await;
    }
    app.wait_until_staging_is_empty().await;
    let folder = tempfile::tempdir().unwrap();
    let (backup, target) = (folder.path().join("backup"), folder.path().join("target"));
    let data = app.data().to_str().unwrap().to_owned();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    printed(&["backup", "create", "--data", &data, &path(&backup)]);
    let receipt = app.erase(erased).await.ok()["receipt"]["receiptId"].clone();
    app.completed(&receipt).await;
    app.contact(Method::DELETE, &format!("/{deleted}"), NO_BODY).await.ok();
    // As if so much time had passed that the attachments' tombstones are gone.
    let database = rusqlite::Connection::open(app.data().join("dossier.db")).unwrap();
    database.execute("DELETE FROM tombstones", []).unwrap();
    drop(database);
    let _old = app.stop().await;
    let target_argument = path(&target);
    let arguments = ["backup", "restore", "--data", &target_argument, "--erased-in", &data];
    printed(&[&arguments[..], &[path(&backup).as_str()]].concat());
    let app = TestApp::start_on_existing(&target).await;
    assert_eq!(app.list(erased).await.ok()["metadata"]["total"], 0);
    assert_eq!(app.list(deleted).await.ok()["metadata"]["total"], 0);
    assert_eq!(app.list(kept).await.ok()["metadata"]["total"], 1);
    assert_eq!(app.blob_files().len(), 1);
    let body = json!({ "fileName": "a.pdf", "mimeType": "application/pdf" });
    assert_eq!(app.generate(erased, &body).await.rejection().0, 404);
    assert_eq!(app.erase(erased).await.ok()["receipt"]["receiptId"], receipt);
}

#[tokio::test]
async fn the_event_history_of_a_large_contact_is_deleted_in_batches_and_never_sent_again() {
    let (app, receiver) = (TestApp::start_with_webhooks().await, Receiver::start(OK).await);
    let webhook = app.subscribe(&receiver).await;
    let (contact, merged) = (Uuid::new_v4(), Uuid::new_v4());
    for (contact, count) in [(contact, 200), (merged, 160)] {
        app.upload_csvs(contact, (0..count).map(|number| format!("Canary{number}.csv"))).await;
    }
    let body = json!({ "sourceContactIds": [merged] });
    app.contact(Method::POST, &format!("/{contact}/merge"), &body).await.ok();
    app.wait_for_state(&webhook, "delivered", 1).await;
    let deliveries = receiver.deliveries().len();
    let shown = async || {
        let rows = app.snapshot().await;
        rows.iter().filter(|row| row.starts_with("events:") && row.contains("67, 97, 110")).count()
    };
    assert_eq!(shown().await, 360);
    let erased = app.erase(contact).await.ok();
    // Everything delivered becomes due again: none of it may be sent.
    let database = rusqlite::Connection::open(app.data().join("dossier.db")).unwrap();
    for statement in [
        "UPDATE deliveries SET state = 'pending', due_at_ms = 0, leased_until_ms = 0",
        "UPDATE subscriptions SET next_due_at_ms = 0",
    ] {
        database.execute(statement, []).unwrap();
    }
    app.app().db.wake_outbox();
    app.completed(&erased["receipt"]["receiptId"]).await;
    assert_eq!(shown().await, 0);
    assert_eq!(erased["receipt"]["attachmentCount"], 360);
    eventually("every deletion is delivered", async || {
        let deliveries = receiver.deliveries().split_off(deliveries);
        let gone = deliveries.iter().filter(|one| one.event["slug"] == "deleted");
        let gone: std::collections::BTreeSet<String> =
            gone.map(|one| one.event["entityId"].as_str().unwrap().to_owned()).collect();
        gone.len() == 360
    })
    .await;
    let deliveries = receiver.deliveries().split_off(deliveries);
    assert!(deliveries.iter().all(|one| one.event["slug"] == "deleted"));
}
