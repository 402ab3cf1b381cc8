//! Picture headers: sizes are believable, and reading stays within its bound.
#![no_main]

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use dossier_image::read_header;
use libfuzzer_sys::fuzz_target;

/// Counts what is read.
struct Counting<'a> {
    source: Cursor<&'a [u8]>,
    read_bytes: u64,
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.read_bytes += count as u64;
        Ok(count)
    }
}

impl Seek for Counting<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.source.seek(position)
    }
}

fuzz_target!(|data: &[u8]| {
    let mut source = Counting { source: Cursor::new(data), read_bytes: 0 };
    if let Some(header) = read_header(&mut source) {
        assert!((1..=1_000_000).contains(&header.width), "{header:?}");
        assert!((1..=1_000_000).contains(&header.height), "{header:?}");
    }
    assert!(source.read_bytes <= 17 * 1024 * 1024, "{} bytes were read", source.read_bytes);
});
