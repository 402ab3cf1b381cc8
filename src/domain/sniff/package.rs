//! Looks into ZIP archives for the Office document they may be (bar S4).
//! It reads the directory and one small part, and unpacks nothing else.

use std::io::{Read, Seek};

use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};
use zip::result::ZipResult;

use super::budget::BudgetedReader;
use super::content_types::{self, MAX_CONTENT_TYPES_BYTES};
use super::found::Found;

/// Most bytes that the parts of an Office document may claim to unpack to. Nothing is unpacked
/// here; the limit protects those who download the file.
pub const MAX_UNPACKED_BYTES: u128 = 4 * 1024 * 1024 * 1024;

/// Part that lists the kinds of all others (ECMA-376 part 2, §10.1.2).
const CONTENT_TYPES: &str = "[Content_Types].xml";

/// The kind of a file that begins as a ZIP archive.
pub(super) fn look_into<R: Read + Seek>(reader: &mut BudgetedReader<'_, R>) -> Found {
    zip_kind(reader).unwrap_or(Found::Zip)
}

fn zip_kind<R: Read + Seek>(reader: &mut BudgetedReader<'_, R>) -> ZipResult<Found> {
    // The file begins with an entry, so nothing precedes the archive.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, reader)?;
    let Some(index) = content_types_index(&archive)? else { return Ok(Found::Zip) };
    if unpacked_bytes(&archive)? > MAX_UNPACKED_BYTES {
        return Ok(Found::Other("an archive that unpacks to more than 4 GiB"));
    }
    let part = archive.by_index(index)?;
    let mut bytes = Vec::new();
    part.take(MAX_CONTENT_TYPES_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_CONTENT_TYPES_BYTES {
        return Ok(Found::Zip);
    }
    Ok(content_types::kind_of(&bytes))
}

/// Where the content types part stands. `None` when there is none, and when names repeat, since
/// readers disagree about which of two parts of one name counts.
fn content_types_index<R: Read + Seek>(archive: &ZipArchive<R>) -> ZipResult<Option<usize>> {
    if archive.has_duplicate_names() {
        return Ok(None);
    }
    let mut found = None;
    for (index, name) in archive.file_names().enumerate() {
        // Part names are compared without regard to case (ECMA-376 part 2, §9.1.1.1).
        if name?.eq_ignore_ascii_case(CONTENT_TYPES) && found.replace(index).is_some() {
            return Ok(None);
        }
    }
    Ok(found)
}

/// What the directory says all parts unpack to.
fn unpacked_bytes<R: Read + Seek>(archive: &ZipArchive<R>) -> ZipResult<u128> {
    let mut total = 0_u128;
    for index in 0..archive.len() {
        total = total.saturating_add(u128::from(archive.by_index_data(index)?.size()));
    }
    Ok(total)
}
