//! The thread that looks after one worker: starts it, gives it orders, ends it at its deadline,
//! after a crash, after enough pictures or when there is nothing to do, and buries it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rustix::param::page_size;

use super::protocol::{self, Answer, Order, Until};
use super::{BUSY, Job, Shared, WORKER_COMMAND, Waiting};
use crate::domain::image::Rendered;
use crate::error::Result;
use crate::metrics::{Outcome, Pictures};

/// How often an idle worker is looked at: one that has ended by itself is buried.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A worker makes so many pictures at most: whatever a library leaks, and whatever a stranger's
/// file has done to the process, ends there.
const PICTURES_MAX: u32 = 100;
/// A worker that holds more memory than this after a picture is ended.
const KEPT_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// A crash may be the end of a worker that a picture before had damaged, so it is tried again once.
const TRIES: u32 = 2;

/// Looks after a worker until there is nothing to do for it.
pub(super) fn run(shared: &Shared) {
    let mut keeper = Keeper { shared, worker: None };
    // Ahead of the first picture. What prevents it is said when there is one.
    keeper.worker = keeper.start().ok();
    while let Some(Waiting { job, answer }) = keeper.next() {
        let made = if answer.is_closed() { Ok(None) } else { keeper.make(job) };
        // Before the answer: whoever has it may look.
        shared.state().busy -= 1;
        // Nobody waits any more when the one who asked has gone.
        let _ = answer.send(made);
        keeper.recycle();
    }
}

struct Keeper<'a> {
    shared: &'a Shared,
    worker: Option<Worker>,
}

/// How a try ended.
enum Tried {
    Made(Rendered),
    Refused(String),
    TimedOut,
    Crashed(io::Error),
}

impl Keeper<'_> {
    /// Waits for a picture to make. `None` when this keeper is not needed any more.
    fn next(&mut self) -> Option<Waiting> {
        let idle_since = Instant::now();
        let mut state = self.shared.state();
        loop {
            if let Some(waiting) = state.next() {
                state.busy += 1;
                return Some(waiting);
            }
            if state.closed || idle_since.elapsed() > self.shared.settings.idle_max {
                state.keepers -= 1;
                return None;
            }
            let pause = LOOK_EVERY.min(self.shared.settings.idle_max);
            let waited = self.shared.changed.wait_timeout(state, pause);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if self.worker.as_mut().is_some_and(Worker::has_ended) {
                self.worker = None;
            }
        }
    }

    fn make(&mut self, job: Job) -> Result<Option<Rendered>> {
        let Some(source) = (job.open)()? else { return Ok(None) };
        let order = Order { recipe: job.recipe, limits: job.limits };
        for _ in 0..TRIES {
            let Some(mut worker) = self.take_worker() else {
                self.shared.metrics.tried(Outcome::Busy);
                return Err(BUSY);
            };
            let begin = Instant::now();
            let tried = worker.make(&order, &source, begin + self.shared.settings.deadline);
            let (metrics, blob) = (&self.shared.metrics, job.blob);
            metrics.seconds.observe(begin.elapsed().as_secs_f64());
            match tried {
                Tried::Made(rendered) => {
                    metrics.tried(Outcome::Made);
                    self.keep(worker);
                    return Ok(Some(rendered));
                }
                Tried::Refused(reason) => {
                    metrics.tried(Outcome::Refused);
                    tracing::info!(%blob, reason, "no picture was made");
                    self.keep(worker);
                    return Ok(None);
                }
                Tried::TimedOut => {
                    metrics.tried(Outcome::TimedOut);
                    tracing::error!(%blob, "a picture took too long; its worker was ended");
                    // The first time, the machine may have been too busy.
                    let again = self.shared.state().has_timed_out_before(blob);
                    return if again { Ok(None) } else { Err(BUSY) };
                }
                Tried::Crashed(error) => {
                    metrics.tried(Outcome::Crashed);
                    let ended = worker.end();
                    tracing::error!(%blob, %error, ended, "a picture broke its worker");
                }
            }
        }
        Ok(None)
    }

    /// A worker that lives, as far as one can know; a new one if need be.
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

    fn keep(&mut self, worker: Worker) {
        if worker.is_unfiltered {
            self.shared.tell_unfiltered();
        }
        self.worker = Some(worker);
    }

    fn start(&self) -> io::Result<Worker> {
        Worker::start(&self.shared.settings.program, self.shared.metrics.clone())
    }

    /// Puts a fresh worker in the place of one that has done enough, holds too much or has gone,
    /// while nobody waits for it.
    fn recycle(&mut self) {
        if self.worker.as_ref().is_none_or(Worker::is_used_up) {
            self.worker = None;
            self.worker = self.start().ok();
        }
    }
}

/// A worker process. Dropping it ends and buries it.
struct Worker {
    child: Child,
    socket: UnixStream,
    is_ready: bool,
    is_unfiltered: bool,
    pictures: u32,
    metrics: Pictures,
}

impl Worker {
    /// Starts a process with nothing of this one but the socket. It is not waited for.
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

    fn make(&mut self, order: &Order, source: &File, deadline: Instant) -> Tried {
        self.pictures += 1;
        match self.ask(order, source, deadline) {
            Ok(tried) => tried,
            Err(error) if error.kind() == ErrorKind::TimedOut => Tried::TimedOut,
            Err(error) => Tried::Crashed(error),
        }
    }

    fn ask(&mut self, order: &Order, source: &File, deadline: Instant) -> io::Result<Tried> {
        protocol::send_order(&self.socket, order, source)?;
        let mut answers = Until { socket: &self.socket, deadline };
        if !self.is_ready {
            let Answer::Ready { filtered } = protocol::read(&mut answers)? else {
                return Err(ErrorKind::InvalidData.into());
            };
            (self.is_ready, self.is_unfiltered) = (true, !filtered);
        }
        Ok(match protocol::read(&mut answers)? {
            Answer::Made { media_type, width, height, length_bytes } => {
                let size = (width, height);
                let picture =
                    protocol::read_picture(&mut answers, &media_type, size, length_bytes)?;
                Tried::Made(picture)
            }
            Answer::Refused { reason } => Tried::Refused(protocol::printable(&reason)),
            Answer::Ready { .. } => return Err(ErrorKind::InvalidData.into()),
        })
    }

    fn has_ended(&mut self) -> bool {
        // A process that cannot be asked about is none to rely on.
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn is_used_up(&self) -> bool {
        self.pictures >= PICTURES_MAX
            || resident_bytes(self.child.id()).is_none_or(|bytes| bytes > KEPT_MAX_BYTES)
    }

    /// Ends it and tells how it ended, which may have been before.
    fn end(mut self) -> String {
        match self.bury() {
            Ok(status) => match status.signal() {
                Some(signal) => format!("signal {signal}"),
                None => format!("status {}", status.code().unwrap_or_default()),
            },
            Err(error) => error.to_string(),
        }
    }

    fn bury(&mut self) -> io::Result<ExitStatus> {
        // It may have ended by itself; then its status is there already.
        let _ = self.child.kill();
        self.child.wait()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Err(error) = self.bury() {
            tracing::error!(%error, "a render worker could not be ended");
        }
        self.metrics.workers.dec();
    }
}

/// What a process holds in memory, as the system says.
fn resident_bytes(process: u32) -> Option<u64> {
    let sizes = std::fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = sizes.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}
