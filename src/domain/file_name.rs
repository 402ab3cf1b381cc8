//! File names: the name as the user gave it, kept as data, and its neutral form for headers and
//! screens. Neither form ever becomes a path on this server (bar S9).

/// Longest file name, in Unicode scalar values (contract §4).
pub const MAX_FILE_NAME_CHARS: usize = 260;

/// Shown when nothing of a name can be shown.
const PLACEHOLDER: &str = "file";

/// A file name as the user gave it: 1 to [`MAX_FILE_NAME_CHARS`] characters of any kind.
///
/// It may hold path separators, NUL and line ends, so it goes to data fields only; everything
/// else takes [`FileName::display_name`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileName(String);

/// Why a file name was refused; the texts are predicates of the field (contract §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileNameRefused {
    /// No character at all.
    #[error("must have at least 1 character")]
    Empty,
    /// More than [`MAX_FILE_NAME_CHARS`] characters.
    #[error("must have at most {MAX_FILE_NAME_CHARS} characters")]
    TooLong,
}

impl FileName {
    /// Takes a name as it is.
    ///
    /// # Errors
    ///
    /// [`FileNameRefused`] when the length is outside 1 to [`MAX_FILE_NAME_CHARS`] characters.
    pub fn new(name: String) -> Result<Self, FileNameRefused> {
        if name.is_empty() {
            return Err(FileNameRefused::Empty);
        }
        // Stops counting at the first character too many, however long the text is.
        if name.chars().nth(MAX_FILE_NAME_CHARS).is_some() {
            return Err(FileNameRefused::TooLong);
        }
        Ok(Self(name))
    }

    /// The name exactly as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name made harmless, see [`display_name`].
    pub fn display_name(&self) -> String {
        display_name(&self.0)
    }
}

/// The name made harmless for headers, screens and the file systems of those who download it
/// (bar S14): never empty, without path separators, control, invisible or direction-changing
/// characters, without what Windows refuses, and not a Windows device.
///
/// Its extension is the one a downloading system will act on. Applying it twice changes nothing.
pub fn display_name(file_name: &str) -> String {
    let kept: String =
        file_name.chars().filter(|character| !is_hidden(*character)).map(neutral).collect();
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

/// A text of others as it is shown on a terminal: what is not seen, or changes how its neighbours are
/// seen, stands there as its code, such as `\u{202e}`, so that nobody is misled and no terminal steered.
pub fn visible(text: &str) -> String {
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

/// Separators and the characters Windows refuses in a file name become an underscore.
fn neutral(character: char) -> char {
    match character {
        '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*' => '_',
        _ => character,
    }
}

/// Characters that are not seen, or that change how their neighbours are seen.
fn is_hidden(character: char) -> bool {
    let code = u32::from(character);
    // The last two code points of each of the 17 planes are noncharacters.
    let ends_a_plane = code & 0xFFFE == 0xFFFE;
    character.is_control()
        || ends_a_plane
        || matches!(character,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{180E}' | '\u{FEFF}'
            // Blank letters of Hangul.
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

/// True for names that Windows gives to a device, whatever extension follows.
fn is_device(name: &str) -> bool {
    let base = name.split('.').next().unwrap_or(name).trim_end();
    let base = base.to_ascii_uppercase();
    if matches!(base.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") {
        return true;
    }
    let Some(port) = base.strip_prefix("COM").or_else(|| base.strip_prefix("LPT")) else {
        return false;
    };
    // Windows reads superscript digits as digits here.
    let mut digits = port.chars();
    matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_1_to_260_characters_are_taken_as_they_are() {
        for name in ["a", "../x", "a\0b", "a\r\nb", "..\\x", &"ж".repeat(260), &"😀".repeat(260)]
        {
            assert_eq!(
                FileName::new(name.to_owned()).map(|n| n.as_str().to_owned()).as_deref(),
                Ok(name)
            );
        }
        assert_eq!(FileName::new(String::new()), Err(FileNameRefused::Empty));
        assert_eq!(FileName::new("ж".repeat(261)), Err(FileNameRefused::TooLong));
        assert_eq!(FileName::new("a".repeat(4096)), Err(FileNameRefused::TooLong));
    }

    #[test]
    fn hostile_names_are_shown_harmless() {
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
    fn terminals_show_the_codes_of_what_is_hidden() {
        for (text, shown) in [
            ("Résumé 報告 😀.pdf", "Résumé 報告 😀.pdf"),
            ("invoice_\u{202E}fdp.exe", "invoice_\\u{202e}fdp.exe"),
            ("a\u{1b}[2Jb\r\nc\0", "a\\u{1b}[2Jb\\u{d}\\u{a}c\\u{0}"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    /// Text rich in the characters that matter here.
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
        fn showing_twice_changes_nothing(name in hostile_text()) {
            let once = display_name(&name);
            prop_assert_eq!(display_name(&once), once);
        }

        #[test]
        fn nothing_harmful_is_left(name in hostile_text()) {
            let shown = display_name(&name);
            prop_assert!(!shown.is_empty());
            prop_assert!(!shown.contains(['/', '\\', '"', '<', '>', ':', '|', '?', '*']));
            prop_assert!(!shown.chars().any(is_hidden));
            prop_assert!(!shown.ends_with(['.', ' ']));
            prop_assert!(!is_device(&shown));
        }
    }
}
