//! Upload URLs and media links.

use serde_json::{Value, json};

use super::build::{Operation, Paths, header};
use super::schemas::{self, integer, schema_ref, text};
use crate::domain::file_name::MAX_FILE_NAME_CHARS;
use crate::domain::scope::VIEW;
use crate::domain::tus::{MAX_METADATA_BYTES, PATCH_CONTENT_TYPE};

/// The largest size that a database column can hold.
const MAX_BYTES: u64 = i64::MAX as u64;

/// Adds these operations.
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
            "The file name to store, instead of the one in the URL.",
        )
        .fails(400, &["CHECKSUM_MISMATCH"])
        .fails(409, &["ALREADY_EXISTS"])
        .returns_json(
            "The file is stored and synced to disk.",
            schema_ref("FileDescriptor"),
            schemas::file_example(),
        )
}

fn put(id: &str) -> Operation {
    whole_file(id, "Uploads a whole file")
        .describe(
            "Idempotent: the same bytes get the same response, different bytes get 409. `Content-Range` is rejected.",
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
    let mut content = bytes(PATCH_CONTENT_TYPE);
    content["multipart/form-data"] = json!({ "schema": form });
    whole_file(id, "Uploads a file as a form, or creates a resumable upload")
        .describe(
            "The file is the first part that is named `file` or has a file name. With `Tus-Resumable` this \
             is `createUpload` with the token in the path.",
        )
        .header("Tus-Resumable", version(), "Present to create a resumable upload.")
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
    header(integer(0, MAX_BYTES), "The number of bytes received.")
}

fn expires() -> Value {
    header(json!({ "type": "string" }), "When the upload expires, as an HTTP date.")
}

fn created() -> Value {
    json!({
        "description": "The upload was created.",
        "headers": {
            "Location": header(json!({ "type": "string", "format": "uri" }), "The upload's URL."),
            "Upload-Offset": offset(), "Upload-Expires": expires(),
        },
    })
}

fn create(id: &str) -> Operation {
    receiving(id, "Creates a resumable upload")
        .describe("tus 1.0.0. The upload URL itself is also such an endpoint.")
        .tus()
        .header(
            "Upload-Length",
            integer(1, MAX_BYTES),
            "The file's size. Required unless deferred.",
        )
        .header(
            "Upload-Defer-Length",
            json!({ "type": "string", "const": "1" }),
            "The size is sent with a later chunk.",
        )
        .header(
            "Upload-Metadata",
            text(MAX_METADATA_BYTES),
            "Pairs of a key and a base64 value. `token` is the upload URL's token.",
        )
        .header("Upload-Checksum", checksum(), CHECKSUM)
        .body(false, bytes(PATCH_CONTENT_TYPE))
        .responds(201, created())
        .fails(409, &["ALREADY_EXISTS"])
        .fails(423, &["UPLOAD_LOCKED"])
        .fails(460, &["CHECKSUM_MISMATCH"])
}

const CHECKSUM: &str = "The chunk's checksum: `sha1` or `sha256`, and the digest in base64.";

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
    let length = header(integer(1, MAX_BYTES), "The file's size, once known.");
    let deferred = header(json!({ "type": "string", "const": "1" }), "The size is not known yet.");
    resumable("getUploadOffset", "Gets the offset of a resumable upload").responds(
        200,
        json!({
            "description": "The offset at which to resume.",
            "headers": {
                "Upload-Offset": offset(), "Upload-Expires": expires(), "Upload-Length": length,
                "Upload-Defer-Length": deferred,
            },
        }),
    )
}

fn chunk_operation(operation: Operation) -> Operation {
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
        .header("Upload-Length", integer(1, MAX_BYTES), "The file's size, if it was deferred.")
        .header("Upload-Checksum", checksum(), CHECKSUM)
        .responds(
            204,
            json!({
                "description": "The chunk is synced to disk. After the last one the attachment exists.",
                "headers": { "Upload-Offset": offset(), "Upload-Expires": expires() },
            }),
        )
}

