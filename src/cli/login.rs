//! `dossier login`, `dossier logout` and `dossier status`.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;

use clap::Args;
use console::style;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use super::remote::{self, EXIT_CODES, Remote, bytes, print_stdout, variable};
use crate::client::{Client, Failure, Kind, Profile, Profiles, Result, Server};
use crate::domain::file_name::escape_hidden;

/// The default server, on this machine.
const LOCAL: &str = "http://127.0.0.1:8080";
/// Longest key that is read.
const MAX_KEY_BYTES: u64 = 4 * 1024;

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
    // Before the prompt for the key, so that a wrong URL or CA is reported first.
    Client::new(&server, "", None)?.health().await?;
    let key = match remote.key.clone().or_else(|| variable("DOSSIER_KEY")) {
        Some(key) => key,
        None => read_key(server.url.as_str())?,
    };
    let client = Client::new(&server, &key, remote.site)?;
    let who = client.who_am_i().await?;
    let (name, file) = (remote.profile_name(), Profiles::file()?);
    let profile =
        Profile { server: server.url.to_string(), key, site: remote.site, ca, allow_http };
    Profiles::load(&file)?.insert(&file, &name, profile)?;
    if remote.json {
        return print_stdout(
            &json!({
                "profile": name, "server": client.address(),
                "scopes": scopes_of(&who), "key": who["key"], "site": who["site"],
                "file": file.display().to_string(),
            })
            .to_string(),
        );
    }
    let next = if name == remote::DEFAULT_PROFILE {
        "dossier status".to_owned()
    } else {
        format!("dossier status --profile {name}")
    };
    print_stdout(&format!(
        "Logged in to {} with scopes {}. Saved in {} as profile {name}.\nNext: {next}",
        client.address(),
        scopes_text(&who),
        file.display()
    ))
}

/// The short names of the key's scopes: VIEW, MODIFY, ADMIN.
fn scopes_of(who: &Value) -> Vec<&str> {
    let scopes = who["key"]["scopes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let scopes = scopes.iter().filter_map(Value::as_str);
    scopes.map(|scope| scope.rsplit('.').next().unwrap_or_default()).collect()
}

fn scopes_text(who: &Value) -> String {
    let scopes: Vec<String> = scopes_of(who).into_iter().map(escape_hidden).collect();
    match scopes.split_last() {
        None => "none".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} and {last}", first.join(", ")),
    }
}

fn read_key(server: &str) -> Result<String> {
    let failed = |error: std::io::Error| Failure::failed(format!("the key: {error}"));
    let key = if std::io::stdin().is_terminal() {
        prompt_hidden(&format!("API key for {server} (input is hidden): ")).map_err(failed)?
    } else {
        let mut text = String::new();
        std::io::stdin().take(MAX_KEY_BYTES).read_to_string(&mut text).map_err(failed)?;
        text.lines().next().unwrap_or_default().to_owned()
    };
    let key = key.trim().to_owned();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::new(Kind::Usage, "that is not an API key")
            .next("paste the key from the server's first start, or run dossier key create there"));
    }
    Ok(key)
}

/// Prompts at the terminal for a line, without echo.
///
/// Echo is switched off before the prompt is printed, and pending input is kept (`Now`, not
/// `Flush`): otherwise a key that is pasted early would be shown, or lost.
fn prompt_hidden(prompt: &str) -> std::io::Result<String> {
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    // The newline is still echoed.
    hidden.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&stdin, OptionalActions::Now, &hidden)?;
    let mut line = String::new();
    let read = console::Term::stderr().write_str(prompt).and_then(|()| stdin.read_line(&mut line));
    tcsetattr(&stdin, OptionalActions::Now, &before)?;
    read.map(|_| line)
}

/// Arguments of `dossier logout`.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Logout {
    /// The saved profile to use [env: `DOSSIER_PROFILE`] [default: default].
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `dossier logout`.
pub(super) fn run_logout(command: &Logout) -> ExitCode {
    remote::run(command.json, async { logout(command) })
}

