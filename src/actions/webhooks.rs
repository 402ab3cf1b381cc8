//! Telling receivers of events: making subscriptions, tokens and attempts. The order and the times
//! are the deliverer's (`jobs::deliver`).

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::app::App;
use crate::config::MediaReferences;
use crate::db::{
    Attempt, Claimed, Db, DeliveryState, Entity, RecordedEvent, Settled, Site, Subscription,
    SubscriptionKey,
};
use crate::domain::attachment::Attachment;
use crate::domain::ids::{AttachmentId, ContactId, EventId, SiteId, SubscriptionId};
use crate::domain::quota::OverQuota;
use crate::domain::webhook::{
    Cause, Circuit, Event, EventType, EventTypes, Reach, Target, retry_after_ms,
};
use crate::error::Result;
use crate::metrics::Told;
use crate::page_cache::MediaView;
use crate::webhook_client::Answer;
use crate::webhook_keys::KeyRing;
use crate::wire::Shapes;

/// Subscriptions that a site may have.
const MOST_SUBSCRIPTIONS: u64 = 20_000;
/// Events that one write begins to tell anew.
const REPLAYED_AT_ONCE: u32 = 200;
/// The only status that confirms an event (contract §11).
const CONFIRMED: u16 = 200;

/// A subscription to be made; its URL is checked already.
#[derive(Debug, Clone)]
pub struct NewSubscription {
    /// The tenant.
    pub site_id: SiteId,
    /// Where events are sent.
    pub target: Target,
    /// Which ones.
    pub event_types: EventTypes,
    /// The app of the receiver; without one an id is made up.
    pub app_id: Option<Uuid>,
    /// The installation of the app at the site; without one an id is made up.
    pub instance_id: Option<Uuid>,
    /// Whether it may lie on this machine.
    pub is_local: bool,
    /// When it ends unless it is renewed, in Unix milliseconds.
    pub expires_at_ms: Option<i64>,
}

/// Makes a subscription, and before the first one the key that signs.
///
/// # Errors
///
/// [`crate::error::Error::OverQuota`] when the site has all that it may have; otherwise when the database or the
/// data folder fails.
pub async fn subscribe(
    db: &Db,
    keys: Arc<KeyRing>,
    new: NewSubscription,
    now_ms: i64,
) -> Result<Subscription> {
    // Making a key takes longer than a request may hold a thread that others need.
    let made = tokio::task::spawn_blocking(move || keys.ensure(now_ms).map(drop)).await;
    made.map_err(anyhow::Error::from)??;
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
    if db.add_subscription(subscription.clone(), MOST_SUBSCRIPTIONS).await? {
        return Ok(subscription);
    }
    let limit = MOST_SUBSCRIPTIONS;
    Err(OverQuota { scope: "site", unit: "webhooks", limit, in_use: limit }.into())
}

/// Begins to tell a subscription anew of what it wants of everything that happened since a time;
/// returns how many events that are.
///
/// # Errors
///
/// Only when the database fails; what was begun goes on.
pub async fn replay_since(
    db: &Db,
    subscription: SubscriptionKey,
    since_ms: i64,
    now_ms: i64,
) -> Result<usize> {
    let (mut after, mut count) = ((since_ms, EventId(Uuid::nil())), 0);
    loop {
        let events = db.events_since(subscription, after, REPLAYED_AT_ONCE).await?;
        let Some(last) = events.last() else { return Ok(count) };
        after = *last;
        let events = events.into_iter().map(|(_, event)| event).collect();
        count += db.replay(subscription, events, now_ms).await?;
    }
}

/// Tells of something that did not happen, for whoever wants to see a receiver work: all
/// subscriptions of a site that want such events, or one alone, once. `like` is an attachment to
/// tell of; without one it is made up, and its link opens nothing.
///
/// # Errors
///
/// Only when the database fails.
pub async fn pretend(
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
        None => (ContactId(Uuid::new_v4()), AttachmentId(Uuid::now_v7()), made_up()),
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
    let pretended = RecordedEvent { event, entity };
    let told = db.pretend(site, only, pretended.clone()).await?;
    Ok((pretended, told))
}

fn made_up() -> Entity {
    Entity {
        file_name: "example.pdf".to_owned(),
        mime_type: "application/pdf".to_owned(),
        media_extension: "pdf".to_owned(),
        width: 0,
        height: 0,
        has_preview: false,
    }
}

