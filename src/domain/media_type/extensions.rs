//! Maps file name extensions to types (S3).
//! It uses names only, in the sanitised form that a downloading system acts on.

use super::MediaType;
use crate::domain::file_name::display_name;

/// Longest extension that is recognised, in characters.
pub const MAX_EXTENSION_CHARS: usize = 10;

/// Types and the extensions they may have, the preferred one first. Camera raw formats and drawings
/// are omitted on purpose: each has too many type names in use.
const EXTENSIONS: &[(&str, &[&str])] = &[
    ("text/csv", &["csv"]),
    ("application/msword", &["doc", "dot"]),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", &["docx"]),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.template", &["dotx"]),
    ("application/vnd.ms-excel", &["xls", "xlt"]),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", &["xlsx"]),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.template", &["xltx"]),
    ("application/vnd.ms-powerpoint", &["ppt", "pps", "pot"]),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", &["pptx"]),
    ("application/vnd.openxmlformats-officedocument.presentationml.template", &["potx"]),
    ("application/vnd.openxmlformats-officedocument.presentationml.slideshow", &["ppsx"]),
    ("application/pdf", &["pdf"]),
    ("image/jpeg", &["jpg", "jpeg", "jpe", "jfif", "pjpeg", "pjp"]),
    ("image/png", &["png", "apng"]),
    ("image/apng", &["apng", "png"]),
    ("image/vnd.mozilla.apng", &["apng", "png"]),
    ("image/gif", &["gif"]),
    ("image/heic", &["heic", "heif", "hif"]),
    ("image/heif", &["heif", "heic", "hif"]),
    ("image/heic-sequence", &["heics", "heic", "heif"]),
    ("image/heif-sequence", &["heifs", "heif", "heic"]),
    ("image/avif", &["avif", "avifs"]),
    ("image/avif-sequence", &["avifs", "avif"]),
    ("image/jxl", &["jxl"]),
    ("image/jp2", &["jp2", "j2k", "jpg2"]),
    ("image/jpx", &["jpx", "jpf", "jp2"]),
    ("image/jpm", &["jpm", "jp2"]),
    ("image/vnd.adobe.photoshop", &["psd"]),
    ("image/x-photoshop", &["psd"]),
    ("image/x-psd", &["psd"]),
    ("image/psd", &["psd"]),
    ("image/x-ms-bmp", &["bmp", "dib"]),
];

/// Well-known extensions of unsupported types, so that `x.exe` is not accepted as a picture with an
/// unusual extension.
const UNSUPPORTED_EXTENSIONS: &[&str] = &[
    // Programs and scripts.
    "exe", "dll", "com", "scr", "msi", "bat", "cmd", "ps1", "vbs", "vbe", "js", "mjs", "jse", "ts",
    "wsf", "wsh", "hta", "jar", "class", "app", "apk", "ipa", "dmg", "pkg", "deb", "rpm", "iso",
    "img", "vhd", "sh", "bash", "py", "php", "phtml", "pl", "rb", "lnk", "url", "reg", "cpl",
    "pif", "chm", "so", "bin", "wasm", "swf", // Pages and markup.
    "html", "htm", "xhtml", "xht", "shtml", "mht", "mhtml", "xml", "xsl", "xslt", "svg", "svgz",
    "css", "asp", "aspx", "jsp", // Archives.
    "zip", "rar", "7z", "gz", "tgz", "tar", "bz2", "xz", "zst", "cab", // Text.
    "txt", "md", "rtf", "json", "log", "tsv", "ini", "yaml", "yml", "sql", "ics", "vcf", "eml",
    "msg", // Office files outside the list, those with macros above all.
    "docm", "dotm", "xlsm", "xltm", "xlsb", "xlam", "xla", "xll", "pptm", "potm", "ppsm", "ppam",
    "ppa", "odt", "ods", "odp", "odg", "epub", "pages", "numbers", "vsd", "vsdx", "mdb", "accdb",
    "one", "pub", "eps", "ps", "xps", // Rejected images.
    "webp", "tif", "tiff", "ico", "cur", "pcx", "xcf", "pict", "pct", "pic", "pbm", "pgm", "ppm",
    "pnm", "sgi", // Audio and video.
    "mp3", "mp4", "m4a", "m4v", "mov", "avi", "mkv", "webm", "wav", "ogg", "flac", "wmv", "mpg",
    "mpeg", "3gp", "aac",
];

