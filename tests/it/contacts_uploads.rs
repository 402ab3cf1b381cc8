//! Resumable uploads of an older release, whose rows name no contact. They never bring back
//! anything of a closed contact, and leave nothing.

use dossier::actions::contacts::continue_unfinished;
use dossier::actions::sweep::sweep;
use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

use crate::support::TestApp;
use crate::support::tus::csv;

const SIZE: usize = 3_000;
const DAY: i64 = 24 * 60 * 60;

/// An upload of its first 1,000 bytes, as a release before schema 5 left it.
async fn old_upload(app: &TestApp, contact: Uuid) -> String {
    let (_, upload) = app.tus_begin(contact, SIZE).await;
    assert_eq!(app.tus_patch(&upload, 0, &csv(SIZE)[..1_000]).await.status, 204);
    assert_eq!(rows(app, "contact_id IS NOT NULL"), 1);
    database(app).execute("UPDATE uploads SET contact_id = NULL", []).unwrap();
    upload
}

fn database(app: &TestApp) -> rusqlite::Connection {
    rusqlite::Connection::open(app.data().join("dossier.db")).unwrap()
}

fn rows(app: &TestApp, which: &str) -> i64 {
    let count = format!("SELECT count(*) FROM uploads WHERE {which}");
    database(app).query_row(&count, [], |row| row.get(0)).unwrap()
}

async fn end(app: &TestApp, contact: Uuid, how: &str) {
    let (method, path) = match how {
        "delete" => (Method::DELETE, format!("/{contact}")),
        other => (Method::POST, format!("/{contact}/{other}")),
    };
    app.contact(method, &path, &Value::Null).await.ok();
}

#[tokio::test]
async fn an_old_upload_to_a_closed_contact_ends_with_its_next_piece() {
    for (trash, how) in [("0", "delete"), ("30", "delete"), ("0", "erase")] {
        let app = TestApp::start_with(&[("trash_days", trash)]).await;
        // One upload that the next piece would complete, and one that it would not.
        for until in [SIZE, 2_000] {
            let contact = Uuid::new_v4();
            let upload = old_upload(&app, contact).await;
            end(&app, contact, how).await;
            let piece = &csv(SIZE)[1_000..until];
            let rejected = app.tus_patch(&upload, 1_000, piece).await.rejection();
            assert_eq!(rejected, (410, "UPLOAD_GONE".to_owned()), "{how} {until}");
            assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
            assert_eq!(rows(&app, "1 = 1"), 0);
            app.wait_until_store_is_empty().await;
        }
    }
}

#[tokio::test]
async fn an_old_upload_that_continues_is_tied_to_its_contact() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let upload = old_upload(&app, contact).await;
    assert_eq!(app.tus_patch(&upload, 1_000, &csv(SIZE)[1_000..2_000]).await.status, 204);
    assert_eq!(rows(&app, "contact_id IS NOT NULL"), 1);
    end(&app, contact, "delete").await;
    let rejected = app.tus_patch(&upload, 2_000, &csv(SIZE)[2_000..]).await.rejection();
    assert_eq!(rejected, (410, "UPLOAD_GONE".to_owned()));
    sweep(app.app()).await.unwrap();
    app.wait_until_store_is_empty().await;
    let contact = Uuid::new_v4();
    let upload = old_upload(&app, contact).await;
    assert_eq!(app.tus_patch(&upload, 1_000, &csv(SIZE)[1_000..]).await.status, 204);
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
}

#[tokio::test]
async fn an_erasure_waits_for_old_uploads_that_may_belong_to_the_person() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    old_upload(&app, contact).await;
    let erased = app.contact(Method::POST, &format!("/{contact}/erase"), &Value::Null).await.ok();
    let receipt = erased["receipt"]["receiptId"].as_str().unwrap().to_owned();
    let receipt = format!("/dossier/v1/receipts/{receipt}");
    let completed = async || {
        sweep(app.app()).await.unwrap();
        continue_unfinished(app.app()).await.unwrap();
        app.get(&receipt).await.ok()["receipt"]["completedDate"].clone()
    };
    app.advance_seconds(7 * DAY - 1);
    assert_eq!(completed().await, Value::Null);
    assert_eq!(app.stored_files().len(), 1);
    app.advance_seconds(1);
    crate::support::files::eventually("the erasure is complete", async || {
        !completed().await.is_null()
    })
    .await;
    assert_eq!(app.stored_files().len(), 0);
}
