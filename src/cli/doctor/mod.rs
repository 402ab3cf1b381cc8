//! `dossier doctor`: checks the server's environment and suggests a fix for each problem. It
//! changes nothing, except that it writes and removes one small object in a bucket.

mod stores;

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use dossier_image::{HeicSupport, heic_support};
use rustix::fs::{Access, AtFlags, CWD, accessat, stat, statvfs};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::{Settings, print_error, print_stdout};
use crate::app::Clock;
use crate::config::Config;
use crate::data_folder::{CA_CERTIFICATE, DataFolder, SECRETS};
use crate::db::{DatabaseLocation, Inspection, check_server};

/// Least free space; two uploads of the largest size must fit as well.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// Fewest free inodes of the file system.
const FREE_FILES_MIN: u64 = 10_000;

/// Fewest file descriptors for a server with a few hundred clients.
const OPEN_FILES_MIN: u64 = 4_096;

/// The start of 2025; an earlier clock was never set.
const EARLIEST_MS: i64 = 1_735_689_600_000;

/// How far in the future the newest attachment may be.
const CLOCK_SLACK_MS: i64 = 5 * 60 * 1_000;

/// Arguments of `dossier doctor`.
///
/// The server may be running. Exits with 0 if there are no problems, 1 if there are, and 2 if the
/// checks cannot run.
#[derive(Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    settings: Settings,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The outcome of a check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fine,
    /// Worth knowing, but not a problem.
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
    /// How to fix it; empty if nothing is to be done.
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

/// Runs all checks and prints the results.
pub(super) fn run(command: &Doctor) -> ExitCode {
    let is_healthy = command.settings.load(&[]).and_then(|config| {
        let checks = run_checks(&config);
        print_stdout(&if command.json { as_json(&checks).to_string() } else { as_text(&checks)? })?;
        Ok(checks.iter().all(|check| check.state != State::Problem))
    });
    match is_healthy {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            print_error(&error);
            ExitCode::from(2)
        }
    }
}

fn run_checks(config: &Config) -> Vec<Check> {
    let (mut checks, mut newest_ms) = (Vec::new(), None);
    let folder = used_folder(config);
    match &folder {
        Some(folder) => {
            checks.extend(folder_checks(folder.root(), config));
            checks.push(secrets(folder.root()));
        }
        None => checks.push(missing_folder(&config.data)),
    }
    // Without a data folder the database and the bucket may exist already.
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
    checks.push(open_files());
    checks.push(clock(Clock::System.now_ms(), newest_ms));
    checks.extend(formats());
    checks
}

/// The data folder, if it is in use. With PostgreSQL it may be unused; only the server creates it.
fn used_folder(config: &Config) -> Option<DataFolder> {
    if !config.data.is_dir() {
        return None;
    }
    DatabaseLocation::folder(config).ok()
}

/// The check of a data folder that does not exist or is unused.
fn missing_folder(data: &Path) -> Check {
    let (name, shown) = ("data folder", data.display());
    let detail = format!("there is no data in {shown} yet");
    let is_empty = |path: &Path| path.as_os_str().is_empty();
    let mut ancestors =
        data.ancestors().map(|path| if is_empty(path) { Path::new(".") } else { path });
    let Some(existing) = ancestors.find(|path| stat(*path).is_ok()) else {
        return Check::problem(name, detail, "choose another folder with --data");
    };
    match accessat(CWD, existing, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Check::note(name, detail, "the first `dossier serve` creates it"),
        Err(error) => {
            let detail = format!("{detail}, and {} is not writable: {error}", existing.display());
            let remedy =
                "run as a user with write permission there, or choose another folder with --data";
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
                "{shown} has mode {:o}: other users of this machine can read it",
                found.st_mode & 0o777
            ),
            format!("chmod 700 {shown}"),
        )),
        Ok(_) => {}
    }
    let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    if let Err(error) = accessat(CWD, root, access, AtFlags::EACCESS) {
        let remedy = "run as the user who owns it, or check the mount options";
        checks.push(Check::problem(name, format!("{shown} is not writable: {error}"), remedy));
    }
    if checks.is_empty() {
        checks.push(Check::fine(name, format!("{shown} is private and writable")));
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
        let detail = format!("{free} free, less than {}", gibibytes(needed_bytes));
        return Check::problem(name, detail, "free some space: uploads fail on a full disk");
    }
    // File systems without a fixed number of inodes report 0.
    if disk.f_files > 0 && disk.f_favail < FREE_FILES_MIN {
        let detail = format!("{free} free, but only {} free inodes", disk.f_favail);
        return Check::problem(name, detail, "use a file system with more inodes");
    }
    Check::fine(name, format!("{free} free"))
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

