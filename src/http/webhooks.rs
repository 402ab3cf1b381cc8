//! Webhook subscriptions, `/dossier/v1/webhooks…`, with their delivery log, tests and replays.
//! Everything but the public key needs MODIFY.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::answer;
use super::attachments::{Ids, idle, ids};
use super::auth::Caller;
use super::request::json_object;
use super::webhooks_request::{self as request, Replay, SubscriptionFields};
use crate::actions::webhooks::{NewSubscription, replay_since, send_test_event, subscribe};
use crate::app::App;
use crate::db::{Delivery, Subscription, SubscriptionChange};
use crate::domain::ids::{SiteId, SubscriptionId, parse_guid};
use crate::domain::scope::Scope;
use crate::domain::timestamp::timestamp;
use crate::domain::webhook::{EventType, EventTypes};
use crate::error::{Error, Result, Violation};

/// How often a test polls for its delivery's outcome.
const TEST_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How much longer than the receiver's timeout a test waits.
const TEST_MARGIN: Duration = Duration::from_secs(3);

/// GET `/dossier/v1/webhooks`.
pub(super) async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Modify).await?;
    let found = app.db.subscriptions(caller.site().id, app.clock.now_ms()).await?;
    let found: Vec<Value> = found.iter().map(subscription_json).collect();
    Ok(answer::json(StatusCode::OK, &json!({ "webhooks": found })))
}

/// POST `/dossier/v1/webhooks`.
pub(super) async fn add(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let caller = Caller::with_scope(&app, &headers, Scope::Modify).await?;
    let body = json_object(body, idle(&app)).await?;
    let (fields, target) = SubscriptionFields::new(&body, app.config.webhook_reach())?;
    let new = NewSubscription {
        site_id: caller.site().id,
        target,
        event_types: fields.event_types.unwrap_or(EventTypes::ALL),
        app_id: fields.app_id,
        instance_id: fields.instance_id,
        is_local: false,
        expires_at_ms: None,
    };
    let keys = Arc::clone(&app.webhooks.keys);
    let created = subscribe(&app.db, keys, new, app.clock.now_ms()).await?;
    Ok(webhook_response(&created))
}

/// GET `/dossier/v1/webhooks/{id}`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let (_, found) = subscription(&app, path, &headers).await?;
    Ok(webhook_response(&found))
}

/// PATCH `/dossier/v1/webhooks/{id}`: changes the fields in the body.
pub(super) async fn change(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let (site, found) = subscription(&app, path, &headers).await?;
    let body = json_object(body, idle(&app)).await?;
    let fields = SubscriptionFields::read(&body, app.config.webhook_reach())?;
    let change = SubscriptionChange {
        url: fields.target.map(|target| target.url().to_string()),
        event_types: fields.event_types,
        app_id: fields.app_id,
        instance_id: fields.instance_id,
        is_enabled: fields.is_enabled,
    };
    let now_ms = app.clock.now_ms();
    let changed = app.db.change_subscription(site, found.id, change, now_ms).await?;
    Ok(webhook_response(&changed.ok_or_else(|| no_webhook(found.id))?))
}

/// DELETE `/dossier/v1/webhooks/{id}`.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let (site, found) = subscription(&app, path, &headers).await?;
    if !app.db.remove_subscription(site, found.id, app.clock.now_ms()).await? {
        return Err(no_webhook(found.id));
    }
    Ok(answer::json(StatusCode::OK, &json!({})))
}

/// POST `/dossier/v1/webhooks/{id}/test`: sends a test event and waits for the outcome.
pub(super) async fn test(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let (site, found) = subscription(&app, path, &headers).await?;
    let mut types = EventType::ALL.into_iter();
    let event_type = types.find(|event_type| found.event_types.contains(*event_type));
    let event_type = event_type.unwrap_or(EventType::Created);
    let now_ms = app.clock.now_ms();
    let (sent, _) =
        send_test_event(&app.db, (site, Some(found.id)), event_type, None, now_ms).await?;
    let timeout = Duration::from_millis(app.config.webhook_timeout_ms) + TEST_MARGIN;
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        let deliveries = app.db.deliveries((site, found.id), None, None, 100).await?;
        let ours = deliveries.into_iter().find(|delivery| delivery.event_id == sent.event.id);
        let tried = ours.as_ref().is_some_and(|ours| !ours.attempts.is_empty());
        if tried || tokio::time::Instant::now() > deadline {
            let delivery = ours.as_ref().map(delivery_json);
            return Ok(answer::json(StatusCode::OK, &json!({ "delivery": delivery })));
        }
        tokio::time::sleep(TEST_POLL_INTERVAL).await;
    }
}

/// GET `/dossier/v1/webhooks/{id}/deliveries`, newest event first: `state`, `limit`, and `before`,
/// the id of the previous page's last event.
pub(super) async fn deliveries(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let (site, found) = subscription(&app, path, &headers).await?;
    let query = request::delivery_query(query.as_deref())?;
    let found = app.db.deliveries((site, found.id), query.state, query.before, query.limit).await?;
    let found: Vec<Value> = found.iter().map(delivery_json).collect();
    Ok(answer::json(StatusCode::OK, &json!({ "deliveries": found })))
}

