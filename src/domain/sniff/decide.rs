//! Compares the declared type, the type of the upload request, the file name and the content, and
//! decides which type is stored (S3, contract §16).

use super::found::{ContentKind, OoxmlKind};
use crate::domain::media_type::{
    MediaType, canonical, extension_fits, extension_of, type_of_extension,
};

/// Longest `Content-Type` that an error repeats, in characters: the maximum length of a `mimeType`
/// (contract §4).
const MAX_SENT_CHARS: usize = 255;

/// Image formats that are text, so their content may be text.
const TEXTUAL_IMAGES: &[&str] =
    &["image/vnd.dxf", "image/x-dxf", "image/x-xbitmap", "image/x-xbm", "image/x-xpixmap"];

/// Groups of types that share one format and differ only in how a picture is used or encoded.
const FAMILIES: &[&[&str]] = &[
    &["image/png", "image/apng", "image/vnd.mozilla.apng"],
    &["image/heic", "image/heif", "image/heic-sequence", "image/heif-sequence"],
    &["image/avif", "image/avif-sequence"],
    &["image/jp2", "image/jpx", "image/jpm"],
    &["image/vnd.adobe.photoshop", "image/x-photoshop", "image/x-psd", "image/psd"],
];

/// The `Content-Type` of an upload request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentContentType {
    /// None, or one that clients add by themselves.
    Unspecified,
    /// `application/octet-stream`: the server detects the type (contract §8).
    OctetStream,
    /// A type in lower case and without parameters.
    Type(String),
}

impl SentContentType {
    /// Parses a `Content-Type` header.
    ///
    /// `text/plain`, form and multipart types are ignored, because `fetch` and `curl` add them by
    /// default and they do not describe the file.
    pub fn from_header(header: Option<&str>) -> Self {
        let essence: String =
            canonical(header.unwrap_or_default()).chars().take(MAX_SENT_CHARS).collect();
        match essence.as_str() {
            "" | "text/plain" | "application/x-www-form-urlencoded" => Self::Unspecified,
            multipart if multipart.starts_with("multipart/") => Self::Unspecified,
            "application/octet-stream" => Self::OctetStream,
            _ => Self::Type(essence),
        }
    }
}

/// How the types of an upload contradict each other; the texts are predicates for API users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeMismatch {
    /// The request's `Content-Type` is not the declared type.
    #[error("was declared as {declared}, but sent as {sent}")]
    ContentType {
        /// The type declared for the upload URL.
        declared: MediaType,
        /// The type of the upload request.
        sent: String,
    },
    /// The content is of another type.
    #[error("was declared as {declared}, but holds {found}")]
    Content {
        /// The type declared for the upload URL.
        declared: MediaType,
        /// The content's [`ContentKind::name`].
        found: &'static str,
    },
    /// The file name's extension belongs to another type.
    #[error("has the extension .{file_name_extension}, which does not belong to {media_type}")]
    Extension {
        /// The extension in lower case, without the dot.
        file_name_extension: String,
        /// The type of the content.
        media_type: MediaType,
    },
}

/// Decides the stored type of an upload.
///
/// `declared` is the type declared for the upload URL, `file_name` the final name and `found` the
/// detected content. With [`SentContentType::OctetStream`], the content may override the declared
/// type as long as the name's extension fits; otherwise all four must agree.
///
/// # Errors
///
/// The first [`TypeMismatch`] in the order of its variants.
pub fn decide(
    declared: &MediaType,
    sent: SentContentType,
    file_name: &str,
    found: &ContentKind,
) -> Result<MediaType, TypeMismatch> {
    match sent {
        SentContentType::Type(sent) if !is_same_family(declared.as_str(), &sent) => {
            return Err(TypeMismatch::ContentType { declared: declared.clone(), sent });
        }
        SentContentType::OctetStream => {
            if let Some(detected) = detect(declared, file_name, *found) {
                return Ok(detected);
            }
        }
        SentContentType::Type(_) | SentContentType::Unspecified => {}
    }
    if !may_hold(declared, *found) {
        let declared = declared.clone();
        return Err(TypeMismatch::Content { declared, found: found.name() });
    }
    if !extension_fits(file_name, declared) {
        let file_name_extension = extension_of(file_name).unwrap_or_default();
        let media_type = declared.clone();
        return Err(TypeMismatch::Extension { file_name_extension, media_type });
    }
    Ok(declared.clone())
}

