//! Events are delivered to receivers: what a delivery contains, and that each one is made once it
//! is acknowledged (contract §11).

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::PDF;
use crate::support::receiver::{OK, Receiver, Reply};
use crate::support::{PNG, Response, START_MS, TestApp};

/// Uploads a PDF and returns its id.
async fn upload(app: &TestApp, contact: Uuid) -> String {
    app.upload(contact, "cv.pdf", "application/pdf", PDF).await.ok();
    app.list_all(contact, "id").await.pop().unwrap()
}

#[tokio::test]
async fn an_upload_and_a_delete_are_delivered_in_the_shapes_of_the_contract() {
    let (app, receiver, contact) =
        (TestApp::start_with_webhooks().await, Receiver::start(OK).await, Uuid::new_v4());
    let webhook = app.subscribe(&receiver).await;
    let id = upload(&app, contact).await;
    let created = receiver.wait_for_deliveries(1).await.remove(0);
    assert!(created.head.starts_with("POST /webhooks?key=a HTTP/1.1\r\n"), "{}", created.head);
    assert!(created.head.contains("content-type: text/plain\r\n"), "{}", created.head);
    assert_eq!(
        (&created.claims["iss"], &created.claims["iat"]),
        (&json!("wix.com"), &json!(START_MS / 1_000))
    );
    assert_eq!(created.claims["exp"], START_MS / 1_000 + 3_600);
    assert_eq!(created.data["eventType"], "wix.contacts.v4.attachment_created");
    assert_eq!(created.data["accountInfo"]["siteId"], app.site.to_string());
    let shown = app.get(&format!("/dossier/v1/webhooks/{webhook}")).await.ok();
    assert_eq!(created.claims["aud"], shown["webhook"]["appId"]);
    assert_eq!(created.data["instanceId"], shown["webhook"]["instanceId"]);
    let mut event = created.event.clone();
    let entity = event["createdEvent"]["entity"].take();
    assert_eq!(
        event,
        json!({
            "id": created.id(), "entityFqdn": "wix.contacts.v4.attachment", "slug": "created",
            "entityId": id, "createdEvent": { "entity": null },
            "eventTime": "2027-01-15T08:00:00.000Z", "triggeredByAnonymizeRequest": false,
            "entityEventSequence": "1", "contactId": contact.to_string(),
        })
    );
    assert_eq!(
        (&entity["id"], &entity["fileName"], &entity["attachmentType"]),
        (&json!(id), &json!("cv.pdf"), &json!("OTHER"))
    );
    // The SDK hides a link that comes with an id.
    assert_eq!(entity["document"].get("id"), None);
    let link = entity["document"]["url"].as_str().unwrap();
    assert_eq!(app.open(link).await.body, PDF);
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    let deleted = receiver.wait_for_deliveries(2).await.remove(1);
    assert_eq!(deleted.data["eventType"], "wix.contacts.v4.attachment_deleted");
    assert_eq!(
        (&deleted.event["slug"], &deleted.event["deletedEvent"]),
        (&json!("deleted"), &json!({}))
    );
    assert_eq!(
        (&deleted.event["entityId"], &deleted.event["entityEventSequence"]),
        (&json!(id), &json!("2"))
    );
    let log = app.wait_for_state(&webhook, "delivered", 1).await;
    assert_eq!((log.len(), &log[0]["attempts"][0]["status"]), (2, &json!(200)));
    assert_eq!(log[0]["attempts"][0]["response"], "ok");
}

#[tokio::test]
async fn a_picture_has_the_same_form_as_in_a_list() {
    let (app, receiver, contact) =
        (TestApp::start_with_webhooks().await, Receiver::start(OK).await, Uuid::new_v4());
    app.subscribe(&receiver).await;
    app.upload(contact, "a \"b\" ü.png", "image/png", PNG).await.ok();
    let delivery = receiver.wait_for_deliveries(1).await.remove(0);
    let entity = &delivery.event["createdEvent"]["entity"];
    let list = app.request(Method::GET, &format!("/contacts/v4/attachments/{contact}"));
    let list = list.header("x-wix-bi-gateway", "environment=js-sdk");
    assert_eq!(*entity, Response::to(list).await.ok()["attachments"][0]);
    assert!(entity["previewImage"]["url"].is_string(), "{entity}");
}

#[tokio::test]
async fn the_token_verifies_with_the_public_key() {
    let (app, receiver) = (TestApp::start_with_webhooks().await, Receiver::start(OK).await);
    let path = "/dossier/v1/webhooks/public-key";
    let before = Response::to(app.anonymous(Method::GET, path)).await;
    assert_eq!(before.rejection(), (404, "NOT_FOUND".to_owned()));
    app.subscribe(&receiver).await;
    upload(&app, Uuid::new_v4()).await;
    let delivery = receiver.wait_for_deliveries(1).await.remove(0);
    let shown = Response::to(app.anonymous(Method::GET, path)).await.ok();
    let number =
        |name: &str| URL_SAFE_NO_PAD.decode(shown["keys"][0][name].as_str().unwrap()).unwrap();
    let (signed, signature) = delivery.token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = PublicKeyComponents { n: number("n"), e: number("e") };
    key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).unwrap();
    let head = signed.split('.').next().unwrap();
    let head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    assert_eq!(head, json!({ "alg": "RS256", "typ": "JWT", "kid": shown["keys"][0]["kid"] }));
    let pem = shown["current"]["publicKey"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{pem}");
    assert_eq!(shown["current"]["publicKeyBase64"], STANDARD.encode(pem));
}

