//! Makes pictures in processes of their own, where a crash, a hang or a hunger for memory costs one
//! picture (S7, S8): a bounded pool of workers, started when they are needed, each looked after by
//! a thread that gives it orders, ends it at its deadline and buries it.
//!
//! `protocol` is what both sides say, `keeper` the server's side, `worker` the other process,
//! `sandbox` what that process gives up first.

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

use tokio::sync::oneshot;

use crate::domain::ids::BlobId;
use crate::domain::image::{Recipe, RenderLimits, Rendered};
use crate::error::{Error, Result};
use crate::metrics::{Outcome, Pictures};

pub use worker::{WORKER_COMMAND, work};

/// Pictures that may wait for a worker; one more is answered with [`Error::Busy`].
const WAITING_MAX: usize = 512;
/// Of these, pictures that nobody has asked for yet; one more is left until somebody does.
const AHEAD_MAX: usize = 256;
/// Pictures that are known to have taken too long once; beyond it all are forgotten.
const TIMED_OUT_MAX: usize = 1_024;
/// What a keeper needs of a stack: it decodes nothing.
const KEEPER_STACK_BYTES: usize = 256 * 1024;
/// Said when too many wait, and when no worker can be started.
const BUSY: Error = Error::Busy { retry_after_seconds: 5 };

/// How the pool works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program that becomes a worker when its first argument is [`WORKER_COMMAND`], by its path
    /// from the root: a worker stands there.
    pub program: PathBuf,
    /// Workers at the same time, at least 1.
    pub workers: usize,
    /// How long one picture may take.
    pub deadline: Duration,
    /// How long a worker may have nothing to do.
    pub idle_max: Duration,
}

/// Who wants a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Somebody waits for it.
    Now,
    /// Nobody has asked for it yet: it comes after those that somebody waits for.
    Ahead,
}

/// Opens the original. `None` when it is gone.
type Open = Box<dyn FnOnce() -> io::Result<Option<File>> + Send>;

/// A picture to make.
pub struct Job {
    /// Whose, for the log.
    pub blob: BlobId,
    /// What to make of it.
    pub recipe: Recipe,
    /// Checked by the worker before anything is decoded.
    pub limits: RenderLimits,
    /// Opens the original, when its turn has come.
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
    /// That workers run without a filter is said once.
    told_unfiltered: AtomicBool,
}

/// Invariant: `busy <= keepers <= settings.workers`, and nothing waits once it is closed.
#[derive(Default)]
struct State {
    now: VecDeque<Waiting>,
    ahead: VecDeque<Waiting>,
    /// Threads that have a worker or are about to start one.
    keepers: usize,
    /// Of these, at work on a picture.
    busy: usize,
    /// Originals of which a picture took too long.
    timed_out: HashSet<BlobId>,
    closed: bool,
    threads: Vec<JoinHandle<()>>,
}

struct Waiting {
    job: Job,
    answer: oneshot::Sender<Result<Option<Rendered>>>,
}

impl RenderWorkers {
    /// A pool without workers yet.
    pub fn new(settings: Settings, metrics: Pictures) -> Self {
        let shared = Shared {
            settings,
            metrics,
            state: Mutex::default(),
            changed: Condvar::new(),
            told_unfiltered: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Makes a picture. `None` when nothing can be made of the original, or its workers crashed
    /// twice or twice did not end in time.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when too many wait, the worker did not end in time for the first time, none
    /// can be started, or the pool is closed; or the failure to open the original.
    pub async fn render(&self, wanted: Wanted, job: Job) -> Result<Option<Rendered>> {
        let (send, answer) = oneshot::channel();
        if !self.enqueue(wanted, Waiting { job, answer: send }) {
            self.shared.metrics.tried(Outcome::Busy);
            return Err(BUSY);
        }
        // Without an answer when the pool was closed meanwhile.
        answer.await.unwrap_or(Err(BUSY))
    }

    /// Starts a worker if none is free, so that a picture that will come soon does not wait for one.
    pub fn start_ahead(&self) {
        let mut state = self.shared.state();
        if state.keepers == state.busy {
            self.start_keeper(&mut state);
        }
    }

    /// Pictures that are being made.
    pub fn busy(&self) -> usize {
        self.shared.state().busy
    }

    /// Takes no more pictures and gives up those that wait; those that are being made go on, to
    /// their deadline at most.
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
                // It has said what there was to say.
                let _ = thread.join();
            }
        });
        let _ = ended.await;
    }

    /// False when there is no room.
    fn enqueue(&self, wanted: Wanted, waiting: Waiting) -> bool {
        let mut state = self.shared.state();
        let has_room = state.waiting() < WAITING_MAX
            && (wanted == Wanted::Now || state.ahead.len() < AHEAD_MAX);
        if state.closed || !has_room {
            return false;
        }
        match wanted {
            Wanted::Now => state.now.push_back(waiting),
            Wanted::Ahead => state.ahead.push_back(waiting),
        }
        if state.keepers - state.busy < state.waiting() {
            self.start_keeper(&mut state);
        }
        if state.keepers == 0 {
            state.now.clear();
            state.ahead.clear();
            return false;
        }
        drop(state);
        self.shared.changed.notify_one();
        true
    }

    fn start_keeper(&self, state: &mut State) {
        if state.closed || state.keepers >= self.shared.settings.workers {
            return;
        }
        state.threads.retain(|thread| !thread.is_finished());
        let shared = Arc::clone(&self.shared);
        // A thread of its own, for as long as its worker: the system ends a process with the thread
        // that started it, and so also when this process is killed.
        let started = std::thread::Builder::new()
            .name("render-keeper".to_owned())
            .stack_size(KEEPER_STACK_BYTES)
            .spawn(move || keeper::run(&shared));
        match started {
            Ok(thread) => {
                state.threads.push(thread);
                state.keepers += 1;
            }
            Err(error) => tracing::error!(%error, "no thread for a render worker"),
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

    /// Says once what the system does not give.
    fn tell_unfiltered(&self) {
        if !self.told_unfiltered.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "this system has no seccomp: render workers keep their bounds of memory and time, \
                 but may open files and sockets"
            );
        }
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.now.len() + self.ahead.len()
    }

    /// Notes that a picture took too long; tells whether one of the same original did before.
    fn has_timed_out_before(&mut self, blob: BlobId) -> bool {
        if self.timed_out.len() >= TIMED_OUT_MAX {
            self.timed_out.clear();
        }
        !self.timed_out.insert(blob)
    }

    fn next(&mut self) -> Option<Waiting> {
        self.now.pop_front().or_else(|| self.ahead.pop_front())
    }
}
