//! The program itself, as a process that never outlives its test.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{bucket, database};

/// The limit for any single step on a loaded machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// A running `dossier`.
pub(crate) struct Dossier {
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

/// The exit code and output of a finished command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Dossier {
    /// Starts a command with only these environment variables.
    pub(crate) fn start<A: AsRef<OsStr>>(arguments: &[A], variables: &[(&str, &str)]) -> Self {
        Self::spawn(command(arguments, variables))
    }

    /// Starts a prepared command.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, lines) = channel();
        let (out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                // The receiver is gone when the test is over.
                let _ = send.send(line.unwrap());
            }
        });
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            err.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { child, lines, errors: Some(errors) }
    }

    /// Starts `serve` on free ports and waits until it is ready.
    pub(crate) fn serve(data: &Path, more: &[&str]) -> (Self, Value) {
        let data = data.to_str().unwrap();
        let own = ["serve", "--ready-json", "--data", data, "--listen", "127.0.0.1:0"];
        let tls =
            if more.contains(&"--listen-tls") { &[][..] } else { &["--listen-tls", "127.0.0.1:0"] };
        let mut server = Self::start(&[&own, tls, more].concat(), &[]);
        let ready = server.ready();
        (server, ready)
    }

    /// The next line of standard output.
    pub(crate) fn line(&mut self) -> String {
        self.lines.recv_timeout(DEADLINE).unwrap_or_else(|error| {
            let _ = self.child.kill();
            panic!("no output line ({error}): {}", self.errors())
        })
    }

    /// The next line, parsed as JSON.
    pub(crate) fn ready(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Whether the process is still running.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the process to exit.
    pub(crate) fn wait(mut self) -> CommandOutput {
        let started = Instant::now();
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < DEADLINE, "the process does not exit");
            std::thread::sleep(Duration::from_millis(5));
        };
        let out: Vec<String> = self.lines.iter().collect();
        CommandOutput { code: status.code(), out: out.join("\n"), err: self.errors() }
    }

    /// Sends TERM and waits for a successful exit.
    pub(crate) fn stop(self) -> CommandOutput {
        self.signal("TERM");
        let output = self.wait();
        assert_eq!(output.code, Some(0), "{output:?}");
        output
    }

    fn errors(&mut self) -> String {
        self.errors.take().map(|thread| thread.join().unwrap()).unwrap_or_default()
    }
}

impl Drop for Dossier {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with only these environment variables.
pub(crate) fn command<A: AsRef<OsStr>>(arguments: &[A], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dossier"));
    command.args(arguments).env_clear();
    let data = arguments.iter().map(AsRef::as_ref).skip_while(|text| *text != "--data").nth(1);
    if let Some(url) = data.and_then(|data| database::url_for(Path::new(data))) {
        command.env("DOSSIER_DATABASE_URL", url);
    }
    if let Some(bucket) = data.and_then(|data| bucket::if_enabled(Path::new(data))) {
        let [(_, url), (_, keys)] = bucket.settings();
        command.env("DOSSIER_BLOBS", url).env("DOSSIER_BLOBS_CREDENTIALS_FILE", keys);
    }
    command.envs(variables.iter().copied());
    command
}

/// Runs a command until it exits.
pub(crate) fn run<A: AsRef<OsStr>>(arguments: &[A]) -> CommandOutput {
    Dossier::start(arguments, &[]).wait()
}

/// Runs a command that must succeed and returns what it printed.
pub(crate) fn printed<A: AsRef<OsStr>>(arguments: &[A]) -> String {
    let output = run(arguments);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.out
}

/// Runs a command that must fail with exit code 1 and no output; returns the message.
pub(crate) fn failure<A: AsRef<OsStr>>(arguments: &[A]) -> String {
    let output = run(arguments);
    assert_eq!((output.code, output.out.as_str()), (Some(1), ""), "{output:?}");
    output.err
}
