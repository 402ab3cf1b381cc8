//! The attachment and its media id.

use super::ids::{AttachmentId, BlobId, ContactId, SiteId};

/// One file of one contact, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The tenant.
    pub site_id: SiteId,
    /// Whose file it is.
    pub contact_id: ContactId,
    /// Its id.
    pub id: AttachmentId,
    /// When it was committed, in Unix milliseconds; rises strictly within a contact, so that
    /// the list keeps its order while files arrive.
    pub created_at_ms: i64,
    /// The name as the user gave it: data, never a path.
    pub file_name: String,
    /// Canonical MIME type, agreed with the content.
    pub mime_type: String,
    /// Extension of the media id, lower case, without a dot.
    pub media_extension: String,
    /// Size of the bytes.
    pub size_bytes: u64,
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
    /// Where the bytes are.
    pub blob_id: BlobId,
    /// Width of the upright image in pixels; 0 when unknown or not an image.
    pub width: u32,
    /// Height of the upright image in pixels; 0 when unknown or not an image.
    pub height: u32,
    /// Whether a preview exists or can be made.
    pub has_preview: bool,
}

impl Attachment {
    /// Whether the vendor's `attachmentType` is `IMAGE` (contract §13).
    pub fn is_image(&self) -> bool {
        self.mime_type.starts_with("image/")
    }

    /// The parts of it that its media id holds.
    pub fn media_id<'a>(&'a self, prefix: &'a str) -> MediaId<'a> {
        MediaId {
            prefix,
            attachment_id: self.id,
            is_image: self.is_image(),
            extension: &self.media_extension,
        }
    }
}

/// The vendor's form of a media id: `<prefix>_<32 hex>~mv2.<ext>` for images and
/// `<prefix>_<32 hex>.<ext>` for documents (contract §4). The prefix names the site, the
/// hexadecimal part the attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaId<'a> {
    /// The site's prefix, six hexadecimal digits.
    pub prefix: &'a str,
    /// The attachment.
    pub attachment_id: AttachmentId,
    /// Whether `~mv2` stands before the extension.
    pub is_image: bool,
    /// Lower case, without a dot.
    pub extension: &'a str,
}

/// Digits of a site's media prefix.
pub const MEDIA_PREFIX_LENGTH: usize = 6;

impl<'a> MediaId<'a> {
    /// Reads exactly the form that `Display` writes; anything else is `None`.
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

    /// Appends the id to a buffer of JSON or of a URL; none of its characters needs escaping.
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
        fn a_media_id_reads_back_as_it_was_written(
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
        fn what_parses_prints_the_same(text in "\\PC{0,80}|[0-9a-f]{6}_[0-9a-fA-F]{32}(~mv2)?\\.[a-zA-Z]{0,4}") {
            if let Some(id) = MediaId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn other_forms_are_refused() {
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
