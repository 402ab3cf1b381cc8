//! Deleted attachments and contacts can be restored while they are in the trash.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use dossier::actions::sweep::sweep;

use crate::support::files::PDF;
use crate::support::receiver::{OK, Receiver};
use crate::support::{START_MS, TestApp};

const DAY: i64 = 24 * 60 * 60;
const NO_BODY: &Value = &Value::Null;

async fn with_trash() -> TestApp {
    let settings = [("trash_days", "30"), ("removal_grace_seconds", "0")];
    TestApp::start_with_webhooks_and(&settings).await
}

impl TestApp {
    async fn restore(&self, contact: Uuid, attachment: &str) -> crate::support::Response {
        let path = format!("/{contact}/attachments/{attachment}/restore");
        self.contact(Method::POST, &path, NO_BODY).await
    }

    /// Checks that rows and files agree and all counters are right.
    async fn assert_consistent(&self) {
        self.wait_until_staging_is_empty().await;
        let blobs = dossier::blobs::Blobs::open(self.data(), &self.app().config).unwrap();
        let look = dossier::actions::fsck::CheckOptions { hash: true, offline: false };
        let report =
            self.inspect(|rows| dossier::actions::fsck::check(rows, &blobs, look).unwrap());
        let found: Vec<_> = report.findings.iter().map(|one| &one.detail).collect();
        assert_eq!(found, Vec::<&String>::new());
    }
}

#[tokio::test]
async fn a_deleted_attachment_is_hidden_and_restored_with_its_id_and_link() {
    let (app, receiver, contact) = (with_trash().await, Receiver::start(OK).await, Uuid::new_v4());
    app.subscribe(&receiver).await;
    let (id, link) = app.upload_pdf(contact, "a.pdf").await;
    let before = app.list(contact).await.ok();
    let path = format!("/contacts/v4/attachments/{contact}/{id}");
    app.delete(&path).await.ok();
    assert_eq!(app.get(&path).await.rejection(), (404, "NOT_FOUND".to_owned()));
    assert_eq!(app.delete(&path).await.rejection(), (404, "NOT_FOUND".to_owned()));
    assert_eq!(app.open(&link).await.status, 404);
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
    let trash = app.contact(Method::GET, &format!("/{contact}/trash"), NO_BODY).await.ok();
    assert_eq!(
        trash["attachments"],
        json!([{
            "id": id, "fileName": "a.pdf", "sizeInBytes": PDF.len().to_string(),
            "deletedDate": "2027-01-15T08:00:00.000Z", "purgeDate": "2027-02-14T08:00:00.000Z",
        }])
    );
    app.advance_seconds(30 * DAY - 1);
    sweep(app.app()).await.unwrap();
    app.assert_consistent().await;
    // Not by another contact or with another id.
    assert_eq!(app.restore(Uuid::new_v4(), &id).await.rejection().0, 404);
    assert_eq!(app.restore(contact, &Uuid::new_v4().to_string()).await.rejection().0, 404);
    app.restore(contact, &id).await.ok();
    assert_eq!(app.restore(contact, &id).await.rejection().0, 404);
    app.assert_consistent().await;
    let after = app.list(contact).await.ok();
    assert_eq!(after["metadata"], before["metadata"]);
    assert_eq!(after["attachments"][0]["id"], id);
    let link = after["attachments"][0]["document"]["url"].as_str().unwrap();
    assert_eq!(app.open(link).await.body, PDF);
    app.advance_and_wake(0);
    let deliveries = receiver.wait_for_deliveries(3).await;
    let back =
        deliveries.iter().find(|delivery| delivery.event["entityEventSequence"] == "3").unwrap();
    assert_eq!(back.event["slug"], "created");
    let deleted = &back.event["createdEvent"]["restoreInfo"]["deletedDate"];
    assert_eq!(deleted, "2027-01-15T08:00:00.000Z");
    assert_eq!(back.event["createdEvent"]["entity"]["id"], id);
}

#[tokio::test]
async fn after_the_trash_period_row_and_bytes_are_gone() {
    let (app, contact) = (with_trash().await, Uuid::new_v4());
    let (id, _) = app.upload_pdf(contact, "a.pdf").await;
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    app.advance_seconds(30 * DAY);
    // Even before a sweep has run.
    assert_eq!(app.restore(contact, &id).await.rejection().0, 404);
    assert_eq!(app.blob_files().len(), 1);
    sweep(app.app()).await.unwrap();
    sweep(app.app()).await.unwrap();
    assert_eq!(app.blob_files().len(), 0);
    app.assert_consistent().await;
}

