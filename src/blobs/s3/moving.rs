//! Copies an original into the bucket. The signature of each call covers the SHA-256 of its bytes,
//! which the store verifies. The object gets its name only after all bytes matched the SHA-256 in
//! the row. Then it is read back.

use std::io;
use std::sync::Arc;

use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};
use sha2::{Digest as _, Sha256};

use super::super::Original;
use super::super::key::{Part, StagedKey};
use super::super::moving::{ExpectedOriginal, MOVING, MoveError, verify};
use super::super::walk::found;
use super::link::part_bytes;
use super::{DEADLINE, LONG_DEADLINE, S3};

impl S3 {
    pub(in super::super) fn copy_from(
        &self,
        source: &Original,
        expected: &ExpectedOriginal,
    ) -> Result<(), MoveError> {
        let key = expected.staged.key;
        let part_bytes = part_bytes(expected.size_bytes).max(self.part_bytes);
        if expected.size_bytes <= part_bytes {
            self.copy_in_one(source, expected)?;
        } else {
            self.copy_in_parts(source, expected, part_bytes)?;
        }
        let remote = self.remote(key, expected.size_bytes).pin()?;
        let read_back = Original::Remote(remote).read_all(expected, |_| Ok(()));
        if let Err(failed) = read_back {
            self.delete(self.part_path(key, Part::Original))?;
            return Err(failed.into_target());
        }
        Ok(())
    }

    fn copy_in_one(&self, source: &Original, expected: &ExpectedOriginal) -> Result<(), MoveError> {
        let permit = self.buffer(expected.size_bytes)?;
        let mut bytes = vec![0; expected.size_bytes as usize];
        source.read_exact_at(&mut bytes, 0).map_err(MoveError::Source)?;
        verify(Sha256::new_with_prefix(&bytes), expected).map_err(MoveError::Source)?;
        self.put(self.move_path(expected.staged), Vec::new())?;
        let path = self.part_path(expected.staged.key, Part::Original);
        let client = Arc::clone(&self.client);
        Ok(self.wait(LONG_DEADLINE, async move {
            let put = client.put(&path, PutPayload::from(bytes)).await.map(drop);
            drop(permit);
            put
        })?)
    }

    fn copy_in_parts(
        &self,
        source: &Original,
        expected: &ExpectedOriginal,
        part_bytes: u64,
    ) -> Result<(), MoveError> {
        let path = self.part_path(expected.staged.key, Part::Original);
        let (client, at) = (Arc::clone(&self.client), path.clone());
        let upload = self.wait(DEADLINE, async move { client.create_multipart(&at).await })?;
        // Recorded before the first part exists, so that the parts can be cleaned up.
        self.put(self.move_path(expected.staged), upload.clone())?;
        match self.send_parts(source, expected, part_bytes, (&path, &upload)) {
            Ok(parts) => {
                let client = Arc::clone(&self.client);
                Ok(self.wait(LONG_DEADLINE, async move {
                    client.complete_multipart(&path, &upload, parts).await.map(drop)
                })?)
            }
            Err(failed) => {
                // The next move finds what cannot be aborted now. It also finds an object that an
                // earlier move may have completed without reading it back.
                let is_aborted = self.abort(expected.staged, upload).is_ok();
                if is_aborted && matches!(self.size_of(expected.staged.key), Ok(None)) {
                    let _ = self.settle_move(expected.staged);
                }
                Err(failed)
            }
        }
    }

    fn send_parts(
        &self,
        source: &Original,
        expected: &ExpectedOriginal,
        part_bytes: u64,
        (path, upload): (&Path, &str),
    ) -> Result<Vec<PartId>, MoveError> {
        let (mut sha256, mut parts, mut offset) = (Sha256::new(), Vec::new(), 0);
        while offset < expected.size_bytes {
            let length = (expected.size_bytes - offset).min(part_bytes);
            let permit = self.buffer(length)?;
            let mut bytes = vec![0; length as usize];
            source.read_exact_at(&mut bytes, offset).map_err(MoveError::Source)?;
            sha256.update(&bytes);
            let (client, path, upload) =
                (Arc::clone(&self.client), path.clone(), upload.to_owned());
            let index = parts.len();
            parts.push(self.wait(LONG_DEADLINE, async move {
                let part = client.put_part(&path, &upload, index, bytes.into()).await;
                drop(permit);
                part
            })?);
            offset += length;
        }
        verify(sha256, expected).map_err(MoveError::Source)?;
        Ok(parts)
    }

    fn move_path(&self, staged: StagedKey) -> Path {
        self.path(&format!("{MOVING}/{}", staged.file()))
    }

    pub(in super::super) fn settle_move(&self, staged: StagedKey) -> io::Result<()> {
        self.delete(self.move_path(staged))
    }

    pub(in super::super) fn abort_move(&self, staged: StagedKey) -> io::Result<()> {
        let upload = found(self.get(self.move_path(staged)))?.unwrap_or_default();
        match std::str::from_utf8(&upload) {
            Ok(upload) if !upload.is_empty() => self.abort(staged, upload.to_owned()),
            _ => Ok(()),
        }
    }

    pub(in super::super) fn unsettled_moves(&self) -> io::Result<Vec<StagedKey>> {
        let listed = self.list(&format!("{MOVING}/"))?;
        Ok(listed.iter().filter_map(|(name, _)| StagedKey::parse(name)).collect())
    }
}
