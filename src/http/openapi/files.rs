//! Where upload URLs and links lead.

use serde_json::{Value, json};

use super::build::{Operation, Paths, header};
use super::schemas::{self, named, text, whole};
use crate::domain::file_name::MAX_FILE_NAME_CHARS;
use crate::domain::scope::VIEW;
use crate::domain::tus::{MAX_METADATA_BYTES, PIECE_TYPE};

/// Sizes are numbers that a database can hold.
const MOST_BYTES: u64 = i64::MAX as u64;

/// Describes them.
pub(super) fn describe(paths: &mut Paths) {
    for (route, end) in [("/upload/{token}", ""), ("/upload/{token}/", "Slash")] {
        paths.add("put", route, put(&format!("uploadFile{end}")));
        paths.add("post", route, post(&format!("uploadForm{end}")));
    }
    paths.add("post", "/upload/tus", create("createUpload"));
    paths.add("post", "/upload/tus/", create("createUploadSlash"));
    paths.add("put", "/upload/tus/{token}", finish("finishUpload"));
    paths.add("put", "/upload/{token}/{again}", finish("finishUploadAgain"));
    let upload = "/upload/tus/{token}/{upload}";
    paths.add("head", upload, progress());
    paths.add("patch", upload, append());
    paths.add("delete", upload, terminate());
    paths.add("post", upload, overridden());
    for (begin, end) in [("/media/{media}", ""), ("/ugd/{media}", "Document")] {
        paths.add("get", begin, original(&format!("openOriginal{end}")));
        paths.add("get", &format!("{begin}/preview"), preview(&format!("openPreview{end}")));
    }
    paths.add("get", "/media/{media}/v1/{*transform}", transform());
    paths.add("get", "/dossier/v1/media/{site}/{attachment}", stable_link());
}

fn receiving(id: &str, summary: &str) -> Operation {
    Operation::new(id, "uploads", summary)
        .fails(400, &["INVALID_ARGUMENT", "MIME_TYPE_MISMATCH", "EMPTY_FILE", "SIZE_MISMATCH"])
        .fails(403, &["INVALID_UPLOAD_TOKEN", "QUOTA_EXCEEDED"])
        .fails(404, &["NOT_FOUND"])
        .fails(408, &["REQUEST_INTERRUPTED"])
        .fails(413, &["FILE_TOO_LARGE"])
        .fails(507, &[])
}

fn whole_file(id: &str, summary: &str) -> Operation {
    receiving(id, summary)
        .validates()
        .query(
            "filename",
            text(MAX_FILE_NAME_CHARS),
            "The name to keep, in place of the one that the URL was made for.",
        )
        .fails(400, &["CHECKSUM_MISMATCH"])
        .fails(409, &["ALREADY_EXISTS"])
        .answers("It is stored and synced.", named("FileDescriptor"), schemas::file_example())
}

fn put(id: &str) -> Operation {
    whole_file(id, "Uploads a file whole")
        .describe(
            "The same bytes sent again get the same answer; other bytes get 409. `Content-Range` is refused.",
        )
        .header(
            "Content-Digest",
            json!({ "type": "string", "examples": ["sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:"] }),
            "The SHA-256 that the bytes must have (RFC 9530).",
        )
        .body(true, bytes("*/*"))
}

fn post(id: &str) -> Operation {
    let form = json!({
        "type": "object", "required": ["file"],
        "properties": { "file": { "type": "string", "contentMediaType": "application/octet-stream" } },
    });
    let mut content = bytes(PIECE_TYPE);
    content["multipart/form-data"] = json!({ "schema": form });
    whole_file(id, "Uploads a file as a form, or begins a resumable upload")
        .describe(
            "The first part that is named `file` or has a file name is taken. With `Tus-Resumable` this is \
             `createUpload` with the token in the path.",
        )
        .header("Tus-Resumable", version(), "Begins a resumable upload.")
        .body(true, content)
        .responds(201, created())
        .fails(412, &["TUS_VERSION"])
}

