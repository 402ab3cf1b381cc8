//! Takes an original over into the bucket. Each call carries the SHA-256 of its bytes in its signature,
//! which the store compares; the object gets its name only when all of them had that of their row; then
//! it is read back.

use std::io;
use std::sync::Arc;

use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};
use sha2::{Digest as _, Sha256};

use super::super::Original;
use super::super::key::{Part, StagedKey};
use super::super::moving::{MOVING, MoveFailed, Whole, check};
use super::super::walk::found;
use super::link::part_bytes;
use super::{DEADLINE, LONG_DEADLINE, S3};

impl S3 {
    pub(in super::super) fn take_over(
        &self,
        source: &Original,
        whole: &Whole,
    ) -> Result<(), MoveFailed> {
        let key = whole.named.key;
        let part_bytes = part_bytes(whole.size_bytes).max(self.part_bytes);
        if whole.size_bytes <= part_bytes {
            self.take_in_one(source, whole)?;
        } else {
            self.take_in_parts(source, whole, part_bytes)?;
        }
        let remote = self.remote(key, whole.size_bytes).look()?;
        let back = Original::Remote(remote).read_whole(whole, |_| Ok(()));
        if let Err(failed) = back {
            self.delete(self.part_path(key, Part::Original))?;
            return Err(failed.back());
        }
        Ok(())
    }

    fn take_in_one(&self, source: &Original, whole: &Whole) -> Result<(), MoveFailed> {
        let buffer = self.buffer(whole.size_bytes)?;
        let mut bytes = vec![0; whole.size_bytes as usize];
        source.read_exact_at(&mut bytes, 0).map_err(MoveFailed::Source)?;
        check(Sha256::new_with_prefix(&bytes), whole).map_err(MoveFailed::Source)?;
        self.put(self.move_path(whole.named), Vec::new())?;
        let path = self.part_path(whole.named.key, Part::Original);
        let client = Arc::clone(&self.client);
        Ok(self.wait(LONG_DEADLINE, async move {
            let put = client.put(&path, PutPayload::from(bytes)).await.map(drop);
            drop(buffer);
            put
        })?)
    }

    fn take_in_parts(
        &self,
        source: &Original,
        whole: &Whole,
        part_bytes: u64,
    ) -> Result<(), MoveFailed> {
        let path = self.part_path(whole.named.key, Part::Original);
        let (client, at) = (Arc::clone(&self.client), path.clone());
        let upload = self.wait(DEADLINE, async move { client.create_multipart(&at).await })?;
        // Written down before there is a part that somebody must take away.
        self.put(self.move_path(whole.named), upload.clone())?;
        match self.send_parts(source, whole, part_bytes, (&path, &upload)) {
            Ok(parts) => {
                let client = Arc::clone(&self.client);
                Ok(self.wait(LONG_DEADLINE, async move {
                    client.complete_multipart(&path, &upload, parts).await.map(drop)
                })?)
            }
            Err(failed) => {
                // What cannot be given up now is found by the next move; and so is what an earlier one
                // may have put to its place without reading it back.
                let is_given_up = self.abort(whole.named, upload).is_ok();
                if is_given_up && matches!(self.size_of(whole.named.key), Ok(None)) {
                    let _ = self.settle_move(whole.named);
                }
                Err(failed)
            }
        }
    }

    fn send_parts(
        &self,
        source: &Original,
        whole: &Whole,
        part_bytes: u64,
        (path, upload): (&Path, &str),
    ) -> Result<Vec<PartId>, MoveFailed> {
        let (mut sha256, mut parts, mut offset) = (Sha256::new(), Vec::new(), 0);
        while offset < whole.size_bytes {
            let length = (whole.size_bytes - offset).min(part_bytes);
            let buffer = self.buffer(length)?;
            let mut bytes = vec![0; length as usize];
            source.read_exact_at(&mut bytes, offset).map_err(MoveFailed::Source)?;
            sha256.update(&bytes);
            let (client, path, upload) =
                (Arc::clone(&self.client), path.clone(), upload.to_owned());
            let index = parts.len();
            parts.push(self.wait(LONG_DEADLINE, async move {
                let part = client.put_part(&path, &upload, index, bytes.into()).await;
                drop(buffer);
                part
            })?);
            offset += length;
        }
        check(sha256, whole).map_err(MoveFailed::Source)?;
        Ok(parts)
    }

    fn move_path(&self, named: StagedKey) -> Path {
        self.path(&format!("{MOVING}/{}", named.file()))
    }

    pub(in super::super) fn settle_move(&self, named: StagedKey) -> io::Result<()> {
        self.delete(self.move_path(named))
    }

    pub(in super::super) fn give_up_move(&self, named: StagedKey) -> io::Result<()> {
        let upload = found(self.get(self.move_path(named)))?.unwrap_or_default();
        match std::str::from_utf8(&upload) {
            Ok(upload) if !upload.is_empty() => self.abort(named, upload.to_owned()),
            _ => Ok(()),
        }
    }

    pub(in super::super) fn unsettled_moves(&self) -> io::Result<Vec<StagedKey>> {
        let listed = self.list(&format!("{MOVING}/"))?;
        Ok(listed.iter().filter_map(|(name, _)| StagedKey::parse(name)).collect())
    }
}
