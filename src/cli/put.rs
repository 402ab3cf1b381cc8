//! `dossier put`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::contacts::guid;
use super::progress::Progress;
use super::remote::{self, EXIT_CODES, Remote, bytes, say};
use super::several::{MOST_PARALLEL, each, summary};
use crate::client::{Client, Failure, Kind, Result, Sending, Stored, put_file, put_stream};
use crate::domain::file_name::visible;
use crate::domain::hex;
use crate::domain::media_type::{MediaType, type_of_name};

/// Files of one command.
const MOST_FILES: usize = 100_000;
/// Folders in one another.
const MOST_DEPTH: usize = 64;
/// What stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Arguments of `dossier put`.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Put {
    /// The contact.
    #[arg(value_name = "CONTACT", value_parser = guid)]
    contact: Uuid,
    /// Files, folders, or `-`.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The name that one file is kept under; needed for `-`.
    #[arg(long)]
    name: Option<String>,
    /// What the files are, such as image/heic [default: as their names tell].
    #[arg(long = "type", value_name = "TYPE", value_parser = media_type)]
    mime_type: Option<MediaType>,
    /// So many files at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 4,
          value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_PARALLEL)))]
    parallel: u8,
    #[command(flatten)]
    remote: Remote,
}

fn media_type(text: &str) -> std::result::Result<MediaType, String> {
    MediaType::parse(text).map_err(|refused| refused.to_string())
}

/// Runs `dossier put`.
pub(super) fn run(command: &Put) -> ExitCode {
    remote::run(command.remote.json, put(command))
}

async fn put(command: &Put) -> Result<()> {
    let client = command.remote.client()?;
    let files = collect(&command.files)?;
    if command.name.is_some() && files.len() != 1 {
        let what = format!("--name is for one file, and these are {}", files.len());
        return Err(Failure::new(Kind::Usage, what));
    }
    let progress = Progress::new(command.remote.json);
    let stopped = Mutex::new(None);
    let json = command.remote.json;
    let work = async |path: &PathBuf| one(command, (&client, &progress), path, &stopped).await;
    let done =
        each(&files, (command.parallel, json), &progress, work, |path, stored| line(path, stored))
            .await?;
    if json {
        let shown: Vec<Value> =
            files.iter().zip(&done).map(|(path, outcome)| as_json(path, outcome)).collect();
        say(&json!({ "files": shown }).to_string())?;
    }
    summary(done.into_iter().map(|outcome| outcome.map(drop)).collect(), "sent")
}

fn line(path: &Path, stored: &Stored) -> String {
    let resumed = match stored.resumed_bytes {
        0 => String::new(),
        sent => format!(", {} of it before", bytes(sent)),
    };
    let path = visible(&path.to_string_lossy());
    format!("{}  {path} ({}{resumed})", stored.id, bytes(stored.size_bytes))
}

fn as_json(path: &Path, outcome: &Result<Stored>) -> Value {
    let path = path.to_string_lossy();
    match outcome {
        Ok(stored) => json!({
            "path": path, "attachmentId": stored.id.to_string(),
            "sizeBytes": stored.size_bytes, "sha256": hex::encode(&stored.sha256),
            "resumedBytes": stored.resumed_bytes,
        }),
        Err(failure) => json!({ "path": path, "error": failure.as_json() }),
    }
}

/// Sends one file. After a failure that all others would share, none is begun.
async fn one(
    command: &Put,
    (client, progress): (&Client, &Progress),
    path: &Path,
    stopped: &Mutex<Option<Failure>>,
) -> Result<Stored> {
    let subject = path.to_string_lossy();
    let earlier = stopped.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(failure) = earlier {
        let not_begun = format!("was not begun, because of the failure before: {}", failure.what);
        return Err(Failure { what: not_begun, ..failure }.of(&subject));
    }
    let sent = send(command, (client, progress), path).await;
    sent.map_err(|failure| {
        if matches!(failure.kind, Kind::NotAllowed | Kind::Unreachable) {
            *stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.clone());
        }
        failure.of(&subject)
    })
}

async fn send(
    command: &Put,
    (client, progress): (&Client, &Progress),
    path: &Path,
) -> Result<Stored> {
    let is_input = path.as_os_str() == STANDARD_INPUT;
    let name = match (&command.name, path.file_name()) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) if !is_input => {
            let name = name.to_str().map(str::to_owned);
            name.ok_or_else(|| Failure::failed("its name is no UTF-8").next("--name gives one"))?
        }
        _ => {
            return Err(Failure::new(Kind::Usage, "standard input has no name")
                .next("--name NAME, such as --name report.pdf"));
        }
    };
    let mime_type = command.mime_type.clone().or_else(|| type_of_name(&name));
    let mime_type = mime_type.ok_or_else(|| {
        Failure::failed("its name does not tell a type that the server takes")
            .next("pictures, PDF, CSV and Office documents are taken; --type says what it is")
    })?;
    let sending = Sending::new(command.contact, name, mime_type)?;
    let line = progress.begin(&sending.file_name);
    if is_input {
        return put_stream(client, &sending, tokio::io::stdin(), &line.told()).await;
    }
    put_file(client, &sending, path, &line.told()).await
}

/// The files that are meant, each once, in the order of their names within a folder.
fn collect(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for path in named {
        if path.as_os_str() == STANDARD_INPUT {
            if seen.insert(path.clone()) {
                files.push(path.clone());
            }
            continue;
        }
        let whole = std::fs::canonicalize(path).map_err(|error| Failure::file(path, &error))?;
        if !whole.is_dir() {
            if seen.insert(whole) {
                files.push(path.clone());
            }
            continue;
        }
        let before = files.len();
        walk(path, 0, &mut |file| {
            let whole = std::fs::canonicalize(&file).unwrap_or_else(|_| file.clone());
            if seen.insert(whole) {
                files.push(file);
            }
            files.len() <= MOST_FILES
        })?;
        if files.len() == before {
            return Err(Failure::failed(format!("{} holds no file", path.display())));
        }
    }
    if files.len() > MOST_FILES {
        let what = format!("these are more than {MOST_FILES} files");
        return Err(Failure::new(Kind::Usage, what).next("give a part of them at a time"));
    }
    Ok(files)
}

/// The files in a folder and below it. What a link leads to is not in it.
fn walk(folder: &Path, depth: usize, found: &mut impl FnMut(PathBuf) -> bool) -> Result<()> {
    let failed = |error: std::io::Error| Failure::file(folder, &error);
    if depth > MOST_DEPTH {
        let what = format!("{}: folders lie more than {MOST_DEPTH} deep", folder.display());
        return Err(Failure::failed(what));
    }
    let entries: std::io::Result<Vec<_>> = std::fs::read_dir(folder).map_err(failed)?.collect();
    let mut entries = entries.map_err(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            walk(&entry.path(), depth + 1, found)?;
        } else if kind.is_file() && !found(entry.path()) {
            return Ok(());
        }
    }
    Ok(())
}
