//! `Range` headers: every range is inside the file, all together are no larger than it, and they
//! round-trip.
#![no_main]

use dossier::domain::byte_range::{MAX_RANGES, RangeSelection, parse_range};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, &str)| {
    let (size_bytes, header) = input;
    let selection = parse_range(header, size_bytes);
    let ranges = match &selection {
        RangeSelection::One(range) => vec![*range],
        RangeSelection::Many(ranges) => ranges.clone(),
        RangeSelection::Whole | RangeSelection::Unsatisfiable => return,
    };
    assert!(ranges.len() <= MAX_RANGES);
    let mut total = 0;
    for range in &ranges {
        assert!(range.start <= range.end && range.end < size_bytes);
        total += u128::from(range.len());
    }
    assert!(total <= u128::from(size_bytes));
    let specs: Vec<_> =
        ranges.iter().map(|range| format!("{}-{}", range.start, range.end)).collect();
    assert_eq!(parse_range(&format!("bytes={}", specs.join(",")), size_bytes), selection);
});
