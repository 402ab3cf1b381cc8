//! The command-line client as people and scripts use it: with its own home directory, and at a
//! terminal.

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

use super::{CommandOutput, Dossier, TestApp};

/// How long output may take on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A user with a home directory and a working directory.
pub(crate) struct User {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl User {
    /// A user whose environment names the server and key.
    pub(crate) fn with_server(server: &str, key: &str) -> Self {
        let user = Self::without_server();
        user.with_variable("DOSSIER_SERVER", server).with_variable("DOSSIER_KEY", key)
    }

    /// A user of the test's server.
    pub(crate) fn of(app: &TestApp) -> Self {
        Self::with_server(&app.base, &app.key)
    }

    /// A user without a configured server.
    pub(crate) fn without_server() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let home = home.to_str().unwrap().to_owned();
        Self { folder, variables: vec![("HOME".to_owned(), home)] }
    }

    /// The same user with one more environment variable.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A path in the working directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the working directory, creating its parent folders.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// The client's settings file.
    pub(crate) fn profiles(&self) -> PathBuf {
        self.path("home/.config/dossier/profiles.toml")
    }

    /// How many unfinished uploads are saved for resuming.
    pub(crate) fn saved_uploads(&self) -> usize {
        let folder = self.path("home/.local/state/dossier/uploads");
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    }

    /// A command run as this user.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = super::command(words, &[]);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path());
        command
    }

    /// Starts a command whose output goes through pipes.
    pub(crate) fn start(&self, words: &[&str]) -> Dossier {
        Dossier::spawn(self.command(words))
    }

    /// Runs a command until it exits, without blocking the test's server.
    pub(crate) async fn run(&self, words: &[&str]) -> CommandOutput {
        let started = self.start(words);
        tokio::task::spawn_blocking(|| started.wait()).await.unwrap()
    }

    /// Runs a command that must succeed; returns its standard output.
    pub(crate) async fn succeed(&self, words: &[&str]) -> String {
        let output = self.run(words).await;
        assert_eq!(output.code, Some(0), "{words:?}: {output:?}");
        output.out
    }

    /// Runs a command with `--json` that must succeed; returns what it printed.
    pub(crate) async fn json(&self, words: &[&str]) -> Value {
        let out = self.succeed(&[words, &["--json"]].concat()).await;
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// Runs a command that must exit with this code; returns its standard error.
    pub(crate) async fn fail(&self, words: &[&str], code: i32) -> String {
        let output = self.run(words).await;
        assert_eq!(output.code, Some(code), "{words:?}: {output:?}");
        output.err
    }

    /// Runs a command with bytes on its standard input.
    pub(crate) async fn run_with_stdin(&self, words: &[&str], input: Vec<u8>) -> CommandOutput {
        let mut command = self.command(words);
        tokio::task::spawn_blocking(move || {
            let pipe = Stdio::piped;
            let mut child = command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let feeding = std::thread::spawn(move || {
                // It may have exited without reading.
                let _ = stdin.write_all(&input);
            });
            let output = child.wait_with_output().unwrap();
            feeding.join().unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            CommandOutput {
                code: output.status.code(),
                out: text(output.stdout),
                err: text(output.stderr),
            }
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
    /// Starts a command with a terminal of this width as its input, output and error.
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
        // The child holds the only other copies: reading ends when it does.
        drop((slave, command));
        let master = File::from(master);
        let (send, shown) = channel();
        let mut reading = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            // On a pty, the end of the other side is an error.
            while let Ok(count) = reading.read(&mut bytes) {
                if count == 0 || send.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, master, shown, text: String::new() }
    }

    /// Waits until a text has appeared.
    pub(crate) fn wait_for(&mut self, expected: &str) {
        while !self.text.contains(expected) {
            let more = self.shown.recv_timeout(PATIENCE);
            let more =
                more.unwrap_or_else(|_| panic!("{expected:?} did not appear in {:?}", self.text));
            self.text.push_str(&String::from_utf8_lossy(&more));
        }
    }

    /// Types text.
    pub(crate) fn type_text(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the command to exit; returns the exit code and everything shown.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(more) => self.text.push_str(&String::from_utf8_lossy(&more)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the command does not exit: {:?}", self.text)
                }
            }
        }
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.text))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
