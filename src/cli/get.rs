//! `dossier get`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::contacts::guid;
use super::progress::Progress;
use super::remote::{self, EXIT_CODES, Remote, bytes, print_stdout};
use super::several::{MAX_PARALLEL, each, summary};
use crate::client::{
    Attachment, Client, DownloadRequest, Failure, Fetched, Kind, Result, download, print,
};
use crate::domain::file_name::{display_name, escape_hidden};
use crate::domain::hex;
use crate::domain::ids::parse_guid;

/// Longest local file name, in bytes. File systems allow 255; the rest is room for an attachment
/// id.
const MAX_NAME_BYTES: usize = 200;
/// The path that means standard output.
const STANDARD_OUTPUT: &str = "-";

/// Arguments of `dossier get`.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Get {
    /// The contact.
    #[arg(value_name = "CONTACT", value_parser = guid)]
    contact: Uuid,
    /// Attachment ids or file names, as shown by `dossier ls CONTACT`.
    #[arg(value_name = "ID|NAME", required = true)]
    wanted: Vec<String>,
    /// Save to this folder or, for one attachment, file; `-` is standard output.
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Overwrite existing files.
    #[arg(long)]
    force: bool,
    /// The number of files to download at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 4,
          value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_PARALLEL)))]
    parallel: u8,
    #[command(flatten)]
    remote: Remote,
}

/// Runs `dossier get`.
pub(super) fn run(command: &Get) -> ExitCode {
    remote::run(command.remote.json, get(command))
}

async fn get(command: &Get) -> Result<()> {
    let client = command.remote.client()?;
    let found = find(&client, command.contact, &command.wanted).await?;
    if command.output.as_deref() == Some(Path::new(STANDARD_OUTPUT)) {
        let [attachment] = found.as_slice() else {
            return Err(Failure::new(Kind::Usage, "-o - needs exactly one file"));
        };
        if command.remote.json {
            return Err(Failure::new(Kind::Usage, "-o - and --json cannot be used together"));
        }
        return print(&client, attachment, &mut std::io::stdout().lock()).await;
    }
    let requests = plan(command, found)?;
    let progress = Progress::new(command.remote.json);
    let work = async |request: &DownloadRequest| {
        let subject = request.attachment.file_name.as_str();
        let line = progress.begin(subject);
        download(&client, request, &line.reporter()).await.map_err(|failure| failure.about(subject))
    };
    let options = (command.parallel, command.remote.json);
    let done = each(&requests, options, &progress, work, summary_line).await?;
    if command.remote.json {
        let files: Vec<Value> = requests
            .iter()
            .zip(&done)
            .map(|(request, outcome)| as_json(request, outcome))
            .collect();
        print_stdout(&json!({ "files": files }).to_string())?;
    }
    summary(done.into_iter().map(|outcome| outcome.map(drop)).collect(), "downloaded")
}

fn summary_line(request: &DownloadRequest, fetched: &Fetched) -> String {
    let path = escape_hidden(&request.path.to_string_lossy());
    let resumed = match fetched.resumed_bytes {
        0 => String::new(),
        resumed => format!(", resumed at {}", bytes(resumed)),
    };
    let unverified =
        if fetched.is_verified { "" } else { ", not verified: the server has no SHA-256" };
    format!("{path} ({}{resumed}{unverified})", bytes(fetched.size_bytes))
}

fn as_json(request: &DownloadRequest, outcome: &Result<Fetched>) -> Value {
    let (id, name) = (request.attachment.id.to_string(), &request.attachment.file_name);
    match outcome {
        Ok(fetched) => json!({
            "attachmentId": id, "fileName": name, "path": request.path.to_string_lossy(),
            "sizeBytes": fetched.size_bytes, "sha256": hex::encode(&fetched.sha256),
            "verified": fetched.is_verified, "resumedBytes": fetched.resumed_bytes,
        }),
        Err(failure) => json!({ "attachmentId": id, "fileName": name, "error": failure.as_json() }),
    }
}

