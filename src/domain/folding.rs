//! The form of a text by which people find it: whatever its case, and however its accents are written.

use icu_normalizer::ComposingNormalizerBorrowed;

/// Folds a text: every character in lower case, accents composed (NFC), the final sigma as any other.
///
/// Both databases search and sort by it, so it is made here and not by their own `lower()`, which differ
/// beyond ASCII.
pub fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let lower = text.chars().flat_map(char::to_lowercase);
    let lower: String = lower.map(|one| if one == 'ς' { 'σ' } else { one }).collect();
    ComposingNormalizerBorrowed::new_nfc().normalize(&lower).into_owned()
}

/// [`folded`] where it is not what `lower()` of ASCII letters gives: what a row has to keep.
pub fn kept_fold(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    Some(folded(text)).filter(|folded| *folded != text.to_ascii_lowercase())
}

/// A pattern for `LIKE … ESCAPE '\'` that finds folded texts with this one inside.
pub fn pattern(search: &str) -> String {
    let mut pattern = String::with_capacity(search.len() + 2);
    pattern.push('%');
    for character in folded(search).chars() {
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
            assert_eq!(folded(text), folded(same), "{text}");
        }
        assert_ne!(folded("Arztin"), folded("Ärztin"));
    }

    #[test]
    fn only_what_a_database_cannot_make_is_kept() {
        for (text, kept) in [
            ("Invoice.PDF", None),
            ("ärztin.PDF", None),
            ("報告.PDF", None),
            ("Ärztin", Some("ärztin")),
            ("a\u{308}", Some("ä")),
        ] {
            assert_eq!(kept_fold(text).as_deref(), kept, "{text}");
        }
    }

    #[test]
    fn wildcards_of_a_search_stand_for_themselves() {
        assert_eq!(pattern("100%_\\A"), "%100\\%\\_\\\\a%");
        assert_eq!(pattern(""), "%%");
    }

    proptest! {
        #[test]
        fn what_a_row_keeps_or_lower_gives_is_the_fold(text in any::<String>()) {
            let by_row = kept_fold(&text).unwrap_or_else(|| text.to_ascii_lowercase());
            prop_assert_eq!(by_row, folded(&text));
        }

        #[test]
        fn folding_twice_changes_nothing(text in ".{0,20}") {
            let once = folded(&text);
            prop_assert_eq!(folded(&once), once);
        }
    }
}
