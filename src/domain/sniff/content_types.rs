//! Reads the kind of document from the `[Content_Types].xml` part of an Office Open XML package
//! (ECMA-376 part 2, §10.1.2).

use super::found::{ContentKind, OoxmlKind};

/// Most bytes of the unpacked part; real ones have a few kilobytes.
pub const MAX_CONTENT_TYPES_BYTES: u64 = 1024 * 1024;

/// Content types of main parts, without their common prefix and suffix.
const MAIN_PARTS: &[(&str, OoxmlKind)] = &[
    ("wordprocessingml.document", OoxmlKind::Docx),
    ("wordprocessingml.template", OoxmlKind::Dotx),
    ("spreadsheetml.sheet", OoxmlKind::Xlsx),
    ("spreadsheetml.template", OoxmlKind::Xltx),
    ("presentationml.presentation", OoxmlKind::Pptx),
    ("presentationml.template", OoxmlKind::Potx),
    ("presentationml.slideshow", OoxmlKind::Ppsx),
];

/// The part is not the XML that the standard requires.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

/// The kind of document that a content types part declares.
///
/// [`ContentKind::Zip`] when the part is malformed; [`ContentKind::OoxmlOther`] when it declares no
/// supported main part, several kinds of them, or macros.
pub(super) fn kind_of(part: &[u8]) -> ContentKind {
    let Some(xml) = decode(part) else { return ContentKind::Zip };
    let mut kinds = Vec::new();
    let mut has_macros = false;
    let read = visit_content_types(&xml, &mut |content_type| {
        let content_type = content_type.trim().to_ascii_lowercase();
        has_macros |= content_type.contains("macroenabled") || content_type.contains("vbaproject");
        if let Some(kind) = main_part(&content_type)
            && !kinds.contains(&kind)
        {
            kinds.push(kind);
        }
    });
    match (read, kinds.as_slice()) {
        (Err(Malformed), _) => ContentKind::Zip,
        (Ok(()), [kind]) if !has_macros => ContentKind::Ooxml(*kind),
        (Ok(()), _) => ContentKind::OoxmlOther,
    }
}

fn main_part(content_type: &str) -> Option<OoxmlKind> {
    let name = content_type
        .strip_prefix("application/vnd.openxmlformats-officedocument.")?
        .strip_suffix(".main+xml")?;
    MAIN_PARTS.iter().find(|(part, _)| *part == name).map(|(_, kind)| *kind)
}

/// XML parts are UTF-8 or UTF-16 (ECMA-376 part 2, §9.1.4).
fn decode(part: &[u8]) -> Option<String> {
    let units = |read_unit: fn([u8; 2]) -> u16| -> Option<String> {
        let (pairs, rest) = part.as_chunks::<2>();
        let text = char::decode_utf16(pairs.iter().map(|pair| read_unit(*pair)));
        if rest.is_empty() { text.collect::<Result<_, _>>().ok() } else { None }
    };
    if part.starts_with(b"\xFF\xFE") {
        units(u16::from_le_bytes)
    } else if part.starts_with(b"\xFE\xFF") {
        units(u16::from_be_bytes)
    } else {
        String::from_utf8(part.to_vec()).ok()
    }
}

/// Calls `visit` with the `ContentType` of every `Default` and `Override` element.
fn visit_content_types(xml: &str, visit: &mut impl FnMut(&str)) -> Result<(), Malformed> {
    let mut rest = xml;
    while let Some((_, markup)) = rest.split_once('<') {
        rest = if let Some(comment) = markup.strip_prefix("!--") {
            after(comment, "-->")?
        } else if let Some(instruction) = markup.strip_prefix('?') {
            after(instruction, "?>")?
        } else if markup.starts_with('!') {
            // A part must not have a document type declaration (ECMA-376 part 2, §9.1.4), and this
            // one has no text, so no CDATA either.
            return Err(Malformed);
        } else if let Some(end_tag) = markup.strip_prefix('/') {
            after(end_tag, ">")?
        } else {
            visit_element(markup, visit)?
        };
    }
    Ok(())
}

fn after<'a>(text: &'a str, end: &str) -> Result<&'a str, Malformed> {
    text.split_once(end).map(|(_, rest)| rest).ok_or(Malformed)
}

