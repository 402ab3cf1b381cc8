//! Detects what an uploaded file really is and compares it with what was declared (S3, S4).
//! It unpacks only one small part of Office documents, and never trusts a size in a file.

mod budget;
mod content_types;
mod decide;
mod found;
mod magic;
mod ole;
mod package;
mod text;

#[cfg(test)]
mod docs_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Seek};

use budget::BudgetedReader;
pub use content_types::MAX_CONTENT_TYPES_BYTES;
pub use decide::{SentContentType, TypeMismatch, decide};
pub use found::{ContentKind, OoxmlKind};
use magic::Container;
pub use ole::MAX_DIRECTORY_BYTES;
pub use package::MAX_UNPACKED_BYTES;

/// Bytes at the start of a file that are compared with the known signatures.
pub const HEAD_BYTES: usize = 64 * 1024;

/// Most bytes read from a ZIP archive, for its directory and content types part together. This also
/// bounds the directory's memory, to about 45,000 entries of minimal size.
pub const ZIP_BUDGET_BYTES: u64 = 2 * 1024 * 1024;

/// Most bytes read from an OLE compound file: its directory and the tables that lead to it.
pub const OLE_BUDGET_BYTES: u64 = 4 * 1024 * 1024;

/// Detects the kind of the first `size_bytes` of `source`.
///
/// It reads the first [`HEAD_BYTES`], and the inside of ZIP and OLE containers within their
/// budgets. A container that is broken, or whose kind does not show within the budget, is
/// [`ContentKind::Zip`] or [`ContentKind::OleOther`]. The position of `source` afterwards is
/// unspecified.
///
/// # Errors
///
/// Only errors of `source` itself.
pub fn sniff<R: Read + Seek>(source: &mut R, size_bytes: u64) -> io::Result<ContentKind> {
    let head = read_head(source, size_bytes)?;
    let (budget_bytes, inspect): (u64, fn(&mut BudgetedReader<'_, R>) -> ContentKind) =
        match magic::container(&head) {
            None => return Ok(from_head(&head, head.len() as u64 >= size_bytes)),
            Some(Container::Zip) => (ZIP_BUDGET_BYTES, package::inspect),
            Some(Container::Ole) => (OLE_BUDGET_BYTES, ole::inspect),
        };
    let mut reader = BudgetedReader::new(source, size_bytes, budget_bytes);
    let kind = inspect(&mut reader);
    reader.into_source_error().map_or(Ok(kind), Err)
}

fn read_head<R: Read + Seek>(source: &mut R, size_bytes: u64) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    source.rewind()?;
    source.take(size_bytes.min(HEAD_BYTES as u64)).read_to_end(&mut head)?;
    Ok(head)
}

/// The kind of a file that is not a container; `is_complete` when `head` is the whole file.
fn from_head(head: &[u8], is_complete: bool) -> ContentKind {
    magic::by_magic(head)
        .or_else(|| text::markup(head))
        .or_else(|| text::is_text(head, is_complete).then_some(ContentKind::Text))
        // A PDF may start after up to 1 KiB of other data. Text that mentions one is still text.
        .or_else(|| magic::is_late_pdf(head).then_some(ContentKind::Pdf))
        .unwrap_or(ContentKind::Unknown)
}
