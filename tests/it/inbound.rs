//! The vendor's signed contact webhooks are applied once, and nothing else is applied.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::PDF;
use crate::support::receiver::{OK, Receiver};
use crate::support::{Response, START_MS, TestApp, failure, printed};

const START_S: i64 = START_MS / 1_000;
const DELETED: &str = "wix.contacts.v4.contact_deleted";
const MERGED: &str = "wix.contacts.v4.contact_merged";

/// An app of the vendor, installed on a site.
struct Vendor {
    key: KeyPair,
    instance: Uuid,
}

impl Vendor {
    /// Creates a key and registers the installation for the first site, as another process would.
    fn of(app: &TestApp) -> Self {
        let vendor =
            Self { key: KeyPair::generate(KeySize::Rsa2048).unwrap(), instance: Uuid::new_v4() };
        let file = app.data().join("vendor.pem");
        std::fs::write(&file, vendor.pem()).unwrap();
        let (data, instance) = (app.data().to_str().unwrap(), vendor.instance.to_string());
        let (id, file) = (Uuid::new_v4().to_string(), file.to_str().unwrap());
        let site = app.site.to_string();
        let arguments = [
            ["inbound", "add", "--data", data],
            ["--site", &site, "--app", &id],
            ["--instance", &instance, "--public-key", file],
        ];
        assert!(printed(&arguments.concat()).contains(&instance));
        vendor
    }

    fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = self.key.public_key().as_der().unwrap();
        let lines = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            lines.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    fn sign(&self, head: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(head), encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        self.key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn claims(&self, event_type: &str, event: &Value) -> Value {
        let data = json!({
            "eventType": event_type, "instanceId": self.instance.to_string(),
            "data": event.to_string(),
            "identity": json!({ "identityType": "WIX_USER" }).to_string(),
        });
        json!({ "data": data.to_string(), "iat": START_S, "exp": START_S + 300_000 })
    }

    fn token(&self, event_type: &str, event: &Value) -> String {
        self.sign(&json!({ "alg": "RS256", "kid": "a" }), &self.claims(event_type, event))
    }
}

fn deleted(contact: Uuid, more: &Value) -> Value {
    let mut event = json!({
        "id": Uuid::new_v4().to_string(), "entityFqdn": "wix.contacts.v4.contact",
        "slug": "deleted", "entityId": contact.to_string(), "deletedEvent": {},
        "triggeredByAnonymizeRequest": false,
    });
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}

fn merged(target: Uuid, sources: &[Uuid]) -> Value {
    json!({
        "id": Uuid::new_v4().to_string(), "entityFqdn": "wix.contacts.v4.contact",
        "slug": "merged", "entityId": target.to_string(),
        "actionEvent": { "body": { "targetContactId": target, "sourceContactIds": sources } },
    })
}

impl TestApp {
    async fn deliver(&self, body: String) -> Response {
        let request = self.anonymous(Method::POST, "/dossier/v1/inbound/wix");
        Response::to(request.header("content-type", "text/plain").body(body)).await
    }

