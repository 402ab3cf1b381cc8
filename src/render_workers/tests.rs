//! What a worker cannot do any more, tried inside a process that has given it up; and who waits for
//! a worker how long, without any.

use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};

use futures_util::FutureExt as _;
use rustix::process::{Resource, Rlimit, getppid, setrlimit, test_kill_process};

use super::*;

/// Tells a process of these tests that it is the one to give everything up; a folder to try it on.
const INSIDE: &str = "DOSSIER_TEST_INSIDE_THE_SANDBOX";
/// How that process ends when all was as it should be, and when there was nothing to try.
const EVERYTHING_TRIED: i32 = 47;
const NO_FILTER: i32 = 48;

#[test]
fn a_worker_can_decode_and_do_nothing_else() {
    if let Some(folder) = std::env::var_os(INSIDE) {
        let tried = inside_the_sandbox(Path::new(&folder));
        std::process::exit(if tried { EVERYTHING_TRIED } else { NO_FILTER });
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
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(ended.status.code(), Some(EVERYTHING_TRIED), "{said}");
}

/// False when the system has no filter to try.
fn inside_the_sandbox(folder: &Path) -> bool {
    let file = folder.join("file");
    std::fs::write(&file, "a").unwrap();
    let mut open = File::open(&file).unwrap();
    let server = getppid().unwrap();
    sandbox::set_bounds().unwrap();
    if !sandbox::filter_calls() {
        return false;
    }
    refused("reading a file", File::open(&file));
    refused("reading a secret of the system", std::fs::read("/etc/passwd"));
    refused("reading a folder", std::fs::read_dir(folder));
    refused("looking at a file", std::fs::metadata(&file));
    refused("writing a file", std::fs::write(folder.join("new"), "b"));
    refused("removing a file", std::fs::remove_file(&file));
    refused("connecting", TcpStream::connect("127.0.0.1:9"));
    refused("sending a datagram", UdpSocket::bind("127.0.0.1:0"));
    refused("making a socket", UnixStream::pair());
    refused("starting a program", Command::new("/bin/true").spawn());
    refused("a signal to the server", test_kill_process(server).map_err(Into::into));
    let more = Rlimit { current: None, maximum: None };
    refused("more memory", setrlimit(Resource::As, more).map_err(Into::into));
    refused("forking", forked());
    refused("new code", executable_memory());
    let too_much = Vec::<u8>::new().try_reserve_exact(1 << 30);
    assert!(too_much.is_err(), "memory beyond its bound");
    // What decoders do.
    let mut decoded = vec![1_u8; 200 << 20];
    decoded.extend(std::thread::spawn(|| vec![2_u8; 1 << 20]).join().unwrap());
    assert_eq!(io::read_to_string(&mut open).unwrap(), "a");
    true
}

fn refused<T>(what: &str, tried: io::Result<T>) {
    let refused = tried.map(drop);
    assert!(refused.is_err(), "{what} is possible");
}

#[expect(unsafe_code, reason = "there is no safe way to fork")]
fn forked() -> io::Result<()> {
    // SAFETY: when it succeeds after all, the child ends at once and touches nothing.
    match unsafe { libc::fork() } {
        0 => std::process::abort(),
        child if child < 0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[expect(unsafe_code, reason = "there is no safe way to map memory")]
fn executable_memory() -> io::Result<()> {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: asks for memory at no given place, and nobody uses it.
    let mapped = unsafe { libc::mmap(std::ptr::null_mut(), 4_096, protection, flags, -1, 0) };
    if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A pool of one keeper whose jobs end when the test lets them: an original that is gone needs no
/// worker.
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

    /// A job that tells when its turn has come, and then waits for `held` to be dropped.
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

    /// Lets one job begin, which goes on until the returned value is dropped.
    fn occupied(&self) -> (impl Future<Output = Result<Option<Rendered>>>, Sender<()>) {
        let (release, held) = channel();
        let mut first = Box::pin(self.workers.render(Wanted::Now, self.job(0, Some(held))));
        assert!(first.as_mut().now_or_never().is_none());
        assert_eq!(self.opened.1.recv().unwrap(), 0);
        (first, release)
    }
}

fn is_busy(result: &Result<Option<Rendered>>) -> bool {
    matches!(result, Err(Error::Busy { .. }))
}

#[tokio::test]
async fn the_number_that_waits_is_bounded_and_lower_for_what_nobody_asked_for() {
    let pool = Pool::new();
    let (first, release) = pool.occupied();
    let mut waiting = Vec::new();
    for (wanted, most) in [(Wanted::Ahead, AHEAD_MAX), (Wanted::Now, WAITING_MAX - AHEAD_MAX)] {
        for _ in 0..most {
            let mut job = Box::pin(pool.workers.render(wanted, pool.job(1, None)));
            assert!(job.as_mut().now_or_never().is_none());
            waiting.push(job);
        }
        let one_more = pool.workers.render(wanted, pool.job(2, None)).now_or_never();
        assert!(is_busy(&one_more.expect("it is answered at once")), "{wanted:?}");
    }
    drop(release);
    assert!(first.await.unwrap().is_none());
    for job in waiting {
        assert!(job.await.unwrap().is_none());
    }
    assert_eq!(pool.opened.1.try_iter().filter(|number| *number == 1).count(), WAITING_MAX);
}

#[tokio::test]
async fn what_somebody_waits_for_comes_first() {
    let pool = Pool::new();
    let (_first, release) = pool.occupied();
    let order = [(Wanted::Ahead, 1), (Wanted::Ahead, 2), (Wanted::Now, 3), (Wanted::Now, 4)];
    let jobs = order.map(|(wanted, number)| {
        let mut job = Box::pin(pool.workers.render(wanted, pool.job(number, None)));
        assert!(job.as_mut().now_or_never().is_none());
        job
    });
    drop(release);
    futures_util::future::join_all(jobs).await;
    assert_eq!(pool.opened.1.try_iter().collect::<Vec<_>>(), [3, 4, 1, 2]);
}

#[tokio::test]
async fn a_picture_that_nobody_waits_for_any_more_is_not_begun() {
    let pool = Pool::new();
    let (_first, release) = pool.occupied();
    let mut gone = Box::pin(pool.workers.render(Wanted::Now, pool.job(1, None)));
    assert!(gone.as_mut().now_or_never().is_none());
    let mut stays = Box::pin(pool.workers.render(Wanted::Now, pool.job(2, None)));
    assert!(stays.as_mut().now_or_never().is_none());
    drop(gone);
    drop(release);
    stays.await.unwrap();
    assert_eq!(pool.opened.1.try_iter().collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn a_closed_pool_gives_up_what_waits_and_ends_what_runs() {
    let pool = Pool::new();
    let (first, release) = pool.occupied();
    let mut waits = Box::pin(pool.workers.render(Wanted::Now, pool.job(1, None)));
    assert!(waits.as_mut().now_or_never().is_none());
    pool.workers.close();
    assert!(is_busy(&waits.await));
    assert!(is_busy(&pool.workers.render(Wanted::Now, pool.job(2, None)).await));
    drop(release);
    pool.workers.stop().await;
    assert!(first.await.unwrap().is_none());
    assert_eq!((pool.workers.busy(), pool.workers.shared.state().keepers), (0, 0));
    assert!(pool.opened.1.try_iter().next().is_none());
}
