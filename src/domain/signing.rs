//! Signed tokens for upload URLs and media links: whoever holds one is authorised by it
//! (contract §8, §10). Pure: the time and the keys are arguments.
//!
//! A token is base64url of `key id (1) ‖ expiry (4, Unix seconds) ‖ body ‖ tag (16)`. The tag is
//! HMAC-SHA256 truncated to 128 bits. Each purpose has its own key, derived from the secret, so
//! that a token of one kind is never accepted as another (S19).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::ids::{AttachmentId, ContactId, SiteId};

/// Bytes of a tag: 128 bits.
const TAG_BYTES: usize = 16;
/// Bytes before the body: key id and expiry.
const HEAD_BYTES: usize = 5;
/// Characters of a media token.
pub const MEDIA_TOKEN_CHARS: usize = 28;
/// Longest accepted upload token, in characters: a name of 260 characters of four bytes, a type
/// of 255, and the fixed parts, all in base64.
const UPLOAD_TOKEN_MAX_CHARS: usize = 2_048;

/// Why a token is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not signed by one of our keys, or altered.
    #[error("is not valid")]
    Forged,
    /// Correctly signed, but expired. Returned only after the signature was verified, so that
    /// probing with forged tokens reveals nothing.
    #[error("has expired")]
    Expired,
}

/// A signing secret, and the id by which tokens refer to it.
#[derive(Clone)]
pub struct SigningKey {
    id: u8,
    upload: Hmac<Sha256>,
    media: Hmac<Sha256>,
}

/// All active keys. The first signs and all verify, so rotating keys does not break links that
/// were already issued.
#[derive(Clone)]
pub struct SigningKeys {
    keys: Vec<SigningKey>,
}

impl SigningKey {
    /// Derives the keys for all purposes from one secret.
    pub fn new(id: u8, secret: &[u8; 32]) -> Self {
        let derive = |purpose: &[u8]| {
            let mut mac = keyed(secret);
            mac.update(purpose);
            keyed(&mac.finalize().into_bytes())
        };
        Self { id, upload: derive(b"dossier/upload/2"), media: derive(b"dossier/media/1") }
    }
}

#[expect(clippy::expect_used, reason = "HMAC accepts keys of any length (RFC 2104)")]
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC accepts keys of any length")
}

impl SigningKeys {
    /// The key that signs, and older ones that still verify.
    pub fn new(signing: SigningKey, older: Vec<SigningKey>) -> Self {
        let mut keys = vec![signing];
        keys.extend(older);
        Self { keys }
    }

    /// A fingerprint of each key that reveals nothing about it.
    pub fn fingerprints(&self) -> Vec<Vec<u8>> {
        let fingerprint = |key: &SigningKey| {
            let mut mac = key.media.clone();
            mac.update(b"fingerprint");
            mac.finalize().into_bytes().to_vec()
        };
        self.keys.iter().map(fingerprint).collect()
    }

    /// A value that changes whenever new links look different: when another key signs, or when the
    /// media URL changes.
    pub fn links_version(&self, media_url: &str) -> u32 {
        let mut mac = self.keys[0].media.clone();
        mac.update(b"links version");
        mac.update(media_url.as_bytes());
        let tag = mac.finalize().into_bytes();
        u32::from_be_bytes([tag[0], tag[1], tag[2], tag[3]])
    }

