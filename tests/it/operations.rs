//! What administrators can see of the server's health and of pending work on their site.

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::{Response, TestApp, run};

const OPERATIONS: &str = "/dossier/v1/operations";

#[tokio::test]
async fn pending_work_is_counted_per_site() {
    let app = TestApp::start_with(&[("trash_days", "30")]).await;
    let (contact, other) = (Uuid::new_v4(), app.other_site().await);
    app.upload_csvs(contact, ["a.csv".to_owned(), "b.csv".to_owned()]).await;
    let id = app.list_all(contact, "id").await.pop().unwrap();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    let response = app.get(OPERATIONS).await;
    assert_eq!(response.header("cache-control"), "no-store");
    let status = response.ok();
    assert_eq!(status["server"]["state"], "ok");
    assert_eq!(status["server"]["problems"], json!([]));
    assert_eq!(status["trash"], json!({ "files": 1, "days": 30 }));
    assert_eq!(status["queues"]["filesToRemove"], 0);
    assert_eq!(status["scrub"]["damagedFiles"], 0);
    let theirs = Response::to(app.request_as(&other, Method::GET, OPERATIONS)).await.ok();
    assert_eq!(theirs["trash"]["files"], 0);
}

#[tokio::test]
async fn without_a_trash_deleted_files_are_counted_until_their_removal() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    app.upload_csvs(contact, ["a.csv".to_owned()]).await;
    let id = app.list_all(contact, "id").await.pop().unwrap();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    let status = app.get(OPERATIONS).await.ok();
    assert_eq!(status["queues"]["filesToRemove"], 1);
    assert_eq!(status["trash"], json!({ "files": 0, "days": 0 }));
}

#[tokio::test]
async fn the_last_backup_and_the_last_check_are_shown() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let status = app.get(OPERATIONS).await.ok();
    assert_eq!(status["backup"], json!({ "lastBackupOf": null, "files": null, "bytes": null }));
    let nothing = json!({ "lastEndedAt": null, "findings": null, "everyFileRead": null });
    assert_eq!(status["check"], nothing);
    app.upload_csvs(contact, ["a.csv".to_owned(), "b.csv".to_owned()]).await;
    let folder = tempfile::tempdir().unwrap();
    let (data, target) = (app.data().to_str().unwrap(), folder.path().join("backup"));
    let output = run(&["backup", "create", "--data", data, target.to_str().unwrap()]);
    assert_eq!((output.code, output.err.as_str()), (Some(0), ""));
    for (more, every_file) in [(&["--hash"][..], true), (&[], false)] {
        let output = run(&[&["fsck", "--data", data][..], more].concat());
        assert_eq!((output.code, output.err.as_str()), (Some(0), ""));
        let status = app.get(OPERATIONS).await.ok();
        assert_eq!(status["check"]["everyFileRead"], every_file);
        assert_eq!(status["check"]["findings"], 0);
        assert!(status["check"]["lastEndedAt"].is_string());
        assert_eq!(status["backup"]["files"], 2);
        assert!(status["backup"]["lastBackupOf"].is_string());
    }
}
