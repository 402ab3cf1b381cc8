//! The kill loop: a real server under load is killed again and again, and everything that it
//! had acknowledged must be there after each start (R1), nothing may be half there (R2), no
//! bytes may stay without a row (R3), and what was deleted must stay deleted (R5).
//!
//! A killed process leaves the operating system's caches alone, so this shows the order of
//! effects and the recovery, not that a power cut is survived.

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
pub(crate) use files::Dice;
use load::Shared;
use process::Server;

/// Contacts that the clients share.
const CONTACTS: usize = 6;
/// Clients at the same time.
const CLIENTS: u64 = 8;
/// So many of a hundred kills hit a server that is starting.
const KILLS_WHILE_STARTING: u64 = 15;
/// Longest time from a start to such a kill.
const STARTING_MS: u64 = 60;
/// So many of a hundred rounds end with `dossier fsck`.
const FSCKS: u64 = 10;
/// How long clients may take to notice a kill.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to do.
pub(crate) struct Plan {
    /// The server.
    pub(crate) program: PathBuf,
    /// An empty folder: the data and the server's log are made in it.
    pub(crate) folder: PathBuf,
    pub(crate) kills: u64,
    /// A kill comes after a random time up to this.
    pub(crate) most_between: Duration,
    /// Rolls files, actions and times. What happens in between is chance.
    pub(crate) seed: u64,
    /// No new round begins after this time.
    pub(crate) most_time: Duration,
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) kills: u64,
    /// Of these, while the server was starting.
    pub(crate) kills_while_starting: u64,
    pub(crate) uploads: u64,
    pub(crate) deletes: u64,
    /// Uploads without an answer that were there, whole.
    pub(crate) unanswered_whole: u64,
    /// Uploads without an answer that were not there.
    pub(crate) unanswered_absent: u64,
    /// Uploads without an answer that were sent again and answered.
    pub(crate) retried: u64,
    /// Of these, resumable uploads that were gone on with.
    pub(crate) resumed: u64,
    /// Uploads that lay in staging after a kill.
    pub(crate) staged: usize,
    /// Of these, with their bytes at their place, committed or not.
    pub(crate) linked: usize,
    /// Files read again after a start and compared by SHA-256.
    pub(crate) hashed: u64,
    pub(crate) losses: u64,
    /// Runs of `dossier fsck`, with hashing, each of which found nothing.
    pub(crate) fscks: u64,
    /// What the last of them printed.
    pub(crate) last_fsck: String,
    /// From each start to its first answered list.
    pub(crate) recoveries: Vec<Duration>,
}

/// A run of the loop.
struct Run {
    plan: Plan,
    dice: Dice,
    shared: Shared,
    site: String,
    key: String,
}

/// Kills as planned. `figures` are true also when it fails; an error says what was broken.
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
    let mut run = Run { dice: Dice::new(plan.seed), plan, shared, site, key };
    while figures.kills < run.plan.kills && begin.elapsed() < run.plan.most_time {
        run.load_and_kill(server, figures).await?;
        run.kill_while_starting(figures)?;
        server = run.restart(figures).await?;
        check::check(&run.shared, &mut run.dice, figures, false).await?;
        store::settled(&run.data(), false).await?;
        run.sum_up(figures);
        // While the server runs, and so beside its previews and its sweep.
        if run.dice.percent(FSCKS) {
            run.fsck(figures)?;
        }
    }
    // Once more, so that everything deleted is removed by the sweep of a start.
    server.kill()?;
    server = run.restart(figures).await?;
    check::check(&run.shared, &mut run.dice, figures, true).await?;
    store::settled(&run.data(), true).await?;
    run.sum_up(figures);
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
            clients.spawn(load::work(self.shared.clone(), Dice::new(self.dice.next())));
        }
        let most = self.plan.most_between.as_micros().max(1) as u64;
        let load = Duration::from_micros(self.dice.between(0, most));
        // An early end of a client is a finding, told below.
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
        let left = store::left_behind(&self.data())?;
        figures.staged += left.staged;
        figures.linked += left.linked;
        Ok(())
    }

    /// Sometimes kills a server while it starts, and so while it recovers.
    fn kill_while_starting(&mut self, figures: &mut Figures) -> anyhow::Result<()> {
        while self.dice.percent(KILLS_WHILE_STARTING) && figures.kills < self.plan.kills {
            let server = self.plan.spawn()?;
            std::thread::sleep(Duration::from_micros(self.dice.between(0, STARTING_MS * 1_000)));
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

    fn sum_up(&self, figures: &mut Figures) {
        let log = load::lock(&self.shared.log);
        (figures.uploads, figures.deletes) = (log.uploads, log.deletes);
    }

    /// `dossier fsck` finds nothing at all.
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

/// The last lines of the server's log, for people who look for a cause.
pub(crate) fn end_of_log(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
