//! A reader with a byte budget, which bounds the cost of a hostile container. It distinguishes
//! errors of the source from those of the container.

use std::io::{self, Read, Seek, SeekFrom};

/// Bytes fetched at once for small scattered reads.
const SCATTERED_WINDOW_BYTES: usize = 512;

/// Bytes fetched at once for small sequential reads.
const SEQUENTIAL_WINDOW_BYTES: usize = 8 * 1024;

/// Reads from `source` until the budget is exhausted; afterwards every read fails.
pub(super) struct BudgetedReader<'a, R> {
    source: &'a mut R,
    size_bytes: u64,
    position: u64,
    budget_bytes: u64,
    window: Vec<u8>,
    window_start: u64,
    source_error: Option<io::Error>,
}

impl<'a, R: Read + Seek> BudgetedReader<'a, R> {
    /// A reader at the start of `source`, which has `size_bytes`.
    pub(super) fn new(source: &'a mut R, size_bytes: u64, budget_bytes: u64) -> Self {
        Self {
            source,
            size_bytes,
            position: 0,
            budget_bytes,
            window: Vec::new(),
            window_start: 0,
            source_error: None,
        }
    }

    /// The first error of the source itself, if any.
    pub(super) fn into_source_error(self) -> Option<io::Error> {
        self.source_error
    }

    /// Reads at `self.position`, bypassing the window.
    fn fetch(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let remaining = usize::try_from(self.budget_bytes).unwrap_or(usize::MAX);
        let length = into.len().min(remaining);
        if length == 0 && !into.is_empty() {
            return Err(io::Error::other("the read budget is exhausted"));
        }
        let into = into.get_mut(..length).unwrap_or_default();
        match self.fetch_from_source(into) {
            Ok(read) => {
                self.budget_bytes = self.budget_bytes.saturating_sub(read as u64);
                Ok(read)
            }
            Err(error) => {
                let returned = io::Error::from(error.kind());
                self.source_error.get_or_insert(error);
                Err(returned)
            }
        }
    }

    fn fetch_from_source(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.source.seek(SeekFrom::Start(self.position))?;
        loop {
            match self.source.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Fills the window from `self.position`.
    fn refill(&mut self) -> io::Result<()> {
        let is_sequential = self.position == self.window_start + self.window.len() as u64;
        let length = if is_sequential { SEQUENTIAL_WINDOW_BYTES } else { SCATTERED_WINDOW_BYTES };
        let mut window = std::mem::take(&mut self.window);
        window.resize(length, 0);
        let read = self.fetch(&mut window)?;
        window.truncate(read);
        self.window = window;
        self.window_start = self.position;
        Ok(())
    }

    fn windowed(&self) -> &[u8] {
        self.position
            .checked_sub(self.window_start)
            .and_then(|offset| usize::try_from(offset).ok())
            .and_then(|offset| self.window.get(offset..))
            .unwrap_or_default()
    }
}

impl<R: Read + Seek> Read for BudgetedReader<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() || self.position >= self.size_bytes {
            return Ok(0);
        }
        if self.windowed().is_empty() {
            if into.len() >= SCATTERED_WINDOW_BYTES {
                let read = self.fetch(into)?;
                self.position += read as u64;
                return Ok(read);
            }
            self.refill()?;
        }
        let read = self.windowed().read(into)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl<R: Read + Seek> Seek for BudgetedReader<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.size_bytes.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    #[test]
    fn reading_stops_when_the_budget_is_exhausted() {
        let mut source = Cursor::new(vec![7_u8; 10_000]);
        let mut reader = BudgetedReader::new(&mut source, 10_000, 1_000);
        let mut all = Vec::new();
        assert!(reader.read_to_end(&mut all).is_err());
        assert_eq!(all.len(), 1_000);
        assert!(reader.into_source_error().is_none());
    }

    #[test]
    fn errors_of_the_source_are_kept() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("disk on fire"))
            }
        }
        impl Seek for Broken {
            fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
                Ok(0)
            }
        }
        let mut source = Broken;
        let mut reader = BudgetedReader::new(&mut source, 10, 10);
        assert!(reader.read(&mut [0; 4]).is_err());
        assert_eq!(reader.into_source_error().unwrap().to_string(), "disk on fire");
    }

    proptest! {
        #[test]
        fn it_reads_the_content_of_the_source(
            bytes in prop::collection::vec(any::<u8>(), 0..30_000),
            steps in prop::collection::vec((0_u64..32_000, 0_usize..9_000), 0..40),
        ) {
            let mut plain = Cursor::new(bytes.clone());
            let mut source = Cursor::new(bytes.clone());
            let mut reader =
                BudgetedReader::new(&mut source, bytes.len() as u64, u64::MAX);
            for (position, length) in steps {
                let mut expected = Vec::new();
                plain.seek(SeekFrom::Start(position)).unwrap();
                plain.by_ref().take(length as u64).read_to_end(&mut expected).unwrap();
                let mut found = Vec::new();
                reader.seek(SeekFrom::Start(position)).unwrap();
                reader.by_ref().take(length as u64).read_to_end(&mut found).unwrap();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
