//! The thread that supervises one worker. It starts the worker and sends it requests. It ends and
//! reaps the worker at its deadline, after a crash, after enough pictures, or when it is idle.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use dossier_image::Rendered;
use rustix::param::page_size;

use super::protocol::{self, DeadlineReader, RenderRequest, Reply};
use super::{BUSY, Job, QueuedJob, Shared, WORKER_COMMAND};
use crate::error::Result;
use crate::metrics::{Outcome, Pictures};

/// How often an idle worker is polled: one that has exited is reaped.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Most pictures per worker. It bounds what a library leaks, and what a hostile file may have done
/// to the process.
const MAX_PICTURES: u32 = 100;
/// A worker that holds more memory than this after a picture is replaced.
const MAX_RESIDENT_BYTES: u64 = 64 * 1024 * 1024;
/// Attempts when a worker crashes. A previous picture may have damaged the worker, so there is one
/// retry.
const ATTEMPTS: u32 = 2;

/// Supervises a worker until it is no longer needed.
pub(super) fn run(shared: &Shared) {
    let mut supervisor = Supervisor { shared, worker: None };
    // Before the first picture. If this fails, the first picture retries it and logs the error.
    supervisor.worker = supervisor.start().ok();
    while let Some(QueuedJob { job, reply }) = supervisor.next() {
        let rendered = if reply.is_closed() { Ok(None) } else { supervisor.render(job) };
        // Before the reply: its receiver may read the count.
        shared.state().busy -= 1;
        // Fails when the caller no longer waits.
        let _ = reply.send(rendered);
        supervisor.recycle();
    }
}

struct Supervisor<'a> {
    shared: &'a Shared,
    worker: Option<Worker>,
}

/// The outcome of an attempt.
enum Attempt {
    Rendered(Rendered),
    Rejected(String),
    TimedOut,
    Crashed(io::Error),
}

impl Supervisor<'_> {
    /// Waits for a job. `None` when this supervisor is no longer needed.
    fn next(&mut self) -> Option<QueuedJob> {
        let idle_since = Instant::now();
        let mut state = self.shared.state();
        loop {
            if let Some(queued) = state.next() {
                state.busy += 1;
                return Some(queued);
            }
            if state.closed || idle_since.elapsed() > self.shared.settings.idle_max {
                state.supervisors -= 1;
                return None;
            }
            let pause = POLL_INTERVAL.min(self.shared.settings.idle_max);
            let waited = self.shared.changed.wait_timeout(state, pause);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if self.worker.as_mut().is_some_and(Worker::has_ended) {
                self.worker = None;
            }
        }
    }

    fn render(&mut self, job: Job) -> Result<Option<Rendered>> {
        let Some(source) = (job.open)()? else { return Ok(None) };
        let request = RenderRequest { recipe: job.recipe, limits: job.limits };
        for _ in 0..ATTEMPTS {
            let Some(mut worker) = self.take_worker() else {
                self.shared.metrics.count_attempt(Outcome::Busy);
                return Err(BUSY);
            };
            let begin = Instant::now();
            let attempt = worker.render(&request, &source, begin + self.shared.settings.deadline);
            let (metrics, blob) = (&self.shared.metrics, job.blob);
            metrics.seconds.observe(begin.elapsed().as_secs_f64());
            match attempt {
                Attempt::Rendered(rendered) => {
                    metrics.count_attempt(Outcome::Rendered);
                    self.keep_worker(worker);
                    return Ok(Some(rendered));
                }
                Attempt::Rejected(reason) => {
                    metrics.count_attempt(Outcome::Rejected);
                    tracing::info!(%blob, reason, "a picture cannot be rendered");
                    self.keep_worker(worker);
                    return Ok(None);
                }
                Attempt::TimedOut => {
                    metrics.count_attempt(Outcome::TimedOut);
                    tracing::error!(%blob, "a picture took too long; its worker was killed");
                    // The first time, the machine may have been too busy.
                    let again = self.shared.state().has_timed_out_before(blob);
                    return if again { Ok(None) } else { Err(BUSY) };
                }
                Attempt::Crashed(error) => {
                    metrics.count_attempt(Outcome::Crashed);
                    let ended = worker.end();
                    tracing::error!(%blob, %error, ended, "a picture crashed its worker");
                }
            }
        }
        Ok(None)
    }

    /// A worker that appears to be alive; a new one if necessary.
    fn take_worker(&mut self) -> Option<Worker> {
        if let Some(mut worker) = self.worker.take()
            && !worker.has_ended()
        {
            return Some(worker);
        }
        match self.start() {
            Ok(worker) => Some(worker),
            Err(error) => {
                tracing::error!(%error, "a render worker could not be started");
                None
            }
        }
    }

    fn keep_worker(&mut self, worker: Worker) {
        if worker.is_unfiltered {
            self.shared.warn_unfiltered();
        }
        self.worker = Some(worker);
    }

    fn start(&self) -> io::Result<Worker> {
        Worker::start(&self.shared.settings.program, self.shared.metrics.clone())
    }

    /// Replaces a worker that is used up or has exited, while nobody waits for it.
    fn recycle(&mut self) {
        if self.worker.as_ref().is_none_or(Worker::is_used_up) {
            self.worker = None;
            self.worker = self.start().ok();
        }
    }
}

