//! Sends an upload to the bucket while it arrives: in one request if possible, see
//! [`super::streaming`]. Otherwise it goes in parts of equal size, which are read back from the
//! local file, a few at a time. An upload smaller than a part goes in one call at the end.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};
use tokio::sync::OwnedSemaphorePermit;

use super::super::key::{Part, ResumePoint, StagedKey};
use super::link::{Pending, StoreErrorKind, error_kind, unavailable};
use super::marks::{ABANDONED_AFTER_MS, Marker, State};
use super::streaming::StreamingPut;
use super::{DEADLINE, LONG_DEADLINE, Remote, S3};

/// Parts of one upload in flight at a time.
const MAX_PARTS_IN_FLIGHT: usize = 2;
/// How often the marker of a long upload is renewed.
const MARKER_RENEWAL: Duration = Duration::from_millis(ABANDONED_AFTER_MS as u64 / 6);
/// An upload with a marker older than this is not sealed: other servers may soon consider it
/// abandoned. Only a machine that was suspended gets there.
const MARKER_MAX_AGE: Duration = Duration::from_millis(ABANDONED_AFTER_MS as u64 / 2);

/// An upload on its way to the bucket.
pub(in super::super) struct Sending<'a> {
    s3: &'a S3,
    staged: StagedKey,
    path: Path,
    began: Instant,
    began_ms: i64,
    /// When the last marker write began, and its call until it is waited for.
    marker_written_at: Instant,
    pending_marker: Option<Pending<()>>,
    /// False once a marker write has failed. The previous marker then covers everything in the
    /// store.
    is_marker_valid: bool,
    /// The single request that carries the whole upload.
    streaming: Option<StreamingPut>,
    upload: Option<String>,
    part_bytes: u64,
    /// Bytes sent in parts.
    sent_bytes: u64,
    parts: Vec<Option<String>>,
    in_flight: VecDeque<(usize, Pending<PartId>)>,
    /// Bytes at the start that were sent earlier and are missing from the local file.
    missing_prefix_bytes: u64,
    /// The offsets with a state: the acknowledged one and its predecessor.
    states: VecDeque<ResumePoint>,
    is_resumable: bool,
    placement: Placement,
}

/// Whether the object exists under its final name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Placement {
    NotAttempted,
    /// A call to create it has ended; it may have failed.
    Attempted,
    /// The outcome of a call is unknown: the object may even appear later.
    Unknown,
}

impl<'a> Sending<'a> {
    /// Begins an upload. Starts writing its marker without waiting for it.
    pub(in super::super) fn begin(
        s3: &'a S3,
        staged: StagedKey,
        size_bytes: Option<u64>,
        now_ms: i64,
    ) -> Self {
        let mut sending = Self::new(s3, staged, now_ms);
        sending.pending_marker = sending.write_marker().ok();
        sending.streaming = size_bytes.and_then(|size| s3.stream(&sending.path, size));
        sending
    }

    fn new(s3: &'a S3, staged: StagedKey, now_ms: i64) -> Self {
        let now = Instant::now();
        Self {
            s3,
            staged,
            path: s3.part_path(staged.key, Part::Original),
            began: now,
            began_ms: now_ms,
            marker_written_at: now,
            pending_marker: None,
            is_marker_valid: true,
            streaming: None,
            upload: None,
            part_bytes: s3.part_bytes,
            sent_bytes: 0,
            parts: Vec::new(),
            in_flight: VecDeque::new(),
            missing_prefix_bytes: 0,
            states: VecDeque::new(),
            is_resumable: false,
            placement: Placement::NotAttempted,
        }
    }

    /// Resumes from an offset that was acknowledged, possibly by another server.
    pub(in super::super) fn resume(
        s3: &'a S3,
        staged: StagedKey,
        resume_point: &ResumePoint,
        file: &mut File,
        now_ms: i64,
    ) -> io::Result<Self> {
        let offset_bytes = resume_point.offset_bytes;
        let marker = s3.marker(staged)?.unwrap_or_default();
        let mut sending = Self::new(s3, staged, now_ms);
        (sending.upload, sending.is_resumable) = (marker.upload, true);
        sending.pending_marker = Some(sending.write_marker()?);
        if offset_bytes == 0 {
            return Ok(sending);
        }
        sending.states.push_back(resume_point.clone());
        if let Some(meta) = s3.head(&sending.path)? {
            // A failed commit had completed the object, which consumed its parts. No row refers to
            // it. The bytes are sent again.
            let whole = Remote::new(
                Arc::clone(&s3.client),
                sending.path.clone(),
                meta.size,
                s3.handle.clone(),
            );
            whole.with_version(meta.e_tag).copy_to(0, offset_bytes, file)?;
            sending.upload = None;
            return Ok(sending);
        }
        let (state, tail) = s3.state(staged, resume_point)?;
        // The parts belong to the upload in the state, whatever the marker says.
        sending.upload = state.upload.or(sending.upload);
        sending.part_bytes = state.part_bytes;
        sending.sent_bytes = offset_bytes - tail.len() as u64;
        sending.missing_prefix_bytes = sending.sent_bytes;
        sending.parts = state.parts.into_iter().map(Some).collect();
        file.seek(io::SeekFrom::Start(sending.sent_bytes))?;
        file.write_all(&tail)?;
        Ok(sending)
    }

