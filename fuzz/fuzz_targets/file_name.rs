//! File names: the sanitised form is stable and harmless, and the header contains exactly it.
#![no_main]

use dossier::domain::content_disposition::{Disposition, content_disposition};
use dossier::domain::file_name::{FileName, display_name};
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;

fuzz_target!(|text: &str| {
    let shown = display_name(text);
    assert!(!shown.is_empty() && !matches!(shown.as_str(), "." | ".."));
    assert!(!shown.contains(|c: char| c.is_control() || "/\\:\"<>|?*".contains(c)));
    assert!(!shown.ends_with('.') && shown.trim() == shown);
    assert_eq!(display_name(&shown), shown);
    let header = content_disposition(Disposition::Attachment, text);
    assert!(header.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    let rest = header.strip_prefix("attachment; filename=\"").expect("a quoted name");
    let (plain, rest) = rest.split_once('"').expect("a closing quote");
    assert!(!plain.contains('\\'));
    match rest.strip_prefix("; filename*=UTF-8''") {
        Some(encoded) => {
            assert!(!encoded.contains([';', ' ', '"', ',']));
            assert_eq!(percent_decode_str(encoded).decode_utf8().expect("UTF-8"), shown);
        }
        None => assert_eq!((plain, rest), (shown.as_str(), "")),
    }
    if let Ok(name) = FileName::new(text.to_owned()) {
        assert_eq!(name.as_str(), text);
    }
});
