//! The description of everything over HTTP: complete, true to what is answered, and committed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dossier::http::{Route, known_routes, monitor_routes, openapi};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::{PDF, jpeg, quarters};

use crate::support::receiver::{OK, Receiver};
use crate::support::schema::{Schemas, known_keywords};
use crate::support::{Answer, TestApp, printed};

const DOCUMENT: &str = "docs/openapi.json";
const METHODS: [&str; 6] = ["get", "head", "put", "post", "patch", "delete"];

/// Every operation: method, path, itself.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                operations.push((method.to_owned(), path.clone(), operation.clone()));
            }
        }
    }
    operations
}

/// Names of what stands in braces.
fn names(path: &str) -> Vec<&str> {
    path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect()
}

/// A path whatever its parameters are called.
fn nameless(path: &str) -> String {
    names(path)
        .iter()
        .fold(path.to_owned(), |path, name| path.replace(&format!("{{{name}}}"), "{}"))
}

/// Calls `look` with every value inside and where it is.
fn walk<'a>(value: &'a Value, at: &str, look: &mut impl FnMut(&str, &'a Value)) {
    look(at, value);
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                walk(inner, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), look);
            }
        }
        Value::Array(items) => {
            for (number, inner) in items.iter().enumerate() {
                walk(inner, &format!("{at}/{number}"), look);
            }
        }
        _ => {}
    }
}

#[test]
fn the_committed_description_is_what_the_program_prints() {
    let fresh = printed(&["openapi"]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "{DOCUMENT} is stale: UPDATE_DOCS=1 cargo test --test it openapi");
}

#[test]
fn every_route_is_described_and_nothing_else_is() {
    let routes = known_routes().into_iter().chain(monitor_routes());
    let routes: BTreeSet<(String, String)> =
        routes.map(|Route { path, method }| (method.to_lowercase(), nameless(&path))).collect();
    let described: BTreeSet<(String, String)> = operations(&openapi())
        .iter()
        .map(|(method, path, _)| (method.clone(), nameless(path)))
        .collect();
    let missing: Vec<_> = routes.difference(&described).collect();
    let imagined: Vec<_> = described.difference(&routes).collect();
    assert!(
        missing.is_empty() && imagined.is_empty(),
        "missing {missing:?}, imagined {imagined:?}"
    );
}

#[test]
fn names_are_unique_and_references_lead_somewhere() {
    let document = openapi();
    assert_eq!(document["openapi"], "3.1.0");
    let operations = operations(&document);
    let mut ids = BTreeMap::new();
    for (method, path, operation) in &operations {
        let id = operation["operationId"].as_str().unwrap();
        assert_eq!(ids.insert(id.to_owned(), path), None, "{id} is there twice");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status < &"400".to_owned()), "{method} {path}");
        assert!(responses.values().all(|one| one["description"].is_string()), "{method} {path}");
        for scheme in operation["security"].as_array().unwrap() {
            for name in scheme.as_object().unwrap().keys() {
                assert!(document["components"]["securitySchemes"][name].is_object(), "{name}");
            }
        }
        let tag = operation["tags"][0].as_str().unwrap();
        let tags = document["tags"].as_array().unwrap();
        assert!(tags.iter().any(|known| known["name"] == tag), "{tag}");
    }
    walk(&document, "", &mut |at, value| {
        if let Some(target) = value.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').unwrap();
            assert!(document.pointer(target).is_some(), "{at} refers to {target}");
        }
    });
}

#[test]
fn parameters_of_paths_are_declared_and_none_is_declared_twice() {
    let document = openapi();
    for (path, item) in document["paths"].as_object().unwrap() {
        let of_path = item["parameters"].as_array().cloned().unwrap_or_default();
        let declared: Vec<&str> = of_path.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(declared, names(path), "{path}");
        assert!(of_path.iter().all(|one| one["in"] == "path" && one["required"] == true));
    }
    for (method, path, operation) in operations(&document) {
        let mut seen = BTreeSet::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = match parameter.get("$ref").and_then(Value::as_str) {
                Some(target) => document.pointer(target.strip_prefix('#').unwrap()).unwrap(),
                None => parameter,
            };
            let name = parameter["name"].as_str().unwrap().to_lowercase();
            let place = parameter["in"].as_str().unwrap().to_owned();
            assert!(parameter["schema"].is_object(), "{method} {path} {name}");
            assert!(seen.insert((place, name.clone())), "{method} {path}: {name} is there twice");
        }
    }
}