    fn write_marker(&mut self) -> io::Result<Pending<()>> {
        self.marker_written_at = Instant::now();
        let at_ms = self.began_ms + self.began.elapsed().as_millis() as i64;
        self.s3.begin_marker(self.staged, &Marker { at_ms, upload: self.upload.clone() })
    }

    /// Waits until the marker is written.
    pub(in super::super) fn wait_for_marker(&mut self) -> io::Result<()> {
        match self.pending_marker.take() {
            Some(pending_marker) => {
                pending_marker.wait().inspect_err(|_| self.is_marker_valid = false)
            }
            None => Ok(()),
        }
    }

    /// Sends bytes that were just written to the file.
    pub(in super::super) fn written(
        &mut self,
        file: &File,
        written: u64,
        bytes: &Bytes,
    ) -> io::Result<()> {
        if self.marker_written_at.elapsed() > MARKER_RENEWAL {
            self.wait_for_marker()?;
            self.pending_marker = Some(self.write_marker()?);
        }
        if let Some(streaming) = &mut self.streaming {
            if streaming.push(self.s3, bytes) {
                return Ok(());
            }
            self.streaming = None;
        }
        self.send_parts(file, written)
    }

    /// Sends all full parts. The last part is never empty, and bytes that fit into one part wait
    /// for the end.
    fn send_parts(&mut self, file: &File, written: u64) -> io::Result<()> {
        while written - self.sent_bytes > self.part_bytes {
            self.send_part(file, self.part_bytes)?;
        }
        Ok(())
    }

    fn send_part(&mut self, file: &File, length: u64) -> io::Result<()> {
        self.wait_for_marker()?;
        let upload = match self.upload.clone() {
            Some(upload) => upload,
            None => self.begin_multipart()?,
        };
        while self.in_flight.len() >= MAX_PARTS_IN_FLIGHT {
            self.finish_oldest_part()?;
        }
        let (payload, permit) = self.read(file, self.sent_bytes, length)?;
        let index = self.parts.len();
        let (client, path) = (Arc::clone(&self.s3.client), self.path.clone());
        let part = self.s3.begin(LONG_DEADLINE, async move {
            let part = client.put_part(&path, &upload, index, payload).await;
            drop(permit);
            part
        });
        self.parts.push(None);
        self.in_flight.push_back((index, part));
        self.sent_bytes += length;
        Ok(())
    }

    fn begin_multipart(&mut self) -> io::Result<String> {
        let (client, path) = (Arc::clone(&self.s3.client), self.path.clone());
        let upload = self.s3.wait(DEADLINE, async move { client.create_multipart(&path).await })?;
        self.upload = Some(upload.clone());
        // Recorded before the first part exists, so that the parts can be cleaned up.
        self.write_marker()?.wait()?;
        Ok(upload)
    }

