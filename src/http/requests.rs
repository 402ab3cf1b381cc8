//! The last requests of the caller's site, GET `/dossier/v1/requests`, and the caller of the
//! request in progress.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::answer;
use super::auth::Caller;
use super::request::{Query, Violations};
use crate::app::App;
use crate::domain::scope::Scope;
use crate::domain::timestamp::timestamp;
use crate::error::{Result, Rule, Violation};
use crate::registry::KnownKey;
use crate::request_log::LoggedRequest;

/// This route is not logged: a client that polls it would see little else.
pub(super) const ROUTE: &str = "/dossier/v1/requests";

/// A caller's key and the scope that it used.
pub(super) type RecordedCaller = (Arc<KnownKey>, Option<Scope>);

tokio::task_local! {
    /// The caller of this task's request: how handlers report it to the layer around them.
    static CALLER: RefCell<Option<RecordedCaller>>;
}

/// Runs a request, and returns its caller if it was authenticated.
pub(super) async fn record_caller<T>(
    request: impl Future<Output = T>,
) -> (T, Option<RecordedCaller>) {
    let recorded = async {
        let output = request.await;
        (output, CALLER.with(RefCell::take))
    };
    CALLER.scope(RefCell::new(None), recorded).await
}

/// Records the caller of the current request.
pub(super) fn set_caller(key: &Arc<KnownKey>, scope: Option<Scope>) {
    // Outside a request there is nothing to record into.
    let _ = CALLER.try_with(|caller| caller.replace(Some((Arc::clone(key), scope))));
}

/// Lists the requests after `after`, oldest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Admin).await?;
    let query = Query::parse(query.as_deref());
    let mut violations = Violations::default();
    let after = violations.collect(query.one("after")).flatten().and_then(|text| {
        let number = text.parse::<u64>().ok();
        let problem = || Violation::new("after", Rule::Format("UINT64"), "is not a whole number");
        violations.collect(number.ok_or_else(problem))
    });
    violations.check()?;
    let found = app.requests.after(caller.site().id, after.unwrap_or(0));
    let found: Vec<Value> = found.iter().map(logged_json).collect();
    Ok(answer::no_store_json(StatusCode::OK, &json!({ "requests": found })))
}

fn logged_json(logged: &LoggedRequest) -> Value {
    json!({
        "seq": logged.seq,
        "at": timestamp(logged.at_ms),
        "method": logged.method,
        "route": logged.route,
        "status": logged.status,
        "durationMs": logged.duration_ms,
        "scope": logged.scope.map(Scope::as_str),
        "keyName": logged.key.name,
    })
}
