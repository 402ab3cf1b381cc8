//! Detects Office documents in OLE compound files ([MS-CFB]).
//! It follows only the chain of the directory. Reading the whole allocation table would make memory
//! and time grow with the size of an upload.

use std::io::{Read, Seek, SeekFrom};

use super::budget::BudgetedReader;
use super::found::ContentKind;

/// Most bytes of the directory that are read, 16,384 entries. Documents have a few dozen, and a few
/// more for each embedded object.
pub const MAX_DIRECTORY_BYTES: usize = 2 * 1024 * 1024;

/// Most entries read from the tables that lead to the directory. A cyclic chain is read from the
/// reader's window, so the byte budget alone would not stop it soon.
const MAX_TABLE_STEPS: u32 = 100_000;

const HEADER_BYTES: usize = 512;
const ENTRY_BYTES: usize = 128;

/// Allocation table sectors listed in the header (DIFAT); a chain of sectors lists the rest.
const SECTORS_IN_HEADER: u32 = 109;

/// Sector numbers from here on have special meanings, such as free space or the end of a chain.
const MAX_SECTOR: u32 = 0xFFFF_FFFA;

/// Root streams that identify the kind of document.
const WORD: &str = "WORDDOCUMENT";
const EXCEL: [&str; 2] = ["WORKBOOK", "BOOK"];
const POWER_POINT: &str = "POWERPOINT DOCUMENT";
const ENCRYPTED: &str = "ENCRYPTEDPACKAGE";

/// The kind of a file that starts as an OLE compound file.
pub(super) fn inspect<R: Read + Seek>(reader: &mut BudgetedReader<'_, R>) -> ContentKind {
    let Some(directory) = CompoundFile::open(reader).map(|mut file| file.directory()) else {
        return ContentKind::OleOther;
    };
    let streams = root_streams(&directory);
    let has = |name: &str| streams.iter().any(|stream| stream == name);
    // An encrypted package may also have streams that look like a document's.
    if has(ENCRYPTED) {
        return ContentKind::EncryptedOffice;
    }
    match (has(WORD), EXCEL.iter().any(|name| has(name)), has(POWER_POINT)) {
        (true, false, false) => ContentKind::Doc,
        (false, true, false) => ContentKind::Xls,
        (false, false, true) => ContentKind::Ppt,
        _ => ContentKind::OleOther,
    }
}

/// A compound file, read only as far as its directory requires.
struct CompoundFile<'r, 'a, R> {
    reader: &'r mut BudgetedReader<'a, R>,
    header: [u8; HEADER_BYTES],
    sector_bytes: u32,
    /// The index of the allocation table sector used last, and its sector number.
    last_table: Option<(u32, u32)>,
    steps_left: u32,
}

impl<'r, 'a, R: Read + Seek> CompoundFile<'r, 'a, R> {
    fn open(reader: &'r mut BudgetedReader<'a, R>) -> Option<Self> {
        let mut header = [0; HEADER_BYTES];
        reader.read_exact(&mut header).ok()?;
        // Each of the two format versions has its own sector size.
        let sector_bytes = match header.get(30..32)? {
            [9, 0] => 512,
            [12, 0] => 4096,
            _ => return None,
        };
        Some(Self { reader, header, sector_bytes, last_table: None, steps_left: MAX_TABLE_STEPS })
    }

    /// The directory, as far as it can be read and up to its limit.
    fn directory(&mut self) -> Vec<u8> {
        let mut directory = Vec::new();
        let mut next = number_at(&self.header, 48).filter(|sector| *sector < MAX_SECTOR);
        while let Some(sector) = next
            && directory.len() < MAX_DIRECTORY_BYTES
        {
            let mut bytes = vec![0; self.sector_bytes as usize];
            if self.read_at(sector, 0, &mut bytes).is_none() {
                break;
            }
            directory.append(&mut bytes);
            next = self.sector_after(sector);
        }
        directory
    }

    fn read_at(&mut self, sector: u32, offset: u32, into: &mut [u8]) -> Option<()> {
        // The header occupies one sector.
        let start = (u64::from(sector) + 1) * u64::from(self.sector_bytes) + u64::from(offset);
        self.reader.seek(SeekFrom::Start(start)).ok()?;
        self.reader.read_exact(into).ok()
    }

    fn number_in(&mut self, sector: u32, index: u32) -> Option<u32> {
        self.steps_left = self.steps_left.checked_sub(1)?;
        let mut bytes = [0; 4];
        self.read_at(sector, index * 4, &mut bytes)?;
        Some(u32::from_le_bytes(bytes)).filter(|number| *number < MAX_SECTOR)
    }

    /// The next sector of a chain.
    fn sector_after(&mut self, sector: u32) -> Option<u32> {
        let numbers = self.sector_bytes / 4;
        let index = sector / numbers;
        let table = match self.last_table {
            Some((last, table)) if last == index => table,
            _ => self.table_sector(index)?,
        };
        self.last_table = Some((index, table));
        self.number_in(table, sector % numbers)
    }

