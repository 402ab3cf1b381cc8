//! The server's state and the queues of the caller's site, GET `/dossier/v1/operations`. Needs
//! ADMIN.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;

use super::answer;
use super::auth::Caller;
use crate::actions::scrub::Progress;
use crate::app::App;
use crate::domain::scope::Scope;
use crate::domain::timestamp::timestamp;
use crate::error::Result;

/// GET `/dossier/v1/operations`: counts, capped at [`crate::db::COUNT_LIMIT`], without any names.
pub(super) async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Admin).await?;
    let found = app.db.operations(caller.site().id).await?;
    let problems = app.problems();
    let scrub: Progress = found
        .scrub_progress
        .and_then(|progress| serde_json::from_str(&progress).ok())
        .unwrap_or_default();
    // Zero means never.
    let time = |time_ms: i64| (time_ms > 0).then(|| timestamp(time_ms));
    let body = json!({
        "server": {
            "version": env!("CARGO_PKG_VERSION"),
            "database": if app.db.is_shared() { "PostgreSQL" } else { "SQLite" },
            "storage": if app.blobs.is_shared() { "bucket" } else { "data folder" },
            "state": if problems.is_empty() { "ok" } else { "read-only" },
            "problems": problems,
        },
        "queues": {
            "uploadsUnderWay": found.uploads,
            "webhooksToDeliver": found.deliveries,
            "filesToRemove": found.removals,
        },
        "trash": { "files": found.trashed, "days": app.config.trash_days },
        "scrub": {
            "damagedFiles": found.damaged,
            "roundBeganAt": time(scrub.began_at_ms),
            "roundEndedAt": time(scrub.ended_at_ms),
            "filesReadInRound": scrub.files,
        },
        "backup": {
            "lastBackupOf": found.backup.map(|backup| timestamp(backup.of_ms)),
            "files": found.backup.map(|backup| backup.attachments),
            "bytes": found.backup.map(|backup| backup.bytes),
        },
        "check": {
            "lastEndedAt": found.check.map(|check| timestamp(check.ended_at_ms)),
            "findings": found.check.map(|check| check.findings),
            "everyFileRead": found.check.map(|check| check.hashed),
        },
    });
    Ok(answer::no_store_json(StatusCode::OK, &body))
}
