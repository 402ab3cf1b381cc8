//! `dossier fsck`.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Settings, say, tell, write_down};
use crate::actions::fsck::{Kind, Look, Repairs, Report, check, plan, repair};
use crate::app::Clock;
use crate::blobs::Blobs;
use crate::db::{Inspection, LastCheck, Place};

/// Findings of one kind that people are shown.
const SHOWN_OF_A_KIND: usize = 10;

/// Arguments of `dossier fsck`.
///
/// Works beside a running server, and without one. Ends with 0 when nothing is wrong, 1 when
/// something is, 2 when it could not look.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Fsck {
    #[command(flatten)]
    settings: Settings,
    /// Read every file and compare its SHA-256 too.
    #[arg(long)]
    hash: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Say what a repair would do. The server must be stopped.
    #[arg(long)]
    repair: bool,
    /// With --repair: do it.
    #[arg(long, requires = "repair")]
    yes: bool,
}

/// Looks, and repairs if that is asked for.
pub(super) fn run(command: &Fsck) -> ExitCode {
    match look(command) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            tell(&error);
            ExitCode::from(2)
        }
    }
}

/// Returns how many findings are left.
fn look(command: &Fsck) -> anyhow::Result<u64> {
    let config = command.settings.load(&[])?;
    let folder = Place::folder(&config)?;
    let lock = folder.lock();
    // Other nodes may be at work on a database that is shared.
    let offline = lock.is_ok() && config.database_url.is_none();
    // Held for repairs only: a look must not keep a server from starting.
    let _lock = if command.repair { Some(lock?) } else { None };
    let place = Place::existing(&config)?;
    let rows = match (&place, command.repair) {
        (Place::File(database), true) => Inspection::open_for_repair(database)?,
        (Place::Postgres(_), true) => anyhow::bail!(
            "--repair works on SQLite only: on PostgreSQL other nodes may be at work. The findings \
             name every row and file"
        ),
        (place, false) => Inspection::open(place)?,
    };
    let blobs = Blobs::open(folder.root(), &config)?;
    let look = Look { hash: command.hash, offline };
    let report = check(&rows, &blobs, look)?;
    let planned = command.repair.then(|| plan(&report));
    if !(command.repair && command.yes) {
        write_down(&place, &last(&report, command.hash));
        say(&shown(command, &report, planned, false)?)?;
        return Ok(report.total());
    }
    let done = repair(&rows, &blobs, &report)?;
    let after = check(&rows, &blobs, look)?;
    write_down(&place, &last(&after, command.hash));
    say(&shown(command, &report, Some(done), true)?)?;
    if !command.json {
        say(&format!("After the repair: {} findings.", after.total()))?;
    }
    Ok(after.total())
}

fn last(report: &Report, hashed: bool) -> LastCheck {
    LastCheck { ended_at_ms: Clock::System.now_ms(), findings: report.total(), hashed }
}

fn shown(
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
        "{} attachments, {} files of {} bytes, {} of them hashed, {} uploads in flight\n\n",
        report.rows, report.files, report.bytes, report.hashed, report.uploads
    );
    for kind in Kind::ALL {
        writeln!(text, "{:>10}  {}", report.count(kind), meaning(kind))?;
        let shown = report.findings.iter().filter(|finding| finding.kind == kind);
        for finding in shown.take(SHOWN_OF_A_KIND) {
            writeln!(text, "{:>10}  - {}", "", finding.detail)?;
        }
        let more = report.count(kind).saturating_sub(SHOWN_OF_A_KIND as u64);
        if more > 0 {
            writeln!(text, "{:>10}  … and {more} more", "")?;
        }
    }
    if let Some(repairs) = repairs {
        write!(text, "\n{}", repairs_text(repairs, done))?;
    } else if report.total() == 0 {
        write!(text, "\nNothing is wrong.")?;
    } else {
        write!(text, "\n`dossier fsck --repair` says what a repair would do.")?;
    }
    Ok(text)
}

fn repairs_text(repairs: Repairs, done: bool) -> String {
    let (was, end) = if done {
        ("Done", "")
    } else {
        ("A repair would do this", "\nNothing was changed. `dossier fsck --repair --yes` does it.")
    };
    format!(
        "{was}: remove {} rows whose bytes are gone, move {} files without a row to lost+found, \
         remove {} files from staging, end {} uploads, count {} contacts and sites anew; leave {} \
         findings, which only a backup or a person can mend.{end}",
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
        Kind::RowWithoutBytes => "rows without bytes (or the bytes are older than the rows)",
        Kind::BytesWithoutRow => "bytes without a row (or the rows are older than the bytes)",
        Kind::WrongSize => "files of a wrong size",
        Kind::WrongHash => "files with a wrong hash",
        Kind::StaleStaging => "files left in staging (the next start settles them)",
        Kind::UploadWithoutBytes => "resumable uploads without their bytes",
        Kind::CounterDrift => "contacts and sites with wrong counters",
        Kind::ForeignName => "names that are not Dossier's",
    }
}
