//! Verifies the vendor's webhooks about contacts that it manages. A webhook's body is a signed
//! token (contract §11, §12). Only RS256 with the installation's key is accepted, and only until
//! the token expires.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use uuid::Uuid;

use super::ids::{ContactId, EventId, parse_guid};

/// Most source contacts in one merge (contract §12).
const MAX_MERGE_SOURCES: usize = 5;
/// Oldest accepted token. Longer than the vendor retries and than its own `exp`.
const MAX_AGE_SECONDS: i64 = 4 * 24 * 60 * 60;
/// Largest accepted lead of the vendor's clock.
const SKEW_SECONDS: i64 = 300;

/// Why a token is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InboundError {
    /// It does not have the form of the vendor's webhooks.
    #[error("the body is not a webhook of the vendor")]
    Malformed,
    /// It is not signed by the installation's key, or not with RS256.
    #[error("the webhook's signature is not valid")]
    Forged,
    /// It has expired, or was issued in the future.
    #[error("the webhook has expired or was issued in the future")]
    NotFresh,
}

/// The change that a webhook reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContactChange {
    /// A contact was deleted.
    Deleted(ContactId),
    /// All data of a contact must be erased.
    Anonymized(ContactId),
    /// Contacts were merged into one.
    Merged {
        /// The remaining contact.
        target: ContactId,
        /// The contacts merged into it.
        sources: Vec<ContactId>,
    },
    /// An event with no effect here.
    Ignored,
}

/// A verified webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The event's id, the same in every retry.
    pub event: EventId,
    /// Until when a retry of it would be accepted, in Unix milliseconds.
    pub fresh_until_ms: i64,
    /// The reported change.
    pub change: ContactChange,
}

/// A parsed webhook whose signature is not yet verified.
#[derive(Debug)]
pub struct Unchecked<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    claims: Value,
    data: Value,
    /// The installation whose key must have signed it.
    pub instance_id: Uuid,
}

impl<'a> Unchecked<'a> {
    /// Parses a request's body.
    ///
    /// # Errors
    ///
    /// [`InboundError::Malformed`]; [`InboundError::Forged`] for any algorithm but RS256.
    pub fn parse(body: &'a str) -> Result<Self, InboundError> {
        let (signed, signature) = body.trim().rsplit_once('.').ok_or(InboundError::Malformed)?;
        let (head, payload) = signed.split_once('.').ok_or(InboundError::Malformed)?;
        let json = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let head = json(head).ok_or(InboundError::Malformed)?;
        if head["alg"] != "RS256" || head.get("crit").is_some() {
            return Err(InboundError::Forged);
        }
        let claims = json(payload).ok_or(InboundError::Malformed)?;
        let data = text_json(&claims["data"]).ok_or(InboundError::Malformed)?;
        let instance_id = data["instanceId"].as_str().and_then(parse_guid);
        Ok(Self {
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| InboundError::Malformed)?,
            claims,
            instance_id: instance_id.ok_or(InboundError::Malformed)?,
            data,
        })
    }

    /// Verifies the signature and the lifetime, and parses the event.
    ///
    /// # Errors
    ///
    /// See [`InboundError`].
    pub fn check(&self, public_key: &[u8], now_ms: i64) -> Result<Inbound, InboundError> {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key)
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| InboundError::Forged)?;
        let number = |name: &str| self.claims[name].as_i64().ok_or(InboundError::Malformed);
        let (issued_s, expires_s, now_s) =
            (number("iat")?, number("exp")?, now_ms.div_euclid(1_000));
        let until_s = expires_s.min(issued_s.saturating_add(MAX_AGE_SECONDS));
        if now_s >= until_s || issued_s > now_s + SKEW_SECONDS {
            return Err(InboundError::NotFresh);
        }
        let event = text_json(&self.data["data"]).ok_or(InboundError::Malformed)?;
        let id = event["id"].as_str().and_then(EventId::parse);
        Ok(Inbound {
            event: id.ok_or(InboundError::Malformed)?,
            fresh_until_ms: until_s.saturating_mul(1_000),
            change: contact_change(&self.data["eventType"], &event)?,
        })
    }
}

fn contact_change(event_type: &Value, event: &Value) -> Result<ContactChange, InboundError> {
    let id =
        |value: &Value| value.as_str().and_then(ContactId::parse).ok_or(InboundError::Malformed);
    match event_type.as_str() {
        Some("wix.contacts.v4.contact_deleted") => {
            let contact = id(&event["entityId"])?;
            if event["triggeredByAnonymizeRequest"] == true {
                return Ok(ContactChange::Anonymized(contact));
            }
            // The merge event moves the attachments, whichever of the two arrives first.
            if event["originatedFrom"] == "merge" {
                return Ok(ContactChange::Ignored);
            }
            Ok(ContactChange::Deleted(contact))
        }
        Some("wix.contacts.v4.contact_merged") => {
            let body = &event["actionEvent"]["body"];
            let ids = body["sourceContactIds"].as_array().ok_or(InboundError::Malformed)?;
            let target = id(&body["targetContactId"])?;
            let mut sources: Vec<ContactId> = ids.iter().map(id).collect::<Result<_, _>>()?;
            sources.sort_unstable();
            sources.dedup();
            if sources.is_empty() || sources.len() > MAX_MERGE_SOURCES || sources.contains(&target)
            {
                return Err(InboundError::Malformed);
            }
            Ok(ContactChange::Merged { target, sources })
        }
        Some(_) => Ok(ContactChange::Ignored),
        None => Err(InboundError::Malformed),
    }
}

/// Parses JSON that is embedded as a JSON string.
fn text_json(value: &Value) -> Option<Value> {
    serde_json::from_str(value.as_str()?).ok()
}

/// The key in a PEM file (`BEGIN PUBLIC KEY`) or in the base64 of such a file; `None` if malformed.
pub fn public_key(text: &str) -> Option<Vec<u8>> {
    let decoded;
    let mut text = text.trim();
    if !text.starts_with("-----") {
        decoded = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        text = decoded.trim();
    }
    let inside = text.strip_prefix("-----BEGIN PUBLIC KEY-----")?;
    let inside = inside.strip_suffix("-----END PUBLIC KEY-----")?;
    let inside: String = inside.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(inside).ok()
}