#[test]
fn examples_are_valid_and_every_keyword_of_a_schema_is_known() {
    let document = openapi();
    let schemas = Schemas::of(&document);
    let mut count = 0;
    walk(&document, "", &mut |at, value| {
        if let Some(schema) = value.get("schema") {
            known_keywords(schema, at);
            let examples = value.get("example").into_iter();
            for example in examples.chain(schema["examples"].as_array().into_iter().flatten()) {
                schemas.check(schema, example, at);
                count += 1;
            }
        }
    });
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        known_keywords(schema, name);
        for example in schema["examples"].as_array().into_iter().flatten() {
            schemas.check(schema, example, name);
            count += 1;
        }
    }
    assert!(count > 40, "only {count} examples were looked at");
}

#[test]
fn a_value_that_breaks_its_schema_is_noticed() {
    let document = openapi();
    let schemas = Schemas::of(&document);
    let answer = schemas.answer("getAttachment", 200);
    let good = &document["paths"]["/contacts/v4/attachments/{contactId}/{attachmentId}"]["get"];
    let good = &good["responses"]["200"]["content"]["application/json"]["example"];
    assert_eq!(schemas.problem(answer, good), None);
    for (pointer, bad) in [
        ("/attachment", json!({})),
        ("/attachment/id", json!("no guid")),
        ("/attachment/attachmentType", json!("VIDEO")),
        ("/attachment/image/height", json!(-1)),
        ("/attachment/fileName", json!(7)),
    ] {
        let mut broken = good.clone();
        *broken.pointer_mut(pointer).unwrap() = bad;
        assert!(schemas.problem(answer, &broken).is_some(), "{pointer}");
    }
}

/// Asks, and holds the answer against what is described.
struct Checked<'a> {
    app: &'a TestApp,
    schemas: Schemas<'a>,
}

impl Checked<'_> {
    async fn ask(&self, id: &str, method: Method, path: &str, body: Value) -> Value {
        let request = self.app.request(method, path);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = Answer::of(request).await;
        let json = answer.json();
        let status = answer.status.as_u16();
        let schema = self.schemas.answer(id, status);
        self.schemas.check(schema, &json, &format!("{id} {path}: {json}"));
        let code = &json["details"]["applicationError"]["code"];
        assert!(code.is_null() || self.schemas.may_refuse(id, status, code), "{id} {code}");
        json
    }
}

