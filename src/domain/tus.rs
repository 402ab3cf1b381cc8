//! Parses the headers of resumable uploads, tus 1.0.0 (contract §9; tus-resumable-upload-protocol).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The only supported protocol version.
pub const VERSION: &str = "1.0.0";
/// Supported protocol extensions.
pub const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,checksum,expiration,termination";
/// Algorithms accepted in `Upload-Checksum`.
pub const CHECKSUM_ALGORITHMS: &str = "sha1,sha256";
/// The `Content-Type` that every `PATCH` must have.
pub const PATCH_CONTENT_TYPE: &str = "application/offset+octet-stream";
/// Longest `Upload-Metadata`, in bytes.
pub const MAX_METADATA_BYTES: usize = 8 * 1024;
/// Most key-value pairs in `Upload-Metadata`.
pub const MAX_METADATA_PAIRS: usize = 64;

/// A header that cannot be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{header} {problem}")]
pub struct BadHeader {
    /// The header's name.
    pub header: &'static str,
    /// A predicate, such as "is given more than once".
    pub problem: &'static str,
}

/// The result of parsing a header.
pub type Result<T> = std::result::Result<T, BadHeader>;

/// The value of a header that may occur once; `None` if it is absent.
///
/// # Errors
///
/// When the header is repeated or is not ASCII text.
pub fn single_value<'a>(
    header: &'static str,
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<&'a str>> {
    let mut values = values.into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(BadHeader { header, problem: "is given more than once" });
    }
    match std::str::from_utf8(value) {
        Ok(text) if text.is_ascii() => Ok(Some(text)),
        _ => Err(BadHeader { header, problem: "is not ASCII text" }),
    }
}

/// Parses a number of bytes: decimal digits only, at most `i64::MAX`, the largest integer that a
/// database column holds.
///
/// # Errors
///
/// When it is anything else.
pub fn byte_count(header: &'static str, text: &str) -> Result<u64> {
    let problem = "is not a number of bytes";
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadHeader { header, problem });
    }
    let number = text.parse().ok().filter(|number: &u64| i64::try_from(*number).is_ok());
    number.ok_or(BadHeader { header, problem: "is too large" })
}

/// The upload token in `Upload-Metadata`. Every pair is validated, but only the token is used:
/// it alone decides what is uploaded where (S39).
///
/// # Errors
///
/// When the header is malformed.
pub fn metadata_token(metadata: &str) -> Result<Option<String>> {
    let bad = |problem| BadHeader { header: "Upload-Metadata", problem };
    if metadata.len() > MAX_METADATA_BYTES {
        return Err(bad("is too long"));
    }
    let (mut keys, mut token) = (Vec::new(), None);
    if metadata.trim().is_empty() {
        return Ok(None);
    }
    for pair in metadata.split(',') {
        let pair = pair.trim_matches(' ');
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad("contains a pair without a key"));
        }
        if keys.contains(&key) {
            return Err(bad("repeats a key"));
        }
        keys.push(key);
        if keys.len() > MAX_METADATA_PAIRS {
            return Err(bad("contains too many pairs"));
        }
        let value =
            STANDARD.decode(value).map_err(|_| bad("contains a value that is not base64"))?;
        if key == "token" {
            let text =
                String::from_utf8(value).map_err(|_| bad("contains a token that is not UTF-8"))?;
            token = Some(text);
        }
    }
    Ok(token)
}

/// The checksum that the client sent for one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    /// A SHA-1 digest.
    Sha1([u8; 20]),
    /// A SHA-256 digest.
    Sha256([u8; 32]),
}

impl Checksum {
    /// Parses `Upload-Checksum: <algorithm> <base64>`.
    ///
    /// # Errors
    ///
    /// When the algorithm is not supported or the digest does not have its length.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |problem| BadHeader { header: "Upload-Checksum", problem };
        let (algorithm, value) =
            text.split_once(' ').ok_or(bad("is not an algorithm and a base64 value"))?;
        let value = STANDARD.decode(value).map_err(|_| bad("is not base64"))?;
        match algorithm {
            "sha1" => value.try_into().map(Self::Sha1).map_err(|_| bad("is not 20 bytes long")),
            "sha256" => value.try_into().map(Self::Sha256).map_err(|_| bad("is not 32 bytes long")),
            _ => Err(bad("names an unsupported algorithm (supported: sha1, sha256)")),
        }
    }

    /// Starts hashing a piece to compare with this checksum.
    pub fn verifier(&self) -> Verifier {
        match self {
            Self::Sha1(expected) => Verifier::Sha1(Sha1::new(), *expected),
            Self::Sha256(expected) => Verifier::Sha256(Sha256::new(), *expected),
        }
    }
}

