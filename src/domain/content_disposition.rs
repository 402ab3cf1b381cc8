//! Builds the `Content-Disposition` header of a download (RFC 6266, RFC 8187).
//! No file name can end its own parameter and inject another (S13).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::domain::file_name::display_name;

/// Every character except `attr-char` of RFC 8187 §3.2.1.
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Whether a browser displays the file or saves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Display it.
    Inline,
    /// Save it.
    Attachment,
}

impl Disposition {
    fn as_str(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Attachment => "attachment",
        }
    }
}

/// The header's value: visible ASCII and spaces only, whatever the name contains.
///
/// It contains the [`display_name`] as a quoted `filename`. If that cannot represent the name, the
/// value also has a `filename*`, which clients prefer (RFC 6266 §4.3).
pub fn content_disposition(kind: Disposition, file_name: &str) -> String {
    let name = display_name(file_name);
    let fallback: String = name.chars().map(fallback_char).collect();
    let kind = kind.as_str();
    if fallback == name {
        return format!("{kind}; filename=\"{fallback}\"");
    }
    let encoded = utf8_percent_encode(&name, NOT_ATTR_CHAR);
    format!("{kind}; filename=\"{fallback}\"; filename*=UTF-8''{encoded}")
}

/// Quote and backslash would end or escape the quoted string. The percent sign is replaced too,
/// because some clients decode it there (RFC 6266, appendix D).
fn fallback_char(character: char) -> char {
    match character {
        '%' | '"' | '\\' => '_',
        ' '..='~' => character,
        _ => '_',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    /// The result of a strict parser: disposition type, `filename`, `filename*`.
    #[derive(Debug, PartialEq)]
    struct Parsed {
        kind: String,
        plain: Option<String>,
        extended: Option<String>,
    }

    impl Parsed {
        fn name(&self) -> Option<&str> {
            self.extended.as_deref().or(self.plain.as_deref())
        }
    }

    /// A strict parser written from the grammar; any deviation is `None`.
    fn parse(header: &str) -> Option<Parsed> {
        let (kind, mut rest) = match header.find(';') {
            Some(at) => (&header[..at], &header[at..]),
            None => (header, ""),
        };
        let mut found = Parsed { kind: kind.to_owned(), plain: None, extended: None };
        while let Some(parameter) = rest.strip_prefix("; ") {
            let (name, after) = parameter.split_once('=')?;
            let value;
            if let Some(quoted) = after.strip_prefix('"') {
                let end = quoted.find('"')?;
                value = quoted[..end].to_owned();
                rest = &quoted[end + 1..];
                if value.contains('\\') {
                    return None;
                }
            } else {
                let end = after.find(';').unwrap_or(after.len());
                value = after[..end].to_owned();
                rest = &after[end..];
            }
            match name {
                "filename" if found.plain.is_none() => found.plain = Some(value),
                "filename*" if found.extended.is_none() => {
                    let encoded = value.strip_prefix("UTF-8''")?;
                    let decoded = percent_decode_str(encoded).decode_utf8().ok()?;
                    found.extended = Some(decoded.into_owned());
                }
                _ => return None,
            }
        }
        rest.is_empty().then_some(found)
    }

    #[test]
    fn ascii_names_need_one_parameter() {
        assert_eq!(
            content_disposition(Disposition::Inline, "a b;c.pdf"),
            "inline; filename=\"a b;c.pdf\""
        );
    }

    #[test]
    fn other_names_get_both_forms() {
        for (name, header) in [
            ("é.pdf", "attachment; filename=\"_.pdf\"; filename*=UTF-8''%C3%A9.pdf"),
            ("50%.pdf", "attachment; filename=\"50_.pdf\"; filename*=UTF-8''50%25.pdf"),
            (
                "€ 'a'.pdf",
                "attachment; filename=\"_ 'a'.pdf\"; filename*=UTF-8''%E2%82%AC%20%27a%27.pdf",
            ),
        ] {
            assert_eq!(content_disposition(Disposition::Attachment, name), header);
        }
    }

    #[test]
    fn a_name_cannot_add_a_parameter_or_a_header() {
        for name in [
            "a\"; filename=\"b.exe",
            "a\\\"; x=y",
            "a\r\nSet-Cookie: a=b",
            "a\n\n<script>",
            "a; filename*=UTF-8''b.exe",
        ] {
            let header = content_disposition(Disposition::Attachment, name);
            let parsed = parse(&header).expect("a well-formed header");
            assert_eq!(parsed.kind, "attachment");
            assert_eq!(parsed.name(), Some(display_name(name).as_str()), "{header}");
        }
    }

    proptest! {
        #[test]
        fn every_name_round_trips(
            name in prop_oneof![any::<String>(), "[ -~é€\r\n\"\\\\%;='*]{0,30}"],
        ) {
            let header = content_disposition(Disposition::Attachment, &name);
            prop_assert!(header.bytes().all(|byte| (0x20..0x7F).contains(&byte)), "{}", header);
            let parsed = parse(&header);
            prop_assert!(parsed.is_some(), "{}", header);
            let parsed = parsed.unwrap();
            let shown = display_name(&name);
            prop_assert_eq!(parsed.name(), Some(shown.as_str()));
            prop_assert!(parsed.plain.is_some());
        }
    }
}
