//! The kill loop: a real server under load is killed again and again. After each start, everything
//! it had acknowledged must be stored (R1), nothing may be half stored (R2), no bytes may be
//! without a row (R3), and deleted files must stay deleted (R5).
//!
//! Killing a process does not touch the operating system's caches. This tests the order of
//! effects and the recovery, not power cuts.

mod check;
mod client;
mod files;
mod load;
mod log;
mod process;
mod store;
mod tus;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;
use tokio::task::JoinSet;

use client::Client;
pub(crate) use files::Rng;
use load::Shared;
use process::Server;

/// Contacts that the clients share.
const CONTACTS: usize = 6;
/// Concurrent clients.
const CLIENTS: u64 = 8;
/// Percentage of kills that hit a starting server.
const KILLS_WHILE_STARTING: u64 = 15;
/// Longest time from a start to such a kill.
const STARTING_MS: u64 = 60;
/// Percentage of rounds that end with `dossier fsck`.
const FSCKS: u64 = 10;
/// How long clients may take to notice a kill.
const PATIENCE: Duration = Duration::from_secs(30);

/// The parameters of a run.
pub(crate) struct Plan {
    /// The server.
    pub(crate) program: PathBuf,
    /// An empty folder for the data and the server's log.
    pub(crate) folder: PathBuf,
    pub(crate) kills: u64,
    /// Each kill comes after a random time up to this.
    pub(crate) max_between: Duration,
    /// Seed for files, actions and times. Their interleaving is not reproducible.
    pub(crate) seed: u64,
    /// No new round starts after this time.
    pub(crate) max_time: Duration,
}

/// The results of a run.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) kills: u64,
    /// Of these, while the server was starting.
    pub(crate) kills_while_starting: u64,
    pub(crate) uploads: u64,
    pub(crate) deletes: u64,
    /// Uploads without a response that were stored completely.
    pub(crate) unanswered_stored: u64,
    /// Uploads without a response that were not stored.
    pub(crate) unanswered_absent: u64,
    /// Uploads without a response that were retried and acknowledged.
    pub(crate) retried: u64,
    /// Of these, resumable uploads that continued.
    pub(crate) resumed: u64,
    /// Uploads found in staging after a kill.
    pub(crate) staged: usize,
    /// Of these, those already linked to their final path, committed or not.
    pub(crate) linked: usize,
    /// Files read again after a start and compared by SHA-256.
    pub(crate) hashed: u64,
    pub(crate) losses: u64,
    /// Runs of `dossier fsck` with hashing, none of which found anything.
    pub(crate) fscks: u64,
    /// The output of the last run.
    pub(crate) last_fsck: String,
    /// From each start to its first successful list.
    pub(crate) recoveries: Vec<Duration>,
}

/// A run of the loop.
struct Run {
    plan: Plan,
    rng: Rng,
    shared: Shared,
    site: String,
    key: String,
}

/// Runs the plan. `figures` are valid even on failure; the error is the violation.
pub(crate) async fn run(plan: Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut server = plan.spawn()?;
    let ready = server.ready()?;
    let key = ready["apiKey"].as_str().context("the first start shows no key")?.to_owned();
    let site = ready["siteId"].as_str().context("the first start shows no site")?.to_owned();
    let shared = Shared {
        client: client(&ready, &key, &site)?,
        log: Arc::default(),
        killed: Arc::default(),
        contacts: CONTACTS,
    };
    let mut run = Run { rng: Rng::new(plan.seed), plan, shared, site, key };
    while figures.kills < run.plan.kills && begin.elapsed() < run.plan.max_time {
        run.load_and_kill(server, figures).await?;
        run.kill_while_starting(figures)?;
        server = run.restart(figures).await?;
        check::check(&run.shared, &mut run.rng, figures, false).await?;
        store::wait_until_settled(&run.data(), false).await?;
        run.copy_totals(figures);
        // While the server runs, concurrently with its previews and sweep.
        if run.rng.percent(FSCKS) {
            run.fsck(figures)?;
        }
    }
    // Once more, so that the sweep of a start removes everything deleted.
    server.kill()?;
    server = run.restart(figures).await?;
    check::check(&run.shared, &mut run.rng, figures, true).await?;
    store::wait_until_settled(&run.data(), true).await?;
    run.copy_totals(figures);
    run.server_never_panicked()?;
    run.fsck(figures)?;
    server.kill()?;
    run.fsck(figures)
}

