//! Contacts with their trash and erasure, the vendor's webhooks, and operations for operators.

use serde_json::{Value, json};

use super::build::{Operation, Paths};
use super::schemas::{self, OTHER_CONTACT, guid, integer_or, list, object, schema_ref};
use crate::domain::cursor::MAX_CURSOR_CHARS;
use crate::domain::scope::{MODIFY, VIEW};
use crate::http::contacts::{LIMIT, MAX_LABEL_CHARS, MAX_LIMIT, MAX_MERGE_SOURCES, SORTS};
use crate::http::listing::MAX_SEARCH_CHARS;

/// Adds these operations.
pub(super) fn describe(paths: &mut Paths) {
    let contact = "/dossier/v1/contacts/{contact}";
    let at = |end: &str| format!("{contact}{end}");
    paths.add("get", "/dossier/v1/contacts", contacts());
    paths.add("get", contact, contact_operation("getContact", "Gets a contact", VIEW));
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
    paths.add("get", "/dossier/v1/openapi.json", description());
    paths.add("get", METRICS, metrics());
    let address =
        "The address in the setting `listen_metrics`, the only one that serves this path.";
    let variables = json!({ "address": { "default": "127.0.0.1:9090", "description": address } });
    paths.set_servers(METRICS, json!([{ "url": "http://{address}", "variables": variables }]));
}

/// Served by the metrics listener.
const METRICS: &str = "/metrics";

fn operation(id: &str, summary: &str, scope: &str) -> Operation {
    Operation::new(id, "contacts", summary)
        .with_key(scope)
        .validates()
        .fails(400, &["INVALID_ARGUMENT"])
}

/// An operation on the path's contact, which must exist.
fn on_contact(id: &str, summary: &str, scope: &str) -> Operation {
    operation(id, summary, scope).fails(404, &["NOT_FOUND"])
}

fn returns_contact(operation: Operation) -> Operation {
    let shape = object(json!({ "contact": schema_ref("Contact") }));
    operation.returns_json("The contact.", shape, json!({ "contact": schemas::contact_example() }))
}

fn contact_operation(id: &str, summary: &str, scope: &str) -> Operation {
    returns_contact(on_contact(id, summary, scope))
}

fn paged(operation: Operation) -> Operation {
    operation
        .query("limit", integer_or(1, MAX_LIMIT.into(), LIMIT.into()), "The most items to return.")
        .query("after", guid(), "The last id of the previous page.")
}

/// The schema of a search text.
pub(super) fn search_text() -> Value {
    json!({ "type": "string", "maxLength": MAX_SEARCH_CHARS })
}

/// The schema of the sort orders, of which the first is the default.
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
            search_text(),
            "The beginning of an id, or a part of a label. Case and the Unicode form of accents are ignored.",
        )
        .query("sort", sorts(&SORTS), "`-` means the largest or newest first.")
        .query("limit", integer_or(1, MAX_LIMIT.into(), LIMIT.into()), "The most items to return.")
        .query(
            "after",
            schemas::text(MAX_CURSOR_CHARS),
            "The previous page's `next` or, when sorted by id, its last id.",
        )
        .returns_json(
            "A page.",
            object(json!({ "contacts": list(schema_ref("Contact")), "next": next })),
            json!({ "contacts": [listed], "next": null }),
        )
}

fn announce() -> Operation {
    let label = json!({ "type": ["string", "null"], "maxLength": MAX_LABEL_CHARS });
    let shape = json!({ "type": "object", "properties": { "label": label } });
    let operation = operation("announceContact", "Announces a contact", MODIFY)
        .describe("With `contacts_policy = \"registered\"` only announced contacts can have files.")
        .accepts_json(false, shape, json!({ "label": "Vera Lind" }))
        .fails(409, &["CONTACT_GONE"]);
    returns_contact(operation)
}

fn delete() -> Operation {
    on_contact("deleteContact", "Deletes a contact with its attachments", MODIFY)
        .describe(
            "It is inaccessible at once. With the setting `trash_days` it can be restored for that many days.",
        )
        .returns_json("The contact was deleted.", schemas::empty(), json!({}))
}

