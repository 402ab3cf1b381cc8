//! `dossier storage …`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Settings, say, tell};
use crate::actions::migrate::{self, Moved, Places};
use crate::blobs::Blobs;
use crate::config::Config;
use crate::data_folder::{DataFolder, FolderLock};
use crate::db::{Inspection, Place};
use crate::domain::store_place::{StoreKeys, StorePlace};

/// Problems that people are shown.
const SHOWN: usize = 20;
/// How often it is said how far the work has come.
const SAY_EVERY: Duration = Duration::from_secs(5);

#[derive(Subcommand)]
pub(super) enum StorageCommand {
    /// Copy all originals to another place and compare each with its SHA-256.
    ///
    /// Works beside a running server that has both places, as `blobs` and `blobs_also`, and without
    /// one. Started again, it goes on where it was. Nothing is taken away from the old place. docs/s3.md
    /// shows the whole way. Ends with 0 when the old place is needed no longer, 1 when something is
    /// left there, 2 when it could not go on.
    Migrate(Migrate),
}

#[derive(Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    settings: Settings,
    /// Where they go, as in the setting `blobs`; `local` is the data folder.
    #[arg(long, value_name = "s3://…|local")]
    to: String,
    /// A file with the keys of that bucket. Without it: those of the settings, if they name the bucket,
    /// else those of the environment.
    #[arg(long, value_name = "FILE")]
    to_credentials_file: Option<PathBuf>,
    /// Only say what is left to be copied.
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
            tell(&error);
            ExitCode::from(2)
        }
    }
}

/// A place with its keys.
type At = (StorePlace, Option<StoreKeys>);

/// How the outcome is said.
struct Saying {
    json: bool,
    dry_run: bool,
    /// Servers upload to the old place.
    old_is_used: bool,
}

/// Returns whether the old place is needed no longer.
fn migrate(command: &Migrate) -> anyhow::Result<bool> {
    let config = command.settings.load(&[])?;
    let (from, to) = places(command, &config)?;
    let old_is_used = config.blobs_also.is_some() && from.0.is_same(&config.blobs);
    let folder = Place::folder(&config)?;
    let _server_lock = alone(&config, &folder)?;
    let _lock = folder.lock_moving()?;
    let rows = Inspection::open(&Place::existing(&config)?)?;
    let open = |(place, keys): &At| {
        Blobs::open_at(folder.root(), place, keys.as_ref(), config.upload_max_bytes)
    };
    let from = open(&from).context("the old place")?;
    let to = open(&to).context("the new place")?;
    let places = Places { from: &from, to: &to };
    let mut said = Instant::now();
    let moved = if command.dry_run {
        migrate::look(&rows, &places)?
    } else {
        migrate::migrate(&rows, &places, &mut |moved| {
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                say_progress(moved);
            }
        })?
    };
    let saying = Saying { json: command.json, dry_run: command.dry_run, old_is_used };
    say(&if saying.json { as_json(&moved, &saying) } else { as_text(&moved, &saying) })?;
    Ok(moved.is_complete() && !old_is_used)
}

/// From where to where.
fn places(command: &Migrate, config: &Config) -> anyhow::Result<(At, At)> {
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
    let is_to = |(place, _): &At| place.is_same(&to.0);
    // Its own keys, unless others are named.
    let known = |known: &At| if file.is_some() { to.clone() } else { known.clone() };
    match &config.blobs_also {
        Some(also) if is_to(&blobs) => Ok((also.clone(), known(&blobs))),
        Some(also) if is_to(also) => Ok((blobs, known(also))),
        Some(_) => bail!("--to must be one of the two places of the settings blobs and blobs_also"),
        None if is_to(&blobs) => bail!(
            "the setting blobs names this place already; what lies elsewhere is copied to it when \
             blobs_also names where"
        ),
        None => Ok((blobs, to)),
    }
}

/// Without a second place in the settings a server would go on deleting in one place only.
fn alone(config: &Config, folder: &DataFolder) -> anyhow::Result<Option<FolderLock>> {
    let remedy = "stop every server of this store; or give them the other place as blobs_also \
                  first, and this command the same settings (docs/s3.md, \"Moving\")";
    match (&config.blobs_also, &config.database_url) {
        (Some(_), _) => Ok(None),
        (None, None) => folder.lock().map(Some).context(remedy),
        (None, Some(_)) => bail!("other nodes may be at work on this database: {remedy}"),
    }
}

fn say_progress(moved: &Moved) {
    // Nothing can be done when standard error is closed.
    let _ = writeln!(
        std::io::stderr(),
        "{} attachments looked at, {} at the new place, {} originals of {} bytes copied",
        moved.rows,
        moved.there,
        moved.copied,
        moved.copied_bytes
    );
}

fn as_json(moved: &Moved, saying: &Saying) -> String {
    json!({
        "rows": moved.rows,
        "there": moved.there,
        "copied": moved.copied,
        "copiedBytes": moved.copied_bytes,
        "gone": moved.gone,
        "left": moved.left,
        "leftBytes": moved.left_bytes,
        "uploadsLeft": moved.uploads,
        "oldPlaceInUse": saying.old_is_used,
        "problems": moved.problems,
    })
    .to_string()
}

fn as_text(moved: &Moved, saying: &Saying) -> String {
    let mut lines = vec![format!(
        "{} attachments; {} originals of {} bytes were copied and compared; {} were deleted meanwhile; \
         {} originals of {} bytes are left.",
        moved.rows, moved.copied, moved.copied_bytes, moved.gone, moved.left, moved.left_bytes
    )];
    lines.extend(moved.problems.iter().take(SHOWN).map(|problem| format!("  {problem}")));
    let more = moved.problems.len().saturating_sub(SHOWN);
    if more > 0 {
        lines.push(format!("  … and {more} more"));
    }
    if moved.uploads > 0 {
        lines.push(format!(
            "{} uploads are under way at the old place: keep it until they have ended, after seven \
             days at most, and run this again.",
            moved.uploads
        ));
    }
    if saying.dry_run {
        lines.push("Nothing was changed.".to_owned());
    } else if saying.old_is_used {
        lines.push(
            "New files still go to the old place, which blobs names: exchange blobs and blobs_also, \
             start the servers again, and run this once more."
                .to_owned(),
        );
    } else if moved.is_complete() {
        lines.push("Everything is at the new place.".to_owned());
    }
    lines.join("\n")
}