    fn find(&self, id: u8) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// A signer of media links that all expire at `expires_s`.
    pub fn media_signer(&self, expires_s: u32) -> MediaSigner<'_> {
        MediaSigner { key: &self.keys[0], expires_s }
    }

    /// Verifies a media link's token and returns when it expires, in Unix seconds.
    ///
    /// # Errors
    ///
    /// [`TokenError`]; `Expired` only after the signature was verified.
    pub fn check_media(
        &self,
        token: &str,
        site: SiteId,
        attachment: AttachmentId,
        now_ms: i64,
    ) -> Result<u32, TokenError> {
        if token.len() != MEDIA_TOKEN_CHARS {
            return Err(TokenError::Forged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenError::Forged)?;
        let (key_id, expires_s) = read_head(&bytes).ok_or(TokenError::Forged)?;
        let key = self.find(key_id).ok_or(TokenError::Forged)?;
        let tag = media_tag(key, site, attachment, expires_s);
        if !bool::from(tag.ct_eq(&bytes[HEAD_BYTES..])) {
            return Err(TokenError::Forged);
        }
        check_expiry(expires_s, now_ms)?;
        Ok(expires_s)
    }

    /// Signs the token of an upload URL.
    pub fn sign_upload(&self, grant: &UploadGrant) -> String {
        let key = &self.keys[0];
        let mut bytes = Vec::with_capacity(160 + grant.file_name.len());
        bytes.push(key.id);
        bytes.extend_from_slice(&grant.expires_s.to_be_bytes());
        bytes.extend_from_slice(grant.site_id.as_bytes());
        bytes.extend_from_slice(grant.key_id.as_bytes());
        bytes.extend_from_slice(grant.contact_id.as_bytes());
        bytes.extend_from_slice(grant.attachment_id.as_bytes());
        bytes.extend_from_slice(&grant.max_bytes.to_be_bytes());
        bytes.push(u8::from(grant.size_bytes.is_some()) | u8::from(grant.sha256.is_some()) << 1);
        if let Some(size) = grant.size_bytes {
            bytes.extend_from_slice(&size.to_be_bytes());
        }
        if let Some(hash) = &grant.sha256 {
            bytes.extend_from_slice(hash);
        }
        // A MIME type has at most 255 characters of ASCII (contract §4).
        bytes.push(grant.mime_type.len().min(255) as u8);
        bytes.extend_from_slice(grant.mime_type.as_bytes());
        bytes.extend_from_slice(grant.file_name.as_bytes());
        let tag = upload_tag(key, &bytes);
        bytes.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Verifies an upload token and returns what it allows.
    ///
    /// # Errors
    ///
    /// [`TokenError`]; `Expired` only after the signature was verified.
    pub fn check_upload(&self, token: &str, now_ms: i64) -> Result<UploadGrant, TokenError> {
        let grant = self.check_upload_ignoring_expiry(token)?;
        check_expiry(grant.expires_s, now_ms)?;
        Ok(grant)
    }

    /// [`SigningKeys::check_upload`] for an upload that has started. The upload has an expiry of
    /// its own, which replaces that of its URL.
    ///
    /// # Errors
    ///
    /// [`TokenError::Forged`].
    pub fn check_upload_ignoring_expiry(&self, token: &str) -> Result<UploadGrant, TokenError> {
        if token.len() > UPLOAD_TOKEN_MAX_CHARS {
            return Err(TokenError::Forged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenError::Forged)?;
        let (key_id, expires_s) = read_head(&bytes).ok_or(TokenError::Forged)?;
        let key = self.find(key_id).ok_or(TokenError::Forged)?;
        let (signed, tag) = bytes.split_at(bytes.len() - TAG_BYTES);
        if !bool::from(upload_tag(key, signed).ct_eq(tag)) {
            return Err(TokenError::Forged);
        }
        let grant = UploadGrant::read(expires_s, &signed[HEAD_BYTES..]);
        grant.ok_or(TokenError::Forged)
    }
}

/// Key id and expiry; `None` if the bytes are too short to contain a tag as well.
fn read_head(bytes: &[u8]) -> Option<(u8, u32)> {
    if bytes.len() < HEAD_BYTES + TAG_BYTES {
        return None;
    }
    let (id, rest) = bytes.split_first()?;
    let (expires, _) = rest.split_first_chunk::<4>()?;
    Some((*id, u32::from_be_bytes(*expires)))
}

fn check_expiry(expires_s: u32, now_ms: i64) -> Result<(), TokenError> {
    if now_ms < i64::from(expires_s) * 1_000 { Ok(()) } else { Err(TokenError::Expired) }
}

fn media_tag(
    key: &SigningKey,
    site: SiteId,
    attachment: AttachmentId,
    expires_s: u32,
) -> [u8; TAG_BYTES] {
    let mut mac = key.media.clone();
    let mut message = [0; 37];
    message[0] = key.id;
    message[1..5].copy_from_slice(&expires_s.to_be_bytes());
    message[5..21].copy_from_slice(site.as_bytes());
    message[21..].copy_from_slice(attachment.as_bytes());
    mac.update(&message);
    truncated(mac)
}

fn upload_tag(key: &SigningKey, signed: &[u8]) -> [u8; TAG_BYTES] {
    let mut mac = key.upload.clone();
    mac.update(signed);
    truncated(mac)
}

fn truncated(mac: Hmac<Sha256>) -> [u8; TAG_BYTES] {
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&mac.finalize().into_bytes()[..TAG_BYTES]);
    tag
}

/// Signs the media links of a response. One token serves an attachment's original and preview.
#[derive(Clone, Copy)]
pub struct MediaSigner<'a> {
    key: &'a SigningKey,
    expires_s: u32,
}

