//! Changes to a contact while others upload to it, with schedules from a seed that a failure prints
//! (R8).

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::races::{ROUNDS, pause, seed};
use crate::rig::Rng;
use crate::support::TestApp;
use crate::support::tus::csv;

/// Runs one upload against a change to its contact and passes each outcome to `check`.
async fn race(
    app: &TestApp,
    change_contact: impl AsyncFn(&TestApp, Uuid),
    check: impl AsyncFn(&TestApp, Uuid, u16, String),
) {
    let seed = seed();
    let mut rng = Rng::new(seed);
    for round in 0..ROUNDS {
        let (contact, file) = (Uuid::new_v4(), csv(20_000));
        app.upload(contact, "first.csv", "text/csv", &file).await.ok();
        let url = app.upload_url(contact, "second.csv", "text/csv").await;
        let (mut one, mut other) = (Rng::new(rng.next()), Rng::new(rng.next()));
        let change = async {
            pause(&mut one).await;
            change_contact(app, contact).await;
        };
        let upload = async {
            pause(&mut other).await;
            app.put(&url, &file).await.status.as_u16()
        };
        let ((), uploaded) = tokio::join!(change, upload);
        let trace = format!("seed {seed} round {round}");
        assert!([200, 404].contains(&uploaded), "{trace}: {uploaded}");
        assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0, "{trace}");
        check(app, contact, uploaded, trace.clone()).await;
        // Nothing is accepted any more: a repeat finds the earlier result or nothing.
        let again = app.put(&url, &file).await.status.as_u16();
        assert!(again == uploaded || [403, 404].contains(&again), "{trace}: {again}");
        assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0, "{trace}");
    }
    app.wait_until_staging_is_empty().await;
    assert_eq!(app.inspect(|rows| rows.drift().unwrap().len()), 0, "seed {seed}");
}

#[tokio::test]
async fn an_upload_precedes_a_merge_and_moves_or_follows_it_and_is_rejected() {
    let app = TestApp::start().await;
    let target = Uuid::new_v4();
    let expected = std::sync::atomic::AtomicU64::new(0);
    race(
        &app,
        async |app, contact| {
            let body = json!({ "sourceContactIds": [contact] });
            app.contact(Method::POST, &format!("/{target}/merge"), &body).await.ok();
        },
        async |app, _, uploaded, trace| {
            let came = if uploaded == 200 { 2 } else { 1 };
            let before = expected.fetch_add(came, std::sync::atomic::Ordering::Relaxed);
            let list = app.list(target).await.ok();
            assert_eq!(list["metadata"]["total"], before + came, "{trace}");
        },
    )
    .await;
}

#[tokio::test]
async fn an_upload_precedes_a_delete_and_is_deleted_or_follows_it_and_is_rejected() {
    let app = TestApp::start_with(&[("removal_grace_seconds", "0")]).await;
    let delete = async |app: &TestApp, contact| {
        app.contact(Method::DELETE, &format!("/{contact}"), &Value::Null).await.ok();
    };
    race(&app, delete, async |_, _, _, _| ()).await;
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    assert_eq!(app.blob_files(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn an_upload_is_erased_or_never_stored() {
    let app = TestApp::start().await;
    let erase = async |app: &TestApp, contact| {
        app.contact(Method::POST, &format!("/{contact}/erase"), &Value::Null).await.ok();
    };
    race(&app, erase, async |app, contact, uploaded, trace| {
        let again =
            app.contact(Method::POST, &format!("/{contact}/erase"), &Value::Null).await.ok();
        let expected = if uploaded == 200 { 2 } else { 1 };
        assert_eq!(again["receipt"]["attachmentCount"], expected, "{trace}");
    })
    .await;
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    assert_eq!(app.blob_files(), Vec::<std::path::PathBuf>::new());
}