/// Resolves ids and names to attachments, each one once. Lists the contact only if a name is given.
async fn find(client: &Client, contact: Uuid, wanted: &[String]) -> Result<Vec<Attachment>> {
    let has_names = wanted.iter().any(|text| parse_guid(text).is_none());
    let all = if has_names { list_all(client, contact).await? } else { Vec::new() };
    let mut found: Vec<Attachment> = Vec::new();
    for text in wanted {
        let attachment = match parse_guid(text) {
            Some(id) => client.get(contact, id).await.map_err(|failure| failure.about(text))?,
            None => find_by_name(&all, contact, text)?,
        };
        if found.iter().all(|other| other.id != attachment.id) {
            found.push(attachment);
        }
    }
    Ok(found)
}

async fn list_all(client: &Client, contact: Uuid) -> Result<Vec<Attachment>> {
    let mut all = Vec::new();
    loop {
        let (page, is_last) = client.list(contact, all.len()).await?;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

/// Finds the one attachment with a name, either exact or as it is displayed.
fn find_by_name(all: &[Attachment], contact: Uuid, name: &str) -> Result<Attachment> {
    let matches = |attachment: &&Attachment| {
        attachment.file_name == name || escape_hidden(&attachment.file_name) == name
    };
    let matching: Vec<&Attachment> = all.iter().filter(matches).collect();
    match matching.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Failure::new(Kind::NotFound, format!("the contact has no file {name}"))
            .next(format!("to list its files: dossier ls {contact}"))),
        several => {
            let ids: Vec<String> = several.iter().map(|one| one.id.to_string()).collect();
            let what = format!("{} files are named {name}", several.len());
            Err(Failure::new(Kind::Usage, what)
                .next(format!("use the id of one: {}", ids.join(", "))))
        }
    }
}

/// Chooses a local path for each attachment. No name from the server leads out of the folder, and
/// no two attachments share a path.
fn plan(command: &Get, found: Vec<Attachment>) -> Result<Vec<DownloadRequest>> {
    let (contact, force) = (command.contact, command.force);
    let output = command.output.as_deref();
    let is_folder = output.is_none_or(|path| {
        path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") || found.len() > 1
    });
    if let (false, Some(path)) = (is_folder, output) {
        let request =
            |attachment| DownloadRequest { contact, attachment, path: path.to_owned(), force };
        return Ok(found.into_iter().map(request).collect());
    }
    let folder = output.unwrap_or(Path::new(""));
    if !folder.as_os_str().is_empty() {
        std::fs::create_dir_all(folder).map_err(|error| Failure::file(folder, &error))?;
    }
    let mut used_names = std::collections::HashSet::new();
    let requests = found.into_iter().map(|attachment| {
        let name = local_name(&attachment.file_name);
        let name = if used_names.insert(name.to_lowercase()) {
            name
        } else {
            // Two files with the same name: the id makes the name unique.
            format!("{} {name}", attachment.id)
        };
        DownloadRequest { contact, attachment, path: folder.join(name), force }
    });
    Ok(requests.collect())
}

/// A safe local file name: no path, not hidden, not too long, with its extension.
fn local_name(file_name: &str) -> String {
    let name = display_name(file_name);
    let name = match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name,
    };
    if name.len() <= MAX_NAME_BYTES {
        return name;
    }
    let (stem, end) = match name.rfind('.') {
        Some(dot) if name.len() - dot <= MAX_NAME_BYTES / 4 => name.split_at(dot),
        _ => (name.as_str(), ""),
    };
    let max_stem = MAX_NAME_BYTES - end.len();
    let cut = (0..=max_stem).rev().find(|at| stem.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{end}", &stem[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_names_stay_in_their_folder_and_within_file_system_limits() {
        for (name, local) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "_._.._etc_passwd"),
            ("/etc/passwd", "_etc_passwd"),
            (".bashrc", "_bashrc"),
            ("..", "file"),
            ("invoice_\u{202E}fdp.exe", "invoice_fdp.exe"),
            ("a\0b\n.pdf", "ab.pdf"),
        ] {
            assert_eq!(local_name(name), local, "{name:?}");
        }
        let long = local_name(&format!("{}.pdf", "😀".repeat(256)));
        assert!(long.len() <= MAX_NAME_BYTES && long.ends_with("😀.pdf"), "{long}");
        assert!(local_name(&format!("a.{}", "x".repeat(255))).len() <= MAX_NAME_BYTES);
    }
}
