//! `dossier login` and `dossier status`.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;

use clap::Args;
use console::style;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use super::remote::{self, EXIT_CODES, Remote, bytes, say, variable};
use crate::client::{Client, Failure, Kind, Profile, Profiles, Result, Server};
use crate::domain::file_name::visible;

/// The server on this machine.
const LOCAL: &str = "http://127.0.0.1:8080";
/// Longest key that is read.
const MOST_KEY_BYTES: u64 = 4 * 1024;
/// Contacts that are counted at most.
const MOST_COUNTED: usize = 100_000;

/// Arguments of `dossier login`.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Login {
    #[command(flatten)]
    remote: Remote,
}

/// Runs `dossier login`.
pub(super) fn run(command: &Login) -> ExitCode {
    remote::run(command.remote.json, login(&command.remote))
}

async fn login(remote: &Remote) -> Result<()> {
    let server = remote.server.clone().or_else(|| variable("DOSSIER_SERVER"));
    let url = Server::parse_url(server.as_deref().unwrap_or(LOCAL))?;
    let ca = remote.ca()?;
    let allow_http = remote.allow_http;
    let server = Server { url, ca: ca.clone().map(String::into_bytes), allow_http };
    // Before the key is asked for: a wrong address or authority is told first.
    Client::new(&server, "", None)?.health().await?;
    let key = match remote.key.clone().or_else(|| variable("DOSSIER_KEY")) {
        Some(key) => key,
        None => read_key(server.url.as_str())?,
    };
    let client = Client::new(&server, &key, remote.site)?;
    let scopes = client.scopes().await?;
    let (name, file) = (remote.profile_name(), Profiles::file()?);
    let profile =
        Profile { server: server.url.to_string(), key, site: remote.site, ca, allow_http };
    Profiles::load(&file)?.keep(&file, &name, profile)?;
    if remote.json {
        return say(&json!({
            "profile": name, "server": client.address(), "scopes": scopes,
            "file": file.display().to_string(),
        })
        .to_string());
    }
    let with = if name == remote::DEFAULT_PROFILE {
        "dossier status".to_owned()
    } else {
        format!("dossier status --profile {name}")
    };
    say(&format!(
        "Logged in to {}: the key may {}. Kept in {}, as profile {name}.\nNext: {with}",
        client.address(),
        may(&scopes),
        file.display()
    ))
}

fn may(scopes: &[&str]) -> String {
    if scopes.is_empty() { "nothing".to_owned() } else { scopes.join(" and ") }
}

fn read_key(server: &str) -> Result<String> {
    let failed = |error: std::io::Error| Failure::failed(format!("the key: {error}"));
    let key = if std::io::stdin().is_terminal() {
        ask_unseen(&format!("API key for {server} (it is not shown): ")).map_err(failed)?
    } else {
        let mut text = String::new();
        std::io::stdin().take(MOST_KEY_BYTES).read_to_string(&mut text).map_err(failed)?;
        text.lines().next().unwrap_or_default().to_owned()
    };
    let key = key.trim().to_owned();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::new(Kind::Usage, "that is no API key")
            .next("paste the one that the server's first start has shown, or dossier key create"));
    }
    Ok(key)
}

/// Asks at the terminal for a line that is not shown while it is typed.
///
/// The terminal stops to show it before the question stands there, and drops nothing of what is typed
/// meanwhile: a key that is pasted at once would be shown, or lost.
fn ask_unseen(question: &str) -> std::io::Result<String> {
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut unseen = before.clone();
    unseen.local_modes.remove(LocalModes::ECHO);
    // The end of the line is shown all the same.
    unseen.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&stdin, OptionalActions::Now, &unseen)?;
    let mut line = String::new();
    let asked =
        console::Term::stderr().write_str(question).and_then(|()| stdin.read_line(&mut line));
    tcsetattr(&stdin, OptionalActions::Now, &before)?;
    asked.map(|_| line)
}