/// A worker process. Dropping it kills and reaps it.
struct Worker {
    child: Child,
    socket: UnixStream,
    is_ready: bool,
    is_unfiltered: bool,
    pictures: u32,
    metrics: Pictures,
}

impl Worker {
    /// Starts a process that inherits nothing but the socket. Does not wait until it is ready.
    fn start(program: &Path, metrics: Pictures) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(program)
            .arg(WORKER_COMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        metrics.worker_starts.inc();
        metrics.workers.inc();
        let (is_ready, is_unfiltered) = (false, false);
        Ok(Self { child, socket: ours, is_ready, is_unfiltered, pictures: 0, metrics })
    }

    fn render(&mut self, request: &RenderRequest, source: &File, deadline: Instant) -> Attempt {
        self.pictures += 1;
        match self.exchange(request, source, deadline) {
            Ok(attempt) => attempt,
            Err(error) if error.kind() == ErrorKind::TimedOut => Attempt::TimedOut,
            Err(error) => Attempt::Crashed(error),
        }
    }

    fn exchange(
        &mut self,
        request: &RenderRequest,
        source: &File,
        deadline: Instant,
    ) -> io::Result<Attempt> {
        protocol::send_request(&self.socket, request, source)?;
        let mut replies = DeadlineReader { socket: &self.socket, deadline };
        if !self.is_ready {
            let Reply::Ready { filtered } = protocol::read(&mut replies)? else {
                return Err(ErrorKind::InvalidData.into());
            };
            (self.is_ready, self.is_unfiltered) = (true, !filtered);
        }
        Ok(match protocol::read(&mut replies)? {
            Reply::Made { media_type, width, height, length_bytes } => {
                let size = (width, height);
                let picture =
                    protocol::read_picture(&mut replies, &media_type, size, length_bytes)?;
                Attempt::Rendered(picture)
            }
            Reply::Refused { reason } => Attempt::Rejected(protocol::printable(&reason)),
            Reply::Ready { .. } => return Err(ErrorKind::InvalidData.into()),
        })
    }

    fn has_ended(&mut self) -> bool {
        // A process with an unknown state cannot be relied on.
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn is_used_up(&self) -> bool {
        self.pictures >= MAX_PICTURES
            || resident_bytes(self.child.id()).is_none_or(|bytes| bytes > MAX_RESIDENT_BYTES)
    }

    /// Ends it and describes how it ended, possibly before this call.
    fn end(mut self) -> String {
        match self.reap() {
            Ok(status) => match status.signal() {
                Some(signal) => format!("signal {signal}"),
                None => format!("status {}", status.code().unwrap_or_default()),
            },
            Err(error) => error.to_string(),
        }
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        // Fails if it has already exited; then its status is available.
        let _ = self.child.kill();
        self.child.wait()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Err(error) = self.reap() {
            tracing::error!(%error, "a render worker could not be ended");
        }
        self.metrics.workers.dec();
    }
}

/// The resident memory of a process.
fn resident_bytes(process: u32) -> Option<u64> {
    let sizes = std::fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = sizes.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}
