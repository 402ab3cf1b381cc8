//! Distinguishes text from binary data, and active markup, such as HTML and SVG, from plain text.

use super::found::ContentKind;

/// How much of a file's start is searched for markup, which may follow a prologue or comments.
const MARKUP_BYTES: usize = 4 * 1024;

/// Text may have one control character per this many bytes.
const BYTES_PER_CONTROL: usize = 64;

/// Tags that make a browser treat text as HTML (WHATWG MIME Sniffing §7.1, and a few more that run
/// or load something).
const PAGE_TAGS: &[&str] = &[
    "html", "head", "body", "script", "iframe", "style", "title", "meta", "link", "base", "h1",
    "div", "font", "table", "a", "b", "br", "p", "img", "form", "object", "embed", "frameset",
    "video", "audio", "input", "button", "math",
];

/// Detects HTML, SVG, other XML documents and web archives.
pub(super) fn markup(head: &[u8]) -> Option<ContentKind> {
    let start = start_as_text(head);
    let text = start.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{FEFF}');
    if is_mail_page(text) {
        return Some(ContentKind::Other("a web archive"));
    }
    let inside = text.strip_prefix('<')?;
    let has = |tag: &str| text.contains(&format!("<{tag}")) || text.contains(&format!(":{tag}"));
    let tag = inside.split(|c: char| !is_name_char(c)).next().unwrap_or_default();
    let tag = tag.rsplit(':').next().unwrap_or(tag);
    if tag == "svg" {
        Some(ContentKind::Svg)
    } else if PAGE_TAGS.contains(&tag) || is_html_doctype(inside) {
        Some(ContentKind::Html)
    } else if inside.starts_with(['?', '!']) {
        if has("svg") || inside.starts_with("!doctype svg") {
            Some(ContentKind::Svg)
        } else if has("html") || text.contains("<!doctype html") || inside.starts_with("!--") {
            Some(ContentKind::Html)
        } else if inside.starts_with("?xml") || inside.starts_with("!doctype") {
            Some(ContentKind::Other("an XML document"))
        } else {
            None
        }
    } else if !tag.is_empty() && text.contains("xmlns") {
        Some(ContentKind::Other("an XML document"))
    } else {
        None
    }
}

/// Whether it is text in UTF-8, in UTF-16 with a byte-order mark, or in a single-byte encoding;
/// `is_complete` when `head` is the whole file. An empty file is not text.
pub(super) fn is_text(head: &[u8], is_complete: bool) -> bool {
    if head.is_empty() {
        return false;
    }
    if let Some(read_unit) = utf16_order(head) {
        let body = head.get(2..).unwrap_or_default();
        return is_utf16_text(body, read_unit, is_complete);
    }
    // Bytes that are not UTF-8 may be in a single-byte encoding, to which the same rule applies.
    has_few_controls(head.iter().map(|byte| u16::from(*byte)), head.len())
}

type ReadUnit = fn([u8; 2]) -> u16;

/// The byte order of UTF-16 according to its byte-order mark, if any.
fn utf16_order(head: &[u8]) -> Option<ReadUnit> {
    if head.starts_with(b"\xFF\xFE") {
        Some(u16::from_le_bytes)
    } else if head.starts_with(b"\xFE\xFF") {
        Some(u16::from_be_bytes)
    } else {
        None
    }
}

fn utf16_units(body: &[u8], read_unit: ReadUnit) -> impl Iterator<Item = u16> {
    body.as_chunks::<2>().0.iter().map(move |pair| read_unit(*pair))
}

fn is_utf16_text(body: &[u8], read_unit: ReadUnit, is_complete: bool) -> bool {
    if is_complete && body.len() % 2 == 1 {
        return false;
    }
    let count = body.len() / 2;
    let valid = char::decode_utf16(utf16_units(body, read_unit))
        .enumerate()
        // A truncated head may end inside a surrogate pair.
        .all(|(index, unit)| unit.is_ok() || (!is_complete && index + 1 == count));
    valid && has_few_controls(utf16_units(body, read_unit), count)
}

fn has_few_controls(units: impl Iterator<Item = u16>, count: usize) -> bool {
    let mut controls = 0_usize;
    for unit in units {
        match unit {
            0 => return false,
            // Tab, line breaks, form feed and the DOS end-of-file mark are text.
            0x09..=0x0D | 0x1A => {}
            0x01..0x20 | 0x7F => controls += 1,
            _ => {}
        }
    }
    controls.saturating_mul(BYTES_PER_CONTROL) <= count
}

/// The first [`MARKUP_BYTES`] as lower-case text, decoded as by a browser.
fn start_as_text(head: &[u8]) -> String {
    let start = head.get(..MARKUP_BYTES).unwrap_or(head);
    let unmarked_utf16: Option<ReadUnit> = match start {
        [b'<', 0, _, 0, ..] => Some(u16::from_le_bytes),
        [0, b'<', 0, _, ..] => Some(u16::from_be_bytes),
        _ => None,
    };
    let text = match utf16_order(start).or(unmarked_utf16) {
        Some(read_unit) => char::decode_utf16(utf16_units(start, read_unit))
            .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect(),
        None => String::from_utf8_lossy(start).into_owned(),
    };
    text.to_ascii_lowercase()
}

fn is_name_char(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, ':' | '-' | '_' | '.')
}

fn is_html_doctype(inside: &str) -> bool {
    inside.strip_prefix("!doctype").is_some_and(|after| after.trim_start().starts_with("html"))
}

/// Whether it is MHTML, a web page saved as a mail message.
fn is_mail_page(text: &str) -> bool {
    text.starts_with("mime-version:") || text.starts_with("from: <saved by")
}
