//! What the vendor tells of contacts that are kept elsewhere: its own webhooks, whose whole body is a
//! signed token (contract §11, §12). Only RS256 is taken, with the one key that stands for the
//! installation, and only while the token is fresh.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use uuid::Uuid;

use super::ids::{ContactId, EventId, parse_guid};

/// Contacts that one merge names at most (contract §12).
const MOST_SOURCES: usize = 5;
/// How old a token may be: longer than the vendor's resends and than its own `exp`.
const MAX_AGE_SECONDS: i64 = 4 * 24 * 60 * 60;
/// How far the vendor's clock may be ahead.
const SKEW_SECONDS: i64 = 300;

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InboundRefused {
    /// It is not of the form that the vendor's webhooks have.
    #[error("the body is not a webhook of the vendor")]
    Malformed,
    /// Not signed by the key of its installation, or not with RS256.
    #[error("the webhook's signature is not valid")]
    Forged,
    /// Its time is over, or has not come.
    #[error("the webhook is not fresh")]
    NotFresh,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContactNews {
    /// A contact is gone.
    Deleted(ContactId),
    /// Everything of a person must go.
    Anonymized(ContactId),
    /// Contacts have become one.
    Merged {
        /// The one.
        target: ContactId,
        /// The others.
        sources: Vec<ContactId>,
    },
    /// Nothing that changes anything here.
    Nothing,
}

/// A token that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The event's id, the same in every resend.
    pub event: EventId,
    /// Until when it could be sent again, in Unix milliseconds.
    pub fresh_until_ms: i64,
    /// What it tells.
    pub news: ContactNews,
}

/// A token whose signature is still to be checked.
#[derive(Debug)]
pub struct Unchecked<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    claims: Value,
    data: Value,
    /// Whose key it must be signed by.
    pub instance_id: Uuid,
}

impl<'a> Unchecked<'a> {
    /// Takes a body apart.
    ///
    /// # Errors
    ///
    /// [`InboundRefused::Malformed`]; [`InboundRefused::Forged`] for any algorithm but RS256.
    pub fn parse(body: &'a str) -> Result<Self, InboundRefused> {
        let (signed, signature) = body.trim().rsplit_once('.').ok_or(InboundRefused::Malformed)?;
        let (head, payload) = signed.split_once('.').ok_or(InboundRefused::Malformed)?;
        let json = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let head = json(head).ok_or(InboundRefused::Malformed)?;
        if head["alg"] != "RS256" || head.get("crit").is_some() {
            return Err(InboundRefused::Forged);
        }
        let claims = json(payload).ok_or(InboundRefused::Malformed)?;
        let data = text_json(&claims["data"]).ok_or(InboundRefused::Malformed)?;
        let instance_id = data["instanceId"].as_str().and_then(parse_guid);
        Ok(Self {
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| InboundRefused::Malformed)?,
            claims,
            instance_id: instance_id.ok_or(InboundRefused::Malformed)?,
            data,
        })
    }

    /// Checks the signature and the time, and reads what is told.
    ///
    /// # Errors
    ///
    /// See [`InboundRefused`].
    pub fn check(&self, public_key: &[u8], now_ms: i64) -> Result<Inbound, InboundRefused> {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key)
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| InboundRefused::Forged)?;
        let number = |name: &str| self.claims[name].as_i64().ok_or(InboundRefused::Malformed);
        let (issued_s, expires_s, now_s) =
            (number("iat")?, number("exp")?, now_ms.div_euclid(1_000));
        let until_s = expires_s.min(issued_s.saturating_add(MAX_AGE_SECONDS));
        if now_s >= until_s || issued_s > now_s + SKEW_SECONDS {
            return Err(InboundRefused::NotFresh);
        }
        let event = text_json(&self.data["data"]).ok_or(InboundRefused::Malformed)?;
        let id = event["id"].as_str().and_then(EventId::parse);
        Ok(Inbound {
            event: id.ok_or(InboundRefused::Malformed)?,
            fresh_until_ms: until_s.saturating_mul(1_000),
            news: news(&self.data["eventType"], &event)?,
        })
    }
}

fn news(event_type: &Value, event: &Value) -> Result<ContactNews, InboundRefused> {
    let id =
        |value: &Value| value.as_str().and_then(ContactId::parse).ok_or(InboundRefused::Malformed);
    match event_type.as_str() {
        Some("wix.contacts.v4.contact_deleted") => {
            let contact = id(&event["entityId"])?;
            if event["triggeredByAnonymizeRequest"] == true {
                return Ok(ContactNews::Anonymized(contact));
            }
            // The merge itself moves the attachments, whichever of the two comes first.
            if event["originatedFrom"] == "merge" {
                return Ok(ContactNews::Nothing);
            }
            Ok(ContactNews::Deleted(contact))
        }
        Some("wix.contacts.v4.contact_merged") => {
            let body = &event["actionEvent"]["body"];
            let given = body["sourceContactIds"].as_array().ok_or(InboundRefused::Malformed)?;
            let target = id(&body["targetContactId"])?;
            let mut sources: Vec<ContactId> = given.iter().map(id).collect::<Result<_, _>>()?;
            sources.sort_unstable();
            sources.dedup();
            if sources.is_empty() || sources.len() > MOST_SOURCES || sources.contains(&target) {
                return Err(InboundRefused::Malformed);
            }
            Ok(ContactNews::Merged { target, sources })
        }
        Some(_) => Ok(ContactNews::Nothing),
        None => Err(InboundRefused::Malformed),
    }
}

/// JSON that is a text in JSON.
fn text_json(value: &Value) -> Option<Value> {
    serde_json::from_str(value.as_str()?).ok()
}

/// The key in a PEM file (`BEGIN PUBLIC KEY`), or in the base64 of one; `None` when it is none.
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