fn secrets(root: &Path) -> Check {
    let name = "secrets";
    for secret in SECRETS.iter().filter(|secret| **secret != CA_CERTIFICATE) {
        let path = root.join(secret);
        let Ok(found) = stat(&path) else { continue };
        if found.st_mode & 0o077 != 0 {
            let path = path.display();
            let detail = format!("{path} is readable by other users of this machine");
            return Check::problem(name, detail, format!("chmod 600 {path}"));
        }
    }
    Check::fine(name, "readable by the owner only")
}

/// Checks the database; also returns when its newest attachment was created.
fn database(config: &Config) -> (Check, Option<i64>) {
    let name = "database";
    let rows =
        match DatabaseLocation::existing(config).and_then(|location| Inspection::open(&location)) {
            Ok(rows) => rows,
            Err(error) => return (Check::problem(name, format!("{error:#}"), ""), None),
        };
    let restore = "stop the server, copy the folder, and restore the last good backup";
    let inspect = || -> anyhow::Result<_> {
        Ok((rows.damage()?, rows.attachment_count()?, rows.newest_ms()?))
    };
    match inspect() {
        Err(error) => (Check::problem(name, format!("{error:#}"), restore), None),
        Ok((Some(damage), _, newest_ms)) => (Check::problem(name, damage, restore), newest_ms),
        Ok((None, count, newest_ms)) => {
            let detail = format!("intact, current schema, {count} attachments");
            (Check::fine(name, detail), newest_ms)
        }
    }
}

/// Checks that a PostgreSQL server gives the guarantees that Dossier needs.
fn database_server(config: &Config) -> Vec<Check> {
    let name = "PostgreSQL";
    let Ok(DatabaseLocation::Postgres(server)) = DatabaseLocation::existing(config) else {
        return Vec::new();
    };
    // If it is unavailable, the database check has reported why.
    let found = check_server(&server, || Clock::System.now_ms()).unwrap_or_default();
    let checks = found.into_iter().map(|found| {
        let state = if found.is_problem { State::Problem } else { State::Fine };
        Check { name, state, detail: found.detail, remedy: found.remedy.to_owned() }
    });
    checks.collect()
}

/// Checks whether a server is running, and if not, whether one could listen.
fn server(folder: &DataFolder, config: &Config) -> Vec<Check> {
    match folder.lock() {
        Ok(_lock) => ports(config),
        Err(_) => vec![Check::fine("server", "running on this data folder")],
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
            let remedy = format!("stop that program, or change the setting {setting}");
            Check::problem(setting, format!("{address} is in use by another program"), remedy)
        }
        Err(error) => {
            let remedy = format!("change the setting {setting}");
            Check::problem(setting, format!("{address} cannot be used: {error}"), remedy)
        }
    }
}

fn open_files() -> Check {
    let name = "file handles";
    // The hard limit: the server raises its soft limit to it. `None` is unlimited.
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < OPEN_FILES_MIN => Check::problem(
            name,
            format!("limit {limit}: connections will be rejected under load"),
            format!(
                "raise the limit to at least {OPEN_FILES_MIN}: LimitNOFILE in systemd, \
                 `ulimit -Hn` in a shell"
            ),
        ),
        Some(limit) => Check::fine(name, format!("limit {limit}")),
        None => Check::fine(name, "unlimited"),
    }
}

/// Checks the clock: links and uploads expire by it.
fn clock(now_ms: i64, newest_ms: Option<i64>) -> Check {
    let name = "clock";
    let remedy = "set the clock and synchronise it with NTP";
    if now_ms < EARLIEST_MS {
        return Check::problem(name, "the clock is set to a time before 2025", remedy);
    }
    if newest_ms.is_some_and(|newest_ms| newest_ms > now_ms.saturating_add(CLOCK_SLACK_MS)) {
        let detail = "the newest attachment is from the future, so the clock was set back";
        return Check::problem(name, detail, remedy);
    }
    Check::fine(name, "plausible")
}

fn formats() -> Vec<Check> {
    let built_in = Check::fine(
        "previews",
        format!("built in: {}", dossier_image::formats().built_in.join(", ")),
    );
    let name = "HEIC previews";
    let heic = match heic_support() {
        HeicSupport::Ready { version } => Check::fine(name, format!("libheif {version}")),
        HeicSupport::Missing { problem } => Check::note(
            name,
            format!("unavailable: {problem}"),
            "install libheif and its HEVC decoder (Debian 12: apt-get install libheif1; later also \
             libheif-plugin-libde265), then restart the server",
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
        0 => write!(text, "\nNo problems found.")?,
        1 => write!(text, "\n1 problem found.")?,
        count => write!(text, "\n{count} problems found.")?,
    }
    Ok(text)
}
