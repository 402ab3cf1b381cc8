//! Parses `paging.limit` and `paging.offset` of a list (contract §14).
//! Each field is validated on its own; the error response is the caller's.

/// Largest accepted `paging.limit`, and the default.
pub const MAX_LIMIT: u32 = 100;

/// Largest accepted `paging.offset`: the field is an INT32.
pub const MAX_OFFSET: u32 = i32::MAX as u32;

/// The page of a list that a request selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Paging {
    /// Most attachments on the page, 0 to [`MAX_LIMIT`].
    pub limit: u32,
    /// Attachments to skip before the page, 0 to [`MAX_OFFSET`].
    pub offset: u32,
}

impl Default for Paging {
    fn default() -> Self {
        Self { limit: MAX_LIMIT, offset: 0 }
    }
}

/// Why a paging value was rejected; the texts are predicates of the field (contract §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PagingProblem {
    /// It is not a decimal INT32.
    #[error("is not an integer")]
    NotAnInteger,
    /// It is below 0.
    #[error("must be at least 0")]
    BelowMin,
    /// It is above [`MAX_LIMIT`].
    #[error("must be at most {MAX_LIMIT}")]
    AboveMax,
}

/// Parses `paging.limit`; the default is [`MAX_LIMIT`].
///
/// # Errors
///
/// A [`PagingProblem`]. A number beyond INT32 is [`PagingProblem::AboveMax`]: it is an integer, and
/// the rule it breaks is the maximum.
pub fn parse_limit(text: Option<&str>) -> Result<u32, PagingProblem> {
    match text {
        None => Ok(Paging::default().limit),
        Some(text) => match parse_natural(text)? {
            Some(limit) if limit <= MAX_LIMIT => Ok(limit),
            _ => Err(PagingProblem::AboveMax),
        },
    }
}

/// Parses `paging.offset`; the default is 0.
///
/// # Errors
///
/// A [`PagingProblem`]. The offset has no documented maximum, so a number beyond INT32 is
/// [`PagingProblem::NotAnInteger`].
pub fn parse_offset(text: Option<&str>) -> Result<u32, PagingProblem> {
    match text {
        None => Ok(Paging::default().offset),
        Some(text) => match parse_natural(text)? {
            Some(offset) if offset <= MAX_OFFSET => Ok(offset),
            _ => Err(PagingProblem::NotAnInteger),
        },
    }
}

/// Parses decimal digits with an optional minus sign; `None` when the number exceeds `u32`.
fn parse_natural(text: &str) -> Result<Option<u32>, PagingProblem> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PagingProblem::NotAnInteger);
    }
    let is_zero = digits.bytes().all(|byte| byte == b'0');
    if negative && !is_zero {
        return Err(PagingProblem::BelowMin);
    }
    // All characters are digits, so parsing fails only on overflow.
    Ok(digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn absent_values_use_the_defaults() {
        assert_eq!(parse_limit(None), Ok(100));
        assert_eq!(parse_offset(None), Ok(0));
        assert_eq!(Paging::default(), Paging { limit: 100, offset: 0 });
    }

    #[test]
    fn the_limit_is_checked_at_its_bounds() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("007", Ok(7)),
            ("100", Ok(100)),
            ("101", Err(PagingProblem::AboveMax)),
            ("2147483648", Err(PagingProblem::AboveMax)),
            ("99999999999999999999", Err(PagingProblem::AboveMax)),
            ("-1", Err(PagingProblem::BelowMin)),
            ("-99999999999999999999", Err(PagingProblem::BelowMin)),
        ] {
            assert_eq!(parse_limit(Some(text)), expected, "{text}");
        }
    }

    #[test]
    fn the_offset_is_checked_at_its_bounds() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("2147483647", Ok(2_147_483_647)),
            ("2147483648", Err(PagingProblem::NotAnInteger)),
            ("99999999999999999999", Err(PagingProblem::NotAnInteger)),
            ("-1", Err(PagingProblem::BelowMin)),
        ] {
            assert_eq!(parse_offset(Some(text)), expected, "{text}");
        }
    }

    #[test]
    fn anything_but_digits_is_not_an_integer() {
        for text in ["", "-", "+1", " 1", "1 ", "1e2", "1.0", "0x1", "--1", "١", "null", "1\0"] {
            assert_eq!(parse_limit(Some(text)), Err(PagingProblem::NotAnInteger), "{text:?}");
            assert_eq!(parse_offset(Some(text)), Err(PagingProblem::NotAnInteger), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn printed_numbers_round_trip(number in any::<i64>()) {
            let text = number.to_string();
            let expected_limit = match number {
                ..0 => Err(PagingProblem::BelowMin),
                0..=100 => Ok(number as u32),
                _ => Err(PagingProblem::AboveMax),
            };
            prop_assert_eq!(parse_limit(Some(&text)), expected_limit);
            let expected_offset = match number {
                ..0 => Err(PagingProblem::BelowMin),
                0..=2_147_483_647 => Ok(number as u32),
                _ => Err(PagingProblem::NotAnInteger),
            };
            prop_assert_eq!(parse_offset(Some(&text)), expected_offset);
        }

        #[test]
        fn accepted_values_are_within_bounds(text in ".{0,24}|-?[0-9]{0,24}") {
            if let Ok(limit) = parse_limit(Some(&text)) {
                prop_assert!(limit <= MAX_LIMIT);
            }
            if let Ok(offset) = parse_offset(Some(&text)) {
                prop_assert!(offset <= MAX_OFFSET);
            }
        }
    }
}
