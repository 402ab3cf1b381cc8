//! What a session cookie and a sign-in link hold: the site, which says where to look, and a secret. And
//! the token that shows that a request comes from the page itself (S27).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::ids::SiteId;

/// Characters of 32 bytes in Base64.
const SECRET_CHARS: usize = 43;
/// Keeps what is derived from a secret apart from what is stored of it.
const CSRF: &[u8] = b"dossier csrf\0";

/// A secret of one site.
#[derive(Clone, PartialEq, Eq)]
pub struct SiteToken {
    /// Where it is looked for.
    pub site: SiteId,
    secret: String,
}

impl SiteToken {
    /// One of random bytes.
    pub fn new(site: SiteId, random: [u8; 32]) -> Self {
        Self { site, secret: URL_SAFE_NO_PAD.encode(random) }
    }

    /// Reads what [`SiteToken`] prints.
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

    /// What a page of this session sends with everything that changes something. Pages of others cannot
    /// read it, and it tells nothing of the secret.
    pub fn csrf_token(&self) -> String {
        let hash = Sha256::new().chain_update(CSRF).chain_update(self.secret.as_bytes()).finalize();
        URL_SAFE_NO_PAD.encode(hash)
    }

    /// Whether it is [`SiteToken::csrf_token`].
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
    fn a_token_reads_back_and_nothing_else_does() {
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
    fn s27_each_session_has_a_token_of_its_own_that_is_neither_secret_nor_hash() {
        let (one, other) = (token(1), token(2));
        assert!(one.has_csrf_token(one.csrf_token().as_bytes()));
        for wrong in [other.csrf_token(), one.to_string(), String::new()] {
            assert!(!one.has_csrf_token(wrong.as_bytes()), "{wrong}");
        }
        assert_ne!(one.csrf_token(), URL_SAFE_NO_PAD.encode(one.hash()));
    }

    #[test]
    fn s22_a_secret_is_not_printed_by_accident() {
        assert!(!format!("{:?}", token(1)).contains(&token(1).secret));
    }
}