    /// The number of the sector that contains part `index` of the allocation table.
    fn table_sector(&mut self, index: u32) -> Option<u32> {
        let Some(beyond) = index.checked_sub(SECTORS_IN_HEADER) else {
            let table = number_at(&self.header, 76 + index as usize * 4)?;
            return (table < MAX_SECTOR).then_some(table);
        };
        // The last number of each sector in this chain points to the next one.
        let entries = self.sector_bytes / 4 - 1;
        let mut sector = number_at(&self.header, 68).filter(|sector| *sector < MAX_SECTOR)?;
        for _ in 0..beyond / entries {
            sector = self.number_in(sector, entries)?;
        }
        self.number_in(sector, beyond % entries)
    }
}

/// Names of the streams directly below the root, in upper case. Streams of embedded objects are
/// deeper and do not determine the kind of the file itself.
fn root_streams(directory: &[u8]) -> Vec<String> {
    const STREAM: u8 = 2;
    let (entries, _) = directory.as_chunks::<ENTRY_BYTES>();
    let mut streams = Vec::new();
    let mut visited = vec![false; entries.len()];
    let mut pending: Vec<u32> =
        entries.first().and_then(|root| number_at(root, 76)).into_iter().collect();
    while let Some(id) = pending.pop() {
        let id = id as usize;
        let Some(entry) = entries.get(id) else { continue };
        // Siblings form a tree, in which a hostile file may have a cycle.
        if visited.get_mut(id).is_none_or(|visited| std::mem::replace(visited, true)) {
            continue;
        }
        pending.extend([68, 72].iter().filter_map(|at| number_at(entry, *at)));
        if entry.get(66) == Some(&STREAM) {
            streams.push(name_of(entry));
        }
    }
    streams
}

/// The entry's name in upper case: names are NUL-terminated UTF-16 and case-insensitive.
fn name_of(entry: &[u8; ENTRY_BYTES]) -> String {
    let (units, _) = entry.get(..64).unwrap_or_default().as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0);
    let name = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER));
    name.collect::<String>().to_ascii_uppercase()
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    let number = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    fn kind(bytes: &[u8]) -> ContentKind {
        let mut source = Cursor::new(bytes);
        inspect(&mut BudgetedReader::new(&mut source, bytes.len() as u64, u64::MAX))
    }

    fn file(version: cfb::Version) -> cfb::CompoundFile<Cursor<Vec<u8>>> {
        cfb::CompoundFile::create_with_version(version, Cursor::new(Vec::new())).unwrap()
    }

    fn bytes(file: cfb::CompoundFile<Cursor<Vec<u8>>>) -> Vec<u8> {
        file.into_inner().into_inner()
    }

    #[test]
    fn a_stream_is_found_among_many_in_both_versions() {
        for version in [cfb::Version::V3, cfb::Version::V4] {
            let mut file = file(version);
            for number in 0..500 {
                file.create_stream(format!("Object {number}")).unwrap().write_all(b"x").unwrap();
            }
            file.create_stream("powerpoint document").unwrap();
            assert_eq!(kind(&bytes(file)), ContentKind::Ppt);
        }
    }

    #[test]
    fn a_directory_far_inside_a_large_file_is_found() {
        let mut file = file(cfb::Version::V3);
        let mut filler = file.create_stream("Filler").unwrap();
        for _ in 0..24 * 128 {
            filler.write_all(&[7; 8 * 1024]).unwrap();
        }
        filler.flush().unwrap();
        drop(filler);
        // These entries are after the filler and reachable only through the DIFAT chain.
        for number in 0..20 {
            file.create_stream(format!("Late {number}")).unwrap();
        }
        file.create_stream("Workbook").unwrap();
        assert_eq!(kind(&bytes(file)), ContentKind::Xls);
    }

    #[test]
    fn embedded_objects_and_storages_do_not_count() {
        let mut file = file(cfb::Version::V3);
        file.create_stream("Workbook").unwrap();
        file.create_storage("ObjectPool").unwrap();
        file.create_stream("ObjectPool/WordDocument").unwrap();
        file.create_storage("PowerPoint Document").unwrap();
        assert_eq!(kind(&bytes(file)), ContentKind::Xls);
    }

    #[test]
    fn cycles_terminate() {
        let mut file = file(cfb::Version::V3);
        file.create_stream("WordDocument").unwrap();
        let mut bytes = bytes(file);
        let name: Vec<u8> = "WordDocument".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let entry = bytes.windows(name.len()).position(|window| window == name).unwrap();
        // Makes the entry its own sibling, and the directory's first sector its own successor.
        bytes[entry + 68..entry + 72].copy_from_slice(&1_u32.to_le_bytes());
        bytes[entry + 72..entry + 76].copy_from_slice(&1_u32.to_le_bytes());
        let directory = number_at(&bytes, 48).unwrap();
        let table = 512 * (number_at(&bytes, 76).unwrap() as usize + 1);
        let next = table + directory as usize * 4;
        bytes[next..next + 4].copy_from_slice(&directory.to_le_bytes());
        assert_eq!(kind(&bytes), ContentKind::Doc);
    }
}
