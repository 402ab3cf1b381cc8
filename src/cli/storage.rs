//! `dossier storage …`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Settings, print_error, print_stdout};
use crate::actions::migrate::{self, MigrationReport, Stores};
use crate::blobs::Blobs;
use crate::config::Config;
use crate::data_folder::{DataFolder, FolderLock};
use crate::db::{DatabaseLocation, Inspection};
use crate::domain::store_place::{StoreKeys, StoreLocation};

/// Most problems that the text output lists.
const MAX_SHOWN: usize = 20;
/// Time between progress lines.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Subcommand)]
pub(super) enum StorageCommand {
    /// Copy all originals to another location and verify each by its SHA-256.
    ///
    /// The server may be running if its settings name both locations, as `blobs` and `blobs_also`.
    /// Run it again to resume. Nothing is removed from the old location. See docs/s3.md for all
    /// steps. Exits with 0 if the old location is no longer needed, 1 if something remains there,
    /// and 2 on an error.
    Migrate(Migrate),
}

#[derive(Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    settings: Settings,
    /// The new location, in the form of the setting `blobs`; `local` is the data folder.
    #[arg(long, value_name = "s3://…|local")]
    to: String,
    /// A file with the credentials of the new bucket [default: from the settings if they name the
    /// bucket, else from the environment].
    #[arg(long, value_name = "FILE")]
    to_credentials_file: Option<PathBuf>,
    /// Only show what remains to be copied.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs `dossier storage …`.
pub(super) fn run(command: &StorageCommand) -> ExitCode {
    let StorageCommand::Migrate(command) = command;
    match migrate(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            print_error(&error);
            ExitCode::from(2)
        }
    }
}

/// A location and its credentials.
type LocationWithKeys = (StoreLocation, Option<StoreKeys>);

/// How the outcome is printed.
struct ReportOptions {
    json: bool,
    dry_run: bool,
    /// Servers still upload to the old location.
    old_is_used: bool,
}

/// Returns whether the old location is no longer needed.
fn migrate(command: &Migrate) -> anyhow::Result<bool> {
    let config = command.settings.load(&[])?;
    let (from, to) = from_and_to(command, &config)?;
    let old_is_used = config.blobs_also.is_some() && from.0.is_same(&config.blobs);
    let folder = DatabaseLocation::folder(&config)?;
    let _server_lock = exclude_servers(&config, &folder)?;
    let _lock = folder.lock_moving()?;
    let rows = Inspection::open(&DatabaseLocation::existing(&config)?)?;
    let open = |(location, keys): &LocationWithKeys| {
        Blobs::open_at(folder.root(), location, keys.as_ref(), config.upload_max_bytes)
    };
    let from = open(&from).context("the old location")?;
    let to = open(&to).context("the new location")?;
    let stores = Stores { from: &from, to: &to };
    let mut last_progress = Instant::now();
    let moved = if command.dry_run {
        migrate::dry_run(&rows, &stores)?
    } else {
        migrate::migrate(&rows, &stores, &mut |moved| {
            if last_progress.elapsed() >= PROGRESS_INTERVAL {
                last_progress = Instant::now();
                print_progress(moved);
            }
        })?
    };
    let options = ReportOptions { json: command.json, dry_run: command.dry_run, old_is_used };
    print_stdout(&if options.json {
        as_json(&moved, &options)
    } else {
        as_text(&moved, &options)
    })?;
    Ok(moved.is_complete() && !old_is_used)
}

/// Determines the old and the new location.
fn from_and_to(
    command: &Migrate,
    config: &Config,
) -> anyhow::Result<(LocationWithKeys, LocationWithKeys)> {
    let file = command.to_credentials_file.as_ref().map(|file| file.display().to_string());
    let to = command
        .settings
        .load(&[
            ("blobs", &Some(command.to.clone())),
            ("blobs_credentials_file", &Some(file.clone().unwrap_or_default())),
            ("blobs_also", &Some(String::new())),
        ])
        .context("--to")?;
    let to = (to.blobs, to.blobs_keys);
    let blobs = (config.blobs.clone(), config.blobs_keys.clone());
    let is_to = |(location, _): &LocationWithKeys| location.is_same(&to.0);
    // The location's own credentials, unless --to-credentials-file overrides them.
    let with_keys = |configured: &LocationWithKeys| {
        if file.is_some() { to.clone() } else { configured.clone() }
    };
    match &config.blobs_also {
        Some(also) if is_to(&blobs) => Ok((also.clone(), with_keys(&blobs))),
        Some(also) if is_to(also) => Ok((blobs, with_keys(also))),
        Some(_) => {
            bail!("--to must be one of the two locations in the settings blobs and blobs_also")
        }
        None if is_to(&blobs) => bail!(
            "the setting blobs already names this location; set blobs_also to the location \
             to copy from"
        ),
        None => Ok((blobs, to)),
    }
}

/// Ensures that no server is running unless the settings name both locations: otherwise a server
/// would delete from one location only.
fn exclude_servers(config: &Config, folder: &DataFolder) -> anyhow::Result<Option<FolderLock>> {
    let remedy = "stop every server that uses this store, or first set blobs_also on all of them \
                  and for this command (docs/s3.md, \"Moving\")";
    match (&config.blobs_also, &config.database_url) {
        (Some(_), _) => Ok(None),
        (None, None) => folder.lock().map(Some).context(remedy),
        (None, Some(_)) => bail!("other nodes may be using this database: {remedy}"),
    }
}

fn print_progress(moved: &MigrationReport) {
    // Nothing can be done if standard error is closed.
    let _ = writeln!(
        std::io::stderr(),
        "checked {} attachments, {} at the new location, copied {} originals, {} bytes",
        moved.rows,
        moved.present,
        moved.copied,
        moved.copied_bytes
    );
}

fn as_json(moved: &MigrationReport, options: &ReportOptions) -> String {
    json!({
        "rows": moved.rows,
        "there": moved.present,
        "copied": moved.copied,
        "copiedBytes": moved.copied_bytes,
        "gone": moved.gone,
        "left": moved.left,
        "leftBytes": moved.left_bytes,
        "uploadsLeft": moved.uploads,
        "oldPlaceInUse": options.old_is_used,
        "problems": moved.problems,
    })
    .to_string()
}

fn as_text(moved: &MigrationReport, options: &ReportOptions) -> String {
    let mut lines = vec![format!(
        "{} attachments. Copied and verified {} originals, {} bytes. {} were deleted meanwhile. \
         {} originals, {} bytes remain.",
        moved.rows, moved.copied, moved.copied_bytes, moved.gone, moved.left, moved.left_bytes
    )];
    lines.extend(moved.problems.iter().take(MAX_SHOWN).map(|problem| format!("  {problem}")));
    let more = moved.problems.len().saturating_sub(MAX_SHOWN);
    if more > 0 {
        lines.push(format!("  … and {more} more"));
    }
    if moved.uploads > 0 {
        lines.push(format!(
            "{} uploads are still in progress at the old location. Keep it until they have ended \
             (at most seven days), then run this again.",
            moved.uploads
        ));
    }
    if options.dry_run {
        lines.push("Nothing was changed.".to_owned());
    } else if options.old_is_used {
        lines.push(
            "New files still go to the old location, which blobs names. Swap blobs and blobs_also, \
             restart the servers, and run this once more."
                .to_owned(),
        );
    } else if moved.is_complete() {
        lines.push("Everything is at the new location.".to_owned());
    }
    lines.join("\n")
}
