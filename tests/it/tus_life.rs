//! The lifecycle of resumable uploads: interrupted, resumed, replaced, terminated, expired (R15,
//! R16).

use reqwest::Method;
use uuid::Uuid;

use crate::support::TestApp;
use crate::support::files::eventually;
use crate::support::raw::Raw;
use crate::support::tus::{PIECE, csv};

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Sends the head of a PATCH for the rest of a file, and only part of its body.
async fn cut_patch(app: &TestApp, location: &str, file: &[u8], offset: usize, to: usize) -> Raw {
    let mut raw = Raw::connect(app).await;
    let head = format!(
        "PATCH {} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n\
         Content-Type: {}\r\nContent-Length: {}\r\n\r\n",
        app.path_of(location),
        PIECE.1,
        file.len() - offset
    );
    raw.send(head).await;
    raw.send(&file[offset..to]).await;
    raw
}

#[tokio::test]
async fn bytes_received_before_a_cut_are_kept() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(300_000));
    let (upload_url, location) = app.tus_begin(contact, file.len()).await;
    let mut offset = 0;
    for cut in 0..40 {
        let to = offset + 1 + (cut * 7_919) % 7_000;
        drop(cut_patch(&app, &location, &file, offset, to).await);
        // The server first writes what it has read of a broken connection.
        app.wait_for_staged_bytes(to as u64).await;
        let now = app.tus_head(&location).await.offset() as usize;
        assert_eq!(now, to);
        offset = now;
    }
    assert_eq!(app.tus_patch(&location, offset, &file[offset..]).await.status, 204);
    let url = app.tus_finish(&upload_url).await.ok()["file"]["url"].as_str().unwrap().to_owned();
    assert_eq!(app.open(&url).await.body, file);
}

#[tokio::test]
async fn a_piece_ends_with_410_when_its_contact_is_deleted_meanwhile() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(900_000));
    let (_, location) = app.tus_begin(contact, file.len()).await;
    // Not the last piece, which would be committed instead.
    let piece = &file[..600_000];
    let mut raw = cut_patch(&app, &location, piece, 0, 500_000).await;
    eventually("part of it is written", async || {
        app.stored_files().iter().any(|file| file.metadata().is_ok_and(|file| file.len() > 0))
    })
    .await;
    app.delete(&format!("/dossier/v1/contacts/{contact}")).await.ok();
    raw.send(&piece[500_000..]).await;
    let head = raw.read_head().await;
    assert!(head.starts_with("HTTP/1.1 410 "), "{head}");
}

/// On disk, syncs run alongside receiving; in a bucket they alternate.
#[tokio::test]
async fn a_long_piece_is_stored_while_it_arrives() {
    const MIB: usize = 1 << 20;
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(90 * MIB));
    let (upload_url, location) = app.tus_begin(contact, file.len()).await;
    let mut raw = cut_patch(&app, &location, &file, 0, 70 * MIB).await;
    eventually("its first 64 MiB are stored", async || {
        let written = app.inspect(|rows| rows.uploads().unwrap()[0].offset_bytes);
        (64 * MIB as u64..70 * MIB as u64).contains(&written)
    })
    .await;
    raw.send(&file[70 * MIB..]).await;
    let head = raw.read_head().await;
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    let url = app.tus_finish(&upload_url).await.ok()["file"]["url"].as_str().unwrap().to_owned();
    assert!(app.open(&url).await.body == file);
}

#[tokio::test]
async fn an_upload_continues_after_a_restart() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(200_000));
    let (_, location) = app.tus_begin(contact, file.len()).await;
    app.tus_patch(&location, 0, &file[..70_001]).await;
    let path = app.path_of(&location).to_owned();
    let app = app.restart_with(&[]).await;
    // The recovery at the start has checked the staging folder.
    dossier::actions::recover::recover(app.app()).await.unwrap();
    let location = format!("{}{path}", app.base);
    assert_eq!(app.tus_head(&location).await.offset(), 70_001);
    assert_eq!(app.tus_patch(&location, 70_001, &file[70_001..]).await.status, 204);
    let list = app.list(contact).await.ok();
    let url = list["attachments"][0]["document"]["url"].as_str().unwrap();
    assert_eq!(app.open(url).await.body, file);
}

