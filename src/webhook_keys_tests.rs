//! The key file: created once, private, rotated; and what the keys sign.

use super::*;

fn ring() -> (tempfile::TempDir, KeyRing) {
    let root = tempfile::tempdir().unwrap();
    let ring = KeyRing::new(DataFolder::open(root.path()).unwrap());
    (root, ring)
}

fn kid(token: &str) -> String {
    let head = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let head: Value = serde_json::from_slice(&head).unwrap();
    assert_eq!((&head["alg"], &head["typ"]), (&json!("RS256"), &json!("JWT")));
    head["kid"].as_str().unwrap().to_owned()
}

#[test]
fn a_key_is_created_once_and_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let (root, ring) = ring();
    assert!(ring.current().unwrap().is_none());
    let first = ring.ensure(5).unwrap().public(5).unwrap();
    let other = KeyRing::new(DataFolder::open(root.path()).unwrap());
    assert_eq!(other.ensure(9).unwrap().public(9).unwrap(), first);
    let mode = std::fs::metadata(root.path().join("webhook.keys")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn processes_that_create_the_first_key_concurrently_agree() {
    let (root, _) = ring();
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let ring = KeyRing::new(DataFolder::open(root.path()).unwrap());
                    ring.ensure(1).unwrap().public(1).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(made.iter().all(|keys| *keys == made[0]));
}

#[test]
fn a_rotation_keeps_two_keys_and_the_new_one_signs_from_its_time() {
    let (_root, ring) = ring();
    let old = kid(&ring.ensure(0).unwrap().sign("{}", 0).unwrap());
    let keys = ring.rotate(100, 1_000).unwrap();
    assert_eq!(kid(&keys.sign("{}", 999).unwrap()), old);
    let new = kid(&keys.sign("{}", 1_000).unwrap());
    assert_ne!(new, old);
    let ids = |now_ms| {
        let public = keys.public(now_ms).unwrap();
        public.into_iter().map(|key| (key.id, key.signs)).collect::<Vec<_>>()
    };
    assert_eq!(ids(999), [(old.clone(), true), (new.clone(), false)]);
    assert_eq!(ids(1_000), [(new.clone(), true), (old, false)]);
    let error = ring.rotate(500, 2_000).err().unwrap().to_string();
    assert!(error.contains("in progress"), "{error}");
    // The oldest key is dropped.
    let third = ring.rotate(2_000, 3_000).unwrap().public(2_000).unwrap();
    assert_eq!((third.len(), &third[0].id), (2, &new));
}

#[test]
fn the_public_key_is_spki_and_verifies_signatures() {
    let (_root, ring) = ring();
    let keys = ring.ensure(0).unwrap();
    let token = keys.sign("{\"a\":1}", 0).unwrap();
    let public = keys.public(0).unwrap().remove(0);
    assert!(public.pem.starts_with("-----BEGIN PUBLIC KEY-----\nMIIBIjAN"), "{}", public.pem);
    assert_eq!(STANDARD.decode(public.base64()).unwrap(), public.pem.as_bytes());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let number = |name: &str| URL_SAFE_NO_PAD.decode(public.jwk()[name].as_str().unwrap()).unwrap();
    let checked = aws_lc_rs::rsa::PublicKeyComponents { n: number("n"), e: number("e") }.verify(
        &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256,
        signed.as_bytes(),
        &URL_SAFE_NO_PAD.decode(signature).unwrap(),
    );
    assert!(checked.is_ok());
}

#[test]
fn a_damaged_key_file_is_rejected_and_left_unchanged() {
    let (root, ring) = ring();
    for text in ["", "1 short\n", "nonsense"] {
        std::fs::write(root.path().join("webhook.keys"), text).unwrap();
        assert!(ring.ensure(0).is_err(), "{text}");
        assert_eq!(std::fs::read_to_string(root.path().join("webhook.keys")).unwrap(), text);
    }
}
