//! Folds texts for search and sorting, so that case and the encoding of accents do not matter.

use icu_normalizer::ComposingNormalizerBorrowed;

/// Folds a text: every character in lower case, accents composed (NFC), final sigma like any other.
///
/// Both databases search and sort by this form. Their own `lower()` functions differ beyond ASCII,
/// so it is computed here.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let lower = text.chars().flat_map(char::to_lowercase);
    let lower: String = lower.map(|c| if c == 'ς' { 'σ' } else { c }).collect();
    ComposingNormalizerBorrowed::new_nfc().normalize(&lower).into_owned()
}

/// The folded form that a row must store; `None` when an ASCII-only `lower()` gives the same.
pub fn stored_fold(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    Some(fold(text)).filter(|folded| *folded != text.to_ascii_lowercase())
}

/// A pattern for `LIKE … ESCAPE '\'` that matches folded texts containing this one.
pub fn like_pattern(search: &str) -> String {
    let mut pattern = String::with_capacity(search.len() + 2);
    pattern.push('%');
    for character in fold(search).chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_and_accents_do_not_matter() {
        for (text, same) in [
            ("Invoice.PDF", "invoice.pdf"),
            ("ÄRZTIN", "ärztin"),
            ("a\u{308}rztin", "ärztin"),
            ("МРТ-Снимок", "мрт-снимок"),
            ("ΟΔΟΣ", "οδος"),
            ("報告", "報告"),
        ] {
            assert_eq!(fold(text), fold(same), "{text}");
        }
        assert_ne!(fold("Arztin"), fold("Ärztin"));
    }

    #[test]
    fn only_what_a_database_cannot_compute_is_stored() {
        for (text, stored) in [
            ("Invoice.PDF", None),
            ("ärztin.PDF", None),
            ("報告.PDF", None),
            ("Ärztin", Some("ärztin")),
            ("a\u{308}", Some("ä")),
        ] {
            assert_eq!(stored_fold(text).as_deref(), stored, "{text}");
        }
    }

    #[test]
    fn wildcards_in_a_search_are_escaped() {
        assert_eq!(like_pattern("100%_\\A"), "%100\\%\\_\\\\a%");
        assert_eq!(like_pattern(""), "%%");
    }

    proptest! {
        #[test]
        fn the_stored_fold_or_ascii_lower_is_the_fold(text in any::<String>()) {
            let by_row = stored_fold(&text).unwrap_or_else(|| text.to_ascii_lowercase());
            prop_assert_eq!(by_row, fold(&text));
        }

        #[test]
        fn folding_twice_changes_nothing(text in ".{0,20}") {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }
    }
}
