//! A release beside the next one on the same database, and back (R24). The next one is a made-up migration.
//! Run by `scripts/postgres`.

use std::path::Path;

use reqwest::Method;
use uuid::Uuid;

use crate::support::files::eventually;
use crate::support::{Answer, PNG, TestApp, database, start_refused};

/// What the next release adds to: whatever an upload, a list and a delete touch.
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

/// Does to a database what the next release would, one table after another as a careful one does. `more` is
/// what it says of older programs.
fn migrate_to_the_next(data: &Path, more: &str) {
    let url = database::of(data).unwrap();
    for table in TABLES {
        let column = "ADD COLUMN of_the_next BIGINT NOT NULL DEFAULT 7";
        database::execute(&url, format!("ALTER TABLE {table} {column}"));
    }
    let rest = "CREATE TABLE next_things (site_id UUID NOT NULL, PRIMARY KEY (site_id));";
    let version = "UPDATE dossier_schema SET version = version + 1";
    database::execute(&url, format!("{rest} {version}{more}"));
}

async fn health(app: &TestApp) -> Answer {
    Answer::of(app.anonymous(Method::GET, "/dossier/v1/health")).await
}

/// Uploads two files, lists and deletes one; returns the contact.
async fn used(app: &TestApp) -> Uuid {
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
async fn r24_the_release_before_goes_on_and_starts_beside_a_schema_that_says_it_may() {
    let old = TestApp::start().await;
    // Its statements are prepared by then.
    let before = used(&old).await;
    migrate_to_the_next(old.data(), "");
    let beside = used(&old).await;
    let back = old.another_node(&[]).await;
    used(&back).await;
    for contact in [before, beside] {
        assert_eq!(back.list(contact).await.ok()["metadata"]["total"], 1);
    }
    old.app().db.notice_others().await.unwrap();
    assert_eq!(health(&old).await.ok()["status"], "ok");
    assert_eq!(back.inspect(|rows| rows.drift().unwrap().len()), 0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn r24_beside_a_schema_that_is_not_for_it_a_node_writes_no_more_and_starts_no_more() {
    let old = TestApp::start().await;
    let contact = used(&old).await;
    let url = old.upload_url(contact, "late.png", "image/png").await;
    migrate_to_the_next(old.data(), ", oldest_program = version + 1");
    eventually("it is noticed", async || health(&old).await.status == 503).await;
    let said = health(&old).await.json();
    assert!(said["problems"][0].as_str().unwrap().contains("start the newer release"), "{said}");
    let late = old.put(&url, PNG).await;
    assert_eq!(late.status, 503, "{late:?}");
    assert!(late.header("retry-after").parse::<u32>().unwrap() > 0);
    assert_eq!(old.list(contact).await.ok()["metadata"]["total"], 1);
    let folder = old.another_folder();
    old.copy_keys_to(folder.path());
    let why = start_refused(&folder).await;
    assert!(why.contains("were written by a newer Dossier"), "{why}");
}
