//! Upload tokens: arbitrary text is rejected, every token round-trips, and any change is rejected.
#![no_main]

use dossier::domain::ids::{AttachmentId, ContactId, SiteId};
use dossier::domain::signing::{SigningKey, SigningKeys, UploadGrant};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

fuzz_target!(|data: &[u8]| {
    let keys = SigningKeys::new(SigningKey::new(1, &[7; 32]), vec![SigningKey::new(2, &[9; 32])]);
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(keys.check_upload(text, 0).is_err(), "a forged token was accepted");
    }
    let Some((head, rest)) = data.split_first_chunk::<32>() else { return };
    let text = String::from_utf8_lossy(rest);
    // The limits for generating an upload URL: 255 characters of a type, 260 of a name.
    let mime_type: String = text.chars().filter(char::is_ascii).take(255).collect();
    let file_name: String = text.chars().take(260).collect();
    let id = |at: usize| Uuid::from_bytes(std::array::from_fn(|index| head[(at + index) % 32]));
    let number = u64::from_le_bytes(std::array::from_fn(|index| head[index + 3]));
    let grant = UploadGrant {
        expires_s: number as u32,
        site_id: SiteId(id(0)),
        key_id: id(5),
        contact_id: ContactId(id(9)),
        attachment_id: AttachmentId(id(17)),
        max_bytes: number,
        size_bytes: (head[0] & 1 == 1).then_some(number / 2),
        sha256: (head[0] & 2 == 2).then_some(*head),
        mime_type,
        file_name,
    };
    let token = keys.sign_upload(&grant);
    if grant.expires_s > 0 {
        assert_eq!(keys.check_upload(&token, 0).as_ref(), Ok(&grant));
    }
    let at = head[1] as usize * 8 + head[2] as usize;
    let mut forged = token.into_bytes();
    let at = at % forged.len();
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("ASCII");
    assert!(keys.check_upload(&forged, 0).is_err(), "an altered token was accepted");
});
