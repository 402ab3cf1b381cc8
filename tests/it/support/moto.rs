//! moto, a third-party S3-compatible store. One process serves all tests of this process and ends
//! with it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use uuid::Uuid;

/// Where scripts/setup installs it.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/build/stores/bin/python");
const SERVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stores/serve_moto.py");
const KEYS: &str = "[default]\naws_access_key_id = test-id\naws_secret_access_key = test-secret\n";

struct Server {
    address: String,
    /// It ends when its standard input closes, which is when this process ends.
    _child: Child,
}

/// A bucket for one test.
pub(crate) struct MotoBucket {
    name: String,
    /// The setting `blobs`.
    pub(crate) url: String,
    folder: tempfile::TempDir,
}

impl MotoBucket {
    /// Creates a bucket.
    pub(crate) async fn create() -> Self {
        let name = format!("t-{}", Uuid::new_v4().simple());
        let created = reqwest::Client::new().put(format!("http://{}/{name}", address()));
        assert_eq!(created.send().await.unwrap().status(), 200);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("keys"), KEYS).unwrap();
        let url = format!("s3://{name}/some/place?endpoint=http://{}", address());
        Self { name, url, folder }
    }

    /// The setting `blobs_credentials_file`.
    pub(crate) fn credentials(&self) -> String {
        self.folder.path().join("keys").to_str().unwrap().to_owned()
    }

    /// The names of its objects below the prefix.
    pub(crate) async fn objects(&self) -> Vec<String> {
        let url = format!("http://{}/{}?list-type=2&prefix=some/place/", address(), self.name);
        let listed = reqwest::get(url).await.unwrap().text().await.unwrap();
        let keys = listed.split("<Key>some/place/").skip(1);
        keys.map(|rest| rest.split("</Key>").next().unwrap().to_owned()).collect()
    }
}

/// Where it listens.
pub(crate) fn address() -> &'static str {
    static SERVER: OnceLock<Server> = OnceLock::new();
    &SERVER.get_or_init(start).address
}

fn start() -> Server {
    assert!(Path::new(PYTHON).exists(), "moto is missing. Get it: scripts/setup test");
    let mut child = Command::new(PYTHON)
        .arg(SERVE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut errors = child.stderr.take().unwrap();
    if line.is_empty() {
        let mut log = String::new();
        errors.read_to_string(&mut log).unwrap();
        panic!("moto does not start. Reinstall it: scripts/setup test\n{log}");
    }
    // Drained so that the process never blocks on a full pipe.
    std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
    Server { address: line.trim().to_owned(), _child: child }
}