#[tokio::test]
async fn a_contact_is_restored_with_what_was_deleted_with_it() {
    let (app, contact) = (with_trash().await, Uuid::new_v4());
    app.contact(Method::PUT, &format!("/{contact}"), &json!({ "label": "Anna" })).await.ok();
    let (before, _) = app.upload_pdf(contact, "before.pdf").await;
    let (id, link) = app.upload_pdf(contact, "a.pdf").await;
    app.delete(&format!("/contacts/v4/attachments/{contact}/{before}")).await.ok();
    let path = format!("/{contact}");
    app.contact(Method::DELETE, &path, NO_BODY).await.ok();
    assert_eq!(app.open(&link).await.status, 404);
    let shown = app.contact(Method::GET, &path, NO_BODY).await.ok()["contact"].clone();
    assert_eq!((&shown["state"], &shown["attachmentCount"]), (&json!("TRASHED"), &json!(0)));
    assert_eq!(shown["purgeDate"], "2027-02-14T08:00:00.000Z");
    // Attachments in the trash are not created again.
    let again = app.contact(Method::PUT, &path, NO_BODY).await;
    assert_eq!(again.rejection(), (409, "CONTACT_GONE".to_owned()));
    assert_eq!(app.restore(contact, &id).await.rejection().0, 404);
    let body = json!({ "fileName": "a.pdf", "mimeType": "application/pdf" });
    assert_eq!(app.generate(contact, &body).await.rejection().0, 404);
    app.assert_consistent().await;
    let restored = app.contact(Method::POST, &format!("/{contact}/restore"), NO_BODY).await.ok();
    assert_eq!(restored["contact"]["label"], "Anna");
    assert_eq!(restored["contact"]["state"], "ACTIVE");
    assert_eq!(app.list_all(contact, "id").await, [id]);
    assert_eq!(app.open(&link).await.body, PDF);
    app.assert_consistent().await;
    // Attachments deleted individually stay in the trash.
    app.restore(contact, &before).await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 2);
    // After the trash period nothing is left.
    app.contact(Method::DELETE, &path, NO_BODY).await.ok();
    app.advance_seconds(31 * DAY);
    sweep(app.app()).await.unwrap();
    sweep(app.app()).await.unwrap();
    assert_eq!(app.contact(Method::GET, &path, NO_BODY).await.rejection().0, 404);
    assert_eq!(app.blob_files().len(), 0);
}

#[tokio::test]
async fn a_restore_does_not_exceed_a_quota() {
    let settings = [("trash_days", "30"), ("contact_max_files", "1")];
    let (app, contact) = (TestApp::start_with(&settings).await, Uuid::new_v4());
    let (id, _) = app.upload_pdf(contact, "a.pdf").await;
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    let (other, _) = app.upload_pdf(contact, "b.pdf").await;
    let rejected = app.restore(contact, &id).await.rejection();
    assert_eq!(rejected, (403, "QUOTA_EXCEEDED".to_owned()));
    app.delete(&format!("/contacts/v4/attachments/{contact}/{other}")).await.ok();
    app.restore(contact, &id).await.ok();
    assert_eq!(app.list_all(contact, "id").await, [id]);
}

#[tokio::test]
async fn a_large_contact_is_trashed_and_restored_in_batches() {
    // The rows matter here. Their bytes would take a minute to reach a bucket.
    let settings = [("trash_days", "30"), ("blobs", "local"), ("blobs_credentials_file", "")];
    let (app, contact) = (TestApp::start_with(&settings).await, Uuid::new_v4());
    app.upload_many_csvs(contact, 520).await;
    let ids = app.list_all(contact, "id").await;
    app.contact(Method::DELETE, &format!("/{contact}"), NO_BODY).await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
    let path = format!("/contacts/v4/attachments/{contact}/{}", ids[519]);
    assert_eq!(app.get(&path).await.rejection().0, 404);
    assert_eq!(app.delete(&path).await.rejection().0, 404);
    app.assert_consistent().await;
    while app.app().db.continue_closing(START_MS).await.unwrap() {}
    app.assert_consistent().await;
    let restore = format!("/{contact}/restore");
    let back = app.contact(Method::POST, &restore, NO_BODY).await.ok();
    assert_eq!(back["contact"]["attachmentCount"], 520);
    assert_eq!(app.list_all(contact, "id").await, ids);
    app.assert_consistent().await;
}
