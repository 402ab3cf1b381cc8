//! Every route of the router, requested for things that the caller may not see: of another site, of
//! another contact, unknown, in the trash, or deleted (S16). The route list comes from the router,
//! so a new route without a case fails here.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use dossier::http::{Route, known_routes};

use crate::support::files::{eventually, jpeg, quarters, transformed};
use crate::support::receiver::{OK, Receiver};
use crate::support::{Member, Response, TestApp, database};

/// Routes with signed URLs, tested below, in `isolation.rs` and in the upload tests.
const SIGNED: [&str; 3] = ["/upload/", "/media/", "/ugd/"];
/// Routes without an id in their path, and routes outside any site.
const NAMELESS: [&str; 15] = [
    "/contacts/v4/attachments",
    "/contacts/v4/attachments/",
    "/_api/contacts/v4/attachments",
    "/_api/contacts/v4/attachments/",
    "/dossier/v1/health",
    "/dossier/v1/openapi.json",
    "/dossier/v1/contacts",
    "/dossier/v1/usage",
    "/dossier/v1/whoami",
    "/dossier/v1/keys",
    "/dossier/v1/requests",
    "/dossier/v1/operations",
    "/dossier/v1/webhooks",
    "/dossier/v1/webhooks/public-key",
    // Its token identifies a site: see `inbound.rs`.
    "/dossier/v1/inbound/wix",
];

/// The page's static files and its session, tested in `sessions.rs`.
const PAGE: [&str; 3] = ["/", "/page/{version}/{*file}", "/dossier/v1/session"];
/// Keys of other sites look like unknown ones: see `keys.rs`.
const KEY: &str = "/dossier/v1/keys/{key}";

/// The things of one site.
struct Things {
    member: Member,
    contact: Uuid,
    /// Its only visible file.
    file: String,
    /// A file in its trash.
    trashed: String,
    /// A file deleted before there was a trash.
    deleted: String,
    webhook: String,
    receipt: String,
}

impl Things {
    async fn of(app: &TestApp, member: Member, receiver: &Receiver, shared: Uuid) -> Self {
        let contact = Uuid::new_v4();
        let send = async |method: Method, path: &str, body: Value| {
            let request = app.request_as(&member, method, path);
            Response::to(if body.is_null() { request } else { request.json(&body) }).await.ok()
        };
        let gone = Uuid::new_v4();
        for contact in [contact, shared, gone] {
            let path = format!("/dossier/v1/contacts/{contact}");
            send(Method::PUT, &path, json!({ "label": "Vera Lind" })).await;
        }
        let file = app.upload_as(&member, contact, "kept.csv").await;
        app.upload_as(&member, shared, "shared.csv").await;
        let mut away = Vec::new();
        for name in ["trashed.csv", "purged.csv"] {
            let id = app.upload_as(&member, contact, name).await;
            let path = format!("/contacts/v4/attachments/{contact}/{id}");
            send(Method::DELETE, &path, Value::Null).await;
            away.push(id);
        }
        let [trashed, deleted] = away.try_into().unwrap();
        let body = json!({ "url": receiver.url() });
        let webhook = send(Method::POST, "/dossier/v1/webhooks", body).await;
        let erase = format!("/dossier/v1/contacts/{gone}/erase");
        let receipt = send(Method::POST, &erase, Value::Null).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            contact,
            file,
            trashed,
            deleted,
            webhook: text(&webhook["webhook"]["id"]),
            receipt: text(&receipt["receipt"]["receiptId"]),
            member,
        }
    }
}

/// The value for each parameter of a path.
type Named<'a> = [(&'a str, String); 5];

/// A path with its parameters filled in; panics on an unknown parameter.
fn filled(route: &Route, named: &Named<'_>) -> String {
    let path = named.iter().fold(route.path.clone(), |path, (name, value)| {
        path.replace(&format!("{{{name}}}"), value)
    });
    assert!(!path.contains('{'), "a parameter of {} has no case: add one", route.path);
    path
}

