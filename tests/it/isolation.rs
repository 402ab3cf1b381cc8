//! No site reaches another's data, no contact another's (S16), and a rejected call changes nothing
//! (S40).

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Member, Response, TestApp};

const CSV: &[u8] = b"a,b\n1,2\n";

/// Two sites that know the same contact, each with one file of it.
struct Sites {
    app: TestApp,
    ours: Member,
    theirs: Member,
    contact: Uuid,
    our_file: String,
    their_file: String,
}

async fn two_sites() -> Sites {
    let app = TestApp::start().await;
    let (ours, theirs, contact) = (app.first(), app.other_site().await, Uuid::new_v4());
    let our_file = app.upload_as(&ours, contact, "ours.csv").await;
    let their_file = app.upload_as(&theirs, contact, "theirs.csv").await;
    Sites { app, ours, theirs, contact, our_file, their_file }
}

impl Sites {
    async fn list_as(&self, who: &Member) -> Value {
        let path = format!("/contacts/v4/attachments/{}", self.contact);
        Response::to(self.app.request_as(who, Method::GET, &path)).await.ok()
    }
}

fn document_url(list: &Value) -> String {
    list["attachments"][0]["document"]["url"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn invisible_attachments_get_the_same_response_as_missing_ones() {
    let sites = two_sites().await;
    let (app, contact) = (&sites.app, sites.contact);
    let (unknown, other_contact) = (Uuid::new_v4(), Uuid::new_v4());
    let of_other_contact = app.upload_as(&sites.ours, other_contact, "b.csv").await;
    let deleted = app.upload_as(&sites.ours, contact, "deleted.csv").await;
    let path = format!("/contacts/v4/attachments/{contact}/{deleted}");
    app.delete(&path).await.ok();
    let before = app.snapshot().await;
    let mut bodies = Vec::new();
    for prefix in ["/contacts/v4/attachments", "/_api/contacts/v4/attachments"] {
        for method in [Method::GET, Method::DELETE] {
            for (case, contact, id) in [
                ("of another site", contact, &sites.their_file),
                ("of another contact", contact, &of_other_contact),
                ("unknown contact", unknown, &sites.our_file),
                ("unknown", contact, &unknown.to_string()),
                ("deleted", contact, &deleted),
                ("the contact as its own attachment", contact, &contact.to_string()),
            ] {
                let path = format!("{prefix}/{contact}/{id}");
                let response =
                    Response::to(app.request_as(&sites.ours, method.clone(), &path)).await;
                assert_eq!(response.status, StatusCode::NOT_FOUND, "{method} {case}");
                let mut json = response.json();
                let data = json["details"]["applicationError"]["data"].take();
                let expected = json!({ "contactId": contact.to_string(), "attachmentId": id });
                assert_eq!(data, expected, "{method} {case}");
                let mut headers: Vec<String> =
                    response.headers.keys().map(ToString::to_string).collect();
                headers.sort();
                bodies.push((json, headers));
            }
        }
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:#?}");
    assert_eq!(app.snapshot().await, before);
}

#[tokio::test]
async fn a_list_shows_only_the_callers_own_site() {
    let sites = two_sites().await;
    for (who, file) in [(&sites.ours, &sites.our_file), (&sites.theirs, &sites.their_file)] {
        // Twice, because the second comes from the page cache.
        for _ in 0..2 {
            let list = sites.list_as(who).await;
            assert_eq!(list["metadata"]["total"], 1);
            assert_eq!(list["attachments"][0]["id"], **file);
        }
    }
}

#[tokio::test]
async fn a_key_with_another_sites_id_is_rejected_and_changes_nothing() {
    let sites = two_sites().await;
    let (app, contact) = (&sites.app, sites.contact);
    let before = app.snapshot().await;
    let mixed = Member { site: sites.theirs.site, ..app.first() };
    let path = format!("/contacts/v4/attachments/{contact}");
    let generate = json!({ "fileName": "a.csv", "mimeType": "text/csv" });
    for request in [
        app.request_as(&mixed, Method::GET, &path),
        app.request_as(&mixed, Method::GET, &format!("{path}/{}", sites.their_file)),
        app.request_as(&mixed, Method::DELETE, &format!("{path}/{}", sites.their_file)),
        app.request_as(&mixed, Method::POST, &format!("{path}/upload-url")).json(&generate),
        app.request_as(&mixed, Method::GET, "/contacts/v4/attachments")
            .json(&json!({ "contactId": contact.to_string() })),
    ] {
        let response = Response::to(request).await;
        assert_eq!(response.rejection(), (403, "PERMISSION_DENIED".to_owned()));
    }
    assert_eq!(app.snapshot().await, before);
}

#[tokio::test]
async fn an_upload_goes_where_its_url_was_issued_for_whoever_sends_it() {
    let sites = two_sites().await;
    let (app, contact) = (&sites.app, sites.contact);
    let url = app.upload_url(contact, "new.csv", "text/csv").await;
    let put = app
        .client()
        .put(&url)
        .header("authorization", &sites.theirs.key)
        .header("wix-site-id", sites.theirs.site.to_string())
        .query(&[("contactId", Uuid::new_v4().to_string())])
        .query(&[("siteId", sites.theirs.site.to_string())])
        .body(CSV);
    Response::to(put).await.ok();
    assert_eq!(sites.list_as(&sites.ours).await["metadata"]["total"], 2);
    assert_eq!(sites.list_as(&sites.theirs).await["metadata"]["total"], 1);
}

#[tokio::test]
async fn a_link_opens_its_own_file_and_no_other() {
    let sites = two_sites().await;
    let app = &sites.app;
    let (ours, theirs) = (sites.list_as(&sites.ours).await, sites.list_as(&sites.theirs).await);
    let (ours, theirs) = (document_url(&ours), document_url(&theirs));
    assert_eq!(app.open(&ours).await.body, CSV);
    let (our_address, our_token) = ours.split_once("?token=").unwrap();
    let (their_address, their_token) = theirs.split_once("?token=").unwrap();
    let before = app.snapshot().await;
    // Media ids consist of a site's prefix, an attachment's id and an extension.
    let (our_start, our_id) = our_address.rsplit_once('_').unwrap();
    let (their_start, their_id) = their_address.rsplit_once('_').unwrap();
    for address in [
        their_address.to_owned(),
        format!("{our_start}_{their_id}"),
        format!("{their_start}_{our_id}"),
    ] {
        let response = app.open(&format!("{address}?token={our_token}")).await;
        assert_eq!(response.rejection(), (403, "INVALID_LINK".to_owned()), "{address}");
    }
    for token in ["", "x", &our_token[1..], &their_token.to_lowercase()] {
        let response = app.open(&format!("{their_address}?token={token}")).await;
        assert_eq!(response.rejection(), (403, "INVALID_LINK".to_owned()), "{token}");
    }
    assert_eq!(app.snapshot().await, before);
}

#[tokio::test]
async fn rejected_uploads_leave_nothing_behind() {
    let sites = two_sites().await;
    let app = &sites.app;
    let before = app.snapshot().await;
    let url = app.upload_url(sites.contact, "new.csv", "text/csv").await;
    let upload = url.rsplit_once('/').unwrap();
    let forged = format!("{}/{}", upload.0, "A".repeat(upload.1.len()));
    assert_eq!(app.put(&forged, CSV).await.rejection().0, 403);
    assert_eq!(app.put(&url, b"").await.rejection().0, 400);
    assert_eq!(app.put(&url, b"\x89PNG\r\n\x1a\n").await.rejection().0, 400);
    assert_eq!(app.snapshot().await, before);
}
