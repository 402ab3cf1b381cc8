//! The last requests of the caller's site, GET `/dossier/v1/requests`, and what a request says of its caller
//! while it is answered.

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
use crate::request_log::Logged;

/// This request itself is not shown: whoever looks again and again would see nothing else.
pub(super) const ROUTE: &str = "/dossier/v1/requests";

/// Who calls, and with which scope.
pub(super) type Called = (Arc<KnownKey>, Option<Scope>);

tokio::task_local! {
    /// Of the request that this task answers; handlers get no other way to the layer around them.
    static CALLED: RefCell<Option<Called>>;
}

/// Answers a request, and returns who called, if that became known.
pub(super) async fn noting<T>(answering: impl Future<Output = T>) -> (T, Option<Called>) {
    let noted = async {
        let answer = answering.await;
        (answer, CALLED.with(RefCell::take))
    };
    CALLED.scope(RefCell::new(None), noted).await
}

/// Notes who calls.
pub(super) fn note(key: &Arc<KnownKey>, scope: Option<Scope>) {
    // Outside a request nobody wants to know.
    let _ = CALLED.try_with(|called| called.replace(Some((Arc::clone(key), scope))));
}

/// Answers with those behind `after`, oldest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Admin).await?;
    let query = Query::parse(query.as_deref());
    let mut violations = Violations::default();
    let after = violations.take(query.one("after")).flatten().and_then(|text| {
        let number = text.parse::<u64>().ok();
        let problem = || Violation::new("after", Rule::Format("UINT64"), "is not a whole number");
        violations.take(number.ok_or_else(problem))
    });
    violations.check()?;
    let found = app.requests.after(caller.site().id, after.unwrap_or(0));
    let found: Vec<Value> = found.iter().map(logged_json).collect();
    Ok(answer::unkept_json(StatusCode::OK, &json!({ "requests": found })))
}

fn logged_json(logged: &Logged) -> Value {
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
