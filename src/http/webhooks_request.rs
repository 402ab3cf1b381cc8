//! Parses webhook requests, with all violations reported at once.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::request::{Query, Violations, array_field, at_most_chars, text_field};
use super::upload_urls::Field;
use crate::db::DeliveryState;
use crate::domain::ids::{EventId, parse_guid};
use crate::domain::paging;
use crate::domain::timestamp::parse_timestamp;
use crate::domain::webhook::{EventType, EventTypes, MAX_URL_CHARS, Reach, Target, TargetError};
use crate::error::{Error, Result, Rule, Violation};

/// Most events that one request replays by id.
pub(super) const MAX_REPLAYED: usize = 1_000;

/// A subscription's fields in a body. Absent and null ones stay as they are.
#[derive(Default)]
pub(super) struct SubscriptionFields {
    pub(super) target: Option<Target>,
    pub(super) event_types: Option<EventTypes>,
    pub(super) app_id: Option<Uuid>,
    pub(super) instance_id: Option<Uuid>,
    pub(super) is_enabled: Option<bool>,
}

impl SubscriptionFields {
    /// Parses the body of a change.
    ///
    /// # Errors
    ///
    /// All violations.
    pub(super) fn read(body: &Map<String, Value>, reach: Reach) -> Result<Self> {
        let mut violations = Violations::default();
        let fields = Self::parse(body, reach, &mut violations);
        violations.check()?;
        Ok(fields)
    }

    /// Parses the body of a new subscription: the URL is required.
    ///
    /// # Errors
    ///
    /// All violations.
    pub(super) fn new(body: &Map<String, Value>, reach: Reach) -> Result<(Self, Target)> {
        let mut violations = Violations::default();
        let mut fields = Self::parse(body, reach, &mut violations);
        if matches!(body.get("url"), None | Some(Value::Null)) {
            violations.push(Violation::required("url"));
        }
        violations.check()?;
        let target = fields.target.take();
        let target = target.ok_or_else(|| Error::Invalid(vec![Violation::required("url")]))?;
        Ok((fields, target))
    }

    fn parse(body: &Map<String, Value>, reach: Reach, violations: &mut Violations) -> Self {
        Self {
            target: violations.collect(target(body, reach)).flatten(),
            event_types: violations.collect(event_types(body)).flatten(),
            app_id: violations.collect(guid(body, "appId")).flatten(),
            instance_id: violations.collect(guid(body, "instanceId")).flatten(),
            is_enabled: violations.collect(enabled(body)).flatten(),
        }
    }
}

fn target(body: &Map<String, Value>, reach: Reach) -> Field<Option<Target>> {
    let Some(text) = text_field(body, "url")? else { return Ok(None) };
    at_most_chars("url", text, MAX_URL_CHARS)?;
    Target::parse(text, reach).map(Some).map_err(|error| {
        let rule = |name| Rule::Other(name, json!({}));
        let rule = match error {
            TargetError::NotAUrl => Rule::Format("URL"),
            TargetError::Scheme => rule("URL_SCHEME"),
            TargetError::Credentials => rule("URL_CREDENTIALS"),
            TargetError::Fragment => rule("URL_FRAGMENT"),
            TargetError::Spelling => rule("URL_HOST_SPELLING"),
            TargetError::Private => rule("URL_NOT_PUBLIC"),
        };
        Violation::new("url", rule, error.to_string())
    })
}

fn event_types(body: &Map<String, Value>) -> Field<Option<EventTypes>> {
    let field = "eventTypes";
    let Some(names) = array_field(body, field)? else { return Ok(None) };
    let read: Option<Vec<EventType>> =
        names.iter().map(|name| name.as_str().and_then(EventType::parse)).collect();
    let unknown = || {
        let known = EventTypes::ALL.names();
        let rule = Rule::Other("UNKNOWN_EVENT_TYPE", json!({ "known": known }));
        Violation::new(field, rule, "contains an unknown event type")
    };
    let types = EventTypes::of(read.ok_or_else(unknown)?);
    types.map(Some).ok_or_else(|| Violation::required(field))
}