#[tokio::test]
async fn each_subscription_gets_its_event_types_of_its_own_site() {
    let app = TestApp::start_with_webhooks().await;
    let (both, created, deleted, theirs) = tokio::join!(
        Receiver::start(OK),
        Receiver::start(OK),
        Receiver::start(OK),
        Receiver::start(OK)
    );
    app.subscribe(&both).await;
    app.subscribe_to(&created, &["wix.contacts.v4.attachment_created"]).await;
    app.subscribe_to(&deleted, &["attachment_deleted"]).await;
    let other = app.other_site().await;
    let body = json!({ "url": theirs.url() });
    let made = app.request_as(&other, Method::POST, "/dossier/v1/webhooks").json(&body);
    let theirs_id = Response::to(made).await.ok()["webhook"]["id"].as_str().unwrap().to_owned();
    let contact = Uuid::new_v4();
    let id = app.upload_as(&app.first(), contact, "a.csv").await;
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    both.wait_for_deliveries(2).await;
    let slugs = |receiver: &Receiver| -> Vec<String> {
        receiver
            .deliveries()
            .iter()
            .map(|delivery| delivery.event["slug"].as_str().unwrap().to_owned())
            .collect()
    };
    created.wait_for_deliveries(1).await;
    deleted.wait_for_deliveries(1).await;
    assert_eq!(
        (slugs(&created), slugs(&deleted)),
        (vec!["created".into()], vec!["deleted".into()])
    );
    assert_eq!(theirs.deliveries().len(), 0);
    // Nobody sees another site's subscription.
    let path = format!("/dossier/v1/webhooks/{theirs_id}");
    assert_eq!(app.get(&path).await.rejection().0, 404);
    assert_eq!(app.delete(&path).await.rejection().0, 404);
    let list = app.get("/dossier/v1/webhooks").await.ok();
    assert_eq!(list["webhooks"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_repeated_or_rejected_upload_creates_no_second_event() {
    let (app, receiver, contact) =
        (TestApp::start_with_webhooks().await, Receiver::start(OK).await, Uuid::new_v4());
    let webhook = app.subscribe(&receiver).await;
    let url = app.upload_url(contact, "cv.pdf", "application/pdf").await;
    for _ in 0..20 {
        app.put(&url, PDF).await.ok();
    }
    assert_eq!(app.put(&url, b"%PDF-1.7\nother\n%%EOF\n").await.rejection().0, 409);
    let id = app.list_all(contact, "id").await.pop().unwrap();
    let path = format!("/contacts/v4/attachments/{contact}/{id}");
    app.delete(&path).await.ok();
    assert_eq!(app.delete(&path).await.rejection().0, 404);
    receiver.wait_for_deliveries(2).await;
    assert_eq!(app.wait_for_state(&webhook, "delivered", 1).await.len(), 2);
}

#[tokio::test]
async fn without_subscriptions_no_event_is_stored() {
    let (app, contact) = (TestApp::start_with_webhooks().await, Uuid::new_v4());
    let id = upload(&app, contact).await;
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    let stored = app.snapshot().await;
    let deliveries = |row: &&String| row.starts_with("events:") || row.starts_with("deliver");
    assert_eq!(stored.iter().find(deliveries), None);
    assert!(!app.data().join("webhook.keys").exists());
}

#[tokio::test]
async fn a_disabled_subscription_gets_nothing_until_it_is_enabled() {
    let (app, receiver) = (TestApp::start_with_webhooks().await, Receiver::start(OK).await);
    let webhook = app.subscribe(&receiver).await;
    let path = format!("/dossier/v1/webhooks/{webhook}");
    let patch = |body: Value| app.request(Method::PATCH, &path).json(&body);
    let off = Response::to(patch(json!({ "enabled": false }))).await.ok();
    assert_eq!(off["webhook"]["enabled"], false);
    upload(&app, Uuid::new_v4()).await;
    Response::to(patch(json!({ "enabled": true }))).await.ok();
    upload(&app, Uuid::new_v4()).await;
    receiver.wait_for_deliveries(1).await;
    assert_eq!(app.wait_for_state(&webhook, "delivered", 1).await.len(), 1);
}

#[tokio::test]
async fn a_removed_subscription_gets_nothing_more_and_its_rows_are_deleted() {
    let (app, receiver) =
        (TestApp::start_with_webhooks().await, Receiver::start(Reply::Close).await);
    let webhook = app.subscribe(&receiver).await;
    upload(&app, Uuid::new_v4()).await;
    app.wait_for_state(&webhook, "pending", 1).await;
    let path = format!("/dossier/v1/webhooks/{webhook}");
    assert_eq!(app.delete(&path).await.ok(), json!({}));
    assert_eq!(app.delete(&path).await.rejection(), (404, "NOT_FOUND".to_owned()));
    receiver.reply(OK);
    app.advance_and_wake(3_600);
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    let stored = app.snapshot().await;
    let kept = |row: &&String| row.starts_with("subscriptions:") || row.starts_with("deliver");
    assert_eq!(stored.iter().find(kept), None);
    assert_eq!(receiver.deliveries().len(), 1);
}

#[tokio::test]
async fn connections_are_reused_and_a_closed_one_causes_no_failure() {
    let (app, receiver) = (TestApp::start_with_webhooks().await, Receiver::start(OK).await);
    let webhook = app.subscribe(&receiver).await;
    for count in 1..=5 {
        upload(&app, Uuid::new_v4()).await;
        receiver.wait_for_deliveries(count).await;
        app.wait_for_state(&webhook, "delivered", 1).await;
    }
    assert_eq!(receiver.connections(), 1);
    // It responds and then closes the connection without announcing it.
    receiver.reply(Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    for count in 6..=10 {
        upload(&app, Uuid::new_v4()).await;
        receiver.wait_for_deliveries(count).await;
    }
    assert_eq!(app.wait_for_state(&webhook, "delivered", 1).await.len(), 10);
}
