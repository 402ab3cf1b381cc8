//! Parses the `Range` header of a download (RFC 9110 §14).
//! It decides which bytes are requested; status codes and bodies are the caller's.

/// Most ranges in one response. A request for more gets the whole file, so that a small header
/// cannot cause a large response of tiny parts (RFC 9110 §14.2, §17.15).
pub const MAX_RANGES: usize = 16;

/// Most ranges that may overlap another one. A request with more gets the whole file
/// (RFC 9110 §14.2: "more than two overlapping ranges").
pub const MAX_OVERLAPPING: usize = 2;

/// A non-empty range of bytes inside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset of the last byte, inclusive.
    pub end: u64,
}

impl ByteRange {
    /// Number of bytes in the range, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start).saturating_add(1)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

/// The part of a file of known size that a `Range` header selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeSelection {
    /// No usable range: send the whole file.
    Whole,
    /// One range.
    One(ByteRange),
    /// Two to [`MAX_RANGES`] ranges, in the order of the request.
    Many(Vec<ByteRange>),
    /// The header is valid, but all its ranges are outside the file.
    Unsatisfiable,
}

/// Parses a `Range` header for a file of `size_bytes`.
///
/// A header is ignored, as RFC 9110 §14.2 permits, when it is malformed, names another unit or more
/// than [`MAX_RANGES`] ranges, has more than [`MAX_OVERLAPPING`] overlapping ranges or selects more
/// bytes than the file has. Ranges are clipped to the file; those outside it are dropped.
pub fn parse_range(header: &str, size_bytes: u64) -> RangeSelection {
    let Some(specs) = parse_specs(header) else { return RangeSelection::Whole };
    let ranges: Vec<ByteRange> = specs.iter().filter_map(|spec| spec.within(size_bytes)).collect();
    match ranges.as_slice() {
        [] => RangeSelection::Unsatisfiable,
        [only] => RangeSelection::One(*only),
        _ if is_wasteful(&ranges, size_bytes) => RangeSelection::Whole,
        _ => RangeSelection::Many(ranges),
    }
}

/// A range as written, not yet checked against a file's size.
#[derive(Clone, Copy)]
enum Spec {
    From { start: u64, end: Option<u64> },
    Last(u64),
}

impl Spec {
    fn within(self, size_bytes: u64) -> Option<ByteRange> {
        let last = size_bytes.checked_sub(1)?;
        match self {
            Self::From { start, end } if start <= last => {
                Some(ByteRange { start, end: end.map_or(last, |end| end.min(last)) })
            }
            Self::Last(count) if count > 0 => {
                Some(ByteRange { start: size_bytes.saturating_sub(count), end: last })
            }
            _ => None,
        }
    }
}

/// The ranges of a valid `bytes` header, at least one and at most [`MAX_RANGES`].
fn parse_specs(header: &str) -> Option<Vec<Spec>> {
    let (unit, set) = header.trim_matches([' ', '\t']).split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = Vec::new();
    for element in set.split(',') {
        let element = element.trim_matches([' ', '\t']);
        // Recipients must accept empty list elements (RFC 9110 §5.6.1.2).
        if element.is_empty() {
            continue;
        }
        if specs.len() == MAX_RANGES {
            return None;
        }
        specs.push(parse_spec(element)?);
    }
    (!specs.is_empty()).then_some(specs)
}

fn parse_spec(element: &str) -> Option<Spec> {
    let (first, last) = element.split_once('-')?;
    if first.is_empty() {
        return parse_offset(last).map(Spec::Last);
    }
    let start = parse_offset(first)?;
    if last.is_empty() {
        return Some(Spec::From { start, end: None });
    }
    let end = parse_offset(last)?;
    (start <= end).then_some(Spec::From { start, end: Some(end) })
}

