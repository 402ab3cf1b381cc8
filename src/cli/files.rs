//! `dossier ls`, `dossier rm` and `dossier open`.

use std::process::{Command, ExitCode, Stdio};

use clap::Args;
use console::style;
use serde_json::{Value, json};
use uuid::Uuid;

use super::contacts::guid;
use super::remote::{self, EXIT_CODES, Remote, bytes, confirm, is_interactive, say, variable};
use super::several::summary;
use crate::client::{Client, Failure, Kind, Page, Result};
use crate::domain::file_name::visible;

/// Arguments of `dossier ls`.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Ls {
    /// The contact [default: list the contacts].
    #[arg(value_name = "CONTACT", value_parser = guid)]
    contact: Option<Uuid>,
    #[command(flatten)]
    remote: Remote,
}

/// Runs `dossier ls`.
pub(super) fn run_ls(command: &Ls) -> ExitCode {
    remote::run(command.remote.json, async {
        let client = command.remote.client()?;
        match command.contact {
            Some(contact) => files(&client, contact, command.remote.json).await,
            None => contacts(&client, command.remote.json).await,
        }
    })
}

async fn contacts(client: &Client, json: bool) -> Result<()> {
    let heading = format!("{:36}  {:7}  {:>7}  {:>10}  LABEL", "CONTACT", "STATE", "FILES", "SIZE");
    let list = List { items: "contacts", heading, line: contact_line };
    list.show(json, async |after| client.contacts(after).await).await
}

/// What a list looks like.
struct List {
    /// What its items are called for programs.
    items: &'static str,
    heading: String,
    line: fn(&Value) -> String,
}

impl List {
    /// Prints it page by page, or for programs whole.
    async fn show(
        &self,
        json: bool,
        page: impl AsyncFn(Option<&str>) -> Result<Page>,
    ) -> Result<()> {
        let (mut all, mut next) = (Vec::new(), None);
        let mut is_first = true;
        loop {
            let (found, more) = page(next.as_deref()).await?;
            if json {
                all.extend(found);
            } else {
                if std::mem::take(&mut is_first) {
                    head(&self.heading)?;
                }
                say_lines(&found.iter().map(self.line).collect::<Vec<_>>())?;
            }
            next = more;
            if next.is_none() {
                break;
            }
        }
        if json { say(&json!({ self.items: all }).to_string()) } else { Ok(()) }
    }
}

fn contact_line(contact: &Value) -> String {
    let text = |name: &str| visible(contact[name].as_str().unwrap_or_default());
    let size = contact["totalBytes"].as_str().and_then(|bytes| bytes.parse().ok());
    let line = format!(
        "{:36}  {:7}  {:>7}  {:>10}  {}",
        text("id"),
        text("state").to_ascii_lowercase(),
        contact["attachmentCount"].to_string(),
        bytes(size.unwrap_or_default()),
        text("label")
    );
    line.trim_end().to_owned()
}

async fn files(client: &Client, contact: Uuid, json: bool) -> Result<()> {
    let heading =
        format!("{:36}  {:>10}  {:16}  {:12}  NAME", "ATTACHMENT", "SIZE", "ADDED", "TYPE");
    let list = List { items: "attachments", heading, line: file_line };
    list.show(json, async |after| client.files(contact, after).await).await
}

fn file_line(file: &Value) -> String {
    let text = |name: &str| visible(file[name].as_str().unwrap_or_default());
    let size = file["sizeBytes"].as_str().and_then(|bytes| bytes.parse().ok()).unwrap_or_default();
    // Up to the minute, in UTC.
    let added: String = text("createdAt").replacen('T', " ", 1).chars().take(16).collect();
    let mime_type = text("mimeType");
    // The long names of Office's types say less than the file's own name.
    let kind = mime_type.rsplit(['/', '.']).next().unwrap_or_default();
    let (id, name) = (text("id"), text("fileName"));
    format!("{id:36}  {:>10}  {added:16}  {kind:12}  {name}", bytes(size))
}

