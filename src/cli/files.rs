//! `dossier ls`, `dossier rm` and `dossier open`.

use std::process::{Command, ExitCode, Stdio};

use clap::Args;
use console::style;
use serde_json::{Value, json};
use uuid::Uuid;

use super::contacts::guid;
use super::remote::{
    self, EXIT_CODES, Remote, bytes, confirm, is_interactive, print_stdout, variable,
};
use super::several::summary;
use crate::client::{Client, Failure, Kind, Page, Result};
use crate::domain::file_name::escape_hidden;

/// Arguments of `dossier ls`.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Ls {
    /// The contact [default: list all contacts].
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
    let list = ListFormat { items: "contacts", heading, line: contact_line };
    list.show(json, async |after| client.contacts(after).await).await
}

/// How a list is printed.
struct ListFormat {
    /// The name of the items in JSON.
    items: &'static str,
    heading: String,
    line: fn(&Value) -> String,
}

impl ListFormat {
    /// Prints the list page by page, or as one JSON object.
    async fn show(
        &self,
        json: bool,
        page: impl AsyncFn(Option<&str>) -> Result<Page>,
    ) -> Result<()> {
        let (mut all, mut next) = (Vec::new(), None);
        let mut is_first = true;
        loop {
            let (found, next_page) = page(next.as_deref()).await?;
            if json {
                all.extend(found);
            } else {
                if std::mem::take(&mut is_first) {
                    print_heading(&self.heading)?;
                }
                print_lines(&found.iter().map(self.line).collect::<Vec<_>>())?;
            }
            next = next_page;
            if next.is_none() {
                break;
            }
        }
        if json { print_stdout(&json!({ self.items: all }).to_string()) } else { Ok(()) }
    }
}

fn contact_line(contact: &Value) -> String {
    let text = |name: &str| escape_hidden(contact[name].as_str().unwrap_or_default());
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
    let list = ListFormat { items: "attachments", heading, line: file_line };
    list.show(json, async |after| client.files(contact, after).await).await
}

fn file_line(file: &Value) -> String {
    let text = |name: &str| escape_hidden(file[name].as_str().unwrap_or_default());
    let size = file["sizeBytes"].as_str().and_then(|bytes| bytes.parse().ok()).unwrap_or_default();
    // To the minute, in UTC.
    let added: String = text("createdAt").replacen('T', " ", 1).chars().take(16).collect();
    let mime_type = text("mimeType");
    // Only the end: the full names of Office types are long, and the file name says as much.
    let kind = mime_type.rsplit(['/', '.']).next().unwrap_or_default();
    let (id, name) = (text("id"), text("fileName"));
    format!("{id:36}  {:>10}  {added:16}  {kind:12}  {name}", bytes(size))
}

fn print_heading(text: &str) -> Result<()> {
    print_stdout(&style(text).bold().to_string())
}

fn print_lines(lines: &[String]) -> Result<()> {
    if lines.is_empty() { Ok(()) } else { print_stdout(&lines.join("\n")) }
}

/// Arguments of `dossier rm`.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Rm {
    /// The contact.
    #[arg(value_name = "CONTACT", value_parser = guid)]
    contact: Uuid,
    /// The attachment ids, as shown by `dossier ls CONTACT`.
    #[arg(value_name = "ID", value_parser = guid, required = true)]
    ids: Vec<Uuid>,
    /// Do not ask for confirmation.
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
            return Err(Failure::new(
                Kind::Usage,
                "cannot ask for confirmation: this is not a terminal",
            )
            .next("use --yes to delete without asking"));
        }
        let mut names = Vec::new();
        for id in &command.ids {
            names.push(format!(
                "  {}",
                escape_hidden(&client.get(command.contact, *id).await?.file_name)
            ));
        }
        if !confirm(&format!("{}\nDelete these {} files?", names.join("\n"), names.len()))? {
            return Err(Failure::failed("cancelled; nothing was deleted"));
        }
    }
    let (mut done, mut shown) = (Vec::new(), Vec::new());
    for id in &command.ids {
        let outcome = client.delete(command.contact, *id).await;
        let outcome = outcome.map_err(|failure| failure.about(&id.to_string()));
        match &outcome {
            Ok(()) if json => shown.push(json!({ "attachmentId": id.to_string() })),
            Ok(()) => print_stdout(&format!("{id}  deleted"))?,
            Err(failure) if json => {
                shown.push(json!({ "attachmentId": id.to_string(), "error": failure.as_json() }));
            }
            Err(failure) if command.ids.len() > 1 => remote::print_failure(failure, false),
            Err(_) => {}
        }
        let must_stop = outcome.as_ref().is_err_and(|failure| failure.kind != Kind::NotFound);
        done.push(outcome);
        if must_stop {
            break;
        }
    }
    if json {
        print_stdout(&json!({ "attachments": shown }).to_string())?;
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
    /// The attachment id, as shown by `dossier ls CONTACT`.
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
    // The link comes from the server and is passed to a program, so it must be a web URL.
    let link = url::Url::parse(&found.link).ok();
    let link = link.filter(|link| matches!(link.scheme(), "http" | "https"));
    let link = link.ok_or_else(|| {
        Failure::failed("the server returned a link that is not an http or https URL")
    })?;
    if command.remote.json {
        return print_stdout(
            &json!({ "link": link.as_str(), "fileName": found.file_name }).to_string(),
        );
    }
    if console::Term::stdout().is_term() && open_in_browser(link.as_str()) {
        return print_stdout(&format!("Opened {} in the browser", escape_hidden(&found.file_name)));
    }
    print_stdout(link.as_str())
}

/// Opens a link in the browser; returns false if that is not possible.
fn open_in_browser(link: &str) -> bool {
    let has_display = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| variable(name).is_some());
    let program = variable("BROWSER").or_else(|| has_display.then(|| "xdg-open".to_owned()));
    let Some(program) = program else { return false };
    let opened = Command::new(program)
        .arg(link)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    opened.is_ok_and(|status| status.success())
}
