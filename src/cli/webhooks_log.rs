//! The delivery log of webhooks: `dossier webhook test|deliveries|replay`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use super::print_stdout;
use super::webhooks::WebhookArgs;
use crate::actions::webhooks::{replay_since, send_test_event};
use crate::app::Clock;
use crate::db::{Delivery, DeliveryState};
use crate::domain::ids::EventId;
use crate::domain::timestamp::{parse_timestamp, timestamp};
use crate::domain::webhook::EventType;

/// How long a test waits for the first attempt: the server notices within a second, and the
/// receiver has `webhook_timeout_ms` to respond.
const TEST_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Args)]
pub(super) struct Test {
    #[command(flatten)]
    webhook: WebhookArgs,
}

#[derive(Args)]
pub(super) struct Deliveries {
    #[command(flatten)]
    webhook: WebhookArgs,
    /// Only deliveries in this state: pending, delivered or dead.
    #[arg(long, value_parser = state)]
    state: Option<DeliveryState>,
    /// The number of events.
    #[arg(long, default_value = "20", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

#[derive(Args)]
pub(super) struct Replay {
    #[command(flatten)]
    webhook: WebhookArgs,
    /// The id of an event; repeatable.
    #[arg(long = "event", value_name = "ID", value_parser = event, required_unless_present = "since")]
    events: Vec<EventId>,
    /// All events since a time, such as 2026-11-25T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "events")]
    since: Option<i64>,
}

fn state(text: &str) -> Result<DeliveryState, String> {
    let known = DeliveryState::ALL.map(DeliveryState::as_str).join(", ");
    DeliveryState::parse(text).ok_or_else(|| format!("expected one of {known}"))
}

fn event(text: &str) -> Result<EventId, String> {
    EventId::parse(text).ok_or_else(|| "expected a GUID".to_owned())
}

fn time(text: &str) -> Result<i64, String> {
    parse_timestamp(text).ok_or_else(|| "expected a time such as 2026-11-25T08:00:00Z".to_owned())
}

pub(super) async fn test(command: &Test) -> anyhow::Result<()> {
    let (db, found) = command.webhook.open().await?;
    let mut types = EventType::ALL.into_iter();
    let event_type = types.find(|event_type| found.event_types.contains(*event_type));
    let event_type = event_type.context("the webhook is subscribed to no events")?;
    let (key, now_ms) = ((found.site_id, found.id), Clock::System.now_ms());
    let (delivery, count) =
        send_test_event(&db, (key.0, Some(key.1)), event_type, None, now_ms).await?;
    if count == 0 {
        bail!("the webhook is disabled");
    }
    let started = Instant::now();
    while started.elapsed() < TEST_TIMEOUT {
        let log = db.deliveries(key, None, None, 100).await?;
        let ours = log.into_iter().find(|entry| entry.event_id == delivery.event.id);
        if let Some(ours) = ours.filter(|ours| !ours.attempts.is_empty()) {
            if command.webhook.common.json {
                print_stdout(&as_json(&ours).to_string())?;
            } else {
                print_stdout(&line(&ours))?;
            }
            if ours.state != DeliveryState::Delivered {
                bail!("the receiver did not acknowledge the event");
            }
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    bail!("nothing was sent. Is a server running on this data folder?")
}

pub(super) async fn deliveries(command: &Deliveries) -> anyhow::Result<()> {
    let (db, found) = command.webhook.open().await?;
    let key = (found.site_id, found.id);
    let log = db.deliveries(key, command.state, None, command.limit).await?;
    if command.webhook.common.json {
        let log: Vec<Value> = log.iter().map(as_json).collect();
        return print_stdout(&json!({ "deliveries": log }).to_string());
    }
    let mut text =
        format!("{:36}  {:18}  {:24}  {:9}  LAST ATTEMPT", "EVENT ID", "TYPE", "TIME", "STATE");
    for delivery in &log {
        write!(text, "\n{}", line(delivery))?;
    }
    print_stdout(&text)
}

fn line(delivery: &Delivery) -> String {
    let last = delivery.attempts.last().map_or("none yet".to_owned(), |last| {
        let what = match (&last.problem, last.status) {
            (Some(problem), _) => problem.clone(),
            (None, Some(status)) => status.to_string(),
            (None, None) => String::new(),
        };
        format!("no. {}: {what}, {} ms", last.number, last.duration_ms)
    });
    let event_type = delivery.event_type.as_str().rsplit('.').next().unwrap_or_default();
    format!(
        "{}  {event_type:18}  {}  {:9}  {last}",
        delivery.event_id,
        timestamp(delivery.occurred_at_ms),
        delivery.state.as_str()
    )
}

fn as_json(delivery: &Delivery) -> Value {
    let attempts: Vec<Value> = delivery
        .attempts
        .iter()
        .map(|attempt| {
            json!({
                "attempt": attempt.number, "startedDate": timestamp(attempt.started_at_ms),
                "milliseconds": attempt.duration_ms, "status": attempt.status,
                "problem": attempt.problem, "response": attempt.response,
            })
        })
        .collect();
    json!({
        "eventId": delivery.event_id.to_string(), "eventType": delivery.event_type.as_str(),
        "contactId": delivery.contact_id.to_string(),
        "attachmentId": delivery.attachment_id.to_string(),
        "eventTime": timestamp(delivery.occurred_at_ms), "state": delivery.state.as_str(),
        "attempts": attempts,
    })
}

pub(super) async fn replay(command: &Replay) -> anyhow::Result<()> {
    let (db, found) = command.webhook.open().await?;
    let (key, now_ms) = ((found.site_id, found.id), Clock::System.now_ms());
    let count = match command.since {
        Some(since_ms) => replay_since(&db, key, since_ms, now_ms).await?,
        None => db.replay(key, command.events.clone(), now_ms).await?,
    };
    if command.webhook.common.json {
        return print_stdout(&json!({ "replayed": count }).to_string());
    }
    if count == 0 {
        bail!("nothing to replay: the webhook has no such event, or it is still pending");
    }
    print_stdout(&format!("Replaying {count} events"))
}