/// The extensions (lower case, no dot) that the type may have, the preferred one first. Empty for
/// types outside the table, such as most of `image/*`.
pub fn extensions_of(media_type: &MediaType) -> &'static [&'static str] {
    EXTENSIONS
        .iter()
        .find(|(name, _)| *name == media_type.as_str())
        .map_or(&[], |(_, extensions)| *extensions)
}

/// The first type in the table that may have this extension.
pub(in crate::domain) fn type_of_extension(extension: &str) -> Option<MediaType> {
    EXTENSIONS
        .iter()
        .find(|(_, extensions)| extensions.contains(&extension))
        .map(|(name, _)| MediaType::known(name))
}

/// The supported type that a name's extension implies, if any.
pub fn type_from_name(file_name: &str) -> Option<MediaType> {
    type_of_extension(&extension_of(file_name)?)
}

/// The extension of a name in lower case, without the dot.
///
/// `None` when there is none, or when it is not 1 to [`MAX_EXTENSION_CHARS`] ASCII letters and
/// digits. It is taken from the sanitised name, so `a.exe ` and `a.exe.` have the extension `exe`,
/// as on Windows.
pub fn extension_of(file_name: &str) -> Option<String> {
    let shown = display_name(file_name);
    let (_, extension) = shown.rsplit_once('.')?;
    let is_plain = (1..=MAX_EXTENSION_CHARS).contains(&extension.len())
        && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_plain.then(|| extension.to_ascii_lowercase())
}

/// Whether the name's extension is compatible with the type. Only a known extension of another
/// type, supported or not, is incompatible; a missing or unknown one fits every type.
pub fn extension_fits(file_name: &str, media_type: &MediaType) -> bool {
    let Some(extension) = extension_of(file_name) else { return true };
    let extension = extension.as_str();
    if extensions_of(media_type).contains(&extension) {
        return true;
    }
    !UNSUPPORTED_EXTENSIONS.contains(&extension) && type_of_extension(extension).is_none()
}

/// The media id's extension: the type's preferred one, else the name's, else `img` or `bin`.
pub fn media_extension(media_type: &MediaType, file_name: &str) -> String {
    let preferred = extensions_of(media_type).first().map(|extension| (*extension).to_owned());
    let fallback = if media_type.is_image() { "img" } else { "bin" };
    preferred.or_else(|| extension_of(file_name)).unwrap_or_else(|| fallback.to_owned())
}

/// The name of a file converted to `media_type`: a JPEG made from `photo.png` is `photo.jpg`. A
/// known extension is replaced; an unknown one is kept as part of the name.
pub fn name_for_type(file_name: &str, media_type: &MediaType) -> String {
    let shown = display_name(file_name);
    // WebP is rendered but not accepted, so it is not in the table.
    let webp: &[&str] = &["webp"];
    let is_webp = media_type.as_str() == "image/webp";
    let fitting = if is_webp { webp } else { extensions_of(media_type) };
    let Some(preferred) = fitting.first() else { return shown };
    let own = extension_of(&shown);
    let own = own.as_deref();
    if own.is_some_and(|own| fitting.contains(&own)) {
        return shown;
    }
    let is_known = own.is_some_and(|own| {
        UNSUPPORTED_EXTENSIONS.contains(&own) || type_of_extension(own).is_some()
    });
    let stem = match shown.rsplit_once('.') {
        Some((stem, _)) if is_known && !stem.is_empty() => stem,
        _ => &shown,
    };
    format!("{stem}.{preferred}")
}

#[cfg(test)]
mod tests {
    use super::super::{REJECTED_IMAGES, SUPPORTED_DOCUMENTS};
    use super::*;
    use proptest::prelude::*;

    fn of(name: &str) -> MediaType {
        MediaType::from_stored(name.to_owned())
    }

