//! Delivers events to webhooks: creates subscriptions, tokens and attempts. Order and timing belong
//! to `jobs::deliver`.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::app::App;
use crate::config::MediaReferences;
use crate::db::{
    Attempt, ClaimedDelivery, Db, DeliveryState, Entity, RecordedEvent, SettledAttempt, Site,
    Subscription, SubscriptionKey,
};
use crate::domain::attachment::Attachment;
use crate::domain::ids::{AttachmentId, ContactId, EventId, SiteId, SubscriptionId};
use crate::domain::quota::QuotaExceeded;
use crate::domain::webhook::{
    Cause, Circuit, Event, EventType, EventTypes, Reach, Target, retry_after_ms,
};
use crate::error::Result;
use crate::metrics::DeliveryOutcome;
use crate::page_cache::MediaView;
use crate::webhook_client::PostOutcome;
use crate::webhook_keys::KeyRing;
use crate::wire::AttachmentWriter;

/// Maximum number of subscriptions of a site.
const MAX_SUBSCRIPTIONS: u64 = 20_000;
/// Events that one write schedules for replay.
const REPLAY_BATCH: u32 = 200;
/// The only status that confirms a delivery (contract §11).
const CONFIRMED: u16 = 200;

/// A subscription to create; its URL is validated already.
#[derive(Debug, Clone)]
pub struct NewSubscription {
    /// The site.
    pub site_id: SiteId,
    /// The URL that events are sent to.
    pub target: Target,
    /// The events to send.
    pub event_types: EventTypes,
    /// The receiver's app; generated if `None`.
    pub app_id: Option<Uuid>,
    /// The app's installation at the site; generated if `None`.
    pub instance_id: Option<Uuid>,
    /// Whether the URL may be on this machine.
    pub is_local: bool,
    /// When it ends unless it is renewed, in Unix milliseconds.
    pub expires_at_ms: Option<i64>,
}

/// Creates a subscription, and the signing key before the first one.
///
/// # Errors
///
/// [`crate::error::Error::QuotaExceeded`] when the site has reached its limit; otherwise when the
/// database or the data folder fails.
pub async fn subscribe(
    db: &Db,
    keys: Arc<KeyRing>,
    new: NewSubscription,
    now_ms: i64,
) -> Result<Subscription> {
    // Generating a key would block a shared thread for too long.
    let ensured = tokio::task::spawn_blocking(move || keys.ensure(now_ms).map(drop)).await;
    ensured.map_err(anyhow::Error::from)??;
    let subscription = Subscription {
        site_id: new.site_id,
        id: SubscriptionId(Uuid::new_v4()),
        url: new.target.url().to_string(),
        event_types: new.event_types,
        app_id: new.app_id.unwrap_or_else(Uuid::new_v4),
        instance_id: new.instance_id.unwrap_or_else(Uuid::new_v4),
        is_enabled: true,
        is_local: new.is_local,
        circuit: Circuit::CLOSED,
        created_at_ms: now_ms,
        expires_at_ms: new.expires_at_ms,
    };
    if db.add_subscription(subscription.clone(), MAX_SUBSCRIPTIONS).await? {
        return Ok(subscription);
    }
    let limit = MAX_SUBSCRIPTIONS;
    Err(QuotaExceeded { scope: "site", unit: "webhooks", limit, in_use: limit }.into())
}

/// Schedules a replay to a subscription of all matching events since a time; returns how many
/// events.
///
/// # Errors
///
/// Only when the database fails; events already scheduled stay scheduled.
pub async fn replay_since(
    db: &Db,
    subscription: SubscriptionKey,
    since_ms: i64,
    now_ms: i64,
) -> Result<usize> {
    let (mut after, mut count) = ((since_ms, EventId(Uuid::nil())), 0);
    loop {
        let events = db.events_since(subscription, after, REPLAY_BATCH).await?;
        let Some(last) = events.last() else { return Ok(count) };
        after = *last;
        let events = events.into_iter().map(|(_, event)| event).collect();
        count += db.replay(subscription, events, now_ms).await?;
    }
}

/// Sends a test event to all subscriptions of a site that match, or once to `only`. The event
/// describes the attachment `like`, or a generated one whose link does not work. Returns the event
/// and the number of deliveries.
///
/// # Errors
///
/// Only when the database fails.
pub async fn send_test_event(
    db: &Db,
    (site, only): (SiteId, Option<SubscriptionId>),
    event_type: EventType,
    like: Option<Attachment>,
    now_ms: i64,
) -> Result<(RecordedEvent, usize)> {
    let (contact_id, attachment_id, entity) = match like {
        Some(like) => {
            let entity = Entity {
                file_name: like.file_name,
                mime_type: like.mime_type,
                media_extension: like.media_extension,
                width: like.width,
                height: like.height,
                has_preview: like.has_preview,
            };
            (like.contact_id, like.id, entity)
        }
        None => (ContactId(Uuid::new_v4()), AttachmentId(Uuid::now_v7()), example_entity()),
    };
    let event = Event {
        id: EventId(Uuid::now_v7()),
        event_type,
        contact_id,
        attachment_id,
        sequence: event_type.bit(),
        occurred_at_ms: now_ms,
        cause: Cause::default(),
    };
    let entity = (event_type == EventType::Created).then_some(entity);
    let test_event = RecordedEvent { event, entity };
    let deliveries = db.send_test_event(site, only, test_event.clone()).await?;
    Ok((test_event, deliveries))
}

