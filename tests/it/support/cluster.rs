//! A PostgreSQL server of a test's own, for tests that change how it runs. `scripts/postgres` brings its
//! programs, and runs the tests that need one.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::database;

/// Another program may take a port between the look and the start.
const PORT_TRIES: usize = 5;

/// A server, until it is dropped. Its superuser is `postgres`, who needs no password on its socket.
pub(crate) struct Cluster {
    /// Its port at 127.0.0.1.
    pub(crate) port: u16,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// Starts a server with these lines of `pg_hba.conf` and of `postgresql.conf`.
    pub(crate) fn start(clients: &str, settings: &str) -> Self {
        let mut cluster = Self { port: 0, folder: tempfile::tempdir().unwrap() };
        cluster.give(cluster.folder.path());
        let data = cluster.data();
        cluster.run("initdb", &["--username", "postgres", "--auth", "trust", "--no-sync"]);
        std::fs::write(data.join("pg_hba.conf"), format!("local all all trust\n{clients}\n"))
            .unwrap();
        let folder = cluster.folder.path().display();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n\
             fsync = off\n{settings}\n"
        );
        for _ in 0..PORT_TRIES {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            cluster.port = free.port();
            let text = format!("{settings}port = {}\n", cluster.port);
            std::fs::write(data.join("postgresql.conf"), text).unwrap();
            if cluster.controlled(&["start", "--wait"]).status.success() {
                return cluster;
            }
        }
        panic!("it does not start: {:?}", std::fs::read_to_string(cluster.log()));
    }

    /// Starts it again, with what its files say now.
    pub(crate) fn restart(&self) {
        let restarted = self.controlled(&["restart", "--wait", "--mode", "fast"]);
        assert!(restarted.status.success(), "{:?}", std::fs::read_to_string(self.log()));
    }

    /// Writes a file that only the server may read, and returns its path.
    pub(crate) fn keep(&self, name: &str, content: &[u8]) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let file = self.folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        self.give(&file);
        file
    }

    /// Gives a file or folder to the user as whom the server runs.
    pub(crate) fn give(&self, path: &Path) {
        if is_root() {
            let given = Command::new("chown").arg("postgres").arg(path).status().unwrap();
            assert!(given.success(), "{}", self.folder.path().display());
        }
    }

    /// Runs statements one by one as its superuser.
    pub(crate) fn execute(&self, name: &str, statements: &[impl ToString]) {
        for statement in statements {
            database::execute(&self.socket(name), statement.to_string());
        }
    }

    /// The value that a question has.
    pub(crate) fn ask(&self, name: &str, question: &str) -> i64 {
        database::ask(self.socket(name), question.to_owned())
    }

    /// The setting `database_url` for a user of a database.
    pub(crate) fn url(&self, user: &str, name: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{name}", self.port)
    }

    fn socket(&self, name: &str) -> String {
        let folder = self.folder.path().display();
        format!("host={folder} port={} user=postgres dbname={name}", self.port)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn controlled(&self, how: &[&str]) -> Output {
        let log = self.log();
        let more = ["--silent", "--log", log.to_str().unwrap()];
        self.command("pg_ctl").args(how).args(more).output().unwrap()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let ran = self.command(program).args(arguments).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }

    /// One of PostgreSQL's programs; as its own user, because it refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let program = programs().join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.arg("--pgdata").arg(self.data()).current_dir(self.folder.path());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Also of a failed test; one that has ended already needs no end.
        let _ = self.controlled(&["stop", "--mode", "immediate"]);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where Debian keeps the programs of the newest release.
fn programs() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let folders = folders.map(|folder| folder.unwrap().path().join("bin"));
    let mut folders: Vec<_> = folders.filter(|bin| bin.join("initdb").exists()).collect();
    folders.sort();
    // Elsewhere they are where the shell finds them.
    folders.pop().unwrap_or_default()
}
