//! Reads `paging.limit` and `paging.offset` of a list (contract §14).
//! It judges each field alone; which answer a problem gets is not known here.

/// Largest accepted `paging.limit`, which is also the limit of a request that names none.
pub const MAX_LIMIT: u32 = 100;

/// Largest accepted `paging.offset`: the field is an INT32.
pub const MAX_OFFSET: u32 = i32::MAX as u32;

/// Which part of a contact's attachments a list answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Paging {
    /// Most attachments in the answer, 0 to [`MAX_LIMIT`].
    pub limit: u32,
    /// Attachments skipped before the first one answered, 0 to [`MAX_OFFSET`].
    pub offset: u32,
}

impl Default for Paging {
    fn default() -> Self {
        Self { limit: MAX_LIMIT, offset: 0 }
    }
}

/// Why one paging value was refused; the texts are predicates of the field (contract §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PagingProblem {
    /// Not a decimal INT32.
    #[error("is not an integer")]
    NotAnInteger,
    /// Below 0.
    #[error("must be at least 0")]
    BelowMin,
    /// Above [`MAX_LIMIT`].
    #[error("must be at most {MAX_LIMIT}")]
    AboveMax,
}

/// Reads `paging.limit`; an absent one is [`MAX_LIMIT`].
///
/// # Errors
///
/// A [`PagingProblem`]. Digits beyond INT32 are [`PagingProblem::AboveMax`], since the caller
/// wrote a number and the limit is what it broke.
pub fn parse_limit(text: Option<&str>) -> Result<u32, PagingProblem> {
    match text {
        None => Ok(Paging::default().limit),
        Some(text) => match parse_natural(text)? {
            Some(limit) if limit <= MAX_LIMIT => Ok(limit),
            _ => Err(PagingProblem::AboveMax),
        },
    }
}

/// Reads `paging.offset`; an absent one is 0.
///
/// # Errors
///
/// A [`PagingProblem`]. The offset has no maximum of its own, so digits beyond INT32 are
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

/// The number written as decimal digits with an optional minus; `None` when it exceeds `u32`.
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
    // All characters are digits, so only a number that is too large can fail.
    Ok(digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn absent_values_take_the_defaults() {
        assert_eq!(parse_limit(None), Ok(100));
        assert_eq!(parse_offset(None), Ok(0));
        assert_eq!(Paging::default(), Paging { limit: 100, offset: 0 });
    }

    #[test]
    fn the_edges_of_the_limit_hold() {
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
    fn the_edges_of_the_offset_hold() {
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
        fn printed_numbers_read_back(number in any::<i64>()) {
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
        fn whatever_is_accepted_is_in_bounds(text in ".{0,24}|-?[0-9]{0,24}") {
            if let Ok(limit) = parse_limit(Some(&text)) {
                prop_assert!(limit <= MAX_LIMIT);
            }
            if let Ok(offset) = parse_offset(Some(&text)) {
                prop_assert!(offset <= MAX_OFFSET);
            }
        }
    }
}
