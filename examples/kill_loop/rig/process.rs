//! The server's process.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// How long a start may take on a loaded machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// A running server, killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// When it was started.
    pub(crate) started: Instant,
}

impl Server {
    /// Starts the server on its data folder and appends its log to `log`.
    pub(crate) fn spawn(program: &Path, data: &Path, log: &Path) -> anyhow::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let started = Instant::now();
        let child = Command::new(program)
            .args(["serve", "--ready-json", "--listen", "127.0.0.1:0", "--listen-tls", "off"])
            // The next sweep removes deleted bytes; links outlive a long run.
            .args(["--set", "removal_grace_seconds=0"])
            .args(["--set", "media_link_life_seconds=604800"])
            .args(["--set", "upload_url_life_seconds=604800"])
            .arg("--data")
            .arg(data)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child, started })
    }

    /// Waits for the line with the server's addresses.
    pub(crate) fn ready(&mut self) -> anyhow::Result<Value> {
        let out = self.child.stdout.take().context("the line was already read")?;
        let (send, line) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(out).read_line(&mut line);
            // The receiver is gone if the start took too long.
            let _ = send.send(read.map(|_| line));
        });
        let line = line.recv_timeout(DEADLINE).context("the server did not become ready")??;
        serde_json::from_str(&line)
            .with_context(|| format!("the server did not start; its first line: {line:?}"))
    }

    /// Kills it without a chance to clean up.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server exited by itself: {status}");
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has exited already, unless something went wrong.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