/// Parses a start tag after its `<` and returns what follows it.
fn visit_element<'a>(markup: &'a str, visit: &mut impl FnMut(&str)) -> Result<&'a str, Malformed> {
    let ends_name = |c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>' | '=');
    let (name, mut rest) = markup.split_at(markup.find(ends_name).ok_or(Malformed)?);
    let local_name = name.rsplit(':').next().unwrap_or(name);
    let is_listed = matches!(local_name, "Default" | "Override");
    loop {
        rest = rest.trim_ascii_start();
        if let Some(rest) = rest.strip_prefix("/>").or_else(|| rest.strip_prefix('>')) {
            return Ok(rest);
        }
        let (attribute, quoted) = rest.split_once('=').ok_or(Malformed)?;
        let quoted = quoted.trim_ascii_start();
        let quote = quoted.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or(Malformed)?;
        let (value, remainder) =
            quoted.strip_prefix(quote).and_then(|q| q.split_once(quote)).ok_or(Malformed)?;
        if is_listed && attribute.trim_ascii() == "ContentType" {
            // No media type needs a character reference, which could only hide the type.
            if value.contains(['&', '<']) {
                return Err(Malformed);
            }
            visit(value);
        }
        rest = remainder;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WORD: &str =
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml";
    const EXCEL: &str =
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml";

    fn kind(xml: &str) -> ContentKind {
        kind_of(xml.as_bytes())
    }

    #[test]
    fn forms_written_by_producers_are_parsed() {
        for xml in [
            format!(
                "<Types><Override PartName=\"/word/document.xml\" ContentType=\"{WORD}\"/></Types>"
            ),
            format!(
                "\u{FEFF}<?xml version='1.0'?><!-- > --><t:Types xmlns:t='x'>\n<t:Override ContentType = '{WORD}' PartName='/a>b'></t:Override></t:Types>"
            ),
            format!(
                "<Types><Default Extension=\"xml\" ContentType=\"{}\"/></Types>",
                WORD.to_uppercase()
            ),
            format!(
                "<Types><Override ContentType=\"{WORD}\"/><Override ContentType=\"{WORD}\"/></Types>"
            ),
        ] {
            assert_eq!(kind(&xml), ContentKind::Ooxml(OoxmlKind::Docx), "{xml}");
        }
    }

    #[test]
    fn utf_16_is_decoded() {
        let xml = format!("\u{FEFF}<Types><Override ContentType=\"{EXCEL}\"/></Types>");
        let little: Vec<u8> = xml.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = xml.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(kind_of(&little), ContentKind::Ooxml(OoxmlKind::Xlsx));
        assert_eq!(kind_of(&big), ContentKind::Ooxml(OoxmlKind::Xlsx));
    }

    #[test]
    fn macros_mixtures_and_unknown_parts_are_other_documents() {
        for xml in [
            "<Types></Types>".to_owned(),
            format!("<Types><Override ContentType=\"{WORD}\"/><Override ContentType=\"{EXCEL}\"/></Types>"),
            format!("<Types><Override ContentType=\"{WORD}\"/><Default ContentType=\"application/vnd.ms-office.vbaProject\"/></Types>"),
            "<Types><Override ContentType=\"application/vnd.ms-word.document.macroEnabled.main+xml\"/></Types>".to_owned(),
            format!("<Types><!--<Override ContentType=\"{WORD}\"/>--></Types>"),
            format!("<Types><Other ContentType=\"{WORD}\"/></Types>"),
            format!("<Types><Override NotContentType=\"{WORD}\"/></Types>"),
        ] {
            assert_eq!(kind(&xml), ContentKind::OoxmlOther, "{xml}");
        }
    }

    #[test]
    fn malformed_parts_are_archives() {
        for xml in [
            format!(
                "<!DOCTYPE t [<!ENTITY e \"x\">]><Types><Override ContentType=\"{WORD}\"/></Types>"
            ),
            "<Types><Override ContentType=\"a&amp;b\"/></Types>".to_owned(),
            "<Types><Override ContentType=\"a".to_owned(),
            "<Types><Override ContentType=a/></Types>".to_owned(),
            "<Types><!-- ".to_owned(),
            "<".to_owned(),
        ] {
            assert_eq!(kind(&xml), ContentKind::Zip, "{xml}");
        }
        assert_eq!(kind_of(b"\xFF\xFE<"), ContentKind::Zip);
        assert_eq!(kind_of(b"<\xC3("), ContentKind::Zip);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(xml in "(<|>|/|\"|'|=| |!--|-->|\\?|Override|ContentType|é){0,40}") {
            let _ = kind(&xml);
        }
    }
}