/// Hashes a piece as it arrives; each variant holds the hasher and the expected digest.
pub enum Verifier {
    /// For [`Checksum::Sha1`].
    Sha1(Sha1, [u8; 20]),
    /// For [`Checksum::Sha256`].
    Sha256(Sha256, [u8; 32]),
}

impl Verifier {
    /// Hashes the next bytes of the piece.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hash, _) => hash.update(bytes),
            Self::Sha256(hash, _) => hash.update(bytes),
        }
    }

    /// Whether the piece has the expected checksum.
    pub fn matches_expected(self) -> bool {
        match self {
            Self::Sha1(hash, expected) => hash.finalize().ct_eq(&expected).into(),
            Self::Sha256(hash, expected) => hash.finalize().ct_eq(&expected).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_repeated_header_is_rejected_even_with_equal_values() {
        let twice = [b"1".as_slice(), b"1"];
        let error = single_value("Upload-Offset", twice).unwrap_err();
        assert_eq!(error.problem, "is given more than once");
        assert_eq!(single_value("Upload-Offset", [b"1".as_slice()]), Ok(Some("1")));
        assert_eq!(single_value("Upload-Offset", []), Ok(None));
        assert!(single_value("Upload-Offset", [b"\xff".as_slice()]).is_err());
    }

    #[test]
    fn byte_counts_are_digits_and_fit_a_database_integer() {
        assert_eq!(byte_count("Upload-Length", "0"), Ok(0));
        assert_eq!(byte_count("Upload-Length", "9223372036854775807"), Ok(i64::MAX as u64));
        for text in ["", "-1", "+1", " 1", "1.5", "1e3", "NaN", "0x10", "９", "9223372036854775808"]
        {
            assert!(byte_count("Upload-Length", text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_token_is_read_from_metadata() {
        let text = "filename Li4vLi4vZXRj,contentType,token YWJj,x-contact Zm9v";
        assert_eq!(metadata_token(text), Ok(Some("abc".to_owned())));
        assert_eq!(metadata_token("filename YQ=="), Ok(None));
        assert_eq!(metadata_token(""), Ok(None));
    }

    #[test]
    fn malformed_metadata_is_rejected() {
        let many = vec!["a YQ=="; MAX_METADATA_PAIRS + 1].join(",");
        let long = format!("a {}", "YWFh".repeat(MAX_METADATA_BYTES));
        for text in [
            "token YWJj,token YWJj",
            "token a b",
            "token %%",
            "token /w==",
            ",",
            "token YWJj,",
            "t\u{7f} YQ==",
            &many,
            &long,
        ] {
            assert!(metadata_token(text).is_err(), "{text}");
        }
    }

    #[test]
    fn checksums_detect_an_altered_piece() {
        let sha1 = Checksum::parse("sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=").unwrap();
        let mut whole = sha1.verifier();
        whole.update(b"hel");
        whole.update(b"lo");
        assert!(whole.matches_expected());
        let mut altered = sha1.verifier();
        altered.update(b"hellO");
        assert!(!altered.matches_expected());
        for text in
            ["", "sha1", "sha1 %", "sha1 YQ==", "md5 YQ==", "sha256 qvTGHdzF6KLavt4PO0gs2a6pQ00="]
        {
            assert!(Checksum::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_token_round_trips_among_other_pairs(
            value in "[ -~]{0,80}",
            others in proptest::collection::btree_map("[a-s][!-+--~]{0,8}", "\\PC{0,20}", 0..6),
        ) {
            let pairs = others.iter().map(|(key, text)| format!("{key} {}", STANDARD.encode(text)));
            let own = format!("token {}", STANDARD.encode(&value));
            let metadata = pairs.chain([own]).collect::<Vec<_>>().join(",");
            prop_assert_eq!(metadata_token(&metadata), Ok(Some(value)));
        }

        #[test]
        fn no_input_makes_the_parsers_panic(text in "\\PC{0,200}") {
            let _ = (metadata_token(&text), Checksum::parse(&text), byte_count("Upload-Offset", &text));
        }
    }
}