fn bytes(media_type: &str) -> Value {
    json!({ media_type: { "schema": { "type": "string", "contentMediaType": "application/octet-stream" } } })
}

fn version() -> Value {
    json!({ "type": "string", "const": "1.0.0" })
}

fn offset() -> Value {
    header(whole(0, MOST_BYTES), "Bytes that are there.")
}

fn expires() -> Value {
    header(json!({ "type": "string" }), "When it ends, as an HTTP date.")
}

fn created() -> Value {
    json!({
        "description": "It is begun.",
        "headers": {
            "Location": header(json!({ "type": "string", "format": "uri" }), "Where it goes on."),
            "Upload-Offset": offset(), "Upload-Expires": expires(),
        },
    })
}

fn create(id: &str) -> Operation {
    receiving(id, "Begins a resumable upload")
        .describe("tus 1.0.0. The upload URL itself is such an endpoint as well.")
        .tus()
        .header("Upload-Length", whole(1, MOST_BYTES), "The file's size; it may be deferred.")
        .header(
            "Upload-Defer-Length",
            json!({ "type": "string", "const": "1" }),
            "The size is told with a later piece.",
        )
        .header(
            "Upload-Metadata",
            text(MAX_METADATA_BYTES),
            "Pairs of a key and base64; `token` is the upload URL's.",
        )
        .header("Upload-Checksum", checksum(), CHECKSUM)
        .body(false, bytes(PIECE_TYPE))
        .responds(201, created())
        .fails(409, &["ALREADY_EXISTS"])
        .fails(423, &["UPLOAD_LOCKED"])
        .fails(460, &["CHECKSUM_MISMATCH"])
}

const CHECKSUM: &str = "The piece's own, `sha1` or `sha256` and base64.";

fn checksum() -> Value {
    json!({ "type": "string", "pattern": "^(sha1|sha256) [0-9A-Za-z+/]+=*$" })
}

fn resumable(id: &str, summary: &str) -> Operation {
    Operation::new(id, "uploads", summary)
        .tus()
        .fails(403, &["INVALID_UPLOAD_TOKEN"])
        .fails(410, &["UPLOAD_GONE"])
        .fails(423, &["UPLOAD_LOCKED"])
}

fn progress() -> Operation {
    let length = header(whole(1, MOST_BYTES), "The file's size, once it is known.");
    let deferred = header(json!({ "type": "string", "const": "1" }), "The size is not known yet.");
    resumable("getUploadOffset", "Says how far a resumable upload has come").responds(
        200,
        json!({
            "description": "Where it goes on.",
            "headers": {
                "Upload-Offset": offset(), "Upload-Expires": expires(), "Upload-Length": length,
                "Upload-Defer-Length": deferred,
            },
        }),
    )
}

fn pieces(operation: Operation) -> Operation {
    operation
        .fails(400, &["INVALID_ARGUMENT", "MIME_TYPE_MISMATCH", "EMPTY_FILE", "SIZE_MISMATCH"])
        .fails(403, &["QUOTA_EXCEEDED", "UPLOAD_COMPLETE"])
        .fails(404, &["NOT_FOUND"])
        .fails(408, &["REQUEST_INTERRUPTED"])
        .fails(409, &["UPLOAD_OFFSET_CONFLICT", "ALREADY_EXISTS"])
        .fails(413, &["FILE_TOO_LARGE"])
        .fails(415, &["CONTENT_TYPE"])
        .fails(460, &["CHECKSUM_MISMATCH"])
        .fails(507, &[])
        .header("Upload-Length", whole(1, MOST_BYTES), "The size, where it was deferred.")
        .header("Upload-Checksum", checksum(), CHECKSUM)
        .responds(
            204,
            json!({
                "description": "The piece is synced, and with the last one the attachment is there.",
                "headers": { "Upload-Offset": offset(), "Upload-Expires": expires() },
            }),
        )
}

