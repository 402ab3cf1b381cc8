//! What administrators of a site see: its keys, its last requests, and how the server does.

use serde_json::{Value, json};

use super::build::{Operation, Paths};
use super::schemas::{self, guid, list, named, object, text, time};
use crate::db::MOST_COUNTED;
use crate::domain::scope::ADMIN;
use crate::http::contacts::MAX_LABEL_CHARS;
use crate::request_log::KEPT;

/// Describes them.
pub(super) fn describe(paths: &mut Paths) {
    paths.add("get", "/dossier/v1/keys", keys());
    paths.add("post", "/dossier/v1/keys", add());
    paths.add("delete", "/dossier/v1/keys/{key}", revoke());
    paths.add("get", "/dossier/v1/whoami", whoami());
    paths.add("get", "/dossier/v1/requests", requests());
    paths.add("get", "/dossier/v1/operations", operations());
}

fn operation(id: &str, summary: &str) -> Operation {
    Operation::new(id, "administration", summary).with_key(ADMIN)
}

fn keys() -> Operation {
    operation("listKeys", "Lists the API keys of the site, revoked ones too").answers(
        "They, without their secrets.",
        object(json!({ "keys": list(named("ApiKey")) })),
        json!({ "keys": [schemas::key_example()] }),
    )
}

fn add() -> Operation {
    let scopes = json!({
        "type": "array", "items": { "type": "string" }, "minItems": 1,
        "description": "Ids of scopes or their last words: VIEW, MODIFY, ADMIN, which has the others.",
    });
    operation("addKey", "Makes an API key of the site")
        .validates()
        .fails(400, &["INVALID_ARGUMENT"])
        .fails(409, &["TOO_MANY_KEYS"])
        .takes(
            true,
            object(json!({ "name": text(MAX_LABEL_CHARS), "scopes": scopes })),
            json!({ "name": "Front desk", "scopes": ["VIEW", "MODIFY"] }),
        )
        .answers(
            "The key, and its secret, which is shown this once.",
            object(json!({ "key": named("ApiKey"), "apiKey": { "type": "string" } })),
            json!({ "key": schemas::key_example(), "apiKey": "dossier_sample" }),
        )
}

fn revoke() -> Operation {
    operation("revokeKey", "Revokes an API key of the site, and ends its sessions")
        .validates()
        .fails(400, &["INVALID_ARGUMENT"])
        .fails(404, &["NOT_FOUND"])
        .answers("It opens nothing any more.", schemas::empty(), json!({}))
}

fn whoami() -> Operation {
    let text = json!({ "type": "string" });
    let site = object(json!({ "id": guid(), "name": text }));
    let key = object(json!({
        "id": guid(), "name": text, "scopes": list(text.clone()), "role": role(),
    }));
    Operation::new("whoAmI", "administration", "Says which key is calling, and of which site it is")
        .with_key("any")
        .answers(
            "That.",
            object(json!({ "key": key, "site": site })),
            json!({
                "key": {
                    "id": schemas::key_example()["id"], "name": "Front desk",
                    "scopes": schemas::key_example()["scopes"], "role": schemas::key_example()["role"],
                },
                "site": { "id": schemas::SITE, "name": "Harbour clinic" },
            }),
        )
}

fn requests() -> Operation {
    let count = json!({ "type": "integer", "minimum": 0 });
    let text = json!({ "type": "string" });
    let one: Value = object(json!({
        "seq": count, "at": time(), "method": text, "route": text, "status": count,
        "durationMs": count, "scope": { "type": ["string", "null"] }, "keyName": text,
    }));
    operation("listRequests", "Lists the last requests of the site at this server, oldest first")
        .describe(&format!(
            "The last {KEPT}, in memory, of callers whose key is known; this one is never among them."
        ))
        .validates()
        .query("after", count, "The `seq` of the last one that is known.")
        .answers(
            "They.",
            object(json!({ "requests": list(one) })),
            json!({ "requests": [{
                "seq": 7, "at": "2027-01-15T08:00:00.000Z", "method": "GET",
                "route": "/contacts/v4/attachments/{contact}", "status": 200, "durationMs": 1,
                "scope": "CONTACTS_ATTACHMENTS.VIEW", "keyName": "Front desk",
            }] }),
        )
}

fn operations() -> Operation {
    let count = json!({ "type": "integer", "minimum": 0, "maximum": MOST_COUNTED });
    let (text, any) = (json!({ "type": "string" }), json!({ "type": "integer", "minimum": 0 }));
    let maybe = json!({ "type": ["string", "null"], "format": "date-time" });
    let some = json!({ "type": ["integer", "null"], "minimum": 0 });
    operation("getOperations", "Says how the server does and what waits at the site")
        .describe(
            "Counts end at their maximum. The scrub, backups and checks (`dossier fsck`) are of all \
             sites; what was never done is null. Backups made by PostgreSQL's own tools are not known.",
        )
        .answers(
            "That.",
            object(json!({
                "server": object(json!({
                    "version": text, "database": text, "storage": text,
                    "state": { "type": "string", "enum": ["ok", "read-only"] },
                    "problems": list(text.clone()),
                })),
                "queues": object(json!({
                    "uploadsUnderWay": count, "webhooksToDeliver": count, "filesToRemove": count,
                })),
                "trash": object(json!({ "files": count, "days": any })),
                "scrub": object(json!({
                    "damagedFiles": count, "roundBeganAt": maybe, "roundEndedAt": maybe,
                    "filesReadInRound": any,
                })),
                "backup": object(json!({ "lastBackupOf": maybe, "files": some, "bytes": some })),
                "check": object(json!({
                    "lastEndedAt": maybe, "findings": some,
                    "everyFileRead": { "type": ["boolean", "null"] },
                })),
            })),
            json!({
                "server": {
                    "version": env!("CARGO_PKG_VERSION"), "database": "SQLite",
                    "storage": "data folder", "state": "ok", "problems": [],
                },
                "queues": { "uploadsUnderWay": 1, "webhooksToDeliver": 0, "filesToRemove": 2 },
                "trash": { "files": 3, "days": 30 },
                "scrub": {
                    "damagedFiles": 0, "roundBeganAt": "2027-01-15T08:00:00.000Z",
                    "roundEndedAt": null, "filesReadInRound": 812,
                },
                "backup": {
                    "lastBackupOf": "2027-01-14T22:00:00.000Z", "files": 3_450, "bytes": 912_345_678,
                },
                "check": { "lastEndedAt": null, "findings": null, "everyFileRead": null },
            }),
        )
}

/// A key as it is shown.
pub(super) fn key() -> Value {
    object(json!({
        "id": guid(), "name": { "type": "string" },
        "scopes": list(json!({ "type": "string" })),
        "role": role(),
        "createdAt": time(), "revokedAt": { "type": ["string", "null"], "format": "date-time" },
    }))
}

fn role() -> Value {
    json!({ "anyOf": [
        { "type": "string", "enum": ["viewer", "editor", "admin"] }, { "type": "null" },
    ] })
}
