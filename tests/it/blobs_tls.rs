//! A bucket behind TLS with its own certificate authority.

use std::path::Path;

use uuid::Uuid;

use crate::support::files::csv;
use crate::support::tls::Front;
use crate::support::{Bucket, TestApp, bucket, run};

/// More than two parts.
const LARGE: usize = 20 << 20;

/// The setting `blobs` for a bucket behind a TLS proxy, addressed by this host.
fn blobs_setting(front: &Front, bucket: &Bucket, host: &str, authority: &Path) -> String {
    let url = bucket.url.split_once("?endpoint=").unwrap().0;
    format!("{url}?endpoint=https://{host}:{}&ca={}", front.port, authority.display())
}

#[tokio::test]
async fn files_are_stored_over_tls_with_a_configured_certificate_authority() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (bucket, front) =
        (bucket::get_or_create(&data), Front::in_front_of(bucket::address()).await);
    let url = blobs_setting(&front, &bucket, "127.0.0.1", &front.authority);
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
async fn a_store_with_an_untrusted_certificate_is_rejected_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let (data, bucket) = (folder.path().to_str().unwrap(), bucket::get_or_create(folder.path()));
    let (front, other) =
        (Front::in_front_of(bucket::address()).await, Front::in_front_of(bucket::address()).await);
    let absent = folder.path().join("absent.pem");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").unwrap();
    for (host, authority, expected) in [
        ("127.0.0.1", &other.authority, "an authority that is not trusted"),
        ("127.0.0.2", &front.authority, "for another host name"),
        ("127.0.0.1", &absent, "cannot read the certificates in"),
        ("127.0.0.1", &empty, "there is no certificate in"),
    ] {
        let blobs = format!("blobs={}", blobs_setting(&front, &bucket, host, authority));
        let keys = format!("blobs_credentials_file={}", bucket.credentials.display());
        let arguments = ["serve", "--data", data, "--listen", "127.0.0.1:0", "--listen-tls", "off"];
        let output = run(&[&arguments[..], &["--set", &blobs, "--set", &keys]].concat());
        let message = output.err;
        assert_eq!(output.code, Some(1), "{message}");
        assert!(message.contains(expected), "{expected}: {message}");
    }
}
