//! The names of the store: [`BlobKey`] and [`StagedKey`] are their only makers, and no name ever
//! holds user text (S9).

use crate::domain::ids::{AttachmentId, BlobId, SiteId};

/// Where originals and previews lie below the root of a store.
pub(super) const BLOBS: &str = "blobs";

/// Names a blob: the site that owns it and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey {
    /// The tenant.
    pub site: SiteId,
    /// The bytes.
    pub blob: BlobId,
}

/// What of a blob is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The bytes as uploaded.
    Original,
    /// The reduced picture, which can be made again at any time.
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

    /// Reads what [`BlobKey::path`] makes, and nothing else.
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

    /// The name under which an original is kept that belongs to no row.
    pub(super) fn aside(self) -> String {
        format!("{}.{}", self.site_directory(), self.file(Part::Original))
    }

    /// The name of a preview that is being written. A killed process may leave it.
    pub(super) fn unfinished_preview(self) -> String {
        format!("{}.new", self.file(Part::Preview))
    }
}

/// How far a resumable upload has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Bytes that are there.
    pub offset_bytes: u64,
    /// Their SHA-256: two nodes may have come as far with different bytes.
    pub sha256: [u8; 32],
}

/// An upload that has not been committed: its blob and the attachment that it is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagedKey {
    /// The blob.
    pub key: BlobKey,
    /// The attachment whose row will name the blob.
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
