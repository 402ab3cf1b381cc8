//! Signed tokens round-trip, any change is rejected, and they expire.

use proptest::prelude::*;

use super::*;

fn keys() -> SigningKeys {
    SigningKeys::new(SigningKey::new(1, &[7; 32]), vec![])
}

fn grant(name: &str) -> UploadGrant {
    UploadGrant {
        expires_s: 2_000_000_000,
        site_id: SiteId::from_bytes([1; 16]),
        key_id: Uuid::from_u128(4),
        contact_id: ContactId::from_bytes([2; 16]),
        attachment_id: AttachmentId::from_bytes([3; 16]),
        max_bytes: 100,
        size_bytes: None,
        sha256: None,
        mime_type: "image/png".to_owned(),
        file_name: name.to_owned(),
    }
}

const NOW_MS: i64 = 1_900_000_000_000;

prop_compose! {
    fn any_grant()(
        expires_s in 1_900_000_001_u32.., ids in any::<[[u8; 16]; 4]>(), max_bytes: u64,
        size_bytes: Option<u64>, sha256: Option<[u8; 32]>,
        mime_type in "[a-z/+.-]{1,255}", file_name in "(?s).{1,260}",
    ) -> UploadGrant {
        UploadGrant {
            expires_s,
            site_id: SiteId::from_bytes(ids[0]),
            key_id: Uuid::from_bytes(ids[3]),
            contact_id: ContactId::from_bytes(ids[1]),
            attachment_id: AttachmentId::from_bytes(ids[2]),
            max_bytes, size_bytes, sha256, mime_type, file_name,
        }
    }
}

proptest! {
    #[test]
    fn an_upload_token_round_trips(grant in any_grant()) {
        let token = keys().sign_upload(&grant);
        prop_assert!(token.len() <= UPLOAD_TOKEN_MAX_CHARS);
        prop_assert_eq!(keys().check_upload(&token, NOW_MS), Ok(grant));
    }

    #[test]
    fn random_text_is_never_a_token(text in "\\PC{0,300}") {
        prop_assert_eq!(keys().check_upload(&text, NOW_MS), Err(TokenError::Forged));
        let site = SiteId::from_bytes([1; 16]);
        let id = AttachmentId::from_bytes([2; 16]);
        prop_assert_eq!(keys().check_media(&text, site, id, NOW_MS), Err(TokenError::Forged));
    }

    #[test]
    fn links_expire_between_half_and_all_of_their_lifetime(
        now_s in 0_i64..4_000_000_000, life in 2_u32..10_000_000,
    ) {
        let expires = i64::from(link_expiry_s(now_s * 1_000, life));
        let window = i64::from(life / 2);
        prop_assert!(expires > now_s + window - 1 && expires <= now_s + 2 * window);
    }
}

#[test]
fn any_flipped_bit_of_an_upload_token_is_rejected() {
    let token = keys().sign_upload(&grant("a.png"));
    let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let altered = URL_SAFE_NO_PAD.encode(altered);
        assert_eq!(keys().check_upload(&altered, NOW_MS), Err(TokenError::Forged), "bit {bit}");
    }
}

#[test]
fn any_truncated_upload_token_is_rejected() {
    let token = keys().sign_upload(&grant("a.png"));
    for length in 0..token.len() {
        let cut = &token[..length];
        assert_eq!(keys().check_upload(cut, NOW_MS), Err(TokenError::Forged), "{length}");
    }
}

#[test]
fn a_token_has_one_spelling() {
    let token = keys().sign_upload(&grant("a.png"));
    for other in [format!("{token}="), format!("{token} "), token.replace('A', "a")] {
        if other != token {
            assert!(keys().check_upload(&other, NOW_MS).is_err(), "{other}");
        }
    }
}

#[test]
fn any_changed_character_of_a_media_token_is_rejected() {
    let (keys, site) = (keys(), SiteId::from_bytes([1; 16]));
    let id = AttachmentId::from_bytes([2; 16]);
    let token = keys.media_signer(2_000_000_000).token(site, id);
    let check =
        |token: &[u8]| keys.check_media(std::str::from_utf8(token).unwrap(), site, id, NOW_MS);
    assert_eq!(check(&token), Ok(2_000_000_000));
    for index in 0..token.len() {
        for other in b"AQaz09-_" {
            let mut altered = token;
            altered[index] = *other;
            if altered != token {
                assert_eq!(check(&altered), Err(TokenError::Forged), "{index}");
            }
        }
    }
}

#[test]
fn a_media_token_is_valid_for_one_attachment_of_one_site() {
    let keys = keys();
    let (site, other_site) = (SiteId::from_bytes([1; 16]), SiteId::from_bytes([9; 16]));
    let (id, other_id) = (AttachmentId::from_bytes([2; 16]), AttachmentId::from_bytes([8; 16]));
    let token = keys.media_signer(2_000_000_000).token(site, id);
    let token = std::str::from_utf8(&token).unwrap();
    assert!(keys.check_media(token, site, id, NOW_MS).is_ok());
    assert_eq!(keys.check_media(token, other_site, id, NOW_MS), Err(TokenError::Forged));
    assert_eq!(keys.check_media(token, site, other_id, NOW_MS), Err(TokenError::Forged));
}

#[test]
fn a_token_expires_at_the_second_it_names() {
    let token = keys().sign_upload(&grant("a.png"));
    assert!(keys().check_upload(&token, 1_999_999_999_999).is_ok());
    assert_eq!(keys().check_upload(&token, 2_000_000_000_000), Err(TokenError::Expired));
}

#[test]
fn an_older_key_still_verifies_and_a_removed_one_does_not() {
    let token = keys().sign_upload(&grant("a.png"));
    let new = SigningKey::new(2, &[8; 32]);
    let rotated = SigningKeys::new(new.clone(), vec![SigningKey::new(1, &[7; 32])]);
    assert!(rotated.check_upload(&token, NOW_MS).is_ok());
    assert_ne!(rotated.sign_upload(&grant("a.png")), token);
    let after = SigningKeys::new(new, vec![]);
    assert_eq!(after.check_upload(&token, NOW_MS), Err(TokenError::Forged));
}

#[test]
fn the_links_version_depends_on_key_and_url() {
    let version = keys().links_version("http://a/");
    assert_eq!(keys().links_version("http://a/"), version);
    assert_ne!(keys().links_version("http://b/"), version);
    let other = SigningKeys::new(SigningKey::new(1, &[8; 32]), vec![]);
    assert_ne!(other.links_version("http://a/"), version);
}

#[test]
fn link_expiry_is_constant_within_a_window() {
    let hour = 3_600;
    assert_eq!(link_expiry_s(1_800_000, hour), 5_400);
    assert_eq!(link_expiry_s(3_599_999, hour), 5_400);
    assert_eq!(link_expiry_s(3_600_000, hour), 7_200);
}
