//! The headers of resumable uploads: an accepted number equals its digits, and an accepted token is
//! in the metadata in base64.
#![no_main]

use dossier::domain::tus::{Checksum, byte_count, metadata_token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(number) = byte_count("Upload-Length", text) {
        let digits = text.trim_start_matches('0');
        assert_eq!(if digits.is_empty() { "0" } else { digits }, number.to_string());
    }
    if let Ok(Some(token)) = metadata_token(text) {
        assert!(text.contains("token"), "{token}");
        assert!(token.len() <= text.len());
    }
    if let Ok(checksum) = Checksum::parse(text) {
        let _ = checksum.verifier().matches_expected();
    }
});
