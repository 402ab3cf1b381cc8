//! The headers of resumable uploads, tus 1.0.0 (contract §9; tus-resumable-upload-protocol).
//! Pure: texts in, checked values out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The only version that is spoken.
pub const VERSION: &str = "1.0.0";
/// What is offered beyond the core.
pub const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,checksum,expiration,termination";
/// Algorithms of `Upload-Checksum`.
pub const CHECKSUM_ALGORITHMS: &str = "sha1,sha256";
/// The media type of every piece.
pub const PIECE_TYPE: &str = "application/offset+octet-stream";
/// Longest `Upload-Metadata`, in bytes.
pub const MAX_METADATA_BYTES: usize = 8 * 1024;
/// Most pairs in it.
pub const MAX_METADATA_PAIRS: usize = 64;

/// A header that cannot be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{header} {problem}")]
pub struct BadHeader {
    /// Its name.
    pub header: &'static str,
    /// A predicate, such as "is given more than once".
    pub problem: &'static str,
}

/// What a header was read as.
pub type Read<T> = Result<T, BadHeader>;

/// The one value of a header, if it is there.
///
/// # Errors
///
/// When it is given twice or is no text.
pub fn one<'a>(
    header: &'static str,
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Read<Option<&'a str>> {
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

/// A number of bytes: digits only, and one that a database can hold.
///
/// # Errors
///
/// When it is anything else.
pub fn bytes(header: &'static str, text: &str) -> Read<u64> {
    let problem = "is not a number of bytes";
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadHeader { header, problem });
    }
    let number = text.parse().ok().filter(|number: &u64| i64::try_from(*number).is_ok());
    number.ok_or(BadHeader { header, problem: "is too large" })
}

/// The upload token in `Upload-Metadata`. Every pair is checked; all but the token is passed
/// over, because the token alone decides what is uploaded where (S39).
///
/// # Errors
///
/// When the header is not of the protocol's form.
pub fn token(metadata: &str) -> Read<Option<String>> {
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
            return Err(bad("holds a pair without a key"));
        }
        if keys.contains(&key) {
            return Err(bad("holds a key twice"));
        }
        keys.push(key);
        if keys.len() > MAX_METADATA_PAIRS {
            return Err(bad("holds too many pairs"));
        }
        let value =
            STANDARD.decode(value).map_err(|_| bad("holds a value that is not in base64"))?;
        if key == "token" {
            let text =
                String::from_utf8(value).map_err(|_| bad("holds a token that is no text"))?;
            token = Some(text);
        }
    }
    Ok(token)
}

/// The checksum of one piece, as its client computed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    /// 20 bytes.
    Sha1([u8; 20]),
    /// 32 bytes.
    Sha256([u8; 32]),
}

impl Checksum {
    /// Reads `Upload-Checksum: <algorithm> <base64>`.
    ///
    /// # Errors
    ///
    /// When the algorithm is not offered or the value is not one of it.
    pub fn parse(text: &str) -> Read<Self> {
        let bad = |problem| BadHeader { header: "Upload-Checksum", problem };
        let (algorithm, value) =
            text.split_once(' ').ok_or(bad("is not an algorithm and a value in base64"))?;
        let value = STANDARD.decode(value).map_err(|_| bad("is not in base64"))?;
        match algorithm {
            "sha1" => value.try_into().map(Self::Sha1).map_err(|_| bad("has not 20 bytes")),
            "sha256" => value.try_into().map(Self::Sha256).map_err(|_| bad("has not 32 bytes")),
            _ => Err(bad("names an algorithm that is not offered (sha1, sha256)")),
        }
    }

    /// Begins to compute the same of what arrives.
    pub fn verifier(&self) -> Verifier {
        match self {
            Self::Sha1(expected) => Verifier::Sha1(Sha1::new(), *expected),
            Self::Sha256(expected) => Verifier::Sha256(Sha256::new(), *expected),
        }
    }
}

/// Computes a piece's checksum as it arrives.
pub enum Verifier {
    /// With what is expected.
    Sha1(Sha1, [u8; 20]),
    /// With what is expected.
    Sha256(Sha256, [u8; 32]),
}

impl Verifier {
    /// Takes more of the piece.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hash, _) => hash.update(bytes),
            Self::Sha256(hash, _) => hash.update(bytes),
        }
    }

    /// Whether the piece is the one that was announced.
    pub fn is_as_announced(self) -> bool {
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
    fn a_header_given_twice_is_refused_whatever_it_says() {
        let twice = [b"1".as_slice(), b"1"];
        assert_eq!(one("Upload-Offset", twice).unwrap_err().problem, "is given more than once");
        assert_eq!(one("Upload-Offset", [b"1".as_slice()]), Ok(Some("1")));
        assert_eq!(one("Upload-Offset", []), Ok(None));
        assert!(one("Upload-Offset", [b"\xff".as_slice()]).is_err());
    }

    #[test]
    fn numbers_are_digits_that_a_database_can_hold() {
        assert_eq!(bytes("Upload-Length", "0"), Ok(0));
        assert_eq!(bytes("Upload-Length", "9223372036854775807"), Ok(i64::MAX as u64));
        for text in ["", "-1", "+1", " 1", "1.5", "1e3", "NaN", "0x10", "９", "9223372036854775808"]
        {
            assert!(bytes("Upload-Length", text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_token_is_taken_from_metadata() {
        let text = "filename Li4vLi4vZXRj,contentType,token YWJj,x-contact Zm9v";
        assert_eq!(token(text), Ok(Some("abc".to_owned())));
        assert_eq!(token("filename YQ=="), Ok(None));
        assert_eq!(token(""), Ok(None));
    }

    #[test]
    fn metadata_of_another_form_is_refused() {
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
            assert!(token(text).is_err(), "{text}");
        }
    }

    #[test]
    fn checksums_tell_an_altered_piece() {
        let sha1 = Checksum::parse("sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=").unwrap();
        let mut whole = sha1.verifier();
        whole.update(b"hel");
        whole.update(b"lo");
        assert!(whole.is_as_announced());
        let mut altered = sha1.verifier();
        altered.update(b"hellO");
        assert!(!altered.is_as_announced());
        for text in
            ["", "sha1", "sha1 %", "sha1 YQ==", "md5 YQ==", "sha256 qvTGHdzF6KLavt4PO0gs2a6pQ00="]
        {
            assert!(Checksum::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_token_reads_back_among_any_other_pairs(
            value in "[ -~]{0,80}",
            others in proptest::collection::btree_map("[a-s][!-+--~]{0,8}", "\\PC{0,20}", 0..6),
        ) {
            let pairs = others.iter().map(|(key, text)| format!("{key} {}", STANDARD.encode(text)));
            let own = format!("token {}", STANDARD.encode(&value));
            let metadata = pairs.chain([own]).collect::<Vec<_>>().join(",");
            prop_assert_eq!(token(&metadata), Ok(Some(value)));
        }

        #[test]
        fn nothing_makes_the_readers_panic(text in "\\PC{0,200}") {
            let _ = (token(&text), Checksum::parse(&text), bytes("Upload-Offset", &text));
        }
    }
}
