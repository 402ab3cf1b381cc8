//! Work that only one process does at a time, and that another one takes over (R27).

use dossier::actions::sweep::{Swept, sweep};
use uuid::Uuid;

use crate::support::TestApp;

#[tokio::test]
async fn while_another_process_sweeps_this_one_does_not_and_takes_over_when_it_dies() {
    let (app, contact, other) = (TestApp::start().await, Uuid::new_v4(), Uuid::new_v4());
    app.upload_csvs(contact, ["a.csv".to_owned()]).await;
    let id = app.all(contact, "id").await.pop().unwrap();
    app.nothing_staged().await;
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    app.advance_seconds(61);
    let (db, now_ms) = (&app.app().db, app.app().clock.now_ms());
    // This process had swept at its start.
    app.app().db.end_leases(None).await.unwrap();
    let lease = db.take_lease("sweep", other, now_ms, now_ms + 60_000).await.unwrap().unwrap();
    assert_eq!(sweep(app.app()).await.unwrap(), Swept::default());
    assert_eq!(app.blob_files().len(), 1);
    app.advance_seconds(61);
    assert_eq!(sweep(app.app()).await.unwrap().blobs, 1);
    assert_eq!(app.blob_files().len(), 0);
    // The other one was only slow: what it still wants to write is refused.
    let late = db.forget_removals(&lease, Vec::new(), 0).await.unwrap_err();
    assert!(format!("{late:?}").contains("the job sweep has changed hands"), "{late:?}");
    assert!(!db.keep_progress(&lease, "late".to_owned()).await.unwrap());
}

#[tokio::test]
async fn a_holder_goes_on_with_its_lease_until_it_ends() {
    let (app, [one, other]) = (TestApp::start().await, [Uuid::new_v4(), Uuid::new_v4()]);
    let db = &app.app().db;
    let first = db.take_lease("scrub-test", one, 0, 10).await.unwrap().unwrap();
    assert!(db.keep_progress(&first, "half".to_owned()).await.unwrap());
    let renewed = db.take_lease("scrub-test", one, 5, 15).await.unwrap().unwrap();
    assert_eq!((renewed.fence, renewed.progress.as_str()), (first.fence, "half"));
    assert_eq!(db.take_lease("scrub-test", other, 12, 22).await.unwrap(), None);
    db.end_leases(None).await.unwrap();
    let taken = db.take_lease("scrub-test", other, 12, 22).await.unwrap().unwrap();
    assert_eq!((taken.fence, taken.progress.as_str()), (first.fence + 1, "half"));
}

#[tokio::test]
async fn old_deletions_and_used_urls_are_forgotten_in_time() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    app.upload_csvs(contact, ["a.csv".to_owned()]).await;
    let id = app.all(contact, "id").await.pop().unwrap();
    app.nothing_staged().await;
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    app.advance_seconds(399 * 86_400);
    let swept = sweep(app.app()).await.unwrap();
    // The link of the first start goes too.
    let expected = Swept { blobs: 1, upload_urls: 1, sessions: 1, ..Swept::default() };
    assert_eq!(swept, expected);
    app.advance_seconds(2 * 86_400);
    let swept = sweep(app.app()).await.unwrap();
    assert_eq!(swept, Swept { tombstones: 1, ..Swept::default() });
}
