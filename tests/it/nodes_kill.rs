//! Killing one of two nodes under load: nothing acknowledged is lost, and the other node continues
//! without an error (R13, R27). Run by `scripts/postgres`.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::files::eventually;
use crate::support::receiver::{OK, Receiver};
use crate::support::{bucket, database};
use crate::webhooks_crash::{Client, Real, delivered};

/// Clients per node.
const CLIENTS: usize = 3;
/// Uploads to each node before and after the kill.
const SOME: usize = 2 * CLIENTS;

/// What the clients of a node achieved until it died or they were stopped.
struct Load {
    tasks: JoinSet<(Vec<(Uuid, String)>, usize)>,
    count: Arc<AtomicUsize>,
}

impl Load {
    fn start(client: &Client, end: &Arc<AtomicBool>) -> Self {
        let (mut tasks, count) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..CLIENTS {
            let (client, end, count) = (client.clone(), Arc::clone(end), Arc::clone(&count));
            tasks.spawn(async move {
                let mut done = Vec::new();
                while !end.load(Ordering::Relaxed) {
                    let contact = Uuid::new_v4();
                    match client.upload_for(contact).await {
                        Ok(id) => {
                            done.push((contact, id));
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => return (done, 1),
                    }
                }
                (done, 0)
            });
        }
        Self { tasks, count }
    }

    /// Waits for a number of further acknowledged uploads.
    async fn wait_for_uploads(&self) {
        let started = self.count.load(Ordering::Relaxed);
        eventually("uploads are acknowledged", async || {
            self.count.load(Ordering::Relaxed) >= started + SOME
        })
        .await;
    }

    async fn wait(mut self) -> (Vec<(Uuid, String)>, usize) {
        let (mut done, mut errors) = (Vec::new(), 0);
        while let Some(one) = self.tasks.join_next().await {
            let (some, failed) = one.unwrap();
            done.extend(some);
            errors += failed;
        }
        (done, errors)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
#[expect(clippy::print_stdout, reason = "the counts of the run, shown with --nocapture")]
async fn killing_a_node_loses_nothing_and_causes_no_error_on_the_other() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let receiver = Receiver::start(OK).await;
    let bucket = bucket::get_or_create(folders[0].path());
    let blobs = bucket.settings().map(|(name, value)| format!("{name}={value}"));
    let blobs = ["--set", &blobs[0], "--set", &blobs[1]];
    let one = Real::start_with(folders[0].path(), None, &blobs);
    one.client.subscribe(&receiver).await;
    database::share(folders[0].path(), folders[1].path());
    for keys in ["signing.keys", "webhook.keys"] {
        std::fs::copy(folders[0].path().join(keys), folders[1].path().join(keys)).unwrap();
    }
    let two = Real::start_with(folders[1].path(), Some(one.client.key.clone()), &blobs);
    let end = Arc::new(AtomicBool::new(false));
    let loads = [Load::start(&one.client, &end), Load::start(&two.client, &end)];
    for load in &loads {
        load.wait_for_uploads().await;
    }
    one.process.signal("KILL");
    assert_eq!(one.process.wait().code, None);
    let killed = Instant::now();
    loads[1].wait_for_uploads().await;
    end.store(true, Ordering::Relaxed);
    let [first, second] = loads;
    let ((at_one, errors_at_one), (at_two, errors_at_two)) =
        tokio::join!(first.wait(), second.wait());
    assert_eq!(errors_at_two, 0, "the other node's clients see no error");
    assert!(errors_at_one <= CLIENTS && !at_one.is_empty() && !at_two.is_empty());
    for (contact, _) in at_one.iter().chain(&at_two) {
        let list = two.client.list(*contact).await;
        assert_eq!(list["metadata"]["total"], 1, "{contact} was acknowledged");
        let link = list["attachments"][0]["document"]["url"].as_str().unwrap();
        let opened = two.client.client.get(link).send().await.unwrap();
        assert_eq!(opened.bytes().await.unwrap(), "a,b\n", "{contact} was acknowledged");
    }
    let acknowledged: HashSet<String> =
        at_one.iter().chain(&at_two).map(|(_, id)| id.clone()).collect();
    eventually("everything acknowledged is delivered", async || {
        acknowledged.is_subset(&delivered(&receiver).0)
    })
    .await;
    let times = delivered(&receiver).1;
    println!(
        "1 kill: {} + {} uploads acknowledged, {errors_at_one} + {errors_at_two} failed, {} events \
         delivered, {} twice, 0 lost, all delivered {:.1} s after the kill",
        at_one.len(),
        at_two.len(),
        times.len(),
        times.values().sum::<usize>() - times.len(),
        killed.elapsed().as_secs_f64(),
    );
    two.process.stop();
}
