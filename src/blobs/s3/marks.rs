//! What is known of uploads that are under way, as small objects: `staging/<upload>` says that there is
//! one, when it was last worked on and what it is called at the store; `states/<upload>/<offset>-<hash>` is how
//! a resumable one is gone on with from there, on whichever server; the beginning of the SHA-256 of the bytes
//! up to there keeps apart what two servers have got.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use object_store::multipart::MultipartStore as _;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::super::key::{Part, Reached, StagedKey};
use super::super::walk::{AllStaged, found};
use super::link::Pending;
use super::{DEADLINE, S3};
use crate::domain::hex;

const STAGING: &str = "staging/";
const STATES: &str = "states/";
/// What the name of a state has of its hash. Some stores make one file name of a whole key, which is why it and
/// [`states_of`] are short.
const HASH_BYTES: usize = 12;
/// An upload of which nothing was heard for so long, and that has no row, was left behind. Whoever works on
/// one renews its mark more often: see [`super::sending`].
pub(super) const GIVEN_UP_MS: i64 = 60 * 60 * 1_000;

/// What stands in `staging/`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// When it was last worked on, in Unix milliseconds.
    pub(super) at_ms: i64,
    /// The id that the store has given it, once it has parts.
    pub(super) upload: Option<String>,
}

/// How a resumable upload stands at an offset; the bytes behind the last part follow it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) upload: Option<String>,
    pub(super) part_bytes: u64,
    /// What the store calls the parts that it has.
    pub(super) parts: Vec<String>,
}

/// Where the states of an upload lie.
fn states_of(staged: StagedKey) -> String {
    let StagedKey { key, .. } = staged;
    format!("{STATES}{}.{}/", key.site_directory(), key.file(Part::Original))
}

/// The offset in the name of a state.
fn offset_of(state: &str) -> u64 {
    let offset = state.split('-').next().unwrap_or_default();
    u64::from_str_radix(offset, 16).unwrap_or(0)
}

impl State {
    /// What the tail is written behind.
    pub(super) fn head(&self) -> io::Result<Vec<u8>> {
        let mut head = serde_json::to_vec(self)?;
        head.push(b'\n');
        Ok(head)
    }

    fn parse(bytes: &Bytes) -> Option<(Self, Bytes)> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let state = serde_json::from_slice(&bytes[..end]).ok()?;
        Some((state, bytes.slice(end + 1..)))
    }
}

impl S3 {
    pub(super) fn mark_later(&self, staged: StagedKey, mark: &Mark) -> io::Result<Pending<()>> {
        Ok(self.put_later(self.mark_path(staged), serde_json::to_vec(mark)?))
    }

