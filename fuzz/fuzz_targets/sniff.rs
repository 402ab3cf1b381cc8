//! Sniffing terminates, is deterministic, and accepts only supported types.
#![no_main]

use std::io::Cursor;

use dossier::domain::media_type::{MediaType, SUPPORTED_DOCUMENTS, extension_fits};
use dossier::domain::sniff::{SentContentType, decide, sniff};
use libfuzzer_sys::fuzz_target;

const NAMES: &[&str] = &["a", "a.png", "a.pdf", "a.csv", "a.docx", "a.xls", "a.exe"];

fuzz_target!(|data: &[u8]| {
    let size_bytes = data.len() as u64;
    let found = sniff(&mut Cursor::new(data), size_bytes).expect("memory can be read");
    let again = sniff(&mut Cursor::new(data), size_bytes).expect("memory can be read");
    assert_eq!(found, again);
    for declared in SUPPORTED_DOCUMENTS.iter().copied().chain(["image/png", "image/x-any"]) {
        let declared = MediaType::from_stored(declared.to_owned());
        for name in NAMES {
            for sent in [SentContentType::Unspecified, SentContentType::OctetStream] {
                let Ok(stored) = decide(&declared, sent.clone(), name, &found) else { continue };
                assert!(stored.is_image() || SUPPORTED_DOCUMENTS.contains(&stored.as_str()));
                assert!(extension_fits(name, &stored), "{name} as {stored}");
                assert!(sent == SentContentType::OctetStream || stored == declared);
            }
        }
    }
});