fn logout(command: &Logout) -> Result<()> {
    let (name, file) = (remote::profile_name(command.profile.as_deref()), Profiles::file()?);
    let mut profiles = Profiles::load(&file)?;
    let server = profiles.get(&name).map(|profile| profile.server.clone());
    let Some(server) = server else {
        return Err(remote::no_profile(&name, &profiles));
    };
    profiles.remove(&file, &name)?;
    if command.json {
        return print_stdout(&json!({ "profile": name, "server": server }).to_string());
    }
    print_stdout(&format!(
        "Removed the key of {}, profile {}. The key is still valid: dossier key revoke revokes it.",
        escape_hidden(server.trim_end_matches('/')),
        escape_hidden(&name)
    ))
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

async fn status(remote: &Remote) -> Result<()> {
    let chosen = remote.choose()?;
    let client = &chosen.client;
    let health = client.health().await?;
    let who_am_i = if chosen.has_key { Some(client.who_am_i().await) } else { None };
    let who = who_am_i.as_ref().and_then(|who| who.as_ref().ok());
    let usage = match who {
        Some(who) if scopes_of(who).contains(&"VIEW") => Some(client.usage().await?),
        _ => None,
    };
    if remote.json {
        let usage = usage.as_ref();
        print_stdout(
            &json!({
                "server": client.address(), "profile": chosen.profile,
                "health": health["status"], "problems": health["problems"],
                "version": health["version"], "scopes": who.map(scopes_of),
                "key": who.map(|who| &who["key"]), "site": who.map(|who| &who["site"]),
                "files": usage.map(|usage| &usage["attachmentCount"]),
                "bytes": usage.map(|usage| &usage["totalBytes"]),
                "quotas": usage.map(|usage| &usage["quotas"]),
            })
            .to_string(),
        )?;
    } else {
        print_stdout(&status_text(
            client,
            chosen.profile.as_deref(),
            &health,
            who,
            usage.as_ref(),
        ))?;
    }
    if let Some(Err(failure)) = who_am_i {
        return Err(failure);
    }
    if health["status"] == "ok" {
        return Ok(());
    }
    let problems = health["problems"].as_array().cloned().unwrap_or_default();
    let problems: Vec<&str> = problems.iter().filter_map(Value::as_str).collect();
    let what = format!("{} is unhealthy: {}", client.address(), problems.join("; "));
    let remedy = health["remedy"].as_str().unwrap_or("try again once it has started");
    Err(Failure::failed(what).next(remedy))
}

fn status_text(
    client: &Client,
    profile: Option<&str>,
    health: &Value,
    who: Option<&Value>,
    usage: Option<&Value>,
) -> String {
    let text = |value: &Value| escape_hidden(value.as_str().unwrap_or("unknown"));
    let (state, version) = (text(&health["status"]), text(&health["version"]));
    let state = if state == "ok" { style(state).green() } else { style(state).red() };
    let mut out = format!("server    {} (Dossier {version})\nhealth    {state}", client.address());
    // Writing to a `String` cannot fail.
    if let Some(profile) = profile {
        let _ = write!(out, "\nprofile   {profile}");
    }
    let Some(who) = who else {
        let _ = write!(out, "\nscopes    unknown: no API key, or the server rejects it");
        return out;
    };
    let _ = write!(out, "\nsite      {}", named(&who["site"]));
    let _ = write!(out, "\nkey       {}\nscopes    {}", named(&who["key"]), scopes_text(who));
    if let Some(usage) = usage {
        let quotas = &usage["quotas"];
        let of =
            |limit: Option<String>| limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
        let files = usage["attachmentCount"].as_u64().unwrap_or_default();
        let _ = write!(out, "\nfiles     {files}");
        let _ = write!(out, "{}", of(quotas["maxFiles"].as_u64().map(|limit| limit.to_string())));
        let size = count(&usage["totalBytes"]).unwrap_or_default();
        let _ =
            write!(out, "\nsize      {}{}", bytes(size), of(count(&quotas["maxBytes"]).map(bytes)));
    }
    out
}

/// A name for people, with the id that commands accept.
fn named(thing: &Value) -> String {
    let text = |field: &str| escape_hidden(thing[field].as_str().unwrap_or_default());
    let (name, id) = (text("name"), text("id"));
    if name.is_empty() { id } else { format!("{name} ({id})") }
}

/// A byte count, which responses send as a string.
fn count(bytes: &Value) -> Option<u64> {
    bytes.as_str()?.parse().ok()
}