/// POST `/dossier/v1/webhooks/{id}/replay`: delivers `eventIds`, or everything `since` a time,
/// again with the same event ids.
pub(super) async fn replay(
    State(app): State<Arc<App>>,
    path: Ids<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let (site, found) = subscription(&app, path, &headers).await?;
    let body = json_object(body, idle(&app)).await?;
    let (key, now_ms) = ((site, found.id), app.clock.now_ms());
    let count = match request::replay(&body)? {
        Replay::Events(events) => app.db.replay(key, events, now_ms).await?,
        Replay::Since(since_ms) => replay_since(&app.db, key, since_ms, now_ms).await?,
    };
    Ok(answer::json(StatusCode::OK, &json!({ "replayed": count })))
}

/// GET `/dossier/v1/webhooks/public-key`: the keys with which receivers verify tokens, also as a
/// JSON Web Key Set (RFC 7517). It needs no authorisation.
pub(super) async fn public_key(State(app): State<Arc<App>>) -> Result<Response> {
    let keys = Arc::clone(&app.webhooks.keys);
    let current = app.tasks.spawn_blocking(move || keys.current()).await;
    let Some(keys) = current.map_err(anyhow::Error::from)?? else {
        return Err(Error::NotFound { what: "webhook key", data: json!({}) });
    };
    let keys = keys.public(app.clock.now_ms())?;
    let jwks: Vec<Value> = keys.iter().map(crate::webhook_keys::PublicKey::jwk).collect();
    let mut body = json!({ "keys": jwks });
    for (key, name) in keys.iter().zip(["current", "other"]) {
        body[name] = json!({
            "kid": key.id,
            "publicKey": key.pem,
            "publicKeyBase64": key.base64(),
            "signsFrom": timestamp(key.signs_from_ms),
        });
    }
    let cache = [(header::CACHE_CONTROL, "public, max-age=300")];
    Ok((cache, answer::json(StatusCode::OK, &body)).into_response())
}

/// The path's subscription, if it belongs to the caller's site.
async fn subscription(
    app: &App,
    path: Ids<String>,
    headers: &HeaderMap,
) -> Result<(SiteId, Subscription)> {
    let caller = Caller::with_scope(app, headers, Scope::Modify).await?;
    let path = ids(path)?;
    let id = parse_guid(&path).map(SubscriptionId);
    let id = id.ok_or_else(|| Error::Invalid(vec![Violation::not_a_guid("webhookId")]))?;
    let site = caller.site().id;
    let found = app.db.subscription(site, id).await?;
    Ok((site, found.ok_or_else(|| no_webhook(id))?))
}

fn no_webhook(id: SubscriptionId) -> Error {
    Error::NotFound { what: "webhook", data: json!({ "webhookId": id.to_string() }) }
}

fn webhook_response(subscription: &Subscription) -> Response {
    answer::json(StatusCode::OK, &json!({ "webhook": subscription_json(subscription) }))
}

fn subscription_json(subscription: &Subscription) -> Value {
    let circuit = subscription.circuit;
    let mut json = json!({
        "id": subscription.id.to_string(),
        "url": subscription.url,
        "eventTypes": subscription.event_types.names(),
        "appId": subscription.app_id.to_string(),
        "instanceId": subscription.instance_id.to_string(),
        "enabled": subscription.is_enabled,
        "failuresInARow": circuit.failures,
        "createdDate": timestamp(subscription.created_at_ms),
    });
    if circuit.open_until_ms > 0 {
        json["pausedUntil"] = json!(timestamp(circuit.open_until_ms));
    }
    if let Some(expires_at_ms) = subscription.expires_at_ms {
        json["expirationDate"] = json!(timestamp(expires_at_ms));
    }
    json
}

fn delivery_json(delivery: &Delivery) -> Value {
    let attempts: Vec<Value> = delivery
        .attempts
        .iter()
        .map(|attempt| {
            json!({
                "attempt": attempt.number,
                "startedDate": timestamp(attempt.started_at_ms),
                "milliseconds": attempt.duration_ms,
                "status": attempt.status,
                "problem": attempt.problem,
                "response": attempt.response,
            })
        })
        .collect();
    let mut json = json!({
        "eventId": delivery.event_id.to_string(),
        "eventType": delivery.event_type.as_str(),
        "contactId": delivery.contact_id.to_string(),
        "attachmentId": delivery.attachment_id.to_string(),
        "eventTime": timestamp(delivery.occurred_at_ms),
        "state": delivery.state.as_str(),
        "attempts": attempts,
    });
    if delivery.state == crate::db::DeliveryState::Pending {
        json["nextAttempt"] = json!(timestamp(delivery.due_at_ms));
    }
    json
}
