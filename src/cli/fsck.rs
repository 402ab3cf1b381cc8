//! `dossier fsck`.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Settings, print_error, print_stdout, record_run};
use crate::actions::fsck::{CheckOptions, Kind, Repairs, Report, check, plan, repair};
use crate::app::Clock;
use crate::blobs::Blobs;
use crate::db::{DatabaseLocation, Inspection, LastCheck};

/// Most findings of one kind that the text output lists.
const MAX_SHOWN_PER_KIND: usize = 10;

/// Arguments of `dossier fsck`.
///
/// The server may be running. Exits with 0 if there are no problems, 1 if there are, and 2 if the
/// check cannot run.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Fsck {
    #[command(flatten)]
    settings: Settings,
    /// Also read every file and verify its SHA-256.
    #[arg(long)]
    hash: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Show what a repair would do. The server must be stopped.
    #[arg(long)]
    repair: bool,
    /// With --repair: apply the repair.
    #[arg(long, requires = "repair")]
    yes: bool,
}

/// Checks, and repairs if requested.
pub(super) fn run(command: &Fsck) -> ExitCode {
    match check_and_repair(command) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            print_error(&error);
            ExitCode::from(2)
        }
    }
}

/// Returns the number of findings that remain.
fn check_and_repair(command: &Fsck) -> anyhow::Result<u64> {
    let config = command.settings.load(&[])?;
    let folder = DatabaseLocation::folder(&config)?;
    let lock = folder.lock();
    // Other nodes may be using a shared database.
    let offline = lock.is_ok() && config.database_url.is_none();
    // Held for repairs only: a check must not prevent a server from starting.
    let _lock = if command.repair { Some(lock?) } else { None };
    let database = DatabaseLocation::existing(&config)?;
    let rows = match (&database, command.repair) {
        (DatabaseLocation::File(file), true) => Inspection::open_for_repair(file)?,
        (DatabaseLocation::Postgres(_), true) => anyhow::bail!(
            "--repair supports SQLite only, because other nodes may be using a PostgreSQL \
             database. The findings name every row and file"
        ),
        (database, false) => Inspection::open(database)?,
    };
    let blobs = Blobs::open(folder.root(), &config)?;
    let options = CheckOptions { hash: command.hash, offline };
    let report = check(&rows, &blobs, options)?;
    let planned = command.repair.then(|| plan(&report));
    if !(command.repair && command.yes) {
        record_run(&database, &last_check(&report, command.hash));
        print_stdout(&format_report(command, &report, planned, false)?)?;
        return Ok(report.total());
    }
    let done = repair(&rows, &blobs, &report)?;
    let after = check(&rows, &blobs, options)?;
    record_run(&database, &last_check(&after, command.hash));
    print_stdout(&format_report(command, &report, Some(done), true)?)?;
    if !command.json {
        print_stdout(&format!("After the repair: {} findings.", after.total()))?;
    }
    Ok(after.total())
}

fn last_check(report: &Report, hashed: bool) -> LastCheck {
    LastCheck { ended_at_ms: Clock::System.now_ms(), findings: report.total(), hashed }
}

fn format_report(
    command: &Fsck,
    report: &Report,
    repairs: Option<Repairs>,
    done: bool,
) -> anyhow::Result<String> {
    if command.json {
        Ok(as_json(report, repairs, done).to_string())
    } else {
        as_text(report, repairs, done)
    }
}

fn as_json(report: &Report, repairs: Option<Repairs>, done: bool) -> Value {
    let counts: Map<String, Value> =
        Kind::ALL.iter().map(|kind| (kind.name().to_owned(), json!(report.count(*kind)))).collect();
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| json!({ "kind": finding.kind.name(), "detail": finding.detail }))
        .collect();
    let mut object = json!({
        "rows": report.rows,
        "files": report.files,
        "bytes": report.bytes,
        "hashed": report.hashed,
        "uploadsInFlight": report.uploads,
        "total": report.total(),
        "counts": counts,
        "findings": findings,
    });
    if let Some(repairs) = repairs {
        object["repair"] = json!({
            "done": done,
            "rowsRemoved": repairs.rows_removed,
            "filesSetAside": repairs.files_set_aside,
            "stagingRemoved": repairs.staging_removed,
            "uploadsEnded": repairs.uploads_ended,
            "countersSet": repairs.counters_set,
            "left": repairs.left,
        });
    }
    object
}

fn as_text(report: &Report, repairs: Option<Repairs>, done: bool) -> anyhow::Result<String> {
    let mut text = format!(
        "{} attachments, {} files, {} bytes, {} files hashed, {} uploads in progress\n\n",
        report.rows, report.files, report.bytes, report.hashed, report.uploads
    );
    for kind in Kind::ALL {
        writeln!(text, "{:>10}  {}", report.count(kind), meaning(kind))?;
        let shown = report.findings.iter().filter(|finding| finding.kind == kind);
        for finding in shown.take(MAX_SHOWN_PER_KIND) {
            writeln!(text, "{:>10}  - {}", "", finding.detail)?;
        }
        let more = report.count(kind).saturating_sub(MAX_SHOWN_PER_KIND as u64);
        if more > 0 {
            writeln!(text, "{:>10}  … and {more} more", "")?;
        }
    }
    if let Some(repairs) = repairs {
        write!(text, "\n{}", repairs_text(repairs, done))?;
    } else if report.total() == 0 {
        write!(text, "\nNo problems found.")?;
    } else {
        write!(text, "\nRun `dossier fsck --repair` to see what a repair would do.")?;
    }
    Ok(text)
}

fn repairs_text(repairs: Repairs, done: bool) -> String {
    let (begin, end) = if done {
        ("Repaired", "")
    } else {
        ("A repair would", "\nNothing was changed. To repair, run `dossier fsck --repair --yes`.")
    };
    format!(
        "{begin}: remove {} rows whose file is missing, move {} orphaned files to lost+found, \
         remove {} staging files, end {} uploads, recount {} contacts and sites. Not repairable \
         without a backup or manual work: {} findings.{end}",
        repairs.rows_removed,
        repairs.files_set_aside,
        repairs.staging_removed,
        repairs.uploads_ended,
        repairs.counters_set,
        repairs.left
    )
}

fn meaning(kind: Kind) -> &'static str {
    match kind {
        Kind::RowWithoutBytes => "rows without a file (or the files are older than the database)",
        Kind::BytesWithoutRow => "files without a row (or the database is older than the files)",
        Kind::WrongSize => "files with a wrong size",
        Kind::WrongHash => "files with a wrong hash",
        Kind::StaleStaging => "leftover staging files (the next start cleans them up)",
        Kind::UploadWithoutBytes => "resumable uploads without a file",
        Kind::CounterDrift => "contacts and sites with wrong counters",
        Kind::ForeignName => "files that do not belong to Dossier",
    }
}
