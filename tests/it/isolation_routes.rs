//! Every route that the router knows, asked for what the caller may not see: of another site, of another
//! contact, unknown, in the trash, deleted (S16). The list of routes is the router's own, so that a new
//! route without a case fails here.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use dossier::http::{Route, known_routes};

use crate::support::files::{eventually, jpeg, quarters, transformed};
use crate::support::receiver::{OK, Receiver};
use crate::support::{Answer, Member, TestApp, database};

/// Routes whose address is signed; their cases are below, in `isolation.rs` and in the tests of uploads.
const SIGNED: [&str; 3] = ["/upload/", "/media/", "/ugd/"];
/// Routes that name nothing, and those of no site.
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
    // Its token stands for a site: see `inbound.rs`.
    "/dossier/v1/inbound/wix",
];

/// The page: files of the program, and who is signed in. Their cases are in `sessions.rs`.
const PAGE: [&str; 3] = ["/", "/page/{version}/{*file}", "/dossier/v1/session"];
/// Keys of others look like unknown ones: see `keys.rs`.
const KEY: &str = "/dossier/v1/keys/{key}";

/// What one site has.
struct Things {
    member: Member,
    contact: Uuid,
    /// Its only file.
    file: String,
    /// Beside it in the trash.
    trashed: String,
    /// And one that was deleted before there was a trash.
    deleted: String,
    webhook: String,
    receipt: String,
}

impl Things {
    async fn of(app: &TestApp, member: Member, receiver: &Receiver, shared: Uuid) -> Self {
        let contact = Uuid::new_v4();
        let ask = async |method: Method, path: &str, body: Value| {
            let request = app.request_as(&member, method, path);
            Answer::of(if body.is_null() { request } else { request.json(&body) }).await.ok()
        };
        let gone = Uuid::new_v4();
        for contact in [contact, shared, gone] {
            let path = format!("/dossier/v1/contacts/{contact}");
            ask(Method::PUT, &path, json!({ "label": "Vera Lind" })).await;
        }
        let file = app.upload_as(&member, contact, "kept.csv").await;
        app.upload_as(&member, shared, "shared.csv").await;
        let mut away = Vec::new();
        for name in ["trashed.csv", "purged.csv"] {
            let id = app.upload_as(&member, contact, name).await;
            let path = format!("/contacts/v4/attachments/{contact}/{id}");
            ask(Method::DELETE, &path, Value::Null).await;
            away.push(id);
        }
        let [trashed, deleted] = away.try_into().unwrap();
        let body = json!({ "url": receiver.url() });
        let webhook = ask(Method::POST, "/dossier/v1/webhooks", body).await;
        let erase = format!("/dossier/v1/contacts/{gone}/erase");
        let receipt = ask(Method::POST, &erase, Value::Null).await;
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

/// A case: what stands for each parameter of a path.
type Named<'a> = [(&'a str, String); 5];

/// A path with its parameters filled in; fails for a parameter that no case knows.
fn filled(route: &Route, named: &Named<'_>) -> String {
    let path = named.iter().fold(route.path.clone(), |path, (name, value)| {
        path.replace(&format!("{{{name}}}"), value)
    });
    assert!(!path.contains('{'), "no case knows what {} names: add one", route.path);
    path
}

/// A body that the route would take, were it not for its path.
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

/// Routes that answer for a contact that is not known as for one that has nothing.
fn answers_empty(route: &Route) -> bool {
    let list = route.method == "GET" && route.path.ends_with("/contacts/v4/attachments/{contact}");
    let own = [
        ("GET", "/dossier/v1/contacts/{contact}/trash"),
        ("GET", "/dossier/v1/contacts/{contact}/attachments"),
        ("POST", "/dossier/v1/contacts/{contact}/attachments/bulk-delete"),
    ];
    list || own.contains(&(route.method, &*route.path))
}

