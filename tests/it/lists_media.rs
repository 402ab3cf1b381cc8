//! Which references a list and a get contain: the official SDK hides a URL that comes with an id.

use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

use crate::support::{PNG, Response, TestApp};

const SDK: &str = "environment=js-sdk,package-name=@wix/auto_sdk_crm_attachments,\
                   method-fqn=com.wixpress.contacts.attachments.v4.\
                   ContactAttachmentsServiceV4.ListAttachments,\
                   entity=wix.contacts.v4.attachment";
const SDK_ELSEWHERE: &str = "environment=js-sdk-files.example:8443,\
                             package-name=@wix/auto_sdk_crm_attachments";

/// A contact with an image and a document.
async fn contact_with_files(app: &TestApp) -> Uuid {
    let contact = Uuid::new_v4();
    app.upload(contact, "dot.png", "image/png", PNG).await.ok();
    app.upload(contact, "a.csv", "text/csv", b"a,b\n1,2\n").await.ok();
    contact
}

async fn fetch(app: &TestApp, path: &str, gateway: Option<&str>) -> Value {
    let mut request = app.request(Method::GET, path);
    if let Some(gateway) = gateway {
        request = request.header("x-wix-bi-gateway", gateway);
    }
    Response::to(request).await.ok()
}

/// The references of two attachments in the list, and the same two by get.
async fn references(app: &TestApp, contact: Uuid, gateway: Option<&str>) -> Vec<Value> {
    let path = format!("/contacts/v4/attachments/{contact}");
    let list = fetch(app, &path, gateway).await;
    let mut found = Vec::new();
    for listed in list["attachments"].as_array().unwrap() {
        let id = listed["id"].as_str().unwrap();
        let got = fetch(app, &format!("{path}/{id}"), gateway).await;
        assert_eq!(&got["attachment"], listed, "get and list must agree");
        let fields = ["image", "previewImage", "document"];
        found.extend(fields.iter().filter_map(|field| listed.get(field)).cloned());
    }
    assert_eq!(found.len(), 3, "{list}");
    found
}

#[tokio::test]
async fn each_setting_sends_the_references_that_it_promises() {
    let mut app = TestApp::start().await;
    let contact = contact_with_files(&app).await;
    for (setting, gateway, with_id) in [
        ("auto", None, true),
        ("auto", Some("environment=velo"), true),
        ("auto", Some(""), true),
        ("auto", Some(SDK), false),
        ("auto", Some(SDK_ELSEWHERE), false),
        ("id", None, true),
        ("id", Some(SDK), true),
        ("url", None, false),
        ("url", Some(SDK), false),
    ] {
        app = app.restart_with(&[("media_references", setting)]).await;
        for reference in references(&app, contact, gateway).await {
            let case = format!("{setting} {gateway:?}: {reference}");
            assert_eq!(reference.get("id").is_some(), with_id, "{case}");
            assert_eq!(app.open(reference["url"].as_str().unwrap()).await.status, 200, "{case}");
        }
    }
}

#[tokio::test]
async fn sdk_and_other_callers_do_not_share_cached_pages() {
    let app = TestApp::start().await;
    let contact = contact_with_files(&app).await;
    for (gateway, with_id) in [(None, true), (Some(SDK), false), (None, true), (Some(SDK), false)] {
        for reference in references(&app, contact, gateway).await {
            assert_eq!(reference.get("id").is_some(), with_id, "{gateway:?}: {reference}");
        }
    }
}

#[tokio::test]
async fn an_attachment_has_exactly_the_documented_fields() {
    let app = TestApp::start().await;
    let contact = contact_with_files(&app).await;
    let list = app.list(contact).await.ok();
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort_unstable();
        keys
    };
    let (image, document) = (&list["attachments"][0], &list["attachments"][1]);
    assert_eq!(
        keys(image),
        ["attachmentType", "fileName", "id", "image", "mimeType", "previewImage"]
    );
    assert_eq!(keys(document), ["attachmentType", "document", "fileName", "id", "mimeType"]);
    for picture in ["image", "previewImage"] {
        let picture = &image[picture];
        assert_eq!(keys(picture), ["height", "id", "url", "urlExpirationDate", "width"]);
        assert_eq!((&picture["height"], &picture["width"]), (&1.into(), &1.into()));
        let id = picture["id"].as_str().unwrap();
        assert!(id.ends_with("~mv2.png"), "{id}");
    }
    assert_eq!(keys(&document["document"]), ["id", "url", "urlExpirationDate"]);
    assert_eq!(
        (&image["attachmentType"], &image["mimeType"]),
        (&"IMAGE".into(), &"image/png".into())
    );
    assert_eq!(
        (&document["attachmentType"], &document["mimeType"]),
        (&"OTHER".into(), &"text/csv".into())
    );
}
