//! File names: the name as the user gave it, stored as data, and its sanitised form for headers
//! and screens. Neither form ever becomes a path on this server (S9).

/// Longest file name, in Unicode scalar values (contract §4).
pub const MAX_FILE_NAME_CHARS: usize = 260;

/// Shown when sanitising leaves nothing of a name.
const PLACEHOLDER: &str = "file";

/// A file name as the user gave it: 1 to [`MAX_FILE_NAME_CHARS`] characters of any kind.
///
/// It may contain path separators, NUL and line breaks, so use it in data fields only, and
/// [`FileName::display_name`] everywhere else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileName(String);

/// Why a file name was rejected; the texts are predicates of the field (contract §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileNameError {
    /// The name is empty.
    #[error("must have at least 1 character")]
    Empty,
    /// More than [`MAX_FILE_NAME_CHARS`] characters.
    #[error("must have at most {MAX_FILE_NAME_CHARS} characters")]
    TooLong,
}

impl FileName {
    /// Accepts a name unchanged.
    ///
    /// # Errors
    ///
    /// [`FileNameError`] when the length is outside 1 to [`MAX_FILE_NAME_CHARS`] characters.
    pub fn new(name: String) -> Result<Self, FileNameError> {
        if name.is_empty() {
            return Err(FileNameError::Empty);
        }
        // Stops counting at the first excess character, so a long text costs no more.
        if name.chars().nth(MAX_FILE_NAME_CHARS).is_some() {
            return Err(FileNameError::TooLong);
        }
        Ok(Self(name))
    }

    /// The name exactly as the user gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The sanitised name, see [`display_name`].
    pub fn display_name(&self) -> String {
        display_name(&self.0)
    }
}

/// The name sanitised for headers, screens and the file systems of those who download it
/// (S14): never empty, without path separators, control, invisible or bidirectional control
/// characters, without characters that Windows rejects, and not a Windows device name.
///
/// Its extension is the one that the downloading system acts on. The function is idempotent.
pub fn display_name(file_name: &str) -> String {
    let kept: String =
        file_name.chars().filter(|character| !is_hidden(*character)).map(sanitised).collect();
    let trimmed = kept
        .trim_start()
        .trim_end_matches(|character: char| character == '.' || character.is_whitespace());
    if trimmed.is_empty() {
        PLACEHOLDER.to_owned()
    } else if is_device(trimmed) {
        format!("_{trimmed}")
    } else {
        trimmed.to_owned()
    }
}

