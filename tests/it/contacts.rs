//! Contacts are announced, listed, deleted and merged, with the effect on their attachments.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::PDF;
use crate::support::receiver::{OK, Receiver};
use crate::support::{Response, TestApp};

impl TestApp {
    /// A request about contacts, without a body if it is null.
    pub(crate) async fn contact(&self, method: Method, path: &str, body: &Value) -> Response {
        let request = self.request(method, &format!("/dossier/v1/contacts{path}"));
        Response::to(if body.is_null() { request } else { request.json(body) }).await
    }

    /// Uploads a file and returns its id and link.
    pub(crate) async fn upload_pdf(&self, contact: Uuid, name: &str) -> (String, String) {
        self.upload(contact, name, "application/pdf", PDF).await.ok();
        let list = self.list(contact).await.ok();
        let last = list["attachments"].as_array().unwrap().last().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&last["id"]), text(&last["document"]["url"]))
    }

    async fn merge(&self, target: Uuid, sources: &[Uuid]) -> Response {
        let body = json!({ "sourceContactIds": sources });
        self.contact(Method::POST, &format!("/{target}/merge"), &body).await
    }
}

const NO_BODY: &Value = &Value::Null;

#[tokio::test]
async fn a_contact_is_announced_listed_and_shown() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let path = format!("/{contact}");
    assert_eq!(app.contact(Method::GET, &path, NO_BODY).await.rejection().1, "NOT_FOUND");
    let body = json!({ "label": "Anna" });
    let announced = app.contact(Method::PUT, &path, &body).await.ok();
    assert_eq!(
        announced["contact"],
        json!({
            "id": contact.to_string(), "state": "ACTIVE", "label": "Anna",
            "announcedDate": "2027-01-15T08:00:00.000Z", "attachmentCount": 0, "totalBytes": "0",
            "lastActivityAt": "2027-01-15T08:00:00.000Z",
        })
    );
    app.advance_seconds(60);
    // Repeating it changes nothing and keeps an omitted label.
    assert_eq!(app.contact(Method::PUT, &path, NO_BODY).await.ok(), announced);
    app.upload_pdf(contact, "a.pdf").await;
    let shown = app.contact(Method::GET, &path, NO_BODY).await.ok()["contact"].clone();
    assert_eq!(shown["attachmentCount"], 1);
    assert_eq!(shown["totalBytes"], PDF.len().to_string());
    assert_eq!(shown["lastActivityAt"], "2027-01-15T08:01:00.000Z");
    let mut listed = shown;
    listed["contactId"] = json!(contact.to_string());
    assert_eq!(app.contact(Method::GET, "", NO_BODY).await.ok()["contacts"], json!([listed]));
}

#[tokio::test]
async fn contacts_are_paged_and_isolated_by_site() {
    let app = TestApp::start().await;
    for _ in 0..5 {
        app.contact(Method::PUT, &format!("/{}", Uuid::new_v4()), NO_BODY).await.ok();
    }
    let ids = |page: &Value| -> Vec<String> {
        let found = page["contacts"].as_array().unwrap().iter();
        found.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = ids(&app.contact(Method::GET, "", NO_BODY).await.ok());
    let first = ids(&app.contact(Method::GET, "?limit=3", NO_BODY).await.ok());
    let path = format!("?limit=3&after={}", first[2]);
    let second = ids(&app.contact(Method::GET, &path, NO_BODY).await.ok());
    assert_eq!((all.len(), [first, second].concat()), (5, all.clone()));
    let other = app.other_site().await;
    let theirs = app.request_as(&other, Method::GET, "/dossier/v1/contacts");
    assert_eq!(Response::to(theirs).await.ok()["contacts"], json!([]));
    for (method, end) in [(Method::GET, ""), (Method::GET, "/nothing")] {
        let path = format!("/dossier/v1/contacts/{}{end}", all[0]);
        let response = Response::to(app.request_as(&other, method, &path)).await;
        assert_eq!(response.rejection(), (404, "NOT_FOUND".to_owned()));
    }
}

#[tokio::test]
async fn contact_requests_need_their_scope() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let viewer = app.other_key("VIEW").await;
    let modifier = app.other_key("MODIFY").await;
    for (who, method, path) in [
        (&viewer, Method::PUT, format!("/{contact}")),
        (&viewer, Method::DELETE, format!("/{contact}")),
        (&viewer, Method::POST, format!("/{contact}/merge")),
        (&viewer, Method::POST, format!("/{contact}/erase")),
        (&viewer, Method::POST, format!("/{contact}/restore")),
        (&viewer, Method::POST, format!("/{contact}/attachments/{contact}/restore")),
        (&modifier, Method::GET, String::new()),
        (&modifier, Method::GET, format!("/{contact}")),
        (&modifier, Method::GET, format!("/{contact}/trash")),
    ] {
        let path = format!("/dossier/v1/contacts{path}");
        let response = Response::to(app.request_as(who, method, &path)).await;
        assert_eq!(response.rejection(), (403, "PERMISSION_DENIED".to_owned()), "{path}");
        assert_eq!(Response::to(app.anonymous(Method::GET, &path)).await.status.as_u16() / 100, 4);
    }
    assert_eq!(app.snapshot().await.iter().filter(|row| row.starts_with("contacts:")).count(), 0);
}

