//! Transforms cached on disk: stored, reused, bounded, and deleted with their picture.

use std::fs;
use std::path::PathBuf;

use uuid::Uuid;

use crate::support::TestApp;
use crate::support::files::{eventually, jpeg, quarters, transformed};

const SMALL: &str = "fit/w_64,h_64/a";
/// No memory cache, so that the disk is read.
const NO_MEMORY: (&str, &str) = ("media_cache_bytes", "0");

/// Overwrites the single cached file with other bytes, which show whether it is read.
fn overwrite_cached_file(app: &TestApp) -> Vec<u8> {
    let files = app.cached_files();
    assert_eq!(files.len(), 1, "{files:?}");
    let marked = [fs::read(&files[0]).unwrap(), b"mark".to_vec()].concat();
    fs::write(&files[0], &marked).unwrap();
    marked
}

#[tokio::test]
async fn a_cached_transform_is_reused_also_after_a_restart() {
    let app = TestApp::start_with(&[NO_MEMORY]).await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    let token = link.split_once('?').unwrap().1.to_owned();
    assert_eq!(app.open(&transformed(&link, SMALL)).await.status, 200);
    let marked = overwrite_cached_file(&app);
    // Another spelling of the same transform.
    assert_eq!(app.open(&transformed(&link, "fit/h_64,w_64,q_80/b.jpg")).await.body, marked);
    let path = link[app.base.len()..].split_once('?').unwrap().0.to_owned();
    let app = app.restart_with(&[NO_MEMORY]).await;
    let url = format!("{}{path}/v1/{SMALL}?{token}", app.base);
    assert_eq!(app.open(&url).await.body, marked);
}

#[tokio::test]
async fn a_recent_transform_is_served_from_memory() {
    let app = TestApp::start().await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    let first = app.open(&transformed(&link, SMALL)).await;
    overwrite_cached_file(&app);
    assert_eq!(app.open(&transformed(&link, SMALL)).await.body, first.body);
}

#[tokio::test]
async fn concurrent_requests_for_one_transform_share_one_render() {
    let app = TestApp::start_with(&[NO_MEMORY]).await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(2_000, 1_000))).await;
    let link = transformed(&link, SMALL);
    let responses = futures_util::future::join_all((0..20).map(|_| app.open(&link))).await;
    for response in &responses {
        assert_eq!((response.status.as_u16(), &response.body), (200, &responses[0].body));
    }
    assert_eq!(app.cached_files().len(), 1);
}

#[tokio::test]
async fn the_budget_holds_and_recently_used_files_stay() {
    let budget = ("transform_cache_bytes", "8192");
    let app = TestApp::start_with(&[NO_MEMORY, budget, ("transforms", "any")]).await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    let open = async |px: u32| {
        let response = app.open(&transformed(&link, &format!("fit/w_{px},h_{px}/a"))).await;
        assert_eq!(response.status, 200);
    };
    open(10).await;
    let first = app.cached_files();
    open(11).await;
    let both = app.cached_files();
    open(10).await;
    open(12).await;
    let left = app.cached_files();
    assert_eq!((both.len(), left.len()), (2, 2));
    assert!(left.contains(&first[0]), "it was used recently");
    assert_eq!(app.app().transforms.cache.bytes(), 8_192);
}

#[tokio::test]
async fn without_a_budget_nothing_is_cached_and_leftovers_are_deleted() {
    let app = TestApp::start().await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    assert_eq!(app.open(&transformed(&link, SMALL)).await.status, 200);
    assert_eq!(app.cached_files().len(), 1);
    let rest = link[app.base.len()..].to_owned();
    let app = app.restart_with(&[("transform_cache_bytes", "0")]).await;
    eventually("the cache is empty", async || app.cached_files().is_empty()).await;
    let link = transformed(&format!("{}{rest}", app.base), SMALL);
    assert_eq!(app.open(&link).await.status, 200);
    assert!(app.cached_files().is_empty());
}

#[tokio::test]
async fn a_transform_that_cannot_be_cached_is_still_returned() {
    let app = TestApp::start_with(&[NO_MEMORY]).await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    // Files in place of folders: nothing can be stored or found in them.
    for name in [app.site.simple().to_string(), "unfinished".to_owned()] {
        fs::write(app.data().join("cache").join(name), b"").unwrap();
    }
    for _ in 0..2 {
        assert_eq!(app.open(&transformed(&link, SMALL)).await.status, 200);
    }
    assert_eq!(app.cached_files().len(), 2, "only those files");
}

#[tokio::test]
async fn transforms_are_deleted_with_their_picture() {
    let app = TestApp::start().await;
    let (link, attachment) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    let (kept, _) = app.picture("other.jpg", &jpeg(&quarters(40, 20))).await;
    let link = transformed(&link, SMALL);
    for link in [&link, &transformed(&kept, SMALL)] {
        assert_eq!(app.open(link).await.status, 200);
    }
    assert_eq!(app.cached_files().len(), 2);
    delete(&app, &attachment).await;
    assert_eq!(app.open(&link).await.status, 404, "at once");
    app.advance_seconds(3_600);
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    assert_eq!(app.cached_files().len(), 1);
    assert_eq!(app.app().transforms.cache.bytes(), 4_096);
}

#[tokio::test]
async fn leftovers_of_deleted_pictures_are_removed_at_startup() {
    let app = TestApp::start().await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    assert_eq!(app.open(&transformed(&link, SMALL)).await.status, 200);
    let file = app.cached_files().remove(0);
    let folder = file.parent().unwrap().with_file_name(Uuid::new_v4().simple().to_string());
    let stale = folder.join(file.file_name().unwrap());
    let unfinished = app.data().join("cache/unfinished/half");
    fs::create_dir(&folder).unwrap();
    fs::copy(&file, &stale).unwrap();
    fs::write(&unfinished, b"half").unwrap();
    let app = app.restart_with(&[]).await;
    let only = |file: &PathBuf| app.cached_files() == [file.clone()];
    eventually("only files of existing pictures are left", async || only(&file)).await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn the_cache_is_not_a_finding_of_fsck() {
    let app = TestApp::start().await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    assert_eq!(app.open(&transformed(&link, SMALL)).await.status, 200);
    let folder = app.stop().await;
    let report =
        crate::support::printed(&["fsck", "--json", "--data", folder.path().to_str().unwrap()]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["findings"].as_array().map(Vec::len), Some(0), "{report}");
}

async fn delete(app: &TestApp, attachment: &serde_json::Value) {
    let id = attachment["id"].as_str().unwrap();
    let found = app.app().db.attachment(
        dossier::domain::ids::SiteId(app.site),
        dossier::domain::ids::AttachmentId(id.parse().unwrap()),
    );
    let contact = found.await.unwrap().unwrap().contact_id;
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
}