/// The supported type that content and extension agree on. Within a family of types, the declared
/// one is preferred.
fn detect(declared: &MediaType, file_name: &str, found: ContentKind) -> Option<MediaType> {
    let detected = match found {
        // The extension decides where the content is ambiguous.
        ContentKind::Text | ContentKind::EncryptedOffice => extension_of(file_name)
            .and_then(|extension| type_of_extension(&extension))
            .filter(|named| may_hold(named, found)),
        _ => found.media_type(),
    }?;
    [declared, &detected]
        .into_iter()
        .find(|candidate| {
            is_same_family(candidate.as_str(), detected.as_str())
                && extension_fits(file_name, candidate)
        })
        .cloned()
}

fn is_same_family(one: &str, other: &str) -> bool {
    one == other || FAMILIES.iter().any(|family| family.contains(&one) && family.contains(&other))
}

/// Whether content of this kind may be stored as this type.
fn may_hold(media_type: &MediaType, found: ContentKind) -> bool {
    let name = media_type.as_str();
    match name {
        "text/csv" => found == ContentKind::Text,
        "application/pdf" => found == ContentKind::Pdf,
        "application/msword" => matches!(found, ContentKind::Doc | ContentKind::EncryptedOffice),
        "application/vnd.ms-excel" => {
            matches!(found, ContentKind::Xls | ContentKind::EncryptedOffice)
        }
        "application/vnd.ms-powerpoint" => {
            matches!(found, ContentKind::Ppt | ContentKind::EncryptedOffice)
        }
        "image/x-ms-bmp" => found == ContentKind::Bmp,
        _ => match known_image(name) {
            Some(kind) => found == kind,
            None if media_type.is_image() => may_be_image(name, found),
            None => is_ooxml(name, found),
        },
    }
}

/// The content of image types that have a unique signature.
fn known_image(name: &str) -> Option<ContentKind> {
    const KNOWN: &[(&str, ContentKind)] = &[
        ("image/jpeg", ContentKind::Jpeg),
        ("image/gif", ContentKind::Gif),
        ("image/png", ContentKind::Png),
        ("image/heic", ContentKind::Heic),
        ("image/avif", ContentKind::Avif),
        ("image/jxl", ContentKind::Jxl),
        ("image/jp2", ContentKind::Jp2),
        ("image/vnd.adobe.photoshop", ContentKind::Psd),
    ];
    KNOWN.iter().find(|(known, _)| is_same_family(known, name)).map(|(_, found)| *found)
}

/// For other `image/*` types: any raster image or unknown content, but nothing known to be
/// something else.
fn may_be_image(name: &str, found: ContentKind) -> bool {
    found.is_raster()
        || found == ContentKind::Unknown
        || (found == ContentKind::Text && TEXTUAL_IMAGES.contains(&name))
}

fn is_ooxml(name: &str, found: ContentKind) -> bool {
    const KINDS: [OoxmlKind; 7] = [
        OoxmlKind::Docx,
        OoxmlKind::Dotx,
        OoxmlKind::Xlsx,
        OoxmlKind::Xltx,
        OoxmlKind::Pptx,
        OoxmlKind::Potx,
        OoxmlKind::Ppsx,
    ];
    match found {
        ContentKind::Ooxml(kind) => kind.mime() == name,
        ContentKind::EncryptedOffice => KINDS.iter().any(|kind| kind.mime() == name),
        _ => false,
    }
}
