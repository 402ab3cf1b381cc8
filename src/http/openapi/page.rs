//! The web page and its sessions.

use serde_json::{Value, json};

use super::build::{Operation, Paths};
use super::schemas::{self, guid, object, time};

/// Adds these operations.
pub(super) fn describe(paths: &mut Paths) {
    let session = "/dossier/v1/session";
    paths.add("get", "/", index());
    paths.add("get", "/page/{version}/{*file}", file());
    paths.add("get", session, get_session());
    paths.add("post", session, sign_in());
    paths.add("delete", session, sign_out());
}

fn index() -> Operation {
    let content = json!({ "text/html; charset=utf-8": { "schema": { "type": "string" } } });
    Operation::new("getPage", "page", "Gets the web page")
        .responds(200, json!({ "description": "HTML.", "content": content }))
        .fails(403, &["PERMISSION_DENIED"])
}

fn file() -> Operation {
    let text = json!({ "schema": { "type": "string" } });
    let content =
        json!({ "text/javascript; charset=utf-8": text, "text/css; charset=utf-8": text });
    Operation::new("getPageFile", "page", "Gets a file of the page")
        .responds(200, json!({ "description": "The file.", "content": content }))
        .fails(404, &["NOT_FOUND"])
}

fn shape() -> Value {
    object(json!({
        "site": object(json!({ "id": guid(), "name": { "type": "string" } })),
        "role": { "type": "string", "enum": ["viewer", "editor", "admin"] },
        "key": object(json!({ "id": guid(), "name": { "type": "string" } })),
        "csrfToken": {
            "type": "string", "description": "The value of `X-CSRF-Token` for every method but GET and HEAD.",
        },
        "expiresAt": time(),
        "server": object(json!({
            "version": { "type": "string" },
            "publicUrl": { "type": "string", "format": "uri" },
            "mediaUrl": { "type": "string", "format": "uri" },
            "uploadMaxBytes": { "type": "integer", "minimum": 0 },
            "trashDays": { "type": "integer", "minimum": 0 },
        })),
    }))
}

fn returns_session(operation: Operation) -> Operation {
    operation.returns_json(
        "The session.",
        shape(),
        json!({
            "site": { "id": schemas::SITE, "name": "first" },
            "role": "admin",
            "key": { "id": schemas::OTHER_CONTACT, "name": "first" },
            "csrfToken": "kSample",
            "expiresAt": schemas::TIME,
            "server": {
                "version": "1.0.0", "publicUrl": "https://files.example.com/",
                "mediaUrl": "https://files.example.net/", "uploadMaxBytes": 26_214_400, "trashDays": 30,
            },
        }),
    )
}

fn get_session() -> Operation {
    returns_session(Operation::new("getSession", "page", "Gets the session").with_session())
}

fn sign_in() -> Operation {
    let text = json!({ "type": ["string", "null"] });
    let body = json!({ "type": "object", "properties": { "apiKey": text, "link": text } });
    let operation = Operation::new("signIn", "page", "Signs in")
        .describe(
            "With an `apiKey`, or with the single-use `link` printed by `dossier sign-in`. The response \
             sets the cookie.",
        )
        .accepts_json(true, body, json!({ "apiKey": "dossier_sample" }))
        .validates()
        .fails(401, &["UNAUTHENTICATED"])
        .fails(403, &["PERMISSION_DENIED"])
        .fails(429, &["RESOURCE_EXHAUSTED"]);
    returns_session(operation)
}

fn sign_out() -> Operation {
    Operation::new("signOut", "page", "Signs out")
        .describe("Without a session the response is the same.")
        .fails(403, &["PERMISSION_DENIED"])
        .responds(204, json!({ "description": "The session has ended." }))
}
