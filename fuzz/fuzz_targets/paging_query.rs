//! Paging: an accepted value equals the number in the text and is within its bounds.
#![no_main]

use dossier::domain::paging::{MAX_LIMIT, MAX_OFFSET, parse_limit, parse_offset};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let assert_equals_text = |number: u32| {
        let digits = text.strip_prefix('-').unwrap_or(text).trim_start_matches('0');
        assert_eq!(if digits.is_empty() { "0" } else { digits }, number.to_string());
    };
    if let Ok(limit) = parse_limit(Some(text)) {
        assert!(limit <= MAX_LIMIT);
        assert_equals_text(limit);
    }
    if let Ok(offset) = parse_offset(Some(text)) {
        assert!(offset <= MAX_OFFSET);
        assert_equals_text(offset);
    }
});
