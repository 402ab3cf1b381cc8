//! The command line's client as people and scripts use it: with a home of its own, and at a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;

use super::{Dossier, Ended, TestApp};

/// How long something may take to appear, on a machine under load.
const PATIENCE: Duration = Duration::from_mins(1);

/// Somebody with a home and a folder that they work in.
pub(crate) struct Person {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Person {
    /// One who has told the environment where the server is.
    pub(crate) fn at(server: &str, key: &str) -> Self {
        let person = Self::nowhere();
        person.with("DOSSIER_SERVER", server).with("DOSSIER_KEY", key)
    }

    /// One who uses a test's server.
    pub(crate) fn of(app: &TestApp) -> Self {
        Self::at(&app.base, &app.key)
    }

    /// One who knows of no server.
    pub(crate) fn nowhere() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let home = home.to_str().unwrap().to_owned();
        Self { folder, variables: vec![("HOME".to_owned(), home)] }
    }

    /// The same with one more variable.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A path in the folder that they work in.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file there, with folders above it.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Their settings of the client.
    pub(crate) fn profiles(&self) -> PathBuf {
        self.path("home/.config/dossier/profiles.toml")
    }

    /// What is remembered of uploads that are under way.
    pub(crate) fn remembered(&self) -> usize {
        let folder = self.path("home/.local/state/dossier/uploads");
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    }

    /// A command of theirs.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = super::command(words, &[]);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path());
        command
    }

    /// Starts a command whose output goes through pipes.
    pub(crate) fn start(&self, words: &[&str]) -> Dossier {
        Dossier::of(self.command(words))
    }

    /// Runs a command to its end, beside the server of the test.
    pub(crate) async fn run(&self, words: &[&str]) -> Ended {
        let started = self.start(words);
        tokio::task::spawn_blocking(|| started.ended()).await.unwrap()
    }

    /// Runs a command that must succeed; returns what it printed.
    pub(crate) async fn done(&self, words: &[&str]) -> String {
        let ended = self.run(words).await;
        assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
        ended.out
    }

    /// Runs a command with `--json` that must succeed; returns what it printed.
    pub(crate) async fn json(&self, words: &[&str]) -> Value {
        let out = self.done(&[words, &["--json"]].concat()).await;
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// Runs a command that must end with a code; returns what it said on standard error.
    pub(crate) async fn failed(&self, words: &[&str], code: i32) -> String {
        let ended = self.run(words).await;
        assert_eq!(ended.code, Some(code), "{words:?}: {ended:?}");
        ended.err
    }

    /// Runs a command with something on its standard input.
    pub(crate) async fn fed(&self, words: &[&str], input: Vec<u8>) -> Ended {
        let mut command = self.command(words);
        tokio::task::spawn_blocking(move || {
            let pipe = Stdio::piped;
            let mut child = command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let feeding = std::thread::spawn(move || {
                // It may have ended without reading.
                let _ = stdin.write_all(&input);
            });
            let output = child.wait_with_output().unwrap();
            feeding.join().unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
        })
        .await
        .unwrap()
    }
}

/// A command at a terminal.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    shown: Receiver<Vec<u8>>,
    text: String,
}

impl Terminal {
    /// Starts a command whose input, output and errors are a terminal of so many columns.
    pub(crate) fn start(mut command: Command, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let path = Path::new(name.to_str().unwrap());
        let mut options = File::options();
        let slave = options.read(true).write(true).custom_flags(libc::O_NOCTTY).open(path);
        let slave = slave.unwrap();
        let end = || Stdio::from(OwnedFd::from(slave.try_clone().unwrap()));
        let child = command
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        // Its own ends are the last ones: when it ends, so does what is read.
        drop((slave, command));
        let master = File::from(master);
        let (send, shown) = channel();
        let mut reading = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            // The end of the other side is an error here.
            while let Ok(count) = reading.read(&mut bytes) {
                if count == 0 || send.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, master, shown, text: String::new() }
    }

    /// Waits until a text was shown.
    pub(crate) fn shows(&mut self, wanted: &str) {
        while !self.text.contains(wanted) {
            let more = self.shown.recv_timeout(PATIENCE);
            let more = more.unwrap_or_else(|_| panic!("{wanted:?} is not in {:?}", self.text));
            self.text.push_str(&String::from_utf8_lossy(&more));
        }
    }

    /// Types.
    pub(crate) fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the end; returns the exit code and all that was shown.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(more) => self.text.push_str(&String::from_utf8_lossy(&more)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {:?}", self.text),
            }
        }
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.text))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
