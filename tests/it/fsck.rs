//! `dossier fsck` finds each kind of damage and nothing else (R3, R22).

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::tus::csv;
use crate::support::{CommandOutput, TestApp, run};

/// A stopped store with three attachments and one upload in progress.
struct Store {
    data: tempfile::TempDir,
}

impl Store {
    async fn new() -> Self {
        let (app, contact) = (TestApp::start().await, Uuid::new_v4());
        app.upload_csvs(contact, (0..3).map(|number| format!("{number}.csv"))).await;
        let (_, location) = app.tus_begin(contact, 100).await;
        app.tus_patch(&location, 0, &csv(60)).await;
        Self { data: app.stop().await }
    }

    fn path(&self) -> &Path {
        self.data.path()
    }

    fn blobs(&self) -> Vec<PathBuf> {
        let site = std::fs::read_dir(self.path().join("blobs")).unwrap().next().unwrap().unwrap();
        let folders = std::fs::read_dir(site.path()).unwrap().map(|folder| folder.unwrap().path());
        let mut files: Vec<_> = folders
            .flat_map(|folder| std::fs::read_dir(folder).unwrap())
            .map(|file| file.unwrap().path())
            .collect();
        files.sort();
        files
    }

    fn sql(&self, statement: &str) {
        let database = Connection::open(self.path().join("dossier.db")).unwrap();
        database.execute_batch(statement).unwrap();
    }

    fn fsck(&self, more: &[&str]) -> CommandOutput {
        let data = self.path().to_str().unwrap();
        run(&[&["fsck", "--data", data], more].concat())
    }

    /// The kinds of findings with the number of each.
    fn found(&self, more: &[&str]) -> Value {
        let output = self.fsck(&[&["--json"], more].concat());
        let report: Value = serde_json::from_str(&output.out).unwrap();
        let counts = report["counts"].as_object().unwrap();
        let found: serde_json::Map<_, _> =
            counts.clone().into_iter().filter(|(_, count)| *count != 0).collect();
        assert_eq!(output.code, Some(i32::from(!found.is_empty())), "{output:?}");
        Value::Object(found)
    }
}

#[tokio::test]
async fn a_healthy_store_has_no_findings() {
    let store = Store::new().await;
    assert_eq!(store.found(&["--hash"]), json!({}));
    let output = store.fsck(&[]);
    assert!(output.out.contains("3 attachments, 3 files"), "{}", output.out);
    assert!(output.out.contains("1 uploads in progress"), "{}", output.out);
    assert!(output.out.ends_with("No problems found."), "{}", output.out);
}

#[tokio::test]
async fn a_missing_file_is_found_and_its_row_removed_on_demand() {
    let store = Store::new().await;
    std::fs::remove_file(&store.blobs()[0]).unwrap();
    assert_eq!(store.found(&[]), json!({ "rowWithoutBytes": 1 }));
    // First a dry run, which changes nothing.
    assert_eq!(store.found(&["--repair"]), json!({ "rowWithoutBytes": 1 }));
    let repaired = store.fsck(&["--repair", "--yes"]);
    assert_eq!(repaired.code, Some(0), "{repaired:?}");
    assert_eq!(store.found(&["--hash"]), json!({}));
    assert!(store.fsck(&[]).out.starts_with("2 attachments, 2 files"));
}

#[tokio::test]
async fn a_file_without_a_row_is_moved_to_lost_and_found() {
    let store = Store::new().await;
    let file = &store.blobs()[0];
    let stray = file.with_file_name(format!(
        "{}{}",
        &file.file_name().unwrap().to_str().unwrap()[..2],
        &Uuid::new_v4().simple().to_string()[2..]
    ));
    std::fs::write(&stray, b"whose?").unwrap();
    std::fs::write(stray.with_extension("preview"), b"small").unwrap();
    assert_eq!(store.found(&[]), json!({ "bytesWithoutRow": 1 }));
    assert_eq!(store.fsck(&["--repair", "--yes"]).code, Some(0));
    assert_eq!(store.found(&[]), json!({}));
    let kept = std::fs::read_dir(store.path().join("lost+found")).unwrap().next().unwrap();
    assert_eq!(std::fs::read(kept.unwrap().path()).unwrap(), b"whose?");
}

