//! Finished transforms on disk: kept, found again, bounded, and gone with their picture.

use std::fs;
use std::path::PathBuf;

use uuid::Uuid;

use crate::support::TestApp;
use crate::support::files::{eventually, jpeg, quarters, transformed};

const SMALL: &str = "fit/w_64,h_64/a";
/// Nothing in memory, so that the disk is looked at.
const NO_MEMORY: (&str, &str) = ("media_cache_bytes", "0");

/// Puts other bytes in the one file of the cache, which show when it is read.
fn mark(app: &TestApp) -> Vec<u8> {
    let files = app.cached_files();
    assert_eq!(files.len(), 1, "{files:?}");
    let marked = [fs::read(&files[0]).unwrap(), b"mark".to_vec()].concat();
    fs::write(&files[0], &marked).unwrap();
    marked
}

#[tokio::test]
async fn a_finished_transform_is_found_again_also_after_a_start() {
    let app = TestApp::start_with(&[NO_MEMORY]).await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    let token = link.split_once('?').unwrap().1.to_owned();
    assert_eq!(app.open(&transformed(&link, SMALL)).await.status, 200);
    let marked = mark(&app);
    // Another spelling of the same.
    assert_eq!(app.open(&transformed(&link, "fit/h_64,w_64,q_80/b.jpg")).await.body, marked);
    let path = link[app.base.len()..].split_once('?').unwrap().0.to_owned();
    let app = app.restart_with(&[NO_MEMORY]).await;
    let url = format!("{}{path}/v1/{SMALL}?{token}", app.base);
    assert_eq!(app.open(&url).await.body, marked);
}

#[tokio::test]
async fn memory_alone_serves_what_was_just_asked_for() {
    let app = TestApp::start().await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    let first = app.open(&transformed(&link, SMALL)).await;
    mark(&app);
    assert_eq!(app.open(&transformed(&link, SMALL)).await.body, first.body);
}

#[tokio::test]
async fn many_who_ask_at_once_get_one_result() {
    let app = TestApp::start_with(&[NO_MEMORY]).await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(2_000, 1_000))).await;
    let link = transformed(&link, SMALL);
    let answers = futures_util::future::join_all((0..20).map(|_| app.open(&link))).await;
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &answers[0].body));
    }
    assert_eq!(app.cached_files().len(), 1);
}

#[tokio::test]
async fn the_budget_holds_and_what_was_used_last_stays() {
    let budget = ("transform_cache_bytes", "8192");
    let app = TestApp::start_with(&[NO_MEMORY, budget, ("transforms", "any")]).await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    let open = async |px: u32| {
        let answer = app.open(&transformed(&link, &format!("fit/w_{px},h_{px}/a"))).await;
        assert_eq!(answer.status, 200);
    };
    open(10).await;
    let first = app.cached_files();
    open(11).await;
    let both = app.cached_files();
    open(10).await;
    open(12).await;
    let left = app.cached_files();
    assert_eq!((both.len(), left.len()), (2, 2));
    assert!(left.contains(&first[0]), "it was used again");
    assert_eq!(app.app().transforms.cache.bytes(), 8_192);
}

#[tokio::test]
async fn without_a_budget_nothing_is_kept_and_what_was_left_goes() {
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
async fn a_transform_that_cannot_be_kept_is_answered_all_the_same() {
    let app = TestApp::start_with(&[NO_MEMORY]).await;
    let (link, _) = app.picture("photo.jpg", &jpeg(&quarters(400, 200))).await;
    // Files where folders would be: nothing can be made in them, and nothing found.
    for name in [app.site.simple().to_string(), "unfinished".to_owned()] {
        fs::write(app.data().join("cache").join(name), b"").unwrap();
    }
    for _ in 0..2 {
        assert_eq!(app.open(&transformed(&link, SMALL)).await.status, 200);
    }
    assert_eq!(app.cached_files().len(), 2, "those files and no other");
}

#[tokio::test]
async fn transforms_go_with_their_picture() {
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
async fn what_is_left_of_pictures_that_are_gone_goes_at_a_start() {
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
    eventually("only what belongs to a picture is left", async || only(&file)).await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_cache_is_no_finding_of_fsck() {
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
