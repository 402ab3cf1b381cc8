//! The `OpenAPI` 3.1 description of the HTTP API. `dossier openapi` prints it, the server serves
//! it, and `docs/openapi.json` is a copy. A test compares it with the router, so that every route
//! is described.

mod administering;
mod browsing;
#[expect(clippy::needless_pass_by_value, reason = "values are written inline at the call")]
mod build;
mod contract;
mod errors;
mod files;
mod own;
mod page;
#[expect(clippy::needless_pass_by_value, reason = "values are written inline at the call")]
mod schemas;
mod webhooks;

use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use super::answer;

/// GET `/dossier/v1/openapi.json`. Public: it reveals nothing of the stored data.
pub(super) async fn show() -> Response {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(openapi().to_string()));
    answer::raw_json(StatusCode::OK, TEXT.clone())
}

/// The description of this version.
pub fn openapi() -> Value {
    let mut paths = build::Paths::default();
    contract::describe(&mut paths);
    files::describe(&mut paths);
    own::describe(&mut paths);
    browsing::describe(&mut paths);
    administering::describe(&mut paths);
    page::describe(&mut paths);
    webhooks::describe(&mut paths);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Dossier",
            "summary": "Files that belong to a contact.",
            "description": "The server's HTTP API. `/contacts/v4/attachments` is the public contract \
                            of Contact Attachments V4; everything else is Dossier's own. Fields may \
                            be added, so clients must ignore fields they do not know.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The server that serves this description." }],
        "tags": tags(),
        "paths": paths.finish(),
        "components": {
            "schemas": schemas::all(),
            "parameters": { "siteId": site_header() },
            "headers": headers(),
            "securitySchemes": security_schemes(),
        },
    })
}

fn tags() -> Value {
    json!([
        { "name": "attachments", "description": "The contract's own calls." },
        { "name": "uploads", "description": "Uploads to signed URLs: a whole file, a form, or a resumable upload (tus 1.0.0)." },
        { "name": "media", "description": "Signed links to originals, previews and transforms, and permanent URLs." },
        { "name": "contacts", "description": "Announce, merge, delete, erase and restore contacts." },
        { "name": "files", "description": "Search, label and bulk delete files, or get them as a ZIP; a site's usage." },
        { "name": "webhooks", "description": "Webhook subscriptions and their deliveries." },
        { "name": "page", "description": "The web page and its sessions." },
        { "name": "administration", "description": "A site's keys, requests and operations, for its administrators." },
        { "name": "service", "description": "For operators of the server." },
    ])
}

fn site_header() -> Value {
    json!({
        "name": "wix-site-id", "in": "header", "schema": schemas::guid(),
        "description": "The site's id. It must be the key's own site. Optional while the server has only one site.",
    })
}

fn headers() -> Value {
    json!({
        "requestId": build::header(json!({ "type": "string" }), "The request's id, which the log contains too."),
        "retryAfter": build::header(json!({ "type": "integer", "minimum": 0 }), "Seconds to wait before a retry."),
        "tusResumable": build::header(json!({ "type": "string", "const": "1.0.0" }), "The protocol version."),
    })
}

fn security_schemes() -> Value {
    json!({
        "apiKey": {
            "type": "apiKey", "in": "header", "name": "Authorization",
            "description": "An API key, bare or after `Bearer `. `x-scope` names the scope that an operation needs; `any` means none.",
        },
        "session": {
            "type": "apiKey", "in": "cookie", "name": "dossier_session",
            "description": "A session of the page, instead of an API key. Every method but GET and HEAD \
                            also needs the session's token in `X-CSRF-Token`.",
        },
        "linkToken": {
            "type": "apiKey", "in": "query", "name": "token",
            "description": "The signature of a link. It is part of the link and expires with it.",
        },
    })
}
