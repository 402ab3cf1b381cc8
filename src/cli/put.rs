//! `dossier put`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::contacts::guid;
use super::progress::Progress;
use super::remote::{self, EXIT_CODES, Remote, bytes, print_stdout};
use super::several::{MAX_PARALLEL, each, summary};
use crate::client::{Client, Failure, Kind, Result, Stored, UploadRequest, put_file, put_stream};
use crate::domain::file_name::escape_hidden;
use crate::domain::hex;
use crate::domain::media_type::{MediaType, type_from_name};

/// Most files in one command.
const MAX_FILES: usize = 100_000;
/// Deepest nesting of folders.
const MAX_DEPTH: usize = 64;
/// The path that means standard input.
const STANDARD_INPUT: &str = "-";

/// Arguments of `dossier put`.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Put {
    /// The contact.
    #[arg(value_name = "CONTACT", value_parser = guid)]
    contact: Uuid,
    /// Files or folders; `-` is standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The name to store a single file under; required for `-`.
    #[arg(long)]
    name: Option<String>,
    /// The media type, such as image/heic [default: derived from the file name].
    #[arg(long = "type", value_name = "TYPE", value_parser = media_type)]
    mime_type: Option<MediaType>,
    /// The number of files to upload at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 4,
          value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_PARALLEL)))]
    parallel: u8,
    #[command(flatten)]
    remote: Remote,
}

fn media_type(text: &str) -> std::result::Result<MediaType, String> {
    MediaType::parse(text).map_err(|error| error.to_string())
}

/// Runs `dossier put`.
pub(super) fn run(command: &Put) -> ExitCode {
    remote::run(command.remote.json, put(command))
}

async fn put(command: &Put) -> Result<()> {
    let client = command.remote.client()?;
    let files = collect(&command.files)?;
    if command.name.is_some() && files.len() != 1 {
        let what = format!("--name needs exactly one file, not {}", files.len());
        return Err(Failure::new(Kind::Usage, what));
    }
    let progress = Progress::new(command.remote.json);
    let stopped = Mutex::new(None);
    let json = command.remote.json;
    let work = async |path: &PathBuf| {
        send_unless_stopped(command, (&client, &progress), path, &stopped).await
    };
    let done = each(&files, (command.parallel, json), &progress, work, |path, stored| {
        summary_line(path, stored)
    })
    .await?;
    if json {
        let results: Vec<Value> =
            files.iter().zip(&done).map(|(path, outcome)| as_json(path, outcome)).collect();
        print_stdout(&json!({ "files": results }).to_string())?;
    }
    summary(done.into_iter().map(|outcome| outcome.map(drop)).collect(), "uploaded")
}

fn summary_line(path: &Path, stored: &Stored) -> String {
    let resumed = match stored.resumed_bytes {
        0 => String::new(),
        resumed => format!(", resumed at {}", bytes(resumed)),
    };
    let path = escape_hidden(&path.to_string_lossy());
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

/// Sends one file. After a failure that every other file would share, no further file is started.
async fn send_unless_stopped(
    command: &Put,
    (client, progress): (&Client, &Progress),
    path: &Path,
    stopped: &Mutex<Option<Failure>>,
) -> Result<Stored> {
    let subject = path.to_string_lossy();
    let earlier = stopped.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(failure) = earlier {
        let what = format!("skipped because of an earlier failure: {}", failure.what);
        return Err(Failure { what, ..failure }.about(&subject));
    }
    let sent = send(command, (client, progress), path).await;
    sent.map_err(|failure| {
        if matches!(failure.kind, Kind::NotAllowed | Kind::Unreachable) {
            *stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.clone());
        }
        failure.about(&subject)
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
            name.ok_or_else(|| {
                Failure::failed("the file name is not UTF-8").next("use --name to set a name")
            })?
        }
        _ => {
            return Err(Failure::new(Kind::Usage, "standard input needs a name")
                .next("use --name, such as --name report.pdf"));
        }
    };
    let mime_type = command.mime_type.clone().or_else(|| type_from_name(&name));
    let mime_type = mime_type.ok_or_else(|| {
        Failure::failed("the file name has no extension of an accepted type")
            .next("images, PDF, CSV and Office documents are accepted; use --type to set the type")
    })?;
    let request = UploadRequest::new(command.contact, name, mime_type)?;
    let line = progress.begin(&request.file_name);
    if is_input {
        return put_stream(client, &request, tokio::io::stdin(), &line.reporter()).await;
    }
    put_file(client, &request, path, &line.reporter()).await
}

/// Collects the files to send, each one once, sorted by name within a folder.
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
            files.len() <= MAX_FILES
        })?;
        if files.len() == before {
            return Err(Failure::failed(format!("{} contains no files", path.display())));
        }
    }
    if files.len() > MAX_FILES {
        let what = format!("more than {MAX_FILES} files");
        return Err(Failure::new(Kind::Usage, what).next("upload them in several commands"));
    }
    Ok(files)
}

/// Visits the files in a folder, recursively. Symbolic links are not followed.
fn walk(folder: &Path, depth: usize, found: &mut impl FnMut(PathBuf) -> bool) -> Result<()> {
    let failed = |error: std::io::Error| Failure::file(folder, &error);
    if depth > MAX_DEPTH {
        let what = format!("{}: folders are nested more than {MAX_DEPTH} deep", folder.display());
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
