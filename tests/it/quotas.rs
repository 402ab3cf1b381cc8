//! No quota of a site or contact is ever exceeded, and a rejection reports the usage (S5).

use serde_json::json;
use uuid::Uuid;

use crate::support::tus::csv;
use crate::support::{TestApp, printed};

#[tokio::test]
async fn parallel_uploads_never_exceed_any_quota() {
    for (setting, limit) in [
        ("site_max_files", 5),
        ("contact_max_files", 5),
        ("site_max_bytes", 5_000),
        ("contact_max_bytes", 5_000),
    ] {
        let app = TestApp::start_with(&[(setting, &limit.to_string())]).await;
        let contact = Uuid::new_v4();
        // All URLs are created while there is room.
        let mut urls = Vec::new();
        for number in 0..20 {
            urls.push(app.upload_url(contact, &format!("{number}.csv"), "text/csv").await);
        }
        let file = csv(1_000);
        let responses = urls.iter().map(|url| app.put(url, &file));
        let responses = futures_util::future::join_all(responses).await;
        let kept = responses.iter().filter(|response| response.status == 200).count();
        assert_eq!(kept, 5, "{setting}");
        for response in responses.iter().filter(|response| response.status != 200) {
            assert_eq!(response.rejection(), (403, "QUOTA_EXCEEDED".to_owned()));
        }
        assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 5);
        app.wait_until_staging_is_empty().await;
        let files = app.blob_files();
        assert_eq!(files.len(), 5, "{files:?}");
    }
}

#[tokio::test]
async fn a_site_can_have_its_own_quotas() {
    let app = TestApp::start_with(&[("site_max_files", "1")]).await;
    let (contact, data) = (Uuid::new_v4(), app.data().to_str().unwrap().to_owned());
    let set = async |arguments: &[&str]| {
        let all = [&["site", "set", "--data", &data], arguments].concat();
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        let out = tokio::task::spawn_blocking(move || printed(&all)).await.unwrap();
        app.app().registry.refresh(&app.app().db).await.unwrap();
        out
    };
    let out = set(&["--max-files", "2", "--contact-max-bytes", "250"]).await;
    assert!(out.ends_with("Its own quotas: 2 files, 250 bytes per contact"), "{out}");
    app.upload(contact, "a.csv", "text/csv", &csv(100)).await.ok();
    app.upload(contact, "b.csv", "text/csv", &csv(100)).await.ok();
    let one_more = async || app.upload_url(contact, "c.csv", "text/csv").await;
    let rejected =
        app.generate(contact, &json!({ "fileName": "c.csv", "mimeType": "text/csv" })).await.json();
    let error = &rejected["details"]["applicationError"]["data"];
    assert_eq!(*error, json!({ "scope": "site", "unit": "files", "limit": 2, "use": 2 }));
    set(&["--max-files", "0"]).await;
    let response = app.put(&one_more().await, &csv(100)).await;
    assert_eq!(response.rejection(), (403, "QUOTA_EXCEEDED".to_owned()));
    set(&["--contact-max-bytes", "default"]).await;
    app.put(&one_more().await, &csv(100)).await.ok();
    let out = tokio::task::spawn_blocking(move || printed(&["site", "list", "--data", &data]));
    let out = out.await.unwrap();
    assert!(out.contains(" 3               300  0 files"), "{out}");
}

#[tokio::test]
async fn a_full_contact_gets_no_upload_url_and_a_report_of_its_usage() {
    let app = TestApp::start_with(&[("contact_max_bytes", "1000")]).await;
    let contact = Uuid::new_v4();
    app.upload(contact, "a.csv", "text/csv", &csv(600)).await.ok();
    let body = json!({ "fileName": "b.csv", "mimeType": "text/csv", "sizeInBytes": 401 });
    let rejected = app.generate(contact, &body).await;
    assert_eq!(rejected.rejection(), (403, "QUOTA_EXCEEDED".to_owned()));
    let error = rejected.json();
    let data = &error["details"]["applicationError"]["data"];
    let expected = json!({ "scope": "contact", "unit": "bytes", "limit": 1000, "use": 600 });
    assert_eq!(*data, expected);
    app.generate(contact, &json!({ "fileName": "b.csv", "mimeType": "text/csv" })).await.ok();
    // Other contacts have their own limits.
    app.upload(Uuid::new_v4(), "a.csv", "text/csv", &csv(1_000)).await.ok();
}

#[tokio::test]
async fn a_delete_frees_quota_at_once_and_a_repeat_needs_none() {
    let app = TestApp::start_with(&[("contact_max_files", "1")]).await;
    let contact = Uuid::new_v4();
    let first = app.upload_url(contact, "a.csv", "text/csv").await;
    let second = app.upload_url(contact, "b.csv", "text/csv").await;
    app.put(&first, &csv(10)).await.ok();
    app.put(&first, &csv(10)).await.ok();
    assert_eq!(app.put(&second, &csv(10)).await.rejection().1, "QUOTA_EXCEEDED");
    let id = app.list(contact).await.ok()["attachments"][0]["id"].as_str().unwrap().to_owned();
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    app.put(&second, &csv(10)).await.ok();
}

#[tokio::test]
async fn resumable_uploads_respect_quotas_at_creation_and_completion() {
    let app = TestApp::start_with(&[("site_max_bytes", "1000")]).await;
    let contact = Uuid::new_v4();
    let url = app.upload_url(contact, "a.csv", "text/csv").await;
    assert_eq!(app.tus_create(&url, 1_001).await.rejection().1, "QUOTA_EXCEEDED");
    let (_, one) = app.tus_begin(contact, 600).await;
    let (_, other) = app.tus_begin(contact, 600).await;
    assert_eq!(app.tus_patch(&one, 0, &csv(600)).await.status, 204);
    assert_eq!(app.tus_patch(&other, 0, &csv(600)).await.rejection().1, "QUOTA_EXCEEDED");
    assert_eq!(app.tus_head(&other).await.status, 410);
    app.wait_until_staging_is_empty().await;
    assert_eq!(app.blob_files().len(), 1);
}
