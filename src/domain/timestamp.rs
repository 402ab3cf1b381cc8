//! Timestamps in the vendor's format.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Formats Unix milliseconds as `2030-01-02T03:04:05.678Z` (contract §8); empty when the year is
/// out of range.
pub fn timestamp(ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(FORMAT).ok())
        .unwrap_or_default()
}

/// Parses an RFC 3339 timestamp of any time zone as Unix milliseconds.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_written_with_three_digits() {
        assert_eq!(timestamp(1_893_553_445_678), "2030-01-02T03:04:05.678Z");
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(i64::MAX), "");
    }

    #[test]
    fn any_time_zone_and_fraction_is_parsed() {
        assert_eq!(parse_timestamp("2030-01-02T03:04:05.678Z"), Some(1_893_553_445_678));
        assert_eq!(parse_timestamp("2030-01-02T05:04:05+02:00"), Some(1_893_553_445_000));
        for text in ["", "2030-01-02", "yesterday", "2030-13-02T03:04:05Z"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }
}