    #[test]
    fn converted_files_get_the_extension_of_their_type() {
        for (name, media_type, expected) in [
            ("photo.png", "image/jpeg", "photo.jpg"),
            ("photo.JPEG", "image/jpeg", "photo.JPEG"),
            ("photo.jpg", "image/png", "photo.png"),
            ("photo.jpg", "image/webp", "photo.webp"),
            ("scan.pdf", "image/jpeg", "scan.jpg"),
            ("Version 1.2", "image/jpeg", "Version 1.2.jpg"),
            ("a.tar.gz", "image/jpeg", "a.tar.jpg"),
            ("photo", "image/jpeg", "photo.jpg"),
            (".png", "image/jpeg", ".png.jpg"),
            ("", "image/jpeg", "file.jpg"),
            ("invoice_\u{202E}fdp.exe .", "image/png", "invoice_fdp.png"),
        ] {
            assert_eq!(name_for_type(name, &of(media_type)), expected, "{name:?}");
        }
    }

    #[test]
    fn extensions_are_parsed_as_by_the_downloading_system() {
        for (name, extension) in [
            ("a.tar.GZ", Some("gz")),
            ("a.PDF", Some("pdf")),
            ("a", None),
            ("a.", None),
            ("a.exe.", Some("exe")),
            ("a.exe \u{200B}", Some("exe")),
            ("photo.png\u{202E}gpj.exe", Some("exe")),
            ("x:evil.exe", Some("exe")),
            (".csv", Some("csv")),
            ("a.b c", None),
            ("a.jpé", None),
            ("a.abcdefghij", Some("abcdefghij")),
            ("a.abcdefghijk", None),
        ] {
            assert_eq!(extension_of(name).as_deref(), extension, "{name:?}");
        }
    }

    #[test]
    fn a_known_extension_fits_only_its_own_types() {
        let every = || EXTENSIONS.iter().flat_map(|(_, extensions)| extensions.iter());
        for (name, own) in EXTENSIONS {
            for extension in every() {
                let fits = extension_fits(&format!("a.{extension}"), &of(name));
                assert_eq!(fits, own.contains(extension), "{name} .{extension}");
            }
            for extension in UNSUPPORTED_EXTENSIONS {
                assert!(!extension_fits(&format!("a.{extension}"), &of(name)), "{extension}");
            }
        }
    }

    #[test]
    fn unknown_and_missing_extensions_fit_everything() {
        for name in ["a", "a.xyz", "a.cr2", "Dr. Smith", "v1.2"] {
            assert!(extension_fits(name, &of("image/png")), "{name}");
            assert!(extension_fits(name, &of("image/x-canon-cr2")), "{name}");
        }
        assert!(!extension_fits("a.png", &of("image/x-canon-cr2")));
    }

    #[test]
    fn the_tables_agree_with_the_lists_of_types() {
        for document in SUPPORTED_DOCUMENTS {
            assert!(!extensions_of(&of(document)).is_empty(), "{document}");
        }
        for (name, extensions) in EXTENSIONS {
            assert!(MediaType::parse(name).is_ok() && !REJECTED_IMAGES.contains(name), "{name}");
            for extension in *extensions {
                assert!(!UNSUPPORTED_EXTENSIONS.contains(extension), "{extension}");
            }
        }
    }

    #[test]
    fn media_ids_have_the_extension_of_the_type() {
        for (media_type, name, extension) in [
            ("image/jpeg", "a.jpeg", "jpg"),
            ("image/jpeg", "a", "jpg"),
            ("text/csv", "a.dat", "csv"),
            ("image/x-canon-cr2", "a.CR2", "cr2"),
            ("image/x-canon-cr2", "a", "img"),
            ("application/x-unheard-of", "a", "bin"),
        ] {
            assert_eq!(media_extension(&of(media_type), name), extension);
        }
    }

    proptest! {
        #[test]
        fn a_media_extension_is_always_safe(name in any::<String>(), suffix in "\\.[^a]{0,4}") {
            let extension = media_extension(&of("image/x-canon-cr2"), &format!("{name}{suffix}"));
            prop_assert!(!extension.is_empty() && extension.len() <= MAX_EXTENSION_CHARS);
            prop_assert!(extension.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
    }
}
