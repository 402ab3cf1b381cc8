//! The real program, killed while it tells receivers: nothing is lost, and what is told twice has
//! the same event id (R18).

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::Dossier;
use crate::support::files::eventually;
use crate::support::receiver::{OK, Receiver, Reply};

/// A server of the real program, and a client of it.
pub(crate) struct Real {
    pub(crate) process: Dossier,
    pub(crate) client: Client,
}

/// How a server is called.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) base: String,
    pub(crate) key: String,
    pub(crate) client: reqwest::Client,
}

impl Real {
    /// Starts one, and with it the first site, unless its key is known.
    pub(crate) fn start(data: &Path, key: Option<String>) -> Self {
        Self::start_with(data, key, &[])
    }

    /// The same, with more arguments.
    pub(crate) fn start_with(data: &Path, key: Option<String>, more: &[&str]) -> Self {
        let (process, ready) = Dossier::serve(data, &[&["--dev"], more].concat());
        let key = key.unwrap_or_else(|| ready["apiKey"].as_str().unwrap().to_owned());
        let base = ready["http"].as_str().unwrap().to_owned();
        Self { process, client: Client { base, key, client: reqwest::Client::new() } }
    }

    /// Kills it as a power cut would, and starts it again.
    fn kill_and_start(self, data: &Path) -> Self {
        self.process.signal("KILL");
        assert_eq!(self.process.ended().code, None);
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

    /// Uploads a file of some contact; its media id when that was acknowledged.
    async fn upload(&self) -> reqwest::Result<String> {
        self.upload_for(Uuid::new_v4()).await
    }

    /// Uploads a file of a contact; its media id when that was acknowledged.
    pub(crate) async fn upload_for(&self, contact: Uuid) -> reqwest::Result<String> {
        let path = format!("/contacts/v4/attachments/{contact}/upload-url");
        let url = self.call(&path, &json!({ "fileName": "a.csv", "mimeType": "text/csv" })).await?;
        let put = self.client.put(url["uploadUrl"].as_str().unwrap()).body("a,b\n");
        let file: Value = put.send().await?.error_for_status()?.json().await?;
        Ok(file["file"]["id"].as_str().unwrap().to_owned())
    }

    /// A contact's first page.
    pub(crate) async fn list(&self, contact: Uuid) -> Value {
        let url = format!("{}/contacts/v4/attachments/{contact}", self.base);
        let answer = self.client.get(url).header("authorization", &self.key).send().await.unwrap();
        answer.json().await.unwrap()
    }
}

/// The media ids that a receiver was told of, and how often it was told of each event.
pub(crate) fn told(receiver: &Receiver) -> (HashSet<String>, HashMap<String, usize>) {
    let (mut named, mut times) = (HashSet::new(), HashMap::new());
    for one in receiver.told() {
        *times.entry(one.id()).or_default() += 1;
        let url = &one.event["createdEvent"]["entity"]["document"]["url"];
        let media = url.as_str().unwrap().split("/ugd/").nth(1).unwrap();
        named.insert(media.split('?').next().unwrap().to_owned());
    }
    (named, times)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_was_under_way_at_a_kill_is_made_again_with_the_same_event_id() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(Reply::Silence).await;
    let server = Real::start(folder.path(), None);
    server.client.subscribe(&receiver).await;
    server.client.upload().await.unwrap();
    receiver.told_times(1).await;
    let server = server.kill_and_start(folder.path());
    receiver.reply(OK);
    let told = receiver.told_times(2).await;
    assert_eq!(told[0].id(), told[1].id());
    server.process.stop();
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of the run, shown with --nocapture")]
async fn whatever_was_acknowledged_before_a_kill_is_told() {
    const KILLS: u64 = 6;
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(OK).await;
    let mut server = Real::start(folder.path(), None);
    server.client.subscribe(&receiver).await;
    let mut acknowledged = HashSet::new();
    for round in 0..KILLS {
        let mut uploads = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let client = server.client.clone();
            // Each goes on until the server is gone.
            uploads.spawn(async move {
                let mut done = Vec::new();
                while let Ok(id) = client.upload().await {
                    done.push(id);
                }
                done
            });
        }
        tokio::time::sleep(Duration::from_millis(120 + round * 70)).await;
        server = server.kill_and_start(folder.path());
        while let Some(done) = uploads.join_next().await {
            acknowledged.extend(done.unwrap());
        }
    }
    eventually("everything acknowledged was told", async || {
        acknowledged.is_subset(&told(&receiver).0)
    })
    .await;
    let times = told(&receiver).1;
    let (events, received) = (times.len(), times.values().sum::<usize>());
    let twice = received - events;
    println!("{KILLS} kills: {events} sent, {received} received, {twice} duplicate, 0 lost");
    assert!(acknowledged.len() > KILLS as usize && events >= acknowledged.len());
    server.process.stop();
}
