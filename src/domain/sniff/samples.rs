//! Small files of every kind, generated so that none needs to be in the repository.

use std::io::{Cursor, Write};

use zip::write::{SimpleFileOptions, ZipWriter};

use super::{ContentKind, OoxmlKind};

pub(super) const DOCX: &str =
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
pub(super) const DOTX: &str =
    "application/vnd.openxmlformats-officedocument.wordprocessingml.template";
pub(super) const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
pub(super) const XLTX: &str =
    "application/vnd.openxmlformats-officedocument.spreadsheetml.template";
pub(super) const PPTX: &str =
    "application/vnd.openxmlformats-officedocument.presentationml.presentation";
pub(super) const POTX: &str =
    "application/vnd.openxmlformats-officedocument.presentationml.template";
pub(super) const PPSX: &str =
    "application/vnd.openxmlformats-officedocument.presentationml.slideshow";

/// A file, its kind, and every known type that it may be stored as.
pub(super) struct Sample {
    pub(super) label: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) found: ContentKind,
    pub(super) fits: &'static [&'static str],
}

/// Every sample: first the supported kinds, then the unsupported ones.
pub(super) fn samples() -> Vec<Sample> {
    let mut all = images();
    all.extend(documents());
    all.extend(unsupported());
    all
}

fn sample(
    label: &'static str,
    bytes: impl Into<Vec<u8>>,
    found: ContentKind,
    fits: &'static [&'static str],
) -> Sample {
    Sample { label, bytes: bytes.into(), found, fits }
}

