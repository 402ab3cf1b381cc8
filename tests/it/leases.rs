//! Jobs that one process does at a time, with failover to another one (R27).

use dossier::actions::sweep::{Swept, sweep};
use uuid::Uuid;

use crate::support::TestApp;

#[tokio::test]
async fn one_process_sweeps_at_a_time_and_another_takes_over_when_it_dies() {
    let (app, contact, other) = (TestApp::start().await, Uuid::new_v4(), Uuid::new_v4());
    app.upload_csvs(contact, ["a.csv".to_owned()]).await;
    let id = app.list_all(contact, "id").await.pop().unwrap();
    app.wait_until_staging_is_empty().await;
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    app.advance_seconds(61);
    let (db, now_ms) = (&app.app().db, app.app().clock.now_ms());
    // This process swept at its start.
    app.app().db.end_leases(None).await.unwrap();
    let lease = db.acquire_lease("sweep", other, now_ms, now_ms + 60_000).await.unwrap().unwrap();
    assert_eq!(sweep(app.app()).await.unwrap(), Swept::default());
    assert_eq!(app.blob_files().len(), 1);
    app.advance_seconds(61);
    assert_eq!(sweep(app.app()).await.unwrap().blobs, 1);
    assert_eq!(app.blob_files().len(), 0);
    // The other process was only slow: its late writes are rejected.
    let late = db.complete_removals(&lease, Vec::new(), 0).await.unwrap_err();
    assert!(format!("{late:?}").contains("the job sweep has changed hands"), "{late:?}");
    assert!(!db.save_progress(&lease, "late".to_owned()).await.unwrap());
}

#[tokio::test]
async fn a_holder_renews_its_lease_until_it_ends() {
    let (app, [one, other]) = (TestApp::start().await, [Uuid::new_v4(), Uuid::new_v4()]);
    let db = &app.app().db;
    let first = db.acquire_lease("scrub-test", one, 0, 10).await.unwrap().unwrap();
    assert!(db.save_progress(&first, "half".to_owned()).await.unwrap());
    let renewed = db.acquire_lease("scrub-test", one, 5, 15).await.unwrap().unwrap();
    assert_eq!((renewed.fence, renewed.progress.as_str()), (first.fence, "half"));
    assert_eq!(db.acquire_lease("scrub-test", other, 12, 22).await.unwrap(), None);
    db.end_leases(None).await.unwrap();
    let taken = db.acquire_lease("scrub-test", other, 12, 22).await.unwrap().unwrap();
    assert_eq!((taken.fence, taken.progress.as_str()), (first.fence + 1, "half"));
}

#[tokio::test]
async fn old_tombstones_and_used_urls_are_deleted_in_time() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    app.upload_csvs(contact, ["a.csv".to_owned()]).await;
    let id = app.list_all(contact, "id").await.pop().unwrap();
    app.wait_until_staging_is_empty().await;
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    app.advance_seconds(399 * 86_400);
    let swept = sweep(app.app()).await.unwrap();
    // The sign-in link of the first start is deleted too.
    let expected = Swept { blobs: 1, upload_urls: 1, sessions: 1, ..Swept::default() };
    assert_eq!(swept, expected);
    app.advance_seconds(2 * 86_400);
    let swept = sweep(app.app()).await.unwrap();
    assert_eq!(swept, Swept { tombstones: 1, ..Swept::default() });
}
