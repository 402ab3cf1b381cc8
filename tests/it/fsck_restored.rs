//! `dossier fsck` when rows and bytes are of two moments, because one of both was restored: on SQLite and
//! PostgreSQL, on disk and in a bucket.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{TestApp, bucket, database, run};

/// Where the bytes of a data folder's server lie.
fn blobs(data: &Path) -> PathBuf {
    let folder = bucket::of(data).map_or_else(|| data.to_path_buf(), |bucket| bucket.folder);
    folder.join("blobs")
}

fn copy_bytes(from: &Path, to: &Path) {
    std::fs::create_dir_all(blobs(to).parent().unwrap()).unwrap();
    let copy = std::process::Command::new("cp").arg("-r").args([blobs(from), blobs(to)]).status();
    assert!(copy.unwrap().success());
}

/// What `dossier fsck` says of rows of one moment and bytes of another: the kinds of findings with how many
/// there are, and the text for people.
fn found(rows: &Path, bytes: &Path) -> (Value, String) {
    let mixed = tempfile::tempdir().unwrap();
    database::copy(rows, mixed.path());
    copy_bytes(bytes, mixed.path());
    let command = ["fsck", "--data", mixed.path().to_str().unwrap()];
    let looked = run(&[&command[..], &["--hash", "--json"]].concat());
    let report: Value = serde_json::from_str(&looked.out).unwrap();
    let counts = report["counts"].as_object().unwrap();
    let found = counts.clone().into_iter().filter(|(_, count)| *count != 0).collect();
    let told = run(&command);
    assert_eq!((looked.code, told.code), (Some(1), Some(1)), "{told:?}");
    (Value::Object(found), told.out)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_bytes_of_two_moments_are_told_apart_in_plain_words() {
    let (app, older) = (TestApp::start().await, tempfile::tempdir().unwrap());
    app.upload_csvs(Uuid::new_v4(), ["a.csv", "b.csv"].map(str::to_owned)).await;
    app.nothing_staged().await;
    let data = app.data().to_path_buf();
    let at_a_moment = async || {
        database::copy(&data, older.path());
        copy_bytes(&data, older.path());
    };
    let app = app.restart_after(at_a_moment, &[]).await;
    let contact = Uuid::new_v4();
    app.upload_csvs(contact, ["c.csv".to_owned()]).await;
    app.nothing_staged().await;
    let newest = app.all(contact, "id").await.remove(0);
    let _folder = app.stop().await;

    let (kinds, told) = found(older.path(), &data);
    assert_eq!(kinds, json!({ "bytesWithoutRow": 1 }), "{told}");
    assert!(told.contains("bytes without a row (or the rows are older than the bytes)"), "{told}");
    let (kinds, told) = found(&data, older.path());
    assert_eq!(kinds, json!({ "rowWithoutBytes": 1 }), "{told}");
    assert!(told.contains("rows without bytes (or the bytes are older than the rows)"), "{told}");
    assert!(told.contains(&format!("attachment {newest}")), "{told}");
}
