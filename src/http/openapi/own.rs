//! Contacts, their erasure and their trash; the vendor's webhooks; what is for those who run the server.

use serde_json::{Value, json};

use super::build::{Operation, Paths};
use super::schemas::{self, OTHER_CONTACT, guid, list, named, object, whole_or};
use crate::domain::cursor::MAX_CURSOR_CHARS;
use crate::domain::scope::{MODIFY, VIEW};
use crate::http::contacts::{LIMIT, MAX_LABEL_CHARS, MAX_LIMIT, MOST_SOURCES, SORTS};
use crate::http::listing::MAX_SEARCH_CHARS;

/// Describes them.
pub(super) fn describe(paths: &mut Paths) {
    let contact = "/dossier/v1/contacts/{contact}";
    let at = |end: &str| format!("{contact}{end}");
    paths.add("get", "/dossier/v1/contacts", contacts());
    paths.add("get", contact, known("getContact", "Gets a contact", VIEW));
    paths.add("put", contact, announce());
    paths.add("delete", contact, delete());
    paths.add("post", &at("/merge"), merge());
    paths.add("post", &at("/erase"), erase());
    paths.add("post", &at("/restore"), restore());
    paths.add("get", &at("/trash"), trash());
    paths.add("post", &at("/attachments/{attachment}/restore"), restore_attachment());
    paths.add("get", "/dossier/v1/receipts/{receipt}", receipt());
    paths.add("post", "/dossier/v1/inbound/wix", inbound());
    paths.add("get", "/dossier/v1/health", health());
    paths.add("get", "/dossier/v1/openapi.json", itself());
    paths.add("get", METRICS, metrics());
    let address = "The address in the setting `listen_metrics`; no other one answers it.";
    let variables = json!({ "address": { "default": "127.0.0.1:9090", "description": address } });
    paths.elsewhere(METRICS, json!([{ "url": "http://{address}", "variables": variables }]));
}

/// Of the listener for monitors.
const METRICS: &str = "/metrics";

fn operation(id: &str, summary: &str, scope: &str) -> Operation {
    Operation::new(id, "contacts", summary)
        .with_key(scope)
        .validates()
        .fails(400, &["INVALID_ARGUMENT"])
}

/// One that is about a contact of the path, which must be there.
fn of_one(id: &str, summary: &str, scope: &str) -> Operation {
    operation(id, summary, scope).fails(404, &["NOT_FOUND"])
}

fn answers_contact(operation: Operation) -> Operation {
    let shape = object(json!({ "contact": named("Contact") }));
    operation.answers("The contact.", shape, json!({ "contact": schemas::contact_example() }))
}

fn known(id: &str, summary: &str, scope: &str) -> Operation {
    answers_contact(of_one(id, summary, scope))
}

fn paged(operation: Operation) -> Operation {
    operation
        .query("limit", whole_or(1, MAX_LIMIT.into(), LIMIT.into()), "Most items of the answer.")
        .query("after", guid(), "The last id of the page before.")
}

/// A text that is searched for.
pub(super) fn searched() -> Value {
    json!({ "type": "string", "maxLength": MAX_SEARCH_CHARS })
}

/// The names of orders, of which the first needs no wish.
pub(super) fn sorts<T>(sorts: &[(&str, T)]) -> Value {
    let names: Vec<&str> = sorts.iter().map(|(name, _)| *name).collect();
    json!({ "type": "string", "enum": names, "default": names[0] })
}

fn contacts() -> Operation {
    let mut listed = schemas::contact_example();
    listed["contactId"] = listed["id"].clone();
    let next = json!({ "type": ["string", "null"], "description": "`null` on the last page." });
    operation("listContacts", "Searches the contacts of the site, or lists all", VIEW)
        .query(
            "search",
            searched(),
            "What an id begins with, or a part of a label, in any case and with accents in either form.",
        )
        .query("sort", sorts(&SORTS), "`-` is the greatest or newest first.")
        .query("limit", whole_or(1, MAX_LIMIT.into(), LIMIT.into()), "Most items of the answer.")
        .query(
            "after",
            schemas::text(MAX_CURSOR_CHARS),
            "The `next` of the page before, or by id also its last id.",
        )
        .answers(
            "A page.",
            object(json!({ "contacts": list(named("Contact")), "next": next })),
            json!({ "contacts": [listed], "next": null }),
        )
}

fn announce() -> Operation {
    let label = json!({ "type": ["string", "null"], "maxLength": MAX_LABEL_CHARS });
    let shape = json!({ "type": "object", "properties": { "label": label } });
    let operation = operation("announceContact", "Makes a contact known", MODIFY)
        .describe("With `contacts_policy = \"registered\"` only known contacts may have files.")
        .takes(false, shape, json!({ "label": "Vera Lind" }))
        .fails(409, &["CONTACT_GONE"]);
    answers_contact(operation)
}

