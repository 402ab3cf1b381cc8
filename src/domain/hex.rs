//! Hashes as hexadecimal text.

use std::fmt::Write as _;

/// Encodes bytes as lower-case hexadecimal.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Decodes exactly 64 digits of either case.
pub fn decode_32(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hexadecimal_round_trips(bytes: [u8; 32]) {
            let text = encode(&bytes);
            prop_assert_eq!(decode_32(&text), Some(bytes));
            prop_assert_eq!(decode_32(&text.to_uppercase()), Some(bytes));
        }

        #[test]
        fn only_64_digits_are_accepted(text in "\\PC{0,70}|[0-9a-f]{60,66}|\\+[0-9a-f]{63}") {
            let is_hash = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
            prop_assert_eq!(decode_32(&text).is_some(), is_hash);
        }
    }
}
