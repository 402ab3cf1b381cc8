//! Bytes in a moto bucket: what one store happens to allow another may not.

use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

use crate::support::files::{csv, eventually};
use crate::support::moto::MotoBucket;
use crate::support::{Response, TestApp, run};

/// More than two parts.
const LARGE: usize = 20 << 20;
const SMALL: usize = 3_000;

async fn start(bucket: &MotoBucket) -> TestApp {
    TestApp::start_with(&settings(bucket, &bucket.credentials())).await
}

fn settings<'a>(bucket: &'a MotoBucket, credentials: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("blobs", &bucket.url),
        ("blobs_credentials_file", credentials),
        ("media_cache_bytes", "0"),
        ("removal_grace_seconds", "0"),
    ]
}

/// The number of objects that are neither an upload's mark nor its state.
async fn originals(bucket: &MotoBucket) -> usize {
    bucket.objects().await.iter().filter(|name| name.starts_with("blobs/")).count()
}

#[tokio::test]
async fn single_and_multipart_files_are_returned_whole_and_removed() {
    let bucket = MotoBucket::create().await;
    let app = start(&bucket).await;
    let contact = Uuid::new_v4();
    for size in [SMALL, LARGE] {
        let bytes = csv(size);
        app.upload(contact, "a.csv", "text/csv", &bytes).await.ok();
        let attachment = app.list(contact).await.ok()["attachments"][0].clone();
        let link = attachment["document"]["url"].as_str().unwrap();
        assert!(app.open(link).await.body == bytes, "{size}");
        let part = Response::to(app.client().get(link).header("range", "bytes=1000-2999")).await;
        assert_eq!((part.status.as_u16(), &*part.body), (206, &bytes[1_000..3_000]));
        let id = attachment["id"].as_str().unwrap();
        app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
        assert_eq!(app.open(link).await.status, 404);
    }
    eventually("the bucket is empty", async || {
        dossier::actions::sweep::sweep(app.app()).await.unwrap();
        bucket.objects().await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn rejected_bytes_and_terminated_uploads_leave_nothing() {
    let bucket = MotoBucket::create().await;
    let app = start(&bucket).await;
    let rejected = app.upload(Uuid::new_v4(), "a.pdf", "application/pdf", &csv(LARGE)).await;
    assert_eq!(rejected.rejection(), (400, "MIME_TYPE_MISMATCH".to_owned()));
    let bytes = csv(LARGE);
    let (_, location) = app.tus_begin(Uuid::new_v4(), bytes.len()).await;
    let patched = app.tus_patch(&location, 0, &bytes[..LARGE - 1_000]).await;
    assert_eq!(patched.status, 204, "{patched:?}");
    assert_eq!(app.tus(Method::DELETE, &location, &[], b"").await.status, 204);
    eventually("the bucket is empty", async || bucket.objects().await.is_empty()).await;
}

#[tokio::test]
async fn another_server_resumes_an_upload_from_the_bucket_alone() {
    let bucket = MotoBucket::create().await;
    let credentials = bucket.credentials();
    let settings = settings(&bucket, &credentials);
    let mut app = start(&bucket).await;
    let (contact, bytes) = (Uuid::new_v4(), csv(30 << 20));
    let (_, location) = app.tus_begin(contact, bytes.len()).await;
    let path = app.path_of(&location).to_owned();
    let mut offset = 0;
    for end in [3 << 20, (12 << 20) + 1, bytes.len()] {
        let location = format!("{}{path}", app.base);
        assert_eq!(app.tus_head(&location).await.offset(), offset as u64);
        let patched = app.tus_patch(&location, offset, &bytes[offset..end]).await;
        assert_eq!(patched.status, 204, "{patched:?}");
        offset = end;
        if end < bytes.len() {
            // The other server has the rows and keys and no other file of the folder.
            app = app.restart_in_new_folder(&settings).await;
        }
    }
    let attachment = app.list(contact).await.ok()["attachments"][0].clone();
    assert!(app.open(attachment["document"]["url"].as_str().unwrap()).await.body == bytes);
    eventually("only the file remains", async || {
        bucket.objects().await.len() == 1 && originals(&bucket).await == 1
    })
    .await;
}

#[tokio::test]
async fn doctor_checks_every_permission_and_leaves_nothing() {
    let bucket = MotoBucket::create().await;
    let folder = start(&bucket).await.stop().await;
    let blobs = format!("blobs={}", bucket.url);
    let keys = format!("blobs_credentials_file={}", bucket.credentials());
    let data = folder.path().to_str().unwrap();
    let output = run(&["doctor", "--json", "--data", data, "--set", &blobs, "--set", &keys]);
    let checks: Value = serde_json::from_str(&output.out).unwrap();
    let checks = checks["checks"].as_array().unwrap();
    let found: Vec<_> = checks.iter().filter(|check| check["name"] == "bucket").collect();
    assert_eq!((found.len(), &found[0]["state"]), (1, &Value::from("fine")), "{found:?}");
    assert_eq!(bucket.objects().await, Vec::<String>::new());
}