fn delete() -> Operation {
    of_one("deleteContact", "Deletes a contact with its attachments", MODIFY)
        .describe(
            "Nothing of it can be reached from then on. With `trash_days` it can be restored for a while.",
        )
        .answers("It is deleted.", schemas::empty(), json!({}))
}

fn merge() -> Operation {
    let ids = json!({
        "type": "array", "items": guid(), "minItems": 1, "maxItems": MOST_SOURCES, "uniqueItems": true,
        "description": "Contacts that go into the one of the path. It cannot be undone.",
    });
    let moved = json!({ "type": "integer", "minimum": 0 });
    of_one("mergeContacts", "Merges contacts into one", MODIFY)
        .takes(
            true,
            object(json!({ "sourceContactIds": ids })),
            json!({ "sourceContactIds": [OTHER_CONTACT] }),
        )
        .answers(
            "The contact with all attachments.",
            object(json!({
                "contact": { "anyOf": [named("Contact"), { "type": "null" }] },
                "movedAttachments": moved,
            })),
            json!({ "contact": schemas::contact_example(), "movedAttachments": 2 }),
        )
}

fn answers_receipt(operation: Operation) -> Operation {
    operation.answers("The receipt.", named("SignedReceipt"), schemas::receipt_example())
}

fn erase() -> Operation {
    answers_receipt(of_one("eraseContact", "Erases a contact and all that is known of it", MODIFY))
        .describe(
            "Nothing of it can be reached from then on. The receipt says when rows and bytes had gone; ask \
             for it again until `completedDate` is there.",
        )
}

fn receipt() -> Operation {
    answers_receipt(of_one("getReceipt", "Gets the receipt of an erasure", MODIFY))
}

fn restore() -> Operation {
    known("restoreContact", "Takes a contact out of the trash", MODIFY)
        .fails(403, &["QUOTA_EXCEEDED"])
}

fn trash() -> Operation {
    paged(operation("listTrash", "Lists a contact's attachments in the trash, by id", VIEW))
        .answers(
            "A page; empty where there are none.",
            object(json!({ "attachments": list(named("TrashedAttachment")) })),
            json!({ "attachments": [schemas::trashed_example()] }),
        )
}

fn restore_attachment() -> Operation {
    of_one("restoreAttachment", "Takes an attachment out of the trash", MODIFY)
        .answers("It is there again.", schemas::empty(), json!({}))
        .fails(403, &["QUOTA_EXCEEDED"])
}

fn inbound() -> Operation {
    let token = json!({ "schema": { "type": "string", "description": "A JWS (RS256)." } });
    Operation::new("hearOfContacts", "contacts", "Takes the vendor's webhooks of contacts")
        .describe(
            "The token in the body is all the authority that is asked for: its key is added with \
             `dossier inbound add`.",
        )
        .body(true, json!({ "text/plain": token }))
        .answers(
            "It was heard.",
            object(json!({ "applied": {
                "type": "boolean", "description": "False when it was told before or changes nothing.",
            } })),
            json!({ "applied": true }),
        )
        .fails(400, &["INVALID_ARGUMENT"])
        .fails(403, &["PERMISSION_DENIED"])
        .fails(408, &["REQUEST_INTERRUPTED"])
        .fails(413, &["REQUEST_TOO_LARGE"])
}

fn health() -> Operation {
    let shape = |statuses: &[&str]| -> Value {
        json!({
            "type": "object", "required": ["status", "version"],
            "properties": {
                "status": { "type": "string", "enum": statuses }, "version": { "type": "string" },
                "problems": list(json!({ "type": "string" })), "remedy": { "type": "string" },
            },
        })
    };
    let away = json!({ "anyOf": [shape(&["stopping", "read-only"]), named("SystemError")] });
    Operation::new("getHealth", "service", "Says whether everything can be read and written")
        .answers("All is well.", shape(&["ok"]), json!({ "status": "ok", "version": "1.0.0" }))
        .responds(
            503,
            json!({
                "description": "It stops, takes no writes, or its database is away.",
                "content": { "application/json": { "schema": away } },
            }),
        )
}

fn itself() -> Operation {
    Operation::new("getDescription", "service", "Answers this description").answers(
        "OpenAPI 3.1.",
        object(json!({ "openapi": { "type": "string" }, "paths": { "type": "object" } })),
        json!({ "openapi": "3.1.0", "paths": {} }),
    )
}

fn metrics() -> Operation {
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Operation::new("getMetrics", "service", "Answers what a monitor asks for").responds(
        200,
        json!({
            "description": "OpenMetrics text.",
            "content": { form: { "schema": { "type": "string" } } },
        }),
    )
}
