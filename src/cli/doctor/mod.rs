//! `dossier doctor`: looks at what the server stands on, and says in plain words what is wrong
//! and what to do about it. Changes nothing, but for one small object that it puts into a bucket and
//! takes away.

mod stores;

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use rustix::fs::{Access, AtFlags, CWD, accessat, stat, statvfs};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::{Settings, say, tell};
use crate::app::Clock;
use crate::config::Config;
use crate::data_folder::{DataFolder, SECRETS};
use crate::db::{Inspection, Place, check_server};
use crate::domain::image::{HeicSupport, heic_support, kinds};

/// Free space under which something must be done, besides room for one upload in each place.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// Free entries of the file system under which something must be done.
const FREE_FILES_MIN: u64 = 10_000;

/// Fewest file handles for a server with a few hundred clients.
const HANDLES_MIN: u64 = 4_096;

/// A clock before 2025 was never set.
const EARLIEST_MS: i64 = 1_735_689_600_000;

/// How far the newest file may lie in the future.
const CLOCK_SLACK_MS: i64 = 5 * 60 * 1_000;

/// Arguments of `dossier doctor`.
///
/// Works beside a running server, and without one. Ends with 0 when nothing is wrong, 1 when
/// something is, 2 when it could not look.
#[derive(Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    settings: Settings,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// How a check ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fine,
    /// Worth knowing, and no fault.
    Note,
    Problem,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

struct Check {
    name: &'static str,
    state: State,
    /// What was found.
    detail: String,
    /// What to do; empty when there is nothing.
    remedy: String,
}

impl Check {
    fn fine(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Fine, detail: detail.into(), remedy: String::new() }
    }

    fn note(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Note, detail: detail.into(), remedy: remedy.into() }
    }

    fn problem(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Problem, detail: detail.into(), remedy: remedy.into() }
    }
}

/// Looks, and says what was found.
pub(super) fn run(command: &Doctor) -> ExitCode {
    let looked = command.settings.load(&[]).and_then(|config| {
        let checks = look(&config);
        say(&if command.json { as_json(&checks).to_string() } else { as_text(&checks)? })?;
        Ok(checks.iter().all(|check| check.state != State::Problem))
    });
    match looked {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            tell(&error);
            ExitCode::from(2)
        }
    }
}

fn look(config: &Config) -> Vec<Check> {
    let (mut checks, mut newest_ms) = (Vec::new(), None);
    let folder = used_folder(config);
    match &folder {
        Some(folder) => {
            checks.extend(folder_checks(folder.root(), config));
            checks.push(secrets(folder.root()));
        }
        None => checks.push(missing(&config.data)),
    }
    // Without a folder there may be rows and bytes elsewhere, or a place for them.
    if folder.is_some() || config.database_url.is_some() {
        let (found, newest) = database(config);
        checks.push(found);
        newest_ms = newest;
        checks.extend(database_server(config));
    }
    checks.extend(folder.as_ref().and_then(|folder| stores::folder(folder.root(), config)));
    checks.extend(stores::buckets(config));
    match &folder {
        Some(folder) => checks.extend(server(folder, config)),
        None => checks.extend(ports(config)),
    }
    checks.push(handles());
    checks.push(clock(Clock::System.now_ms(), newest_ms));
    checks.extend(formats());
    checks
}

/// The data folder, if it is there. With the rows elsewhere it need not have been used: but it is the
/// server that makes it.
fn used_folder(config: &Config) -> Option<DataFolder> {
    if !config.data.is_dir() {
        return None;
    }
    Place::folder(config).ok()
}

/// What is said of a data folder that is not there, or was not used yet.
fn missing(data: &Path) -> Check {
    let (name, shown) = ("data folder", data.display());
    let detail = format!("there is no data in {shown} yet");
    let here = |path: &Path| path.as_os_str().is_empty();
    let mut above = data.ancestors().map(|path| if here(path) { Path::new(".") } else { path });
    let Some(there) = above.find(|path| stat(*path).is_ok()) else {
        return Check::problem(name, detail, "name another folder with --data");
    };
    match accessat(CWD, there, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Check::note(name, detail, "the first `dossier serve` makes it"),
        Err(error) => {
            let detail = format!("{detail}, and {} cannot be written: {error}", there.display());
            let remedy = "run as a user who may make it there, or name another one with --data";
            Check::problem(name, detail, remedy)
        }
    }
}

