//! `dossier doctor` says what is wrong and what to do, and is silent about what is not.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;
use uuid::Uuid;

use crate::support::{Ended, PNG, TestApp, run};

/// Addresses that are free while the test runs, and the arguments that name them.
const PORTS: [&str; 4] = ["--set", "listen=127.0.0.1:0", "--set", "listen_tls=127.0.0.1:0"];

fn doctor(data: &Path, more: &[&str]) -> Ended {
    run(&[&["doctor", "--data", data.to_str().unwrap()], &PORTS[..], more].concat())
}

/// The checks that are not fine, by name, each with its state.
fn unusual(ended: &Ended) -> Vec<(String, String)> {
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let found: Vec<_> = checks
        .iter()
        .map(|check| ["name", "state"].map(|field| check[field].as_str().unwrap().to_owned()))
        .filter(|[_, state]| state != "fine")
        .map(|[name, state]| (name, state))
        .collect();
    let problems = found.iter().filter(|(_, state)| state == "problem").count();
    assert_eq!(report["problems"], problems, "{ended:?}");
    assert_eq!(ended.code, Some(i32::from(problems > 0)), "{ended:?}");
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
    // The test's clock is not the doctor's.
    let database = Connection::open(data.path().join("dossier.db")).unwrap();
    database.execute_batch("UPDATE contacts SET last_created_at_ms = 1750000000000").unwrap();
    drop(database);
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(data.path(), mode).unwrap();
    data
}

#[tokio::test]
async fn a_sound_store_has_no_findings() {
    let data = used_folder().await;
    assert_eq!(unusual(&doctor(data.path(), &["--json"])), []);
    let shown = doctor(data.path(), &[]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for said in ["1 attachments", "libheif", "Nothing is wrong."] {
        assert!(shown.out.contains(said), "{said} is missing in {}", shown.out);
    }
}

#[tokio::test]
async fn a_folder_that_others_can_read_is_a_finding() {
    let data = used_folder().await;
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let ended = doctor(data.path(), &["--json"]);
    assert_eq!(unusual(&ended), problem("data folder"));
    assert!(ended.out.contains("chmod 700"), "{ended:?}");
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let keys = data.path().join("signing.keys");
    std::fs::set_permissions(keys, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(unusual(&doctor(data.path(), &["--json"])), problem("secrets"));
}

#[tokio::test]
async fn a_damaged_or_foreign_database_is_a_finding() {
    let data = used_folder().await;
    let file = data.path().join("dossier.db");
    let database = Connection::open(&file).unwrap();
    database.pragma_update(None, "user_version", 999).unwrap();
    drop(database);
    assert_eq!(unusual(&doctor(data.path(), &["--json"])), problem("database"));
    std::fs::write(&file, "no database at all, but long enough to be read as one".repeat(99))
        .unwrap();
    assert_eq!(unusual(&doctor(data.path(), &["--json"])), problem("database"));
}

#[tokio::test]
async fn a_file_from_the_future_says_that_the_clock_went_back() {
    let data = used_folder().await;
    let database = Connection::open(data.path().join("dossier.db")).unwrap();
    // In the year 2128.
    database.execute_batch("UPDATE contacts SET last_created_at_ms = 5000000000000").unwrap();
    drop(database);
    assert_eq!(unusual(&doctor(data.path(), &["--json"])), problem("clock"));
}

#[tokio::test]
async fn a_taken_address_is_a_finding() {
    let data = used_folder().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen={}", taken.local_addr().unwrap());
    let ended = doctor(data.path(), &["--json", "--set", &listen]);
    assert_eq!(unusual(&ended), problem("listen"));
}

#[tokio::test]
async fn little_space_is_a_finding() {
    let data = used_folder().await;
    // No disk has room for two uploads of that size.
    let ended = doctor(data.path(), &["--json", "--set", "upload_max_bytes=4000000000000000000"]);
    assert_eq!(unusual(&ended), problem("free space"));
}

#[test]
fn a_folder_that_is_not_there_yet_is_only_worth_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let ended = doctor(&folder.path().join("later"), &["--json"]);
    assert_eq!(unusual(&ended), [("data folder".to_owned(), "note".to_owned())]);
    assert!(!folder.path().join("later").exists(), "nothing is made");
}

#[test]
fn a_folder_that_cannot_be_made_is_a_finding() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let ended = doctor(&folder.path().join("file/data"), &["--json"]);
    assert_eq!(unusual(&ended), problem("data folder"));
    assert!(ended.out.contains("cannot be"), "{ended:?}");
}

#[test]
fn unreadable_settings_are_no_finding_but_a_failure() {
    let ended = run(&["doctor", "--json", "--set", "nonsense=1"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
}
