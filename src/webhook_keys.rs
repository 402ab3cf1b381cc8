//! The keys that sign what receivers of webhooks are told (RS256), made when they are first needed:
//! making one takes longer than a start may.
//!
//! Each line of `webhook.keys` is `<signs from, Unix milliseconds> <PKCS#8 in base64>`. The newest
//! one whose time has come signs; every one is shown, so that receivers can take a new key before it
//! is used.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::data_folder::DataFolder;
use crate::domain::hex;

/// Keys that are live at the same time at most: the one that signs and the one before or after it.
const LIVE: usize = 2;
/// How soon a rotation by another process holds at the latest.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Characters in a line of PEM.
const PEM_LINE: usize = 64;

struct Key {
    id: String,
    signs_from_ms: i64,
    pair: KeyPair,
}

/// The live keys.
pub struct WebhookKeys {
    keys: Vec<Key>,
}

/// A key as receivers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// What `kid` of a token holds.
    pub id: String,
    /// From when on it signs, in Unix milliseconds.
    pub signs_from_ms: i64,
    /// Whether it signs now.
    pub signs: bool,
    /// `BEGIN PUBLIC KEY`, the form that the SDK takes.
    pub pem: String,
    modulus: String,
    exponent: String,
}

impl PublicKey {
    /// The PEM in base64, which the SDK takes as well and which fits in one line.
    pub fn base64(&self) -> String {
        STANDARD.encode(&self.pem)
    }

    /// As JSON Web Key (RFC 7517).
    pub fn jwk(&self) -> Value {
        json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id,
            "n": self.modulus, "e": self.exponent,
        })
    }
}

impl WebhookKeys {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let keys = text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
            parse_key(line).context("webhook.keys: a line is not \"<time> <key in base64>\"")
        });
        let keys: Vec<Key> = keys.collect::<anyhow::Result<_>>()?;
        anyhow::ensure!(!keys.is_empty(), "webhook.keys is empty");
        Ok(Self { keys })
    }

    /// The key that signs at a time: the newest whose time has come, or else the oldest.
    fn signing(&self, now_ms: i64) -> Option<&Key> {
        let begun = self.keys.iter().filter(|key| key.signs_from_ms <= now_ms);
        begun
            .max_by_key(|key| key.signs_from_ms)
            .or_else(|| self.keys.iter().min_by_key(|key| key.signs_from_ms))
    }

    /// What tells each key from others: a hash of its public part.
    pub fn fingerprints(&self) -> Vec<Vec<u8>> {
        self.keys.iter().map(|key| key.id.clone().into_bytes()).collect()
    }

    /// Makes a token of claims.
    ///
    /// # Errors
    ///
    /// When the system has no randomness, which signing needs.
    pub fn sign(&self, claims: &str, now_ms: i64) -> anyhow::Result<String> {
        let key = self.signing(now_ms).context("there is no webhook key")?;
        let head = json!({ "alg": "RS256", "typ": "JWT", "kid": key.id }).to_string();
        let mut token = URL_SAFE_NO_PAD.encode(head);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let mut signature = vec![0; key.pair.public_modulus_len()];
        key.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .map_err(|_| anyhow::anyhow!("a webhook could not be signed"))?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// The live keys, the one that signs first.
    ///
    /// # Errors
    ///
    /// When a key cannot be written down.
    pub fn public(&self, now_ms: i64) -> anyhow::Result<Vec<PublicKey>> {
        let signing = self.signing(now_ms).map(|key| key.id.clone());
        let mut public: Vec<PublicKey> = self
            .keys
            .iter()
            .map(|key| {
                let public = key.pair.public_key();
                let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
                Ok(PublicKey {
                    id: key.id.clone(),
                    signs_from_ms: key.signs_from_ms,
                    signs: signing.as_ref() == Some(&key.id),
                    pem: pem(&spki(&key.pair)?),
                    modulus: number(public.modulus().big_endian_without_leading_zero()),
                    exponent: number(public.exponent().big_endian_without_leading_zero()),
                })
            })
            .collect::<anyhow::Result<_>>()?;
        public.sort_by_key(|key| (!key.signs, key.signs_from_ms));
        Ok(public)
    }
}