fn append() -> Operation {
    pieces(resumable("appendToUpload", "Sends a piece"))
        .header("Upload-Offset", whole(0, MOST_BYTES), "Where the piece begins.")
        .required()
        .body(true, bytes(PIECE_TYPE))
}

fn terminate() -> Operation {
    resumable("endUpload", "Gives a resumable upload up")
        .responds(204, json!({ "description": "Its bytes are gone." }))
        .fails(403, &["UPLOAD_COMPLETE"])
}

fn overridden() -> Operation {
    let methods = json!({ "type": "string", "enum": ["PATCH", "DELETE", "HEAD"] });
    pieces(resumable("overrideUploadMethod", "Does what another method does"))
        .describe("For clients behind proxies that let no other method pass.")
        .header("X-HTTP-Method-Override", methods, "The method that is meant.")
        .required()
        .header("Upload-Offset", whole(0, MOST_BYTES), "Where the piece begins, for PATCH.")
        .body(false, bytes(PIECE_TYPE))
        .responds(200, json!({ "description": "For HEAD: where the upload goes on.", "headers": { "Upload-Offset": offset() } }))
        .fails(405, &["METHOD_NOT_ALLOWED"])
}

fn finish(id: &str) -> Operation {
    Operation::new(id, "uploads", "Shows the file of a complete resumable upload")
        .describe("The last step of the vendor's documented code; its body is passed over.")
        .answers("The file.", named("FileDescriptor"), schemas::file_example())
        .fails(403, &["INVALID_UPLOAD_TOKEN"])
        .fails(409, &["UPLOAD_UNFINISHED"])
        .fails(410, &["UPLOAD_GONE"])
}

fn link(id: &str, summary: &str) -> Operation {
    let file = |description: &str| {
        json!({
            "description": description,
            "headers": {
                "ETag": header(json!({ "type": "string" }), "Names exactly these bytes."),
                "Content-Disposition": header(json!({ "type": "string" }), "The name to save under."),
            },
            "content": bytes("*/*"),
        })
    };
    Operation::new(id, "media", summary)
        .with_link_token()
        .header("Range", json!({ "type": "string" }), "Parts of it, as `bytes=0-99`.")
        .header("If-None-Match", json!({ "type": "string" }), "The `ETag` of an answer before.")
        .responds(200, file("The bytes."))
        .responds(206, file("The parts that were asked for."))
        .responds(304, json!({ "description": "It is what the tag names." }))
        .fails(412, &["FAILED_PRECONDITION"])
        .fails(416, &["OUT_OF_RANGE"])
}

fn original(id: &str) -> Operation {
    link(id, "Opens an original").fails(400, &["INVALID_ARGUMENT"])
}

fn preview(id: &str) -> Operation {
    link(id, "Opens a preview")
        .describe("404 for a file of which none can be made.")
        .fails(400, &["INVALID_ARGUMENT"])
}

fn transform() -> Operation {
    link("openTransform", "Makes another picture of a picture")
        .describe("The setting `transforms` says which are made: none, the presets, or any.")
        .header("Accept", json!({ "type": "string" }), "`image/webp` lets `enc_auto` choose it.")
        .validates()
        .fails(403, &["PERMISSION_DENIED"])
}

fn stable_link() -> Operation {
    let part = json!({ "type": "string", "enum": ["original", "preview"], "default": "original" });
    let location = header(json!({ "type": "string", "format": "uri" }), "A fresh link.");
    Operation::new("followStableLink", "media", "Leads to a fresh link")
        .describe("An address that may be stored: it stays as long as the attachment.")
        .with_key_alone(VIEW)
        .validates()
        .query("part", part, "What the link opens.")
        .query(
            "preview",
            json!({ "type": "string" }),
            "The same as `part=preview`, whatever its value.",
        )
        .responds(302, json!({ "description": "The link.", "headers": { "Location": location } }))
        .fails(400, &["INVALID_ARGUMENT"])
        .fails(404, &["NOT_FOUND"])
}
