//! Boxes of ISO/IEC 14496-12 in memory: names, lengths and numbers, with bounds checks.

/// Iterates over consecutive boxes. A malformed one ends the iteration.
#[derive(Clone)]
pub(crate) struct Boxes<'a> {
    rest: &'a [u8],
}

impl<'a> Boxes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The payload of the first box with this name.
    pub(crate) fn payload(&self, name: [u8; 4]) -> Option<&'a [u8]> {
        self.clone().find(|(found, _)| *found == name).map(|(_, payload)| payload)
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = Reader::new(self.rest);
        let short_length = reader.u32()?;
        let name = reader.array()?;
        let (length, head_bytes) = match short_length {
            0 => (self.rest.len(), 8),
            1 => (usize::try_from(reader.number(8)?).ok()?, 16),
            _ => (short_length as usize, 8),
        };
        let payload = self.rest.get(head_bytes..length)?;
        self.rest = self.rest.get(length..)?;
        Some((name, payload))
    }
}

/// Reads big-endian numbers from a slice; `None` at its end.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn skip(&mut self, count: usize) -> Option<()> {
        self.rest = self.rest.get(count..)?;
        Some(())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads a number of 0 to 8 bytes.
    pub(crate) fn number(&mut self, byte_count: u8) -> Option<u64> {
        if byte_count > 8 {
            return None;
        }
        (0..byte_count).try_fold(0, |number, _| Some((number << 8) | u64::from(self.u8()?)))
    }

    /// Reads the version and flags with which a full box begins.
    pub(crate) fn version_and_flags(&mut self) -> Option<(u8, u32)> {
        let [version, flags @ ..] = self.array::<4>()?;
        let [high, middle, low] = flags;
        Some((version, u32::from_be_bytes([0, high, middle, low])))
    }
}
