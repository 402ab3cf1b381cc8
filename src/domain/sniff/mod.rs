//! Finds out what an uploaded file really is and holds that against what was declared
//! (bars S3 and S4). It never unpacks anything and never trusts a size written in a file.

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
pub use decide::{Sent, TypeMismatch, decide};
pub use found::{Found, OoxmlKind};
use magic::Container;
pub use ole::MAX_DIRECTORY_BYTES;
pub use package::MAX_UNPACKED_BYTES;

/// Bytes at the start of a file that are held against the table of known kinds.
pub const HEAD_BYTES: usize = 64 * 1024;

/// Most bytes read from a ZIP archive, directory and content types part together. It bounds the
/// memory of the directory too: about 45,000 entries of the shortest form.
pub const ZIP_BUDGET_BYTES: u64 = 2 * 1024 * 1024;

/// Most bytes read from an OLE compound file: its directory and the tables that lead to it.
pub const OLE_BUDGET_BYTES: u64 = 4 * 1024 * 1024;

/// Says what the first `size_bytes` of `source` are.
///
/// Looks at the first [`HEAD_BYTES`], and into ZIP and OLE containers as far as their budgets
/// allow. A container that is broken, or that does not tell its kind within the budget, is
/// [`Found::Zip`] or [`Found::OleOther`]. The position of `source` afterwards is unspecified.
///
/// # Errors
///
/// Only what `source` itself reports.
pub fn sniff<R: Read + Seek>(source: &mut R, size_bytes: u64) -> io::Result<Found> {
    let head = read_head(source, size_bytes)?;
    let (budget_bytes, look_into): (u64, fn(&mut BudgetedReader<'_, R>) -> Found) =
        match magic::container(&head) {
            None => return Ok(from_head(&head, head.len() as u64 >= size_bytes)),
            Some(Container::Zip) => (ZIP_BUDGET_BYTES, package::look_into),
            Some(Container::Ole) => (OLE_BUDGET_BYTES, ole::look_into),
        };
    let mut reader = BudgetedReader::new(source, size_bytes, budget_bytes);
    let found = look_into(&mut reader);
    reader.into_source_error().map_or(Ok(found), Err)
}

fn read_head<R: Read + Seek>(source: &mut R, size_bytes: u64) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    source.rewind()?;
    source.take(size_bytes.min(HEAD_BYTES as u64)).read_to_end(&mut head)?;
    Ok(head)
}

/// The kind of a file that is no container; `is_complete` when `head` is all of it.
fn from_head(head: &[u8], is_complete: bool) -> Found {
    magic::by_magic(head)
        .or_else(|| text::markup(head))
        .or_else(|| text::is_text(head, is_complete).then_some(Found::Text))
        // A PDF may follow up to 1 KiB of something else; text that mentions one is still text.
        .or_else(|| magic::is_late_pdf(head).then_some(Found::Pdf))
        .unwrap_or(Found::Unknown)
}
