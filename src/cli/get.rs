//! `dossier get`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::contacts::guid;
use super::progress::Progress;
use super::remote::{self, EXIT_CODES, Remote, bytes, say};
use super::several::{MOST_PARALLEL, each, summary};
use crate::client::{Attachment, Client, Failure, Fetched, Kind, Result, Wanted, download, print};
use crate::domain::file_name::{display_name, visible};
use crate::domain::hex;
use crate::domain::ids::parse_guid;

/// Longest name that is made, in bytes: file systems take 255, and a copy may add to it.
const MOST_NAME_BYTES: usize = 200;
/// What stands for standard output.
const STANDARD_OUTPUT: &str = "-";

/// Arguments of `dossier get`.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Get {
    /// The contact.
    #[arg(value_name = "CONTACT", value_parser = guid)]
    contact: Uuid,
    /// Attachments by id or by name, as `dossier ls CONTACT` shows them.
    #[arg(value_name = "ID|NAME", required = true)]
    wanted: Vec<String>,
    /// A folder for them, or the file that one becomes; `-` is standard output.
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
    /// So many files at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 4,
          value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_PARALLEL)))]
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
        let [one] = found.as_slice() else {
            return Err(Failure::new(Kind::Usage, "standard output takes one file"));
        };
        if command.remote.json {
            return Err(Failure::new(
                Kind::Usage,
                "standard output takes a file or JSON, not both",
            ));
        }
        return print(&client, one, &mut std::io::stdout().lock()).await;
    }
    let wanted = places(command, found)?;
    let progress = Progress::new(command.remote.json);
    let work = async |wanted: &Wanted| {
        let subject = wanted.attachment.file_name.as_str();
        let line = progress.begin(subject);
        download(&client, wanted, &line.told()).await.map_err(|failure| failure.of(subject))
    };
    let at_once = (command.parallel, command.remote.json);
    let done = each(&wanted, at_once, &progress, work, shown).await?;
    if command.remote.json {
        let shown: Vec<Value> =
            wanted.iter().zip(&done).map(|(wanted, outcome)| as_json(wanted, outcome)).collect();
        say(&json!({ "files": shown }).to_string())?;
    }
    summary(done.into_iter().map(|outcome| outcome.map(drop)).collect(), "fetched")
}

fn shown(wanted: &Wanted, fetched: &Fetched) -> String {
    let path = visible(&wanted.path.to_string_lossy());
    let resumed = match fetched.resumed_bytes {
        0 => String::new(),
        before => format!(", {} of it before", bytes(before)),
    };
    let unverified = if fetched.is_verified { "" } else { ", its hash is not known" };
    format!("{path} ({}{resumed}{unverified})", bytes(fetched.size_bytes))
}

fn as_json(wanted: &Wanted, outcome: &Result<Fetched>) -> Value {
    let (id, name) = (wanted.attachment.id.to_string(), &wanted.attachment.file_name);
    match outcome {
        Ok(fetched) => json!({
            "attachmentId": id, "fileName": name, "path": wanted.path.to_string_lossy(),
            "sizeBytes": fetched.size_bytes, "sha256": hex::encode(&fetched.sha256),
            "verified": fetched.is_verified, "resumedBytes": fetched.resumed_bytes,
        }),
        Err(failure) => json!({ "attachmentId": id, "fileName": name, "error": failure.as_json() }),
    }
}

/// Finds what is meant, each attachment once; the list is read when there are names.
async fn find(client: &Client, contact: Uuid, wanted: &[String]) -> Result<Vec<Attachment>> {
    let has_names = wanted.iter().any(|text| parse_guid(text).is_none());
    let all = if has_names { all(client, contact).await? } else { Vec::new() };
    let mut found: Vec<Attachment> = Vec::new();
    for text in wanted {
        let one = match parse_guid(text) {
            Some(id) => client.get(contact, id).await.map_err(|failure| failure.of(text))?,
            None => named(&all, contact, text)?,
        };
        if found.iter().all(|other| other.id != one.id) {
            found.push(one);
        }
    }
    Ok(found)
}

async fn all(client: &Client, contact: Uuid) -> Result<Vec<Attachment>> {
    let mut all = Vec::new();
    loop {
        let (page, is_last) = client.list(contact, all.len()).await?;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

/// The one attachment of a name, as it is or as it is shown.
fn named(all: &[Attachment], contact: Uuid, name: &str) -> Result<Attachment> {
    let fits = |one: &&Attachment| one.file_name == name || visible(&one.file_name) == name;
    let fitting: Vec<&Attachment> = all.iter().filter(fits).collect();
    match fitting.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Failure::new(Kind::NotFound, format!("the contact has no file {name}"))
            .next(format!("dossier ls {contact} shows what it has"))),
        several => {
            let ids: Vec<String> = several.iter().map(|one| one.id.to_string()).collect();
            let what = format!("{} files are called {name}", several.len());
            Err(Failure::new(Kind::Usage, what)
                .next(format!("give the id of one: {}", ids.join(", "))))
        }
    }
}

/// Where each goes. No name of a server leads out of the folder, and no two lead to one file.
fn places(command: &Get, found: Vec<Attachment>) -> Result<Vec<Wanted>> {
    let (contact, force) = (command.contact, command.force);
    let output = command.output.as_deref();
    let is_folder = output.is_none_or(|path| {
        path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") || found.len() > 1
    });
    if let (false, Some(path)) = (is_folder, output) {
        let one = |attachment| Wanted { contact, attachment, path: path.to_owned(), force };
        return Ok(found.into_iter().map(one).collect());
    }
    let folder = output.unwrap_or(Path::new(""));
    if !folder.as_os_str().is_empty() {
        std::fs::create_dir_all(folder).map_err(|error| Failure::file(folder, &error))?;
    }
    let mut taken = std::collections::HashSet::new();
    let placed = found.into_iter().map(|attachment| {
        let name = local_name(&attachment.file_name);
        let name = if taken.insert(name.to_lowercase()) {
            name
        } else {
            // Two files of one name: the id tells them apart.
            format!("{} {name}", attachment.id)
        };
        Wanted { contact, attachment, path: folder.join(name), force }
    });
    Ok(placed.collect())
}

/// A name for a file of this machine: harmless, not hidden, not too long, with its extension.
fn local_name(file_name: &str) -> String {
    let name = display_name(file_name);
    let name = match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name,
    };
    if name.len() <= MOST_NAME_BYTES {
        return name;
    }
    let (stem, end) = match name.rfind('.') {
        Some(dot) if name.len() - dot <= MOST_NAME_BYTES / 4 => name.split_at(dot),
        _ => (name.as_str(), ""),
    };
    let most = MOST_NAME_BYTES - end.len();
    let cut = (0..=most).rev().find(|at| stem.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{end}", &stem[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder_and_within_what_a_file_system_takes() {
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
        assert!(long.len() <= MOST_NAME_BYTES && long.ends_with("😀.pdf"), "{long}");
        assert!(local_name(&format!("a.{}", "x".repeat(255))).len() <= MOST_NAME_BYTES);
    }
}
