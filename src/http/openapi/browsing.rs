//! A contact's files as people look for them, as one ZIP, and what a site holds.

use serde_json::{Value, json};

use super::build::{Operation, Paths, header};
use super::own::{searched, sorts};
use super::schemas::{self, guid, list, named, object, text, whole_or};
use crate::domain::cursor::MAX_CURSOR_CHARS;
use crate::domain::media_type::FileKind;
use crate::domain::scope::{MODIFY, VIEW};
use crate::http::contacts::MAX_LABEL_CHARS;
use crate::http::files::{LIMIT, MAX_DESCRIPTION_CHARS, MAX_LIMIT, MOST_DELETED, SORTS};
use crate::http::upload_urls::MOST_URLS;
use crate::http::zip::{MOST_FILES, MOST_NAMED};

/// Describes them.
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
            searched(),
            "A part of a file's name or label, in any case and with accents in either form.",
        )
        .query(
            "type",
            json!({ "type": "string" }),
            &format!("Kinds of files, with commas between them: {kinds}."),
        )
        .query("sort", sorts(&SORTS), "`-` is the newest, largest or last by name first.")
        .query("limit", whole_or(1, MAX_LIMIT.into(), LIMIT.into()), "Most items of the answer.")
        .query(
            "cursor",
            text(MAX_CURSOR_CHARS),
            "The `next` of the page before, of the same search, filter and sort.",
        )
        .answers(
            "A page; empty where there are none.",
            object(json!({
                "attachments": list(named("File")),
                "next": { "type": ["string", "null"], "description": "`null` on the last page." },
                "total": { "type": "integer", "minimum": 0, "description": "Files on all pages." },
            })),
            json!({ "attachments": [schemas::noted_example()], "next": null, "total": 1 }),
        )
}

fn change() -> Operation {
    let note = |most: usize| json!({ "type": ["string", "null"], "maxLength": most });
    let shape = json!({ "type": "object", "properties": {
        "label": note(MAX_LABEL_CHARS), "description": note(MAX_DESCRIPTION_CHARS),
    } });
    operation("describeFile", "Changes the label and the description of a file", MODIFY)
        .describe("`null` or an empty text takes one away; what is absent stays.")
        .takes(false, shape, json!({ "label": "Harbour", "description": null }))
        .fails(404, &["NOT_FOUND"])
        .answers(
            "The file.",
            object(json!({ "attachment": named("File") })),
            json!({ "attachment": schemas::noted_example() }),
        )
}

fn upload_urls() -> Operation {
    let files = json!({
        "type": "array", "items": named("UploadRequest"), "minItems": 1, "maxItems": MOST_URLS,
    });
    let url = json!({ "type": "string", "format": "uri" });
    let one = json!({ "type": "object", "properties": { "uploadUrl": url, "error": named("ValidationError") } });
    operation("generateUploadUrls", "Makes upload URLs for several files", MODIFY)
        .describe("Each file gets a URL or an error of its own. Quotas are looked at when the bytes come.")
        .takes(
            true,
            object(json!({ "files": files })),
            json!({ "files": [{ "fileName": "harbour-plan.png", "mimeType": "image/png" }] }),
        )
        .answers(
            "In the order of the files: where to send the bytes, or what is wrong.",
            object(json!({ "uploads": list(one) })),
            json!({ "uploads": [{ "uploadUrl": "https://files.example.net/upload/kSample" }] }),
        )
        .fails(403, &["QUOTA_EXCEEDED"])
        .fails(404, &["NOT_FOUND"])
}

fn bulk_delete() -> Operation {
    let ids = json!({
        "type": "array", "items": guid(), "minItems": 1, "maxItems": MOST_DELETED,
        "uniqueItems": true,
    });
    operation("deleteFiles", "Deletes files of a contact together", MODIFY)
        .describe("Each goes as by a delete of its own, with its event, and into the trash if there is one.")
        .takes(
            true,
            object(json!({ "attachmentIds": ids })),
            json!({ "attachmentIds": [schemas::ATTACHMENT] }),
        )
        .answers(
            "What went, and what this contact does not have.",
            object(json!({ "deleted": list(guid()), "notFound": list(guid()) })),
            json!({ "deleted": [schemas::ATTACHMENT], "notFound": [] }),
        )
}

fn zip() -> Operation {
    operation("getZip", "Answers files of a contact as one ZIP", VIEW)
        .describe(&format!(
            "At most {MOST_FILES} files. It is written while it is sent, and its length is known; when a \
             file is deleted meanwhile, the connection breaks."
        ))
        .query(
            "ids",
            json!({ "type": "string" }),
            &format!("At most {MOST_NAMED} ids with commas between them; all files without it."),
        )
        .fails(404, &["NOT_FOUND"])
        .fails(409, &["TOO_MANY_FILES"])
        .responds(
            200,
            json!({
                "description": "The files by their names, made harmless and unique.",
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
    quotas["description"] = json!("`null` is any number.");
    let site = object(json!({
        "siteId": guid(), "name": { "type": "string" },
        "attachmentCount": { "type": "integer", "minimum": 0 },
        "totalBytes": { "type": "string", "pattern": "^[0-9]+$" }, "quotas": quotas,
    }));
    Operation::new("getUsage", "files", "Says what the site holds and may hold")
        .with_key(VIEW)
        .answers(
            "The use.",
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