/// A body that the route would accept if the path were valid.
fn body(route: &Route, source: Uuid) -> Option<Value> {
    let end = route.path.rsplit('/').next().unwrap();
    match (route.method, end) {
        ("POST", "merge") => Some(json!({ "sourceContactIds": [source] })),
        ("POST", "upload-url") => Some(json!({ "fileName": "a.csv", "mimeType": "text/csv" })),
        ("POST", "upload-urls") => {
            Some(json!({ "files": [{ "fileName": "a.csv", "mimeType": "text/csv" }] }))
        }
        ("POST", "bulk-delete") => Some(json!({ "attachmentIds": [source] })),
        ("POST", "replay") => Some(json!({ "since": "2020-01-01T00:00:00Z" })),
        ("PATCH", _) => Some(json!({ "enabled": false })),
        _ => None,
    }
}

/// Routes that treat an unknown contact like one without files.
fn answers_empty(route: &Route) -> bool {
    let list = route.method == "GET" && route.path.ends_with("/contacts/v4/attachments/{contact}");
    let own = [
        ("GET", "/dossier/v1/contacts/{contact}/trash"),
        ("GET", "/dossier/v1/contacts/{contact}/attachments"),
        ("POST", "/dossier/v1/contacts/{contact}/attachments/bulk-delete"),
    ];
    list || own.contains(&(route.method, &*route.path))
}

/// A response without the requested ids and without parts that depend on time.
fn comparable(response: &Response, named: &Named<'_>) -> (u16, String, Vec<String>) {
    let mut text = String::from_utf8(response.body.clone()).unwrap();
    for (name, value) in named {
        text = text.replace(value, name);
    }
    let mut headers: Vec<String> = response.headers.keys().map(ToString::to_string).collect();
    headers.sort();
    (response.status.as_u16(), text, headers)
}

fn named(
    site: Uuid,
    contact: Uuid,
    attachment: &str,
    webhook: &str,
    receipt: &str,
) -> Named<'static> {
    [
        ("site", site.to_string()),
        ("contact", contact.to_string()),
        ("attachment", attachment.to_owned()),
        ("webhook", webhook.to_owned()),
        ("receipt", receipt.to_owned()),
    ]
}

/// What `ours` must not see.
fn invisible(ours: &Things, theirs: &Things) -> Vec<(&'static str, Named<'static>)> {
    let (site, contact) = (ours.member.site, ours.contact);
    let at = |contact, attachment: &str| {
        named(site, contact, attachment, &theirs.webhook, &theirs.receipt)
    };
    let their_site = theirs.member.site;
    vec![
        ("all of another site", at(theirs.contact, &theirs.file)),
        (
            "under the other site's id",
            named(their_site, theirs.contact, &theirs.file, &theirs.webhook, &theirs.receipt),
        ),
        ("in the other site's trash", at(theirs.contact, &theirs.trashed)),
        ("of another contact", at(theirs.contact, &ours.file)),
        ("of another contact, in the trash", at(theirs.contact, &ours.trashed)),
        ("deleted", at(theirs.contact, &ours.deleted)),
        (
            "of other kinds",
            named(site, theirs.member.site, &contact.to_string(), &ours.receipt, &ours.webhook),
        ),
    ]
}

/// The same for routes with a contact and an attachment, where the contact is the caller's own.
fn invisible_here(ours: &Things, theirs: &Things, route: &Route) -> Vec<(&'static str, String)> {
    let mut cases = vec![
        ("of another site", theirs.file.clone()),
        ("in the other site's trash", theirs.trashed.clone()),
        ("deleted", ours.deleted.clone()),
    ];
    // An attachment outside the trash cannot be restored; one in the trash cannot be reached
    // otherwise.
    cases.push(if route.path.ends_with("/restore") {
        ("that is there", ours.file.clone())
    } else {
        ("in the trash", ours.trashed.clone())
    });
    cases
}

struct Sites {
    app: TestApp,
    ours: Things,
    theirs: Things,
    // Known to both sites, each with its own file.
    shared: Uuid,
    _receiver: Receiver,
}

