//! Holds the announced type, the type of the upload request, the file name and the bytes against
//! each other, and says which type is stored (bar S3, contract §16).

use super::found::{Found, OoxmlKind};
use crate::domain::media_type::{
    MediaType, canonical, extension_fits, extension_of, type_of_extension,
};

/// Longest `Content-Type` that is repeated in an error, in characters; it is the longest a
/// `mimeType` may be (contract §4).
const MAX_SENT_CHARS: usize = 255;

/// Image formats that are text by nature, so their content is allowed to be text.
const TEXTUAL_IMAGES: &[&str] =
    &["image/vnd.dxf", "image/x-dxf", "image/x-xbitmap", "image/x-xbm", "image/x-xpixmap"];

/// Types that differ only in how a picture is used or coded inside one format.
const FAMILIES: &[&[&str]] = &[
    &["image/png", "image/apng", "image/vnd.mozilla.apng"],
    &["image/heic", "image/heif", "image/heic-sequence", "image/heif-sequence"],
    &["image/avif", "image/avif-sequence"],
    &["image/jp2", "image/jpx", "image/jpm"],
    &["image/vnd.adobe.photoshop", "image/x-photoshop", "image/x-psd", "image/psd"],
];

/// What the upload request said its body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing, or what clients add by themselves.
    Unspecified,
    /// `application/octet-stream`: the server is to find out (contract §8).
    OctetStream,
    /// A type in lower case and without parameters.
    Type(String),
}

impl Sent {
    /// Reads a `Content-Type` header.
    ///
    /// `text/plain`, form and multipart types say how a client sends, not what it sends: `fetch`
    /// and `curl` add them unasked.
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

/// Why an upload does not agree with itself; the texts are predicates for API users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeMismatch {
    /// The request's `Content-Type` is not the declared type.
    #[error("was announced as {declared}, but sent as {sent}")]
    Sent {
        /// The type given to generate.
        declared: MediaType,
        /// The type of the upload request.
        sent: String,
    },
    /// The bytes are something else.
    #[error("was announced as {declared}, but holds {found}")]
    Content {
        /// The type given to generate.
        declared: MediaType,
        /// The content in words, see [`Found::name`].
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
/// `declared` is the type given to generate, `file_name` the final name and `found` what the
/// bytes are. With [`Sent::OctetStream`] the content may correct the declaration, as long as the
/// name's extension fits; otherwise all four must agree.
///
/// # Errors
///
/// The first [`TypeMismatch`] in the order of its variants.
pub fn decide(
    declared: &MediaType,
    sent: Sent,
    file_name: &str,
    found: &Found,
) -> Result<MediaType, TypeMismatch> {
    match sent {
        Sent::Type(sent) if !is_same_family(declared.as_str(), &sent) => {
            return Err(TypeMismatch::Sent { declared: declared.clone(), sent });
        }
        Sent::OctetStream => {
            if let Some(detected) = detect(declared, file_name, *found) {
                return Ok(detected);
            }
        }
        Sent::Type(_) | Sent::Unspecified => {}
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

/// The supported type that content and extension agree on, close to the declared one.
fn detect(declared: &MediaType, file_name: &str, found: Found) -> Option<MediaType> {
    let detected = match found {
        // Content that leaves its type open is settled by the extension.
        Found::Text | Found::EncryptedOffice => extension_of(file_name)
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

/// Whether content of this kind may carry this type.
fn may_hold(media_type: &MediaType, found: Found) -> bool {
    let name = media_type.as_str();
    match name {
        "text/csv" => found == Found::Text,
        "application/pdf" => found == Found::Pdf,
        "application/msword" => matches!(found, Found::Doc | Found::EncryptedOffice),
        "application/vnd.ms-excel" => matches!(found, Found::Xls | Found::EncryptedOffice),
        "application/vnd.ms-powerpoint" => matches!(found, Found::Ppt | Found::EncryptedOffice),
        "image/x-ms-bmp" => found == Found::Bmp,
        _ => match known_image(name) {
            Some(kind) => found == kind,
            None if media_type.is_image() => may_be_image(name, found),
            None => is_ooxml(name, found),
        },
    }
}

/// The content of the image types that have one certain magic.
fn known_image(name: &str) -> Option<Found> {
    const KNOWN: &[(&str, Found)] = &[
        ("image/jpeg", Found::Jpeg),
        ("image/gif", Found::Gif),
        ("image/png", Found::Png),
        ("image/heic", Found::Heic),
        ("image/avif", Found::Avif),
        ("image/jxl", Found::Jxl),
        ("image/jp2", Found::Jp2),
        ("image/vnd.adobe.photoshop", Found::Psd),
    ];
    KNOWN.iter().find(|(known, _)| is_same_family(known, name)).map(|(_, found)| *found)
}

/// For the open end of `image/*`: any picture or unknown content, nothing known to be else.
fn may_be_image(name: &str, found: Found) -> bool {
    found.is_raster()
        || found == Found::Unknown
        || (found == Found::Text && TEXTUAL_IMAGES.contains(&name))
}

fn is_ooxml(name: &str, found: Found) -> bool {
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
        Found::Ooxml(kind) => kind.mime() == name,
        Found::EncryptedOffice => KINDS.iter().any(|kind| kind.mime() == name),
        _ => false,
    }
}
