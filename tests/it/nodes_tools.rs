//! The command line beside PostgreSQL: migrate, doctor, and moving house. Run by `scripts/postgres`.

use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

use crate::support::{Dossier, Ended, database, printed, refused, run};
use crate::webhooks_crash::{Client, Real};

/// Says that rows are to be in SQLite, whatever else is set.
const SQLITE: [&str; 2] = ["--set", "database_url="];

fn with_data<'a>(command: &[&'a str], data: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [command, &["--data", data.to_str().unwrap()], more].concat()
}

/// What a contact's list holds but links, which end.
async fn listed(client: &Client, contact: Uuid) -> Value {
    let mut list = client.list(contact).await;
    for attachment in list["attachments"].as_array_mut().unwrap() {
        attachment["document"]["url"].take();
    }
    list
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn rows_move_to_postgresql_and_back_and_nothing_looks_different() {
    let (folder, contact) = (tempfile::tempdir().unwrap(), Uuid::new_v4());
    let data = folder.path();
    let server = Real::start_with(data, None, &SQLITE);
    for _ in 0..120 {
        server.client.upload_for(contact).await.unwrap();
    }
    let (key, before) = (server.client.key.clone(), listed(&server.client, contact).await);
    let url = database::of(data).unwrap();
    // A running server would go on writing where nobody looks any more.
    let copy = with_data(&["db", "copy", "--to", &url], data, &SQLITE);
    assert!(refused(&copy).contains("another dossier server is using the data folder"));
    server.process.stop();
    assert!(printed(&copy).contains("120 attachments"));
    assert!(refused(&copy).contains("there are sites already"));

    let server = Real::start(data, Some(key.clone()));
    assert_eq!(listed(&server.client, contact).await, before);
    server.client.upload_for(contact).await.unwrap();
    let after = listed(&server.client, contact).await;
    server.process.stop();

    std::fs::rename(data.join("dossier.db"), data.join("old.db")).unwrap();
    let back = with_data(&["db", "copy", "--json", "--to", "sqlite"], data, &[]);
    let copied: Value = serde_json::from_str(&printed(&back)).unwrap();
    assert_eq!(copied["tables"]["attachments"], 121);
    let server = Real::start_with(data, Some(key), &SQLITE);
    assert_eq!(listed(&server.client, contact).await, after);
    server.process.stop();
}

#[test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
fn migrate_makes_the_schema_and_finds_nothing_to_do_after() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let json = printed(&with_data(&["migrate", "--json"], folder.path(), &[]));
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["schema"], 8);
    }
    let (server, ready) = Dossier::serve(folder.path(), &[]);
    assert!(ready["apiKey"].is_string());
    server.stop();
}

/// What `dossier doctor` says of PostgreSQL.
fn doctor(data: &Path, more: &[&str]) -> (Ended, String) {
    let ports = ["--set", "listen=127.0.0.1:0", "--set", "listen_tls=127.0.0.1:0"];
    let ended = run(&with_data(&["doctor"], data, &[&ports, more].concat()));
    let said: Vec<&str> = ended
        .out
        .lines()
        .skip_while(|line| !line.contains(" database "))
        .take_while(|line| !line.contains(" stored files "))
        .collect();
    let said = said.join("\n");
    (ended, said)
}

#[test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
fn doctor_says_what_a_server_does_not_keep() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    printed(&with_data(&["migrate"], data, &[]));
    // The server of the tests syncs nothing.
    let (ended, said) = doctor(data, &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for part in
        ["schema 8", "fsync is off", "set fsync = on", "rows can be written", "clock agrees"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    let url = database::of(data).unwrap();
    let reader = format!("reader_{}", Uuid::new_v4().simple());
    database::execute(
        &url,
        format!(
            "CREATE ROLE {reader} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}"
        ),
    );
    let as_reader = url.replacen("postgres@", &format!("{reader}@"), 1);
    let (_, said) = doctor(data, &["--set", &format!("database_url={as_reader}")]);
    assert!(said.contains("its tables cannot be written: permission denied"), "{said}");
    let nowhere = url.rsplit_once('/').unwrap().0.to_owned() + "/nowhere";
    let (_, said) = doctor(data, &["--set", &format!("database_url={nowhere}")]);
    assert!(said.contains("database \"nowhere\" does not exist"), "{said}");
    let closed = "database_url=postgres://postgres@127.0.0.1:1/dossier";
    let (_, said) = doctor(data, &["--set", closed]);
    assert!(said.contains("Connection refused"), "{said}");
}

#[test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
fn a_backup_of_rows_that_are_elsewhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = Dossier::serve(folder.path(), &[]);
    server.stop();
    let target = folder.path().join("backup");
    let backup = ["backup", "create", target.to_str().unwrap()];
    let said = refused(&with_data(&backup, folder.path(), &[]));
    assert!(said.contains("pg_dump") && !target.exists(), "{said}");
}
