//! Kinds of files as people think of them, for filters and icons.

use super::SUPPORTED_DOCUMENTS;

/// What a person would call a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A picture.
    Image,
    /// A PDF.
    Pdf,
    /// A text or a presentation of an office program.
    Document,
    /// A table, CSV too.
    Spreadsheet,
    /// Sound.
    Audio,
    /// Film.
    Video,
    /// Files packed into one.
    Archive,
    /// Plain text.
    Text,
    /// Anything else.
    Other,
}

impl FileKind {
    /// All of them with their names. No file of the last five is accepted today, so filters by them find
    /// nothing; clients need not change on the day that one is.
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

    /// Of a canonical MIME type.
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

/// MIME types of some kinds, between commas and with `image/*` for all pictures; `,*,` for every type.
pub fn types_of(kinds: &[FileKind]) -> String {
    if kinds.is_empty() {
        return ",*,".to_owned();
    }
    let documents = SUPPORTED_DOCUMENTS.iter().filter(|kind| kinds.contains(&FileKind::of(kind)));
    let images = kinds.contains(&FileKind::Image).then_some(&"image/*");
    documents.chain(images).fold(",".to_owned(), |all, one| all + one + ",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accepted_type_has_a_kind_of_its_own() {
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
