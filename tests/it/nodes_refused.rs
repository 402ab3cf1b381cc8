//! A PostgreSQL that does not let a server work, from its start or later. Run by `scripts/postgres`.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use dossier::actions::recover::recover;
use reqwest::Method;
use uuid::Uuid;

use crate::full_disk::Disk;
use crate::support::cluster::Cluster;
use crate::support::{Answer, TestApp, printed, run};

/// Each user comes with the password `secret`.
const WITH_PASSWORDS: &str = "host all all 127.0.0.1/32 scram-sha-256";

/// What `serve` and `doctor` say of a database that they refuse.
pub(crate) fn said(data: &Path, more: &[&str], url: &str) -> [String; 2] {
    let url = format!("database_url={url}");
    let place = [&["--data", data.to_str().unwrap(), "--set", &url], more].concat();
    let ports = ["--listen", "127.0.0.1:0", "--listen-tls", "off"];
    let serve = run(&[&["serve"], &place[..], &ports].concat());
    let doctor = run(&[&["doctor"], &place[..]].concat());
    assert_eq!((serve.code, doctor.code), (Some(1), Some(1)), "{serve:?} {doctor:?}");
    [serve.err, doctor.out]
}

/// A server with a database whose owner is `dossier`, maybe on a disk of its own, and users with fewer
/// rights.
fn with_users(disk: Option<&Path>) -> Cluster {
    let cluster = Cluster::start(WITH_PASSWORDS, "");
    let mut statements = ["dossier", "reader", "stranger"]
        .map(|user| format!("CREATE ROLE {user} LOGIN PASSWORD 'secret'"))
        .to_vec();
    let mut place = "";
    if let Some(disk) = disk {
        cluster.give(disk);
        statements.push(format!("CREATE TABLESPACE small LOCATION '{}'", disk.display()));
        place = "TABLESPACE small";
    }
    statements.push(format!("CREATE DATABASE dossier OWNER dossier {place}"));
    cluster.execute("postgres", &statements);
    cluster
}

#[test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
fn what_a_database_does_not_allow_is_said_at_a_start_and_by_doctor() {
    let (folder, cluster) = (tempfile::tempdir().unwrap(), with_users(None));
    let data = folder.path();
    let wrong = data.join("wrong");
    std::fs::write(&wrong, "hidden\n").unwrap();
    let wrong = format!("database_password_file={}", wrong.display());
    let owner = cluster.url("dossier:secret", "dossier");
    let nowhere = cluster.url("dossier:secret", "nowhere");
    let stranger = cluster.url("stranger:secret", "dossier");
    for (url, more, words) in [
        (&owner, &["--set", &wrong][..], ["password authentication failed", "correct the user"]),
        (&nowhere, &[], ["database \"nowhere\" does not exist", "correct its name"]),
        (&stranger, &[], ["own the database", ""]),
    ] {
        for said in said(data, more, url) {
            assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
            assert!(!said.contains("hidden") && !said.contains("secret@"), "{said}");
        }
    }
    let owned = format!("database_url={owner}");
    printed(&["migrate", "--data", data.to_str().unwrap(), "--set", &owned]);
    let reading = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader";
    cluster.execute("dossier", &[reading]);
    for user in ["reader:secret", "stranger:secret"] {
        for said in said(data, &[], &cluster.url(user, "dossier")) {
            let words = ["permission denied for table", "docs/postgres.md"];
            assert!(words.iter().all(|word| said.contains(word)), "{user}: {said}");
            assert!(!said.contains("internal error"), "{said}");
        }
    }
}

/// What a server says of itself.
async fn health(app: &TestApp) -> Answer {
    Answer::of(app.anonymous(Method::GET, "/dossier/v1/health")).await
}

/// Waits until nothing is left of uploads whose commit has failed. In a bucket that takes an hour, because
/// another server may be at work on them.
async fn recovered(app: &TestApp) {
    app.advance_seconds(60 * 60 + 60);
    recover(app.app()).await.unwrap();
    app.nothing_staged().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_database_that_may_only_be_read_is_still_read_and_written_again_later() {
    let cluster = with_users(None);
    let url = cluster.url("dossier:secret", "dossier");
    let app = TestApp::start_with(&[("database_url", &url)]).await;
    let contact = Uuid::new_v4();
    app.upload(contact, "a.csv", "text/csv", b"a,b\n").await.ok();
    let upload = app.upload_url(contact, "b.csv", "text/csv").await;
    let kept = app.blob_files();
    cluster.execute("postgres", &["ALTER SYSTEM SET default_transaction_read_only = on"]);
    cluster.restart();
    let refused = app.put(&upload, b"c,d\n").await;
    assert_eq!(refused.status, 503, "{:?}", refused.json());
    assert_eq!(refused.header("retry-after"), "1");
    let list = app.list(contact).await.ok();
    assert_eq!(list["metadata"]["total"], 1);
    let link = list["attachments"][0]["document"]["url"].as_str().unwrap();
    assert_eq!(app.open(link).await.body, b"a,b\n");
    assert_eq!(health(&app).await.status, 200, "it can be read");
    recovered(&app).await;
    assert_eq!(app.blob_files(), kept);
    cluster.execute("postgres", &["ALTER SYSTEM SET default_transaction_read_only = off"]);
    cluster.restart();
    app.put(&upload, b"c,d\n").await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 2);
}

/// Takes all the room that a disk has left.
fn fill(disk: &Disk) -> PathBuf {
    let path = disk.path().join("ballast");
    let mut file = File::create(&path).unwrap();
    for size in [1 << 20, 4 << 10] {
        let block = vec![0; size];
        let full = loop {
            if let Err(error) = file.write_all(&block) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull);
    }
    path
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_database_whose_disk_is_full_is_still_read_and_written_again_later() {
    // Rows of an upload that fit into pages which are there already.
    const MOST: usize = 500;

    let Some(disk) = Disk::mounted("48m") else { return };
    let cluster = with_users(Some(disk.path()));
    let url = cluster.url("dossier:secret", "dossier");
    let app = TestApp::start_with(&[("database_url", &url)]).await;
    let contact = Uuid::new_v4();
    app.upload(contact, "first.csv", "text/csv", b"a,b\n").await.ok();
    let (ballast, mut kept) = (fill(&disk), 1);
    let upload = loop {
        let upload = app.upload_url(contact, "a.csv", "text/csv").await;
        let answer = app.put(&upload, b"c,d\n").await;
        if answer.status != 200 {
            assert_eq!(answer.status, 507, "{:?}", answer.json());
            break upload;
        }
        kept += 1;
        assert!(kept < MOST, "the disk does not fill");
    };
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], kept);
    assert_eq!(health(&app).await.status, 200, "it can be read");
    recovered(&app).await;
    assert_eq!(app.blob_files().len(), kept);
    assert_eq!(app.inspect(|rows| rows.drift().unwrap().len()), 0);
    std::fs::remove_file(ballast).unwrap();
    app.put(&upload, b"c,d\n").await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], kept + 1);
    // The server's files are on the disk.
    drop((app.stop().await, cluster));
}
