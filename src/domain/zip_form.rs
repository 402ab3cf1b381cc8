//! Headers of ZIP archives that are streamed. Files are stored uncompressed, with the CRC-32 in a
//! data descriptor after each file, and ZIP64 where a size or offset reaches 4 GiB. The archive's
//! length is known before the first byte is sent.

use std::collections::HashSet;

use time::OffsetDateTime;

use super::file_name::display_name;

/// Longest entry name in bytes. Common file systems allow 255.
const MAX_NAME_BYTES: usize = 240;
/// Longest extension, in bytes, that is preserved when a name is shortened.
const MAX_EXTENSION_BYTES: usize = 16;
/// The value of a 32-bit field whose number is in the ZIP64 extra field.
const IN_ZIP64: u32 = u32::MAX;
/// The CRC-32 follows the file; the name is UTF-8.
const FLAGS: u16 = 1 << 3 | 1 << 11;
/// Version needed to extract: 2.0, or 4.5 for ZIP64.
const VERSION: u16 = 20;
const VERSION_ZIP64: u16 = 45;
/// Version made by: Unix, so that the mode below applies.
const MADE_BY: u16 = 3 << 8 | VERSION_ZIP64;
/// A regular file, writable by its owner and readable by all.
const MODE: u32 = 0o100_644 << 16;

/// A file in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    name: String,
    size_bytes: u64,
    date: u16,
    time: u16,
    offset: u64,
}

/// The layout of an archive whose files are known, but not yet their content.
#[derive(Debug, Default)]
pub struct Plan {
    entries: Vec<Entry>,
    names: HashSet<String>,
    length: u64,
    directory_bytes: u64,
}

impl Plan {
    /// Adds a file. Its user-given name is sanitised and made unique, ignoring case (S14, S32).
    pub fn add(&mut self, file_name: &str, size_bytes: u64, modified_ms: i64) {
        let name = self.unique_name(&display_name(file_name));
        let (date, time) = dos_time(modified_ms);
        let entry = Entry { name, size_bytes, date, time, offset: self.length };
        self.length += entry.local_header().len() as u64 + size_bytes;
        self.length += entry.descriptor(0).len() as u64;
        self.directory_bytes += entry.directory_header(0).len() as u64;
        self.entries.push(entry);
    }

    /// The files in archive order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Length of the archive in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.length + self.directory_bytes + self.end().len() as u64
    }

    /// The end records, which follow the central directory.
    pub fn end(&self) -> Vec<u8> {
        let (count, size, offset) = (self.entries.len() as u64, self.directory_bytes, self.length);
        let mut out = Vec::new();
        if count >= u64::from(u16::MAX) || size.max(offset) >= u64::from(IN_ZIP64) {
            let end = offset + size;
            out.extend(*b"PK\x06\x06");
            out.extend(44_u64.to_le_bytes());
            out.extend(MADE_BY.to_le_bytes());
            out.extend(VERSION_ZIP64.to_le_bytes());
            out.extend([0; 8]);
            for number in [count, count, size, offset] {
                out.extend(number.to_le_bytes());
            }
            out.extend(*b"PK\x06\x07\0\0\0\0");
            out.extend(end.to_le_bytes());
            out.extend(1_u32.to_le_bytes());
        }
        let short = u16::try_from(count).unwrap_or(u16::MAX);
        out.extend(*b"PK\x05\x06\0\0\0\0");
        out.extend(short.to_le_bytes());
        out.extend(short.to_le_bytes());
        out.extend(low_or_marker(size).to_le_bytes());
        out.extend(low_or_marker(offset).to_le_bytes());
        out.extend([0; 2]);
        out
    }

    fn unique_name(&mut self, shown: &str) -> String {
        let (base, extension) = match shown.rfind('.') {
            Some(dot) if dot > 0 && shown.len() - dot <= MAX_EXTENSION_BYTES => shown.split_at(dot),
            _ => (shown, ""),
        };
        let mut name = format!("{}{extension}", truncate(base, MAX_NAME_BYTES - extension.len()));
        let mut number = 2_u32;
        // Windows and macOS compare names without case. The loop ends because the number grows.
        while !self.names.insert(name.to_lowercase()) {
            let suffix = format!(" ({number}){extension}");
            name = format!("{}{suffix}", truncate(base, MAX_NAME_BYTES - suffix.len()));
            number = number.saturating_add(1);
        }
        name
    }
}

impl Entry {
    /// Its name in the archive.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The header before its content. It contains the sizes, which are known, for readers that do
    /// not wait for the central directory.
    pub fn local_header(&self) -> Vec<u8> {
        let mut out = b"PK\x03\x04".to_vec();
        self.write_common_fields(
            &mut out,
            0,
            if self.is_large() { 20 } else { 0 },
            self.is_large(),
        );
        out.extend(self.name.as_bytes());
        if self.is_large() {
            out.extend([1, 0, 16, 0]);
            out.extend(self.size_bytes.to_le_bytes());
            out.extend(self.size_bytes.to_le_bytes());
        }
        out
    }

