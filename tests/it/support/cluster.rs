//! A dedicated PostgreSQL server, for tests that change its configuration. `scripts/postgres`
//! installs its programs and runs these tests.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::database;

/// Another program may take a free port before the server binds it.
const PORT_ATTEMPTS: usize = 5;

/// A server that stops when dropped. Its superuser `postgres` needs no password on the Unix socket.
pub(crate) struct Cluster {
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// Starts a server with extra lines for `pg_hba.conf` and `postgresql.conf`.
    pub(crate) fn start(clients: &str, settings: &str) -> Self {
        let mut cluster = Self { port: 0, folder: tempfile::tempdir().unwrap() };
        cluster.chown(cluster.folder.path());
        let data = cluster.data();
        cluster.run("initdb", &["--username", "postgres", "--auth", "trust", "--no-sync"]);
        std::fs::write(data.join("pg_hba.conf"), format!("local all all trust\n{clients}\n"))
            .unwrap();
        let folder = cluster.folder.path().display();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n\
             fsync = off\n{settings}\n"
        );
        for _ in 0..PORT_ATTEMPTS {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            cluster.port = free.port();
            let text = format!("{settings}port = {}\n", cluster.port);
            std::fs::write(data.join("postgresql.conf"), text).unwrap();
            if cluster.pg_ctl(&["start", "--wait"]).status.success() {
                return cluster;
            }
        }
        panic!("the server does not start: {:?}", std::fs::read_to_string(cluster.log()));
    }

    /// Restarts it with its current configuration files.
    pub(crate) fn restart(&self) {
        let restarted = self.pg_ctl(&["restart", "--wait", "--mode", "fast"]);
        assert!(restarted.status.success(), "{:?}", std::fs::read_to_string(self.log()));
    }

    /// Writes a file that only the server may read and returns its path.
    pub(crate) fn write_private(&self, name: &str, content: &[u8]) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let file = self.folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        self.chown(&file);
        file
    }

    /// Makes the server's user the owner of a file or folder.
    pub(crate) fn chown(&self, path: &Path) {
        if is_root() {
            let given = Command::new("chown").arg("postgres").arg(path).status().unwrap();
            assert!(given.success(), "{}", self.folder.path().display());
        }
    }

    /// Runs statements one by one as the superuser.
    pub(crate) fn execute(&self, name: &str, statements: &[impl ToString]) {
        for statement in statements {
            database::execute(&self.socket(name), statement.to_string());
        }
    }

    /// The number that a query returns.
    pub(crate) fn query_number(&self, name: &str, question: &str) -> i64 {
        database::query_number(self.socket(name), question.to_owned())
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

    fn pg_ctl(&self, how: &[&str]) -> Output {
        let log = self.log();
        let more = ["--silent", "--log", log.to_str().unwrap()];
        self.command("pg_ctl").args(how).args(more).output().unwrap()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let ran = self.command(program).args(arguments).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }

    /// One of PostgreSQL's programs, as its own user: it does not run as root.
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
        // Also after a failed test. The server may have stopped already.
        let _ = self.pg_ctl(&["stop", "--mode", "immediate"]);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where Debian installs the programs of the newest release.
fn programs() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let folders = folders.map(|folder| folder.unwrap().path().join("bin"));
    let mut folders: Vec<_> = folders.filter(|bin| bin.join("initdb").exists()).collect();
    folders.sort();
    // Elsewhere they are found through `PATH`.
    folders.pop().unwrap_or_default()
}
