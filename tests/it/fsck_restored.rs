//! `dossier fsck` on rows and bytes from different points in time, because only one of them was
//! restored: on SQLite and PostgreSQL, on disk and in a bucket.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{TestApp, bucket, database, run};

/// Where the bytes of a data folder's server are stored.
fn blobs(data: &Path) -> PathBuf {
    let folder =
        bucket::if_enabled(data).map_or_else(|| data.to_path_buf(), |bucket| bucket.folder);
    folder.join("blobs")
}

fn copy_bytes(from: &Path, to: &Path) {
    std::fs::create_dir_all(blobs(to).parent().unwrap()).unwrap();
    let copy = std::process::Command::new("cp").arg("-r").args([blobs(from), blobs(to)]).status();
    assert!(copy.unwrap().success());
}

/// What `dossier fsck` reports for rows and bytes of different points in time: the kinds of
/// findings with the number of each, and the text for people.
fn found(rows: &Path, bytes: &Path) -> (Value, String) {
    let mixed = tempfile::tempdir().unwrap();
    database::copy(rows, mixed.path());
    copy_bytes(bytes, mixed.path());
    let command = ["fsck", "--data", mixed.path().to_str().unwrap()];
    let report_output = run(&[&command[..], &["--hash", "--json"]].concat());
    let report: Value = serde_json::from_str(&report_output.out).unwrap();
    let counts = report["counts"].as_object().unwrap();
    let found = counts.clone().into_iter().filter(|(_, count)| *count != 0).collect();
    let text = run(&command);
    assert_eq!((report_output.code, text.code), (Some(1), Some(1)), "{text:?}");
    (Value::Object(found), text.out)
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_rows_or_bytes_are_recognised_and_explained() {
    let (app, older) = (TestApp::start().await, tempfile::tempdir().unwrap());
    app.upload_csvs(Uuid::new_v4(), ["a.csv", "b.csv"].map(str::to_owned)).await;
    app.wait_until_staging_is_empty().await;
    let data = app.data().to_path_buf();
    let at_a_moment = async || {
        database::copy(&data, older.path());
        copy_bytes(&data, older.path());
    };
    let app = app.restart_after(at_a_moment, &[]).await;
    let contact = Uuid::new_v4();
    app.upload_csvs(contact, ["c.csv".to_owned()]).await;
    app.wait_until_staging_is_empty().await;
    let newest = app.list_all(contact, "id").await.remove(0);
    let _folder = app.stop().await;

    let (kinds, text) = found(older.path(), &data);
    assert_eq!(kinds, json!({ "bytesWithoutRow": 1 }), "{text}");
    assert!(
        text.contains("files without a row (or the database is older than the files)"),
        "{text}"
    );
    let (kinds, text) = found(&data, older.path());
    assert_eq!(kinds, json!({ "rowWithoutBytes": 1 }), "{text}");
    assert!(
        text.contains("rows without a file (or the files are older than the database)"),
        "{text}"
    );
    assert!(text.contains(&format!("attachment {newest}")), "{text}");
}
