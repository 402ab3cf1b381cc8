//! Large files of known length are streamed to the bucket in one request while they arrive. When
//! that request fails they are sent in parts, and nothing stays half stored.

use uuid::Uuid;

use crate::blobs_refused::{LARGE, Rig, assert_unavailable};
use crate::support::files::csv;
use crate::support::proxy::{Fault, Right};

/// Appears only in the URLs of such requests.
const STREAMED: &str = "X-Amz-Signature=";

#[tokio::test]
async fn a_large_file_needs_no_parts() {
    let mut rig = Rig::start().await;
    let url = rig.url().await;
    // No multipart upload could start: the response with its id is lost.
    rig.proxy.set_fault(Fault::ResponsesLost("?uploads"));
    rig.stream_ok(&url, csv(LARGE)).await;
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn a_rejected_or_broken_request_falls_back_to_parts() {
    let mut rig = Rig::start().await;
    for fault in [Fault::Rejected(STREAMED), Fault::RequestLost(STREAMED)] {
        let url = rig.url().await;
        rig.proxy.set_fault(fault);
        rig.stream_ok(&url, csv(LARGE)).await;
        rig.app.wait_until_staging_is_empty().await;
    }
    assert!(rig.proxy.has_failed());
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn a_lost_response_is_settled_by_looking_for_the_object() {
    let mut rig = Rig::start().await;
    let url = rig.url().await;
    rig.proxy.set_fault(Fault::ResponseLost(STREAMED));
    rig.stream_ok(&url, csv(LARGE)).await;
    assert!(rig.proxy.has_failed());
    rig.app.wait_until_staging_is_empty().await;
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn a_request_that_arrives_too_late_leaves_nothing() {
    let mut rig = Rig::start().await;
    let url = rig.url().await;
    rig.proxy.set_fault(Fault::Late);
    assert_unavailable(&rig.app.put(&url, &csv(LARGE)).await);
    rig.proxy.set_fault(Fault::None);
    rig.stream_ok(&url, csv(LARGE)).await;
    let before = rig.app.blob_files().len();
    assert_eq!(rig.proxy.deliver_late().await, "HTTP/1.1 200 OK");
    assert_eq!(rig.app.blob_files().len(), before + 1, "one blob without a row");
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn a_request_that_arrives_twice_creates_one_file() {
    let mut rig = Rig::start().await;
    let url = rig.url().await;
    rig.proxy.set_fault(Fault::Doubled(STREAMED));
    rig.stream_ok(&url, csv(LARGE)).await;
    assert!(rig.proxy.has_failed());
    rig.wait_until_recovered().await;
}

#[tokio::test]
async fn bytes_rejected_after_they_were_sent_create_no_object() {
    let rig = Rig::start().await;
    // A created object would be noticed, since it could not be deleted.
    rig.proxy.set_fault(Fault::Denied(Right::Delete));
    let before = rig.app.blob_files();
    let rejected =
        rig.app.upload(Uuid::new_v4(), "a.pdf", "application/pdf", &csv(LARGE)).await.rejection();
    assert_eq!(rejected, (400, "MIME_TYPE_MISMATCH".to_owned()));
    assert_eq!(rig.app.blob_files(), before);
    rig.wait_until_recovered().await;
}
