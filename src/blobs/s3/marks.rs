//! The state of uploads in progress, as small objects.
//!
//! `staging/<upload>` is the marker of an upload: when a server last worked on it, and its
//! multipart id at the store. `states/<upload>/<offset>-<hash>` lets any server resume a resumable
//! upload from that offset. The hash is a prefix of the SHA-256 of the bytes up to there. It
//! separates the states of two servers that received different bytes.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use object_store::multipart::MultipartStore as _;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::super::key::{Part, ResumePoint, StagedKey};
use super::super::walk::{AllStaged, found};
use super::link::Pending;
use super::{DEADLINE, S3};
use crate::domain::hex;

const STAGING: &str = "staging/";
const STATES: &str = "states/";
/// Bytes of the hash in the name of a state. This and [`states_prefix`] are short because some
/// stores turn a whole key into one file name.
const HASH_BYTES: usize = 12;
/// An upload without a row is abandoned when its marker is older than this. A server that works on
/// an upload renews the marker more often: see [`super::sending`].
pub(super) const ABANDONED_AFTER_MS: i64 = 60 * 60 * 1_000;

/// The content of an object in `staging/`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// When a server last worked on the upload, in Unix milliseconds.
    pub(super) at_ms: i64,
    /// The multipart id from the store, once there are parts.
    pub(super) upload: Option<String>,
}

/// A resumable upload at an offset. In the object, the bytes after the last part follow it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) upload: Option<String>,
    pub(super) part_bytes: u64,
    /// The `ETag`s of the parts that the store has.
    pub(super) parts: Vec<String>,
}

/// The prefix of the states of an upload.
fn states_prefix(staged: StagedKey) -> String {
    let StagedKey { key, .. } = staged;
    format!("{STATES}{}.{}/", key.site_directory(), key.file(Part::Original))
}

/// The offset in the name of a state.
fn parse_offset(state: &str) -> u64 {
    let offset = state.split('-').next().unwrap_or_default();
    u64::from_str_radix(offset, 16).unwrap_or(0)
}

impl State {
    /// The header of the object; the tail follows it.
    pub(super) fn header(&self) -> io::Result<Vec<u8>> {
        let mut header = serde_json::to_vec(self)?;
        header.push(b'\n');
        Ok(header)
    }

    fn parse(bytes: &Bytes) -> Option<(Self, Bytes)> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let state = serde_json::from_slice(&bytes[..end]).ok()?;
        Some((state, bytes.slice(end + 1..)))
    }
}

impl S3 {
    pub(super) fn begin_marker(
        &self,
        staged: StagedKey,
        marker: &Marker,
    ) -> io::Result<Pending<()>> {
        Ok(self.begin_put(self.marker_path(staged), serde_json::to_vec(marker)?))
    }

    /// Reads a marker. `None` when the object exists and is not a valid marker: the store is
    /// unreliable, or another program wrote there.
    pub(super) fn marker(&self, staged: StagedKey) -> io::Result<Option<Marker>> {
        let bytes = self.get(self.marker_path(staged))?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    fn marker_path(&self, staged: StagedKey) -> Path {
        self.path(&format!("{STAGING}{}", staged.file()))
    }

    pub(super) fn state_path(&self, staged: StagedKey, resume_point: &ResumePoint) -> Path {
        let (offset, hash) =
            (resume_point.offset_bytes, hex::encode(&resume_point.sha256[..HASH_BYTES]));
        self.path(&format!("{}{offset:016x}-{hash}", states_prefix(staged)))
    }

    /// The state at an offset, with the bytes after its last part.
    pub(super) fn state(
        &self,
        staged: StagedKey,
        resume_point: &ResumePoint,
    ) -> io::Result<(State, Bytes)> {
        let bytes = self.get(self.state_path(staged, resume_point))?;
        let is_complete = |(state, tail): &(State, Bytes)| {
            let in_parts = state.part_bytes * state.parts.len() as u64;
            in_parts + tail.len() as u64 == resume_point.offset_bytes
        };
        State::parse(&bytes).filter(is_complete).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the state of an upload is damaged")
        })
    }

    pub(super) fn delete_state(
        &self,
        staged: StagedKey,
        resume_point: &ResumePoint,
    ) -> io::Result<()> {
        self.delete(self.state_path(staged, resume_point))
    }

    /// Uploads that have a marker, and foreign names.
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
            // The furthest offset that it can be resumed from.
            let offsets = self.states(staged)?.into_iter().map(|state| parse_offset(&state));
            Ok((staged, offsets.max().unwrap_or(0)))
        });
        Ok((with_sizes.collect::<io::Result<_>>()?, foreign))
    }

    /// The names of an upload's states.
    fn states(&self, staged: StagedKey) -> io::Result<Vec<String>> {
        let listed = self.list(&states_prefix(staged))?;
        Ok(listed.into_iter().map(|(name, _)| name).collect())
    }

    pub(in super::super) fn is_abandoned(
        &self,
        staged: StagedKey,
        now_ms: i64,
    ) -> io::Result<bool> {
        match found(self.marker(staged))? {
            Some(Some(marker)) => Ok(marker.at_ms.saturating_add(ABANDONED_AFTER_MS) < now_ms),
            // Another server may be working on it: an unreadable marker does not justify removing
            // bytes.
            Some(None) => {
                tracing::warn!(name = staged.file(), "the marker of an upload is unreadable");
                Ok(false)
            }
            // Another server has settled it meanwhile.
            None => Ok(false),
        }
    }

    /// Removes the marker and states of an upload. The marker goes last, so that after a failure
    /// the rest is found again.
    pub(in super::super) fn settle(&self, staged: StagedKey, is_plain: bool) -> io::Result<()> {
        if !is_plain && let Some(marker) = found(self.marker(staged))? {
            if let Some(upload) = marker.and_then(|marker| marker.upload) {
                self.abort(staged, upload)?;
            }
            for state in self.states(staged)? {
                self.delete(self.path(&format!("{}{state}", states_prefix(staged))))?;
            }
        }
        self.delete(self.marker_path(staged))
    }

    /// Discards the parts of an upload, if there are any.
    pub(super) fn abort(&self, staged: StagedKey, upload: String) -> io::Result<()> {
        let (client, path) = (Arc::clone(&self.client), self.part_path(staged.key, Part::Original));
        let aborted = self.wait(DEADLINE, async move {
            match client.abort_multipart(&path, &upload).await {
                // Some stores return this for an upload that is already complete. If the permission
                // is really missing, a lifecycle rule of the bucket removes the parts (docs/s3.md).
                Err(error @ object_store::Error::PermissionDenied { .. }) => {
                    tracing::warn!(%error, "the parts of an upload could not be discarded");
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
    fn a_state_round_trips_with_any_tail() {
        let state = State {
            upload: Some("id\n\"".to_owned()),
            part_bytes: 8,
            parts: vec!["\"etag\"".to_owned()],
        };
        let written = [state.header().unwrap(), b"\n\ntail\n".to_vec()].concat();
        let (read, tail) = State::parse(&written.into()).unwrap();
        assert_eq!((read, &*tail), (state, &b"\n\ntail\n"[..]));
    }

    #[test]
    fn invalid_states_are_rejected() {
        assert!(State::parse(&Bytes::from_static(b"{}")).is_none());
        assert!(State::parse(&Bytes::from_static(b"[]\nx")).is_none());
    }
}