/// Escapes untrusted text for a terminal. Characters that are invisible or change the display of
/// others become escapes such as `\u{202e}`, so the text can neither mislead its reader nor control
/// the terminal.
pub fn escape_hidden(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Path separators, and characters that Windows rejects in a file name, become an underscore.
fn sanitised(character: char) -> char {
    match character {
        '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*' => '_',
        _ => character,
    }
}

/// Characters that are invisible, or that change the display of others.
fn is_hidden(character: char) -> bool {
    let code = u32::from(character);
    // The last two code points of each of the 17 planes are noncharacters.
    let is_end_of_plane = code & 0xFFFE == 0xFFFE;
    character.is_control()
        || is_end_of_plane
        || matches!(character,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{180E}' | '\u{FEFF}'
            // Hangul fillers.
            | '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}'
            // Zero width, direction marks.
            | '\u{200B}'..='\u{200F}'
            // Line and paragraph separator, bidi embeddings and overrides.
            | '\u{2028}'..='\u{202E}'
            // Word joiner, invisible operators, bidi isolates, deprecated format characters.
            | '\u{2060}'..='\u{206F}'
            | '\u{FDD0}'..='\u{FDEF}'
            | '\u{FFF9}'..='\u{FFFB}'
            // Private use.
            | '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFF}'
            // Tag characters.
            | '\u{E0000}'..='\u{E007F}')
}

/// Whether Windows reserves the name for a device, whatever its extension.
fn is_device(name: &str) -> bool {
    let base = name.split('.').next().unwrap_or(name).trim_end();
    let base = base.to_ascii_uppercase();
    if matches!(base.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") {
        return true;
    }
    let Some(port) = base.strip_prefix("COM").or_else(|| base.strip_prefix("LPT")) else {
        return false;
    };
    // Windows treats superscript digits as digits here.
    let mut digits = port.chars();
    matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_1_to_260_characters_are_accepted_unchanged() {
        for name in ["a", "../x", "a\0b", "a\r\nb", "..\\x", &"ж".repeat(260), &"😀".repeat(260)]
        {
            assert_eq!(
                FileName::new(name.to_owned()).map(|n| n.as_str().to_owned()).as_deref(),
                Ok(name)
            );
        }
        assert_eq!(FileName::new(String::new()), Err(FileNameError::Empty));
        assert_eq!(FileName::new("ж".repeat(261)), Err(FileNameError::TooLong));
        assert_eq!(FileName::new("a".repeat(4096)), Err(FileNameError::TooLong));
    }

    #[test]
    fn hostile_names_are_sanitised() {
        for (name, shown) in [
            ("kitchen.jpg", "kitchen.jpg"),
            ("Résumé (v2).pdf", "Résumé (v2).pdf"),
            ("報告.pdf", "報告.pdf"),
            ("invoice_\u{202E}fdp.exe", "invoice_fdp.exe"),
            ("../../etc/passwd", ".._.._etc_passwd"),
            ("..\\x", ".._x"),
            ("C:\\x", "C__x"),
            ("%2e%2e/", "%2e%2e_"),
            ("a\0b\r\nc", "abc"),
            ("a.", "a"),
            ("a ", "a"),
            ("a. . ", "a"),
            ("a.exe\u{200B} .", "a.exe"),
            (" a", "a"),
            ("a:b", "a_b"),
            ("a\"b;c=d", "a_b;c=d"),
            ("CON", "_CON"),
            ("nul.txt", "_nul.txt"),
            ("Com1.tar.gz", "_Com1.tar.gz"),
            ("LPT³", "_LPT³"),
            ("CON .txt", "_CON .txt"),
            ("C\u{200D}ON", "_CON"),
            ("console.txt", "console.txt"),
            ("COM10", "COM10"),
            ("..", "file"),
            ("", "file"),
            ("\u{E000}\u{10FFFD}\u{FFFF}\u{FDD0}\u{E0041}", "file"),
            (".htaccess", ".htaccess"),
        ] {
            assert_eq!(display_name(name), shown, "{name:?}");
        }
    }

    #[test]
    fn hidden_characters_are_escaped() {
        for (text, shown) in [
            ("Résumé 報告 😀.pdf", "Résumé 報告 😀.pdf"),
            ("invoice_\u{202E}fdp.exe", "invoice_\\u{202e}fdp.exe"),
            ("a\u{1b}[2Jb\r\nc\0", "a\\u{1b}[2Jb\\u{d}\\u{a}c\\u{0}"),
        ] {
            assert_eq!(escape_hidden(text), shown);
        }
    }

    /// Text rich in characters that sanitising handles.
    fn hostile_text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("CON".to_owned()),
            Just("com1".to_owned()),
            "[ ./\\\\\"<>:|?*;%'_a]{0,4}",
            "[\\x00-\\x1F\u{202E}\u{2066}\u{200B}\u{FEFF}\u{E000}\u{FFFE}\u{3000}\u{2028}]{0,3}",
            ".{0,4}",
            any::<String>(),
        ];
        prop::collection::vec(part, 0..5).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn sanitising_is_idempotent(name in hostile_text()) {
            let once = display_name(&name);
            prop_assert_eq!(display_name(&once), once);
        }

        #[test]
        fn no_harmful_character_remains(name in hostile_text()) {
            let shown = display_name(&name);
            prop_assert!(!shown.is_empty());
            prop_assert!(!shown.contains(['/', '\\', '"', '<', '>', ':', '|', '?', '*']));
            prop_assert!(!shown.chars().any(is_hidden));
            prop_assert!(!shown.ends_with(['.', ' ']));
            prop_assert!(!is_device(&shown));
        }
    }
}
