//! The kinds of content that sniffing detects, and the supported type of each.

use crate::domain::media_type::MediaType;

/// The detected kind of a file's content, whatever was declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentKind {
    /// JPEG.
    Jpeg,
    /// PNG, animated ones included.
    Png,
    /// GIF.
    Gif,
    /// WebP.
    Webp,
    /// Windows bitmap.
    Bmp,
    /// TIFF and the camera raw formats built on it.
    Tiff,
    /// Windows icon or cursor.
    Ico,
    /// HEIF with HEVC or an unspecified codec.
    Heic,
    /// HEIF with AV1.
    Avif,
    /// JPEG XL.
    Jxl,
    /// JPEG 2000.
    Jp2,
    /// Photoshop.
    Psd,
    /// SVG, which can hold scripts.
    Svg,
    /// PDF.
    Pdf,
    /// A supported Office Open XML document.
    Ooxml(OoxmlKind),
    /// Another Office Open XML package, including every document with macros.
    OoxmlOther,
    /// A password-protected Office document, whose kind cannot be detected.
    EncryptedOffice,
    /// Word 97 to 2003.
    Doc,
    /// Excel 5 to 2003.
    Xls,
    /// `PowerPoint` 97 to 2003.
    Ppt,
    /// Another OLE compound file, or a broken one.
    OleOther,
    /// A ZIP archive that is not an Office document, or a broken one.
    Zip,
    /// HTML or XHTML.
    Html,
    /// Plain text of any kind, including CSV.
    Text,
    /// A well-known but unsupported kind; the name includes its article.
    Other(&'static str),
    /// An unknown kind.
    Unknown,
}

/// The supported kinds of Office Open XML documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OoxmlKind {
    /// Word document.
    Docx,
    /// Word template.
    Dotx,
    /// Excel workbook.
    Xlsx,
    /// Excel template.
    Xltx,
    /// `PowerPoint` presentation.
    Pptx,
    /// `PowerPoint` template.
    Potx,
    /// `PowerPoint` show.
    Ppsx,
}

impl OoxmlKind {
    /// The MIME type of a document of this kind.
    pub fn media_type(self) -> MediaType {
        MediaType::known(self.mime())
    }

    pub(super) fn mime(self) -> &'static str {
        match self {
            Self::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::Dotx => "application/vnd.openxmlformats-officedocument.wordprocessingml.template",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Xltx => "application/vnd.openxmlformats-officedocument.spreadsheetml.template",
            Self::Pptx => {
                "application/vnd.openxmlformats-officedocument.presentationml.presentation"
            }
            Self::Potx => "application/vnd.openxmlformats-officedocument.presentationml.template",
            Self::Ppsx => "application/vnd.openxmlformats-officedocument.presentationml.slideshow",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Docx => "a Word document (.docx)",
            Self::Dotx => "a Word template (.dotx)",
            Self::Xlsx => "an Excel workbook (.xlsx)",
            Self::Xltx => "an Excel template (.xltx)",
            Self::Pptx => "a PowerPoint presentation (.pptx)",
            Self::Potx => "a PowerPoint template (.potx)",
            Self::Ppsx => "a PowerPoint show (.ppsx)",
        }
    }
}

impl ContentKind {
    /// The supported type of the content.
    ///
    /// `None` for unsupported kinds, and where the content is ambiguous: plain text may or may not
    /// be CSV, and a password-protected Office document does not reveal its kind.
    pub fn media_type(&self) -> Option<MediaType> {
        let name = match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::Heic => "image/heic",
            Self::Avif => "image/avif",
            Self::Jxl => "image/jxl",
            Self::Jp2 => "image/jp2",
            Self::Psd => "image/vnd.adobe.photoshop",
            Self::Pdf => "application/pdf",
            Self::Ooxml(kind) => kind.mime(),
            Self::Doc => "application/msword",
            Self::Xls => "application/vnd.ms-excel",
            Self::Ppt => "application/vnd.ms-powerpoint",
            _ => return None,
        };
        Some(MediaType::known(name))
    }

    /// The kind's name with its article, for error texts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Jpeg => "a JPEG image",
            Self::Png => "a PNG image",
            Self::Gif => "a GIF image",
            Self::Webp => "a WebP image",
            Self::Bmp => "a BMP image",
            Self::Tiff => "a TIFF image",
            Self::Ico => "an icon",
            Self::Heic => "a HEIC image",
            Self::Avif => "an AVIF image",
            Self::Jxl => "a JPEG XL image",
            Self::Jp2 => "a JPEG 2000 image",
            Self::Psd => "a Photoshop image",
            Self::Svg => "an SVG image",
            Self::Pdf => "a PDF document",
            Self::Ooxml(kind) => kind.name(),
            Self::OoxmlOther => "an Office document of an unsupported kind",
            Self::EncryptedOffice => "a password-protected Office document",
            Self::Doc => "a Word document (.doc)",
            Self::Xls => "an Excel workbook (.xls)",
            Self::Ppt => "a PowerPoint presentation (.ppt)",
            Self::OleOther => "an OLE compound file of an unsupported kind",
            Self::Zip => "a ZIP archive",
            Self::Html => "an HTML page",
            Self::Text => "plain text",
            Self::Other(name) => name,
            Self::Unknown => "content of an unknown kind",
        }
    }

    /// Whether it is an image that cannot contain scripts.
    pub(super) fn is_raster(self) -> bool {
        matches!(
            self,
            Self::Jpeg
                | Self::Png
                | Self::Gif
                | Self::Webp
                | Self::Bmp
                | Self::Tiff
                | Self::Ico
                | Self::Heic
                | Self::Avif
                | Self::Jxl
                | Self::Jp2
                | Self::Psd
        )
    }
}