fn example_entity() -> Entity {
    Entity {
        file_name: "example.pdf".to_owned(),
        mime_type: "application/pdf".to_owned(),
        media_extension: "pdf".to_owned(),
        width: 0,
        height: 0,
        has_preview: false,
    }
}

/// Makes one delivery attempt.
pub async fn deliver(app: &Arc<App>, claimed: ClaimedDelivery) -> SettledAttempt {
    let started_at_ms = app.clock.now_ms();
    let posted = match attempt(app, &claimed, started_at_ms).await {
        Ok(posted) => posted,
        Err(error) => {
            tracing::error!(?error, "a webhook could not be signed");
            PostOutcome { problem: Some("signing failed".to_owned()), ..PostOutcome::default() }
        }
    };
    settle(app, &claimed, started_at_ms, posted)
}

async fn attempt(app: &Arc<App>, claimed: &ClaimedDelivery, now_ms: i64) -> Result<PostOutcome> {
    let subscription = &claimed.subscription;
    let reach = match app.config.webhook_reach() {
        Reach::Public if subscription.is_local => Reach::Local,
        reach => reach,
    };
    let target = match Target::parse(&subscription.url, reach) {
        Ok(target) => target,
        // It was valid when the subscription was created: a setting has changed.
        Err(error) => {
            let problem = Some(format!("the URL {error}"));
            return Ok(PostOutcome { problem, ..PostOutcome::default() });
        }
    };
    let token = token(app, claimed, now_ms).await?;
    Ok(app.webhooks.client.post(&target, &token, reach).await)
}

/// Signs the token of an attempt. Its time and links are fresh, because the SDK rejects an expired
/// token; everything else is as recorded with the event.
async fn token(app: &Arc<App>, claimed: &ClaimedDelivery, now_ms: i64) -> Result<Arc<str>> {
    let site = app.registry.site(claimed.subscription.site_id);
    let site = site.ok_or_else(|| anyhow::anyhow!("the webhook's site was deleted"))?;
    let (recipient, recorded) = (claimed.subscription.recipient(), &claimed.recorded);
    let key = (recorded.event.id, recipient, now_ms.div_euclid(1_000));
    let signing = async {
        let entity = entity(app, &site, recorded)?;
        let claims = recorded.event.claims(entity.as_ref(), recipient, now_ms);
        let _permit = app.webhooks.signing.acquire().await?;
        let shared = Arc::clone(app);
        let signed = app.tasks.spawn_blocking(move || {
            let ring = &shared.webhooks.keys;
            let keys = match ring.current()? {
                Some(keys) => keys,
                None => ring.ensure(now_ms)?,
            };
            keys.sign(&claims, now_ms).map(Arc::from)
        });
        signed.await.map_err(anyhow::Error::from)?
    };
    Ok(app.webhooks.tokens.get_or_insert_async(&key, signing).await?)
}

fn entity(app: &App, site: &Site, recorded: &RecordedEvent) -> anyhow::Result<Option<Value>> {
    let Some(row) = recorded.row() else { return Ok(None) };
    // As the SDK sees it in a list: with an id, it would hide the link.
    let view = match app.config.media_references {
        MediaReferences::Id => MediaView::Both,
        MediaReferences::Auto | MediaReferences::Url => MediaView::Url,
    };
    let signer = app.keys.media_signer(app.links_expire_s(site));
    let mut entity = Vec::new();
    AttachmentWriter::new(site, &app.media_url, signer, view).attachment(&mut entity, &row);
    Ok(Some(serde_json::from_slice(&entity)?))
}

/// Interprets the response: delivered, to be retried at a time, or dead.
fn settle(
    app: &App,
    claimed: &ClaimedDelivery,
    started_at_ms: i64,
    posted: PostOutcome,
) -> SettledAttempt {
    let (subscription, event) = (&claimed.subscription, claimed.recorded.event.id);
    let now_ms = app.clock.now_ms();
    let is_confirmed = posted.status == Some(CONFIRMED);
    let outcome = if is_confirmed { "delivered" } else { "failed" };
    app.metrics.webhook_attempts.get_or_create(&DeliveryOutcome { outcome }).inc();
    let retry_after_ms = posted
        .retry_after
        .as_deref()
        .filter(|_| !is_confirmed)
        .and_then(|header| retry_after_ms(header, now_ms));
    let spread = (event.0, subscription.id.0);
    let next_ms = app.config.webhook_retries.next_ms(claimed.series_attempt, now_ms, spread);
    let (state, due_at_ms) = match next_ms {
        _ if is_confirmed => (DeliveryState::Delivered, now_ms),
        Some(next_ms) => {
            let earliest_ms = now_ms.saturating_add(retry_after_ms.unwrap_or(0));
            (DeliveryState::Pending, next_ms.max(earliest_ms))
        }
        None => (DeliveryState::Dead, now_ms),
    };
    if state == DeliveryState::Dead {
        app.metrics.webhook_dead.inc();
        let webhook = subscription.id.0;
        tracing::error!(%webhook, %event, "a webhook was abandoned after its last attempt");
    }
    let unconfirmed = |status| format!("status {status}, expected {CONFIRMED}");
    let problem =
        posted.problem.or_else(|| posted.status.filter(|_| !is_confirmed).map(unconfirmed));
    SettledAttempt {
        subscription: (subscription.site_id, subscription.id),
        event,
        attempt: Attempt {
            number: claimed.attempt,
            started_at_ms,
            duration_ms: posted.duration_ms as i64,
            status: posted.status,
            problem,
            response: posted.response,
        },
        state,
        due_at_ms,
        retry_after_ms,
    }
}