    async fn count(&self, contact: Uuid) -> u64 {
        self.list(contact).await.ok()["metadata"]["total"].as_u64().unwrap()
    }
}

#[tokio::test]
async fn deleting_a_contact_at_the_vendor_deletes_its_attachments() {
    let (app, receiver, contact) =
        (TestApp::start_with_webhooks().await, Receiver::start(OK).await, Uuid::new_v4());
    let vendor = Vendor::of(&app);
    app.subscribe_to(&receiver, &["attachment_deleted"]).await;
    app.upload_pdf(contact, "a.pdf").await;
    let url = app.upload_url(contact, "b.pdf", "application/pdf").await;
    let token = vendor.token(DELETED, &deleted(contact, &json!({})));
    assert_eq!(app.deliver(token.clone()).await.ok(), json!({ "applied": true }));
    assert_eq!(app.count(contact).await, 0);
    assert_eq!(app.put(&url, PDF).await.rejection().0, 404);
    let delivery = receiver.wait_for_deliveries(1).await.remove(0);
    assert_eq!(delivery.event["triggeredByAnonymizeRequest"], false);
    // A repeat after the contact is back deletes nothing.
    app.contact(Method::PUT, &format!("/{contact}"), &Value::Null).await.ok();
    app.upload_pdf(contact, "new.pdf").await;
    assert_eq!(app.deliver(token).await.ok(), json!({ "applied": false }));
    assert_eq!(app.count(contact).await, 1);
}

#[tokio::test]
async fn a_privacy_request_at_the_vendor_is_an_erasure() {
    let (app, receiver, contact) =
        (TestApp::start_with_webhooks().await, Receiver::start(OK).await, Uuid::new_v4());
    let vendor = Vendor::of(&app);
    app.subscribe_to(&receiver, &["attachment_deleted"]).await;
    app.upload_pdf(contact, "a.pdf").await;
    let event = deleted(contact, &json!({ "triggeredByAnonymizeRequest": true }));
    app.deliver(vendor.token(DELETED, &event)).await.ok();
    let delivery = receiver.wait_for_deliveries(1).await.remove(0);
    assert_eq!(delivery.event["triggeredByAnonymizeRequest"], true);
    let erase = app.contact(Method::POST, &format!("/{contact}/erase"), &Value::Null).await.ok();
    assert_eq!(erase["receipt"]["attachmentCount"], 1);
}

#[tokio::test]
async fn a_merge_at_the_vendor_moves_attachments_in_any_order_of_events() {
    let app = TestApp::start().await;
    let vendor = Vendor::of(&app);
    for deleted_first in [true, false] {
        let (target, source, unseen) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
        let (id, link) = app.upload_pdf(source, "a.pdf").await;
        let gone = deleted(source, &json!({ "originatedFrom": "merge" }));
        let gone = vendor.token(DELETED, &gone);
        let merge = vendor.token(MERGED, &merged(target, &[source, unseen]));
        let tokens = if deleted_first { [gone, merge] } else { [merge, gone] };
        for token in tokens {
            app.deliver(token).await.ok();
        }
        assert_eq!(app.list_all(target, "id").await, [id]);
        assert_eq!(app.count(source).await, 0);
        assert_eq!(app.open(&link).await.body, PDF);
        let body = json!({ "fileName": "a.pdf", "mimeType": "application/pdf" });
        assert_eq!(app.generate(unseen, &body).await.rejection().0, 404);
    }
}

#[tokio::test]
async fn forged_stale_and_foreign_events_change_nothing() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let vendor = Vendor::of(&app);
    app.upload_pdf(contact, "a.pdf").await;
    let claims = vendor.claims(DELETED, &deleted(contact, &json!({})));
    let good = vendor.sign(&json!({ "alg": "RS256" }), &claims);
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let parts: Vec<&str> = good.split('.').collect();
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        changed
    };
    let rs256 = json!({ "alg": "RS256" });
    let hs256 = {
        let signed = format!("{}.{}", encode(&json!({ "alg": "HS256" })), encode(&claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, vendor.pem().as_bytes());
        let tag = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let stranger =
        Vendor { key: KeyPair::generate(KeySize::Rsa2048).unwrap(), instance: vendor.instance };
    let elsewhere =
        Vendor { key: KeyPair::generate(KeySize::Rsa2048).unwrap(), instance: Uuid::new_v4() };
    let other = with("exp", json!(START_S + 299_999));
    let forged = [
        ("none", format!("{}.{}.", encode(&json!({ "alg": "none" })), encode(&claims))),
        ("HS256 with the public key", hs256),
        ("a foreign key", stranger.sign(&rs256, &claims)),
        ("other claims", format!("{}.{}.{}", parts[0], encode(&other), parts[2])),
        ("another head", vendor.sign(&json!({ "alg": "RS256", "crit": ["b64"] }), &claims)),
        ("another installation", elsewhere.token(DELETED, &deleted(contact, &json!({})))),
        ("expired", vendor.sign(&rs256, &with("exp", json!(START_S)))),
        ("old", vendor.sign(&rs256, &with("iat", json!(START_S - 345_600)))),
        ("of the future", vendor.sign(&rs256, &with("iat", json!(START_S + 301)))),
    ];
    for (case, token) in forged {
        let expected = (403, "PERMISSION_DENIED".to_owned());
        assert_eq!(app.deliver(token).await.rejection(), expected, "{case}");
    }
    let six: Vec<Uuid> = (0..6).map(|_| Uuid::new_v4()).collect();
    let malformed = [
        ("empty", String::new()),
        ("JSON", json!({}).to_string()),
        ("two parts", parts[..2].join(".")),
        ("no iat", vendor.sign(&rs256, &with("iat", json!(null)))),
        ("no text in it", vendor.sign(&rs256, &with("data", json!({})))),
        ("no event id", vendor.token(DELETED, &json!({ "entityId": contact }))),
        ("no contact", vendor.token(DELETED, &json!({ "id": contact }))),
        ("a merge into itself", vendor.token(MERGED, &merged(contact, &[contact]))),
        ("a merge of six", vendor.token(MERGED, &merged(contact, &six))),
        ("a merge of nothing", vendor.token(MERGED, &merged(contact, &[]))),
    ];
    for (case, token) in malformed {
        let expected = (400, "INVALID_ARGUMENT".to_owned());
        assert_eq!(app.deliver(token).await.rejection(), expected, "{case}");
    }
    assert_eq!(app.count(contact).await, 1);
    // Other events are ignored, but acknowledged so that they are not sent again.
    let unknown = vendor.token("wix.contacts.v4.contact_updated", &deleted(contact, &json!({})));
    assert_eq!(app.deliver(unknown).await.ok(), json!({ "applied": false }));
    assert_eq!(app.count(contact).await, 1);
    assert_eq!(app.deliver(good).await.ok(), json!({ "applied": true }));
    assert_eq!(app.count(contact).await, 0);
}

#[tokio::test]
async fn processed_events_are_remembered_as_long_as_they_could_be_replayed() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let vendor = Vendor::of(&app);
    let token = vendor.token(DELETED, &deleted(contact, &json!({})));
    app.deliver(token.clone()).await.ok();
    app.advance_seconds(299_999);
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    assert_eq!(app.deliver(token.clone()).await.ok(), json!({ "applied": false }));
    app.advance_seconds(1);
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    assert_eq!(app.deliver(token).await.rejection().0, 403);
    assert!(!app.snapshot().await.iter().any(|row| row.starts_with("inbound_events:")));
}

