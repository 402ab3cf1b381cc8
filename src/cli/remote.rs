//! What every command of the client takes: which server, which key; and how its failures are said.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use console::style;
use serde_json::json;
use uuid::Uuid;

use super::contacts::guid;
use super::runtime;
use crate::client::{Client, Failure, Kind, Profile, Profiles, Result, Server};

/// The profile that is used when none is named.
pub(super) const DEFAULT_PROFILE: &str = "default";
/// Largest file of authorities.
const MOST_CA_BYTES: u64 = 1 << 20;

/// What exit codes mean; stands below the help of each command of the client.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: a file, a full quota, a full disk, other bytes than were sent
  2  the command cannot be meant like this
  3  the server does not have it
  4  not allowed: no key, an unknown one, or one that may not
  5  the server cannot be reached, or cannot answer now";

/// Which server, and how its answers are shown.
#[derive(Args)]
pub(super) struct Remote {
    /// The server's address [env: `DOSSIER_SERVER`] [default: the profile's].
    #[arg(long, value_name = "URL", help_heading = "Server")]
    pub(super) server: Option<String>,
    /// The API key [env: `DOSSIER_KEY`]. Others on this machine can see an argument: `dossier login`
    /// or the variable keep it to yourself.
    #[arg(long, value_name = "KEY", help_heading = "Server")]
    pub(super) key: Option<String>,
    /// The key's site, where the server has several [env: `DOSSIER_SITE`].
    #[arg(long, value_name = "ID", value_parser = guid, help_heading = "Server")]
    pub(super) site: Option<Uuid>,
    /// Which of the servers that you have logged in to [env: `DOSSIER_PROFILE`] [default: default].
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    pub(super) profile: Option<String>,
    /// The authority (PEM) of a server with a certificate of its own: its dossier-data/tls/ca.pem.
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub(super) ca: Option<PathBuf>,
    /// Speak plain http to another machine: where the network itself is private.
    #[arg(long, help_heading = "Server")]
    pub(super) allow_http: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// What a command of the client works with.
pub(super) struct Chosen {
    pub(super) client: Client,
    /// Where the address came from, when it was a profile.
    pub(super) profile: Option<String>,
    pub(super) has_key: bool,
}

/// A variable of the environment, if it is there and says something.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok().filter(|value| !value.is_empty())
}

/// A profile's name: the argument, the variable, or the default.
pub(super) fn profile_name(named: Option<&str>) -> String {
    let named = named.map(str::to_owned).or_else(|| variable("DOSSIER_PROFILE"));
    named.unwrap_or_else(|| DEFAULT_PROFILE.to_owned())
}

/// There is no profile of this name.
pub(super) fn no_profile(name: &str, profiles: &Profiles) -> Failure {
    let names = profiles.names();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Failure::new(Kind::Usage, format!("there is no profile {name}; there are: {names}"))
}

impl Remote {
    /// The profile's name: the argument, the variable, or the default.
    pub(super) fn profile_name(&self) -> String {
        profile_name(self.profile.as_deref())
    }

    /// The server and the key that are meant.
    ///
    /// An argument wins, then a profile that was named by one, then the environment, then the profile.
    /// A profile's key goes to the profile's server and to no other.
    pub(super) fn choose(&self) -> Result<Chosen> {
        // Who names a profile does not mean what lies in the environment.
        let from_environment = |name| if self.profile.is_some() { None } else { variable(name) };
        let server = self.server.clone().or_else(|| from_environment("DOSSIER_SERVER"));
        let name = self.profile_name();
        let profile = self.load_profile(&name, server.is_some())?;
        let url = server.as_deref().or(profile.as_ref().map(|profile| profile.server.as_str()));
        let url = url.ok_or_else(|| {
            Failure::new(Kind::Usage, "no server is named")
                .next("dossier login --server URL, once; or --server URL with each command")
        })?;
        let url = Server::parse_url(url)?;
        let profile: Option<Profile> = profile
            .filter(|profile| Server::parse_url(&profile.server).is_ok_and(|own| own == url));
        let key = self.key.clone().or_else(|| from_environment("DOSSIER_KEY"));
        let key = key.or_else(|| profile.as_ref().map(|profile| profile.key.clone()));
        let site = match (self.site, from_environment("DOSSIER_SITE")) {
            (Some(site), _) => Some(site),
            (None, Some(text)) => Some(guid(&text).map_err(|expected| {
                Failure::new(Kind::Usage, format!("DOSSIER_SITE: {expected}"))
            })?),
            (None, None) => profile.as_ref().and_then(|profile| profile.site),
        };
        let kept = || profile.as_ref().and_then(|profile| profile.ca.clone());
        let server = Server {
            url,
            ca: self.ca()?.or_else(kept).map(String::into_bytes),
            allow_http: self.allow_http || profile.as_ref().is_some_and(|one| one.allow_http),
        };
        let client = Client::new(&server, key.as_deref().unwrap_or_default(), site)?;
        Ok(Chosen { client, profile: profile.map(|_| name), has_key: key.is_some() })
    }

