//! The calls of the public contract, under both prefixes.

use serde_json::{Value, json};

use super::build::{Operation, Paths};
use super::schemas::{self, guid, named, object, whole_or};
use crate::domain::paging::{MAX_LIMIT, MAX_OFFSET};
use crate::domain::scope::{MODIFY, VIEW};
use crate::http::PREFIXES;

const COPY: &str = "If it is given here as well, it must equal the one in the path.";

/// Describes them.
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
    let limit = whole_or(0, MAX_LIMIT.into(), MAX_LIMIT.into());
    let answer = json!({
        "attachments": [schemas::attachment_example()],
        "metadata": { "count": 1, "offset": 0, "total": 1, "tooManyToCount": false },
    });
    let shape = object(json!({
        "attachments": { "type": "array", "maxItems": MAX_LIMIT, "items": named("Attachment") },
        "metadata": named("PageMetadata"),
    }));
    operation(id, summary, VIEW)
        .query("paging.limit", limit, "Most attachments of the answer.")
        .query(
            "paging.offset",
            whole_or(0, MAX_OFFSET.into(), 0),
            "Attachments to pass over, the oldest first.",
        )
        .header("If-None-Match", json!({ "type": "string" }), "The `ETag` of an answer before.")
        .answers(
            "A page, the oldest attachment first; empty for a contact that has none.",
            shape,
            answer,
        )
        .responds(304, json!({ "description": "The page is the one that the tag names." }))
        .fails(400, &["INVALID_ARGUMENT"])
}

fn list(id: &str) -> Operation {
    listing(id, "Lists a contact's attachments").query("contactId", guid(), COPY)
}

fn list_by_body(id: &str) -> Operation {
    let paging = json!({
        "type": ["object", "null"],
        "properties": {
            "limit": whole_or(0, MAX_LIMIT.into(), MAX_LIMIT.into()),
            "offset": whole_or(0, MAX_OFFSET.into(), 0),
        },
    });
    let shape = json!({
        "type": "object",
        "properties": {
            "contactId": { "type": ["string", "null"], "format": "uuid" },
            "paging": paging,
        },
    });
    listing(id, "Lists a contact's attachments, the contact in the query or the body")
        .query(
            "contactId",
            guid(),
            "The contact. It may stand here, in the body, or in both alike.",
        )
        .takes(false, shape, json!({ "contactId": schemas::CONTACT, "paging": { "limit": 50 } }))
}

fn get(id: &str) -> Operation {
    let answer = json!({ "attachment": schemas::attachment_example() });
    operation(id, "Gets an attachment", VIEW)
        .query("contactId", guid(), COPY)
        .query("attachmentId", guid(), COPY)
        .answers("The attachment.", object(json!({ "attachment": named("Attachment") })), answer)
        .fails(400, &["INVALID_ARGUMENT"])
        .fails(404, &["NOT_FOUND"])
}

fn delete(id: &str) -> Operation {
    operation(id, "Deletes an attachment", MODIFY)
        .describe("Nothing of it can be reached from then on. With `trash_days` it can be restored for a while.")
        .query("contactId", guid(), COPY)
        .query("attachmentId", guid(), COPY)
        .answers("It is deleted.", schemas::empty(), json!({}))
        .fails(400, &["INVALID_ARGUMENT"])
        .fails(404, &["NOT_FOUND"])
}

fn generate(id: &str) -> Operation {
    let example: Value = json!({ "fileName": "harbour-plan.png", "mimeType": "image/png" });
    let url = "https://files.example.net/upload/kSample";
    operation(id, "Makes an upload URL", MODIFY)
        .describe("Nothing is stored. What the URL allows is signed into it.")
        .query("contactId", guid(), COPY)
        .takes(true, named("UploadRequest"), example)
        .answers(
            "Where to send the bytes.",
            object(json!({ "uploadUrl": { "type": "string", "format": "uri" } })),
            json!({ "uploadUrl": url }),
        )
        .fails(403, &["QUOTA_EXCEEDED"])
        .fails(404, &["NOT_FOUND"])
}
