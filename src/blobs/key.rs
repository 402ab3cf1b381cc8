//! The names in the store. Only [`BlobKey`] and [`StagedKey`] build them, and no name contains user
//! text (S9).

use crate::domain::ids::{AttachmentId, BlobId, SiteId};

/// The folder of originals and previews below the root of a store.
pub(super) const BLOBS: &str = "blobs";

/// Identifies a blob: the site that owns it, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey {
    /// The tenant.
    pub site: SiteId,
    /// The bytes.
    pub blob: BlobId,
}

/// A file of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The bytes as uploaded.
    Original,
    /// The reduced picture, which can be rendered again at any time.
    Preview,
}

impl BlobKey {
    /// The path of the original below the root of a store.
    pub fn path(self) -> String {
        format!(
            "{BLOBS}/{}/{}/{}",
            self.site_directory(),
            self.directory(),
            self.file(Part::Original)
        )
    }

    /// Parses exactly what [`BlobKey::path`] returns, and nothing else.
    pub fn parse_path(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix(BLOBS)?.strip_prefix('/')?.split('/');
        let (site, _, blob) = (parts.next()?, parts.next()?, parts.next()?);
        let id = |text| uuid::Uuid::try_parse(text).ok();
        let key = Self { site: SiteId(id(site)?), blob: BlobId(id(blob)?) };
        (key.path() == path).then_some(key)
    }

    pub(super) fn site_directory(self) -> String {
        self.site.0.simple().to_string()
    }

    pub(super) fn directory(self) -> String {
        format!("{:02x}", self.blob.as_bytes()[0])
    }

    pub(super) fn file(self, part: Part) -> String {
        let blob = self.blob.0.simple();
        match part {
            Part::Original => blob.to_string(),
            Part::Preview => format!("{blob}.preview"),
        }
    }

    /// The name of an orphaned original in `lost+found/`.
    pub(super) fn lost_and_found_name(self) -> String {
        format!("{}.{}", self.site_directory(), self.file(Part::Original))
    }

    /// The name of a preview that is being written. A killed process may leave it behind.
    pub(super) fn unfinished_preview(self) -> String {
        format!("{}.new", self.file(Part::Preview))
    }
}

/// The point from which a resumable upload continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumePoint {
    /// Bytes received.
    pub offset_bytes: u64,
    /// Their SHA-256: two nodes may have reached the same offset with different bytes.
    pub sha256: [u8; 32],
}

/// An upload that is not committed yet: its blob, and the attachment that it will become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagedKey {
    /// The blob.
    pub key: BlobKey,
    /// The attachment whose row will refer to the blob.
    pub attachment: AttachmentId,
}

impl StagedKey {
    pub(super) fn file(self) -> String {
        let (site, attachment) = (self.key.site.0.simple(), self.attachment.0.simple());
        format!("{site}.{attachment}.{}", self.key.blob.0.simple())
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('.').map(|part| uuid::Uuid::try_parse(part).ok());
        let (site, attachment, blob) = (parts.next()??, parts.next()??, parts.next()??);
        let key = BlobKey { site: SiteId(site), blob: BlobId(blob) };
        let staged = Self { key, attachment: AttachmentId(attachment) };
        (parts.next().is_none() && staged.file() == name).then_some(staged)
    }
}