    /// As [`Remote::choose`], for what needs a key.
    pub(super) fn client(&self) -> Result<Client> {
        let chosen = self.choose()?;
        if chosen.has_key {
            return Ok(chosen.client);
        }
        let what = format!("no API key is known for {}", chosen.client.address());
        Err(Failure::new(Kind::NotAllowed, what)
            .next(format!("dossier login --server {}", chosen.client.address())))
    }

    /// The profile of a name; that there is none matters where it was named, or is needed.
    fn load_profile(&self, name: &str, has_server: bool) -> Result<Option<Profile>> {
        let is_named =
            self.profile.is_some() || (!has_server && variable("DOSSIER_PROFILE").is_some());
        if !is_named && has_server && (self.has_own_key() || Profiles::file().is_err()) {
            return Ok(None);
        }
        let profiles = Profiles::load(&Profiles::file()?)?;
        let found = profiles.get(name).cloned();
        if found.is_none() && is_named {
            let next = format!("dossier login --profile {name} --server URL");
            return Err(no_profile(name, &profiles).next(next));
        }
        Ok(found)
    }

    fn has_own_key(&self) -> bool {
        self.key.is_some() || variable("DOSSIER_KEY").is_some()
    }

    /// The text of `--ca`.
    pub(super) fn ca(&self) -> Result<Option<String>> {
        let Some(path) = &self.ca else { return Ok(None) };
        let mut text = String::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(MOST_CA_BYTES).read_to_string(&mut text));
        read.map_err(|error| Failure::file(path, &error))?;
        Ok(Some(text))
    }
}

/// Runs a command of the client and says how it failed.
pub(super) fn run(json: bool, work: impl Future<Output = Result<()>>) -> ExitCode {
    let outcome = match runtime() {
        Ok(runtime) => {
            let outcome = runtime.block_on(work);
            // What still reads standard input would keep the program.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Failure::failed(error.to_string())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure, json);
            ExitCode::from(failure.kind.code())
        }
    }
}

/// Says on standard error what happened and what to do next.
pub(super) fn complain(failure: &Failure, json: bool) {
    let mut out = std::io::stderr().lock();
    // Nothing can be done when standard error is closed as well.
    let _ = if json {
        writeln!(out, "{}", json!({ "error": failure.as_json() }))
    } else {
        let name = style("dossier:").red().bold().for_stderr();
        let next = if failure.next.is_empty() {
            String::new()
        } else {
            format!("\n  {} {}", style("->").cyan().for_stderr(), failure.next)
        };
        writeln!(out, "{name} {}{next}", failure.what)
    };
}

/// Whether a person sits before it: asks and is asked.
pub(super) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks a question that only a `y` answers with yes.
pub(super) fn confirm(question: &str) -> Result<bool> {
    let failed = |error: std::io::Error| Failure::failed(format!("the terminal: {error}"));
    let term = console::Term::stderr();
    term.write_str(&format!("{question} [y/N] ")).map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Writes to standard output.
pub(super) fn say(text: &str) -> Result<()> {
    super::say(text).map_err(|error| Failure::failed(format!("the output: {error}")))
}

/// Bytes for people.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut amount, mut unit) = (count as f64, 0);
    while amount >= 1_024.0 && unit + 1 < UNITS.len() {
        amount /= 1_024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{amount:.1} {}", UNITS[unit]) }
}
