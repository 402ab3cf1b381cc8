//! For a site's administrators: its keys, its last requests and the server's state.

use serde_json::{Value, json};

use super::build::{Operation, Paths};
use super::schemas::{self, guid, list, object, schema_ref, text, time};
use crate::db::COUNT_LIMIT;
use crate::domain::scope::ADMIN;
use crate::http::contacts::MAX_LABEL_CHARS;
use crate::request_log::MAX_REQUESTS_PER_SITE;

/// Adds these operations.
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
    operation("listKeys", "Lists the API keys of the site, including revoked ones").returns_json(
        "The keys, without their secrets.",
        object(json!({ "keys": list(schema_ref("ApiKey")) })),
        json!({ "keys": [schemas::key_example()] }),
    )
}

fn add() -> Operation {
    let scopes = json!({
        "type": "array", "items": { "type": "string" }, "minItems": 1,
        "description": "Scope ids or their last words: VIEW, MODIFY, or ADMIN, which includes the others.",
    });
    operation("addKey", "Creates an API key of the site")
        .validates()
        .fails(400, &["INVALID_ARGUMENT"])
        .fails(409, &["TOO_MANY_KEYS"])
        .accepts_json(
            true,
            object(json!({ "name": text(MAX_LABEL_CHARS), "scopes": scopes })),
            json!({ "name": "Front desk", "scopes": ["VIEW", "MODIFY"] }),
        )
        .returns_json(
            "The key and its secret, which is returned only this once.",
            object(json!({ "key": schema_ref("ApiKey"), "apiKey": { "type": "string" } })),
            json!({ "key": schemas::key_example(), "apiKey": "dossier_sample" }),
        )
}

fn revoke() -> Operation {
    operation("revokeKey", "Revokes an API key of the site and ends its sessions")
        .validates()
        .fails(400, &["INVALID_ARGUMENT"])
        .fails(404, &["NOT_FOUND"])
        .returns_json("The key is revoked.", schemas::empty(), json!({}))
}

fn whoami() -> Operation {
    let text = json!({ "type": "string" });
    let site = object(json!({ "id": guid(), "name": text }));
    let key = object(json!({
        "id": guid(), "name": text, "scopes": list(text.clone()), "role": role(),
    }));
    Operation::new("whoAmI", "administration", "Gets the calling key and its site")
        .with_key("any")
        .returns_json(
            "The key and the site.",
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
    operation("listRequests", "Lists the last requests of the site to this server, oldest first")
        .describe(&format!(
            "The last {MAX_REQUESTS_PER_SITE} authenticated requests, kept in memory. Requests to this path are not included."
        ))
        .validates()
        .query("after", count, "The `seq` of the last request already received.")
        .returns_json(
            "The requests.",
            object(json!({ "requests": list(one) })),
            json!({ "requests": [{
                "seq": 7, "at": "2027-01-15T08:00:00.000Z", "method": "GET",
                "route": "/contacts/v4/attachments/{contact}", "status": 200, "durationMs": 1,
                "scope": "CONTACTS_ATTACHMENTS.VIEW", "keyName": "Front desk",
            }] }),
        )
}

fn operations() -> Operation {
    let count = json!({ "type": "integer", "minimum": 0, "maximum": COUNT_LIMIT });
    let (text, any) = (json!({ "type": "string" }), json!({ "type": "integer", "minimum": 0 }));
    let maybe = json!({ "type": ["string", "null"], "format": "date-time" });
    let some = json!({ "type": ["integer", "null"], "minimum": 0 });
    operation("getOperations", "Gets the server's state and the site's queues")
        .describe(
            "Counts are capped at their maximum. The scrub, backups and checks (`dossier fsck`) cover all \
             sites, and are null if never done. Backups made by PostgreSQL's own tools are not reported.",
        )
        .returns_json(
            "The state.",
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

/// The schema of a key.
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
