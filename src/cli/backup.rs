//! `dossier backup …`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Settings, print_error, print_stdout, record_run, runtime};
use crate::actions::backup;
use crate::app::Clock;
use crate::archive::Outcome;
use crate::blobs::Blobs;
use crate::data_folder::DataFolder;
use crate::db::{DatabaseLocation, Db, LastBackup};
use crate::domain::store_place::StoreLocation;
use crate::domain::timestamp::timestamp;

/// Most problems that the text output lists.
const MAX_SHOWN: usize = 20;

#[derive(Subcommand)]
pub(super) enum Backup {
    /// Create a consistent backup. The server may be running.
    Create(Create),
    /// Verify every file of a backup against its list.
    ///
    /// Exits with 0 if the backup is intact, 1 if a file is missing, altered or not part of it, and
    /// 2 if it cannot be checked.
    Verify(Verify),
    /// Restore a backup to a new data folder. It is verified first, and restored completely or not
    /// at all.
    Restore(Restore),
}

#[derive(Args)]
pub(super) struct Create {
    #[command(flatten)]
    settings: Settings,
    /// The backup to create: a new folder, or a single file if the name ends with .tar. It contains
    /// the keys that sign links, so keep it as private as the data folder.
    #[arg(value_name = "FOLDER|FILE.tar")]
    target: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Verify {
    /// The backup.
    #[arg(value_name = "FOLDER|FILE.tar")]
    source: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Restore {
    #[command(flatten)]
    settings: Settings,
    /// The backup.
    #[arg(value_name = "FOLDER|FILE.tar")]
    source: PathBuf,
    /// Keep deleted what was deleted since, according to this data folder or newer backup (a
    /// folder).
    #[arg(long, value_name = "FOLDER")]
    erased_in: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `dossier backup …`.
pub(super) fn run(command: &Backup) -> ExitCode {
    let outcome = match command {
        Backup::Create(command) => create(command).map(|()| ExitCode::SUCCESS),
        Backup::Restore(command) => restore(command).map(|()| ExitCode::SUCCESS),
        Backup::Verify(command) => {
            return verify(command).unwrap_or_else(|error| {
                print_error(&error);
                ExitCode::from(2)
            });
        }
    };
    outcome.unwrap_or_else(|error| {
        print_error(&error);
        ExitCode::FAILURE
    })
}

fn create(command: &Create) -> anyhow::Result<()> {
    let config = command.settings.load(&[])?;
    anyhow::ensure!(
        config.database_url.is_none(),
        "`dossier backup` supports SQLite only, and this database is PostgreSQL. Back it up with \
         pg_dump or a base backup with WAL, then copy blobs/ and the keys: see docs/postgres.md"
    );
    let folder = DataFolder::existing(&config.data)?;
    let blobs = Blobs::open(folder.root(), &config)?;
    let database = DatabaseLocation::File(folder.database()?);
    let db = Arc::new(Db::open(&database, 1)?);
    let target = command.target.clone();
    let created = runtime()?
        .block_on(async { backup::create(folder, blobs, &db, Clock::System, target).await })?;
    let (attachments, bytes) = (created.attachments, created.bytes);
    record_run(&database, &LastBackup { of_ms: created.snapshot_ms, attachments, bytes });
    if command.json {
        return print_stdout(
            &json!({
                "attachments": attachments,
                "bytes": bytes,
                "createdAt": timestamp(created.snapshot_ms),
            })
            .to_string(),
        );
    }
    print_stdout(&format!(
        "Backed up {attachments} attachments, {bytes} bytes, as of {}. Every file was verified by \
         its SHA-256.\nThe backup contains the keys that sign links. Keep it as private as the data \
         folder.",
        timestamp(created.snapshot_ms)
    ))
}

fn verify(command: &Verify) -> anyhow::Result<ExitCode> {
    let outcome = backup::verify(&command.source)?;
    let is_whole = outcome.problem_count == 0;
    let text = if command.json { as_json(&outcome).to_string() } else { as_text(&outcome) };
    print_stdout(&text)?;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn as_json(outcome: &Outcome) -> serde_json::Value {
    json!({
        "backup": outcome.manifest,
        "files": outcome.files,
        "bytes": outcome.bytes,
        "problemCount": outcome.problem_count,
        "problems": outcome.problems,
    })
}

fn as_text(outcome: &Outcome) -> String {
    let mut lines = Vec::new();
    if let Some(about) = &outcome.manifest {
        lines.push(format!(
            "Backup as of {}, created by Dossier {}: {} attachments, {} bytes.",
            about.created_at, about.version, about.attachments, about.bytes
        ));
    }
    lines.push(format!("{} files, {} bytes are intact.", outcome.files, outcome.bytes));
    if outcome.problem_count == 0 {
        lines.push("No problems found.".to_owned());
        return lines.join("\n");
    }
    lines.push(format!("{} problems:", outcome.problem_count));
    lines.extend(outcome.problems.iter().take(MAX_SHOWN).map(|problem| format!("  {problem}")));
    let more = outcome.problem_count.saturating_sub(MAX_SHOWN as u64);
    if more > 0 {
        lines.push(format!("  … and {more} more"));
    }
    lines.join("\n")
}

fn restore(command: &Restore) -> anyhow::Result<()> {
    let config = command.settings.load(&[])?;
    if config.blobs != StoreLocation::Local {
        bail!(
            "a backup is restored to local disk: remove the setting blobs, then copy the folder \
             blobs to the bucket (docs/s3.md)"
        );
    }
    let restored = backup::restore(
        &command.source,
        &config.data,
        command.erased_in.as_deref(),
        Clock::System.now_ms(),
    )?;
    if command.json {
        return print_stdout(
            &json!({
                "attachments": restored.attachments,
                "bytes": restored.bytes,
                "deleted": restored.deleted,
                "createdAt": restored.created_at,
            })
            .to_string(),
        );
    }
    print_stdout(&format!(
        "Restored {} attachments, {} bytes, as of {}, to {}.\n\
         {} more were deleted after the backup and stay deleted.\n\
         To start the server: dossier serve --data {}",
        restored.attachments,
        restored.bytes,
        restored.created_at,
        config.data.display(),
        restored.deleted,
        config.data.display()
    ))
}
