//! MIME types: accepted ones are in canonical form, and media ids get safe extensions.
#![no_main]

use dossier::domain::media_type::{
    MAX_EXTENSION_CHARS, MediaType, SUPPORTED_DOCUMENTS, extension_fits, media_extension,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (declared, name) = input;
    let Ok(media_type) = MediaType::parse(declared) else { return };
    let text = media_type.as_str();
    assert!(media_type.is_image() || SUPPORTED_DOCUMENTS.contains(&text));
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';' && byte != b'"'));
    assert_eq!(text.to_ascii_lowercase(), text);
    assert_eq!(MediaType::parse(text).as_ref(), Ok(&media_type));
    let extension = media_extension(&media_type, name);
    assert!((1..=MAX_EXTENSION_CHARS).contains(&extension.len()));
    assert!(extension.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()));
    assert!(
        extension_fits(&format!("a.{extension}"), &media_type) || extension_fits(name, &media_type)
    );
});