/// Makes one attempt.
pub async fn deliver(app: &Arc<App>, claimed: Claimed) -> Settled {
    let started_at_ms = app.clock.now_ms();
    let answer = match attempt(app, &claimed, started_at_ms).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(?error, "a webhook could not be signed");
            Answer { problem: Some("it could not be signed".to_owned()), ..Answer::default() }
        }
    };
    settle(app, &claimed, started_at_ms, answer)
}

async fn attempt(app: &Arc<App>, claimed: &Claimed, now_ms: i64) -> Result<Answer> {
    let subscription = &claimed.subscription;
    let reach = match app.config.webhook_reach() {
        Reach::Public if subscription.is_local => Reach::Local,
        reach => reach,
    };
    let target = match Target::parse(&subscription.url, reach) {
        Ok(target) => target,
        // It was one when it was made: a setting has changed.
        Err(refused) => {
            let problem = Some(format!("the URL {refused}"));
            return Ok(Answer { problem, ..Answer::default() });
        }
    };
    let token = token(app, claimed, now_ms).await?;
    Ok(app.webhooks.client.post(&target, &token, reach).await)
}

/// The token of an attempt: fresh, because the SDK refuses one that has expired, with links that
/// have just begun, and otherwise with what was true when the event was written.
async fn token(app: &Arc<App>, claimed: &Claimed, now_ms: i64) -> Result<Arc<str>> {
    let site = app.registry.site(claimed.subscription.site_id);
    let site = site.ok_or_else(|| anyhow::anyhow!("the webhook's site is gone"))?;
    let (recipient, told) = (claimed.subscription.recipient(), &claimed.told);
    let key = (told.event.id, recipient, now_ms.div_euclid(1_000));
    let signing = async {
        let entity = entity(app, &site, told)?;
        let claims = told.event.claims(entity.as_ref(), recipient, now_ms);
        let _place = app.webhooks.signing.acquire().await?;
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

fn entity(app: &App, site: &Site, told: &RecordedEvent) -> anyhow::Result<Option<Value>> {
    let Some(row) = told.row() else { return Ok(None) };
    // As the SDK sees it in a list: with an id it would hide the link.
    let view = match app.config.media_references {
        MediaReferences::Id => MediaView::Both,
        MediaReferences::Auto | MediaReferences::Url => MediaView::Url,
    };
    let signer = app.keys.media_signer(app.links_expire_s(site));
    let mut entity = Vec::new();
    Shapes::new(site, &app.media_url, signer, view).attachment(&mut entity, &row);
    Ok(Some(serde_json::from_slice(&entity)?))
}

/// What an answer means: when to try again, or that this was the last.
fn settle(app: &App, claimed: &Claimed, started_at_ms: i64, answer: Answer) -> Settled {
    let (subscription, event) = (&claimed.subscription, claimed.told.event.id);
    let now_ms = app.clock.now_ms();
    let is_confirmed = answer.status == Some(CONFIRMED);
    let outcome = if is_confirmed { "delivered" } else { "failed" };
    app.metrics.webhook_attempts.get_or_create(&Told { outcome }).inc();
    let retry_after_ms = answer
        .retry_after
        .as_deref()
        .filter(|_| !is_confirmed)
        .and_then(|header| retry_after_ms(header, now_ms));
    let spread = (event.0, subscription.id.0);
    let next_ms = app.config.webhook_retries.next_ms(claimed.series_attempt, now_ms, spread);
    let (state, due_at_ms) = match next_ms {
        _ if is_confirmed => (DeliveryState::Delivered, now_ms),
        Some(next_ms) => {
            let asked_ms = now_ms.saturating_add(retry_after_ms.unwrap_or(0));
            (DeliveryState::Pending, next_ms.max(asked_ms))
        }
        None => (DeliveryState::Dead, now_ms),
    };
    if state == DeliveryState::Dead {
        app.metrics.webhook_dead.inc();
        let webhook = subscription.id.0;
        tracing::error!(%webhook, %event, "a webhook is given up after its last attempt");
    }
    let unconfirmed = |status| format!("answered {status}, not {CONFIRMED}");
    let problem =
        answer.problem.or_else(|| answer.status.filter(|_| !is_confirmed).map(unconfirmed));
    Settled {
        subscription: (subscription.site_id, subscription.id),
        event,
        attempt: Attempt {
            number: claimed.attempt,
            started_at_ms,
            duration_ms: answer.duration_ms as i64,
            status: answer.status,
            problem,
            response: answer.response,
        },
        state,
        due_at_ms,
        retry_after_ms,
    }
}
