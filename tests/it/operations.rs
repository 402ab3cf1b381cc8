//! What administrators are told of how the server does and what waits at their site.

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::{Answer, TestApp, run};

const OPERATIONS: &str = "/dossier/v1/operations";

#[tokio::test]
async fn what_waits_is_counted_for_its_own_site() {
    let app = TestApp::start_with(&[("trash_days", "30")]).await;
    let (contact, other) = (Uuid::new_v4(), app.other_site().await);
    app.upload_csvs(contact, ["a.csv".to_owned(), "b.csv".to_owned()]).await;
    let id = app.all(contact, "id").await.pop().unwrap();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    let answer = app.get(OPERATIONS).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let told = answer.ok();
    assert_eq!(told["server"]["state"], "ok");
    assert_eq!(told["server"]["problems"], json!([]));
    assert_eq!(told["trash"], json!({ "files": 1, "days": 30 }));
    assert_eq!(told["queues"]["filesToRemove"], 0);
    assert_eq!(told["scrub"]["damagedFiles"], 0);
    let theirs = Answer::of(app.request_as(&other, Method::GET, OPERATIONS)).await.ok();
    assert_eq!(theirs["trash"]["files"], 0);
}

#[tokio::test]
async fn what_is_deleted_without_a_trash_waits_for_its_removal() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    app.upload_csvs(contact, ["a.csv".to_owned()]).await;
    let id = app.all(contact, "id").await.pop().unwrap();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    let told = app.get(OPERATIONS).await.ok();
    assert_eq!(told["queues"]["filesToRemove"], 1);
    assert_eq!(told["trash"], json!({ "files": 0, "days": 0 }));
}

#[tokio::test]
async fn the_last_backup_and_the_last_check_are_told() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let told = app.get(OPERATIONS).await.ok();
    assert_eq!(told["backup"], json!({ "lastBackupOf": null, "files": null, "bytes": null }));
    let nothing = json!({ "lastEndedAt": null, "findings": null, "everyFileRead": null });
    assert_eq!(told["check"], nothing);
    app.upload_csvs(contact, ["a.csv".to_owned(), "b.csv".to_owned()]).await;
    let folder = tempfile::tempdir().unwrap();
    let (data, target) = (app.data().to_str().unwrap(), folder.path().join("backup"));
    let ended = run(&["backup", "create", "--data", data, target.to_str().unwrap()]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    for (more, every_file) in [(&["--hash"][..], true), (&[], false)] {
        let ended = run(&[&["fsck", "--data", data][..], more].concat());
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
        let told = app.get(OPERATIONS).await.ok();
        assert_eq!(told["check"]["everyFileRead"], every_file);
        assert_eq!(told["check"]["findings"], 0);
        assert!(told["check"]["lastEndedAt"].is_string());
        assert_eq!(told["backup"]["files"], 2);
        assert!(told["backup"]["lastBackupOf"].is_string());
    }
}