#[tokio::test]
async fn altered_bytes_are_found_and_left_for_a_restore() {
    let store = Store::new().await;
    let files = store.blobs();
    let mut altered = std::fs::read(&files[0]).unwrap();
    altered[3] ^= 1;
    std::fs::write(&files[0], &altered).unwrap();
    std::fs::write(&files[1], &altered[..5]).unwrap();
    assert_eq!(store.found(&[]), json!({ "wrongSize": 1 }));
    let both = json!({ "wrongSize": 1, "wrongHash": 1 });
    assert_eq!(store.found(&["--hash"]), both);
    let repaired = store.fsck(&["--hash", "--repair", "--yes"]);
    assert_eq!(repaired.code, Some(1), "{repaired:?}");
    assert_eq!(std::fs::read(&files[0]).unwrap(), altered);
    assert_eq!(store.found(&["--hash"]), both);
}

#[tokio::test]
async fn wrong_counters_are_found_and_recounted() {
    let store = Store::new().await;
    store.sql("UPDATE contacts SET attachment_count = 7; UPDATE site_usage SET total_bytes = 1");
    assert_eq!(store.found(&[]), json!({ "counterDrift": 2 }));
    assert_eq!(store.fsck(&["--repair", "--yes"]).code, Some(0));
    assert_eq!(store.found(&[]), json!({}));
    store.sql("DELETE FROM contacts; DELETE FROM site_usage");
    assert_eq!(store.found(&[]), json!({ "counterDrift": 2 }));
    assert_eq!(store.fsck(&["--repair", "--yes"]).code, Some(0));
    assert_eq!(store.found(&[]), json!({}));
}

#[tokio::test]
async fn only_uploads_in_progress_may_be_in_staging() {
    let store = Store::new().await;
    let staging = store.path().join("staging");
    let ids = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()].map(|id| id.simple().to_string());
    std::fs::write(staging.join(ids.join(".")), b"left").unwrap();
    assert_eq!(store.found(&[]), json!({ "staleStaging": 1 }));
    assert_eq!(store.fsck(&["--repair", "--yes"]).code, Some(0));
    assert_eq!(store.found(&[]), json!({}));
    let upload = std::fs::read_dir(&staging).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&upload, b"shorter than what was acknowledged").unwrap();
    assert_eq!(store.found(&[]), json!({ "uploadWithoutBytes": 1 }));
    std::fs::remove_file(&upload).unwrap();
    assert_eq!(store.found(&[]), json!({ "uploadWithoutBytes": 1 }));
    assert_eq!(store.fsck(&["--repair", "--yes"]).code, Some(0));
    assert_eq!(store.found(&[]), json!({}));
}

#[tokio::test]
async fn foreign_files_are_reported_and_never_touched() {
    let store = Store::new().await;
    let file = store.blobs()[0].clone();
    let foreign = [
        store.path().join("blobs/notes.txt"),
        store.path().join("staging/notes.txt"),
        file.with_file_name("notes.txt"),
    ];
    for path in &foreign {
        std::fs::write(path, b"mine").unwrap();
    }
    assert_eq!(store.found(&[]), json!({ "foreignName": 3 }));
    assert_eq!(store.fsck(&["--repair", "--yes"]).code, Some(1));
    assert!(foreign.iter().all(|path| std::fs::read(path).unwrap() == b"mine"));
}

#[tokio::test]
async fn it_checks_while_a_server_runs_and_repairs_only_without_one() {
    let app = TestApp::start().await;
    app.upload_csvs(Uuid::new_v4(), ["a.csv".to_owned()]).await;
    let data = app.data().to_str().unwrap().to_owned();
    let command = ["fsck", "--hash", "--data", &data];
    assert_eq!(
        tokio::task::spawn_blocking({
            let command = command.map(str::to_owned);
            move || run(&command).code
        })
        .await
        .unwrap(),
        Some(0)
    );
    let repair = ["fsck", "--repair", "--data", &data].map(str::to_owned);
    let output = tokio::task::spawn_blocking(move || run(&repair)).await.unwrap();
    assert_eq!(output.code, Some(2));
    assert!(output.err.contains("another dossier server is using"), "{}", output.err);
}

#[test]
fn without_data_it_reports_that_and_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["fsck", "--data", folder.path().to_str().unwrap()]);
    assert_eq!(output.code, Some(2));
    assert!(output.err.contains("there is no data in"), "{}", output.err);
}