fn head(text: &str) -> Result<()> {
    say(&style(text).bold().to_string())
}

fn say_lines(lines: &[String]) -> Result<()> {
    if lines.is_empty() { Ok(()) } else { say(&lines.join("\n")) }
}

/// Arguments of `dossier rm`.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Rm {
    /// The contact.
    #[arg(value_name = "CONTACT", value_parser = guid)]
    contact: Uuid,
    /// The attachments, as `dossier ls CONTACT` shows them.
    #[arg(value_name = "ID", value_parser = guid, required = true)]
    ids: Vec<Uuid>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Runs `dossier rm`.
pub(super) fn run_rm(command: &Rm) -> ExitCode {
    remote::run(command.remote.json, rm(command))
}

async fn rm(command: &Rm) -> Result<()> {
    let (client, json) = (command.remote.client()?, command.remote.json);
    if !command.yes {
        if !is_interactive() || json {
            return Err(Failure::new(Kind::Usage, "nobody can be asked whether to delete them")
                .next("say it with the command: --yes"));
        }
        let mut names = Vec::new();
        for id in &command.ids {
            names
                .push(format!("  {}", visible(&client.get(command.contact, *id).await?.file_name)));
        }
        if !confirm(&format!("{}\nDelete {} of these?", names.join("\n"), names.len()))? {
            return Err(Failure::failed("nothing was deleted"));
        }
    }
    let (mut done, mut shown) = (Vec::new(), Vec::new());
    for id in &command.ids {
        let outcome = client.delete(command.contact, *id).await;
        let outcome = outcome.map_err(|failure| failure.of(&id.to_string()));
        match &outcome {
            Ok(()) if json => shown.push(json!({ "attachmentId": id.to_string() })),
            Ok(()) => say(&format!("{id}  deleted"))?,
            Err(failure) if json => {
                shown.push(json!({ "attachmentId": id.to_string(), "error": failure.as_json() }));
            }
            Err(failure) if command.ids.len() > 1 => remote::complain(failure, false),
            Err(_) => {}
        }
        let is_over = outcome.as_ref().is_err_and(|failure| failure.kind != Kind::NotFound);
        done.push(outcome);
        if is_over {
            break;
        }
    }
    if json {
        say(&json!({ "attachments": shown }).to_string())?;
    }
    summary(done, "deleted")
}

/// Arguments of `dossier open`.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Open {
    /// The contact.
    #[arg(value_name = "CONTACT", value_parser = guid)]
    contact: Uuid,
    /// The attachment, as `dossier ls CONTACT` shows it.
    #[arg(value_name = "ID", value_parser = guid)]
    id: Uuid,
    #[command(flatten)]
    remote: Remote,
}

/// Runs `dossier open`.
pub(super) fn run_open(command: &Open) -> ExitCode {
    remote::run(command.remote.json, open(command))
}

async fn open(command: &Open) -> Result<()> {
    let client = command.remote.client()?;
    let found = client.get(command.contact, command.id).await?;
    // What a server says is given to a program: an address of the web and nothing else.
    let link = url::Url::parse(&found.link).ok();
    let link = link.filter(|link| matches!(link.scheme(), "http" | "https"));
    let link = link.ok_or_else(|| Failure::failed("the server's link is no address of the web"))?;
    if command.remote.json {
        return say(&json!({ "link": link.as_str(), "fileName": found.file_name }).to_string());
    }
    if console::Term::stdout().is_term() && opened(link.as_str()) {
        return say(&format!("{} is open in the browser", visible(&found.file_name)));
    }
    say(link.as_str())
}

/// Hands a link to the desktop; false when there is none.
fn opened(link: &str) -> bool {
    let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| variable(name).is_some());
    let program = variable("BROWSER").or_else(|| has_screen.then(|| "xdg-open".to_owned()));
    let Some(program) = program else { return false };
    let opened = Command::new(program)
        .arg(link)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    opened.is_ok_and(|status| status.success())
}
