//! The headers of resumable uploads: numbers are the digits that stand there, and a token that is
//! taken stands in the metadata in base64.
#![no_main]

use dossier::domain::tus::{Checksum, bytes, token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(number) = bytes("Upload-Length", text) {
        let digits = text.trim_start_matches('0');
        assert_eq!(if digits.is_empty() { "0" } else { digits }, number.to_string());
    }
    if let Ok(Some(token)) = token(text) {
        assert!(text.contains("token"), "{token}");
        assert!(token.len() <= text.len());
    }
    if let Ok(checksum) = Checksum::parse(text) {
        let _ = checksum.verifier().is_as_announced();
    }
});