    /// What stands in a mark; `None` when it is there and is none: then the store is not to be believed, or
    /// somebody else has written there.
    pub(super) fn mark(&self, staged: StagedKey) -> io::Result<Option<Mark>> {
        let bytes = self.get(self.mark_path(staged))?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    fn mark_path(&self, staged: StagedKey) -> Path {
        self.path(&format!("{STAGING}{}", staged.file()))
    }

    pub(super) fn state_path(&self, staged: StagedKey, reached: &Reached) -> Path {
        let (offset, hash) = (reached.offset_bytes, hex::encode(&reached.sha256[..HASH_BYTES]));
        self.path(&format!("{}{offset:016x}-{hash}", states_of(staged)))
    }

    /// The state at an offset, with the bytes behind its last part.
    pub(super) fn state(&self, staged: StagedKey, reached: &Reached) -> io::Result<(State, Bytes)> {
        let bytes = self.get(self.state_path(staged, reached))?;
        let is_whole = |(state, tail): &(State, Bytes)| {
            let in_parts = state.part_bytes * state.parts.len() as u64;
            in_parts + tail.len() as u64 == reached.offset_bytes
        };
        State::parse(&bytes).filter(is_whole).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the state of an upload is damaged")
        })
    }

    pub(super) fn forget_state(&self, staged: StagedKey, reached: &Reached) -> io::Result<()> {
        self.delete(self.state_path(staged, reached))
    }

    /// Uploads that have a mark, and names that are none.
    pub(in super::super) fn staged(&self) -> io::Result<(Vec<StagedKey>, Vec<String>)> {
        let (mut staged, mut foreign) = (Vec::new(), Vec::new());
        for (name, _) in self.list(STAGING)? {
            match StagedKey::parse(&name) {
                Some(key) => staged.push(key),
                None => foreign.push(format!("{STAGING}{name}")),
            }
        }
        Ok((staged, foreign))
    }

    pub(in super::super) fn all_staged(&self) -> io::Result<AllStaged> {
        let (staged, foreign) = self.staged()?;
        let with_sizes = staged.into_iter().map(|staged| {
            // The furthest that it can be gone on with from.
            let offsets = self.states(staged)?.into_iter().map(|state| offset_of(&state));
            Ok((staged, offsets.max().unwrap_or(0)))
        });
        Ok((with_sizes.collect::<io::Result<_>>()?, foreign))
    }

    /// The names of an upload's states.
    fn states(&self, staged: StagedKey) -> io::Result<Vec<String>> {
        let listed = self.list(&states_of(staged))?;
        Ok(listed.into_iter().map(|(name, _)| name).collect())
    }

    pub(in super::super) fn is_given_up(&self, staged: StagedKey, now_ms: i64) -> io::Result<bool> {
        match found(self.mark(staged))? {
            Some(Some(mark)) => Ok(mark.at_ms.saturating_add(GIVEN_UP_MS) < now_ms),
            // Another server may be at work on it: what nobody can read is no reason to take its bytes away.
            Some(None) => {
                tracing::warn!(name = staged.file(), "the mark of an upload cannot be read");
                Ok(false)
            }
            // Somebody has settled it since.
            None => Ok(false),
        }
    }

    /// Takes away all that speaks of an upload. The mark goes last, so that the rest is found again.
    pub(in super::super) fn settle(&self, staged: StagedKey, is_plain: bool) -> io::Result<()> {
        if !is_plain && let Some(mark) = found(self.mark(staged))? {
            if let Some(upload) = mark.and_then(|mark| mark.upload) {
                self.abort(staged, upload)?;
            }
            for state in self.states(staged)? {
                self.delete(self.path(&format!("{}{state}", states_of(staged))))?;
            }
        }
        self.delete(self.mark_path(staged))
    }

    /// Gives the parts of an upload up, if there are any.
    pub(super) fn abort(&self, staged: StagedKey, upload: String) -> io::Result<()> {
        let (client, path) = (Arc::clone(&self.client), self.part_path(staged.key, Part::Original));
        let aborted = self.wait(DEADLINE, async move {
            match client.abort_multipart(&path, &upload).await {
                // So do some stores answer for one that is used up. Should the right be missing, a
                // rule of the bucket takes the parts away (docs/s3.md).
                Err(error @ object_store::Error::PermissionDenied { .. }) => {
                    tracing::warn!(%error, "parts of an upload could not be given up");
                    Ok(())
                }
                aborted => aborted,
            }
        });
        found(aborted).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_back_with_its_tail_whatever_bytes_it_has() {
        let state = State {
            upload: Some("id\n\"".to_owned()),
            part_bytes: 8,
            parts: vec!["\"etag\"".to_owned()],
        };
        let written = [state.head().unwrap(), b"\n\ntail\n".to_vec()].concat();
        let (read, tail) = State::parse(&written.into()).unwrap();
        assert_eq!((read, &*tail), (state, &b"\n\ntail\n"[..]));
    }

    #[test]
    fn what_is_no_state_is_not_read_as_one() {
        assert!(State::parse(&Bytes::from_static(b"{}")).is_none());
        assert!(State::parse(&Bytes::from_static(b"[]\nx")).is_none());
    }
}
