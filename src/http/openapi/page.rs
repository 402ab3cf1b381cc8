//! The page for people, and being signed in at it.

use serde_json::{Value, json};

use super::build::{Operation, Paths};
use super::schemas::{self, guid, object, time};

/// Describes them.
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
    Operation::new("getPage", "page", "Answers the page for people")
        .responds(200, json!({ "description": "HTML.", "content": content }))
        .fails(403, &["PERMISSION_DENIED"])
}

fn file() -> Operation {
    let text = json!({ "schema": { "type": "string" } });
    let content =
        json!({ "text/javascript; charset=utf-8": text, "text/css; charset=utf-8": text });
    Operation::new("getPageFile", "page", "Answers a file that the page loads")
        .responds(200, json!({ "description": "The file.", "content": content }))
        .fails(404, &["NOT_FOUND"])
}

fn shape() -> Value {
    object(json!({
        "site": object(json!({ "id": guid(), "name": { "type": "string" } })),
        "role": { "type": "string", "enum": ["viewer", "editor", "admin"] },
        "key": object(json!({ "id": guid(), "name": { "type": "string" } })),
        "csrfToken": {
            "type": "string", "description": "What `X-CSRF-Token` holds with everything but GET.",
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

fn answers(operation: Operation) -> Operation {
    operation.answers(
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
    answers(Operation::new("getSession", "page", "Says who is signed in").with_session())
}

fn sign_in() -> Operation {
    let text = json!({ "type": ["string", "null"] });
    let body = json!({ "type": "object", "properties": { "apiKey": text, "link": text } });
    let operation = Operation::new("signIn", "page", "Signs in")
        .describe(
            "With an `apiKey`, or with the `link` that `dossier sign-in` prints, which works once. The \
             answer sets the cookie.",
        )
        .takes(true, body, json!({ "apiKey": "dossier_sample" }))
        .validates()
        .fails(401, &["UNAUTHENTICATED"])
        .fails(403, &["PERMISSION_DENIED"])
        .fails(429, &["RESOURCE_EXHAUSTED"]);
    answers(operation)
}

fn sign_out() -> Operation {
    Operation::new("signOut", "page", "Signs out")
        .describe("Whoever is not signed in gets the same answer.")
        .fails(403, &["PERMISSION_DENIED"])
        .responds(204, json!({ "description": "The session is over." }))
}
