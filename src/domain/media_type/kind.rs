//! User-facing categories of files, for filters and icons.

use super::SUPPORTED_DOCUMENTS;

/// The category of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A picture.
    Image,
    /// A PDF.
    Pdf,
    /// A word-processor document or a presentation.
    Document,
    /// A spreadsheet, including CSV.
    Spreadsheet,
    /// Audio.
    Audio,
    /// Video.
    Video,
    /// An archive, such as a ZIP file.
    Archive,
    /// Plain text.
    Text,
    /// Anything else.
    Other,
}

impl FileKind {
    /// All kinds with their names. Files of the last five are not accepted yet, so filters by them
    /// match nothing. They are listed so that clients need no change once one is.
    pub const NAMED: [(&'static str, Self); 9] = [
        ("image", Self::Image),
        ("pdf", Self::Pdf),
        ("document", Self::Document),
        ("spreadsheet", Self::Spreadsheet),
        ("audio", Self::Audio),
        ("video", Self::Video),
        ("archive", Self::Archive),
        ("text", Self::Text),
        ("other", Self::Other),
    ];

    /// The kind of a canonical MIME type.
    pub fn of(mime_type: &str) -> Self {
        let has = |part: &str| mime_type.contains(part);
        match mime_type.split_once('/') {
            Some(("image", _)) => Self::Image,
            Some(("audio", _)) => Self::Audio,
            Some(("video", _)) => Self::Video,
            Some((_, "pdf")) => Self::Pdf,
            Some((_, "csv" | "vnd.ms-excel")) => Self::Spreadsheet,
            Some((_, "msword" | "vnd.ms-powerpoint")) => Self::Document,
            Some(("application", _)) if has("spreadsheetml") => Self::Spreadsheet,
            Some(("application", _)) if has("wordprocessingml") || has("presentationml") => {
                Self::Document
            }
            Some(("text", _)) => Self::Text,
            _ => Self::Other,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::NAMED.iter().find(|(_, kind)| *kind == self).map_or("other", |(name, _)| name)
    }
}

/// The MIME types of these kinds, each between commas, with `image/*` for all images. Without kinds
/// it is `,*,`, which stands for every type.
pub fn types_of(kinds: &[FileKind]) -> String {
    if kinds.is_empty() {
        return ",*,".to_owned();
    }
    let documents = SUPPORTED_DOCUMENTS.iter().filter(|kind| kinds.contains(&FileKind::of(kind)));
    let images = kinds.contains(&FileKind::Image).then_some(&"image/*");
    documents.chain(images).fold(",".to_owned(), |list, name| list + name + ",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accepted_type_has_a_kind() {
        for document in SUPPORTED_DOCUMENTS {
            assert_ne!(FileKind::of(document), FileKind::Other, "{document}");
        }
        assert_eq!(FileKind::of("image/heic").as_str(), "image");
        assert_eq!(FileKind::of("text/csv").as_str(), "spreadsheet");
        assert_eq!(FileKind::of("application/msword").as_str(), "document");
        assert_eq!(FileKind::of("application/x-unknown").as_str(), "other");
    }

    #[test]
    fn kinds_become_types() {
        assert_eq!(types_of(&[]), ",*,");
        assert_eq!(types_of(&[FileKind::Pdf, FileKind::Image]), ",application/pdf,image/*,");
        assert_eq!(types_of(&[FileKind::Audio]), ",");
    }
}