fn append() -> Operation {
    chunk_operation(resumable("appendToUpload", "Appends a chunk"))
        .header("Upload-Offset", integer(0, MAX_BYTES), "The upload's current offset.")
        .required()
        .body(true, bytes(PATCH_CONTENT_TYPE))
}

fn terminate() -> Operation {
    resumable("endUpload", "Terminates a resumable upload")
        .responds(204, json!({ "description": "The upload's bytes were deleted." }))
        .fails(403, &["UPLOAD_COMPLETE"])
}

fn overridden() -> Operation {
    let methods = json!({ "type": "string", "enum": ["PATCH", "DELETE", "HEAD"] });
    chunk_operation(resumable("overrideUploadMethod", "Performs PATCH, DELETE or HEAD"))
        .describe("For clients behind proxies that block these methods.")
        .header("X-HTTP-Method-Override", methods, "The method to perform.")
        .required()
        .header("Upload-Offset", integer(0, MAX_BYTES), "For PATCH: the upload's current offset.")
        .body(false, bytes(PATCH_CONTENT_TYPE))
        .responds(200, json!({ "description": "For HEAD: the offset at which to resume.", "headers": { "Upload-Offset": offset() } }))
        .fails(405, &["METHOD_NOT_ALLOWED"])
}

fn finish(id: &str) -> Operation {
    Operation::new(id, "uploads", "Gets the file of a complete resumable upload")
        .describe("The last step of the vendor's documented code. The body is ignored.")
        .returns_json("The file.", schema_ref("FileDescriptor"), schemas::file_example())
        .fails(403, &["INVALID_UPLOAD_TOKEN"])
        .fails(409, &["UPLOAD_UNFINISHED"])
        .fails(410, &["UPLOAD_GONE"])
}

fn link(id: &str, summary: &str) -> Operation {
    let file = |description: &str| {
        json!({
            "description": description,
            "headers": {
                "ETag": header(json!({ "type": "string" }), "A strong tag of these bytes."),
                "Content-Disposition": header(json!({ "type": "string" }), "The name to save under."),
            },
            "content": bytes("*/*"),
        })
    };
    Operation::new(id, "media", summary)
        .with_link_token()
        .header(
            "Range",
            json!({ "type": "string" }),
            "The byte ranges to send, such as `bytes=0-99`.",
        )
        .header("If-None-Match", json!({ "type": "string" }), "The `ETag` of an earlier response.")
        .responds(200, file("The bytes."))
        .responds(206, file("The requested ranges."))
        .responds(304, json!({ "description": "The client's copy is current." }))
        .fails(412, &["FAILED_PRECONDITION"])
        .fails(416, &["OUT_OF_RANGE"])
}

fn original(id: &str) -> Operation {
    link(id, "Gets an original").fails(400, &["INVALID_ARGUMENT"])
}

fn preview(id: &str) -> Operation {
    link(id, "Gets a preview")
        .describe("404 for a file that cannot have one.")
        .fails(400, &["INVALID_ARGUMENT"])
}

fn transform() -> Operation {
    link("openTransform", "Gets a transform of an image")
        .describe("The setting `transforms` allows none, the presets, or any.")
        .header(
            "Accept",
            json!({ "type": "string" }),
            "With `image/webp`, `enc_auto` can choose WebP.",
        )
        .validates()
        .fails(403, &["PERMISSION_DENIED"])
}

fn stable_link() -> Operation {
    let part = json!({ "type": "string", "enum": ["original", "preview"], "default": "original" });
    let location = header(json!({ "type": "string", "format": "uri" }), "A fresh link.");
    Operation::new("followStableLink", "media", "Redirects to a fresh link")
        .describe("A permanent URL, valid as long as the attachment exists.")
        .with_key_only(VIEW)
        .validates()
        .query("part", part, "Which file the link opens.")
        .query(
            "preview",
            json!({ "type": "string" }),
            "The same as `part=preview`, whatever its value.",
        )
        .responds(302, json!({ "description": "A redirect to the link.", "headers": { "Location": location } }))
        .fails(400, &["INVALID_ARGUMENT"])
        .fails(404, &["NOT_FOUND"])
}
