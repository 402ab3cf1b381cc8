//! Media ids: an accepted id prints as the same text.
#![no_main]

use dossier::domain::attachment::MediaId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(id) = MediaId::parse(text) {
        assert_eq!(id.to_string(), text);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_~.".contains(&byte)));
    }
});
