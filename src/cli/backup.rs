//! `dossier backup …`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Settings, runtime, say, tell, write_down};
use crate::actions::backup;
use crate::app::Clock;
use crate::archive::Outcome;
use crate::blobs::Blobs;
use crate::data_folder::DataFolder;
use crate::db::{Db, LastBackup, Place};
use crate::domain::store_place::StorePlace;
use crate::domain::timestamp::timestamp;

/// Problems that people are shown.
const SHOWN: usize = 20;

#[derive(Subcommand)]
pub(super) enum Backup {
    /// Make a backup of one moment, beside a running server or without one.
    Create(Create),
    /// Compare every byte of a backup with its list.
    ///
    /// Ends with 0 when it is whole, 1 when anything is missing, altered or not of it, 2 when it
    /// could not look.
    Verify(Verify),
    /// Make a data folder from a backup. Everything is compared first; nothing is restored half.
    Restore(Restore),
}

#[derive(Args)]
pub(super) struct Create {
    #[command(flatten)]
    settings: Settings,
    /// Where it is to be: a new folder, or one file when the name ends with .tar. It holds the keys
    /// that sign links: keep it as private as the data folder.
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
    /// What was deleted in this data folder, or by the time of this newer backup (a folder), stays
    /// deleted.
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
                tell(&error);
                ExitCode::from(2)
            });
        }
    };
    outcome.unwrap_or_else(|error| {
        tell(&error);
        ExitCode::FAILURE
    })
}

fn create(command: &Create) -> anyhow::Result<()> {
    let config = command.settings.load(&[])?;
    anyhow::ensure!(
        config.database_url.is_none(),
        "a backup holds rows of SQLite; these are in PostgreSQL. Back them up with its own tools \
         (pg_dump, or a base backup with WAL), then copy blobs/ and the keys: see docs/postgres.md"
    );
    let folder = DataFolder::existing(&config.data)?;
    let blobs = Blobs::open(folder.root(), &config)?;
    let place = Place::File(folder.database()?);
    let db = Arc::new(Db::open(&place, 1)?);
    let target = command.target.clone();
    let created = runtime()?
        .block_on(async { backup::create(folder, blobs, &db, Clock::System, target).await })?;
    let (attachments, bytes) = (created.attachments, created.bytes);
    write_down(&place, &LastBackup { of_ms: created.of_ms, attachments, bytes });
    if command.json {
        return say(&json!({
            "attachments": attachments,
            "bytes": bytes,
            "createdAt": timestamp(created.of_ms),
        })
        .to_string());
    }
    say(&format!(
        "Backed up {attachments} attachments, {bytes} bytes, as of {}. Every byte was compared with \
         its SHA-256.\nIt holds the keys that sign links: keep it as private as the data folder.",
        timestamp(created.of_ms)
    ))
}

fn verify(command: &Verify) -> anyhow::Result<ExitCode> {
    let outcome = backup::verify(&command.source)?;
    let is_whole = outcome.problem_count == 0;
    let text = if command.json { as_json(&outcome).to_string() } else { as_text(&outcome) };
    say(&text)?;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn as_json(outcome: &Outcome) -> serde_json::Value {
    json!({
        "backup": outcome.about,
        "files": outcome.files,
        "bytes": outcome.bytes,
        "problemCount": outcome.problem_count,
        "problems": outcome.problems,
    })
}

fn as_text(outcome: &Outcome) -> String {
    let mut lines = Vec::new();
    if let Some(about) = &outcome.about {
        lines.push(format!(
            "A backup as of {}, made by Dossier {}: {} attachments, {} bytes.",
            about.created_at, about.version, about.attachments, about.bytes
        ));
    }
    lines.push(format!(
        "{} files of {} bytes are as they were written.",
        outcome.files, outcome.bytes
    ));
    if outcome.problem_count == 0 {
        lines.push("Nothing is wrong.".to_owned());
        return lines.join("\n");
    }
    lines.push(format!("{} are not:", outcome.problem_count));
    lines.extend(outcome.problems.iter().take(SHOWN).map(|problem| format!("  {problem}")));
    let more = outcome.problem_count.saturating_sub(SHOWN as u64);
    if more > 0 {
        lines.push(format!("  … and {more} more"));
    }
    lines.join("\n")
}

fn restore(command: &Restore) -> anyhow::Result<()> {
    let config = command.settings.load(&[])?;
    if config.blobs != StorePlace::Local {
        bail!(
            "a backup is restored to local disk: leave out the setting blobs, and copy the folder \
             blobs into the bucket afterwards (docs/s3.md)"
        );
    }
    let restored = backup::restore(
        &command.source,
        &config.data,
        command.erased_in.as_deref(),
        Clock::System.now_ms(),
    )?;
    if command.json {
        return say(&json!({
            "attachments": restored.attachments,
            "bytes": restored.bytes,
            "deleted": restored.deleted,
            "createdAt": restored.created_at,
        })
        .to_string());
    }
    say(&format!(
        "Restored {} attachments, {} bytes, as of {}, to {}.\n\
         {} more were deleted since, and stay deleted.\n\
         Start it: dossier serve --data {}",
        restored.attachments,
        restored.bytes,
        restored.created_at,
        config.data.display(),
        restored.deleted,
        config.data.display()
    ))
}