/// Arguments of `dossier status`.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Status {
    #[command(flatten)]
    remote: Remote,
}

/// Runs `dossier status`.
pub(super) fn run_status(command: &Status) -> ExitCode {
    remote::run(command.remote.json, status(&command.remote))
}

/// What is in a site.
#[derive(Default)]
struct Held {
    contacts: usize,
    files: u64,
    bytes: u64,
    is_all: bool,
}

async fn status(remote: &Remote) -> Result<()> {
    let chosen = remote.choose()?;
    let client = &chosen.client;
    let health = client.health().await?;
    let asked = if chosen.has_key { Some(client.scopes().await) } else { None };
    let held = match &asked {
        Some(Ok(scopes)) if scopes.contains(&"VIEW") => Some(count(client).await?),
        _ => None,
    };
    let scopes = asked.as_ref().and_then(|asked| asked.as_ref().ok());
    if remote.json {
        say(&json!({
            "server": client.address(), "profile": chosen.profile,
            "health": health["status"], "problems": health["problems"],
            "version": health["version"], "scopes": scopes,
            "contacts": held.as_ref().map(|held| held.contacts),
            "files": held.as_ref().map(|held| held.files),
            "bytes": held.as_ref().map(|held| held.bytes.to_string()),
            "countedAll": held.as_ref().map(|held| held.is_all),
        })
        .to_string())?;
    } else {
        say(&shown(client, chosen.profile.as_deref(), &health, scopes, held.as_ref()))?;
    }
    if let Some(Err(failure)) = asked {
        return Err(failure);
    }
    if health["status"] == "ok" {
        return Ok(());
    }
    let problems = health["problems"].as_array().cloned().unwrap_or_default();
    let problems: Vec<&str> = problems.iter().filter_map(Value::as_str).collect();
    let what = format!("{} is not well: {}", client.address(), problems.join("; "));
    let remedy = health["remedy"].as_str().unwrap_or("try again when it has started");
    Err(Failure::failed(what).next(remedy))
}

fn shown(
    client: &Client,
    profile: Option<&str>,
    health: &Value,
    scopes: Option<&Vec<&'static str>>,
    held: Option<&Held>,
) -> String {
    let text = |name: &str| visible(health[name].as_str().unwrap_or("unknown"));
    let (state, version) = (text("status"), text("version"));
    let state = if state == "ok" { style(state).green() } else { style(state).red() };
    let mut out = format!("server    {} (Dossier {version})\nhealth    {state}", client.address());
    // Writing to a text cannot fail.
    if let Some(profile) = profile {
        let _ = write!(out, "\nprofile   {profile}");
    }
    let may = scopes
        .map_or("unknown: no key is given, or not a known one".to_owned(), |scopes| may(scopes));
    let _ = write!(out, "\nkey may   {may}");
    if let Some(held) = held {
        let more = if held.is_all { "" } else { " and more" };
        let _ = write!(
            out,
            "\ncontacts  {}{more}\nfiles     {}{more}\nsize      {}{more}",
            held.contacts,
            held.files,
            bytes(held.bytes)
        );
    }
    out
}

/// Counts what the contacts hold, those in the trash left out.
async fn count(client: &Client) -> Result<Held> {
    let (mut held, mut after) = (Held { is_all: true, ..Held::default() }, None);
    loop {
        let (page, next) = client.contacts(after.as_deref()).await?;
        for contact in page.iter().filter(|contact| contact["state"] == "ACTIVE") {
            held.contacts += 1;
            held.files += contact["attachmentCount"].as_u64().unwrap_or_default();
            let bytes = contact["totalBytes"].as_str().and_then(|bytes| bytes.parse().ok());
            held.bytes += bytes.unwrap_or(0u64);
        }
        after = next;
        if after.is_none() {
            return Ok(held);
        }
        if held.contacts >= MOST_COUNTED {
            return Ok(Held { is_all: false, ..held });
        }
    }
}
