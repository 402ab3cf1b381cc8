//! Several servers on one PostgreSQL (R7, R13, R27). Run by `scripts/postgres`; ignored without it.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use dossier::actions::sweep::sweep;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::races::{pause, seed};
use crate::rig::Rng;
use crate::support::files::sha256_hex;
use crate::support::tus::csv;
use crate::support::{PNG, START_MS, TestApp, bucket, database, start_node, startup_error};

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_change_on_one_node_is_in_the_next_list_on_the_other() {
    let a = TestApp::start().await;
    let b = a.another_node(&[]).await;
    let contact = Uuid::new_v4();
    for round in 1..=40 {
        // The page is cached on both nodes.
        let before = b.list(contact).await.ok()["metadata"]["total"].as_u64().unwrap();
        assert_eq!(a.list(contact).await.ok()["metadata"]["total"], before);
        let (writer, reader) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        writer.upload(contact, "a.png", "image/png", PNG).await.ok();
        let seen = reader.list(contact).await.ok();
        assert_eq!(seen["metadata"]["total"], before + 1, "round {round}");
        if round % 3 == 0 {
            let id = seen["attachments"][0]["id"].as_str().unwrap();
            writer.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
            let seen = reader.list(contact).await.ok();
            assert_eq!(seen["metadata"]["total"], before, "round {round}");
            let path = format!("/contacts/v4/attachments/{contact}/{id}");
            assert_eq!(reader.get(&path).await.rejection(), (404, "NOT_FOUND".to_owned()));
        }
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_file_deleted_on_one_node_is_not_served_from_the_others_cache() {
    let a = TestApp::start().await;
    let b = a.another_node(&[]).await;
    let contact = Uuid::new_v4();
    b.upload(contact, "a.png", "image/png", PNG).await.ok();
    let seen = b.list(contact).await.ok();
    let link = seen["attachments"][0]["image"]["url"].as_str().unwrap().to_owned();
    assert_eq!(b.open(&link).await.body, PNG);
    assert_eq!(b.open(&link).await.body, PNG);
    let id = seen["attachments"][0]["id"].as_str().unwrap();
    a.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    assert_eq!(b.open(&link).await.status, 404);
}

/// Two nodes that share a bucket.
async fn two_with_a_bucket() -> (TestApp, TestApp) {
    let a = TestApp::start_in_bucket(&[]).await;
    let folder = a.another_folder();
    let bucket = bucket::get_or_create(folder.path());
    let b = a.another_node(&bucket.settings()).await;
    (a, b)
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_file_uploaded_to_one_node_is_served_and_removed_by_the_other() {
    let (a, b) = two_with_a_bucket().await;
    let (contact, file) = (Uuid::new_v4(), csv(9_000_000));
    a.upload(contact, "a.csv", "text/csv", &file).await.ok();
    let seen = b.list(contact).await.ok();
    let link = seen["attachments"][0]["document"]["url"].as_str().unwrap().to_owned();
    assert!(b.open(&link.replacen(&a.base, &b.base, 1)).await.body == file);
    let id = seen["attachments"][0]["id"].as_str().unwrap();
    b.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    assert_eq!(a.open(&link).await.status, 404);
    a.advance_seconds(61);
    let swept = sweep(a.app()).await.unwrap().blobs + sweep(b.app()).await.unwrap().blobs;
    assert_eq!(swept, 1);
    assert!(a.blob_files().is_empty());
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_resumable_upload_continues_on_another_node() {
    let (a, b) = two_with_a_bucket().await;
    let (contact, file) = (Uuid::new_v4(), csv(20_000_000));
    let (upload_url, location) = a.tus_begin(contact, file.len()).await;
    let at_b = location.replacen(&a.base, &b.base, 1);
    assert_eq!(a.tus_patch(&location, 0, &file[..9_000_001]).await.status, 204);
    assert_eq!(b.tus_head(&at_b).await.header("upload-offset"), "9000001");
    assert_eq!(b.tus_patch(&at_b, 9_000_001, &file[9_000_001..15_000_000]).await.status, 204);
    // The first node was only slow: it must not continue from its old offset.
    let late = a.tus_patch(&location, 9_000_001, &file[9_000_001..12_000_000]).await;
    assert_eq!(late.status, 409, "{late:?}");
    assert_eq!(a.tus_patch(&location, 15_000_000, &file[15_000_000..]).await.status, 204);
    b.tus_finish(&upload_url).await.ok();
    let seen = b.list(contact).await.ok();
    let link = seen["attachments"][0]["document"]["url"].as_str().unwrap();
    assert!(a.open(link).await.body == file);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn one_of_two_nodes_that_resume_an_upload_at_once_wins() {
    let (a, b) = two_with_a_bucket().await;
    for round in 0..6 {
        let (contact, file) = (Uuid::new_v4(), csv(6_000_000));
        let (_, location) = a.tus_begin(contact, file.len()).await;
        let at_b = location.replacen(&a.base, &b.base, 1);
        let (first, second) =
            tokio::join!(a.tus_patch(&location, 0, &file), b.tus_patch(&at_b, 0, &file));
        let statuses = [first.status.as_u16(), second.status.as_u16()];
        assert!(statuses.contains(&204), "round {round}: {statuses:?}");
        let seen = b.list(contact).await.ok();
        assert_eq!(seen["metadata"]["total"], 1, "round {round}: {statuses:?}");
        let link = seen["attachments"][0]["document"]["url"].as_str().unwrap();
        assert!(a.open(link).await.body == file, "round {round}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn different_bytes_sent_to_two_nodes_are_never_mixed() {
    let (a, b) = two_with_a_bucket().await;
    let mut rng = Rng::new(seed());
    let mut whole = 0;
    for round in 0..24 {
        // From single-request to multipart files, each finished in one piece or two.
        let (contact, bytes) = (Uuid::new_v4(), [40_000, 900_000, 6_000_000][round % 3]);
        let file = csv(bytes);
        let swapped = file.iter().map(|byte| match byte {
            b'0'..=b'9' => b'9' - (byte - b'0'),
            other => *other,
        });
        let files = [swapped.collect(), file];
        assert!(files[0] != files[1]);
        let (_, location) = a.tus_begin(contact, bytes).await;
        let at_b = location.replacen(&a.base, &b.base, 1);
        let middle = if round % 2 == 0 { bytes } else { bytes / 2 };
        let schedules = [rng.next(), rng.next()];
        join_all([(&a, &location), (&b, &at_b)].into_iter().enumerate().map(
            |(at, (node, location))| {
                let (file, schedule) = (&files[at], schedules[at]);
                async move {
                    pause(&mut Rng::new(schedule)).await;
                    let first = node.tus_patch(location, 0, &file[..middle]).await;
                    if first.status == 204 && middle < bytes {
                        node.tus_patch(location, middle, &file[middle..]).await;
                    }
                }
            },
        ))
        .await;
        let seen = b.list(contact).await.ok();
        let Some(link) = seen["attachments"][0]["document"]["url"].as_str() else { continue };
        let found = a.open(link).await;
        let tag = found.header("etag").trim_matches('"').to_owned();
        assert_eq!(tag, sha256_hex(&found.body), "round {round}: bytes differ from the row");
        assert!(files.contains(&found.body), "round {round}: mixed bytes");
        whole += 1;
    }
    assert!(whole > 12, "of 24 uploads only {whole} became attachments");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn an_upload_url_used_on_two_nodes_creates_one_attachment() {
    let (a, mut rng) = (TestApp::start().await, Rng::new(seed()));
    let b = a.another_node(&[]).await;
    for round in 0..20 {
        let contact = Uuid::new_v4();
        let url = a.upload_url(contact, "a.csv", "text/csv").await;
        let other = url.replacen(&a.base, &b.base, 1);
        let file = csv(4_000);
        let schedules = [rng.next(), rng.next(), rng.next(), rng.next()];
        let responses = join_all(schedules.iter().enumerate().map(|(at, schedule)| {
            let (node, url) = if at % 2 == 0 { (&a, &url) } else { (&b, &other) };
            let file = &file;
            async move {
                pause(&mut Rng::new(*schedule)).await;
                node.put(url, file).await
            }
        }))
        .await;
        let ids: Vec<_> =
            responses.iter().map(|response| response.ok()["file"]["id"].clone()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "round {round}: {ids:?}");
        assert_eq!(b.list(contact).await.ok()["metadata"]["total"], 1, "round {round}");
    }
    assert_eq!(a.inspect(|rows| rows.drift().unwrap().len()), 0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_quota_applies_across_nodes() {
    let settings = [("site_max_files", "20")];
    let a = TestApp::start_with(&settings).await;
    let b = a.another_node(&settings).await;
    let contact = Uuid::new_v4();
    let responses = join_all((0..40).map(|at| {
        let node = if at % 2 == 0 { &a } else { &b };
        async move { node.upload(contact, "a.csv", "text/csv", b"a,b\n").await.status.as_u16() }
    }))
    .await;
    let taken = responses.iter().filter(|status| **status == 200).count();
    assert_eq!(taken, 20, "{responses:?}");
    assert_eq!(b.list(contact).await.ok()["metadata"]["total"], 20);
    assert_eq!(a.inspect(|rows| rows.drift().unwrap().len()), 0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn concurrent_contact_changes_on_two_nodes_lose_nothing() {
    let a = TestApp::start().await;
    let b = a.another_node(&[]).await;
    let mut rng = Rng::new(seed());
    for round in 0..20 {
        let (source, target) = (Uuid::new_v4(), Uuid::new_v4());
        a.upload(source, "a.csv", "text/csv", b"a,b\n").await.ok();
        let url = b.upload_url(source, "b.csv", "text/csv").await;
        let schedule = rng.next();
        let merge = async {
            let body = json!({ "sourceContactIds": [source] });
            a.contact(Method::POST, &format!("/{target}/merge"), &body).await.ok();
        };
        let upload = async {
            pause(&mut Rng::new(schedule)).await;
            b.put(&url, b"c,d\n").await.status.as_u16()
        };
        let ((), uploaded) = tokio::join!(merge, upload);
        assert!([200, 404].contains(&uploaded), "round {round}: {uploaded}");
        let expected = 1 + u64::from(uploaded == 200);
        assert_eq!(b.list(target).await.ok()["metadata"]["total"], expected, "round {round}");
    }
    assert_eq!(b.inspect(|rows| rows.drift().unwrap().len()), 0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn a_node_with_different_keys_is_rejected() {
    let a = TestApp::start().await;
    let folder = a.another_folder();
    let error = startup_error(&folder).await;
    assert!(error.contains("copy signing.keys and webhook.keys"), "{error}");
    std::fs::copy(a.data().join("signing.keys"), folder.path().join("signing.keys")).unwrap();
    let error = startup_error(&folder).await;
    assert!(error.contains("the keys in webhook.keys are not those"), "{error}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres cargo test --test it -- --ignored"]
async fn one_of_several_nodes_starting_on_an_empty_database_creates_the_first_site() {
    let keys = TestApp::start().await;
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    database::share(folders[0].path(), folders[1].path());
    for folder in &folders {
        keys.copy_keys_to(folder.path());
    }
    let clock = Arc::new(AtomicI64::new(START_MS));
    let (one, two) =
        tokio::join!(start_node(&folders[0], &[], &clock), start_node(&folders[1], &[], &clock));
    assert_ne!(one.first_start.is_some(), two.first_start.is_some());
    assert_eq!(one.app.db.sites().await.unwrap().len(), 1);
}
