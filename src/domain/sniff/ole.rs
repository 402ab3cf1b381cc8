//! Looks into OLE compound files for the Office document they may be ([MS-CFB]).
//! It follows only the directory: the tables of all sectors grow with the file, and reading them
//! would make memory and time grow with an upload's size.

use std::io::{Read, Seek, SeekFrom};

use super::budget::BudgetedReader;
use super::found::Found;

/// Most bytes of the directory that are looked at, 16,384 entries; documents have some dozens,
/// and a few for each object they embed.
pub const MAX_DIRECTORY_BYTES: usize = 2 * 1024 * 1024;

/// Most numbers read from the tables that lead to the directory. A chain bent into a ring is read
/// from memory, so the reading budget alone would not end it soon.
const MAX_TABLE_STEPS: u32 = 100_000;

const HEADER_BYTES: usize = 512;
const ENTRY_BYTES: usize = 128;

/// Places of the allocation table that the header itself holds; the rest is in a chain.
const PLACES_IN_HEADER: u32 = 109;

/// Sector numbers above it mark the end of a chain, free space and the like.
const MAX_SECTOR: u32 = 0xFFFF_FFFA;

/// Streams at the root that tell the kind of document.
const WORD: &str = "WORDDOCUMENT";
const EXCEL: [&str; 2] = ["WORKBOOK", "BOOK"];
const POWER_POINT: &str = "POWERPOINT DOCUMENT";
const ENCRYPTED: &str = "ENCRYPTEDPACKAGE";

/// The kind of a file that begins as an OLE compound file.
pub(super) fn look_into<R: Read + Seek>(reader: &mut BudgetedReader<'_, R>) -> Found {
    let Some(directory) = CompoundFile::open(reader).map(|mut file| file.directory()) else {
        return Found::OleOther;
    };
    let streams = root_streams(&directory);
    let has = |name: &str| streams.iter().any(|stream| stream == name);
    // An encrypted package may also carry streams that pretend to be a document.
    if has(ENCRYPTED) {
        return Found::EncryptedOffice;
    }
    match (has(WORD), EXCEL.iter().any(|name| has(name)), has(POWER_POINT)) {
        (true, false, false) => Found::Doc,
        (false, true, false) => Found::Xls,
        (false, false, true) => Found::Ppt,
        _ => Found::OleOther,
    }
}

/// A compound file as far as its directory needs it.
struct CompoundFile<'r, 'a, R> {
    reader: &'r mut BudgetedReader<'a, R>,
    header: [u8; HEADER_BYTES],
    sector_bytes: u32,
    /// The part of the allocation table used last, and the sector it stands in.
    last_place: Option<(u32, u32)>,
    steps_left: u32,
}

impl<'r, 'a, R: Read + Seek> CompoundFile<'r, 'a, R> {
    fn open(reader: &'r mut BudgetedReader<'a, R>) -> Option<Self> {
        let mut header = [0; HEADER_BYTES];
        reader.read_exact(&mut header).ok()?;
        // Two sector sizes exist, one for each version of the format.
        let sector_bytes = match header.get(30..32)? {
            [9, 0] => 512,
            [12, 0] => 4096,
            _ => return None,
        };
        Some(Self { reader, header, sector_bytes, last_place: None, steps_left: MAX_TABLE_STEPS })
    }

    /// The directory, as much of it as can be read and the limit allows.
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
        // The header takes the place of one sector.
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
        let part = sector / numbers;
        let place = match self.last_place {
            Some((last, place)) if last == part => place,
            _ => self.table_place(part)?,
        };
        self.last_place = Some((part, place));
        self.number_in(place, sector % numbers)
    }

    /// The sector in which a part of the allocation table stands.
    fn table_place(&mut self, part: u32) -> Option<u32> {
        let Some(beyond) = part.checked_sub(PLACES_IN_HEADER) else {
            let place = number_at(&self.header, 76 + part as usize * 4)?;
            return (place < MAX_SECTOR).then_some(place);
        };
        // The last number of each sector in this chain leads to the next one.
        let places = self.sector_bytes / 4 - 1;
        let mut sector = number_at(&self.header, 68).filter(|sector| *sector < MAX_SECTOR)?;
        for _ in 0..beyond / places {
            sector = self.number_in(sector, places)?;
        }
        self.number_in(sector, beyond % places)
    }
}

