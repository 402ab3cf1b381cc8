//! All bytes are reread periodically, and bit rot is reported (R22).

use std::io::{Read as _, Seek as _};
use std::sync::Arc;
use std::time::Duration;

use dossier::actions::scrub::{Step, step};
use uuid::Uuid;

use crate::support::{Response, TestApp};

const FAST: (&str, &str) = ("scrub_bytes_per_second", "0");
const DAY_SECONDS: i64 = 86_400;

async fn with_files(count: usize) -> TestApp {
    // The server's own job never starts: these tests run its steps.
    let settings = [FAST, ("scrub_days", "30"), ("listen_metrics", "127.0.0.1:0")];
    let app = TestApp::start_with(&settings).await;
    while round(&app).await > 0 {}
    app.upload_csvs(Uuid::new_v4(), (0..count).map(|number| format!("{number:03}.csv"))).await;
    app.wait_until_staging_is_empty().await;
    app.advance_seconds(31 * DAY_SECONDS);
    app
}

/// Runs all steps of a round; returns how many files were read.
async fn round(app: &TestApp) -> u64 {
    let before = app.app().metrics.scrubbed_files.get();
    while step(app.app()).await.unwrap() == Step::More {}
    app.app().metrics.scrubbed_files.get() - before
}

async fn damage_findings(app: &TestApp) -> Vec<String> {
    let (found, count) = app.app().db.damaged_blobs(100).await.unwrap();
    assert_eq!(found.len() as u64, count);
    assert_eq!(app.app().metrics.damaged_blobs.get(), count as i64);
    found.into_iter().map(|found| found.problem).collect()
}

#[tokio::test]
async fn every_file_is_read_once_per_round_and_again_when_due() {
    let app = with_files(70).await;
    assert_eq!(round(&app).await, 70);
    assert_eq!(step(app.app()).await.unwrap(), Step::Idle);
    app.advance_seconds(29 * DAY_SECONDS);
    assert_eq!(round(&app).await, 0);
    app.advance_seconds(2 * DAY_SECONDS);
    assert_eq!(round(&app).await, 70);
    assert!(damage_findings(&app).await.is_empty());
}

#[tokio::test]
async fn flipped_bits_short_and_missing_files_are_reported_and_cleared_when_repaired() {
    let app = with_files(4).await;
    let files = app.blob_files();
    let whole: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let mut flipped = whole[0].clone();
    flipped[5] ^= 0x10;
    std::fs::write(&files[0], &flipped).unwrap();
    std::fs::write(&files[1], &whole[1][1..]).unwrap();
    std::fs::remove_file(&files[2]).unwrap();
    round(&app).await;
    let mut found = damage_findings(&app).await;
    found.sort();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].ends_with("bytes, 13 expected"), "{found:?}");
    assert_eq!(found[1], "SHA-256 mismatch");
    assert!(found[2].starts_with("cannot be read: No such file"), "{found:?}");
    let metrics =
        Response::to(app.client().get(format!("http://{}/metrics", app.server.metrics.unwrap())))
            .await;
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(text.contains("\ndossier_damaged_blobs 3\n"), "{text}");
    // Two are restored from a backup, one is deleted.
    std::fs::write(&files[0], &whole[0]).unwrap();
    std::fs::write(&files[1], &whole[1]).unwrap();
    let (missing, _) = app.app().db.damaged_blobs(100).await.unwrap();
    let missing = missing.iter().find(|item| item.problem.starts_with("cannot")).unwrap();
    let db = &app.app().db;
    let row = db.attachment(missing.site_id, missing.attachment_id).await.unwrap().unwrap();
    app.delete(&format!("/contacts/v4/attachments/{}/{}", row.contact_id, row.id)).await.ok();
    app.advance_seconds(31 * DAY_SECONDS);
    round(&app).await;
    assert!(damage_findings(&app).await.is_empty());
}

#[tokio::test]
async fn an_unavailable_disk_does_not_flood_the_log() {
    let app = with_files(110).await;
    for file in app.blob_files() {
        std::fs::remove_file(file).unwrap();
    }
    let mut log = tempfile::tempfile().unwrap();
    let writer = Arc::new(log.try_clone().unwrap());
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
    let logging = tracing::subscriber::set_default(subscriber);
    assert_eq!(round(&app).await, 110);
    drop(logging);
    assert_eq!(app.app().metrics.damaged_blobs.get(), 110);
    let mut text = String::new();
    log.rewind().unwrap();
    log.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("restore them from a backup").count(), 100, "{text}");
    assert_eq!(text.matches("further damage in this round is only counted").count(), 1, "{text}");
}

#[tokio::test]
async fn a_round_continues_where_a_stopped_server_left_off() {
    let app = with_files(70).await;
    assert_eq!(step(app.app()).await.unwrap(), Step::More);
    assert_eq!(app.app().metrics.scrubbed_files.get(), 64);
    let app = app.restart_with(&[("scrub_days", "30"), FAST]).await;
    // The server's own job does the rest.
    let metrics = &app.app().metrics;
    let output = tokio::time::timeout(Duration::from_secs(20), async {
        while metrics.scrub_ended.get() == 0.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    output.await.unwrap();
    assert_eq!(metrics.scrubbed_files.get(), 6);
}

#[tokio::test]
async fn only_one_process_scrubs_at_a_time() {
    let app = with_files(3).await;
    let now_ms = app.app().clock.now_ms();
    app.app().db.end_leases(None).await.unwrap();
    let other = app.app().db.acquire_lease("scrub", Uuid::new_v4(), now_ms, now_ms + 1_000);
    assert!(other.await.unwrap().is_some());
    assert_eq!(step(app.app()).await.unwrap(), Step::Idle);
    app.advance_seconds(2);
    assert_eq!(round(&app).await, 3);
}

#[tokio::test]
async fn scrubbing_can_be_turned_off() {
    let app = TestApp::start_with(&[("scrub_days", "0")]).await;
    app.upload_csvs(Uuid::new_v4(), ["a.csv".to_owned()]).await;
    assert_eq!(step(app.app()).await.unwrap(), Step::Idle);
}

#[tokio::test]
async fn metrics_have_their_own_address_and_contain_no_name_or_id() {
    let app = TestApp::start_with(&[("listen_metrics", "127.0.0.1:0")]).await;
    let contact = Uuid::new_v4();
    app.upload_csvs(contact, ["secret-name.csv".to_owned()]).await;
    app.list(contact).await.ok();
    let metrics = format!("http://{}/metrics", app.server.metrics.unwrap());
    let response = Response::to(app.client().get(&metrics)).await;
    assert!(response.header("content-type").starts_with("application/openmetrics-text"));
    let text = String::from_utf8(response.body).unwrap();
    assert!(text.contains("dossier_uploads_total 1\n"), "{text}");
    assert!(text.contains("dossier_requests_total{method=\"GET\",status=\"200\"} 1\n"), "{text}");
    assert!(text.contains("dossier_writable 1\n") && text.ends_with("# EOF\n"), "{text}");
    let canaries = [app.key.clone(), contact.to_string(), app.site.to_string(), "secret".into()];
    assert!(canaries.iter().all(|canary| !text.contains(canary.as_str())), "{text}");
    assert_eq!(app.get("/metrics").await.status, 404);
}