/// An answer without the ids that were asked for and without what differs by time alone.
fn words(answer: &Answer, named: &Named<'_>) -> (u16, String, Vec<String>) {
    let mut text = String::from_utf8(answer.body.clone()).unwrap();
    for (name, value) in named {
        text = text.replace(value, name);
    }
    let mut headers: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
    headers.sort();
    (answer.status.as_u16(), text, headers)
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

/// What `ours` may not see.
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

/// The same of routes with a contact and an attachment, where the contact is the caller's own.
fn invisible_here(ours: &Things, theirs: &Things, route: &Route) -> Vec<(&'static str, String)> {
    let mut cases = vec![
        ("of another site", theirs.file.clone()),
        ("in the other site's trash", theirs.trashed.clone()),
        ("deleted", ours.deleted.clone()),
    ];
    // What is there cannot be restored; what is in the trash cannot be had otherwise.
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
    // Both sites know it, each with a file of its own.
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
    // The trash is emptied of what shall be gone for good.
    for things in [&ours, &theirs] {
        let id = database::id_literal(app.data(), things.deleted.parse().unwrap());
        let gone = "UPDATE trashed_attachments SET purge_at_ms = 0 WHERE attachment_id";
        database::change(app.data(), &format!("{gone} = {id}"));
    }
    // Until everything was told and erased, what is stored still changes.
    for things in [&ours, &theirs] {
        let pending = format!("/dossier/v1/webhooks/{}/deliveries?state=pending", things.webhook);
        let receipt = format!("/dossier/v1/receipts/{}", things.receipt);
        let ask = async |path: &str| {
            Answer::of(app.request_as(&things.member, Method::GET, path)).await.ok()
        };
        eventually("nothing is under way", async || {
            dossier::actions::sweep::sweep(app.app()).await.unwrap();
            dossier::actions::contacts::go_on(app.app()).await.unwrap();
            ask(&pending).await["deliveries"] == json!([])
                && !ask(&receipt).await["receipt"]["completedDate"].is_null()
        })
        .await;
    }
    Sites { app, ours, theirs, shared, _receiver: receiver }
}

impl Sites {
    async fn ask(&self, route: &Route, path: &str) -> Answer {
        let method = Method::from_bytes(route.method.as_bytes()).unwrap();
        let request = self.app.request_as(&self.ours.member, method, path);
        Answer::of(match body(route, self.shared) {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }
}

/// Routes that name something of a site.
fn naming() -> Vec<Route> {
    let routes = known_routes().into_iter();
    let naming = routes.filter(|route| {
        !NAMELESS.contains(&&*route.path)
            && !PAGE.contains(&&*route.path)
            && route.path != KEY
            && !SIGNED.iter().any(|begin| route.path.starts_with(begin))
    });
    naming.collect()
}

#[tokio::test]
async fn s16_no_route_tells_of_what_the_caller_may_not_see() {
    let sites = two_sites().await;
    let (app, ours, theirs) = (&sites.app, &sites.ours, &sites.theirs);
    let before = app.stored().await;
    for route in naming() {
        // The first to announce a contact makes it known, whoever else knows it: see below.
        if (route.method, &*route.path) == ("PUT", "/dossier/v1/contacts/{contact}") {
            continue;
        }
        let random = || Uuid::new_v4().to_string();
        let unknown = named(ours.member.site, Uuid::new_v4(), &random(), &random(), &random());
        let answer = sites.ask(&route, &filled(&route, &unknown)).await;
        let expected = words(&answer, &unknown);
        assert_eq!(expected.0, if answers_empty(&route) { 200 } else { 404 }, "{route:?}");
        let mut cases = invisible(ours, theirs);
        if route.path.contains("{contact}") && route.path.contains("{attachment}") {
            cases.extend(invisible_here(ours, theirs, &route).into_iter().map(|(case, id)| {
                (case, named(ours.member.site, ours.contact, &id, &random(), &random()))
            }));
        }
        // This route names no contact: whose file it is does not matter.
        if route.path.contains("{site}") {
            cases.retain(|(case, _)| *case != "of another contact");
        }
        for (case, named) in cases {
            let answer = sites.ask(&route, &filled(&route, &named)).await;
            assert_eq!(words(&answer, &named), expected, "{route:?} {case}");
        }
    }
    assert_eq!(app.stored().await, before);
}

#[tokio::test]
async fn s16_lists_and_announcements_are_of_the_callers_own_site() {
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
        let answer = Answer::of(app.request_as(&ours.member, Method::GET, &path)).await;
        let json = answer.ok();
        let text = json.to_string();
        assert!(!theirs_alone.iter().any(|id| text.contains(*id)), "{route:?}: {text}");
    }
    // A contact of both sites is two contacts.
    let path = format!("/dossier/v1/contacts/{}", sites.shared);
    let ask = async |who: &Member, method| Answer::of(app.request_as(who, method, &path)).await;
    ask(&ours.member, Method::DELETE).await.ok();
    let left = ask(&theirs.member, Method::GET).await.ok();
    assert_eq!(left["contact"]["attachmentCount"], 1);
    let path = format!("/dossier/v1/contacts/{}", theirs.contact);
    let before = Answer::of(app.request_as(&theirs.member, Method::GET, &path)).await.ok();
    let body = json!({ "label": "Not theirs" });
    let known = Answer::of(app.request_as(&ours.member, Method::PUT, &path).json(&body)).await.ok();
    assert_eq!(known["contact"]["attachmentCount"], 0);
    let after = Answer::of(app.request_as(&theirs.member, Method::GET, &path)).await.ok();
    assert_eq!(after, before);
}

#[tokio::test]
async fn s16_what_belongs_to_others_is_not_merged_in() {
    let sites = two_sites().await;
    let (app, ours, theirs) = (&sites.app, &sites.ours, &sites.theirs);
    let before = app.stored().await;
    let path = format!("/dossier/v1/contacts/{}/merge", ours.contact);
    for source in [theirs.contact, Uuid::new_v4()] {
        let body = json!({ "sourceContactIds": [source] });
        let answer =
            Answer::of(app.request_as(&ours.member, Method::POST, &path).json(&body)).await;
        assert_eq!(answer.refused(), (404, "NOT_FOUND".to_owned()));
        let data = &answer.json()["details"]["applicationError"]["data"];
        assert_eq!(*data, json!({ "contactId": source.to_string() }));
    }
    assert_eq!(app.stored().await, before);
}

#[tokio::test]
async fn s16_a_link_opens_its_own_picture_in_every_form_and_no_other() {
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
        assert_eq!(app.open(link).await.refused(), (403, "INVALID_LINK".to_owned()), "{link}");
    }
    // In the trash it looks as if it had never been, in each form and also when it was just opened.
    let (contact, id) = &contacts[0];
    app.delete(&format!("/contacts/v4/attachments/{contact}/{id}")).await.ok();
    let mut answers = Vec::new();
    for link in forms(ours.0, ours.1) {
        let answer = app.open(&link).await;
        assert_eq!(answer.refused(), (404, "NOT_FOUND".to_owned()), "{link}");
        answers.push(answer.body);
    }
    assert!(answers.iter().all(|body| *body == answers[0]));
}
