//! Detects Office documents in ZIP archives (S4).
//! It reads the directory, and unpacks only one small part.

use std::io::{Read, Seek};

use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};
use zip::result::ZipResult;

use super::budget::BudgetedReader;
use super::content_types::{self, MAX_CONTENT_TYPES_BYTES};
use super::found::ContentKind;

/// Largest total unpacked size that an Office document may claim. It is not unpacked here; the
/// limit protects those who download it.
pub const MAX_UNPACKED_BYTES: u128 = 4 * 1024 * 1024 * 1024;

/// The part that lists the content types of all others (ECMA-376 part 2, §10.1.2).
const CONTENT_TYPES: &str = "[Content_Types].xml";

/// The kind of a file that starts as a ZIP archive.
pub(super) fn inspect<R: Read + Seek>(reader: &mut BudgetedReader<'_, R>) -> ContentKind {
    zip_kind(reader).unwrap_or(ContentKind::Zip)
}

fn zip_kind<R: Read + Seek>(reader: &mut BudgetedReader<'_, R>) -> ZipResult<ContentKind> {
    // The file starts with an entry, so the archive starts at offset 0.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, reader)?;
    let Some(index) = content_types_index(&archive)? else { return Ok(ContentKind::Zip) };
    if unpacked_bytes(&archive)? > MAX_UNPACKED_BYTES {
        return Ok(ContentKind::Other("an archive that unpacks to more than 4 GiB"));
    }
    let part = archive.by_index(index)?;
    let mut bytes = Vec::new();
    part.take(MAX_CONTENT_TYPES_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_CONTENT_TYPES_BYTES {
        return Ok(ContentKind::Zip);
    }
    Ok(content_types::kind_of(&bytes))
}

/// The index of the content types part. `None` when there is none or when names repeat, since
/// readers disagree about which of two parts with the same name counts.
fn content_types_index<R: Read + Seek>(archive: &ZipArchive<R>) -> ZipResult<Option<usize>> {
    if archive.has_duplicate_names() {
        return Ok(None);
    }
    let mut found = None;
    for (index, name) in archive.file_names().enumerate() {
        // Part names are case-insensitive (ECMA-376 part 2, §9.1.1.1).
        if name?.eq_ignore_ascii_case(CONTENT_TYPES) && found.replace(index).is_some() {
            return Ok(None);
        }
    }
    Ok(found)
}

/// The total unpacked size according to the directory.
fn unpacked_bytes<R: Read + Seek>(archive: &ZipArchive<R>) -> ZipResult<u128> {
    let mut total = 0_u128;
    for index in 0..archive.len() {
        total = total.saturating_add(u128::from(archive.by_index_data(index)?.size()));
    }
    Ok(total)
}