/// Names of the streams directly below the root, in upper case. Those of embedded objects lie
/// deeper and say nothing about the file itself.
fn root_streams(directory: &[u8]) -> Vec<String> {
    const STREAM: u8 = 2;
    let (entries, _) = directory.as_chunks::<ENTRY_BYTES>();
    let mut streams = Vec::new();
    let mut seen = vec![false; entries.len()];
    let mut waiting: Vec<u32> =
        entries.first().and_then(|root| number_at(root, 76)).into_iter().collect();
    while let Some(id) = waiting.pop() {
        let id = id as usize;
        let Some(entry) = entries.get(id) else { continue };
        // Siblings form a tree, which a hostile file may bend into a ring.
        if seen.get_mut(id).is_none_or(|seen| std::mem::replace(seen, true)) {
            continue;
        }
        waiting.extend([68, 72].iter().filter_map(|at| number_at(entry, *at)));
        if entry.get(66) == Some(&STREAM) {
            streams.push(name_of(entry));
        }
    }
    streams
}

/// Names are UTF-16 with a NUL at the end and compare without regard to case.
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

    fn kind(bytes: &[u8]) -> Found {
        let mut source = Cursor::new(bytes);
        look_into(&mut BudgetedReader::new(&mut source, bytes.len() as u64, u64::MAX))
    }

    fn file(version: cfb::Version) -> cfb::CompoundFile<Cursor<Vec<u8>>> {
        cfb::CompoundFile::create_with_version(version, Cursor::new(Vec::new())).unwrap()
    }

    fn bytes(file: cfb::CompoundFile<Cursor<Vec<u8>>>) -> Vec<u8> {
        file.into_inner().into_inner()
    }

    #[test]
    fn streams_are_found_among_many_in_both_versions() {
        for version in [cfb::Version::V3, cfb::Version::V4] {
            let mut file = file(version);
            for number in 0..500 {
                file.create_stream(format!("Object {number}")).unwrap().write_all(b"x").unwrap();
            }
            file.create_stream("powerpoint document").unwrap();
            assert_eq!(kind(&bytes(file)), Found::Ppt);
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
        // These entries lie behind the filler, where only the chain of places leads.
        for number in 0..20 {
            file.create_stream(format!("Late {number}")).unwrap();
        }
        file.create_stream("Workbook").unwrap();
        assert_eq!(kind(&bytes(file)), Found::Xls);
    }

    #[test]
    fn embedded_objects_and_storages_do_not_count() {
        let mut file = file(cfb::Version::V3);
        file.create_stream("Workbook").unwrap();
        file.create_storage("ObjectPool").unwrap();
        file.create_stream("ObjectPool/WordDocument").unwrap();
        file.create_storage("PowerPoint Document").unwrap();
        assert_eq!(kind(&bytes(file)), Found::Xls);
    }

    #[test]
    fn rings_end() {
        let mut file = file(cfb::Version::V3);
        file.create_stream("WordDocument").unwrap();
        let mut bytes = bytes(file);
        let name: Vec<u8> = "WordDocument".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let entry = bytes.windows(name.len()).position(|window| window == name).unwrap();
        // The entry's siblings become the entry itself, the directory's next sector its first.
        bytes[entry + 68..entry + 72].copy_from_slice(&1_u32.to_le_bytes());
        bytes[entry + 72..entry + 76].copy_from_slice(&1_u32.to_le_bytes());
        let directory = number_at(&bytes, 48).unwrap();
        let table = 512 * (number_at(&bytes, 76).unwrap() as usize + 1);
        let next = table + directory as usize * 4;
        bytes[next..next + 4].copy_from_slice(&directory.to_le_bytes());
        assert_eq!(kind(&bytes), Found::Doc);
    }
}