#[tokio::test]
async fn deleting_a_contact_deletes_its_attachments() {
    let (app, receiver) = (TestApp::start_with_webhooks().await, Receiver::start(OK).await);
    app.subscribe_to(&receiver, &["attachment_deleted"]).await;
    let (contact, other) = (Uuid::new_v4(), Uuid::new_v4());
    let mut files = Vec::new();
    for number in 0..3 {
        files.push(app.upload_pdf(contact, &format!("{number}.pdf")).await);
    }
    let (_, kept) = app.upload_pdf(other, "kept.pdf").await;
    let url = app.upload_url(contact, "late.pdf", "application/pdf").await;
    assert_eq!(app.contact(Method::DELETE, &format!("/{contact}"), NO_BODY).await.ok(), json!({}));
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
    for (id, link) in &files {
        let path = format!("/contacts/v4/attachments/{contact}/{id}");
        assert_eq!(app.get(&path).await.rejection(), (404, "NOT_FOUND".to_owned()));
        assert_eq!(app.open(link).await.status, 404);
    }
    assert_eq!(app.open(&kept).await.body, PDF);
    // Neither an old upload URL nor a new one works.
    assert_eq!(app.put(&url, PDF).await.rejection(), (404, "NOT_FOUND".to_owned()));
    let body = json!({ "fileName": "a.pdf", "mimeType": "application/pdf" });
    assert_eq!(app.generate(contact, &body).await.rejection(), (404, "NOT_FOUND".to_owned()));
    for (method, end) in [(Method::GET, ""), (Method::DELETE, ""), (Method::POST, "/restore")] {
        let response = app.contact(method, &format!("/{contact}{end}"), NO_BODY).await;
        assert_eq!(response.rejection(), (404, "NOT_FOUND".to_owned()));
    }
    let mut ids_received: Vec<String> = Vec::new();
    for one in receiver.wait_for_deliveries(3).await {
        assert_eq!(one.event["triggeredByAnonymizeRequest"], false);
        assert_eq!(one.event["contactId"], contact.to_string());
        ids_received.push(one.event["entityId"].as_str().unwrap().to_owned());
    }
    ids_received.sort();
    let mut ids: Vec<String> = files.into_iter().map(|(id, _)| id).collect();
    ids.sort();
    assert_eq!(ids_received, ids);
    let usage = app.app().db.site_usage().await.unwrap();
    assert_eq!(usage.values().next().unwrap().files, 1);
    app.advance_seconds(61);
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    assert_eq!(app.blob_files().len(), 1);
    // Announced again, the contact starts afresh.
    app.contact(Method::PUT, &format!("/{contact}"), NO_BODY).await.ok();
    app.upload_pdf(contact, "new.pdf").await;
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 1);
}

#[tokio::test]
async fn a_merge_moves_attachments_and_keeps_ids_and_order() {
    let (app, receiver) = (TestApp::start_with_webhooks().await, Receiver::start(OK).await);
    let webhook = app.subscribe(&receiver).await;
    let (target, one, two) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let (mut ids, mut links) = (Vec::new(), Vec::new());
    for (number, contact) in [one, target, two, one, target].into_iter().enumerate() {
        app.advance_seconds(1);
        let (id, link) = app.upload_pdf(contact, &format!("{number}.pdf")).await;
        ids.push(id);
        links.push((contact, link));
    }
    // So that pages of all three are cached.
    let before = app.list(target).await.header("etag").to_owned();
    assert_eq!(app.list(one).await.ok()["metadata"]["total"], 2);
    let merged = app.merge(target, &[one, two]).await.ok();
    assert_eq!(merged["movedAttachments"], 3);
    assert_eq!(merged["contact"]["attachmentCount"], 5);
    assert_eq!(merged["contact"]["totalBytes"], (5 * PDF.len()).to_string());
    assert_eq!(app.list_all(target, "id").await, ids);
    assert_ne!(app.list(target).await.header("etag"), before);
    for source in [one, two] {
        assert_eq!(app.list(source).await.ok()["metadata"]["total"], 0);
        let path = format!("/contacts/v4/attachments/{source}/{}", ids[0]);
        assert_eq!(app.get(&path).await.rejection().0, 404);
        assert_eq!(app.delete(&path).await.rejection().0, 404);
        let shown = app.contact(Method::GET, &format!("/{source}"), NO_BODY).await;
        assert_eq!(shown.rejection().0, 404);
        let again = app.contact(Method::PUT, &format!("/{source}"), NO_BODY).await;
        assert_eq!(again.rejection(), (409, "CONTACT_GONE".to_owned()));
    }
    for (_, link) in links {
        assert_eq!(app.open(&link).await.body, PDF);
    }
    // The next upload still sorts last, and a merge publishes no event.
    app.upload_pdf(target, "last.pdf").await;
    assert_eq!(app.list_all(target, "id").await[..5], ids[..]);
    receiver.wait_for_deliveries(6).await;
    assert_eq!(app.wait_for_state(&webhook, "delivered", 1).await.len(), 6);
    assert!(receiver.deliveries().iter().all(|delivery| delivery.event["slug"] == "created"));
    assert_eq!(app.inspect(|rows| rows.drift().unwrap().len()), 0);
    // The target merged into yet another contact.
    let last = Uuid::new_v4();
    assert_eq!(app.merge(last, &[target]).await.ok()["movedAttachments"], 6);
    assert_eq!(app.list_all(last, "id").await[..5], ids[..]);
}