    /// The data descriptor after its content.
    pub fn descriptor(&self, crc32: u32) -> Vec<u8> {
        let mut out = b"PK\x07\x08".to_vec();
        out.extend(crc32.to_le_bytes());
        for _ in 0..2 {
            if self.is_large() {
                out.extend(self.size_bytes.to_le_bytes());
            } else {
                out.extend(low_or_marker(self.size_bytes).to_le_bytes());
            }
        }
        out
    }

    /// Its header in the central directory.
    pub fn directory_header(&self, crc32: u32) -> Vec<u8> {
        let mut extra = Vec::new();
        if self.is_large() {
            extra.extend(self.size_bytes.to_le_bytes());
            extra.extend(self.size_bytes.to_le_bytes());
        }
        if low_or_marker(self.offset) == IN_ZIP64 {
            extra.extend(self.offset.to_le_bytes());
        }
        let extra_length = if extra.is_empty() { 0 } else { extra.len() as u16 + 4 };
        let mut out = b"PK\x01\x02".to_vec();
        out.extend(MADE_BY.to_le_bytes());
        self.write_common_fields(&mut out, crc32, extra_length, extra_length > 0);
        // No comment, first disk, no internal attributes.
        out.extend([0; 6]);
        out.extend(MODE.to_le_bytes());
        out.extend(low_or_marker(self.offset).to_le_bytes());
        out.extend(self.name.as_bytes());
        if extra_length > 0 {
            out.extend([1, 0]);
            out.extend((extra.len() as u16).to_le_bytes());
            out.extend(extra);
        }
        out
    }

    /// Writes the fields that both headers share.
    fn write_common_fields(&self, out: &mut Vec<u8>, crc32: u32, extra_length: u16, zip64: bool) {
        out.extend(if zip64 { VERSION_ZIP64 } else { VERSION }.to_le_bytes());
        out.extend(FLAGS.to_le_bytes());
        // Compression method: stored.
        out.extend([0; 2]);
        out.extend(self.time.to_le_bytes());
        out.extend(self.date.to_le_bytes());
        out.extend(crc32.to_le_bytes());
        out.extend(low_or_marker(self.size_bytes).to_le_bytes());
        out.extend(low_or_marker(self.size_bytes).to_le_bytes());
        // The cast is lossless: names have at most MAX_NAME_BYTES.
        out.extend((self.name.len() as u16).to_le_bytes());
        out.extend(extra_length.to_le_bytes());
    }

    fn is_large(&self) -> bool {
        low_or_marker(self.size_bytes) == IN_ZIP64
    }
}

/// The number in 32 bits, or [`IN_ZIP64`] when it does not fit.
fn low_or_marker(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(IN_ZIP64)
}

/// Truncates a text to `max_bytes` at a character boundary.
fn truncate(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// DOS date and time in UTC, with a resolution of two seconds. Times outside 1980 to 2107 become
/// 1 January 1980.
fn dos_time(ms: i64) -> (u16, u16) {
    let at = OffsetDateTime::from_unix_timestamp(ms / 1_000).ok();
    let Some(at) = at.filter(|at| (1980..2108).contains(&at.year())) else { return (0x21, 0) };
    let date = (at.year() as u16 - 1980) << 9 | u16::from(u8::from(at.month())) << 5;
    let time = u16::from(at.hour()) << 11 | u16::from(at.minute()) << 5;
    (date | u16::from(at.day()), time | u16::from(at.second() / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(given: &[&str]) -> Vec<String> {
        let mut plan = Plan::default();
        for name in given {
            plan.add(name, 1, 0);
        }
        plan.entries().iter().map(|entry| entry.name().to_owned()).collect()
    }

    #[test]
    fn names_are_sanitised_and_unique_ignoring_case() {
        assert_eq!(
            names(&[
                "a.pdf",
                "A.PDF",
                "a.pdf",
                "a (2).pdf",
                "../../etc/passwd",
                "..\\x",
                "",
                ".env"
            ]),
            [
                "a.pdf",
                "A (2).PDF",
                "a (3).pdf",
                "a (2) (2).pdf",
                ".._.._etc_passwd",
                ".._x",
                "file",
                ".env"
            ]
        );
        let long = "😀".repeat(260) + ".jpeg";
        for name in names(&[&long, &long]) {
            assert!(
                name.len() <= MAX_NAME_BYTES && Some(".jpeg") == name.get(name.len() - 5..),
                "{name}"
            );
        }
    }

    #[test]
    fn times_out_of_range_become_the_first_day() {
        assert_eq!(dos_time(0), (0x21, 0));
        assert_eq!(dos_time(i64::MAX), (0x21, 0));
        assert_eq!(dos_time(1_800_000_000_000), (47 << 9 | 1 << 5 | 15, 8 << 11));
    }

    proptest! {
        #[test]
        fn entry_names_are_unique_and_stay_in_their_folder(given in prop::collection::vec(".{0,12}|(\\.\\.?/?){1,3}|[aA]", 0..20)) {
            let given: Vec<&str> = given.iter().map(String::as_str).collect();
            let names = names(&given);
            let lower: HashSet<String> = names.iter().map(|name| name.to_lowercase()).collect();
            prop_assert_eq!(lower.len(), given.len());
            for name in names {
                prop_assert!(!name.contains(['/', '\\', '\0']) && name != "." && name != "..");
                prop_assert!(!name.is_empty() && name.len() <= MAX_NAME_BYTES);
            }
        }
    }
}
