//! What the sandbox blocks, tested inside a sandboxed process; and the queue of the pool, tested
//! without workers.

use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};

use futures_util::FutureExt as _;
use rustix::process::{Resource, Rlimit, getppid, setrlimit, test_kill_process};

use super::*;

/// Set in the process that enters the sandbox; its value is a folder for the test.
const INSIDE: &str = "DOSSIER_TEST_INSIDE_THE_SANDBOX";
/// Exit codes of that process: all checks passed; the system has no filter.
const ALL_CHECKED: i32 = 47;
const NO_FILTER: i32 = 48;

#[test]
fn a_worker_can_decode_and_do_nothing_else() {
    if let Some(folder) = std::env::var_os(INSIDE) {
        let is_tested = inside_the_sandbox(Path::new(&folder));
        std::process::exit(if is_tested { ALL_CHECKED } else { NO_FILTER });
    }
    let folder = tempfile::tempdir().unwrap();
    let name = std::thread::current().name().unwrap().to_owned();
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, folder.path())
        .output()
        .unwrap();
    if ended.status.code() == Some(NO_FILTER) {
        writeln!(io::stderr(), "NOT TESTED: this system has no seccomp").unwrap();
        return;
    }
    let output = [ended.stdout, ended.stderr].concat();
    let output = String::from_utf8_lossy(&output);
    assert_eq!(ended.status.code(), Some(ALL_CHECKED), "{output}");
}

/// False when the system has no filter to test.
fn inside_the_sandbox(folder: &Path) -> bool {
    let file = folder.join("file");
    std::fs::write(&file, "a").unwrap();
    let mut open = File::open(&file).unwrap();
    let server = getppid().unwrap();
    sandbox::set_limits().unwrap();
    if !sandbox::filter_calls() {
        return false;
    }
    assert_blocked("reading a file", &File::open(&file));
    assert_blocked("reading a secret of the system", &std::fs::read("/etc/passwd"));
    assert_blocked("reading a folder", &std::fs::read_dir(folder));
    assert_blocked("looking at a file", &std::fs::metadata(&file));
    assert_blocked("writing a file", &std::fs::write(folder.join("new"), "b"));
    assert_blocked("removing a file", &std::fs::remove_file(&file));
    assert_blocked("connecting", &TcpStream::connect("127.0.0.1:9"));
    assert_blocked("sending a datagram", &UdpSocket::bind("127.0.0.1:0"));
    assert_blocked("making a socket", &UnixStream::pair());
    assert_blocked("starting a program", &Command::new("/bin/true").spawn());
    assert_blocked("a signal to the server", &test_kill_process(server).map_err(Into::into));
    let more = Rlimit { current: None, maximum: None };
    assert_blocked("more memory", &setrlimit(Resource::As, more).map_err(Into::into));
    assert_blocked("forking", &fork());
    assert_blocked("new code", &map_executable_memory());
    let too_much = Vec::<u8>::new().try_reserve_exact(1 << 30);
    assert!(too_much.is_err(), "memory beyond the limit");
    // What decoders need.
    let mut decoded = vec![1_u8; 200 << 20];
    decoded.extend(std::thread::spawn(|| vec![2_u8; 1 << 20]).join().unwrap());
    assert_eq!(io::read_to_string(&mut open).unwrap(), "a");
    true
}

fn assert_blocked<T>(what: &str, result: &io::Result<T>) {
    assert!(result.is_err(), "{what} is possible");
}