fn images() -> Vec<Sample> {
    const PNG: &[&str] = &["image/png", "image/apng"];
    const HEIC: &[&str] = &["image/heic", "image/heif"];
    let png = b"\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0".to_vec();
    let apng = [&png[..], b"\x90wS\xDE\0\0\0\x08acTL\0\0\0\x01\0\0\0\0"].concat();
    let bmp = [&b"BM\x3A\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"[..], &[1; 40]].concat();
    vec![
        sample(
            "jpeg",
            *b"\xFF\xD8\xFF\xE0\0\x10JFIF\0\x01\x01\0\0\x01",
            ContentKind::Jpeg,
            &["image/jpeg"],
        ),
        sample(
            "exif jpeg",
            *b"\xFF\xD8\xFF\xE1\0\x10Exif\0\0MM\0*",
            ContentKind::Jpeg,
            &["image/jpeg"],
        ),
        sample("truncated jpeg", *b"\xFF\xD8\xFF", ContentKind::Jpeg, &["image/jpeg"]),
        sample("png", png.clone(), ContentKind::Png, PNG),
        sample("apng", apng, ContentKind::Png, PNG),
        sample("png with page", [&png[..], b"<html><script>"].concat(), ContentKind::Png, PNG),
        sample("gif", *b"GIF89a\x01\0\x01\0\0\0\0;", ContentKind::Gif, &["image/gif"]),
        sample("gif87a", *b"GIF87a\x01\0\x01\0\0\0\0;", ContentKind::Gif, &["image/gif"]),
        sample(
            "gif with script",
            *b"GIF89a/*\0\0*/=1;alert(1)//;",
            ContentKind::Gif,
            &["image/gif"],
        ),
        sample("heic", *b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\0", ContentKind::Heic, HEIC),
        sample("heif", *b"\0\0\0\x14ftypmif1\0\0\0\0mif1\0\0\0\0", ContentKind::Heic, HEIC),
        sample("avif", *b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", ContentKind::Avif, &["image/avif"]),
        sample(
            "mif1 avif",
            *b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif",
            ContentKind::Avif,
            &["image/avif"],
        ),
        sample("jxl", *b"\xFF\x0A\xFA\x1F\0\x91\x08\x06", ContentKind::Jxl, &["image/jxl"]),
        sample(
            "jxl in boxes",
            *b"\0\0\0\x0CJXL \r\n\x87\n\0\0\0\x14ftypjxl ",
            ContentKind::Jxl,
            &["image/jxl"],
        ),
        sample(
            "jp2",
            *b"\0\0\0\x0CjP  \r\n\x87\n\0\0\0\x14ftypjp2 ",
            ContentKind::Jp2,
            &["image/jp2"],
        ),
        sample("j2k", *b"\xFF\x4F\xFF\x51\0\x2F\0\0", ContentKind::Jp2, &["image/jp2"]),
        sample("psd", *b"8BPS\0\x01\0\0\0\0\0\0", ContentKind::Psd, &["image/vnd.adobe.photoshop"]),
        sample("bmp", bmp, ContentKind::Bmp, &["image/x-ms-bmp"]),
    ]
}

fn documents() -> Vec<Sample> {
    const CSV: &[&str] = &["text/csv"];
    const PDF: &[&str] = &["application/pdf"];
    const PROTECTED: &[&str] = &[
        DOCX,
        DOTX,
        XLSX,
        XLTX,
        PPTX,
        POTX,
        PPSX,
        "application/msword",
        "application/vnd.ms-excel",
        "application/vnd.ms-powerpoint",
    ];
    let pdf_after_junk = [&b"\0junk\n"[..], b"%PDF-1.4\n"].concat();
    let utf16_csv: Vec<u8> =
        "\u{FEFF}name;город\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        sample("pdf", *b"%PDF-1.7\n%\xE2\xE3\xCF\xD3\n", ContentKind::Pdf, PDF),
        sample("pdf after junk", pdf_after_junk, ContentKind::Pdf, PDF),
        sample(
            "pdf with zip",
            [&b"%PDF-1.7\n"[..], &zip(&[("a", b"b")])].concat(),
            ContentKind::Pdf,
            PDF,
        ),
        sample("docx", ooxml(DOCX), ContentKind::Ooxml(OoxmlKind::Docx), &[DOCX]),
        sample("dotx", ooxml(DOTX), ContentKind::Ooxml(OoxmlKind::Dotx), &[DOTX]),
        sample("xlsx", ooxml(XLSX), ContentKind::Ooxml(OoxmlKind::Xlsx), &[XLSX]),
        sample("xltx", ooxml(XLTX), ContentKind::Ooxml(OoxmlKind::Xltx), &[XLTX]),
        sample("pptx", ooxml(PPTX), ContentKind::Ooxml(OoxmlKind::Pptx), &[PPTX]),
        sample("potx", ooxml(POTX), ContentKind::Ooxml(OoxmlKind::Potx), &[POTX]),
        sample("ppsx", ooxml(PPSX), ContentKind::Ooxml(OoxmlKind::Ppsx), &[PPSX]),
        sample(
            "docx, types last",
            ooxml_types_last(DOCX),
            ContentKind::Ooxml(OoxmlKind::Docx),
            &[DOCX],
        ),
        sample("doc", ole(&["WordDocument", "1Table"]), ContentKind::Doc, &["application/msword"]),
        sample("xls", ole(&["Workbook"]), ContentKind::Xls, &["application/vnd.ms-excel"]),
        sample("xls 5", ole(&["Book"]), ContentKind::Xls, &["application/vnd.ms-excel"]),
        sample(
            "ppt",
            ole(&["Current User", "PowerPoint Document"]),
            ContentKind::Ppt,
            &["application/vnd.ms-powerpoint"],
        ),
        sample(
            "password-protected",
            ole(&["EncryptionInfo", "EncryptedPackage"]),
            ContentKind::EncryptedOffice,
            PROTECTED,
        ),
        sample("csv", *b"name,age\r\nAda,36\r\n", ContentKind::Text, CSV),
        sample("csv with bom", *b"\xEF\xBB\xBFname,age\n", ContentKind::Text, CSV),
        sample("utf-16 csv", utf16_csv, ContentKind::Text, CSV),
        sample("latin-1 csv", *b"name;stra\xDFe\r\nM\xFCller;1\r\n", ContentKind::Text, CSV),
        sample("csv of cars", *b"BMW,MZ-14,PK\nBMW,MZ-15,PK\n", ContentKind::Text, CSV),
        sample("csv on files", *b"magic,kind\n%PDF-,pdf\n<html>,page\n", ContentKind::Text, CSV),
    ]
}

fn unsupported() -> Vec<Sample> {
    let tar = [&[b'a'; 257][..], b"ustar\x0000"].concat();
    let docm = types_part("application/vnd.ms-word.document.macroEnabled.main+xml");
    let utf16_page: Vec<u8> =
        "\u{FEFF}<Script>".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let program = [&b"MZ\x90\0\x03\0"[..], &[0; 64]].concat();
    let svg = b"<?xml version=\"1.0\"?>\n<!-- a -->\n<!DOCTYPE svg>\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>";
    vec![
        sample("webp", *b"RIFF\x24\0\0\0WEBPVP8 ", ContentKind::Webp, &[]),
        sample("tiff", *b"II*\0\x08\0\0\0", ContentKind::Tiff, &[]),
        sample("ico", *b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0", ContentKind::Ico, &[]),
        sample("svg", *b" \n<SVG onload=alert(1)>", ContentKind::Svg, &[]),
        sample("svg in xml", *svg, ContentKind::Svg, &[]),
        sample(
            "prefixed svg",
            *b"<s:svg xmlns:s='http://www.w3.org/2000/svg'/>",
            ContentKind::Svg,
            &[],
        ),
        sample("html", *b"\xEF\xBB\xBF \r\n<!DocType  HTML><p>", ContentKind::Html, &[]),
        sample("script page", *b"<script/src=//x>", ContentKind::Html, &[]),
        sample(
            "xhtml",
            *b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'/>",
            ContentKind::Html,
            &[],
        ),
        sample("utf-16 page", utf16_page, ContentKind::Html, &[]),
        sample("page with NUL", *b"<iframe src=x>\0", ContentKind::Html, &[]),
        sample("xml", *b"<?xml version='1.0'?><a/>", ContentKind::Other("an XML document"), &[]),
        sample("mhtml", *b"MIME-Version: 1.0\r\n", ContentKind::Other("a web archive"), &[]),
        sample("zip", zip(&[("a.txt", b"hello")]), ContentKind::Zip, &[]),
        sample("broken zip", *b"PK\x03\x04 and no more", ContentKind::Zip, &[]),
        sample(
            "docm",
            zip(&[("[Content_Types].xml", docm.as_bytes())]),
            ContentKind::OoxmlOther,
            &[],
        ),
        sample("msi", ole(&["SummaryInformation"]), ContentKind::OleOther, &[]),
        sample("broken ole", *b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", ContentKind::OleOther, &[]),
        sample("doc and xls", ole(&["WordDocument", "Workbook"]), ContentKind::OleOther, &[]),
        sample("exe", program, ContentKind::Other("a Windows program"), &[]),
        sample("elf", *b"\x7FELF\x02\x01", ContentKind::Other("an ELF program"), &[]),
        sample("gzip", *b"\x1F\x8B\x08\0", ContentKind::Other("a gzip archive"), &[]),
        sample("tar", tar, ContentKind::Other("a tar archive"), &[]),
        sample("rtf", *b"{\\rtf1\\ansi}", ContentKind::Other("an RTF document"), &[]),
        sample("mp4", *b"\0\0\0\x18ftypisom\0\0\0\0isom", ContentKind::Other("MP4 video"), &[]),
        sample("script", *b"#!/bin/sh\n", ContentKind::Other("a script"), &[]),
        sample("raw", *b"\0\0\0\x18ftypcrx \0\0\0\x01", ContentKind::Unknown, &[]),
        sample("noise", *b"\x01\x02\x03\x04\xFE\0\x05", ContentKind::Unknown, &[]),
        sample("empty", *b"", ContentKind::Unknown, &[]),
    ]
}

/// A compressed archive of these entries.
pub(super) fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A content types part whose main part has this content type.
pub(super) fn types_part(main: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><Types xmlns=\"http://schemas.openxmlformats.org/package/2006/\
         content-types\"><Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-\
         package.relationships+xml\"/><Override PartName=\"/main.xml\" ContentType=\"{main}\"/>\
         </Types>"
    )
}

/// A package of a supported kind with the content types part first, as Office writes it.
pub(super) fn ooxml(media_type: &str) -> Vec<u8> {
    let types = types_part(&format!("{media_type}.main+xml"));
    zip(&[
        ("[Content_Types].xml", types.as_bytes()),
        ("_rels/.rels", b"<r/>"),
        ("main.xml", b"<m/>"),
    ])
}

fn ooxml_types_last(media_type: &str) -> Vec<u8> {
    let types = types_part(&format!("{media_type}.main+xml"));
    zip(&[
        ("main.xml", b"<m/>"),
        ("_rels/.rels", b"<r/>"),
        ("[content_types].XML", types.as_bytes()),
    ])
}

/// An OLE compound file with streams of these names.
pub(super) fn ole(streams: &[&str]) -> Vec<u8> {
    let mut file = cfb::CompoundFile::create(Cursor::new(Vec::new())).unwrap();
    for name in streams {
        file.create_stream(name).unwrap().write_all(b"content").unwrap();
    }
    file.into_inner().into_inner()
}
