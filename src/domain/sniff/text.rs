//! Tells text from other bytes, and pages and drawings that can run scripts from harmless text.

use super::found::Found;

/// How far a page or drawing may begin behind prologues and comments.
const MARKUP_BYTES: usize = 4 * 1024;

/// One control character in this many bytes is still text.
const BYTES_PER_CONTROL: usize = 64;

/// Tags that make a browser take text for a page (WHATWG MIME Sniffing §7.1, and a few more
/// that run or load something).
const PAGE_TAGS: &[&str] = &[
    "html", "head", "body", "script", "iframe", "style", "title", "meta", "link", "base", "h1",
    "div", "font", "table", "a", "b", "br", "p", "img", "form", "object", "embed", "frameset",
    "video", "audio", "input", "button", "math",
];

/// A page, a drawing or another XML document.
pub(super) fn markup(head: &[u8]) -> Option<Found> {
    let start = start_as_text(head);
    let text = start.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{FEFF}');
    if is_mail_page(text) {
        return Some(Found::Other("a web archive"));
    }
    let inside = text.strip_prefix('<')?;
    let has = |tag: &str| text.contains(&format!("<{tag}")) || text.contains(&format!(":{tag}"));
    let tag = inside.split(|c: char| !is_name_char(c)).next().unwrap_or_default();
    let tag = tag.rsplit(':').next().unwrap_or(tag);
    if tag == "svg" {
        Some(Found::Svg)
    } else if PAGE_TAGS.contains(&tag) || is_html_doctype(inside) {
        Some(Found::Html)
    } else if inside.starts_with(['?', '!']) {
        if has("svg") || inside.starts_with("!doctype svg") {
            Some(Found::Svg)
        } else if has("html") || text.contains("<!doctype html") || inside.starts_with("!--") {
            Some(Found::Html)
        } else if inside.starts_with("?xml") || inside.starts_with("!doctype") {
            Some(Found::Other("an XML document"))
        } else {
            None
        }
    } else if !tag.is_empty() && text.contains("xmlns") {
        Some(Found::Other("an XML document"))
    } else {
        None
    }
}

/// True for text in UTF-8, in UTF-16 with a byte-order mark, or in an older encoding of one byte
/// a character; `is_complete` when `head` is the whole file. An empty file is no text.
pub(super) fn is_text(head: &[u8], is_complete: bool) -> bool {
    if head.is_empty() {
        return false;
    }
    if let Some(read_unit) = utf16_order(head) {
        let body = head.get(2..).unwrap_or_default();
        return is_utf16_text(body, read_unit, is_complete);
    }
    // Bytes that are no UTF-8 may still be an older encoding, which the same rule covers.
    has_few_controls(head.iter().map(|byte| u16::from(*byte)), head.len())
}

type ReadUnit = fn([u8; 2]) -> u16;

/// How the byte-order mark says to read UTF-16, if there is one.
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
        // A head cut short may end inside a pair.
        .all(|(index, unit)| unit.is_ok() || (!is_complete && index + 1 == count));
    valid && has_few_controls(utf16_units(body, read_unit), count)
}

fn has_few_controls(units: impl Iterator<Item = u16>, count: usize) -> bool {
    let mut controls = 0_usize;
    for unit in units {
        match unit {
            0 => return false,
            // Tab, line ends, form feed and the end-of-file mark of old systems belong to text.
            0x09..=0x0D | 0x1A => {}
            0x01..0x20 | 0x7F => controls += 1,
            _ => {}
        }
    }
    controls.saturating_mul(BYTES_PER_CONTROL) <= count
}

/// The first [`MARKUP_BYTES`] as lower-case text, read as a browser would.
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

/// MHTML: a page saved as a mail message.
fn is_mail_page(text: &str) -> bool {
    text.starts_with("mime-version:") || text.starts_with("from: <saved by")
}
