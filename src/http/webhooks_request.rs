//! Reads requests about webhooks, with every violation reported at once.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::request::{Query, Violations, array_field, at_most_chars, text_field};
use super::upload_urls::Field;
use crate::db::DeliveryState;
use crate::domain::ids::{EventId, parse_guid};
use crate::domain::paging;
use crate::domain::timestamp::parse_timestamp;
use crate::domain::webhook::{EventType, EventTypes, MAX_URL_CHARS, Reach, Target, TargetRefused};
use crate::error::{Error, Result, Rule, Violation};

/// Events that one request replays by their ids.
pub(super) const MOST_REPLAYED: usize = 1_000;

/// What a body says of a subscription; what is absent or null stays as it is.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) target: Option<Target>,
    pub(super) event_types: Option<EventTypes>,
    pub(super) app_id: Option<Uuid>,
    pub(super) instance_id: Option<Uuid>,
    pub(super) is_enabled: Option<bool>,
}

impl Wanted {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// All violations.
    pub(super) fn read(body: &Map<String, Value>, reach: Reach) -> Result<Self> {
        let mut violations = Violations::default();
        let wanted = Self::take(body, reach, &mut violations);
        violations.check()?;
        Ok(wanted)
    }

    /// [`Wanted::read`] for one that is to be made: the URL must be there.
    ///
    /// # Errors
    ///
    /// All violations.
    pub(super) fn new(body: &Map<String, Value>, reach: Reach) -> Result<(Self, Target)> {
        let mut violations = Violations::default();
        let mut wanted = Self::take(body, reach, &mut violations);
        if matches!(body.get("url"), None | Some(Value::Null)) {
            violations.push(Violation::required("url"));
        }
        violations.check()?;
        let target = wanted.target.take();
        let target = target.ok_or_else(|| Error::Invalid(vec![Violation::required("url")]))?;
        Ok((wanted, target))
    }

    fn take(body: &Map<String, Value>, reach: Reach, violations: &mut Violations) -> Self {
        Self {
            target: violations.take(target(body, reach)).flatten(),
            event_types: violations.take(event_types(body)).flatten(),
            app_id: violations.take(guid(body, "appId")).flatten(),
            instance_id: violations.take(guid(body, "instanceId")).flatten(),
            is_enabled: violations.take(enabled(body)).flatten(),
        }
    }
}

fn target(body: &Map<String, Value>, reach: Reach) -> Field<Option<Target>> {
    let Some(text) = text_field(body, "url")? else { return Ok(None) };
    at_most_chars("url", text, MAX_URL_CHARS)?;
    Target::parse(text, reach).map(Some).map_err(|refused| {
        let rule = |name| Rule::Other(name, json!({}));
        let rule = match refused {
            TargetRefused::NotAUrl => Rule::Format("URL"),
            TargetRefused::Scheme => rule("URL_SCHEME"),
            TargetRefused::Credentials => rule("URL_CREDENTIALS"),
            TargetRefused::Fragment => rule("URL_FRAGMENT"),
            TargetRefused::Spelling => rule("URL_HOST_SPELLING"),
            TargetRefused::Private => rule("URL_NOT_PUBLIC"),
        };
        Violation::new("url", rule, refused.to_string())
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
        Violation::new(field, rule, "holds an unknown event type")
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
        Some(_) => Err(Violation::new("enabled", Rule::Format("BOOL"), "is not true or false")),
    }
}

/// What is to be told again.
pub(super) enum Replay {
    /// These events.
    Events(Vec<EventId>),
    /// Everything since then, in Unix milliseconds.
    Since(i64),
}

/// Reads `eventIds` or `since`, of which there must be one.
///
/// # Errors
///
/// All violations.
pub(super) fn replay(body: &Map<String, Value>) -> Result<Replay> {
    let mut violations = Violations::default();
    let events = violations.take(event_ids(body)).flatten();
    let since = violations.take(since(body)).flatten();
    violations.check()?;
    match (events, since) {
        (Some(events), None) => Ok(Replay::Events(events)),
        (None, Some(since_ms)) => Ok(Replay::Since(since_ms)),
        (None, None) => Err(Error::Invalid(vec![Violation::required("eventIds")])),
        (Some(_), Some(_)) => {
            let rule = Rule::Other("ONE_OF", json!({ "fields": ["eventIds", "since"] }));
            Err(Error::invalid("since", rule, "must not stand beside eventIds"))
        }
    }
}

fn event_ids(body: &Map<String, Value>) -> Field<Option<Vec<EventId>>> {
    let field = "eventIds";
    let Some(ids) = array_field(body, field)? else { return Ok(None) };
    if ids.len() > MOST_REPLAYED {
        let description = format!("must hold at most {MOST_REPLAYED} ids");
        return Err(Violation::new(field, Rule::Max(MOST_REPLAYED as u64), description));
    }
    let read: Option<Vec<EventId>> =
        ids.iter().map(|id| id.as_str().and_then(EventId::parse)).collect();
    read.map(Some).ok_or_else(|| Violation::not_a_guid(field))
}

fn since(body: &Map<String, Value>) -> Field<Option<i64>> {
    let Some(text) = text_field(body, "since")? else { return Ok(None) };
    let not_a_time = || Violation::new("since", Rule::Format("DATE_TIME"), "is not a time");
    parse_timestamp(text).map(Some).ok_or_else(not_a_time)
}

/// Which deliveries are asked for.
pub(super) struct Asked {
    pub(super) state: Option<DeliveryState>,
    pub(super) before: Option<EventId>,
    pub(super) limit: u32,
}

/// Reads `state`, `before` (an event's id) and `limit`.
///
/// # Errors
///
/// All violations.
pub(super) fn asked(query: Option<&str>) -> Result<Asked> {
    let query = Query::parse(query);
    let mut violations = Violations::default();
    let state = violations.take(query.one("state")).flatten().and_then(|text| {
        let state = DeliveryState::parse(text);
        let known = DeliveryState::ALL.map(DeliveryState::as_str);
        let rule = Rule::Other("UNKNOWN_STATE", json!({ "known": known }));
        let unknown = Violation::new("state", rule, "is not a state of a delivery");
        violations.take(state.ok_or(unknown))
    });
    let before = violations.take(query.one("before")).flatten().and_then(|text| {
        violations.take(EventId::parse(text).ok_or_else(|| Violation::not_a_guid("before")))
    });
    let limit = violations.take(query.one("limit")).flatten();
    let limit = violations.take(paging::parse_limit(limit).map_err(|_| {
        let most = u64::from(paging::MAX_LIMIT);
        Violation::new("limit", Rule::Max(most), format!("must be a number of at most {most}"))
    }));
    violations.check()?;
    Ok(Asked { state, before, limit: limit.unwrap_or(paging::MAX_LIMIT) })
}