async fn two_sites() -> Sites {
    let receiver = Receiver::start(OK).await;
    let settings = [
        ("trash_days", "30"),
        ("contacts_policy", "registered"),
        ("webhook_allow_private", "true"),
    ];
    let app = TestApp::start_with(&settings).await;
    let (shared, other) = (Uuid::new_v4(), app.other_site().await);
    let ours = Things::of(&app, app.first(), &receiver, shared).await;
    let theirs = Things::of(&app, other, &receiver, shared).await;
    // Emptying the trash deletes for good.
    for things in [&ours, &theirs] {
        let id = database::id_literal(app.data(), things.deleted.parse().unwrap());
        let gone = "UPDATE trashed_attachments SET purge_at_ms = 0 WHERE attachment_id";
        database::change(app.data(), &format!("{gone} = {id}"));
    }
    // The stored state changes until all events are delivered and all bytes erased.
    for things in [&ours, &theirs] {
        let pending = format!("/dossier/v1/webhooks/{}/deliveries?state=pending", things.webhook);
        let receipt = format!("/dossier/v1/receipts/{}", things.receipt);
        let send = async |path: &str| {
            Response::to(app.request_as(&things.member, Method::GET, path)).await.ok()
        };
        eventually("all background work is done", async || {
            dossier::actions::sweep::sweep(app.app()).await.unwrap();
            dossier::actions::contacts::continue_unfinished(app.app()).await.unwrap();
            send(&pending).await["deliveries"] == json!([])
                && !send(&receipt).await["receipt"]["completedDate"].is_null()
        })
        .await;
    }
    Sites { app, ours, theirs, shared, _receiver: receiver }
}