impl MediaSigner<'_> {
    /// The token for an attachment's media: 28 characters that need no escaping in a URL.
    pub fn token(&self, site: SiteId, attachment: AttachmentId) -> [u8; MEDIA_TOKEN_CHARS] {
        let mut bytes = [0; HEAD_BYTES + TAG_BYTES];
        bytes[0] = self.key.id;
        bytes[1..HEAD_BYTES].copy_from_slice(&self.expires_s.to_be_bytes());
        let tag = media_tag(self.key, site, attachment, self.expires_s);
        bytes[HEAD_BYTES..].copy_from_slice(&tag);
        let mut text = [0; MEDIA_TOKEN_CHARS];
        // 21 bytes encode to exactly 28 characters.
        let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        debug_assert_eq!(written.ok(), Some(MEDIA_TOKEN_CHARS));
        text
    }

    /// When these links expire, in Unix seconds.
    pub fn expires_s(&self) -> u32 {
        self.expires_s
    }
}

/// When links issued now expire, in Unix seconds. Expiry is rounded to the end of a window, so that
/// the same link is issued throughout the window and browsers can cache its content (contract §10).
/// A link is valid for at least half of `life_seconds` and at most all of it.
pub fn link_expiry_s(now_ms: i64, life_seconds: u32) -> u32 {
    let window = i64::from((life_seconds / 2).max(1));
    let windows = now_ms.max(0) / 1_000 / window + 2;
    u32::try_from(windows * window).unwrap_or(u32::MAX)
}

/// What an upload URL allows (S18).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadGrant {
    /// Until when an upload may start, in Unix seconds.
    pub expires_s: u32,
    /// The tenant.
    pub site_id: SiteId,
    /// The API key that requested the URL. Concurrent uploads are limited per key.
    pub key_id: Uuid,
    /// The contact that will own the attachment.
    pub contact_id: ContactId,
    /// The attachment that the upload creates. It also makes the URL single-use.
    pub attachment_id: AttachmentId,
    /// Most bytes that the upload may have.
    pub max_bytes: u64,
    /// The exact size, if it was declared.
    pub size_bytes: Option<u64>,
    /// The SHA-256, if it was declared.
    pub sha256: Option<[u8; 32]>,
    /// The declared MIME type in canonical form.
    pub mime_type: String,
    /// The file name as the client sent it.
    pub file_name: String,
}

impl UploadGrant {
    fn read(expires_s: u32, body: &[u8]) -> Option<Self> {
        let (site, body) = body.split_first_chunk::<16>()?;
        let (key, body) = body.split_first_chunk::<16>()?;
        let (contact, body) = body.split_first_chunk::<16>()?;
        let (attachment, body) = body.split_first_chunk::<16>()?;
        let (max_bytes, body) = body.split_first_chunk::<8>()?;
        let (flags, body) = body.split_first()?;
        let (size_bytes, body) = if flags & 1 == 0 {
            (None, body)
        } else {
            let (size, body) = body.split_first_chunk::<8>()?;
            (Some(u64::from_be_bytes(*size)), body)
        };
        let (sha256, body) = if flags & 2 == 0 {
            (None, body)
        } else {
            let (hash, body) = body.split_first_chunk::<32>()?;
            (Some(*hash), body)
        };
        let (mime_length, body) = body.split_first()?;
        let (mime_type, file_name) = body.split_at_checked(usize::from(*mime_length))?;
        Some(Self {
            expires_s,
            site_id: SiteId::from_bytes(*site),
            key_id: Uuid::from_bytes(*key),
            contact_id: ContactId::from_bytes(*contact),
            attachment_id: AttachmentId::from_bytes(*attachment),
            max_bytes: u64::from_be_bytes(*max_bytes),
            size_bytes,
            sha256,
            mime_type: String::from_utf8(mime_type.to_vec()).ok()?,
            file_name: String::from_utf8(file_name.to_vec()).ok()?,
        })
    }
}

#[cfg(test)]
#[path = "signing_tests.rs"]
mod tests;
