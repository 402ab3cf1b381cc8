//! A PostgreSQL that rejects a server's work, at its start or later. Run by `scripts/postgres`.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use dossier::actions::recover::recover;
use reqwest::Method;
use uuid::Uuid;

use crate::full_disk::Disk;
use crate::support::cluster::Cluster;
use crate::support::{Response, TestApp, printed, run};

/// Every user has the password `secret`.
const WITH_PASSWORDS: &str = "host all all 127.0.0.1/32 scram-sha-256";

/// The errors of `serve` and `doctor` for an unusable database.
pub(crate) fn serve_and_doctor_errors(data: &Path, more: &[&str], url: &str) -> [String; 2] {
    let url = format!("database_url={url}");
    let arguments = [&["--data", data.to_str().unwrap(), "--set", &url], more].concat();
    let ports = ["--listen", "127.0.0.1:0", "--listen-tls", "off"];
    let serve = run(&[&["serve"], &arguments[..], &ports].concat());
    let doctor = run(&[&["doctor"], &arguments[..]].concat());
    assert_eq!((serve.code, doctor.code), (Some(1), Some(1)), "{serve:?} {doctor:?}");
    [serve.err, doctor.out]
}

/// A server with a database owned by `dossier`, optionally on its own disk, and users with fewer
/// rights.
fn with_users(disk: Option<&Path>) -> Cluster {
    let cluster = Cluster::start(WITH_PASSWORDS, "");
    let mut statements = ["dossier", "reader", "stranger"]
        .map(|user| format!("CREATE ROLE {user} LOGIN PASSWORD 'secret'"))
        .to_vec();
    let mut arguments = "";
    if let Some(disk) = disk {
        cluster.chown(disk);
        statements.push(format!("CREATE TABLESPACE small LOCATION '{}'", disk.display()));
        arguments = "TABLESPACE small";
    }
    statements.push(format!("CREATE DATABASE dossier OWNER dossier {arguments}"));
    cluster.execute("postgres", &statements);
    cluster
}

#[test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
fn missing_database_rights_are_reported_at_startup_and_by_doctor() {
    let (folder, cluster) = (tempfile::tempdir().unwrap(), with_users(None));
    let data = folder.path();
    let wrong = data.join("wrong");
    std::fs::write(&wrong, "hidden\n").unwrap();
    let wrong = format!("database_password_file={}", wrong.display());
    let owner = cluster.url("dossier:secret", "dossier");
    let without_server = cluster.url("dossier:secret", "nowhere");
    let stranger = cluster.url("stranger:secret", "dossier");
    for (url, more, words) in [
        (&owner, &["--set", &wrong][..], ["password authentication failed", "correct the user"]),
        (&without_server, &[], ["database \"nowhere\" does not exist", "correct its name"]),
        (&stranger, &[], ["owner of the database", ""]),
    ] {
        for error in serve_and_doctor_errors(data, more, url) {
            assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
            assert!(!error.contains("hidden") && !error.contains("secret@"), "{error}");
        }
    }
    let owned = format!("database_url={owner}");
    printed(&["migrate", "--data", data.to_str().unwrap(), "--set", &owned]);
    let reading = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader";
    cluster.execute("dossier", &[reading]);
    for user in ["reader:secret", "stranger:secret"] {
        for error in serve_and_doctor_errors(data, &[], &cluster.url(user, "dossier")) {
            let words = ["permission denied for table", "docs/postgres.md"];
            assert!(words.iter().all(|word| error.contains(word)), "{user}: {error}");
            assert!(!error.contains("internal error"), "{error}");
        }
    }
}

/// The server's own health report.
async fn health(app: &TestApp) -> Response {
    Response::to(app.anonymous(Method::GET, "/dossier/v1/health")).await
}

/// Waits until nothing is left of uploads whose commit failed. In a bucket that takes an hour,
/// because another server may be using their bytes.
async fn wait_until_cleaned_up(app: &TestApp) {
    app.advance_seconds(60 * 60 + 60);
    recover(app.app()).await.unwrap();
    app.wait_until_staging_is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_read_only_database_is_still_read_and_later_written_again() {
    let cluster = with_users(None);
    let url = cluster.url("dossier:secret", "dossier");
    let app = TestApp::start_with(&[("database_url", &url)]).await;
    let contact = Uuid::new_v4();
    app.upload(contact, "a.csv", "text/csv", b"a,b\n").await.ok();
    let upload = app.upload_url(contact, "b.csv", "text/csv").await;
    let kept = app.blob_files();
    cluster.execute("postgres", &["ALTER SYSTEM SET default_transaction_read_only = on"]);
    cluster.restart();
    let rejected = app.put(&upload, b"c,d\n").await;
    assert_eq!(rejected.status, 503, "{:?}", rejected.json());
    assert_eq!(rejected.header("retry-after"), "1");
    let list = app.list(contact).await.ok();
    assert_eq!(list["metadata"]["total"], 1);
    let link = list["attachments"][0]["document"]["url"].as_str().unwrap();
    assert_eq!(app.open(link).await.body, b"a,b\n");
    assert_eq!(health(&app).await.status, 200, "reads still work");
    wait_until_cleaned_up(&app).await;
    assert_eq!(app.blob_files(), kept);
    cluster.execute("postgres", &["ALTER SYSTEM SET default_transaction_read_only = off"]);
    cluster.restart();
    app.put(&upload, b"c,d\n").await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 2);
}

/// Uses up all space left on a disk.
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
async fn a_database_with_a_full_disk_is_still_read_and_later_written_again() {
    // More uploads than fit into pages that are already allocated.
    const MAX_UPLOADS: usize = 500;

    let Some(disk) = Disk::mounted("48m") else { return };
    let cluster = with_users(Some(disk.path()));
    let url = cluster.url("dossier:secret", "dossier");
    let app = TestApp::start_with(&[("database_url", &url)]).await;
    let contact = Uuid::new_v4();
    app.upload(contact, "first.csv", "text/csv", b"a,b\n").await.ok();
    let (ballast, mut kept) = (fill(&disk), 1);
    let upload = loop {
        let upload = app.upload_url(contact, "a.csv", "text/csv").await;
        let response = app.put(&upload, b"c,d\n").await;
        if response.status != 200 {
            assert_eq!(response.status, 507, "{:?}", response.json());
            break upload;
        }
        kept += 1;
        assert!(kept < MAX_UPLOADS, "the disk does not fill up");
    };
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], kept);
    assert_eq!(health(&app).await.status, 200, "reads still work");
    wait_until_cleaned_up(&app).await;
    assert_eq!(app.blob_files().len(), kept);
    assert_eq!(app.inspect(|rows| rows.drift().unwrap().len()), 0);
    std::fs::remove_file(ballast).unwrap();
    app.put(&upload, b"c,d\n").await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], kept + 1);
    // The server's files are on the disk.
    drop((app.stop().await, cluster));
}
