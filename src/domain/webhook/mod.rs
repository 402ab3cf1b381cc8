//! Events and their token claims, in the shapes that the SDK's `webhooks.process()` accepts
//! (contract §11), and when a delivery is retried.

mod retry;
mod target;

pub use retry::{Circuit, Schedule, retry_after_ms};
pub use target::{MAX_URL_CHARS, Reach, Target, TargetError};

use serde_json::{Value, json};
use uuid::Uuid;

use super::ids::{AttachmentId, ContactId, EventId, SiteId};
use super::timestamp::timestamp;

/// The entity type of every event.
pub const ENTITY_FQDN: &str = "wix.contacts.v4.attachment";
/// A token's lifetime. The SDK rejects one whose `exp` has passed, so each attempt signs its own.
const TOKEN_LIFE_SECONDS: i64 = 3_600;
/// The `iss` claim. One of the SDK's ways to read a callback requires it.
const ISSUER: &str = "wix.com";

/// The kinds of attachment events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// The attachment was stored and can be downloaded.
    Created,
    /// The attachment was deleted.
    Deleted,
}

impl EventType {
    /// Every event type.
    pub const ALL: [Self; 2] = [Self::Created, Self::Deleted];

    /// The vendor's name of the type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "wix.contacts.v4.attachment_created",
            Self::Deleted => "wix.contacts.v4.attachment_deleted",
        }
    }

    /// The last word of the name.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Deleted => "deleted",
        }
    }

    /// Its bit in a stored [`EventTypes`].
    pub fn bit(self) -> i64 {
        match self {
            Self::Created => 1,
            Self::Deleted => 2,
        }
    }

    /// The type with this bit.
    pub fn from_bit(bit: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|event_type| event_type.bit() == bit)
    }

    /// Parses the vendor's name, or the part after its last dot.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event_type| {
            let name = event_type.as_str();
            text == name || name.rsplit('.').next() == Some(text)
        })
    }
}

/// A set of event types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTypes(i64);

impl EventTypes {
    /// Every event type.
    pub const ALL: Self = Self(3);

    /// The set of these types; `None` when it would be empty.
    pub fn of(types: impl IntoIterator<Item = EventType>) -> Option<Self> {
        let bits = types.into_iter().fold(0, |bits, event_type| bits | event_type.bit());
        (bits != 0).then_some(Self(bits))
    }

    /// The set with these stored bits.
    pub fn from_bits(bits: i64) -> Self {
        Self(bits)
    }

    /// The bits to store.
    pub fn bits(self) -> i64 {
        self.0
    }

    /// Whether the set contains a type.
    pub fn contains(self, event_type: EventType) -> bool {
        self.0 & event_type.bit() != 0
    }

    /// The vendor's names of the contained types.
    pub fn names(self) -> Vec<&'static str> {
        EventType::ALL
            .into_iter()
            .filter(|event_type| self.contains(*event_type))
            .map(EventType::as_str)
            .collect()
    }
}

/// What caused an event, if not a direct request for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cause {
    /// The operation behind it, such as `merge`; absent for a direct request.
    pub originated_from: Option<String>,
    /// Whether a privacy erasure caused it.
    pub by_anonymize_request: bool,
    /// For the created event of a restored attachment: when it had been deleted, in Unix
    /// milliseconds.
    pub restored_deleted_at_ms: Option<i64>,
}

/// An attachment event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The event's id, the same in every delivery attempt.
    pub id: EventId,
    /// What happened.
    pub event_type: EventType,
    /// The contact that owns the attachment.
    pub contact_id: ContactId,
    /// The attachment.
    pub attachment_id: AttachmentId,
    /// Increases with every event of the attachment.
    pub sequence: i64,
    /// When it happened, in Unix milliseconds.
    pub occurred_at_ms: i64,
    /// What caused it.
    pub cause: Cause,
}

/// The receiver that a token is issued to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Recipient {
    /// The tenant.
    pub site_id: SiteId,
    /// The receiver's app.
    pub app_id: Uuid,
    /// The app's installation on the site.
    pub instance_id: Uuid,
}

impl Event {
    /// The event's JSON; `entity` is the attachment of a created event.
    fn body(&self, entity: Option<&Value>) -> Value {
        let mut body = json!({
            "id": self.id.to_string(),
            "entityFqdn": ENTITY_FQDN,
            "slug": self.event_type.slug(),
            "entityId": self.attachment_id.to_string(),
        });
        match self.event_type {
            EventType::Created => {
                body["createdEvent"] = json!({ "entity": entity });
                if let Some(deleted_at_ms) = self.cause.restored_deleted_at_ms {
                    body["createdEvent"]["restoreInfo"] =
                        json!({ "deletedDate": timestamp(deleted_at_ms) });
                }
            }
            EventType::Deleted => body["deletedEvent"] = json!({}),
        }
        body["eventTime"] = json!(timestamp(self.occurred_at_ms));
        body["triggeredByAnonymizeRequest"] = json!(self.cause.by_anonymize_request);
        if let Some(origin) = &self.cause.originated_from {
            body["originatedFrom"] = json!(origin);
        }
        body["entityEventSequence"] = json!(self.sequence.to_string());
        // Our addition: the entity does not name its contact, which a receiver may need.
        body["contactId"] = json!(self.contact_id.to_string());
        body
    }

