//! Sends an upload to the bucket while it arrives: in one request if that can be, see [`super::streaming`];
//! else in parts of one size, read back from the file that it is written to on this machine, a few at a time.
//! What is smaller than a part goes in one call at the end.

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

use super::super::key::{Part, Reached, StagedKey};
use super::link::{Pending, Trouble, away, trouble};
use super::marks::{GIVEN_UP_MS, Mark, State};
use super::streaming::Streaming;
use super::{DEADLINE, LONG_DEADLINE, Remote, S3};

/// Parts of one upload that are on their way at once.
const PARTS_AT_ONCE: usize = 2;
/// How often the mark of a long upload is renewed.
const MARK_EVERY: Duration = Duration::from_millis(GIVEN_UP_MS as u64 / 6);
/// An upload whose mark is older than this is not made known any more: others may soon take it for
/// left behind. Only a machine that stood still gets there.
const MARK_MOST: Duration = Duration::from_millis(GIVEN_UP_MS as u64 / 2);

/// An upload on its way to the bucket.
pub(in super::super) struct Sending<'a> {
    s3: &'a S3,
    staged: StagedKey,
    path: Path,
    began: Instant,
    began_ms: i64,
    /// When the last mark was begun, and its call if it was not waited for.
    marked_at: Instant,
    marking: Option<Pending<()>>,
    /// False once a mark could not be written. Then an earlier one speaks of all that is there.
    is_marked: bool,
    /// The one request that all of it goes in.
    streaming: Option<Streaming>,
    upload: Option<String>,
    part_bytes: u64,
    /// Bytes that are in parts.
    sent_bytes: u64,
    parts: Vec<Option<String>>,
    flying: VecDeque<(usize, Pending<PartId>)>,
    /// Bytes at the beginning of the file that were sent earlier and are not in it.
    hole_bytes: u64,
    /// Where there are states: the acknowledged one and the one before it.
    states: VecDeque<Reached>,
    is_resumable: bool,
    placed: Placed,
}

/// Whether an upload is at its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Placed {
    No,
    /// It was put there; that may have failed.
    Perhaps,
    /// Nobody knows what became of a call: it may also come there later.
    Unknown,
}

