//! The MIME types that an attachment may have (contract §13).
//! Only declarations are validated here; `sniff` checks the content.

mod extensions;
mod kind;

use std::fmt;

pub use kind::{FileKind, types_of};

pub(in crate::domain) use extensions::type_of_extension;
pub use extensions::{
    MAX_EXTENSION_CHARS, extension_fits, extension_of, extensions_of, media_extension,
    name_for_type, type_from_name,
};

/// The supported types other than images, in the order in which errors list them before `image/*`.
pub const SUPPORTED_DOCUMENTS: &[&str] = &[
    "text/csv",
    "application/msword",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.template",
    "application/vnd.ms-excel",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.template",
    "application/vnd.ms-powerpoint",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.openxmlformats-officedocument.presentationml.template",
    "application/vnd.openxmlformats-officedocument.presentationml.slideshow",
    "application/pdf",
];

/// The image types that are rejected although `image/*` is supported (contract §13).
///
/// The published list prints some of them with a stray quote or with U+2011 hyphens. Those
/// spellings are not valid type names, so [`MediaType::parse`] rejects them as malformed.
pub const REJECTED_IMAGES: &[&str] = &[
    "image/tiff",
    "image/svg+xml",
    "image/bmp",
    "image/x-bmp",
    "image/vnd.zbrush.pcx",
    "image/x-pcx",
    "image/x-xcf",
    "image/x-icon",
    "image/ico",
    "image/icon",
    "image/vnd.microsoft.icon",
    "image/x-pict",
    "image/x-portable-bitmap",
    "image/x-portable-graymap",
    "image/x-portable-pixmap",
    "image/x-portable-anymap",
    "image/sgi",
    "image/webp",
];

/// Longest subtype (RFC 6838 §4.2).
const MAX_SUBTYPE_CHARS: usize = 127;

/// A supported MIME type in canonical form: lower case, no parameters, no trailing slash
/// (contract §13).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MediaType(String);

/// The declared type is not supported; the text is a predicate (contract §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a supported MIME type")]
pub struct UnsupportedMediaType;

impl MediaType {
    /// Parses the `mimeType` of a request to generate an upload URL. Case, parameters and outer
    /// white space are ignored, and old names of JPEG and PNG become the registered ones.
    ///
    /// # Errors
    ///
    /// [`UnsupportedMediaType`] for everything that is neither in [`SUPPORTED_DOCUMENTS`] nor a
    /// well-formed image type outside [`REJECTED_IMAGES`].
    pub fn parse(declared: &str) -> Result<Self, UnsupportedMediaType> {
        if declared.chars().any(char::is_control) {
            return Err(UnsupportedMediaType);
        }
        let canonical = canonical(declared);
        let supported = match canonical.strip_prefix("image/") {
            Some(subtype) => is_subtype(subtype) && !REJECTED_IMAGES.contains(&canonical.as_str()),
            None => SUPPORTED_DOCUMENTS.contains(&canonical.as_str()),
        };
        if supported { Ok(Self(canonical)) } else { Err(UnsupportedMediaType) }
    }

    /// Wraps a stored value that [`MediaType::parse`] produced earlier.
    pub fn from_stored(stored: String) -> Self {
        Self(stored)
    }

    /// The type as text, for example `image/jpeg`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the vendor's `attachmentType` is `IMAGE` (contract §13).
    pub fn is_image(&self) -> bool {
        self.0.starts_with("image/")
    }