#[tokio::test]
async fn invalid_merges_are_rejected_and_change_nothing() {
    let (app, target, source) = (TestApp::start().await, Uuid::new_v4(), Uuid::new_v4());
    app.upload_pdf(target, "a.pdf").await;
    app.upload_pdf(source, "b.pdf").await;
    let six: Vec<Uuid> = (0..6).map(|_| Uuid::new_v4()).collect();
    let before = app.snapshot().await;
    let path = format!("/{target}/merge");
    for (sources, rule) in [
        (json!(null), "REQUIRED_FIELD"),
        (json!([]), "REQUIRED_FIELD"),
        (json!("x"), "FORMAT"),
        (json!(["x"]), "FORMAT"),
        (json!([1]), "FORMAT"),
        (json!(six), "MAX"),
        (json!([target]), "OTHER"),
        (json!([source, source]), "OTHER"),
    ] {
        let body = json!({ "sourceContactIds": sources });
        let response = app.contact(Method::POST, &path, &body).await;
        let expected = [("sourceContactIds".to_owned(), rule.to_owned())];
        assert_eq!(response.violations(), expected, "{body}");
    }
    for sources in [vec![Uuid::new_v4()], vec![source, Uuid::new_v4()]] {
        assert_eq!(app.merge(target, &sources).await.rejection(), (404, "NOT_FOUND".to_owned()));
    }
    for (path, field) in [("/nonsense/merge", "contactId"), ("/nonsense", "contactId")] {
        let method = if path.ends_with("merge") { Method::POST } else { Method::DELETE };
        let response = app.contact(method, path, &json!({})).await;
        assert_eq!(response.violations(), [(field.to_owned(), "FORMAT".to_owned())]);
    }
    let long = json!({ "label": "x".repeat(201) });
    let response = app.contact(Method::PUT, &format!("/{target}"), &long).await;
    assert_eq!(response.violations(), [("label".to_owned(), "MAX_LENGTH".to_owned())]);
    for query in ["?limit=0", "?limit=1001", "?limit=x"] {
        let response = app.contact(Method::GET, query, NO_BODY).await;
        assert_eq!(response.violations(), [("limit".to_owned(), "MAX".to_owned())]);
    }
    assert_eq!(app.snapshot().await, before);
}

#[tokio::test]
async fn with_registered_contacts_others_are_unknown() {
    let app = TestApp::start_with(&[("contacts_policy", "registered")]).await;
    let contact = Uuid::new_v4();
    let body = json!({ "fileName": "a.pdf", "mimeType": "application/pdf" });
    assert_eq!(app.generate(contact, &body).await.rejection(), (404, "NOT_FOUND".to_owned()));
    let path = format!("/{contact}");
    assert_eq!(app.contact(Method::DELETE, &path, NO_BODY).await.rejection().0, 404);
    let erase = format!("/{contact}/erase");
    assert_eq!(app.contact(Method::POST, &erase, NO_BODY).await.rejection().0, 404);
    assert_eq!(app.merge(contact, &[Uuid::new_v4()]).await.rejection().0, 404);
    assert_eq!(app.list(contact).await.ok()["metadata"]["total"], 0);
    app.contact(Method::PUT, &path, NO_BODY).await.ok();
    app.upload_pdf(contact, "a.pdf").await;
    let url = app.upload_url(contact, "b.pdf", "application/pdf").await;
    let (_, upload) = app.tus_begin(contact, 100).await;
    app.contact(Method::DELETE, &path, NO_BODY).await.ok();
    assert_eq!(app.put(&url, PDF).await.rejection(), (404, "NOT_FOUND".to_owned()));
    assert_eq!(
        app.tus_patch(&upload, 0, b"%PDF").await.rejection(),
        (410, "UPLOAD_GONE".to_owned())
    );
    dossier::actions::sweep::sweep(app.app()).await.unwrap();
    app.wait_until_staging_is_empty().await;
}

#[tokio::test]
async fn deleting_an_unknown_contact_invalidates_its_upload_urls() {
    let (app, contact) = (TestApp::start().await, Uuid::new_v4());
    let url = app.upload_url(contact, "b.pdf", "application/pdf").await;
    app.contact(Method::DELETE, &format!("/{contact}"), NO_BODY).await.ok();
    assert_eq!(app.put(&url, PDF).await.rejection(), (404, "NOT_FOUND".to_owned()));
    app.wait_until_store_is_empty().await;
}
