//! Racing requests, with schedules from a seed that a failure prints (R5, R6, R7, R8, R17, S18).

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use uuid::Uuid;

use crate::rig::Rng;
use crate::support::TestApp;
use crate::support::tus::csv;

/// Rounds of each race.
pub(crate) const ROUNDS: usize = 60;

/// A new seed for each run.
pub(crate) fn seed() -> u64 {
    Uuid::new_v4().as_u64_pair().0
}

/// Yields a random number of times, sometimes many.
pub(crate) async fn pause(rng: &mut Rng) {
    let max = if rng.percent(30) { 2_000 } else { 20 };
    for _ in 0..rng.between(0, max) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_url_creates_one_attachment_however_it_is_used_concurrently() {
    let (app, seed) = (TestApp::start().await, seed());
    let mut rng = Rng::new(seed);
    for round in 0..10 {
        let contact = Uuid::new_v4();
        let url = app.upload_url(contact, "a.csv", "text/csv").await;
        let files = [csv(5_000), csv(5_001)];
        let schedules: Vec<_> = (0..50).map(|_| (rng.next(), rng.next())).collect();
        let (app, url, files) = (&app, &url, &files);
        let responses = join_all(schedules.iter().map(|(schedule, kind)| async move {
            let file = &files[usize::from(kind % 10 == 0)];
            pause(&mut Rng::new(*schedule)).await;
            let response = if kind % 3 == 0 {
                let part = reqwest::multipart::Part::bytes(file.clone()).file_name("a.csv");
                let form = reqwest::multipart::Form::new().part("file", part);
                crate::support::Response::to(app.client().post(url).multipart(form)).await
            } else {
                app.put(url, file).await
            };
            (file.len(), response)
        }))
        .await;
        let list = app.list(contact).await.ok();
        assert_eq!(list["metadata"]["total"], 1, "seed {seed} round {round}");
        let link = list["attachments"][0]["document"]["url"].as_str().unwrap();
        let kept = app.open(link).await.body;
        for (size, response) in responses {
            // The same bytes get the same response, others a conflict.
            let expected = if size == kept.len() { 200 } else { 409 };
            assert_eq!(response.status, expected, "seed {seed} round {round}");
        }
        app.wait_until_staging_is_empty().await;
        assert_eq!(app.blob_files().len(), round + 1, "seed {seed}");
    }
}

#[tokio::test]
async fn a_delete_racing_with_repeated_uploads_leaves_it_deleted() {
    let (app, seed) = (TestApp::start().await, seed());
    let mut rng = Rng::new(seed);
    for round in 0..ROUNDS {
        let (contact, file) = (Uuid::new_v4(), csv(2_000));
        let url = app.upload_url(contact, "a.csv", "text/csv").await;
        app.put(&url, &file).await.ok();
        let listed = app.list(contact).await.ok();
        let id = listed["attachments"][0]["id"].as_str().unwrap().to_owned();
        let (mut one, mut other) = (Rng::new(rng.next()), Rng::new(rng.next()));
        let path = format!("/contacts/v4/attachments/{contact}/{id}");
        let delete = async {
            pause(&mut one).await;
            app.delete(&path).await.status.as_u16()
        };
        let repeat = async {
            pause(&mut other).await;
            app.put(&url, &file).await.status.as_u16()
        };
        let (deleted, repeated) = tokio::join!(delete, repeat);
        assert_eq!(deleted, 200, "seed {seed} round {round}");
        assert!([200, 403].contains(&repeated), "seed {seed} round {round}: {repeated}");
        assert_eq!(app.put(&url, &file).await.status, 403, "seed {seed} round {round}");
        assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
    }
    app.wait_until_staging_is_empty().await;
}

#[tokio::test]
async fn a_download_racing_with_a_delete_is_complete_or_cut_and_never_mixed() {
    let settings = [("removal_grace_seconds", "0")];
    let (app, seed) = (TestApp::start_with(&settings).await, seed());
    let mut rng = Rng::new(seed);
    for round in 0..ROUNDS {
        let (contact, file) = (Uuid::new_v4(), csv(600_000));
        app.upload(contact, "a.csv", "text/csv", &file).await.ok();
        let listed = app.list(contact).await.ok();
        let id = listed["attachments"][0]["id"].as_str().unwrap().to_owned();
        let link = listed["attachments"][0]["document"]["url"].as_str().unwrap().to_owned();
        let (mut one, mut other) = (Rng::new(rng.next()), Rng::new(rng.next()));
        let path = format!("/contacts/v4/attachments/{contact}/{id}");
        let delete = async {
            pause(&mut one).await;
            app.delete(&path).await.ok();
            dossier::actions::sweep::sweep(app.app()).await.unwrap();
        };
        let download = async {
            let response = app.client().get(&link).send().await.unwrap();
            if response.status() != 200 {
                return None;
            }
            let (mut body, mut bytes) = (response.bytes_stream(), Vec::new());
            while let Some(Ok(chunk)) = body.next().await {
                bytes.extend_from_slice(&chunk);
                pause(&mut other).await;
            }
            Some(bytes)
        };
        let ((), downloaded) = tokio::join!(delete, download);
        if let Some(bytes) = downloaded {
            assert!(file.starts_with(&bytes), "seed {seed} round {round}: mixed bytes");
        }
        assert_eq!(app.open(&link).await.status, 404, "seed {seed} round {round}");
    }
    assert_eq!(app.blob_files(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_list_after_a_response_shows_its_effect() {
    let (app, seed) = (TestApp::start().await, seed());
    let mut rng = Rng::new(seed);
    let contact = Uuid::new_v4();
    let clients: Vec<_> = (0..6).map(|number| (number, rng.next())).collect();
    join_all(clients.into_iter().map(async |(number, schedule)| {
        let mut rng = Rng::new(schedule);
        for round in 0..ROUNDS / 6 {
            let name = format!("{number}-{round}.csv");
            let has = async |app: &TestApp| {
                let list = app.list(contact).await.ok();
                let found = list["attachments"].as_array().unwrap().clone();
                found.into_iter().find(|one| one["fileName"] == *name)
            };
            app.upload(contact, &name, "text/csv", &csv(100)).await.ok();
            let found = has(&app).await.unwrap_or_else(|| panic!("seed {seed}: {name} is missing"));
            pause(&mut rng).await;
            if rng.percent(60) {
                let id = found["id"].as_str().unwrap();
                app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
                assert!(has(&app).await.is_none(), "seed {seed}: {name} is still there");
            }
        }
    }))
    .await;
}