#[tokio::test]
async fn a_staged_file_that_cannot_be_settled_does_not_block_others() {
    let app = TestApp::start().await;
    let id = || Uuid::new_v4().simple().to_string();
    let staging = app.data().join("staging");
    // Staged files without a row. A folder in the place of the last one's blob makes settling it
    // fail.
    let site = app.site.simple().to_string();
    for _ in 0..8 {
        std::fs::write(staging.join(format!("{site}.{}.{}", id(), id())), b"a,b\n").unwrap();
    }
    let blob = id();
    let stuck = staging.join(format!("{site}.{}.{blob}", id()));
    std::fs::write(&stuck, b"a,b\n").unwrap();
    std::fs::create_dir_all(app.data().join("blobs").join(&site).join(&blob[..2]).join(&blob))
        .unwrap();
    dossier::actions::recover::recover(app.app()).await.unwrap_err();
    let left: Vec<_> =
        std::fs::read_dir(&staging).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [stuck]);
}

#[tokio::test]
async fn a_commit_interrupted_by_a_crash_is_rolled_back_and_the_last_piece_resent() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(1_000));
    let (_, location) = app.tus_begin(contact, file.len()).await;
    app.tus_patch(&location, 0, &file[..999]).await;
    // The state after a kill between the link and the commit.
    let staged = std::fs::read_dir(app.data().join("staging")).unwrap().next().unwrap().unwrap();
    let name = staged.file_name().into_string().unwrap();
    let (site, blob) = (name.split('.').next().unwrap(), name.rsplit('.').next().unwrap());
    let folder = app.data().join("blobs").join(site).join(&blob[..2]);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::hard_link(staged.path(), folder.join(blob)).unwrap();
    dossier::actions::recover::recover(app.app()).await.unwrap();
    assert_eq!(app.blob_files(), Vec::<std::path::PathBuf>::new());
    // Also without a recovery in between.
    std::fs::hard_link(staged.path(), folder.join(blob)).unwrap();
    assert_eq!(app.tus_patch(&location, 999, &file[999..]).await.status, 204);
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
    app.wait_until_staging_is_empty().await;
}

#[tokio::test]
async fn a_returning_client_is_not_locked_out_by_its_dead_connection() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(1_000));
    let (_, location) = app.tus_begin(contact, file.len()).await;
    // A connection that stays open and silent. Whether its bytes were read before HEAD preempted it
    // is random.
    let _dead = cut_patch(&app, &location, &file, 0, 400).await;
    let offset = app.tus_head(&location).await.offset() as usize;
    assert!(offset <= 400);
    assert_eq!(app.tus_patch(&location, offset, &file[offset..]).await.status, 204);
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
}

#[tokio::test]
async fn a_second_creation_replaces_the_first() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(100));
    let (upload_url, first) = app.tus_begin(contact, 100).await;
    app.tus_patch(&first, 0, &file[..50]).await;
    let second = app.tus_create(&upload_url, 100).await;
    let second = second.header("location");
    assert_ne!(first, second);
    assert_eq!(app.tus_head(&first).await.status, 410);
    assert_eq!(app.tus_patch(&first, 50, &file[50..]).await.rejection().0, 410);
    assert_eq!(app.tus_head(second).await.offset(), 0);
    assert_eq!(app.tus_patch(second, 0, &file).await.status, 204);
    app.wait_until_staging_is_empty().await;
}

