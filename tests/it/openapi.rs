//! The `OpenAPI` description: complete, committed, and true to the actual responses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dossier::http::{Route, known_routes, monitor_routes, openapi};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::files::{PDF, jpeg, quarters};

use crate::support::receiver::{OK, Receiver};
use crate::support::schema::{Schemas, known_keywords};
use crate::support::{Response, TestApp, printed};

const DOCUMENT: &str = "docs/openapi.json";
const METHODS: [&str; 6] = ["get", "head", "put", "post", "patch", "delete"];

/// Every operation with its method and path.
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

/// The names in braces.
fn names(path: &str) -> Vec<&str> {
    path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect()
}

/// The path with its parameter names removed.
fn nameless(path: &str) -> String {
    names(path)
        .iter()
        .fold(path.to_owned(), |path, name| path.replace(&format!("{{{name}}}"), "{}"))
}

/// Calls `visit` with every nested value and its JSON pointer.
fn walk<'a>(value: &'a Value, at: &str, visit: &mut impl FnMut(&str, &'a Value)) {
    visit(at, value);
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                walk(inner, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), visit);
            }
        }
        Value::Array(items) => {
            for (number, inner) in items.iter().enumerate() {
                walk(inner, &format!("{at}/{number}"), visit);
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
fn exactly_the_existing_routes_are_described() {
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
fn operation_ids_are_unique_and_references_resolve() {
    let document = openapi();
    assert_eq!(document["openapi"], "3.1.0");
    let operations = operations(&document);
    let mut ids = BTreeMap::new();
    for (method, path, operation) in &operations {
        let id = operation["operationId"].as_str().unwrap();
        assert_eq!(ids.insert(id.to_owned(), path), None, "operation id {id} is duplicated");
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
fn path_parameters_are_declared_exactly_once() {
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
            let location = parameter["in"].as_str().unwrap().to_owned();
            assert!(parameter["schema"].is_object(), "{method} {path} {name}");
            assert!(
                seen.insert((location, name.clone())),
                "{method} {path}: {name} is declared twice"
            );
        }
    }
}

#[test]
fn examples_are_valid_and_every_schema_keyword_is_known() {
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
    assert!(count > 40, "only {count} examples were checked");
}

#[test]
fn a_value_that_violates_its_schema_is_detected() {
    let document = openapi();
    let schemas = Schemas::of(&document);
    let response = schemas.response_schema("getAttachment", 200);
    let good = &document["paths"]["/contacts/v4/attachments/{contactId}/{attachmentId}"]["get"];
    let good = &good["responses"]["200"]["content"]["application/json"]["example"];
    assert_eq!(schemas.problem(response, good), None);
    for (pointer, bad) in [
        ("/attachment", json!({})),
        ("/attachment/id", json!("no guid")),
        ("/attachment/attachmentType", json!("VIDEO")),
        ("/attachment/image/height", json!(-1)),
        ("/attachment/fileName", json!(7)),
    ] {
        let mut broken = good.clone();
        *broken.pointer_mut(pointer).unwrap() = bad;
        assert!(schemas.problem(response, &broken).is_some(), "{pointer}");
    }
}

/// Sends requests and validates the responses against the description.
struct Checked<'a> {
    app: &'a TestApp,
    schemas: Schemas<'a>,
}

impl Checked<'_> {
    async fn send(&self, id: &str, method: Method, path: &str, body: Value) -> Value {
        let request = self.app.request(method, path);
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = Response::to(request).await;
        let json = response.json();
        let status = response.status.as_u16();
        let schema = self.schemas.response_schema(id, status);
        self.schemas.check(schema, &json, &format!("{id} {path}: {json}"));
        let code = &json["details"]["applicationError"]["code"];
        assert!(code.is_null() || self.schemas.documents_error(id, status, code), "{id} {code}");
        json
    }
}

#[tokio::test]
async fn responses_match_the_description() {
    let app = TestApp::start_with_webhooks_and(&[("trash_days", "30")]).await;
    let receiver = Receiver::start(OK).await;
    let document = openapi();
    let api = Checked { app: &app, schemas: Schemas::of(&document) };
    let (contact, other) = (Uuid::new_v4(), Uuid::new_v4());
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let own = |end: &str| format!("/dossier/v1/contacts/{contact}{end}");
    let webhook = json!({ "url": receiver.url() });
    let webhook = api.send("addWebhook", post.clone(), "/dossier/v1/webhooks", webhook).await;
    let webhook = format!("/dossier/v1/webhooks/{}", webhook["webhook"]["id"].as_str().unwrap());
    api.send("announceContact", put, &own(""), json!({ "label": "Vera Lind" })).await;
    for contact in [contact, other] {
        let photo = jpeg(&quarters(40, 20));
        for (name, kind, bytes) in
            [("a.jpg", "image/jpeg", &*photo), ("a.pdf", "application/pdf", PDF)]
        {
            let file = app.upload(contact, name, kind, bytes).await.ok();
            api.schemas.check(api.schemas.response_schema("uploadFile", 200), &file, name);
        }
    }
    let attachments = format!("/contacts/v4/attachments/{contact}");
    let listed = api.send("listAttachments", get.clone(), &attachments, Value::Null).await;
    let one = format!("{attachments}/{}", listed["attachments"][0]["id"].as_str().unwrap());
    api.send("getAttachment", get.clone(), &one, Value::Null).await;
    let files = own("/attachments");
    let searched = api.send("searchFiles", get.clone(), &files, Value::Null).await;
    api.send("searchFiles", get.clone(), &format!("{files}?type=x"), Value::Null).await;
    let (first, last) = (&searched["attachments"][0]["id"], &searched["attachments"][1]["id"]);
    let note = json!({ "label": "A", "description": "B" });
    let one_file = format!("{files}/{}", first.as_str().unwrap());
    api.send("describeFile", Method::PATCH, &one_file, note).await;
    api.send("getZip", get.clone(), &own("/zip?ids=x"), Value::Null).await;
    let key = json!({ "name": "Desk", "scopes": ["VIEW"] });
    let key = api.send("addKey", post.clone(), "/dossier/v1/keys", key).await;
    api.send("addKey", post.clone(), "/dossier/v1/keys", json!({})).await;
    api.send("listKeys", get.clone(), "/dossier/v1/keys", Value::Null).await;
    let key = format!("/dossier/v1/keys/{}", key["key"]["id"].as_str().unwrap());
    api.send("revokeKey", delete.clone(), &key, Value::Null).await;
    api.send("listRequests", get.clone(), "/dossier/v1/requests", Value::Null).await;
    api.send("whoAmI", get.clone(), "/dossier/v1/whoami", Value::Null).await;
    api.send("getUsage", get.clone(), "/dossier/v1/usage", Value::Null).await;
    let gone = json!({ "attachmentIds": [last, Uuid::new_v4()] });
    api.send("deleteFiles", post.clone(), &format!("{files}/bulk-delete"), gone).await;
    api.send("deleteAttachment", delete.clone(), &one, Value::Null).await;
    api.send("getAttachment", get.clone(), &one, Value::Null).await;
    api.send("getAttachment", get.clone(), &format!("{attachments}/x"), Value::Null).await;
    api.send("listTrash", get.clone(), &own("/trash"), Value::Null).await;
    let url = json!({ "fileName": "a.pdf", "mimeType": "application/pdf" });
    let (generate, some) = (format!("{attachments}/upload-url"), own("/upload-urls"));
    api.send("generateUploadUrls", post.clone(), &some, json!({ "files": [url, {}] })).await;
    for body in [url, json!({}), json!([])] {
        api.send("generateUploadUrl", post.clone(), &generate, body).await;
    }
    let sources = json!({ "sourceContactIds": [other] });
    api.send("mergeContacts", post.clone(), &own("/merge"), sources).await;
    api.send("listContacts", get.clone(), "/dossier/v1/contacts", Value::Null).await;
    api.send("getContact", get.clone(), &own(""), Value::Null).await;
    api.send("testWebhook", post.clone(), &format!("{webhook}/test"), Value::Null).await;
    api.send("listDeliveries", get.clone(), &format!("{webhook}/deliveries"), Value::Null).await;
    let since = json!({ "since": "2020-01-01T00:00:00Z" });
    api.send("replayEvents", post.clone(), &format!("{webhook}/replay"), since).await;
    api.send("getPublicKeys", get.clone(), "/dossier/v1/webhooks/public-key", Value::Null).await;
    let receipt = api.send("eraseContact", post.clone(), &own("/erase"), Value::Null).await;
    let receipt =
        format!("/dossier/v1/receipts/{}", receipt["receipt"]["receiptId"].as_str().unwrap());
    api.send("getReceipt", get.clone(), &receipt, Value::Null).await;
    api.send("removeWebhook", delete, &webhook, Value::Null).await;
    api.send("getHealth", get.clone(), "/dossier/v1/health", Value::Null).await;
    let served = api.send("getDescription", get, "/dossier/v1/openapi.json", Value::Null).await;
    assert_eq!(served, document);
}