#[tokio::test]
async fn what_is_answered_is_what_is_described() {
    let (app, receiver) =
        (TestApp::telling_with(&[("trash_days", "30")]).await, Receiver::start(OK).await);
    let document = openapi();
    let asked = Checked { app: &app, schemas: Schemas::of(&document) };
    let (contact, other) = (Uuid::new_v4(), Uuid::new_v4());
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let own = |end: &str| format!("/dossier/v1/contacts/{contact}{end}");
    let webhook = json!({ "url": receiver.url() });
    let webhook = asked.ask("addWebhook", post.clone(), "/dossier/v1/webhooks", webhook).await;
    let webhook = format!("/dossier/v1/webhooks/{}", webhook["webhook"]["id"].as_str().unwrap());
    asked.ask("announceContact", put, &own(""), json!({ "label": "Vera Lind" })).await;
    for contact in [contact, other] {
        let photo = jpeg(&quarters(40, 20));
        for (name, kind, bytes) in
            [("a.jpg", "image/jpeg", &*photo), ("a.pdf", "application/pdf", PDF)]
        {
            let file = app.upload(contact, name, kind, bytes).await.ok();
            asked.schemas.check(asked.schemas.answer("uploadFile", 200), &file, name);
        }
    }
    let attachments = format!("/contacts/v4/attachments/{contact}");
    let listed = asked.ask("listAttachments", get.clone(), &attachments, Value::Null).await;
    let one = format!("{attachments}/{}", listed["attachments"][0]["id"].as_str().unwrap());
    asked.ask("getAttachment", get.clone(), &one, Value::Null).await;
    let files = own("/attachments");
    let searched = asked.ask("searchFiles", get.clone(), &files, Value::Null).await;
    asked.ask("searchFiles", get.clone(), &format!("{files}?type=x"), Value::Null).await;
    let (first, last) = (&searched["attachments"][0]["id"], &searched["attachments"][1]["id"]);
    let note = json!({ "label": "A", "description": "B" });
    let one_file = format!("{files}/{}", first.as_str().unwrap());
    asked.ask("describeFile", Method::PATCH, &one_file, note).await;
    asked.ask("getZip", get.clone(), &own("/zip?ids=x"), Value::Null).await;
    let key = json!({ "name": "Desk", "scopes": ["VIEW"] });
    let key = asked.ask("addKey", post.clone(), "/dossier/v1/keys", key).await;
    asked.ask("addKey", post.clone(), "/dossier/v1/keys", json!({})).await;
    asked.ask("listKeys", get.clone(), "/dossier/v1/keys", Value::Null).await;
    let key = format!("/dossier/v1/keys/{}", key["key"]["id"].as_str().unwrap());
    asked.ask("revokeKey", delete.clone(), &key, Value::Null).await;
    asked.ask("listRequests", get.clone(), "/dossier/v1/requests", Value::Null).await;
    asked.ask("whoAmI", get.clone(), "/dossier/v1/whoami", Value::Null).await;
    asked.ask("getUsage", get.clone(), "/dossier/v1/usage", Value::Null).await;
    let gone = json!({ "attachmentIds": [last, Uuid::new_v4()] });
    asked.ask("deleteFiles", post.clone(), &format!("{files}/bulk-delete"), gone).await;
    asked.ask("deleteAttachment", delete.clone(), &one, Value::Null).await;
    asked.ask("getAttachment", get.clone(), &one, Value::Null).await;
    asked.ask("getAttachment", get.clone(), &format!("{attachments}/x"), Value::Null).await;
    asked.ask("listTrash", get.clone(), &own("/trash"), Value::Null).await;
    let url = json!({ "fileName": "a.pdf", "mimeType": "application/pdf" });
    let (generate, some) = (format!("{attachments}/upload-url"), own("/upload-urls"));
    asked.ask("generateUploadUrls", post.clone(), &some, json!({ "files": [url, {}] })).await;
    for body in [url, json!({}), json!([])] {
        asked.ask("generateUploadUrl", post.clone(), &generate, body).await;
    }
    let sources = json!({ "sourceContactIds": [other] });
    asked.ask("mergeContacts", post.clone(), &own("/merge"), sources).await;
    asked.ask("listContacts", get.clone(), "/dossier/v1/contacts", Value::Null).await;
    asked.ask("getContact", get.clone(), &own(""), Value::Null).await;
    asked.ask("testWebhook", post.clone(), &format!("{webhook}/test"), Value::Null).await;
    asked.ask("listDeliveries", get.clone(), &format!("{webhook}/deliveries"), Value::Null).await;
    let since = json!({ "since": "2020-01-01T00:00:00Z" });
    asked.ask("replayEvents", post.clone(), &format!("{webhook}/replay"), since).await;
    asked.ask("getPublicKeys", get.clone(), "/dossier/v1/webhooks/public-key", Value::Null).await;
    let receipt = asked.ask("eraseContact", post.clone(), &own("/erase"), Value::Null).await;
    let receipt =
        format!("/dossier/v1/receipts/{}", receipt["receipt"]["receiptId"].as_str().unwrap());
    asked.ask("getReceipt", get.clone(), &receipt, Value::Null).await;
    asked.ask("removeWebhook", delete, &webhook, Value::Null).await;
    asked.ask("getHealth", get.clone(), "/dossier/v1/health", Value::Null).await;
    let served = asked.ask("getDescription", get, "/dossier/v1/openapi.json", Value::Null).await;
    assert_eq!(served, document);
}
