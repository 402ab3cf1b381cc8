//! The command line with PostgreSQL: migrate, doctor, and copying a database. Run by
//! `scripts/postgres`.

use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

use crate::support::{CommandOutput, Dossier, database, failure, printed, run};
use crate::webhooks_crash::{Client, Real};

/// Forces SQLite, whatever else is set.
const SQLITE: [&str; 2] = ["--set", "database_url="];

fn with_data<'a>(command: &[&'a str], data: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [command, &["--data", data.to_str().unwrap()], more].concat()
}

/// A contact's list without links, which expire.
async fn list_without_links(client: &Client, contact: Uuid) -> Value {
    let mut list = client.list(contact).await;
    for attachment in list["attachments"].as_array_mut().unwrap() {
        attachment["document"]["url"].take();
    }
    list
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn rows_copied_to_postgresql_and_back_are_unchanged() {
    let (folder, contact) = (tempfile::tempdir().unwrap(), Uuid::new_v4());
    let data = folder.path();
    let server = Real::start_with(data, None, &SQLITE);
    for _ in 0..120 {
        server.client.upload_for(contact).await.unwrap();
    }
    let (key, before) =
        (server.client.key.clone(), list_without_links(&server.client, contact).await);
    let url = database::url_for(data).unwrap();
    // A running server would continue writing to the old database.
    let copy = with_data(&["db", "copy", "--to", &url], data, &SQLITE);
    assert!(failure(&copy).contains("another dossier server is using the data folder"));
    server.process.stop();
    assert!(printed(&copy).contains("120 attachments"));
    assert!(failure(&copy).contains("contains sites already"));

    let server = Real::start(data, Some(key.clone()));
    assert_eq!(list_without_links(&server.client, contact).await, before);
    server.client.upload_for(contact).await.unwrap();
    let after = list_without_links(&server.client, contact).await;
    server.process.stop();

    std::fs::rename(data.join("dossier.db"), data.join("old.db")).unwrap();
    let back = with_data(&["db", "copy", "--json", "--to", "sqlite"], data, &[]);
    let copied: Value = serde_json::from_str(&printed(&back)).unwrap();
    assert_eq!(copied["tables"]["attachments"], 121);
    let server = Real::start_with(data, Some(key), &SQLITE);
    assert_eq!(list_without_links(&server.client, contact).await, after);
    server.process.stop();
}

#[test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
fn migrate_creates_the_schema_and_then_has_nothing_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let json = printed(&with_data(&["migrate", "--json"], folder.path(), &[]));
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["schema"], 8);
    }
    let (server, ready) = Dossier::serve(folder.path(), &[]);
    assert!(ready["apiKey"].is_string());
    server.stop();
}

/// The findings of `dossier doctor` about PostgreSQL.
fn doctor(data: &Path, more: &[&str]) -> (CommandOutput, String) {
    let ports = ["--set", "listen=127.0.0.1:0", "--set", "listen_tls=127.0.0.1:0"];
    let output = run(&with_data(&["doctor"], data, &[&ports, more].concat()));
    let report: Vec<&str> = output
        .out
        .lines()
        .skip_while(|line| !line.contains(" database "))
        .take_while(|line| !line.contains(" stored files "))
        .collect();
    let report = report.join("\n");
    (output, report)
}

#[test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
fn doctor_reports_unsafe_postgresql_settings() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    printed(&with_data(&["migrate"], data, &[]));
    // The PostgreSQL server for tests runs with fsync off.
    let (output, report) = doctor(data, &[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    for part in
        ["schema 8", "fsync is off", "set fsync = on", "rows can be written", "clock agrees"]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
    let url = database::url_for(data).unwrap();
    let reader = format!("reader_{}", Uuid::new_v4().simple());
    database::execute(
        &url,
        format!(
            "CREATE ROLE {reader} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}"
        ),
    );
    let as_reader = url.replacen("postgres@", &format!("{reader}@"), 1);
    let (_, report) = doctor(data, &["--set", &format!("database_url={as_reader}")]);
    assert!(report.contains("its tables cannot be written: permission denied"), "{report}");
    let without_server = url.rsplit_once('/').unwrap().0.to_owned() + "/nowhere";
    let (_, report) = doctor(data, &["--set", &format!("database_url={without_server}")]);
    assert!(report.contains("database \"nowhere\" does not exist"), "{report}");
    let closed = "database_url=postgres://postgres@127.0.0.1:1/dossier";
    let (_, report) = doctor(data, &["--set", closed]);
    assert!(report.contains("Connection refused"), "{report}");
}

#[test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
fn a_backup_of_rows_in_postgresql_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = Dossier::serve(folder.path(), &[]);
    server.stop();
    let target = folder.path().join("backup");
    let backup = ["backup", "create", target.to_str().unwrap()];
    let report = failure(&with_data(&backup, folder.path(), &[]));
    assert!(report.contains("pg_dump") && !target.exists(), "{report}");
}