impl Plan {
    fn spawn(&self) -> anyhow::Result<Server> {
        Server::spawn(&self.program, &self.folder.join("data"), &self.server_log())
    }

    fn server_log(&self) -> PathBuf {
        self.folder.join("server.log")
    }
}

impl Run {
    fn data(&self) -> PathBuf {
        self.plan.folder.join("data")
    }

    /// Lets the clients work for a random time and kills the server under them.
    async fn load_and_kill(&mut self, server: Server, figures: &mut Figures) -> anyhow::Result<()> {
        self.shared.killed = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(load::work(self.shared.clone(), Rng::new(self.rng.next())));
        }
        let max = self.plan.max_between.as_micros().max(1) as u64;
        let load = Duration::from_micros(self.rng.between(0, max));
        // A client that ends early has found a violation, which is returned below.
        let early = tokio::time::timeout(load, clients.join_next()).await;
        self.shared.killed.store(true, Ordering::SeqCst);
        server.kill()?;
        figures.kills += 1;
        if let Ok(Some(client)) = early {
            client?.context("while the server ran")?;
        }
        let end = tokio::time::timeout(PATIENCE, async {
            while let Some(client) = clients.join_next().await {
                client?.context("while the server ran")?;
            }
            anyhow::Ok(())
        });
        end.await.context("clients did not end after the kill")??;
        let left = store::leftovers(&self.data())?;
        figures.staged += left.staged;
        figures.linked += left.linked;
        Ok(())
    }

    /// Sometimes kills a server while it starts and recovers.
    fn kill_while_starting(&mut self, figures: &mut Figures) -> anyhow::Result<()> {
        while self.rng.percent(KILLS_WHILE_STARTING) && figures.kills < self.plan.kills {
            let server = self.plan.spawn()?;
            std::thread::sleep(Duration::from_micros(self.rng.between(0, STARTING_MS * 1_000)));
            server.kill()?;
            figures.kills += 1;
            figures.kills_while_starting += 1;
        }
        Ok(())
    }

    async fn restart(&mut self, figures: &mut Figures) -> anyhow::Result<Server> {
        let mut server = self.plan.spawn()?;
        let ready = server.ready()?;
        self.shared.client = client(&ready, &self.key, &self.site)?;
        self.shared.client.page(0, 100, 0).await?;
        figures.recoveries.push(server.started.elapsed());
        Ok(server)
    }

    fn copy_totals(&self, figures: &mut Figures) {
        let log = load::lock(&self.shared.log);
        (figures.uploads, figures.deletes) = (log.uploads, log.deletes);
    }

    /// Fails unless `dossier fsck` finds nothing.
    fn fsck(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let fsck = std::process::Command::new(&self.plan.program)
            .args(["fsck", "--hash", "--json", "--data"])
            .arg(self.data())
            .env_clear()
            .output()?;
        let found = String::from_utf8_lossy(&fsck.stdout);
        anyhow::ensure!(
            fsck.status.code() == Some(0),
            "fsck ended with {}: {found}{}",
            fsck.status,
            String::from_utf8_lossy(&fsck.stderr)
        );
        figures.fscks += 1;
        figures.last_fsck = found.trim().into();
        Ok(())
    }

    fn server_never_panicked(&self) -> anyhow::Result<()> {
        let log = std::fs::read_to_string(self.plan.server_log())?;
        let bad: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("panicked") || line.contains("ERROR"))
            .collect();
        anyhow::ensure!(bad.is_empty(), "the server logged:\n{}", bad.join("\n"));
        Ok(())
    }
}

fn client(ready: &Value, key: &str, site: &str) -> anyhow::Result<Client> {
    Client::new(ready["http"].as_str().context("no address")?, key, site)
}

/// The last lines of the server's log, for diagnosis.
pub(crate) fn end_of_log(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
