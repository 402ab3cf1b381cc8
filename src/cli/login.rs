//! `dossier login`, `dossier logout` and `dossier status`.

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
    let who = client.who_am_i().await?;
    let (name, file) = (remote.profile_name(), Profiles::file()?);
    let profile =
        Profile { server: server.url.to_string(), key, site: remote.site, ca, allow_http };
    Profiles::load(&file)?.keep(&file, &name, profile)?;
    if remote.json {
        return say(&json!({
            "profile": name, "server": client.address(),
            "scopes": scopes_of(&who), "key": who["key"], "site": who["site"],
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
        may(&who),
        file.display()
    ))
}

/// The last words of what the key may do: VIEW, MODIFY, ADMIN.
fn scopes_of(who: &Value) -> Vec<&str> {
    let scopes = who["key"]["scopes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let scopes = scopes.iter().filter_map(Value::as_str);
    scopes.map(|scope| scope.rsplit('.').next().unwrap_or_default()).collect()
}

fn may(who: &Value) -> String {
    let scopes: Vec<String> = scopes_of(who).into_iter().map(visible).collect();
    match scopes.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} and {last}", first.join(", ")),
    }
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

/// Arguments of `dossier logout`.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Logout {
    /// Which of the servers that you have logged in to [env: `DOSSIER_PROFILE`] [default: default].
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
    profiles.forget(&file, &name)?;
    if command.json {
        return say(&json!({ "profile": name, "server": server }).to_string());
    }
    say(&format!(
        "Forgot the key of {}, profile {}. It still opens the server: dossier key revoke ends that.",
        visible(server.trim_end_matches('/')),
        visible(&name)
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
    let asked = if chosen.has_key { Some(client.who_am_i().await) } else { None };
    let who = asked.as_ref().and_then(|asked| asked.as_ref().ok());
    let usage = match who {
        Some(who) if scopes_of(who).contains(&"VIEW") => Some(client.usage().await?),
        _ => None,
    };
    if remote.json {
        let usage = usage.as_ref();
        say(&json!({
            "server": client.address(), "profile": chosen.profile,
            "health": health["status"], "problems": health["problems"],
            "version": health["version"], "scopes": who.map(scopes_of),
            "key": who.map(|who| &who["key"]), "site": who.map(|who| &who["site"]),
            "files": usage.map(|usage| &usage["attachmentCount"]),
            "bytes": usage.map(|usage| &usage["totalBytes"]),
            "quotas": usage.map(|usage| &usage["quotas"]),
        })
        .to_string())?;
    } else {
        say(&shown(client, chosen.profile.as_deref(), &health, who, usage.as_ref()))?;
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
    who: Option<&Value>,
    usage: Option<&Value>,
) -> String {
    let text = |value: &Value| visible(value.as_str().unwrap_or("unknown"));
    let (state, version) = (text(&health["status"]), text(&health["version"]));
    let state = if state == "ok" { style(state).green() } else { style(state).red() };
    let mut out = format!("server    {} (Dossier {version})\nhealth    {state}", client.address());
    // Writing to a text cannot fail.
    if let Some(profile) = profile {
        let _ = write!(out, "\nprofile   {profile}");
    }
    let Some(who) = who else {
        let _ = write!(out, "\nkey may   unknown: no key is given, or not a known one");
        return out;
    };
    let _ = write!(out, "\nsite      {}", named(&who["site"]));
    let _ = write!(out, "\nkey       {}\nkey may   {}", named(&who["key"]), may(who));
    if let Some(usage) = usage {
        let most = &usage["quotas"];
        let of = |most: Option<String>| most.map(|most| format!(" of {most}")).unwrap_or_default();
        let files = usage["attachmentCount"].as_u64().unwrap_or_default();
        let _ = write!(out, "\nfiles     {files}");
        let _ = write!(out, "{}", of(most["maxFiles"].as_u64().map(|most| most.to_string())));
        let size = count(&usage["totalBytes"]).unwrap_or_default();
        let _ =
            write!(out, "\nsize      {}{}", bytes(size), of(count(&most["maxBytes"]).map(bytes)));
    }
    out
}

/// A name for people, with the id that commands take.
fn named(thing: &Value) -> String {
    let text = |field: &str| visible(thing[field].as_str().unwrap_or_default());
    let (name, id) = (text("name"), text("id"));
    if name.is_empty() { id } else { format!("{name} ({id})") }
}

/// Bytes as answers state them: a number in a text.
fn count(bytes: &Value) -> Option<u64> {
    bytes.as_str()?.parse().ok()
}