    /// A type from a table in this crate.
    pub(in crate::domain) fn known(name: &'static str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whether a browser displays the type without running anything in it (S11): common raster
/// images and PDF. Everything else is served as a download.
pub fn shows_inline(media_type: &MediaType) -> bool {
    matches!(
        media_type.as_str(),
        "image/jpeg" | "image/png" | "image/gif" | "image/avif" | "image/webp" | "application/pdf"
    )
}

/// The canonical form of any MIME type, supported or not.
pub(in crate::domain) fn canonical(declared: &str) -> String {
    let essence = declared.split(';').next().unwrap_or(declared).trim().to_ascii_lowercase();
    match essence.as_str() {
        "image/jpg" | "image/pjpeg" => "image/jpeg".to_owned(),
        "image/x-png" => "image/png".to_owned(),
        // Published with a trailing slash (contract §13).
        "application/vnd.ms-excel/" => "application/vnd.ms-excel".to_owned(),
        _ => essence,
    }
}

/// Whether it is a restricted name of RFC 6838 §4.2, which excludes wildcards, quotes and spaces.
fn is_subtype(subtype: &str) -> bool {
    subtype.len() <= MAX_SUBTYPE_CHARS
        && subtype.starts_with(|first: char| first.is_ascii_alphanumeric())
        && subtype.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(declared: &str) -> Option<String> {
        MediaType::parse(declared).ok().map(|media_type| media_type.as_str().to_owned())
    }

    #[test]
    fn every_documented_type_is_accepted() {
        for document in SUPPORTED_DOCUMENTS {
            assert_eq!(parsed(document).as_deref(), Some(*document));
            assert!(!MediaType::from_stored((*document).to_owned()).is_image());
        }
    }

    #[test]
    fn every_rejected_image_is_rejected() {
        for image in REJECTED_IMAGES {
            assert_eq!(parsed(image), None, "{image}");
            assert_eq!(parsed(&image.to_uppercase()), None, "{image}");
            // Some appear in the published list with this quote, or with those hyphens.
            assert_eq!(parsed(&format!("{image}\"")), None, "{image}");
            if image.contains('-') {
                assert_eq!(parsed(&image.replace('-', "\u{2011}")), None, "{image}");
            }
        }
    }

    #[test]
    fn spellings_are_normalised() {
        for (declared, canonical) in [
            ("IMAGE/PNG", "image/png"),
            (" image/png ; charset=utf-8", "image/png"),
            ("image/jpg", "image/jpeg"),
            ("image/pjpeg", "image/jpeg"),
            ("image/x-png", "image/png"),
            ("image/apng", "image/apng"),
            ("image/x-ms-bmp", "image/x-ms-bmp"),
            ("image/x-canon-cr2", "image/x-canon-cr2"),
            ("application/vnd.ms-excel/", "application/vnd.ms-excel"),
            ("text/csv;charset=UTF-8", "text/csv"),
        ] {
            assert_eq!(parsed(declared).as_deref(), Some(canonical), "{declared}");
        }
    }

    #[test]
    fn everything_else_is_rejected() {
        for declared in [
            "",
            "image",
            "image/",
            "image/*",
            "*/*",
            "image/png/",
            "image/.png",
            "image/a b",
            "image/a\"b",
            "image/a,b",
            "image/png\n",
            "image/png;\r\nx: y",
            "image/pn\0g",
            "image/é",
            "text/plain",
            "text/html",
            "application/zip",
            "application/octet-stream",
            "application/pdf/",
            "application/vnd.ms-excel//",
            "application/vnd.ms-word.document.macroenabled.12",
            "audio/mpeg",
            "video/mp4",
            &format!("image/{}", "a".repeat(128)),
        ] {
            assert_eq!(parsed(declared), None, "{declared:?}");
        }
    }

    #[test]
    fn only_harmless_types_are_displayed_inline() {
        for (declared, shows) in [
            ("image/jpeg", true),
            ("image/avif", true),
            ("application/pdf", true),
            ("text/csv", false),
            ("image/heic", false),
            ("image/x-canon-cr2", false),
            ("application/msword", false),
        ] {
            assert_eq!(shows_inline(&MediaType::from_stored(declared.to_owned())), shows);
        }
    }

    proptest! {
        #[test]
        fn a_parsed_type_parses_to_itself(declared in "(?i)image/[a-z.+*\" ;-]{0,12}|.{0,40}") {
            if let Ok(media_type) = MediaType::parse(&declared) {
                prop_assert_eq!(MediaType::parse(media_type.as_str()), Ok(media_type.clone()));
                let text = media_type.to_string();
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';'));
            }
        }
    }
}
