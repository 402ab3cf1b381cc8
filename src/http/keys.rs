//! API keys of the caller's site, `/dossier/v1/keys…`: list, create and revoke, which need ADMIN;
//! and `/dossier/v1/whoami`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::answer;
use super::attachments::{Ids, idle, ids};
use super::auth::Caller;
use super::contacts::MAX_LABEL_CHARS;
use super::request::{Violations, array_field, at_most_chars, json_object, text_field};
use super::upload_urls::Field;
use crate::actions::sites::create_key;
use crate::app::App;
use crate::db::ApiKey;
use crate::domain::ids::parse_guid;
use crate::domain::scope::{Role, Scope, Scopes};
use crate::domain::timestamp::timestamp;
use crate::error::{Error, Result, Rule, Violation};

/// Most keys of a site when created here, revoked ones included: they are all listed at once.
pub(super) const MAX_KEYS: usize = 1_000;

/// GET `/dossier/v1/keys`: the site's keys, oldest first, without their secrets.
pub(super) async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Admin).await?;
    let keys = app.db.site_keys(caller.site().id, MAX_KEYS as u32).await?;
    let keys: Vec<Value> = keys.iter().map(key_json).collect();
    Ok(answer::no_store_json(StatusCode::OK, &json!({ "keys": keys })))
}

/// POST `/dossier/v1/keys`: creates one with a `name` and `scopes`. `apiKey` is the secret,
/// returned only this once.
pub(super) async fn add(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Admin).await?;
    let body = json_object(body, idle(&app)).await?;
    let mut violations = Violations::default();
    let name = violations.collect(name(&body)).unwrap_or_default();
    let scopes = violations.collect(scopes(&body)).unwrap_or_default();
    violations.check()?;
    let site = caller.site().id;
    if app.db.site_keys(site, MAX_KEYS as u32).await?.len() >= MAX_KEYS {
        return Err(Error::Conflict {
            code: "TOO_MANY_KEYS",
            problem: format!("the site already has {MAX_KEYS} keys, the most allowed"),
            data: json!({ "limit": MAX_KEYS }),
        });
    }
    let now_ms = app.clock.now_ms();
    let created = create_key(&app.db, now_ms, site, &name, scopes).await?;
    let key = with_dates(key_identity(created.id, &name, scopes), now_ms, None);
    let body = json!({ "key": key, "apiKey": created.secret });
    Ok(answer::no_store_json(StatusCode::OK, &body))
}

/// DELETE `/dossier/v1/keys/{key}`: revokes a key and ends its sessions at once; other nodes follow
/// within a second. Idempotent.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Admin).await?;
    let path = ids(path)?;
    let id = parse_guid(&path);
    let id = id.ok_or_else(|| Error::Invalid(vec![Violation::not_a_guid("keyId")]))?;
    if !app.db.revoke_site_key(caller.site().id, id, app.clock.now_ms()).await? {
        return Err(unknown(id));
    }
    app.registry.refresh(&app.db).await?;
    Ok(answer::json(StatusCode::OK, &json!({})))
}

/// GET `/dossier/v1/whoami`: the caller's key and site, whatever the key's scopes.
pub(super) async fn whoami(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    let caller = Caller::with_any_scope(&app, &headers).await?;
    let (key, site) = (caller.key(), caller.site());
    let body = json!({
        "key": key_identity(key.id, &key.name, key.scopes),
        "site": { "id": site.id.to_string(), "name": site.name },
    });
    Ok(answer::no_store_json(StatusCode::OK, &body))
}

fn unknown(id: Uuid) -> Error {
    Error::NotFound { what: "key", data: json!({ "keyId": id.to_string() }) }
}

fn key_json(key: &ApiKey) -> Value {
    with_dates(key_identity(key.id, &key.name, key.scopes), key.created_at_ms, key.revoked_at_ms)
}

/// What a key's holder may know of it.
fn key_identity(id: Uuid, name: &str, scopes: Scopes) -> Value {
    json!({
        "id": id.to_string(),
        "name": name,
        "scopes": ids_of(scopes),
        "role": scopes.role().map(Role::as_str),
    })
}

fn with_dates(mut key: Value, created_at_ms: i64, revoked_at_ms: Option<i64>) -> Value {
    key["createdAt"] = json!(timestamp(created_at_ms));
    key["revokedAt"] = json!(revoked_at_ms.map(timestamp));
    key
}

fn ids_of(scopes: Scopes) -> Vec<String> {
    scopes.to_string().split_whitespace().map(ToOwned::to_owned).collect()
}

fn name(body: &Map<String, Value>) -> Field<String> {
    let field = "name";
    let text = text_field(body, field)?.map(str::trim).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Violation::required(field))?;
    at_most_chars(field, text, MAX_LABEL_CHARS).map(ToOwned::to_owned)
}

fn scopes(body: &Map<String, Value>) -> Field<Scopes> {
    let field = "scopes";
    let given = array_field(body, field)?.ok_or_else(|| Violation::required(field))?;
    let texts: Option<Vec<&str>> = given.iter().map(Value::as_str).collect();
    let scopes = texts.and_then(|texts| Scopes::parse(&texts.join(" ")).ok());
    let scopes = scopes.ok_or_else(|| {
        let rule = Rule::Other("UNKNOWN_SCOPE", json!({ "known": ids_of(Scopes::ALL) }));
        Violation::new(field, rule, "contains an unknown scope")
    })?;
    if scopes.is_empty() { Err(Violation::required(field)) } else { Ok(scopes) }
}