fn merge() -> Operation {
    let ids = json!({
        "type": "array", "items": guid(), "minItems": 1, "maxItems": MAX_MERGE_SOURCES, "uniqueItems": true,
        "description": "The contacts to merge into the one in the path. This cannot be undone.",
    });
    let moved = json!({ "type": "integer", "minimum": 0 });
    on_contact("mergeContacts", "Merges contacts into one", MODIFY)
        .accepts_json(
            true,
            object(json!({ "sourceContactIds": ids })),
            json!({ "sourceContactIds": [OTHER_CONTACT] }),
        )
        .returns_json(
            "The merged contact.",
            object(json!({
                "contact": { "anyOf": [schema_ref("Contact"), { "type": "null" }] },
                "movedAttachments": moved,
            })),
            json!({ "contact": schemas::contact_example(), "movedAttachments": 2 }),
        )
}

fn returns_receipt(operation: Operation) -> Operation {
    operation.returns_json("The receipt.", schema_ref("SignedReceipt"), schemas::receipt_example())
}

fn erase() -> Operation {
    returns_receipt(on_contact("eraseContact", "Erases a contact and all its data", MODIFY))
        .describe(
            "It is inaccessible at once. The receipt states when its rows and bytes were erased; get it \
             again until it has a `completedDate`.",
        )
}

fn receipt() -> Operation {
    returns_receipt(on_contact("getReceipt", "Gets the receipt of an erasure", MODIFY))
}

fn restore() -> Operation {
    contact_operation("restoreContact", "Restores a contact from the trash", MODIFY)
        .fails(403, &["QUOTA_EXCEEDED"])
}

fn trash() -> Operation {
    paged(operation("listTrash", "Lists a contact's attachments in the trash, by id", VIEW))
        .returns_json(
            "A page, empty if there are none.",
            object(json!({ "attachments": list(schema_ref("TrashedAttachment")) })),
            json!({ "attachments": [schemas::trashed_example()] }),
        )
}

fn restore_attachment() -> Operation {
    on_contact("restoreAttachment", "Restores an attachment from the trash", MODIFY)
        .returns_json("The attachment was restored.", schemas::empty(), json!({}))
        .fails(403, &["QUOTA_EXCEEDED"])
}

fn inbound() -> Operation {
    let token = json!({ "schema": { "type": "string", "description": "A JWS (RS256)." } });
    Operation::new("hearOfContacts", "contacts", "Receives the vendor's contact webhooks")
        .describe(
            "The token in the body is the only credential. `dossier inbound add` adds the key that \
             verifies it.",
        )
        .body(true, json!({ "text/plain": token }))
        .returns_json(
            "The webhook was accepted.",
            object(json!({ "applied": {
                "type": "boolean", "description": "False for a duplicate or one that changes nothing.",
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
    let unavailable =
        json!({ "anyOf": [shape(&["stopping", "read-only"]), schema_ref("SystemError")] });
    Operation::new("getHealth", "service", "Reports whether everything is readable and writable")
        .returns_json("The server is healthy.", shape(&["ok"]), json!({ "status": "ok", "version": "1.0.0" }))
        .responds(
            503,
            json!({
                "description": "The server is stopping or read-only, or its database is unavailable.",
                "content": { "application/json": { "schema": unavailable } },
            }),
        )
}

fn description() -> Operation {
    Operation::new("getDescription", "service", "Gets this description").returns_json(
        "OpenAPI 3.1.",
        object(json!({ "openapi": { "type": "string" }, "paths": { "type": "object" } })),
        json!({ "openapi": "3.1.0", "paths": {} }),
    )
}

fn metrics() -> Operation {
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Operation::new("getMetrics", "service", "Gets the metrics").responds(
        200,
        json!({
            "description": "OpenMetrics text.",
            "content": { form: { "schema": { "type": "string" } } },
        }),
    )
}
