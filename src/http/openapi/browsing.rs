//! A contact's files: search, labels, bulk operations and ZIP; and a site's usage.

use serde_json::{Value, json};

use super::build::{Operation, Paths, header};
use super::own::{search_text, sorts};
use super::schemas::{self, guid, integer_or, list, object, schema_ref, text};
use crate::domain::cursor::MAX_CURSOR_CHARS;
use crate::domain::media_type::FileKind;
use crate::domain::scope::{MODIFY, VIEW};
use crate::http::contacts::MAX_LABEL_CHARS;
use crate::http::files::{LIMIT, MAX_BULK_DELETE, MAX_DESCRIPTION_CHARS, MAX_LIMIT, SORTS};
use crate::http::upload_urls::MAX_UPLOAD_URLS;
use crate::http::zip::{MAX_FILES, MAX_IDS};

/// Adds these operations.
pub(super) fn describe(paths: &mut Paths) {
    let contact = "/dossier/v1/contacts/{contact}";
    let at = |end: &str| format!("{contact}{end}");
    paths.add("get", &at("/attachments"), files());
    paths.add("patch", &at("/attachments/{attachment}"), change());
    paths.add("post", &at("/attachments/bulk-delete"), bulk_delete());
    paths.add("post", &at("/upload-urls"), upload_urls());
    paths.add("get", &at("/zip"), zip());
    paths.add("get", "/dossier/v1/usage", usage());
}

fn operation(id: &str, summary: &str, scope: &str) -> Operation {
    Operation::new(id, "files", summary)
        .with_key(scope)
        .validates()
        .fails(400, &["INVALID_ARGUMENT"])
}

fn files() -> Operation {
    let kinds: Vec<&str> = FileKind::NAMED.iter().map(|(name, _)| *name).collect();
    let kinds = kinds.join(", ");
    operation("searchFiles", "Searches the files of a contact, or lists all", VIEW)
        .query(
            "search",
            search_text(),
            "A part of a file's name or label. Case and the Unicode form of accents are ignored.",
        )
        .query(
            "type",
            json!({ "type": "string" }),
            &format!("Comma-separated kinds of files: {kinds}."),
        )
        .query(
            "sort",
            sorts(&SORTS),
            "`-` means descending: the newest, largest or last by name first.",
        )
        .query("limit", integer_or(1, MAX_LIMIT.into(), LIMIT.into()), "The most items to return.")
        .query(
            "cursor",
            text(MAX_CURSOR_CHARS),
            "The previous page's `next`, with the same search, filter and sort.",
        )
        .returns_json(
            "A page, empty if there are none.",
            object(json!({
                "attachments": list(schema_ref("File")),
                "next": { "type": ["string", "null"], "description": "`null` on the last page." },
                "total": { "type": "integer", "minimum": 0, "description": "Files on all pages." },
            })),
            json!({ "attachments": [schemas::annotated_example()], "next": null, "total": 1 }),
        )
}

fn change() -> Operation {
    let note = |most: usize| json!({ "type": ["string", "null"], "maxLength": most });
    let shape = json!({ "type": "object", "properties": {
        "label": note(MAX_LABEL_CHARS), "description": note(MAX_DESCRIPTION_CHARS),
    } });
    operation("describeFile", "Changes the label and the description of a file", MODIFY)
        .describe("`null` or an empty string removes a text; an absent field leaves it.")
        .accepts_json(false, shape, json!({ "label": "Harbour", "description": null }))
        .fails(404, &["NOT_FOUND"])
        .returns_json(
            "The file.",
            object(json!({ "attachment": schema_ref("File") })),
            json!({ "attachment": schemas::annotated_example() }),
        )
}

fn upload_urls() -> Operation {
    let files = json!({
        "type": "array", "items": schema_ref("UploadRequest"), "minItems": 1, "maxItems": MAX_UPLOAD_URLS,
    });
    let url = json!({ "type": "string", "format": "uri" });
    let one = json!({ "type": "object", "properties": { "uploadUrl": url, "error": schema_ref("ValidationError") } });
    operation("generateUploadUrls", "Generates upload URLs for several files", MODIFY)
        .describe("Each file gets its own URL or error. Quotas are checked when the bytes arrive.")
        .accepts_json(
            true,
            object(json!({ "files": files })),
            json!({ "files": [{ "fileName": "harbour-plan.png", "mimeType": "image/png" }] }),
        )
        .returns_json(
            "In the order of the files: the URL to send the bytes to, or the error.",
            object(json!({ "uploads": list(one) })),
            json!({ "uploads": [{ "uploadUrl": "https://files.example.net/upload/kSample" }] }),
        )
        .fails(403, &["QUOTA_EXCEEDED"])
        .fails(404, &["NOT_FOUND"])
}

fn bulk_delete() -> Operation {
    let ids = json!({
        "type": "array", "items": guid(), "minItems": 1, "maxItems": MAX_BULK_DELETE,
        "uniqueItems": true,
    });
    operation("deleteFiles", "Deletes several files of a contact", MODIFY)
        .describe("Each is deleted as by a single delete, with its own event, and moves to the trash if that is enabled.")
        .accepts_json(
            true,
            object(json!({ "attachmentIds": ids })),
            json!({ "attachmentIds": [schemas::ATTACHMENT] }),
        )
        .returns_json(
            "The deleted files, and the ids that this contact does not have.",
            object(json!({ "deleted": list(guid()), "notFound": list(guid()) })),
            json!({ "deleted": [schemas::ATTACHMENT], "notFound": [] }),
        )
}

fn zip() -> Operation {
    operation("getZip", "Gets a contact's files as one ZIP", VIEW)
        .describe(&format!(
            "At most {MAX_FILES} files. It is generated while it is sent, with a known length. If a file \
             is deleted meanwhile, the connection is aborted."
        ))
        .query(
            "ids",
            json!({ "type": "string" }),
            &format!("At most {MAX_IDS} comma-separated ids. All files by default."),
        )
        .fails(404, &["NOT_FOUND"])
        .fails(409, &["TOO_MANY_FILES"])
        .responds(
            200,
            json!({
                "description": "The files, under sanitised and unique names.",
                "headers": {
                    "Content-Disposition": header(json!({ "type": "string" }), "The name to save under."),
                },
                "content": { "application/zip": {} },
            }),
        )
}

fn usage() -> Operation {
    let bytes = json!({ "type": ["string", "null"], "pattern": "^[0-9]+$" });
    let files = json!({ "type": ["integer", "null"], "minimum": 1 });
    let quotas = object(json!({
        "maxFiles": files, "maxBytes": bytes, "contactMaxFiles": files, "contactMaxBytes": bytes,
    }));
    let mut quotas: Value = quotas;
    quotas["description"] = json!("`null` means unlimited.");
    let site = object(json!({
        "siteId": guid(), "name": { "type": "string" },
        "attachmentCount": { "type": "integer", "minimum": 0 },
        "totalBytes": { "type": "string", "pattern": "^[0-9]+$" }, "quotas": quotas,
    }));
    Operation::new("getUsage", "files", "Gets the site's usage and quotas")
        .with_key(VIEW)
        .returns_json(
            "The usage.",
            object(json!({ "site": site })),
            json!({ "site": {
                "siteId": schemas::SITE, "name": "Harbour clinic", "attachmentCount": 3,
                "totalBytes": "48213",
                "quotas": {
                    "maxFiles": null, "maxBytes": "1073741824", "contactMaxFiles": 500,
                    "contactMaxBytes": null,
                },
            } }),
        )
}
