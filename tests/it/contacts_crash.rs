//! The real program, killed between two batches of closing a contact. The next start continues, and
//! exactly one event is published for every attachment.

use std::collections::HashMap;
use std::path::Path;

use dossier::db::{DatabaseLocation, Inspection};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::eventually;
use crate::support::receiver::{OK, Receiver};
use crate::webhooks_crash::Real;

/// More than two batches.
const FILES: usize = 1_300;
/// Concurrent uploads.
const SENDERS: usize = 16;
/// A kill after the last batch proves nothing and is tried again.
const MAX_ATTEMPTS: usize = 5;

fn count(data: &Path, query: &str) -> i64 {
    let database = rusqlite::Connection::open(data.join("dossier.db")).unwrap();
    database.query_row(query, [], |row| row.get(0)).unwrap()
}

async fn fill(server: &Real, contact: Uuid) {
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..SENDERS {
        let client = server.client.clone();
        senders.spawn(async move {
            for _ in 0..FILES / SENDERS {
                client.upload_for(contact).await.unwrap();
            }
        });
    }
    while let Some(done) = senders.join_next().await {
        done.unwrap();
    }
}

/// Closes a contact and kills the server at once; returns whether batches were left.
async fn close_and_kill(
    server: Real,
    data: &Path,
    contact: Uuid,
    (method, end): (Method, &str),
) -> (Real, bool) {
    let path = format!("/dossier/v1/contacts/{contact}{end}");
    server.client.ask(method, &path).await;
    server.process.signal("KILL");
    let server = server.wait();
    let is_unfinished = count(data, "SELECT count(*) FROM contact_closings") > 0;
    (server.start_again(data), is_unfinished)
}

async fn is_removed_completely(request: (Method, &str)) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let receiver = Receiver::start(OK).await;
    let mut server = Real::start(data, None);
    server.client.subscribe_to(&receiver, &["attachment_deleted"]).await;
    let (mut contacts, mut was_unfinished) = (0, false);
    while !was_unfinished {
        assert!(contacts < MAX_ATTEMPTS, "no kill came between two batches");
        let contact = Uuid::new_v4();
        fill(&server, contact).await;
        contacts += 1;
        (server, was_unfinished) = close_and_kill(server, data, contact, request.clone()).await;
        // True from the first batch on, whatever happened to the rest.
        let list = format!("/contacts/v4/attachments/{contact}");
        let list = server.client.ask(Method::GET, &list).await;
        assert_eq!(list["metadata"]["total"], 0);
    }
    let all = (contacts * (FILES / SENDERS) * SENDERS) as i64;
    eventually("the next server continues", async || {
        count(data, "SELECT count(*) FROM contact_closings") == 0
    })
    .await;
    assert_eq!(count(data, "SELECT count(*) FROM attachments"), 0);
    assert_eq!(count(data, "SELECT count(*) FROM events"), all);
    assert_eq!(count(data, "SELECT count(DISTINCT attachment_id) FROM events"), all);
    let counted = "SELECT coalesce(sum(attachment_count + total_bytes), 0) FROM contacts";
    assert_eq!(count(data, counted), 0);
    assert_eq!(count(data, "SELECT sum(attachment_count + total_bytes) FROM site_usage"), 0);
    let rows = Inspection::open(&DatabaseLocation::File(data.join("dossier.db"))).unwrap();
    assert_eq!(rows.drift().unwrap().len(), 0);
    // A delivery repeated because of the kill has the same event id.
    let mut ids: HashMap<String, String> = HashMap::new();
    eventually("every deletion is delivered", async || {
        for delivery in receiver.deliveries() {
            let id = delivery.event["entityId"].as_str().unwrap().to_owned();
            assert_eq!(*ids.entry(id).or_insert_with(|| delivery.id()), delivery.id());
        }
        ids.len() as i64 == all
    })
    .await;
    server.process.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_two_batches_of_a_deletion_loses_and_repeats_nothing() {
    is_removed_completely((Method::DELETE, "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_two_batches_of_an_erasure_loses_and_repeats_nothing() {
    is_removed_completely((Method::POST, "/erase")).await;
}

impl Real {
    /// Waits for the killed process to exit.
    fn wait(self) -> Killed {
        assert_eq!(self.process.wait().code, None);
        Killed { key: self.client.key }
    }
}

/// A killed server.
struct Killed {
    key: String,
}

impl Killed {
    fn start_again(self, data: &Path) -> Real {
        Real::start(data, Some(self.key))
    }
}

impl crate::webhooks_crash::Client {
    async fn ask(&self, method: Method, path: &str) -> Value {
        let request = self.client.request(method, format!("{}{path}", self.base));
        let request = request.header("authorization", &self.key);
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    async fn subscribe_to(&self, receiver: &Receiver, types: &[&str]) {
        let body = json!({ "url": receiver.url(), "eventTypes": types });
        self.call("/dossier/v1/webhooks", &body).await.unwrap();
    }
}
