//! The real program, killed while it delivers events: nothing is lost, and a repeated delivery has
//! the same event id (R18).

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::Dossier;
use crate::support::files::eventually;
use crate::support::receiver::{OK, Receiver, Reply};

/// A server process of the real program and a client for it.
pub(crate) struct Real {
    pub(crate) process: Dossier,
    pub(crate) client: Client,
}

/// A client for the server.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) base: String,
    pub(crate) key: String,
    pub(crate) client: reqwest::Client,
}

impl Real {
    /// Starts a server, and creates the first site unless its key is given.
    pub(crate) fn start(data: &Path, key: Option<String>) -> Self {
        Self::start_with(data, key, &[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(data: &Path, key: Option<String>, more: &[&str]) -> Self {
        let (process, ready) = Dossier::serve(data, &[&["--dev"], more].concat());
        let key = key.unwrap_or_else(|| ready["apiKey"].as_str().unwrap().to_owned());
        let base = ready["http"].as_str().unwrap().to_owned();
        Self { process, client: Client { base, key, client: reqwest::Client::new() } }
    }

    /// Kills it without warning and starts it again.
    fn kill_and_start(self, data: &Path) -> Self {
        self.process.signal("KILL");
        assert_eq!(self.process.wait().code, None);
        Self::start(data, Some(self.client.key))
    }
}

impl Client {
    /// POSTs JSON.
    pub(crate) async fn call(&self, path: &str, body: &Value) -> reqwest::Result<Value> {
        let request = self.client.post(format!("{}{path}", self.base));
        let request = request.header("authorization", &self.key).json(body);
        request.send().await?.error_for_status()?.json().await
    }

    pub(crate) async fn subscribe(&self, receiver: &Receiver) {
        self.call("/dossier/v1/webhooks", &json!({ "url": receiver.url() })).await.unwrap();
    }

    /// Uploads a file to a new contact; returns its media id once acknowledged.
    async fn upload(&self) -> reqwest::Result<String> {
        self.upload_for(Uuid::new_v4()).await
    }

    /// Uploads a file to a contact; returns its media id once acknowledged.
    pub(crate) async fn upload_for(&self, contact: Uuid) -> reqwest::Result<String> {
        let path = format!("/contacts/v4/attachments/{contact}/upload-url");
        let url = self.call(&path, &json!({ "fileName": "a.csv", "mimeType": "text/csv" })).await?;
        let put = self.client.put(url["uploadUrl"].as_str().unwrap()).body("a,b\n");
        let file: Value = put.send().await?.error_for_status()?.json().await?;
        Ok(file["file"]["id"].as_str().unwrap().to_owned())
    }

    /// The first page of a contact's list.
    pub(crate) async fn list(&self, contact: Uuid) -> Value {
        let url = format!("{}/contacts/v4/attachments/{contact}", self.base);
        let response =
            self.client.get(url).header("authorization", &self.key).send().await.unwrap();
        response.json().await.unwrap()
    }
}

/// The media ids in a receiver's deliveries, and the number of deliveries of each event.
pub(crate) fn delivered(receiver: &Receiver) -> (HashSet<String>, HashMap<String, usize>) {
    let (mut named, mut times) = (HashSet::new(), HashMap::new());
    for one in receiver.deliveries() {
        *times.entry(one.id()).or_default() += 1;
        let url = &one.event["createdEvent"]["entity"]["document"]["url"];
        let media = url.as_str().unwrap().split("/ugd/").nth(1).unwrap();
        named.insert(media.split('?').next().unwrap().to_owned());
    }
    (named, times)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_interrupted_by_a_kill_is_repeated_with_the_same_event_id() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(Reply::Silence).await;
    let server = Real::start(folder.path(), None);
    server.client.subscribe(&receiver).await;
    server.client.upload().await.unwrap();
    receiver.wait_for_deliveries(1).await;
    let server = server.kill_and_start(folder.path());
    receiver.reply(OK);
    let deliveries = receiver.wait_for_deliveries(2).await;
    assert_eq!(deliveries[0].id(), deliveries[1].id());
    server.process.stop();
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, shown with --nocapture")]
async fn everything_acknowledged_before_a_kill_is_delivered() {
    const KILLS: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(OK).await;
    let mut server = Real::start(folder.path(), None);
    server.client.subscribe(&receiver).await;
    let mut acknowledged = HashSet::new();
    for round in 0..KILLS {
        let mut uploads = tokio::task::JoinSet::new();
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..4 {
            let (client, count) = (server.client.clone(), Arc::clone(&count));
            // Each continues until the server is gone.
            uploads.spawn(async move {
                let mut done = Vec::new();
                while let Ok(id) = client.upload().await {
                    done.push(id);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                done
            });
        }
        // Later in each round, so that the kills interrupt different work.
        eventually("uploads are acknowledged", async || {
            count.load(Ordering::Relaxed) > 2 + 5 * round
        })
        .await;
        server = server.kill_and_start(folder.path());
        while let Some(done) = uploads.join_next().await {
            acknowledged.extend(done.unwrap());
        }
    }
    eventually("everything acknowledged is delivered", async || {
        acknowledged.is_subset(&delivered(&receiver).0)
    })
    .await;
    let times = delivered(&receiver).1;
    let (events, received) = (times.len(), times.values().sum::<usize>());
    let twice = received - events;
    println!("{KILLS} kills: {events} sent, {received} received, {twice} duplicate, 0 lost");
    assert!(acknowledged.len() > KILLS && events >= acknowledged.len());
    server.process.stop();
}
