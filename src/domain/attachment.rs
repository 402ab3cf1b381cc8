//! Attachments and their media ids.

use super::ids::{AttachmentId, BlobId, ContactId, SiteId};

/// A stored file of a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The tenant.
    pub site_id: SiteId,
    /// The contact that owns it.
    pub contact_id: ContactId,
    /// Its id.
    pub id: AttachmentId,
    /// When it was committed, in Unix milliseconds. Strictly increasing within a contact, so that
    /// the list keeps its order while files arrive.
    pub created_at_ms: i64,
    /// The name as the user gave it: data, never a path.
    pub file_name: String,
    /// Canonical MIME type, checked against the content.
    pub mime_type: String,
    /// Extension of the media id, lower case, without a dot.
    pub media_extension: String,
    /// Size of the original in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the original.
    pub sha256: [u8; 32],
    /// The blob with the original's bytes.
    pub blob_id: BlobId,
    /// Width of the upright image in pixels; 0 when unknown or not an image.
    pub width: u32,
    /// Height of the upright image in pixels; 0 when unknown or not an image.
    pub height: u32,
    /// Whether a preview exists or can be rendered.
    pub has_preview: bool,
}

impl Attachment {
    /// Whether the vendor's `attachmentType` is `IMAGE` (contract §13).
    pub fn is_image(&self) -> bool {
        self.mime_type.starts_with("image/")
    }

    /// Its media id, with the site's prefix.
    pub fn media_id<'a>(&'a self, prefix: &'a str) -> MediaId<'a> {
        MediaId {
            prefix,
            attachment_id: self.id,
            is_image: self.is_image(),
            extension: &self.media_extension,
        }
    }
}

/// A media id in the vendor's format: `<prefix>_<32 hex>~mv2.<ext>` for images and
/// `<prefix>_<32 hex>.<ext>` for documents (contract §4). The prefix identifies the site, the
/// hexadecimal part the attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaId<'a> {
    /// The site's prefix, six hexadecimal digits.
    pub prefix: &'a str,
    /// The attachment.
    pub attachment_id: AttachmentId,
    /// Whether `~mv2` precedes the extension.
    pub is_image: bool,
    /// The extension in lower case, without a dot.
    pub extension: &'a str,
}

/// Digits of a site's media prefix.
pub const MEDIA_PREFIX_LENGTH: usize = 6;

impl<'a> MediaId<'a> {
    /// Parses exactly the output of `Display`.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (prefix, rest) = text.split_once('_')?;
        let (hex, rest) = rest.split_at_checked(32)?;
        let lower_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if prefix.len() != MEDIA_PREFIX_LENGTH || !lower_hex(prefix) || !lower_hex(hex) {
            return None;
        }
        let (is_image, extension) = match rest.strip_prefix("~mv2.") {
            Some(extension) => (true, extension),
            None => (false, rest.strip_prefix('.')?),
        };
        if extension.is_empty() || !extension.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let attachment_id = AttachmentId(uuid::Uuid::try_parse(hex).ok()?);
        Some(Self { prefix, attachment_id, is_image, extension })
    }

    /// Appends the id to a JSON or URL buffer. None of its characters needs escaping.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut hex = [0; uuid::fmt::Simple::LENGTH];
        out.extend_from_slice(self.prefix.as_bytes());
        out.push(b'_');
        out.extend_from_slice(self.attachment_id.0.simple().encode_lower(&mut hex).as_bytes());
        out.extend_from_slice(if self.is_image { b"~mv2." } else { b"." });
        out.extend_from_slice(self.extension.as_bytes());
    }
}

impl std::fmt::Display for MediaId<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = Vec::with_capacity(64);
        self.write_to(&mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_media_id_round_trips(
            prefix in "[0-9a-f]{6}", id in any::<[u8; 16]>(), is_image: bool,
            extension in "[a-z0-9]{1,10}",
        ) {
            let id = MediaId {
                prefix: &prefix,
                attachment_id: AttachmentId::from_bytes(id),
                is_image,
                extension: &extension,
            };
            let text = id.to_string();
            prop_assert_eq!(MediaId::parse(&text), Some(id));
        }

        #[test]
        fn a_parsed_id_prints_the_same_text(text in "\\PC{0,80}|[0-9a-f]{6}_[0-9a-fA-F]{32}(~mv2)?\\.[a-zA-Z]{0,4}") {
            if let Some(id) = MediaId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn other_forms_are_rejected() {
        let hex = "8d0c6d0e5f5b4f3fb0a5a4f7b1f2c3d4";
        for text in [
            format!("4f2a9c_{hex}"),
            format!("4f2a9c_{hex}~mv2"),
            format!("4f2a9c_{hex}~mv2."),
            format!("4F2A9C_{hex}.pdf"),
            format!("4f2a9c_{}.pdf", hex.to_uppercase()),
            format!("4f2a9c_{hex}./pdf"),
            format!("4f2a9_{hex}.pdf"),
            format!("4f2a9c_{hex}é.pdf"),
        ] {
            assert_eq!(MediaId::parse(&text), None, "{text}");
        }
    }
}
