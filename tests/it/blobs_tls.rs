//! A bucket behind TLS whose authority is one of its own.

use std::path::Path;

use uuid::Uuid;

use crate::support::files::csv;
use crate::support::tls::Front;
use crate::support::{Bucket, TestApp, bucket, run};

/// More than two parts.
const LARGE: usize = 20 << 20;

/// The setting `blobs` for a bucket behind a front, called by an address.
fn behind(front: &Front, bucket: &Bucket, host: &str, authority: &Path) -> String {
    let url = bucket.url.split_once("?endpoint=").unwrap().0;
    format!("{url}?endpoint=https://{host}:{}&ca={}", front.port, authority.display())
}

#[tokio::test]
async fn files_go_through_tls_to_a_store_whose_authority_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (bucket, front) = (bucket::make(&data), Front::before(bucket::address()).await);
    let url = behind(&front, &bucket, "127.0.0.1", &front.authority);
    let settings = [
        ("data", data.to_str().unwrap()),
        ("blobs", &*url),
        ("blobs_credentials_file", bucket.credentials.to_str().unwrap()),
        ("media_cache_bytes", "0"),
    ];
    let app = TestApp::start_with(&settings).await;
    for size in [3_000, LARGE] {
        let (contact, file) = (Uuid::new_v4(), csv(size));
        app.upload(contact, "a.csv", "text/csv", &file).await.ok();
        let seen = app.list(contact).await.ok();
        let link = seen["attachments"][0]["document"]["url"].as_str().unwrap();
        assert!(app.open(link).await.body == file, "{size}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_prove_who_it_is_is_refused_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let (data, bucket) = (folder.path().to_str().unwrap(), bucket::make(folder.path()));
    let (front, other) =
        (Front::before(bucket::address()).await, Front::before(bucket::address()).await);
    let absent = folder.path().join("absent.pem");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").unwrap();
    for (host, authority, said) in [
        ("127.0.0.1", &other.authority, "an authority that is not trusted"),
        ("127.0.0.2", &front.authority, "for another name than the one it was called by"),
        ("127.0.0.1", &absent, "cannot read the certificates in"),
        ("127.0.0.1", &empty, "there is no certificate in"),
    ] {
        let blobs = format!("blobs={}", behind(&front, &bucket, host, authority));
        let keys = format!("blobs_credentials_file={}", bucket.credentials.display());
        let place = ["serve", "--data", data, "--listen", "127.0.0.1:0", "--listen-tls", "off"];
        let ended = run(&[&place[..], &["--set", &blobs, "--set", &keys]].concat());
        let told = ended.err;
        assert_eq!(ended.code, Some(1), "{told}");
        assert!(told.contains(said), "{said}: {told}");
    }
}
