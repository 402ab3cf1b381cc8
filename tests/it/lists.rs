//! What a list answers.

use serde_json::json;
use uuid::Uuid;

use crate::support::{PNG, TestApp};

#[tokio::test]
async fn a_contact_without_attachments_has_an_empty_list_with_full_metadata() {
    let app = TestApp::start().await;
    let answer = app.list(Uuid::new_v4()).await.ok();
    assert_eq!(
        answer,
        json!({
            "attachments": [],
            "metadata": { "count": 0, "offset": 0, "total": 0, "tooManyToCount": false },
        })
    );
}

#[tokio::test]
async fn an_uploaded_file_is_in_the_next_list() {
    let app = TestApp::start().await;
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    let answer = app.list(contact).await.ok();
    assert_eq!(answer["metadata"]["total"], 1);
    assert_eq!(answer["attachments"][0]["fileName"], "dot.png");
}
