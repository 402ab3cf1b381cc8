//! Media tokens: arbitrary text is rejected, and a token verifies for its own attachment only.
#![no_main]

use dossier::domain::ids::{AttachmentId, SiteId};
use dossier::domain::signing::{SigningKey, SigningKeys};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

fuzz_target!(|data: &[u8]| {
    let keys = SigningKeys::new(SigningKey::new(1, &[7; 32]), Vec::new());
    let (site, attachment) = (SiteId(Uuid::nil()), AttachmentId(Uuid::nil()));
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(
            keys.check_media(text, site, attachment, 0).is_err(),
            "a forged token was accepted"
        );
    }
    let Some((head, _)) = data.split_first_chunk::<40>() else { return };
    let id = |at: usize| Uuid::from_bytes(std::array::from_fn(|index| head[at + index]));
    let (site, attachment) = (SiteId(id(0)), AttachmentId(id(16)));
    let expires_s = u32::from_le_bytes(std::array::from_fn(|index| head[32 + index])).max(1);
    let token = keys.media_signer(expires_s).token(site, attachment);
    let mut token = token.to_vec();
    let check = |token: &[u8], site, attachment, now_ms| {
        let text = std::str::from_utf8(token).expect("ASCII");
        keys.check_media(text, site, attachment, now_ms)
    };
    assert_eq!(check(&token, site, attachment, 0), Ok(expires_s));
    assert!(check(&token, site, attachment, i64::from(expires_s) * 1_000).is_err());
    let mut other = *attachment.as_bytes();
    other[head[36] as usize % 16] ^= head[37].max(1);
    assert!(check(&token, site, AttachmentId::from_bytes(other), 0).is_err());
    let at = head[38] as usize % token.len();
    token[at] = if token[at] == b'A' { b'B' } else { b'A' };
    assert!(check(&token, site, attachment, 0).is_err(), "an altered token was accepted");
});
