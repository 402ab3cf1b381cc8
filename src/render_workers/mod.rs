//! Renders pictures in separate processes, where a crash, a hang or excessive memory use costs one
//! picture (S7, S8). The pool of workers is bounded, and workers start on demand. A thread
//! supervises each worker: it sends requests, and ends and reaps the worker at its deadline.
//!
//! `protocol` defines the messages, `keeper` is the server's side, `worker` is the other process,
//! and `sandbox` drops that process's privileges.

mod keeper;
mod protocol;
mod sandbox;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use dossier_image::{Recipe, RenderLimits, Rendered};
use tokio::sync::oneshot;

use crate::domain::ids::BlobId;
use crate::error::{Error, Result};
use crate::metrics::{Outcome, Pictures};

pub use worker::{WORKER_COMMAND, work};

/// Pictures that may wait for a worker; one more fails with [`Error::Busy`].
const MAX_WAITING: usize = 512;
/// Of these, pictures rendered ahead of a request; one more is left until it is requested.
const MAX_AHEAD: usize = 256;
/// Remembered pictures that timed out once. When the set is full, it is cleared.
const MAX_TIMED_OUT: usize = 1_024;
/// Stack of a supervisor thread. It is small because the thread decodes nothing.
const SUPERVISOR_STACK_BYTES: usize = 256 * 1024;
/// Returned when too many wait, and when no worker can be started.
const BUSY: Error = Error::Busy { retry_after_seconds: 5 };

/// The settings of the pool.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program that becomes a worker when its first argument is [`WORKER_COMMAND`]. Its path is
    /// absolute, because `/` is the working directory of a worker.
    pub program: PathBuf,
    /// Concurrent workers, at least 1.
    pub workers: usize,
    /// How long one picture may take.
    pub deadline: Duration,
    /// How long a worker may be idle.
    pub idle_max: Duration,
}

/// How urgent a picture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for it.
    Now,
    /// It is rendered ahead of a request, after all pictures that somebody waits for.
    Ahead,
}

/// Opens the original. `None` when it no longer exists.
type Open = Box<dyn FnOnce() -> io::Result<Option<File>> + Send>;

/// A picture to render.
pub struct Job {
    /// The original, for the log.
    pub blob: BlobId,
    /// What to render.
    pub recipe: Recipe,
    /// The worker checks them before it decodes anything.
    pub limits: RenderLimits,
    /// Opens the original when the job starts.
    pub open: Open,
}

/// The pool. Dropping it ends its workers.
pub struct RenderWorkers {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    metrics: Pictures,
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the warning about workers without a system call filter was logged.
    warned_unfiltered: AtomicBool,
}

/// Invariant: `busy <= supervisors <= settings.workers`, and nothing waits once the pool is closed.
#[derive(Default)]
struct State {
    now: VecDeque<QueuedJob>,
    ahead: VecDeque<QueuedJob>,
    /// Threads that have a worker or are about to start one.
    supervisors: usize,
    /// Of these, threads that render a picture.
    busy: usize,
    /// Originals whose picture timed out.
    timed_out: HashSet<BlobId>,
    closed: bool,
    threads: Vec<JoinHandle<()>>,
}

struct QueuedJob {
    job: Job,
    reply: oneshot::Sender<Result<Option<Rendered>>>,
}

impl RenderWorkers {
    /// Creates a pool, without workers yet.
    pub fn new(settings: Settings, metrics: Pictures) -> Self {
        let shared = Shared {
            settings,
            metrics,
            state: Mutex::default(),
            changed: Condvar::new(),
            warned_unfiltered: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Renders a picture. `None` when the original cannot be rendered, or its worker crashed twice
    /// or timed out twice.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when too many wait, the picture timed out for the first time, no worker can
    /// be started, or the pool is closed; or the error from opening the original.
    pub async fn render(&self, priority: Priority, job: Job) -> Result<Option<Rendered>> {
        let (send, reply) = oneshot::channel();
        if !self.enqueue(priority, QueuedJob { job, reply: send }) {
            self.shared.metrics.count_attempt(Outcome::Busy);
            return Err(BUSY);
        }
        // The sender is dropped when the pool is closed meanwhile.
        reply.await.unwrap_or(Err(BUSY))
    }

    /// Starts a worker if none is free, so that an expected picture does not wait for one.
    pub fn start_ahead(&self) {
        let mut state = self.shared.state();
        if state.supervisors == state.busy {
            self.start_supervisor(&mut state);
        }
    }

    /// Pictures that are being rendered.
    pub fn busy(&self) -> usize {
        self.shared.state().busy
    }

    /// Accepts no more pictures and drops those that wait. Running ones continue, until their
    /// deadline at most.
    pub fn close(&self) {
        let mut state = self.shared.state();
        state.closed = true;
        state.now.clear();
        state.ahead.clear();
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Closes the pool and waits until every worker has ended.
    pub async fn stop(&self) {
        self.close();
        let threads = std::mem::take(&mut self.shared.state().threads);
        let ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A panic was already reported.
                let _ = thread.join();
            }
        });
        let _ = ended.await;
    }

    /// False when the queue is full.
    fn enqueue(&self, priority: Priority, queued: QueuedJob) -> bool {
        let mut state = self.shared.state();
        let has_room = state.waiting() < MAX_WAITING
            && (priority == Priority::Now || state.ahead.len() < MAX_AHEAD);
        if state.closed || !has_room {
            return false;
        }
        match priority {
            Priority::Now => state.now.push_back(queued),
            Priority::Ahead => state.ahead.push_back(queued),
        }
        if state.supervisors - state.busy < state.waiting() {
            self.start_supervisor(&mut state);
        }
        if state.supervisors == 0 {
            state.now.clear();
            state.ahead.clear();
            return false;
        }
        drop(state);
        self.shared.changed.notify_one();
        true
    }

    fn start_supervisor(&self, state: &mut State) {
        if state.closed || state.supervisors >= self.shared.settings.workers {
            return;
        }
        state.threads.retain(|thread| !thread.is_finished());
        let shared = Arc::clone(&self.shared);
        // A dedicated thread that lives as long as its worker: the system kills a worker together
        // with the thread that started it, and so also when this process is killed.
        let started = std::thread::Builder::new()
            .name("render-monitor".to_owned())
            .stack_size(SUPERVISOR_STACK_BYTES)
            .spawn(move || keeper::run(&shared));
        match started {
            Ok(thread) => {
                state.threads.push(thread);
                state.supervisors += 1;
            }
            Err(error) => tracing::error!(%error, "cannot start a thread for a render worker"),
        }
    }
}

impl Drop for RenderWorkers {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs once that the system has no system call filter.
    fn warn_unfiltered(&self) {
        if !self.warned_unfiltered.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "this system has no seccomp: render workers keep their memory and time limits, but \
                 can open files and sockets"
            );
        }
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.now.len() + self.ahead.len()
    }

    /// Records a timeout; returns whether a picture of the same original timed out before.
    fn has_timed_out_before(&mut self, blob: BlobId) -> bool {
        if self.timed_out.len() >= MAX_TIMED_OUT {
            self.timed_out.clear();
        }
        !self.timed_out.insert(blob)
    }

    fn next(&mut self) -> Option<QueuedJob> {
        self.now.pop_front().or_else(|| self.ahead.pop_front())
    }
}
