//! API keys of the caller's site, `/dossier/v1/keys…`: shown, made, revoked, which asks for ADMIN; and which
//! one is calling.

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

/// Keys that a site has at most by this way, revoked ones too: all are shown at once.
pub(super) const MOST_KEYS: usize = 1_000;

/// GET `/dossier/v1/keys`: those of the site, oldest first, without their secrets.
pub(super) async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Admin).await?;
    let keys = app.db.keys_of(caller.site().id, MOST_KEYS as u32).await?;
    let keys: Vec<Value> = keys.iter().map(key_json).collect();
    Ok(answer::unkept_json(StatusCode::OK, &json!({ "keys": keys })))
}

/// POST `/dossier/v1/keys`: makes one with a `name` and `scopes`. `apiKey` is the secret, shown this once.
pub(super) async fn add(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Admin).await?;
    let body = json_object(body, idle(&app)).await?;
    let mut violations = Violations::default();
    let name = violations.take(name(&body)).unwrap_or_default();
    let scopes = violations.take(scopes(&body)).unwrap_or_default();
    violations.check()?;
    let site = caller.site().id;
    if app.db.keys_of(site, MOST_KEYS as u32).await?.len() >= MOST_KEYS {
        return Err(Error::Conflict {
            code: "TOO_MANY_KEYS",
            problem: format!("the site has {MOST_KEYS} keys already"),
            data: json!({ "limit": MOST_KEYS }),
        });
    }
    let now_ms = app.clock.now_ms();
    let made = create_key(&app.db, now_ms, site, &name, scopes).await?;
    let key = dated(named(made.id, &name, scopes), now_ms, None);
    let body = json!({ "key": key, "apiKey": made.secret });
    Ok(answer::unkept_json(StatusCode::OK, &body))
}

/// DELETE `/dossier/v1/keys/{key}`: it and its sessions open nothing from now on; other nodes follow
/// within a second. Again changes nothing.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Admin).await?;
    let path = ids(path)?;
    let id = parse_guid(&path);
    let id = id.ok_or_else(|| Error::Invalid(vec![Violation::not_a_guid("keyId")]))?;
    if !app.db.revoke_key_of(caller.site().id, id, app.clock.now_ms()).await? {
        return Err(unknown(id));
    }
    app.registry.refresh(&app.db).await?;
    Ok(answer::json(StatusCode::OK, &json!({})))
}

/// GET `/dossier/v1/whoami`: the caller's key and site, whatever the key may do.
pub(super) async fn whoami(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    let caller = Caller::with_any_scope(&app, &headers).await?;
    let (key, site) = (caller.key(), caller.site());
    let body = json!({
        "key": named(key.id, &key.name, key.scopes),
        "site": { "id": site.id.to_string(), "name": site.name },
    });
    Ok(answer::unkept_json(StatusCode::OK, &body))
}

fn unknown(id: Uuid) -> Error {
    Error::NotFound { what: "key", data: json!({ "keyId": id.to_string() }) }
}

fn key_json(key: &ApiKey) -> Value {
    dated(named(key.id, &key.name, key.scopes), key.created_at_ms, key.revoked_at_ms)
}

/// What everybody may know of a key who has it.
fn named(id: Uuid, name: &str, scopes: Scopes) -> Value {
    json!({
        "id": id.to_string(),
        "name": name,
        "scopes": ids_of(scopes),
        "role": scopes.role().map(Role::as_str),
    })
}

fn dated(mut key: Value, created_at_ms: i64, revoked_at_ms: Option<i64>) -> Value {
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
        Violation::new(field, rule, "holds an unknown scope")
    })?;
    if scopes.is_empty() { Err(Violation::required(field)) } else { Ok(scopes) }
}