fn folder_checks(root: &Path, config: &Config) -> Vec<Check> {
    let name = "data folder";
    let shown = root.display();
    let mut checks = Vec::new();
    match stat(root) {
        Err(error) => checks.push(Check::problem(name, format!("{shown}: {error}"), "")),
        Ok(found) if found.st_mode & 0o077 != 0 => checks.push(Check::problem(
            name,
            format!(
                "{shown} has mode {:o}: others on this machine can look inside",
                found.st_mode & 0o777
            ),
            format!("chmod 700 {shown}"),
        )),
        Ok(_) => {}
    }
    let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    if let Err(error) = accessat(CWD, root, access, AtFlags::EACCESS) {
        let remedy = "run as the user who owns it, or check how the disk is mounted";
        checks.push(Check::problem(name, format!("{shown} cannot be written: {error}"), remedy));
    }
    if checks.is_empty() {
        checks.push(Check::fine(name, format!("{shown} is private and can be written")));
    }
    checks.push(space(root, config));
    checks
}

fn space(root: &Path, config: &Config) -> Check {
    let name = "free space";
    let disk = match statvfs(root) {
        Ok(disk) => disk,
        Err(error) => return Check::problem(name, error.to_string(), ""),
    };
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    let needed_bytes = FREE_BYTES_MIN.max(config.upload_max_bytes.saturating_mul(2));
    let free = gibibytes(free_bytes);
    if free_bytes < needed_bytes {
        let detail = format!("{free} are free, less than {}", gibibytes(needed_bytes));
        return Check::problem(name, detail, "make room: a full disk refuses uploads");
    }
    // Some file systems have no fixed number of entries and state 0.
    if disk.f_files > 0 && disk.f_favail < FREE_FILES_MIN {
        let detail = format!("{free} are free, but only {} more files fit", disk.f_favail);
        return Check::problem(name, detail, "the file system needs more inodes");
    }
    Check::fine(name, format!("{free} are free"))
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

fn secrets(root: &Path) -> Check {
    let name = "secrets";
    // The last one is the certificate that people are given.
    for secret in SECRETS.iter().take(SECRETS.len() - 1) {
        let path = root.join(secret);
        let Ok(found) = stat(&path) else { continue };
        if found.st_mode & 0o077 != 0 {
            let path = path.display();
            let detail = format!("{path} can be read by others on this machine");
            return Check::problem(name, detail, format!("chmod 600 {path}"));
        }
    }
    Check::fine(name, "only the owner can read them")
}

/// The database, and when its newest attachment was made.
fn database(config: &Config) -> (Check, Option<i64>) {
    let name = "database";
    let rows = match Place::existing(config).and_then(|place| Inspection::open(&place)) {
        Ok(rows) => rows,
        Err(error) => return (Check::problem(name, format!("{error:#}"), ""), None),
    };
    let restore = "stop the server, keep a copy of the folder, and restore the last good backup";
    let looked = || -> anyhow::Result<_> {
        Ok((rows.damage()?, rows.attachment_count()?, rows.newest_ms()?))
    };
    match looked() {
        Err(error) => (Check::problem(name, format!("{error:#}"), restore), None),
        Ok((Some(damage), _, newest_ms)) => (Check::problem(name, damage, restore), newest_ms),
        Ok((None, count, newest_ms)) => {
            let detail = format!("whole, of this release's schema, {count} attachments");
            (Check::fine(name, detail), newest_ms)
        }
    }
}

/// Whether a PostgreSQL server keeps what we promise.
fn database_server(config: &Config) -> Vec<Check> {
    let name = "PostgreSQL";
    let Ok(Place::Postgres(place)) = Place::existing(config) else { return Vec::new() };
    // When it cannot be asked, the check of the database has said why.
    let found = check_server(&place, || Clock::System.now_ms()).unwrap_or_default();
    let checks = found.into_iter().map(|found| {
        let state = if found.is_problem { State::Problem } else { State::Fine };
        Check { name, state, detail: found.detail, remedy: found.remedy.to_owned() }
    });
    checks.collect()
}

/// Whether a server is at work, else whether one could listen.
fn server(folder: &DataFolder, config: &Config) -> Vec<Check> {
    match folder.lock() {
        Ok(_lock) => ports(config),
        Err(_) => vec![Check::fine("server", "one is running on this folder")],
    }
}

fn ports(config: &Config) -> Vec<Check> {
    let listeners = [
        ("listen", Some(config.listen)),
        ("listen_tls", config.listen_tls),
        ("listen_metrics", config.listen_metrics),
    ];
    let wanted = listeners.into_iter().filter_map(|(name, address)| Some((name, address?)));
    wanted.map(|(setting, address)| port(setting, address)).collect()
}

fn port(setting: &'static str, address: SocketAddr) -> Check {
    match TcpListener::bind(address) {
        Ok(_) => Check::fine(setting, format!("{address} is free; no server is running")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let remedy = format!("stop that program, or choose another address: {setting}");
            Check::problem(setting, format!("another program listens at {address}"), remedy)
        }
        Err(error) => {
            let remedy = format!("choose another address: {setting}");
            Check::problem(setting, format!("{address} cannot be used: {error}"), remedy)
        }
    }
}

fn handles() -> Check {
    let name = "file handles";
    // None is no limit. The server raises its own to the most it may have.
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < HANDLES_MIN => Check::problem(
            name,
            format!("at most {most}: connections will be refused under load"),
            format!(
                "allow at least {HANDLES_MIN}: LimitNOFILE in systemd, `ulimit -Hn` in a shell"
            ),
        ),
        Some(most) => Check::fine(name, format!("at most {most}")),
        None => Check::fine(name, "no limit"),
    }
}

