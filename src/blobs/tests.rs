//! The guarantees of the blob store, on a real folder.

use std::io::Read as _;

use bytes::Bytes;
use proptest::prelude::*;

use crate::domain::ids::{AttachmentId, SiteId};

use super::*;

fn staged_key(number: u8) -> StagedKey {
    StagedKey {
        key: BlobKey { site: SiteId::from_bytes([1; 16]), blob: BlobId::from_bytes([number; 16]) },
        attachment: AttachmentId::from_bytes([2; 16]),
    }
}

fn store() -> (tempfile::TempDir, Blobs) {
    let root = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(root.path()).unwrap();
    (root, blobs)
}

fn put(blobs: &Blobs, staged: StagedKey, bytes: &[u8]) {
    let mut upload = blobs.stage(staged, None, 0).unwrap();
    upload.append(&Bytes::copy_from_slice(bytes)).unwrap();
    upload.seal().unwrap();
    blobs.settle(staged).unwrap();
}

fn read(blobs: &Blobs, key: BlobKey, part: Part) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    blobs.open_part(key, part)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn files_below(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn sealed_bytes_read_back_and_nothing_stays_in_staging() {
    let (root, blobs) = store();
    put(&blobs, staged_key(7), b"bytes");
    assert_eq!(read(&blobs, staged_key(7).key, Part::Original).unwrap(), b"bytes");
    assert_eq!(files_below(root.path()).len(), 1);
}

#[test]
fn a_dropped_upload_leaves_nothing() {
    let (root, blobs) = store();
    let mut upload = blobs.stage(staged_key(7), None, 0).unwrap();
    upload.append(&Bytes::from_static(b"half")).unwrap();
    drop(upload);
    assert_eq!(files_below(root.path()), Vec::<String>::new());
}

#[test]
fn only_uploads_of_another_process_are_unsettled() {
    let (root, blobs) = store();
    let upload = blobs.stage(staged_key(7), None, 0).unwrap();
    assert_eq!(blobs.unsettled_uploads().unwrap(), vec![]);
    let restarted = Blobs::local(root.path()).unwrap();
    assert_eq!(restarted.unsettled_uploads().unwrap(), vec![staged_key(7)]);
    drop(upload);
}

#[test]
fn a_sealed_but_unsettled_upload_is_found_with_its_bytes() {
    let (root, blobs) = store();
    blobs.stage(staged_key(7), None, 0).unwrap().seal().unwrap();
    let restarted = Blobs::local(root.path()).unwrap();
    assert_eq!(restarted.unsettled_uploads().unwrap(), vec![staged_key(7)]);
    assert!(restarted.open_part(staged_key(7).key, Part::Original).is_ok());
}

#[test]
fn removing_a_blob_removes_its_preview() {
    let (root, blobs) = store();
    put(&blobs, staged_key(7), b"bytes");
    blobs.put_preview(staged_key(7).key, b"small").unwrap();
    assert_eq!(read(&blobs, staged_key(7).key, Part::Preview).unwrap(), b"small");
    blobs.remove(staged_key(7).key).unwrap();
    blobs.remove(staged_key(7).key).unwrap();
    assert_eq!(files_below(root.path()), Vec::<String>::new());
}

#[test]
fn removing_a_blob_removes_an_unfinished_preview() {
    let (root, blobs) = store();
    let staged = staged_key(7);
    put(&blobs, staged, b"bytes");
    let original = root.path().join(files_below(root.path()).remove(0));
    std::fs::write(original.with_extension("preview.new"), b"hal").unwrap();
    blobs.remove(staged.key).unwrap();
    assert_eq!(files_below(root.path()), Vec::<String>::new());
}

#[test]
fn a_preview_of_a_removed_blob_is_not_stored() {
    let (root, blobs) = store();
    put(&blobs, staged_key(7), b"bytes");
    blobs.remove(staged_key(7).key).unwrap();
    let error = blobs.put_preview(staged_key(7).key, b"small").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(files_below(root.path()), Vec::<String>::new());
}

#[test]
fn s10_a_planted_link_is_not_followed() {
    let (root, blobs) = store();
    let outside = tempfile::tempdir().unwrap();
    let site = staged_key(7).key.site_directory();
    std::os::unix::fs::symlink(outside.path(), root.path().join("blobs").join(site)).unwrap();
    let upload = blobs.stage(staged_key(7), None, 0).unwrap();
    assert!(upload.seal().is_err());
    assert_eq!(files_below(outside.path()), Vec::<String>::new());
    assert!(blobs.open_part(staged_key(7).key, Part::Original).is_err());
}

#[test]
fn s10_a_planted_link_in_place_of_a_blob_is_not_read() {
    let (root, blobs) = store();
    put(&blobs, staged_key(7), b"bytes");
    let path = root.path().join(&files_below(root.path())[0]);
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(blobs.open_part(staged_key(7).key, Part::Original).is_err());
}

proptest! {
    #[test]
    fn s9_every_name_is_hexadecimal_and_below_the_root(
        site in any::<[u8; 16]>(), blob in any::<[u8; 16]>(), attachment in any::<[u8; 16]>(),
    ) {
        let key = BlobKey { site: SiteId::from_bytes(site), blob: BlobId::from_bytes(blob) };
        let staged = StagedKey { key, attachment: AttachmentId::from_bytes(attachment) };
        let names = [key.site_directory(), key.directory(), key.file(Part::Original)];
        for name in names {
            prop_assert!(name.bytes().all(|b| b.is_ascii_hexdigit()), "{}", name);
        }
        prop_assert_eq!(StagedKey::parse(&staged.file()), Some(staged));
    }

    #[test]
    fn foreign_names_in_staging_are_rejected(name in "\\PC{0,120}") {
        if let Some(staged) = StagedKey::parse(&name) {
            prop_assert_eq!(staged.file(), name);
        }
    }
}
