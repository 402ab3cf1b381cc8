//! `dossier doctor` reports problems with their remedies and nothing else.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;
use uuid::Uuid;

use crate::support::{CommandOutput, PNG, TestApp, run};

/// Addresses that are free while the test runs, and the arguments that set them.
const PORTS: [&str; 4] = ["--set", "listen=127.0.0.1:0", "--set", "listen_tls=127.0.0.1:0"];

fn doctor(data: &Path, more: &[&str]) -> CommandOutput {
    run(&[&["doctor", "--data", data.to_str().unwrap()], &PORTS[..], more].concat())
}

/// The checks that are not fine, by name, each with its state.
fn findings(output: &CommandOutput) -> Vec<(String, String)> {
    let report: Value = serde_json::from_str(&output.out).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let found: Vec<_> = checks
        .iter()
        .map(|check| ["name", "state"].map(|field| check[field].as_str().unwrap().to_owned()))
        .filter(|[_, state]| state != "fine")
        .map(|[name, state]| (name, state))
        .collect();
    let problems = found.iter().filter(|(_, state)| state == "problem").count();
    assert_eq!(report["problems"], problems, "{output:?}");
    assert_eq!(output.code, Some(i32::from(problems > 0)), "{output:?}");
    found
}

fn problem(name: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), "problem".to_owned())]
}

/// A folder that a server has used, with one attachment.
async fn used_folder() -> tempfile::TempDir {
    let app = TestApp::start().await;
    app.upload(Uuid::new_v4(), "dot.png", "image/png", PNG).await.ok();
    let data = app.stop().await;
    // The test's clock is not doctor's.
    let database = Connection::open(data.path().join("dossier.db")).unwrap();
    database.execute_batch("UPDATE contacts SET last_created_at_ms = 1750000000000").unwrap();
    drop(database);
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(data.path(), mode).unwrap();
    data
}

#[tokio::test]
async fn a_healthy_store_has_no_findings() {
    let data = used_folder().await;
    assert_eq!(findings(&doctor(data.path(), &["--json"])), []);
    let shown = doctor(data.path(), &[]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for expected in ["1 attachments", "libheif", "No problems found."] {
        assert!(shown.out.contains(expected), "{expected} is missing from {}", shown.out);
    }
}

#[tokio::test]
async fn a_folder_that_others_can_read_is_a_finding() {
    let data = used_folder().await;
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = doctor(data.path(), &["--json"]);
    assert_eq!(findings(&output), problem("data folder"));
    assert!(output.out.contains("chmod 700"), "{output:?}");
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let set_mode = |name: &str, mode: u32| {
        let file = data.path().join(name);
        let content = std::fs::read(&file).unwrap_or_default();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for secret in ["signing.keys", "webhook.keys", "tls/ca-key.pem"] {
        set_mode(secret, 0o640);
        assert_eq!(findings(&doctor(data.path(), &["--json"])), problem("secrets"), "{secret}");
        set_mode(secret, 0o600);
    }
    set_mode("tls/ca.pem", 0o644);
    assert_eq!(findings(&doctor(data.path(), &["--json"])), [], "clients need the certificate");
}

#[tokio::test]
async fn a_damaged_or_foreign_database_is_a_finding() {
    let data = used_folder().await;
    let file = data.path().join("dossier.db");
    let database = Connection::open(&file).unwrap();
    database.pragma_update(None, "user_version", 999).unwrap();
    drop(database);
    assert_eq!(findings(&doctor(data.path(), &["--json"])), problem("database"));
    std::fs::write(&file, "no database at all, but long enough to be read as one".repeat(99))
        .unwrap();
    assert_eq!(findings(&doctor(data.path(), &["--json"])), problem("database"));
}

#[tokio::test]
async fn a_file_from_the_future_reveals_that_the_clock_went_back() {
    let data = used_folder().await;
    let database = Connection::open(data.path().join("dossier.db")).unwrap();
    // In the year 2128.
    database.execute_batch("UPDATE contacts SET last_created_at_ms = 5000000000000").unwrap();
    drop(database);
    assert_eq!(findings(&doctor(data.path(), &["--json"])), problem("clock"));
}

#[tokio::test]
async fn an_address_in_use_is_a_finding() {
    let data = used_folder().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen={}", taken.local_addr().unwrap());
    let output = doctor(data.path(), &["--json", "--set", &listen]);
    assert_eq!(findings(&output), problem("listen"));
}

#[tokio::test]
async fn little_space_is_a_finding() {
    let data = used_folder().await;
    // No disk has room for two uploads of that size.
    let output = doctor(data.path(), &["--json", "--set", "upload_max_bytes=4000000000000000000"]);
    assert_eq!(findings(&output), problem("free space"));
}

#[test]
fn a_missing_folder_is_only_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let output = doctor(&folder.path().join("later"), &["--json"]);
    assert_eq!(findings(&output), [("data folder".to_owned(), "note".to_owned())]);
    assert!(!folder.path().join("later").exists(), "nothing is created");
}

#[test]
fn a_folder_that_cannot_be_created_is_a_finding() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let output = doctor(&folder.path().join("file/data"), &["--json"]);
    assert_eq!(findings(&output), problem("data folder"));
    assert!(output.out.contains("is not writable"), "{output:?}");
}

#[test]
fn unreadable_settings_are_an_error_not_a_finding() {
    let output = run(&["doctor", "--json", "--set", "nonsense=1"]);
    assert_eq!(output.code, Some(2), "{output:?}");
}