/// Links and uploads end by the clock, so a wrong one breaks them.
fn clock(now_ms: i64, newest_ms: Option<i64>) -> Check {
    let name = "clock";
    let remedy = "set it, and let NTP keep it";
    if now_ms < EARLIEST_MS {
        return Check::problem(name, "it says that it is before 2025", remedy);
    }
    if newest_ms.is_some_and(|newest_ms| newest_ms > now_ms.saturating_add(CLOCK_SLACK_MS)) {
        let detail = "the newest attachment is from the future: the clock was set back";
        return Check::problem(name, detail, remedy);
    }
    Check::fine(name, "plausible")
}

fn formats() -> Vec<Check> {
    let built_in = Check::fine("previews", format!("built in: {}", kinds().0.join(", ")));
    let name = "HEIC previews";
    let heic = match heic_support() {
        HeicSupport::Ready { version } => Check::fine(name, format!("libheif {version}")),
        HeicSupport::Missing { problem } => Check::note(
            name,
            format!("none: {problem}"),
            "install libheif and its HEVC decoder (Debian 12: apt-get install libheif1; later: \
             and libheif-plugin-libde265), then start the server again",
        ),
    };
    vec![built_in, heic]
}

fn as_json(checks: &[Check]) -> Value {
    let problems = checks.iter().filter(|check| check.state == State::Problem).count();
    let checks: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "name": check.name,
                "state": check.state.name(),
                "detail": check.detail,
                "remedy": check.remedy,
            })
        })
        .collect();
    json!({ "version": env!("CARGO_PKG_VERSION"), "problems": problems, "checks": checks })
}

fn as_text(checks: &[Check]) -> anyhow::Result<String> {
    let mut text = String::new();
    for check in checks {
        writeln!(text, "{:<8} {:<14} {}", check.state.name(), check.name, check.detail)?;
        if !check.remedy.is_empty() {
            writeln!(text, "{:<8} {:<14} -> {}", "", "", check.remedy)?;
        }
    }
    let problems = checks.iter().filter(|check| check.state == State::Problem).count();
    match problems {
        0 => write!(text, "\nNothing is wrong.")?,
        1 => write!(text, "\nOne thing is wrong.")?,
        more => write!(text, "\n{more} things are wrong.")?,
    }
    Ok(text)
}