impl Sites {
    async fn send(&self, route: &Route, path: &str) -> Response {
        let method = Method::from_bytes(route.method.as_bytes()).unwrap();
        let request = self.app.request_as(&self.ours.member, method, path);
        Response::to(match body(route, self.shared) {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }
}

/// Routes that name something within a site.
fn naming() -> Vec<Route> {
    let routes = known_routes().into_iter();
    let naming = routes.filter(|route| {
        !NAMELESS.contains(&&*route.path)
            && !PAGE.contains(&&*route.path)
            && route.path != KEY
            && !SIGNED.iter().any(|started| route.path.starts_with(started))
    });
    naming.collect()
}

#[tokio::test]
async fn s16_no_route_reveals_what_the_caller_may_not_see() {
    let sites = two_sites().await;
    let (app, ours, theirs) = (&sites.app, &sites.ours, &sites.theirs);
    let before = app.snapshot().await;
    for route in naming() {
        // Announcing a contact creates it for the caller's site, whoever else has it: see below.
        if (route.method, &*route.path) == ("PUT", "/dossier/v1/contacts/{contact}") {
            continue;
        }
        let random = || Uuid::new_v4().to_string();
        let unknown = named(ours.member.site, Uuid::new_v4(), &random(), &random(), &random());
        let response = sites.send(&route, &filled(&route, &unknown)).await;
        let expected = comparable(&response, &unknown);
        assert_eq!(expected.0, if answers_empty(&route) { 200 } else { 404 }, "{route:?}");
        let mut cases = invisible(ours, theirs);
        if route.path.contains("{contact}") && route.path.contains("{attachment}") {
            cases.extend(invisible_here(ours, theirs, &route).into_iter().map(|(case, id)| {
                (case, named(ours.member.site, ours.contact, &id, &random(), &random()))
            }));
        }
        // This route names no contact, so the owner of the file does not matter.
        if route.path.contains("{site}") {
            cases.retain(|(case, _)| *case != "of another contact");
        }
        for (case, named) in cases {
            let response = sites.send(&route, &filled(&route, &named)).await;
            assert_eq!(comparable(&response, &named), expected, "{route:?} {case}");
        }
    }
    assert_eq!(app.snapshot().await, before);
}

#[tokio::test]
async fn s16_lists_and_announcements_stay_within_the_callers_site() {
    let sites = two_sites().await;
    let (app, ours, theirs) = (&sites.app, &sites.ours, &sites.theirs);
    let theirs_alone =
        [&theirs.contact.to_string(), &theirs.file, &theirs.trashed, &theirs.webhook];
    for route in known_routes() {
        if route.method != "GET" || !NAMELESS.contains(&&*route.path) {
            continue;
        }
        let path = if route.path.contains("attachments") {
            format!("{}?contactId={}", route.path, theirs.contact)
        } else {
            route.path.clone()
        };
        let response = Response::to(app.request_as(&ours.member, Method::GET, &path)).await;
        let json = response.ok();
        let text = json.to_string();
        assert!(!theirs_alone.iter().any(|id| text.contains(*id)), "{route:?}: {text}");
    }
    // A contact id used by both sites is two contacts.
    let path = format!("/dossier/v1/contacts/{}", sites.shared);
    let send = async |who: &Member, method| Response::to(app.request_as(who, method, &path)).await;
    send(&ours.member, Method::DELETE).await.ok();
    let left = send(&theirs.member, Method::GET).await.ok();
    assert_eq!(left["contact"]["attachmentCount"], 1);
    let path = format!("/dossier/v1/contacts/{}", theirs.contact);
    let before = Response::to(app.request_as(&theirs.member, Method::GET, &path)).await.ok();
    let body = json!({ "label": "Not theirs" });
    let known =
        Response::to(app.request_as(&ours.member, Method::PUT, &path).json(&body)).await.ok();
    assert_eq!(known["contact"]["attachmentCount"], 0);
    let after = Response::to(app.request_as(&theirs.member, Method::GET, &path)).await.ok();
    assert_eq!(after, before);
}

#[tokio::test]
async fn s16_contacts_of_other_sites_cannot_be_merged() {
    let sites = two_sites().await;
    let (app, ours, theirs) = (&sites.app, &sites.ours, &sites.theirs);
    let before = app.snapshot().await;
    let path = format!("/dossier/v1/contacts/{}/merge", ours.contact);
    for source in [theirs.contact, Uuid::new_v4()] {
        let body = json!({ "sourceContactIds": [source] });
        let response =
            Response::to(app.request_as(&ours.member, Method::POST, &path).json(&body)).await;
        assert_eq!(response.rejection(), (404, "NOT_FOUND".to_owned()));
        let data = &response.json()["details"]["applicationError"]["data"];
        assert_eq!(*data, json!({ "contactId": source.to_string() }));
    }
    assert_eq!(app.snapshot().await, before);
}

#[tokio::test]
async fn s16_a_link_opens_every_form_of_its_own_picture_and_no_other() {
    let settings = [("trash_days", "30"), ("transforms", "any")];
    let app = TestApp::start_with(&settings).await;
    let file = jpeg(&quarters(40, 20));
    let mut links = Vec::new();
    let mut contacts = Vec::new();
    for _ in 0..2 {
        let contact = Uuid::new_v4();
        app.upload(contact, "photo.jpg", "image/jpeg", &file).await.ok();
        let attachment = app.list(contact).await.ok()["attachments"][0].clone();
        links.push(attachment["image"]["url"].as_str().unwrap().to_owned());
        contacts.push((contact, attachment["id"].as_str().unwrap().to_owned()));
    }
    let (ours, theirs) = (links[0].split_once('?').unwrap(), links[1].split_once('?').unwrap());
    let forms = |address: &str, token: &str| -> Vec<String> {
        let link = format!("{address}?{token}");
        vec![link.clone(), link.replace('?', "/preview?"), transformed(&link, "fit/w_16,h_16/a")]
    };
    let known = known_routes().into_iter().filter(|route| route.path.starts_with("/media/"));
    assert_eq!(known.count(), forms("", "").len(), "a new form of a picture needs a case here");
    for link in forms(ours.0, ours.1) {
        assert_eq!(app.open(&link).await.status, 200, "{link}");
    }
    for link in forms(theirs.0, ours.1).iter().chain(&forms(ours.0, theirs.1)) {
        assert_eq!(app.open(link).await.rejection(), (403, "INVALID_LINK".to_owned()), "{link}");
    }
    // In the trash it looks as if it never existed, in every form, even right after it was served.
    let (contact, id) = &contacts[0];
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    let mut responses = Vec::new();
    for link in forms(ours.0, ours.1) {
        let response = app.open(&link).await;
        assert_eq!(response.rejection(), (404, "NOT_FOUND".to_owned()), "{link}");
        responses.push(response.body);
    }
    assert!(responses.iter().all(|body| *body == responses[0]));
}