/// Decimal digits only. A number above `u64::MAX` saturates, since both are past the end of any
/// file.
fn parse_offset(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn is_wasteful(ranges: &[ByteRange], size_bytes: u64) -> bool {
    let total: u128 = ranges.iter().map(|range| u128::from(range.len())).sum();
    let overlapping = ranges
        .iter()
        .enumerate()
        .filter(|(index, range)| {
            ranges.iter().enumerate().any(|(other, with)| other != *index && range.overlaps(with))
        })
        .count();
    total > u128::from(size_bytes) || overlapping > MAX_OVERLAPPING
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(start: u64, end: u64) -> RangeSelection {
        RangeSelection::One(ByteRange { start, end })
    }

    #[test]
    fn all_forms_of_a_single_range_are_parsed() {
        for (header, expected) in [
            ("bytes=0-0", one(0, 0)),
            ("bytes=0-499", one(0, 499)),
            ("bytes=500-", one(500, 999)),
            ("bytes=-1", one(999, 999)),
            ("bytes=-5000", one(0, 999)),
            ("bytes=990-5000", one(990, 999)),
            ("BYTES=1-2", one(1, 2)),
            (" bytes= 1-2 ,, ", one(1, 2)),
            ("bytes=0-99999999999999999999999", one(0, 999)),
            ("bytes=-99999999999999999999999", one(0, 999)),
            ("bytes=5-6,1000-", one(5, 6)),
        ] {
            assert_eq!(parse_range(header, 1000), expected, "{header}");
        }
    }

    #[test]
    fn ranges_outside_the_file_are_unsatisfiable() {
        for header in ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=-0,5000-6000"] {
            assert_eq!(parse_range(header, 1000), RangeSelection::Unsatisfiable, "{header}");
        }
        for header in ["bytes=0-", "bytes=-5", "bytes=0-0"] {
            assert_eq!(parse_range(header, 0), RangeSelection::Unsatisfiable, "{header}");
        }
        assert_eq!(parse_range("bytes=99999999999999999999-", 1000), RangeSelection::Unsatisfiable);
    }

    #[test]
    fn invalid_headers_are_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=5",
            "bytes=5-4",
            "bytes=a-b",
            "bytes=0x1-2",
            "bytes=+1-2",
            "bytes=1--2",
            "bytes=1 -2",
            "bytes=1-2;3-4",
            "bytes =1-2",
            "items=0-1",
            "bytes=0-1,x",
            "bytes=1-2\n",
        ] {
            assert_eq!(parse_range(header, 1000), RangeSelection::Whole, "{header:?}");
        }
    }

    #[test]
    fn multiple_ranges_keep_the_order_of_the_request() {
        let ranges = vec![ByteRange { start: 500, end: 509 }, ByteRange { start: 0, end: 9 }];
        assert_eq!(parse_range("bytes=500-509, 0-9", 1000), RangeSelection::Many(ranges));
    }

    #[test]
    fn sixteen_ranges_are_served_and_seventeen_are_ignored() {
        let header = |count: u64| {
            let specs: Vec<String> = (0..count).map(|n| format!("{}-{}", n * 10, n * 10)).collect();
            format!("bytes={}", specs.join(","))
        };
        assert!(matches!(parse_range(&header(16), 1000), RangeSelection::Many(r) if r.len() == 16));
        assert_eq!(parse_range(&header(17), 1000), RangeSelection::Whole);
    }

    #[test]
    fn wasteful_sets_get_the_whole_file() {
        assert!(matches!(parse_range("bytes=0-9,5-14", 1000), RangeSelection::Many(_)));
        assert_eq!(parse_range("bytes=0-9,5-14,8-20", 1000), RangeSelection::Whole);
        assert_eq!(parse_range("bytes=0-,0-0", 1000), RangeSelection::Whole);
        assert_eq!(parse_range("bytes=-600,0-500", 1000), RangeSelection::Whole);
        assert_eq!(parse_range("bytes=-8,0-", u64::MAX), RangeSelection::Whole);
    }

    /// Ranges that do not touch each other, and the size of a file that contains them.
    fn separate_ranges() -> impl Strategy<Value = (Vec<ByteRange>, u64)> {
        prop::collection::vec((1_u64..1000, 1_u64..1000), 1..=MAX_RANGES).prop_map(|steps| {
            let mut next = 0;
            let mut ranges = Vec::new();
            for (gap, length) in steps {
                let start = next + gap;
                next = start + length;
                ranges.push(ByteRange { start, end: next - 1 });
            }
            (ranges, next)
        })
    }

    proptest! {
        #[test]
        fn a_printed_set_round_trips((ranges, size_bytes) in separate_ranges()) {
            let specs: Vec<String> =
                ranges.iter().map(|range| format!("{}-{}", range.start, range.end)).collect();
            let selection = parse_range(&format!("bytes={}", specs.join(", ")), size_bytes);
            let expected = match ranges.as_slice() {
                [only] => RangeSelection::One(*only),
                _ => RangeSelection::Many(ranges),
            };
            prop_assert_eq!(selection, expected);
        }

        #[test]
        fn every_range_is_inside_the_file(
            header in "bytes=([0-9]{0,3}-[0-9]{0,3},?){1,5}|bytes=[-0-9, ]{0,40}|.{0,40}",
            size_bytes in prop_oneof![0_u64..1000, Just(u64::MAX)],
        ) {
            let ranges = match parse_range(&header, size_bytes) {
                RangeSelection::One(range) => vec![range],
                RangeSelection::Many(ranges) => ranges,
                RangeSelection::Whole | RangeSelection::Unsatisfiable => vec![],
            };
            let mut total = 0_u128;
            for range in ranges {
                prop_assert!(range.start <= range.end && range.end < size_bytes);
                total += u128::from(range.len());
            }
            prop_assert!(total <= u128::from(size_bytes));
        }
    }
}
