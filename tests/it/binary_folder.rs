//! The data folder is private, and rejected with a clear message when it is unusable.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reqwest::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Dossier, PNG, Response, failure};

fn walk(root: &Path) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![root.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

/// Every file with its bytes.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = walk(root).into_iter().filter(|path| path.is_file());
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn serve_error(data: &Path) -> String {
    let data = data.to_str().unwrap();
    failure(&["serve", "--data", data, "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0"])
}

async fn upload(ready: &Value) {
    let (base, contact) = (ready["http"].as_str().unwrap(), Uuid::new_v4());
    let url = format!("{base}/contacts/v4/attachments/{contact}/upload-url");
    let generate = Client::new()
        .post(url)
        .header("authorization", ready["apiKey"].as_str().unwrap())
        .json(&json!({ "fileName": "dot.png", "mimeType": "image/png" }));
    let url = Response::to(generate).await.ok()["uploadUrl"].as_str().unwrap().to_owned();
    Response::to(Client::new().put(url).body(PNG)).await.ok();
}

#[tokio::test]
async fn everything_in_the_folder_is_private_to_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (server, ready) = Dossier::serve(&data, &[]);
    upload(&ready).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let check = |when: &str| {
        assert_eq!(mode(&data), 0o700, "{when}");
        let found = walk(&data);
        assert!(found.len() > 10, "{when}: {found:?}");
        for path in found {
            // Staging files and temporary preview files may disappear at any time.
            let Ok(metadata) = path.symlink_metadata() else { continue };
            let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
            let mode = metadata.permissions().mode() & 0o7777;
            assert_eq!(mode, expected, "{when}: {}", path.display());
        }
    };
    check("while the server runs");
    server.stop();
    check("after it has stopped");
}

#[test]
fn a_file_in_place_of_the_data_folder_is_rejected_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::write(&data, "precious").unwrap();
    for path in [data.clone(), data.join("below")] {
        let message = serve_error(&path);
        assert!(message.contains("cannot create the data folder"), "{message}");
        assert!(message.contains(path.to_str().unwrap()), "{message}");
    }
    assert_eq!(std::fs::read_to_string(&data).unwrap(), "precious");
}

#[test]
fn data_from_a_newer_release_is_rejected_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    Dossier::serve(folder.path(), &[]).0.stop();
    let database = folder.path().join("dossier.db");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let before = contents(folder.path());
    let data = folder.path().to_str().unwrap();
    for message in [
        serve_error(folder.path()),
        failure(&["key", "list", "--data", data]),
        failure(&["key", "create", "--data", data]),
        failure(&["site", "create", "--data", data]),
    ] {
        assert!(message.contains("was written by a newer Dossier (schema 99,"), "{message}");
        assert!(message.contains("start the newer release"), "{message}");
    }
    assert!(contents(folder.path()) == before, "files were changed");
}

#[test]
fn a_file_that_is_not_a_database_is_rejected_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("dossier.db");
    let nonsense = "no database at all, but something that someone wants to keep\n".repeat(99);
    std::fs::write(&database, &nonsense).unwrap();
    let message = serve_error(folder.path());
    assert!(message.contains(database.to_str().unwrap()), "{message}");
    assert_eq!(std::fs::read_to_string(&database).unwrap(), nonsense);
}

#[test]
fn damaged_secrets_are_rejected_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    Dossier::serve(folder.path(), &[]).0.stop();
    for name in ["signing.keys", "tls/key.pem", "tls/cert.pem"] {
        let path = folder.path().join(name);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, "damaged").unwrap();
        if name == "tls/cert.pem" {
            // It is regenerated without intervention.
            Dossier::serve(folder.path(), &[]).0.stop();
            continue;
        }
        let message = serve_error(folder.path());
        assert!(message.starts_with("dossier: "), "{name}: {message}");
        assert_eq!(std::fs::read(&path).unwrap(), b"damaged", "{name}");
        std::fs::write(&path, good).unwrap();
    }
}

/// A small dedicated file system, unmounted when dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new() -> Option<Self> {
        let mount = Self(tempfile::tempdir().unwrap());
        let path = mount.path().to_str().unwrap();
        Self::call("mount", &["-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", path])
            .then_some(mount)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn make_read_only(&self) {
        let path = self.path().to_str().unwrap();
        assert!(Self::call("mount", &["-o", "remount,ro", path]));
    }

    fn call(program: &str, arguments: &[&str]) -> bool {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let path = self.path().to_str().unwrap();
        // It may never have been mounted.
        Self::call("umount", &[path]);
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that cannot run here must say so")]
fn a_read_only_folder_is_rejected_and_kept() {
    // File modes do not restrict root, so the folder is on a read-only file system.
    let Some(mount) = Mount::new() else {
        eprintln!("skipped: a read-only folder needs root and the right to mount");
        return;
    };
    let (empty, used) = (mount.path().join("empty"), mount.path().join("used"));
    std::fs::create_dir(&empty).unwrap();
    Dossier::serve(&used, &[]).0.stop();
    mount.make_read_only();
    let before = contents(mount.path());
    for data in [&empty, &used] {
        let message = serve_error(data);
        let expected = format!("cannot write to the data folder {}", data.display());
        assert!(message.contains(&expected), "{message}");
        let name = data.to_str().unwrap();
        for command in [&["key", "create"], &["site", "create"]] {
            let message = failure(&[&command[..], &["--data", name]].concat());
            let words = if data == &empty { "there is no data in" } else { "cannot write to" };
            assert!(message.contains(&format!("{words} {name}")), "{message}");
        }
    }
    let new = mount.path().join("new");
    let message = serve_error(&new);
    assert!(message.contains("cannot create the data folder"), "{message}");
    assert!(contents(mount.path()) == before, "files were changed");
}