fn guid(body: &Map<String, Value>, field: &'static str) -> Field<Option<Uuid>> {
    let Some(text) = text_field(body, field)? else { return Ok(None) };
    parse_guid(text).map(Some).ok_or_else(|| Violation::not_a_guid(field))
}

fn enabled(body: &Map<String, Value>) -> Field<Option<bool>> {
    match body.get("enabled") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(enabled)) => Ok(Some(*enabled)),
        Some(_) => Err(Violation::new("enabled", Rule::Format("BOOL"), "is not a boolean")),
    }
}

/// What to deliver again.
pub(super) enum Replay {
    /// These events.
    Events(Vec<EventId>),
    /// Every event since this time, in Unix milliseconds.
    Since(i64),
}

/// Parses `eventIds` or `since`: exactly one is required.
///
/// # Errors
///
/// All violations.
pub(super) fn replay(body: &Map<String, Value>) -> Result<Replay> {
    let mut violations = Violations::default();
    let events = violations.collect(event_ids(body)).flatten();
    let since = violations.collect(since(body)).flatten();
    violations.check()?;
    match (events, since) {
        (Some(events), None) => Ok(Replay::Events(events)),
        (None, Some(since_ms)) => Ok(Replay::Since(since_ms)),
        (None, None) => Err(Error::Invalid(vec![Violation::required("eventIds")])),
        (Some(_), Some(_)) => {
            let rule = Rule::Other("ONE_OF", json!({ "fields": ["eventIds", "since"] }));
            Err(Error::invalid("since", rule, "must not be sent with eventIds"))
        }
    }
}

fn event_ids(body: &Map<String, Value>) -> Field<Option<Vec<EventId>>> {
    let field = "eventIds";
    let Some(ids) = array_field(body, field)? else { return Ok(None) };
    if ids.len() > MAX_REPLAYED {
        let description = format!("must contain at most {MAX_REPLAYED} ids");
        return Err(Violation::new(field, Rule::Max(MAX_REPLAYED as u64), description));
    }
    let read: Option<Vec<EventId>> =
        ids.iter().map(|id| id.as_str().and_then(EventId::parse)).collect();
    read.map(Some).ok_or_else(|| Violation::not_a_guid(field))
}

fn since(body: &Map<String, Value>) -> Field<Option<i64>> {
    let Some(text) = text_field(body, "since")? else { return Ok(None) };
    let not_a_time =
        || Violation::new("since", Rule::Format("DATE_TIME"), "is not an RFC 3339 date and time");
    parse_timestamp(text).map(Some).ok_or_else(not_a_time)
}

/// The query of a delivery list.
pub(super) struct DeliveryQuery {
    pub(super) state: Option<DeliveryState>,
    pub(super) before: Option<EventId>,
    pub(super) limit: u32,
}

/// Parses `state`, `before` (an event id) and `limit`.
///
/// # Errors
///
/// All violations.
pub(super) fn delivery_query(query: Option<&str>) -> Result<DeliveryQuery> {
    let query = Query::parse(query);
    let mut violations = Violations::default();
    let state = violations.collect(query.one("state")).flatten().and_then(|text| {
        let state = DeliveryState::parse(text);
        let known = DeliveryState::ALL.map(DeliveryState::as_str);
        let rule = Rule::Other("UNKNOWN_STATE", json!({ "known": known }));
        let unknown = Violation::new("state", rule, "is not a delivery state");
        violations.collect(state.ok_or(unknown))
    });
    let before = violations.collect(query.one("before")).flatten().and_then(|text| {
        violations.collect(EventId::parse(text).ok_or_else(|| Violation::not_a_guid("before")))
    });
    let limit = violations.collect(query.one("limit")).flatten();
    let limit = violations.collect(paging::parse_limit(limit).map_err(|_| {
        let most = u64::from(paging::MAX_LIMIT);
        Violation::new("limit", Rule::Max(most), format!("must be an integer from 0 to {most}"))
    }));
    violations.check()?;
    Ok(DeliveryQuery { state, before, limit: limit.unwrap_or(paging::MAX_LIMIT) })
}
