//! The keys that sign webhook events (RS256). They are generated on first use, because generating
//! one takes longer than a start may take.
//!
//! Each line of `webhook.keys` is `<signs from, Unix milliseconds> <PKCS#8 in base64>`. The newest
//! key whose time has come signs. All keys are published, so that receivers can install a new key
//! before it is used.

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

/// Most live keys: the one that signs and its predecessor or successor.
const MAX_LIVE_KEYS: usize = 2;
/// How often the file is reread. A rotation by another process takes effect within this time.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);
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
    /// The key id, sent as `kid` in tokens.
    pub id: String,
    /// When it starts signing, in Unix milliseconds.
    pub signs_from_ms: i64,
    /// Whether it signs now.
    pub signs: bool,
    /// PEM with `BEGIN PUBLIC KEY`, the form that the SDK accepts.
    pub pem: String,
    modulus: String,
    exponent: String,
}

impl PublicKey {
    /// The PEM in base64 on one line, which the SDK accepts too.
    pub fn base64(&self) -> String {
        STANDARD.encode(&self.pem)
    }

    /// The key as a JSON Web Key (RFC 7517).
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
            parse_key(line).context("webhook.keys: expected lines of \"<time> <key in base64>\"")
        });
        let keys: Vec<Key> = keys.collect::<anyhow::Result<_>>()?;
        anyhow::ensure!(!keys.is_empty(), "webhook.keys is empty");
        Ok(Self { keys })
    }

    /// The key that signs at a time: the newest whose time has come, else the oldest.
    fn signing(&self, now_ms: i64) -> Option<&Key> {
        let started = self.keys.iter().filter(|key| key.signs_from_ms <= now_ms);
        started
            .max_by_key(|key| key.signs_from_ms)
            .or_else(|| self.keys.iter().min_by_key(|key| key.signs_from_ms))
    }

    /// The fingerprint of each key: a hash of its public part.
    pub fn fingerprints(&self) -> Vec<Vec<u8>> {
        self.keys.iter().map(|key| key.id.clone().into_bytes()).collect()
    }

    /// Signs claims as a token.
    ///
    /// # Errors
    ///
    /// If the system provides no random bytes, which signing needs.
    pub fn sign(&self, claims: &str, now_ms: i64) -> anyhow::Result<String> {
        let key = self.signing(now_ms).context("there is no webhook key")?;
        let head = json!({ "alg": "RS256", "typ": "JWT", "kid": key.id }).to_string();
        let mut token = URL_SAFE_NO_PAD.encode(head);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let mut signature = vec![0; key.pair.public_modulus_len()];
        key.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .map_err(|_| anyhow::anyhow!("cannot sign a webhook"))?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// The live keys; the one that signs comes first.
    ///
    /// # Errors
    ///
    /// If a key cannot be encoded.
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
    let der: PublicKeyX509Der<'_> =
        pair.public_key().as_der().map_err(|_| anyhow::anyhow!("cannot encode a public key"))?;
    Ok(der.as_ref().to_vec())
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
    // Base64 is ASCII, so every index is a character boundary.
    for line in text.as_bytes().chunks(PEM_LINE) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END PUBLIC KEY-----\n");
    pem
}

fn new_line(signs_from_ms: i64) -> anyhow::Result<String> {
    let pair = KeyPair::generate(KeySize::Rsa2048)
        .map_err(|_| anyhow::anyhow!("cannot generate a webhook key"))?;
    let der: Pkcs8V1Der<'_> =
        pair.as_der().map_err(|_| anyhow::anyhow!("cannot encode a webhook key"))?;
    Ok(format!("{signs_from_ms} {}\n", STANDARD.encode(der.as_ref())))
}

/// The keys of a data folder, reread every `RELOAD_INTERVAL` because another process may change
/// them.
pub struct KeyRing {
    folder: DataFolder,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    text: String,
    keys: Option<Arc<WebhookKeys>>,
    read_at: Option<Instant>,
}

impl KeyRing {
    /// Creates the key ring of a folder, without reading it.
    pub fn new(folder: DataFolder) -> Self {
        Self { folder, cache: Mutex::default() }
    }

    /// The live keys; `None` before the first subscription. Rereads the file every
    /// `RELOAD_INTERVAL`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is malformed.
    pub fn current(&self) -> anyhow::Result<Option<Arc<WebhookKeys>>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.read_at.is_some_and(|read_at| read_at.elapsed() < RELOAD_INTERVAL) {
            return Ok(cache.keys.clone());
        }
        self.reload(&mut cache)
    }

    /// The live keys; generates the first one if needed, which is slow.
    ///
    /// # Errors
    ///
    /// If the keys cannot be generated, written or read.
    pub fn ensure(&self, now_ms: i64) -> anyhow::Result<Arc<WebhookKeys>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = self.reload(&mut cache)? {
            return Ok(keys);
        }
        self.folder.create_webhook_keys(&new_line(now_ms)?)?;
        self.reload(&mut cache)?.context("webhook.keys is missing")
    }

    /// Generates a new key that signs from a given time. The key that signs now stays live.
    ///
    /// # Errors
    ///
    /// If an earlier new key does not sign yet, or keys cannot be generated, written or read.
    pub fn rotate(&self, now_ms: i64, signs_from_ms: i64) -> anyhow::Result<Arc<WebhookKeys>> {
        let keys = self.ensure(now_ms)?;
        let is_pending = keys.keys.iter().any(|key| key.signs_from_ms > now_ms);
        anyhow::ensure!(
            !is_pending || keys.keys.len() < MAX_LIVE_KEYS,
            "a rotation is in progress: the new key does not sign yet"
        );
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let signing = keys.signing(now_ms).context("there is no webhook key")?;
        let der: Pkcs8V1Der<'_> =
            signing.pair.as_der().map_err(|_| anyhow::anyhow!("cannot encode a webhook key"))?;
        let mut text = new_line(signs_from_ms)?;
        writeln!(text, "{} {}", signing.signs_from_ms, STANDARD.encode(der.as_ref()))?;
        self.folder.replace_webhook_keys(&text)?;
        self.reload(&mut cache)?.context("webhook.keys is missing")
    }

    fn reload(&self, cache: &mut Cache) -> anyhow::Result<Option<Arc<WebhookKeys>>> {
        let text = self.folder.webhook_keys()?;
        cache.read_at = Some(Instant::now());
        let Some(text) = text else {
            *cache = Cache { read_at: cache.read_at, ..Cache::default() };
            return Ok(None);
        };
        if cache.keys.is_none() || cache.text != text {
            cache.keys = Some(Arc::new(WebhookKeys::parse(&text)?));
            cache.text = text;
        }
        Ok(cache.keys.clone())
    }
}

#[cfg(test)]
#[path = "webhook_keys_tests.rs"]
mod tests;