#[expect(unsafe_code, reason = "there is no safe way to fork")]
fn fork() -> io::Result<()> {
    // SAFETY: if it succeeds, the child aborts at once and touches nothing.
    match unsafe { libc::fork() } {
        0 => std::process::abort(),
        child if child < 0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[expect(unsafe_code, reason = "there is no safe way to map memory")]
fn map_executable_memory() -> io::Result<()> {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: requests memory at no fixed address, and nothing uses it.
    let mapped = unsafe { libc::mmap(std::ptr::null_mut(), 4_096, protection, flags, -1, 0) };
    if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A pool of one supervisor whose jobs end when the test releases them. Their originals do not
/// exist, so they need no worker.
struct Pool {
    workers: RenderWorkers,
    opened: (Sender<u128>, Receiver<u128>),
}

impl Pool {
    fn new() -> Self {
        let settings = Settings {
            program: Path::new("/nowhere/dossier").to_owned(),
            workers: 1,
            deadline: Duration::from_secs(10),
            idle_max: Duration::from_secs(10),
        };
        Self { workers: RenderWorkers::new(settings, Pictures::default()), opened: channel() }
    }

    /// A job that reports its start, and then waits until the sender of `held` is dropped.
    fn job(&self, number: u128, held: Option<Receiver<()>>) -> Job {
        let opened = self.opened.0.clone();
        let open = move || {
            opened.send(number).unwrap();
            held.map(|held| held.recv());
            Ok(None)
        };
        Job {
            blob: BlobId(uuid::Uuid::from_u128(number)),
            recipe: Recipe::preview(),
            limits: RenderLimits::default(),
            open: Box::new(open),
        }
    }

    /// Starts a job that runs until the returned sender is dropped.
    fn occupied(&self) -> (impl Future<Output = Result<Option<Rendered>>>, Sender<()>) {
        let (release, held) = channel();
        let mut first = Box::pin(self.workers.render(Priority::Now, self.job(0, Some(held))));
        assert!(first.as_mut().now_or_never().is_none());
        assert_eq!(self.opened.1.recv().unwrap(), 0);
        (first, release)
    }
}

fn is_busy(result: &Result<Option<Rendered>>) -> bool {
    matches!(result, Err(Error::Busy { .. }))
}

#[tokio::test]
async fn the_queue_is_bounded_and_shorter_for_pictures_rendered_ahead() {
    let pool = Pool::new();
    let (first, release) = pool.occupied();
    let mut waiting = Vec::new();
    for (priority, most) in [(Priority::Ahead, MAX_AHEAD), (Priority::Now, MAX_WAITING - MAX_AHEAD)]
    {
        for _ in 0..most {
            let mut job = Box::pin(pool.workers.render(priority, pool.job(1, None)));
            assert!(job.as_mut().now_or_never().is_none());
            waiting.push(job);
        }
        let one_more = pool.workers.render(priority, pool.job(2, None)).now_or_never();
        assert!(is_busy(&one_more.expect("it fails at once")), "{priority:?}");
    }
    drop(release);
    assert!(first.await.unwrap().is_none());
    for job in waiting {
        assert!(job.await.unwrap().is_none());
    }
    assert_eq!(pool.opened.1.try_iter().filter(|number| *number == 1).count(), MAX_WAITING);
}

#[tokio::test]
async fn requested_pictures_come_first() {
    let pool = Pool::new();
    let (_first, release) = pool.occupied();
    let order =
        [(Priority::Ahead, 1), (Priority::Ahead, 2), (Priority::Now, 3), (Priority::Now, 4)];
    let jobs = order.map(|(priority, number)| {
        let mut job = Box::pin(pool.workers.render(priority, pool.job(number, None)));
        assert!(job.as_mut().now_or_never().is_none());
        job
    });
    drop(release);
    futures_util::future::join_all(jobs).await;
    assert_eq!(pool.opened.1.try_iter().collect::<Vec<_>>(), [3, 4, 1, 2]);
}

#[tokio::test]
async fn a_picture_that_is_no_longer_awaited_is_not_started() {
    let pool = Pool::new();
    let (_first, release) = pool.occupied();
    let mut gone = Box::pin(pool.workers.render(Priority::Now, pool.job(1, None)));
    assert!(gone.as_mut().now_or_never().is_none());
    let mut stays = Box::pin(pool.workers.render(Priority::Now, pool.job(2, None)));
    assert!(stays.as_mut().now_or_never().is_none());
    drop(gone);
    drop(release);
    stays.await.unwrap();
    assert_eq!(pool.opened.1.try_iter().collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn a_closed_pool_drops_waiting_jobs_and_finishes_running_ones() {
    let pool = Pool::new();
    let (first, release) = pool.occupied();
    let mut waits = Box::pin(pool.workers.render(Priority::Now, pool.job(1, None)));
    assert!(waits.as_mut().now_or_never().is_none());
    pool.workers.close();
    assert!(is_busy(&waits.await));
    assert!(is_busy(&pool.workers.render(Priority::Now, pool.job(2, None)).await));
    drop(release);
    pool.workers.stop().await;
    assert!(first.await.unwrap().is_none());
    assert_eq!((pool.workers.busy(), pool.workers.shared.state().supervisors), (0, 0));
    assert!(pool.opened.1.try_iter().next().is_none());
}
