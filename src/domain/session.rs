//! The token in session cookies and sign-in links: a site id, which selects where to look it up,
//! and a secret. Also the CSRF token, which proves that a request comes from the page itself (S27).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::ids::SiteId;

/// Characters of 32 bytes in base64.
const SECRET_CHARS: usize = 43;
/// Domain separation: makes the CSRF token differ from the stored hash of the same secret.
const CSRF: &[u8] = b"dossier csrf\0";

/// A site id and a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SiteToken {
    /// The site whose sessions or sign-in links contain the secret.
    pub site: SiteId,
    secret: String,
}

impl SiteToken {
    /// A token made of random bytes.
    pub fn new(site: SiteId, random: [u8; 32]) -> Self {
        Self { site, secret: URL_SAFE_NO_PAD.encode(random) }
    }

    /// Parses the output of `Display`.
    pub fn parse(text: &str) -> Option<Self> {
        let (site, secret) = text.split_once('.')?;
        let site = (site.len() == 32).then(|| Uuid::try_parse(site).ok()).flatten()?;
        let is_secret = secret.len() == SECRET_CHARS
            && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        is_secret.then(|| Self { site: SiteId(site), secret: secret.to_owned() })
    }

    /// The stored form. The secret has 256 random bits, so a plain hash suffices (S21).
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret.as_bytes()).into()
    }

    /// The token that this session's page sends with every state-changing request. Pages of other
    /// origins cannot read it, and it reveals nothing about the secret.
    pub fn csrf_token(&self) -> String {
        let hash = Sha256::new().chain_update(CSRF).chain_update(self.secret.as_bytes()).finalize();
        URL_SAFE_NO_PAD.encode(hash)
    }

    /// Whether `given` is the [`SiteToken::csrf_token`]. Compares in constant time.
    pub fn has_csrf_token(&self, given: &[u8]) -> bool {
        self.csrf_token().as_bytes().ct_eq(given).into()
    }
}

impl fmt::Display for SiteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.site.0.simple(), self.secret)
    }
}

impl fmt::Debug for SiteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteToken({}, ***)", self.site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(byte: u8) -> SiteToken {
        SiteToken::new(SiteId(Uuid::from_u128(7)), [byte; 32])
    }

    #[test]
    fn a_token_round_trips_and_other_texts_are_rejected() {
        let text = token(1).to_string();
        assert_eq!(SiteToken::parse(&text), Some(token(1)));
        let uuid = Uuid::from_u128(7);
        for other in [
            "",
            ".",
            &text[..text.len() - 1],
            &format!("{text}a"),
            &text.replace('.', ""),
            &text.replace('A', "+"),
            &format!("{uuid}.{}", "A".repeat(43)),
        ] {
            assert_eq!(SiteToken::parse(other), None, "{other}");
        }
    }

    #[test]
    fn s27_csrf_tokens_are_unique_and_differ_from_secret_and_hash() {
        let (one, other) = (token(1), token(2));
        assert!(one.has_csrf_token(one.csrf_token().as_bytes()));
        for wrong in [other.csrf_token(), one.to_string(), String::new()] {
            assert!(!one.has_csrf_token(wrong.as_bytes()), "{wrong}");
        }
        assert_ne!(one.csrf_token(), URL_SAFE_NO_PAD.encode(one.hash()));
    }

    #[test]
    fn s22_debug_output_does_not_contain_the_secret() {
        assert!(!format!("{:?}", token(1)).contains(&token(1).secret));
    }
}
