//! What happens to a contact while others upload to it, under schedules rolled from a seed that a
//! failure names (R8).

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::races::{ROUNDS, pause, seed};
use crate::rig::Dice;
use crate::support::TestApp;
use crate::support::tus::csv;

/// Drives one upload against something that happens to its contact; shows each outcome to `check`.
async fn against(
    app: &TestApp,
    what: impl AsyncFn(&TestApp, Uuid),
    check: impl AsyncFn(&TestApp, Uuid, u16, String),
) {
    let seed = seed();
    let mut dice = Dice::new(seed);
    for round in 0..ROUNDS {
        let (contact, file) = (Uuid::new_v4(), csv(20_000));
        app.upload(contact, "first.csv", "text/csv", &file).await.ok();
        let url = app.upload_url(contact, "second.csv", "text/csv").await;
        let (mut one, mut other) = (Dice::new(dice.next()), Dice::new(dice.next()));
        let change = async {
            pause(&mut one).await;
            what(app, contact).await;
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
        // Afterwards nothing gets in any more: a repeat finds what came in before, or nothing.
        let again = app.put(&url, &file).await.status.as_u16();
        assert!(again == uploaded || [403, 404].contains(&again), "{trace}: {again}");
        assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0, "{trace}");
    }
    app.nothing_staged().await;
    assert_eq!(app.inspect(|rows| rows.drift().unwrap().len()), 0, "seed {seed}");
}

#[tokio::test]
async fn an_upload_comes_before_a_merge_and_moves_or_after_it_and_is_refused() {
    let app = TestApp::start().await;
    let target = Uuid::new_v4();
    let expected = std::sync::atomic::AtomicU64::new(0);
    against(
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
async fn an_upload_comes_before_a_delete_and_goes_or_after_it_and_is_refused() {
    let app = TestApp::start_with(&[("removal_grace_seconds", "0")]).await;
    let delete = async |app: &TestApp, contact| {
        app.contact(Method::DELETE, &format!("/{contact}"), &Value::Null).await.ok();
    };
    against(&app, delete, async |_, _, _, _| ()).await;
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    assert_eq!(app.blob_files(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn an_upload_is_part_of_an_erasure_or_never_was() {
    let app = TestApp::start().await;
    let erase = async |app: &TestApp, contact| {
        app.contact(Method::POST, &format!("/{contact}/erase"), &Value::Null).await.ok();
    };
    against(&app, erase, async |app, contact, uploaded, trace| {
        let again =
            app.contact(Method::POST, &format!("/{contact}/erase"), &Value::Null).await.ok();
        let expected = if uploaded == 200 { 2 } else { 1 };
        assert_eq!(again["receipt"]["attachmentCount"], expected, "{trace}");
    })
    .await;
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    assert_eq!(app.blob_files(), Vec::<std::path::PathBuf>::new());
}