#[tokio::test]
async fn a_file_without_a_public_key_is_rejected() {
    let app = TestApp::start().await;
    let file = app.data().join("key.pem");
    std::fs::write(&file, "-----BEGIN RSA PUBLIC KEY-----\nAAAA\n").unwrap();
    let id = Uuid::new_v4().to_string();
    let (data, file) = (app.data().to_str().unwrap(), file.to_str().unwrap());
    let arguments = ["inbound", "add", "--data", data, "--app", &id, "--instance", &id];
    let error = failure(&[&arguments[..], &["--public-key", file]].concat());
    assert!(error.contains("contains no public key"), "{error}");
}

#[tokio::test]
async fn installations_are_listed_and_removed_only_by_their_own_site() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let vendor = Vendor::of(&app);
    let other = app.other_site().await;
    let (data, instance) = (app.data().to_str().unwrap(), vendor.instance.to_string());
    let (ours, theirs) = (app.site.to_string(), other.site.to_string());
    let list = |site: &str| -> Value {
        let words = ["inbound", "list", "--json", "--data", data, "--site", site];
        serde_json::from_str(&printed(&words)).unwrap()
    };
    let listed = list(&ours);
    assert_eq!(listed["installations"][0]["instanceId"], instance);
    assert_eq!(listed["installations"][0]["siteId"], ours);
    assert_eq!(list(&theirs)["installations"], json!([]));
    let text = printed(&["inbound", "list", "--data", data, "--site", &ours]);
    assert!(text.starts_with("INSTANCE ") && text.contains(&instance), "{text}");
    let remove = |site| ["inbound", "remove", &instance, "--data", data, "--site", site];
    let error = failure(&remove(&theirs));
    assert!(error.contains("there is no installation"), "{error}");
    let token = || vendor.token(DELETED, &deleted(contact, &json!({})));
    app.deliver(token()).await.ok();
    let message = printed(&remove(&ours));
    assert!(message.ends_with("are no longer accepted"), "{message}");
    assert_eq!(app.deliver(token()).await.rejection(), (403, "PERMISSION_DENIED".to_owned()));
    assert_eq!(list(&ours)["installations"], json!([]));
    failure(&remove(&ours));
}

#[tokio::test]
async fn an_installation_affects_only_its_own_sites_contacts() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let vendor = Vendor::of(&app);
    let other = app.other_site().await;
    app.upload_as(&other, contact, "theirs.csv").await;
    app.upload_pdf(contact, "ours.pdf").await;
    app.deliver(vendor.token(DELETED, &deleted(contact, &json!({})))).await.ok();
    assert_eq!(app.count(contact).await, 0);
    let path = format!("/contacts/v4/attachments/{contact}");
    let list = Response::to(app.request_as(&other, Method::GET, &path)).await.ok();
    assert_eq!(list["metadata"]["total"], 1);
}
