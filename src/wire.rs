//! The JSON shapes that the vendor's SDK receives (contract §4, §8), and nothing else.

use serde_json::{Value, json};

use crate::db::{AttachmentRow, PageTotals, Rows, Site};
use crate::domain::attachment::{Attachment, MediaId};
use crate::domain::hex;
use crate::domain::signing::MediaSigner;
use crate::domain::timestamp::timestamp;
use crate::page_cache::MediaView;

/// Bytes reserved for one attachment in a response.
pub const ATTACHMENT_JSON_BYTES: usize = 768;

/// Serializes attachments, with links that all expire at the same time.
pub struct AttachmentWriter<'a> {
    site: &'a Site,
    media_url: &'a str,
    signer: MediaSigner<'a>,
    expiration: String,
    view: MediaView,
}

impl<'a> AttachmentWriter<'a> {
    /// Creates a writer for one caller's view of one site.
    pub fn new(
        site: &'a Site,
        media_url: &'a str,
        signer: MediaSigner<'a>,
        view: MediaView,
    ) -> Self {
        let expiration = timestamp(i64::from(signer.expires_s()) * 1_000);
        Self { site, media_url, signer, expiration, view }
    }

    /// Appends the Attachments of a list, separated by commas.
    pub fn items(&self, out: &mut Vec<u8>, rows: Rows<'_>) {
        let mut first = true;
        rows(&mut |row| {
            if !std::mem::replace(&mut first, false) {
                out.push(b',');
            }
            out.reserve(ATTACHMENT_JSON_BYTES);
            self.attachment(out, row);
        });
    }

    /// Appends an Attachment.
    pub fn attachment(&self, out: &mut Vec<u8>, row: &AttachmentRow<'_>) {
        let is_image = row.mime_type.starts_with("image/");
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        out.extend_from_slice(b"{\"id\":\"");
        out.extend_from_slice(row.id.0.hyphenated().encode_lower(&mut id).as_bytes());
        out.extend_from_slice(b"\",\"fileName\":");
        string(out, row.file_name);
        out.extend_from_slice(b",\"mimeType\":");
        string(out, row.mime_type);
        let media_id = MediaId {
            prefix: &self.site.media_prefix,
            attachment_id: row.id,
            is_image,
            extension: row.media_extension,
        };
        if is_image {
            out.extend_from_slice(b",\"attachmentType\":\"IMAGE\",\"image\":");
            let (begin, path_end) = self.reference(out, &media_id, Some((row.width, row.height)));
            if row.has_preview {
                // Identical except for the end of the path, also in size: the SDK derives
                // originWidth from it (contract §16).
                let end = out.len();
                out.extend_from_slice(b",\"previewImage\":");
                out.extend_from_within(begin..path_end);
                out.extend_from_slice(b"/preview");
                out.extend_from_within(path_end..end);
            }
        } else {
            out.extend_from_slice(b",\"attachmentType\":\"OTHER\",\"document\":");
            self.reference(out, &media_id, None);
            // Our extension, not the contract's: never where the SDK looks.
            if row.has_preview && self.view == MediaView::Both {
                out.extend_from_slice(b",\"documentPreview\":{\"url\":\"");
                let path_end = self.url(out, &media_id);
                out.splice(path_end..path_end, b"/preview".iter().copied());
                out.push(b'"');
                self.end_reference(out);
            }
        }
        out.push(b'}');
    }

    /// Appends an Image or a Document; returns the offsets of its start and of the end of its URL's
    /// path.
    fn reference(
        &self,
        out: &mut Vec<u8>,
        media_id: &MediaId<'_>,
        size: Option<(u32, u32)>,
    ) -> (usize, usize) {
        let begin = out.len();
        out.push(b'{');
        if self.view == MediaView::Both {
            out.extend_from_slice(b"\"id\":\"");
            media_id.write_to(out);
            out.extend_from_slice(b"\",");
        }
        out.extend_from_slice(b"\"url\":\"");
        let path_end = self.url(out, media_id);
        out.push(b'"');
        if let Some((width, height)) = size {
            out.extend_from_slice(b",\"height\":");
            number(out, u64::from(height));
            out.extend_from_slice(b",\"width\":");
            number(out, u64::from(width));
        }
        self.end_reference(out);
        (begin, path_end)
    }

    fn end_reference(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"urlExpirationDate\":\"");
        out.extend_from_slice(self.expiration.as_bytes());
        out.extend_from_slice(b"\"}");
    }

    /// Appends the URL of an original; returns the offset of the end of its path.
    fn url(&self, out: &mut Vec<u8>, media_id: &MediaId<'_>) -> usize {
        out.extend_from_slice(self.media_url.as_bytes());
        out.extend_from_slice(if media_id.is_image { &b"media/"[..] } else { &b"ugd/"[..] });
        media_id.write_to(out);
        let path_end = out.len();
        out.extend_from_slice(b"?token=");
        out.extend_from_slice(&self.signer.token(self.site.id, media_id.attachment_id));
        path_end
    }

    /// The URL of an original or of its preview.
    pub(super) fn link(&self, attachment: &Attachment, is_preview: bool) -> Vec<u8> {
        let mut url = Vec::new();
        let path_end = self.url(&mut url, &attachment.media_id(&self.site.media_prefix));
        if is_preview {
            url.splice(path_end..path_end, *b"/preview");
        }
        url
    }

    /// The response of an upload (contract §8).
    pub fn file_descriptor(&self, attachment: &Attachment) -> Value {
        let media_id = attachment.media_id(&self.site.media_prefix);
        let is_image = attachment.is_image();
        let mut url = Vec::new();
        self.url(&mut url, &media_id);
        let url = String::from_utf8_lossy(&url);
        let size = attachment.size_bytes.to_string();
        let (id, name) = (media_id.to_string(), &attachment.file_name);
        let media = if is_image {
            json!({ "image": {
                "image": {
                    "id": id, "url": url, "height": attachment.height,
                    "width": attachment.width, "filename": name, "sizeInBytes": size,
                },
                "faces": [],
            } })
        } else {
            json!({ "document": { "id": id, "url": url, "filename": name, "sizeInBytes": size } })
        };
        let hash = hex::encode(&attachment.sha256);
        let date = timestamp(attachment.created_at_ms);
        let mut file = json!({
            "id": id,
            "displayName": name,
            "url": url,
            "parentFolderId": "media-root",
            "hash": hash,
            "sizeInBytes": size,
            "private": true,
            "mediaType": if is_image { "IMAGE" } else { "DOCUMENT" },
            "media": media,
            "operationStatus": "READY",
            "labels": [],
            "createdDate": date,
            "updatedDate": date,
            "siteId": self.site.id.to_string(),
        });
        if is_image {
            file["thumbnailUrl"] = json!(url);
        }
        json!({ "file": file })
    }
}

/// Begins a list response; rows follow, then [`end_list`].
pub fn begin_list(out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"attachments\":[");
}

/// Ends a list response.
pub fn end_list(out: &mut Vec<u8>, totals: PageTotals, offset: u32) {
    out.extend_from_slice(b"],\"metadata\":{\"count\":");
    number(out, u64::from(totals.count));
    out.extend_from_slice(b",\"offset\":");
    number(out, u64::from(offset));
    out.extend_from_slice(b",\"total\":");
    number(out, totals.total);
    out.extend_from_slice(b",\"tooManyToCount\":false}}");
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn string(out: &mut Vec<u8>, text: &str) {
    // Writing a string to memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}
