//! The description of everything over HTTP, as `OpenAPI` 3.1. `dossier openapi` prints it, the server
//! answers it, and `docs/openapi.json` holds it for reading. A test compares it with the router: no route is without
//! a description.

mod administering;
mod browsing;
#[expect(clippy::needless_pass_by_value, reason = "values are written where they are handed over")]
mod build;
mod contract;
mod errors;
mod files;
mod own;
mod page;
#[expect(clippy::needless_pass_by_value, reason = "values are written where they are handed over")]
mod schemas;
mod webhooks;

use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use super::answer;

/// GET `/dossier/v1/openapi.json`: public, as it says nothing of what is stored.
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
            "description": "What the server answers over HTTP. `/contacts/v4/attachments` is the \
                            public contract of Contact Attachments V4; all else is Dossier's own. \
                            Fields may be added, so readers pass over what they do not know.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The server that answers this description." }],
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
        { "name": "uploads", "description": "Where upload URLs lead: whole, as a form, or in pieces." },
        { "name": "media", "description": "What links open, and addresses that stay." },
        { "name": "contacts", "description": "Announced, merged, deleted, erased, restored." },
        { "name": "files", "description": "Searched, labelled, deleted together, as a ZIP; what a site holds." },
        { "name": "webhooks", "description": "Who is told of events, and what became of that." },
        { "name": "page", "description": "The page for people, and being signed in at it." },
        { "name": "administration", "description": "Keys and requests of a site, for its administrators." },
        { "name": "service", "description": "For those who run it." },
    ])
}

fn site_header() -> Value {
    json!({
        "name": "wix-site-id", "in": "header", "schema": schemas::guid(),
        "description": "The site. It must be the key's own; it may be absent while there is one site alone.",
    })
}

fn headers() -> Value {
    json!({
        "requestId": build::header(json!({ "type": "string" }), "The request's id, by which the log names it."),
        "retryAfter": build::header(json!({ "type": "integer", "minimum": 0 }), "Seconds to wait."),
        "tusResumable": build::header(json!({ "type": "string", "const": "1.0.0" }), "The version spoken."),
    })
}

fn security_schemes() -> Value {
    json!({
        "apiKey": {
            "type": "apiKey", "in": "header", "name": "Authorization",
            "description": "An API key as it is, or after `Bearer `. `x-scope` names the scope that it needs; with `any` it needs none.",
        },
        "session": {
            "type": "apiKey", "in": "cookie", "name": "dossier_session",
            "description": "Somebody who is signed in at the page, in place of an API key. Whatever is not \
                            GET needs the session's token in `X-CSRF-Token` as well.",
        },
        "linkToken": {
            "type": "apiKey", "in": "query", "name": "token",
            "description": "The signature of a link. It comes with the link and ends with it.",
        },
    })
}
