//! The operations of the public contract, under both prefixes.

use serde_json::{Value, json};

use super::build::{Operation, Paths};
use super::schemas::{self, guid, integer_or, object, schema_ref};
use crate::domain::paging::{MAX_LIMIT, MAX_OFFSET};
use crate::domain::scope::{MODIFY, VIEW};
use crate::http::PREFIXES;

const COPY: &str = "Optional. It must equal the one in the path.";

/// Adds these operations.
pub(super) fn describe(paths: &mut Paths) {
    for (prefix, end) in PREFIXES.into_iter().zip(["", "Api"]) {
        let contact = format!("{prefix}/{{contact}}");
        let attachment = format!("{contact}/{{attachment}}");
        paths.add("get", prefix, list_by_body(&format!("listAttachmentsByBody{end}")));
        paths.add(
            "get",
            &format!("{prefix}/"),
            list_by_body(&format!("listAttachmentsByBodySlash{end}")),
        );
        paths.add("get", &contact, list(&format!("listAttachments{end}")));
        let generate = generate(&format!("generateUploadUrl{end}"));
        paths.add("post", &format!("{contact}/upload-url"), generate);
        paths.add("get", &attachment, get(&format!("getAttachment{end}")));
        paths.add("delete", &attachment, delete(&format!("deleteAttachment{end}")));
    }
}

fn operation(id: &str, summary: &str, scope: &str) -> Operation {
    Operation::new(id, "attachments", summary).with_key(scope).validates()
}

fn listing(id: &str, summary: &str) -> Operation {
    let limit = integer_or(0, MAX_LIMIT.into(), MAX_LIMIT.into());
    let example = json!({
        "attachments": [schemas::attachment_example()],
        "metadata": { "count": 1, "offset": 0, "total": 1, "tooManyToCount": false },
    });
    let shape = object(json!({
        "attachments": { "type": "array", "maxItems": MAX_LIMIT, "items": schema_ref("Attachment") },
        "metadata": schema_ref("PageMetadata"),
    }));
    operation(id, summary, VIEW)
        .query("paging.limit", limit, "The most attachments to return.")
        .query(
            "paging.offset",
            integer_or(0, MAX_OFFSET.into(), 0),
            "Attachments to skip, oldest first.",
        )
        .header("If-None-Match", json!({ "type": "string" }), "The `ETag` of an earlier response.")
        .returns_json(
            "A page, oldest attachment first; empty for a contact without attachments.",
            shape,
            example,
        )
        .responds(304, json!({ "description": "The page is unchanged." }))
        .fails(400, &["INVALID_ARGUMENT"])
}

fn list(id: &str) -> Operation {
    listing(id, "Lists a contact's attachments").query("contactId", guid(), COPY)
}

fn list_by_body(id: &str) -> Operation {
    let paging = json!({
        "type": ["object", "null"],
        "properties": {
            "limit": integer_or(0, MAX_LIMIT.into(), MAX_LIMIT.into()),
            "offset": integer_or(0, MAX_OFFSET.into(), 0),
        },
    });
    let shape = json!({
        "type": "object",
        "properties": {
            "contactId": { "type": ["string", "null"], "format": "uuid" },
            "paging": paging,
        },
    });
    listing(id, "Lists the attachments of the contact in the query or the body")
        .query(
            "contactId",
            guid(),
            "The contact, here or in the body. If given in both, they must be equal.",
        )
        .accepts_json(
            false,
            shape,
            json!({ "contactId": schemas::CONTACT, "paging": { "limit": 50 } }),
        )
}

fn get(id: &str) -> Operation {
    let example = json!({ "attachment": schemas::attachment_example() });
    operation(id, "Gets an attachment", VIEW)
        .query("contactId", guid(), COPY)
        .query("attachmentId", guid(), COPY)
        .returns_json(
            "The attachment.",
            object(json!({ "attachment": schema_ref("Attachment") })),
            example,
        )
        .fails(400, &["INVALID_ARGUMENT"])
        .fails(404, &["NOT_FOUND"])
}

fn delete(id: &str) -> Operation {
    operation(id, "Deletes an attachment", MODIFY)
        .describe("It is inaccessible at once. With the setting `trash_days` it can be restored for that many days.")
        .query("contactId", guid(), COPY)
        .query("attachmentId", guid(), COPY)
        .returns_json("The attachment was deleted.", schemas::empty(), json!({}))
        .fails(400, &["INVALID_ARGUMENT"])
        .fails(404, &["NOT_FOUND"])
}

fn generate(id: &str) -> Operation {
    let example: Value = json!({ "fileName": "harbour-plan.png", "mimeType": "image/png" });
    let url = "https://files.example.net/upload/kSample";
    operation(id, "Generates an upload URL", MODIFY)
        .describe("Nothing is stored: the URL's signature covers what it permits.")
        .query("contactId", guid(), COPY)
        .accepts_json(true, schema_ref("UploadRequest"), example)
        .returns_json(
            "The URL to send the bytes to.",
            object(json!({ "uploadUrl": { "type": "string", "format": "uri" } })),
            json!({ "uploadUrl": url }),
        )
        .fails(403, &["QUOTA_EXCEEDED"])
        .fails(404, &["NOT_FOUND"])
}
