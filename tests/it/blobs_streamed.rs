//! Large files of an announced size go to the bucket in one request while they arrive; what breaks on the way
//! goes in parts, and nothing stays half kept.

use uuid::Uuid;

use crate::blobs_refused::{LARGE, Rig, says_away};
use crate::support::files::csv;
use crate::support::proxy::{Fault, Right};

/// In the address of such a request, and of no other.
const STREAMED: &str = "X-Amz-Signature=";

#[tokio::test]
async fn a_large_file_needs_no_parts() {
    let mut rig = Rig::start().await;
    let url = rig.url().await;
    // Nobody would hear the id that parts are sent with.
    rig.proxy.fails(Fault::AnswersLost("?uploads"));
    rig.streams(&url, csv(LARGE)).await;
    rig.recovers().await;
}

#[tokio::test]
async fn a_request_that_is_refused_or_breaks_is_followed_by_parts() {
    let mut rig = Rig::start().await;
    for fault in [Fault::Refused(STREAMED), Fault::RequestLost(STREAMED)] {
        let url = rig.url().await;
        rig.proxy.fails(fault);
        rig.streams(&url, csv(LARGE)).await;
        rig.app.nothing_staged().await;
    }
    assert!(rig.proxy.has_failed());
    rig.recovers().await;
}

#[tokio::test]
async fn an_answer_that_is_lost_is_looked_for() {
    let mut rig = Rig::start().await;
    let url = rig.url().await;
    rig.proxy.fails(Fault::AnswerLost(STREAMED));
    rig.streams(&url, csv(LARGE)).await;
    assert!(rig.proxy.has_failed());
    rig.app.nothing_staged().await;
    rig.recovers().await;
}

#[tokio::test]
async fn one_that_arrives_when_all_is_over_leaves_nothing() {
    let mut rig = Rig::start().await;
    let url = rig.url().await;
    rig.proxy.fails(Fault::Late);
    says_away(&rig.app.put(&url, &csv(LARGE)).await);
    rig.proxy.fails(Fault::None);
    rig.streams(&url, csv(LARGE)).await;
    let before = rig.app.blob_files().len();
    assert_eq!(rig.proxy.deliver().await, "HTTP/1.1 200 OK");
    assert_eq!(rig.app.blob_files().len(), before + 1, "one that no row names");
    rig.recovers().await;
}

#[tokio::test]
async fn one_that_arrives_twice_makes_one_file() {
    let mut rig = Rig::start().await;
    let url = rig.url().await;
    rig.proxy.fails(Fault::Doubled(STREAMED));
    rig.streams(&url, csv(LARGE)).await;
    assert!(rig.proxy.has_failed());
    rig.recovers().await;
}

#[tokio::test]
async fn what_is_refused_after_it_was_sent_makes_no_object() {
    let rig = Rig::start().await;
    // An object that is made is seen: it could not be taken away.
    rig.proxy.fails(Fault::Denied(Right::Delete));
    let before = rig.app.blob_files();
    let refused =
        rig.app.upload(Uuid::new_v4(), "a.pdf", "application/pdf", &csv(LARGE)).await.refused();
    assert_eq!(refused, (400, "MIME_TYPE_MISMATCH".to_owned()));
    assert_eq!(rig.app.blob_files(), before);
    rig.recovers().await;
}