#[tokio::test]
async fn a_put_to_the_same_url_ends_the_resumable_upload() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(100));
    let (upload_url, location) = app.tus_begin(contact, 100).await;
    app.tus_patch(&location, 0, &file[..50]).await;
    app.put(&upload_url, &file).await.ok();
    assert_eq!(app.tus_patch(&location, 50, &file[50..]).await.rejection().0, 410);
    app.wait_until_staging_is_empty().await;
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
}

#[tokio::test]
async fn a_terminated_upload_leaves_nothing() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let before = app.snapshot().await;
    let (_, location) = app.tus_begin(contact, 100).await;
    app.tus_patch(&location, 0, &csv(50)).await;
    assert_eq!(app.tus(Method::DELETE, &location, &[], b"").await.status, 204);
    assert_eq!(app.tus_head(&location).await.status, 410);
    assert_eq!(app.tus(Method::DELETE, &location, &[], b"").await.rejection().0, 410);
    assert_eq!(app.snapshot().await, before);
}

#[tokio::test]
async fn an_upload_expires_seven_days_after_its_last_piece() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(100));
    let (upload_url, location) = app.tus_begin(contact, 100).await;
    // The upload URL itself lives for a day.
    for day in 0..3 {
        app.advance_seconds(7 * DAY_SECONDS - 1);
        let response = app.tus_patch(&location, day, &file[day..=day]).await;
        assert_eq!(response.status, 204, "{response:?}");
    }
    let expires = app.tus_head(&location).await.header("upload-expires").to_owned();
    let expires = httpdate::parse_http_date(&expires).unwrap();
    let seconds = expires.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    assert_eq!(seconds, dossier::app::Clock::now_ms(&app.app().clock) / 1_000 + 7 * DAY_SECONDS);
    app.advance_seconds(7 * DAY_SECONDS);
    assert_eq!(app.tus_patch(&location, 3, &file[3..]).await.rejection().0, 410);
    assert_eq!(app.tus_create(&upload_url, 100).await.rejection().1, "INVALID_UPLOAD_TOKEN");
    assert_eq!(app.tus_finish(&upload_url).await.rejection().1, "UPLOAD_UNFINISHED");
    let output = dossier::actions::upload::resumable::end_expired(app.app(), 10).await;
    assert_eq!(output.unwrap(), 1);
    app.wait_until_staging_is_empty().await;
}

#[tokio::test]
async fn an_upload_started_in_time_may_finish_after_its_url_has_expired() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(100));
    let (upload_url, location) = app.tus_begin(contact, 100).await;
    app.advance_seconds(3 * DAY_SECONDS);
    assert_eq!(app.tus_patch(&location, 0, &file).await.status, 204);
    app.tus_finish(&upload_url).await.ok();
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    app.tus_finish(&upload_url).await.ok();
}

#[tokio::test]
async fn a_complete_upload_is_reported_until_its_attachment_is_deleted() {
    let (app, contact, file) = (TestApp::start().await, Uuid::new_v4(), csv(100));
    let (upload_url, location) = app.tus_begin(contact, 100).await;
    app.tus_patch(&location, 0, &file).await;
    let head = app.tus_head(&location).await;
    assert_eq!((head.status.as_u16(), head.offset()), (200, 100));
    assert_eq!(head.header("upload-length"), "100");
    assert_eq!(app.tus_patch(&location, 100, b"x").await.rejection().1, "UPLOAD_COMPLETE");
    let deleted = app.tus(Method::DELETE, &location, &[], b"").await.rejection();
    assert_eq!(deleted, (403, "UPLOAD_COMPLETE".to_owned()));
    let id = app.list(contact).await.ok()["attachments"][0]["id"].as_str().unwrap().to_owned();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    assert_eq!(app.tus_head(&location).await.status, 410);
    assert_eq!(app.tus_finish(&upload_url).await.rejection().1, "INVALID_UPLOAD_TOKEN");
    assert_eq!(app.tus_create(&upload_url, 100).await.rejection().1, "INVALID_UPLOAD_TOKEN");
}
