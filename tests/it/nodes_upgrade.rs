//! A release next to a newer one on the same database, and a downgrade (R24). The newer one is a
//! made-up migration. Run by `scripts/postgres`.

use std::path::Path;

use reqwest::Method;
use uuid::Uuid;

use crate::support::files::eventually;
use crate::support::{PNG, Response, TestApp, database, startup_error};

/// The tables that the next release extends: all that uploads, lists and deletes use.
const TABLES: [&str; 10] = [
    "sites",
    "api_keys",
    "contacts",
    "attachments",
    "trashed_attachments",
    "spent_uploads",
    "blob_removals",
    "site_usage",
    "tombstones",
    "uploads",
];

/// Migrates a database as the next release would, one table after another. `more` is its
/// compatibility with older programs.
fn migrate_to_the_next(data: &Path, more: &str) {
    let url = database::url_for(data).unwrap();
    for table in TABLES {
        let column = "ADD COLUMN of_the_next BIGINT NOT NULL DEFAULT 7";
        database::execute(&url, format!("ALTER TABLE {table} {column}"));
    }
    let rest = "CREATE TABLE next_things (site_id UUID NOT NULL, PRIMARY KEY (site_id));";
    let version = "UPDATE dossier_schema SET version = version + 1";
    database::execute(&url, format!("{rest} {version}{more}"));
}

async fn health(app: &TestApp) -> Response {
    Response::to(app.anonymous(Method::GET, "/dossier/v1/health")).await
}

/// Uploads two files, lists them and deletes one; returns the contact.
async fn use_store(app: &TestApp) -> Uuid {
    let contact = Uuid::new_v4();
    for name in ["a.png", "b.png"] {
        app.upload(contact, name, "image/png", PNG).await.ok();
    }
    let seen = app.list(contact).await.ok();
    assert_eq!(seen["metadata"]["total"], 2);
    let id = seen["attachments"][0]["id"].as_str().unwrap();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
    contact
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn r24_an_older_release_runs_and_starts_on_a_compatible_newer_schema() {
    let old = TestApp::start().await;
    // Its statements are prepared by then.
    let before = use_store(&old).await;
    migrate_to_the_next(old.data(), "");
    let beside = use_store(&old).await;
    let back = old.another_node(&[]).await;
    use_store(&back).await;
    for contact in [before, beside] {
        assert_eq!(back.list(contact).await.ok()["metadata"]["total"], 1);
    }
    old.app().db.detect_external_changes().await.unwrap();
    assert_eq!(health(&old).await.ok()["status"], "ok");
    assert_eq!(back.inspect(|rows| rows.drift().unwrap().len()), 0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn r24_on_an_incompatible_newer_schema_a_node_stops_writing_and_does_not_start() {
    let old = TestApp::start().await;
    let contact = use_store(&old).await;
    let url = old.upload_url(contact, "late.png", "image/png").await;
    migrate_to_the_next(old.data(), ", oldest_program = version + 1");
    eventually("the new schema is noticed", async || health(&old).await.status == 503).await;
    let report = health(&old).await.json();
    assert!(
        report["problems"][0].as_str().unwrap().contains("start the newer release"),
        "{report}"
    );
    let late = old.put(&url, PNG).await;
    assert_eq!(late.status, 503, "{late:?}");
    assert!(late.header("retry-after").parse::<u32>().unwrap() > 0);
    assert_eq!(old.list(contact).await.ok()["metadata"]["total"], 1);
    let folder = old.another_folder();
    old.copy_keys_to(folder.path());
    let error = startup_error(&folder).await;
    assert!(error.contains("were written by a newer Dossier"), "{error}");
}