    /// Reads a part, once there is memory for it.
    fn read(
        &self,
        file: &File,
        offset: u64,
        length: u64,
    ) -> io::Result<(PutPayload, OwnedSemaphorePermit)> {
        let permit = self.s3.buffer(length)?;
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, offset)?;
        Ok((bytes.into(), permit))
    }

    /// Waits for the oldest part in flight.
    fn finish_oldest_part(&mut self) -> io::Result<()> {
        if let Some((index, part)) = self.in_flight.pop_front() {
            self.parts[index] = Some(part.wait()?.content_id);
        }
        Ok(())
    }

    fn finish_parts(&mut self) -> io::Result<Vec<String>> {
        while !self.in_flight.is_empty() {
            self.finish_oldest_part()?;
        }
        let parts: Option<Vec<String>> = self.parts.iter().cloned().collect();
        parts.ok_or_else(|| io::Error::other("a part was lost"))
    }

    /// Makes everything written so far durable, with the state needed to resume from there.
    pub(in super::super) fn checkpoint(
        &mut self,
        file: &File,
        resume_point: &ResumePoint,
    ) -> io::Result<()> {
        self.wait_for_marker()?;
        let parts = self.finish_parts()?;
        let state = State { upload: self.upload.clone(), part_bytes: self.part_bytes, parts };
        let tail_bytes = resume_point.offset_bytes - self.sent_bytes;
        let _permit = self.s3.buffer(tail_bytes)?;
        let mut bytes = state.header()?;
        let header_bytes = bytes.len();
        bytes.resize(header_bytes + tail_bytes as usize, 0);
        file.read_exact_at(&mut bytes[header_bytes..], self.sent_bytes)?;
        self.s3.put(self.s3.state_path(self.staged, resume_point), bytes)?;
        if self.states.back() != Some(resume_point) {
            self.states.push_back(resume_point.clone());
        }
        // The previous state stays until this one is known to be acknowledged.
        while self.states.len() > 2 {
            let Some(old) = self.states.pop_front() else { break };
            self.s3.delete_state(self.staged, &old)?;
        }
        Ok(())
    }

    /// Parts that were sent stay: sending them again replaces them.
    pub(in super::super) fn cancel_in_flight(&mut self) {
        self.streaming = None;
        self.in_flight.drain(..).for_each(|(_, part)| part.abort());
    }

    /// Completes the local file with bytes that were sent earlier.
    pub(in super::super) fn fetch_prefix(
        &mut self,
        file: &mut File,
        written: u64,
    ) -> io::Result<()> {
        if self.missing_prefix_bytes == 0 {
            return Ok(());
        }
        // Parts are not readable before they are assembled.
        self.place(file, written)?;
        let path = self.path.clone();
        let whole = Remote::new(Arc::clone(&self.s3.client), path, written, self.s3.handle.clone());
        file.seek(io::SeekFrom::Start(0))?;
        whole.pin()?.copy_to(0, self.missing_prefix_bytes, file)?;
        self.missing_prefix_bytes = 0;
        Ok(())
    }

    pub(in super::super) fn seal(&mut self, file: &File, written: u64) -> io::Result<()> {
        self.place(file, written)?;
        if self.marker_written_at.elapsed() > MARKER_MAX_AGE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the upload stalled for too long"));
        }
        Ok(())
    }

    /// Creates the object under its final name.
    fn place(&mut self, file: &File, written: u64) -> io::Result<()> {
        if self.placement != Placement::NotAttempted {
            return Ok(());
        }
        self.wait_for_marker()?;
        let streamed = self.streaming.take().and_then(|streaming| streaming.finish(self.s3));
        let placed = streamed.unwrap_or_else(|| self.place_written(file, written));
        let error_kind = placed.as_ref().err().and_then(error_kind);
        let is_unknown = error_kind == Some(StoreErrorKind::Unavailable);
        self.placement = if is_unknown { Placement::Unknown } else { Placement::Attempted };
        if placed.is_ok() && self.parts.is_empty() {
            // The signature covers the hash of all bytes, which the store verified. For the other
            // case, see `streaming`.
            return Ok(());
        }
        // The object may exist even if the response was lost.
        match self.s3.size_of(self.staged.key)? {
            Some(size_bytes) if size_bytes == written => {
                if let Err(error) = placed {
                    tracing::warn!(%error, "the response to an upload was lost; the object exists");
                }
                // Its parts are consumed and need no cleanup.
                self.upload = None;
                if self.is_resumable { self.write_marker()?.wait() } else { Ok(()) }
            }
            found => {
                let problem = format!("the store has {} bytes of {written}", found.unwrap_or(0));
                match placed {
                    Ok(()) => Err(unavailable(problem)),
                    // The client can send all of it again.
                    Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_resumable => {
                        Err(unavailable("the store lost parts that it had accepted"))
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn place_written(&mut self, file: &File, written: u64) -> io::Result<()> {
        self.send_parts(file, written)?;
        match self.upload.clone() {
            Some(upload) if !self.parts.is_empty() => self.place_parts(file, written, upload),
            // The local file lacks the bytes that were sent earlier.
            _ if self.missing_prefix_bytes > 0 => Err(io::ErrorKind::NotFound.into()),
            _ => self.place_in_one(file, written),
        }
    }

    fn place_in_one(&self, file: &File, written: u64) -> io::Result<()> {
        let (payload, permit) = self.read(file, 0, written)?;
        let (client, path) = (Arc::clone(&self.s3.client), self.path.clone());
        self.s3.wait(LONG_DEADLINE, async move {
            let put = client.put(&path, payload).await.map(drop);
            drop(permit);
            put
        })
    }

    fn place_parts(&mut self, file: &File, written: u64, upload: String) -> io::Result<()> {
        self.send_part(file, written - self.sent_bytes)?;
        let parts =
            self.finish_parts()?.into_iter().map(|content_id| PartId { content_id }).collect();
        let (client, path) = (Arc::clone(&self.s3.client), self.path.clone());
        self.s3.wait(LONG_DEADLINE, async move {
            client.complete_multipart(&path, &upload, parts).await.map(drop)
        })
    }

    /// Removes everything, including an object that may exist under the final name.
    pub(in super::super) fn cancel(&mut self) -> io::Result<()> {
        self.cancel_in_flight();
        self.wait_for_marker()?;
        if !self.is_marker_valid {
            // Further calls to this store would only delay the client's response.
            return Err(unavailable("the marker of an upload could not be written"));
        }
        if let Some(upload) = self.upload.take() {
            self.s3.abort(self.staged, upload)?;
        }
        if self.placement != Placement::NotAttempted {
            self.s3.delete(self.path.clone())?;
        }
        if self.placement == Placement::Unknown {
            // The error keeps the marker, so recovery checks again in an hour.
            return Err(unavailable("the outcome of a call to the store is unknown"));
        }
        Ok(())
    }
}