fn parse_key(line: &str) -> Option<Key> {
    let (signs_from_ms, key) = line.trim().split_once(' ')?;
    let pair = KeyPair::from_pkcs8(&STANDARD.decode(key.trim()).ok()?).ok()?;
    let id = hex::encode(&Sha256::digest(spki(&pair).ok()?))[..16].to_owned();
    Some(Key { id, signs_from_ms: signs_from_ms.parse().ok()?, pair })
}

fn spki(pair: &KeyPair) -> anyhow::Result<Vec<u8>> {
    let der: PublicKeyX509Der<'_> = pair
        .public_key()
        .as_der()
        .map_err(|_| anyhow::anyhow!("a public key could not be written"))?;
    Ok(der.as_ref().to_vec())
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
    // Base64 is ASCII, so every place is a character's end.
    for line in text.as_bytes().chunks(PEM_LINE) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END PUBLIC KEY-----\n");
    pem
}

fn new_line(signs_from_ms: i64) -> anyhow::Result<String> {
    let pair = KeyPair::generate(KeySize::Rsa2048)
        .map_err(|_| anyhow::anyhow!("a webhook key could not be made"))?;
    let der: Pkcs8V1Der<'_> =
        pair.as_der().map_err(|_| anyhow::anyhow!("a webhook key could not be written"))?;
    Ok(format!("{signs_from_ms} {}\n", STANDARD.encode(der.as_ref())))
}

/// The keys of a data folder, read again now and then: another process may have changed them.
pub struct KeyRing {
    folder: DataFolder,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    text: String,
    keys: Option<Arc<WebhookKeys>>,
    looked: Option<Instant>,
}

impl KeyRing {
    /// Of a folder; nothing is read yet.
    pub fn new(folder: DataFolder) -> Self {
        Self { folder, known: Mutex::default() }
    }

    /// The live keys; `None` before the first subscription. Reads a file now and then.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not of its form.
    pub fn current(&self) -> anyhow::Result<Option<Arc<WebhookKeys>>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return Ok(known.keys.clone());
        }
        self.look(&mut known)
    }

    /// The live keys, made if there are none: this takes a moment.
    ///
    /// # Errors
    ///
    /// When they cannot be made, written or read.
    pub fn ensure(&self, now_ms: i64) -> anyhow::Result<Arc<WebhookKeys>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = self.look(&mut known)? {
            return Ok(keys);
        }
        self.folder.first_webhook_keys(&new_line(now_ms)?)?;
        self.look(&mut known)?.context("webhook.keys is gone")
    }

    /// Makes a new key that signs from a time on; the one that signs now stays live beside it.
    ///
    /// # Errors
    ///
    /// When there is a key already whose time is still to come; when keys cannot be made, written
    /// or read.
    pub fn rotate(&self, now_ms: i64, signs_from_ms: i64) -> anyhow::Result<Arc<WebhookKeys>> {
        let keys = self.ensure(now_ms)?;
        let waiting = keys.keys.iter().any(|key| key.signs_from_ms > now_ms);
        anyhow::ensure!(
            !waiting || keys.keys.len() < LIVE,
            "a rotation is under way: the new key does not sign yet"
        );
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let signing = keys.signing(now_ms).context("there is no webhook key")?;
        let der: Pkcs8V1Der<'_> =
            signing.pair.as_der().map_err(|_| anyhow::anyhow!("a key could not be written"))?;
        let mut text = new_line(signs_from_ms)?;
        writeln!(text, "{} {}", signing.signs_from_ms, STANDARD.encode(der.as_ref()))?;
        self.folder.replace_webhook_keys(&text)?;
        self.look(&mut known)?.context("webhook.keys is gone")
    }

    fn look(&self, known: &mut Known) -> anyhow::Result<Option<Arc<WebhookKeys>>> {
        let text = self.folder.webhook_keys()?;
        known.looked = Some(Instant::now());
        let Some(text) = text else {
            *known = Known { looked: known.looked, ..Known::default() };
            return Ok(None);
        };
        if known.keys.is_none() || known.text != text {
            known.keys = Some(Arc::new(WebhookKeys::parse(&text)?));
            known.text = text;
        }
        Ok(known.keys.clone())
    }
}

#[cfg(test)]
#[path = "webhook_keys_tests.rs"]
mod tests;