    /// The claims of the token that carries this event, as JSON text. Inner objects are JSON
    /// strings, as the SDK expects.
    pub fn claims(&self, entity: Option<&Value>, recipient: Recipient, now_ms: i64) -> String {
        let app_id = recipient.app_id.to_string();
        let identity = json!({ "identityType": "APP", "appId": app_id });
        let data = json!({
            "eventType": self.event_type.as_str(),
            "instanceId": recipient.instance_id.to_string(),
            "data": self.body(entity).to_string(),
            "identity": identity.to_string(),
            "accountInfo": { "siteId": recipient.site_id.to_string() },
        });
        let issued_s = now_ms.div_euclid(1_000);
        json!({
            "iss": ISSUER,
            "aud": app_id,
            "iat": issued_s,
            "exp": issued_s + TOKEN_LIFE_SECONDS,
            "data": data.to_string(),
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event_type: EventType, cause: Cause) -> Event {
        Event {
            id: EventId(Uuid::from_u128(1)),
            event_type,
            contact_id: ContactId(Uuid::from_u128(2)),
            attachment_id: AttachmentId(Uuid::from_u128(3)),
            sequence: 4,
            occurred_at_ms: 1_767_323_045_678,
            cause,
        }
    }

    fn claims(event: &Event, entity: Option<&Value>) -> Value {
        let recipient = Recipient {
            site_id: SiteId(Uuid::from_u128(5)),
            app_id: Uuid::from_u128(6),
            instance_id: Uuid::from_u128(7),
        };
        serde_json::from_str(&event.claims(entity, recipient, 1_767_323_045_999)).unwrap()
    }

    fn text(value: &Value) -> Value {
        serde_json::from_str(value.as_str().unwrap()).unwrap()
    }

    #[test]
    fn claims_nest_json_as_strings() {
        let claims = claims(&event(EventType::Deleted, Cause::default()), None);
        assert_eq!((&claims["iss"], &claims["iat"]), (&json!("wix.com"), &json!(1_767_323_045)));
        assert_eq!(claims["exp"], 1_767_326_645);
        assert_eq!(claims["aud"], "00000000-0000-0000-0000-000000000006");
        let data = text(&claims["data"]);
        assert_eq!(data["eventType"], "wix.contacts.v4.attachment_deleted");
        assert_eq!(data["instanceId"], "00000000-0000-0000-0000-000000000007");
        assert_eq!(text(&data["identity"])["identityType"], "APP");
        assert_eq!(data["accountInfo"]["siteId"], "00000000-0000-0000-0000-000000000005");
        let expected = r#"{"id":"00000000-0000-0000-0000-000000000001","entityFqdn":"wix.contacts.v4.attachment","slug":"deleted","entityId":"00000000-0000-0000-0000-000000000003","deletedEvent":{},"eventTime":"2026-01-02T03:04:05.678Z","triggeredByAnonymizeRequest":false,"entityEventSequence":"4","contactId":"00000000-0000-0000-0000-000000000002"}"#;
        assert_eq!(data["data"], expected);
    }

    #[test]
    fn a_created_event_shows_the_attachment_and_its_cause() {
        let cause = Cause {
            originated_from: Some("merge".to_owned()),
            by_anonymize_request: true,
            restored_deleted_at_ms: Some(0),
        };
        let entity = json!({ "id": "3", "fileName": "a \"b\".csv" });
        let claims = claims(&event(EventType::Created, cause), Some(&entity));
        let event = text(&text(&claims["data"])["data"]);
        assert_eq!(event["createdEvent"]["entity"], entity);
        let restored = &event["createdEvent"]["restoreInfo"]["deletedDate"];
        assert_eq!(restored, "1970-01-01T00:00:00.000Z");
        assert_eq!(event["originatedFrom"], "merge");
        assert_eq!(event["triggeredByAnonymizeRequest"], true);
    }

    #[test]
    fn event_types_parse_by_full_name_or_last_part() {
        assert_eq!(EventType::parse("attachment_created"), Some(EventType::Created));
        let full = EventType::parse("wix.contacts.v4.attachment_deleted");
        assert_eq!(full, Some(EventType::Deleted));
        for unknown in ["", "created", "attachment_updated", "contacts.v4.attachment_created"] {
            assert_eq!(EventType::parse(unknown), None, "{unknown}");
        }
        assert_eq!(EventTypes::of([]), None);
        assert_eq!(EventTypes::of(EventType::ALL), Some(EventTypes::ALL));
    }
}
