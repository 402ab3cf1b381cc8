//! What webhooks were told: `dossier webhook test|deliveries|replay`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use super::say;
use super::webhooks::One;
use crate::actions::webhooks::{pretend, replay_since};
use crate::app::Clock;
use crate::db::{Delivery, DeliveryState};
use crate::domain::ids::EventId;
use crate::domain::timestamp::{parse_timestamp, timestamp};
use crate::domain::webhook::EventType;

/// How long a test waits: the server notices within a second, and then the receiver has its time.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Args)]
pub(super) struct Test {
    #[command(flatten)]
    one: One,
}

#[derive(Args)]
pub(super) struct Deliveries {
    #[command(flatten)]
    one: One,
    /// Only those that are pending, delivered or dead.
    #[arg(long, value_parser = state)]
    state: Option<DeliveryState>,
    /// How many events.
    #[arg(long, default_value = "20", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

#[derive(Args)]
pub(super) struct Replay {
    #[command(flatten)]
    one: One,
    /// An event's id, repeatable.
    #[arg(long = "event", value_name = "ID", value_parser = event, required_unless_present = "since")]
    events: Vec<EventId>,
    /// Everything that happened since a time, such as 2026-11-25T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "events")]
    since: Option<i64>,
}

fn state(text: &str) -> Result<DeliveryState, String> {
    let known = DeliveryState::ALL.map(DeliveryState::as_str).join(", ");
    DeliveryState::parse(text).ok_or_else(|| format!("one of {known}"))
}

fn event(text: &str) -> Result<EventId, String> {
    EventId::parse(text).ok_or_else(|| "expected a GUID".to_owned())
}

fn time(text: &str) -> Result<i64, String> {
    parse_timestamp(text).ok_or_else(|| "expected a time such as 2026-11-25T08:00:00Z".to_owned())
}

pub(super) async fn test(command: &Test) -> anyhow::Result<()> {
    let (db, found) = command.one.open().await?;
    let mut types = EventType::ALL.into_iter();
    let event_type = types.find(|event_type| found.event_types.contains(*event_type));
    let event_type = event_type.context("the webhook wants no events")?;
    let (key, now_ms) = ((found.site_id, found.id), Clock::System.now_ms());
    let (told, count) = pretend(&db, (key.0, Some(key.1)), event_type, None, now_ms).await?;
    if count == 0 {
        bail!("the webhook is disabled");
    }
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let log = db.deliveries(key, None, None, 100).await?;
        let ours = log.into_iter().find(|one| one.event_id == told.event.id);
        if let Some(ours) = ours.filter(|ours| !ours.attempts.is_empty()) {
            if command.one.of.json {
                say(&as_json(&ours).to_string())?;
            } else {
                say(&line(&ours))?;
            }
            if ours.state != DeliveryState::Delivered {
                bail!("the receiver did not confirm the event");
            }
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("nothing was sent: is a server running on this data folder?")
}

pub(super) async fn deliveries(command: &Deliveries) -> anyhow::Result<()> {
    let (db, found) = command.one.open().await?;
    let key = (found.site_id, found.id);
    let log = db.deliveries(key, command.state, None, command.limit).await?;
    if command.one.of.json {
        let log: Vec<Value> = log.iter().map(as_json).collect();
        return say(&json!({ "deliveries": log }).to_string());
    }
    let mut text =
        format!("{:36}  {:18}  {:24}  {:9}  LAST ATTEMPT", "EVENT ID", "TYPE", "TIME", "STATE");
    for delivery in &log {
        write!(text, "\n{}", line(delivery))?;
    }
    say(&text)
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
    let (db, found) = command.one.open().await?;
    let (key, now_ms) = ((found.site_id, found.id), Clock::System.now_ms());
    let count = match command.since {
        Some(since_ms) => replay_since(&db, key, since_ms, now_ms).await?,
        None => db.replay(key, command.events.clone(), now_ms).await?,
    };
    if command.one.of.json {
        return say(&json!({ "replayed": count }).to_string());
    }
    if count == 0 {
        bail!("there is no such event that the webhook wants and that is not on its way");
    }
    say(&format!("{count} events are told again"))
}