impl<'a> Sending<'a> {
    /// Begins with a mark; nobody waits for it yet.
    pub(in super::super) fn begin(
        s3: &'a S3,
        staged: StagedKey,
        size_bytes: Option<u64>,
        now_ms: i64,
    ) -> Self {
        let mut sending = Self::new(s3, staged, now_ms);
        sending.marking = sending.mark().ok();
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
            marked_at: now,
            marking: None,
            is_marked: true,
            streaming: None,
            upload: None,
            part_bytes: s3.part_bytes,
            sent_bytes: 0,
            parts: Vec::new(),
            flying: VecDeque::new(),
            hole_bytes: 0,
            states: VecDeque::new(),
            is_resumable: false,
            placed: Placed::No,
        }
    }

    /// Goes on from an offset that was acknowledged, maybe by another server.
    pub(in super::super) fn resume(
        s3: &'a S3,
        staged: StagedKey,
        reached: &Reached,
        file: &mut File,
        now_ms: i64,
    ) -> io::Result<Self> {
        let offset_bytes = reached.offset_bytes;
        let mark = s3.mark(staged)?.unwrap_or_default();
        let mut sending = Self::new(s3, staged, now_ms);
        (sending.upload, sending.is_resumable) = (mark.upload, true);
        sending.marking = Some(sending.mark()?);
        if offset_bytes == 0 {
            return Ok(sending);
        }
        sending.states.push_back(reached.clone());
        if let Some(meta) = s3.head(&sending.path)? {
            // A commit that failed had put it at its place, which has used its parts up; no row
            // names it there. They are sent again.
            let whole = Remote::new(
                Arc::clone(&s3.client),
                sending.path.clone(),
                meta.size,
                s3.handle.clone(),
            );
            whole.of_version(meta.e_tag).copy_to(0, offset_bytes, file)?;
            sending.upload = None;
            return Ok(sending);
        }
        let (state, tail) = s3.state(staged, reached)?;
        // The parts are of this one, whatever the mark says.
        sending.upload = state.upload.or(sending.upload);
        sending.part_bytes = state.part_bytes;
        sending.sent_bytes = offset_bytes - tail.len() as u64;
        sending.hole_bytes = sending.sent_bytes;
        sending.parts = state.parts.into_iter().map(Some).collect();
        file.seek(io::SeekFrom::Start(sending.sent_bytes))?;
        file.write_all(&tail)?;
        Ok(sending)
    }

    fn mark(&mut self) -> io::Result<Pending<()>> {
        self.marked_at = Instant::now();
        let at_ms = self.began_ms + self.began.elapsed().as_millis() as i64;
        self.s3.mark_later(self.staged, &Mark { at_ms, upload: self.upload.clone() })
    }

    /// Waits until the mark is there.
    pub(in super::super) fn marked(&mut self) -> io::Result<()> {
        match self.marking.take() {
            Some(marking) => marking.wait().inspect_err(|_| self.is_marked = false),
            None => Ok(()),
        }
    }

    /// Sends what was written.
    pub(in super::super) fn written(
        &mut self,
        file: &File,
        written: u64,
        bytes: &Bytes,
    ) -> io::Result<()> {
        if self.marked_at.elapsed() > MARK_EVERY {
            self.marked()?;
            self.marking = Some(self.mark()?);
        }
        if let Some(streaming) = &mut self.streaming {
            if streaming.push(self.s3, bytes) {
                return Ok(());
            }
            self.streaming = None;
        }
        self.send_parts(file, written)
    }

    /// Sends what fills parts. The last one is never empty, and what fits into one waits for the end.
    fn send_parts(&mut self, file: &File, written: u64) -> io::Result<()> {
        while written - self.sent_bytes > self.part_bytes {
            self.send_part(file, self.part_bytes)?;
        }
        Ok(())
    }

    fn send_part(&mut self, file: &File, length: u64) -> io::Result<()> {
        self.marked()?;
        let upload = match self.upload.clone() {
            Some(upload) => upload,
            None => self.begin_parts()?,
        };
        while self.flying.len() >= PARTS_AT_ONCE {
            self.land()?;
        }
        let (payload, buffer) = self.read(file, self.sent_bytes, length)?;
        let index = self.parts.len();
        let (client, path) = (Arc::clone(&self.s3.client), self.path.clone());
        let part = self.s3.begin(LONG_DEADLINE, async move {
            let part = client.put_part(&path, &upload, index, payload).await;
            drop(buffer);
            part
        });
        self.parts.push(None);
        self.flying.push_back((index, part));
        self.sent_bytes += length;
        Ok(())
    }

    fn begin_parts(&mut self) -> io::Result<String> {
        let (client, path) = (Arc::clone(&self.s3.client), self.path.clone());
        let upload = self.s3.wait(DEADLINE, async move { client.create_multipart(&path).await })?;
        self.upload = Some(upload.clone());
        // Written down before there is a part that somebody must take away.
        self.mark()?.wait()?;
        Ok(upload)
    }

    /// Reads a part, once there is room for it.
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

    /// Waits for the oldest part on its way.
    fn land(&mut self) -> io::Result<()> {
        if let Some((index, part)) = self.flying.pop_front() {
            self.parts[index] = Some(part.wait()?.content_id);
        }
        Ok(())
    }

    fn land_all(&mut self) -> io::Result<Vec<String>> {
        while !self.flying.is_empty() {
            self.land()?;
        }
        let parts: Option<Vec<String>> = self.parts.iter().cloned().collect();
        parts.ok_or_else(|| io::Error::other("a part was lost"))
    }

    /// Makes what was written so far durable, with what it takes to go on from there.
    pub(in super::super) fn checkpoint(
        &mut self,
        file: &File,
        reached: &Reached,
    ) -> io::Result<()> {
        self.marked()?;
        let parts = self.land_all()?;
        let state = State { upload: self.upload.clone(), part_bytes: self.part_bytes, parts };
        let tail_bytes = reached.offset_bytes - self.sent_bytes;
        let _buffer = self.s3.buffer(tail_bytes)?;
        let mut bytes = state.head()?;
        let head_bytes = bytes.len();
        bytes.resize(head_bytes + tail_bytes as usize, 0);
        file.read_exact_at(&mut bytes[head_bytes..], self.sent_bytes)?;
        self.s3.put(self.s3.state_path(self.staged, reached), bytes)?;
        if self.states.back() != Some(reached) {
            self.states.push_back(reached.clone());
        }
        // The one before it stays until it is known that this one was acknowledged.
        while self.states.len() > 2 {
            let Some(old) = self.states.pop_front() else { break };
            self.s3.forget_state(self.staged, &old)?;
        }
        Ok(())
    }

    /// Nothing that was sent is taken back: what is sent again replaces it.
    pub(in super::super) fn cut(&mut self) {
        self.streaming = None;
        self.flying.drain(..).for_each(|(_, part)| part.abort());
    }

    /// Completes the file with what was sent earlier and is not in it.
    pub(in super::super) fn fill(&mut self, file: &mut File, written: u64) -> io::Result<()> {
        if self.hole_bytes == 0 {
            return Ok(());
        }
        // Parts cannot be read before they are put together.
        self.place(file, written)?;
        let path = self.path.clone();
        let whole = Remote::new(Arc::clone(&self.s3.client), path, written, self.s3.handle.clone());
        file.seek(io::SeekFrom::Start(0))?;
        whole.look()?.copy_to(0, self.hole_bytes, file)?;
        self.hole_bytes = 0;
        Ok(())
    }

    pub(in super::super) fn seal(&mut self, file: &File, written: u64) -> io::Result<()> {
        self.place(file, written)?;
        if self.marked_at.elapsed() > MARK_MOST {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the upload stood still for long"));
        }
        Ok(())
    }

    /// Puts the bytes to their place.
    fn place(&mut self, file: &File, written: u64) -> io::Result<()> {
        if self.placed != Placed::No {
            return Ok(());
        }
        self.marked()?;
        let streamed = self.streaming.take().and_then(|streaming| streaming.finish(self.s3));
        let placed = streamed.unwrap_or_else(|| self.place_written(file, written));
        let trouble = placed.as_ref().err().and_then(trouble);
        let is_unknown = trouble == Some(Trouble::Away);
        self.placed = if is_unknown { Placed::Unknown } else { Placed::Perhaps };
        if placed.is_ok() && self.parts.is_empty() {
            // Its signature covers the hash of all bytes, which the store has compared; or see `streaming`.
            return Ok(());
        }
        // Also when its answer was lost it may be there.
        match self.s3.size_of(self.staged.key)? {
            Some(size_bytes) if size_bytes == written => {
                if let Err(error) = placed {
                    tracing::warn!(%error, "the answer to an upload was lost; it is there");
                }
                // Its parts are used up: nobody need give them up.
                self.upload = None;
                if self.is_resumable { self.mark()?.wait() } else { Ok(()) }
            }
            found => {
                let problem = format!("the store has {} bytes of {written}", found.unwrap_or(0));
                match placed {
                    Ok(()) => Err(away(problem)),
                    // All of it can be sent again.
                    Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_resumable => {
                        Err(away("the store does not have the parts that it took"))
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
            // Never with a hole where bytes were sent earlier.
            _ if self.hole_bytes > 0 => Err(io::ErrorKind::NotFound.into()),
            _ => self.place_in_one(file, written),
        }
    }

    fn place_in_one(&self, file: &File, written: u64) -> io::Result<()> {
        let (payload, buffer) = self.read(file, 0, written)?;
        let (client, path) = (Arc::clone(&self.s3.client), self.path.clone());
        self.s3.wait(LONG_DEADLINE, async move {
            let put = client.put(&path, payload).await.map(drop);
            drop(buffer);
            put
        })
    }

    fn place_parts(&mut self, file: &File, written: u64, upload: String) -> io::Result<()> {
        self.send_part(file, written - self.sent_bytes)?;
        let parts = self.land_all()?.into_iter().map(|content_id| PartId { content_id }).collect();
        let (client, path) = (Arc::clone(&self.s3.client), self.path.clone());
        self.s3.wait(LONG_DEADLINE, async move {
            client.complete_multipart(&path, &upload, parts).await.map(drop)
        })
    }

    /// Takes everything back, also what may be at its place.
    pub(in super::super) fn give_up(&mut self) -> io::Result<()> {
        self.cut();
        self.marked()?;
        if !self.is_marked {
            // Its client would only wait longer for what this store does not do now.
            return Err(away("the mark of an upload could not be written"));
        }
        if let Some(upload) = self.upload.take() {
            self.s3.abort(self.staged, upload)?;
        }
        if self.placed != Placed::No {
            self.s3.delete(self.path.clone())?;
        }
        if self.placed == Placed::Unknown {
            // So its mark stays, and the recovery in an hour looks once more.
            return Err(away("nobody knows what became of a call to the store"));
        }
        Ok(())
    }
}
