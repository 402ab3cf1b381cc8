//! What all client commands share: the choice of server and key, and how failures are reported.

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

/// The profile that is used if none is named.
pub(super) const DEFAULT_PROFILE: &str = "default";
/// Largest CA file.
const MAX_CA_BYTES: u64 = 1 << 20;

/// The exit codes, shown below the help of each client command.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  failure, such as a file error, a full quota or disk, or a checksum mismatch
  2  usage error
  3  not found on the server
  4  not allowed: the API key is missing, unknown or lacks a scope
  5  the server is unreachable or temporarily unavailable";

/// The server to use, and the output format.
#[derive(Args)]
pub(super) struct Remote {
    /// The server's URL [env: `DOSSIER_SERVER`] [default: from the profile].
    #[arg(long, value_name = "URL", help_heading = "Server")]
    pub(super) server: Option<String>,
    /// The API key [env: `DOSSIER_KEY`]. Other users of this machine can see arguments, so prefer
    /// `dossier login` or the variable.
    #[arg(long, value_name = "KEY", help_heading = "Server")]
    pub(super) key: Option<String>,
    /// The key's site, if the server has several [env: `DOSSIER_SITE`].
    #[arg(long, value_name = "ID", value_parser = guid, help_heading = "Server")]
    pub(super) site: Option<Uuid>,
    /// The saved profile to use [env: `DOSSIER_PROFILE`] [default: default].
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    pub(super) profile: Option<String>,
    /// The CA certificate (PEM) of a server with a generated certificate: its
    /// dossier-data/tls/ca.pem.
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub(super) ca: Option<PathBuf>,
    /// Allow plain http to another machine. Only for private networks.
    #[arg(long, help_heading = "Server")]
    pub(super) allow_http: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// The connection that a client command uses.
pub(super) struct Chosen {
    pub(super) client: Client,
    /// The profile that the URL came from, if any.
    pub(super) profile: Option<String>,
    pub(super) has_key: bool,
}

/// An environment variable; `None` if it is unset, empty or not UTF-8.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok().filter(|value| !value.is_empty())
}

/// A profile's name: the argument, the variable, or the default.
pub(super) fn profile_name(named: Option<&str>) -> String {
    let named = named.map(str::to_owned).or_else(|| variable("DOSSIER_PROFILE"));
    named.unwrap_or_else(|| DEFAULT_PROFILE.to_owned())
}

/// The failure for a profile that does not exist.
pub(super) fn no_profile(name: &str, profiles: &Profiles) -> Failure {
    let names = profiles.names();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Failure::new(Kind::Usage, format!("there is no profile {name}; saved profiles: {names}"))
}

impl Remote {
    /// The profile's name: the argument, the variable, or the default.
    pub(super) fn profile_name(&self) -> String {
        profile_name(self.profile.as_deref())
    }

    /// Chooses the server and the key.
    ///
    /// Precedence: arguments, then a profile named by `--profile`, then the environment, then the
    /// default profile. A profile's key is sent only to that profile's server.
    pub(super) fn choose(&self) -> Result<Chosen> {
        // An explicit profile overrides the environment.
        let from_environment = |name| if self.profile.is_some() { None } else { variable(name) };
        let server = self.server.clone().or_else(|| from_environment("DOSSIER_SERVER"));
        let name = self.profile_name();
        let profile = self.load_profile(&name, server.is_some())?;
        let url = server.as_deref().or(profile.as_ref().map(|profile| profile.server.as_str()));
        let url = url.ok_or_else(|| {
            Failure::new(Kind::Usage, "no server is configured")
                .next("run dossier login --server URL once, or use --server URL")
        })?;
        let url = Server::parse_url(url)?;
        let profile: Option<Profile> = profile
            .filter(|profile| Server::parse_url(&profile.server).is_ok_and(|saved| saved == url));
        let key = self.key.clone().or_else(|| from_environment("DOSSIER_KEY"));
        let key = key.or_else(|| profile.as_ref().map(|profile| profile.key.clone()));
        let site = match (self.site, from_environment("DOSSIER_SITE")) {
            (Some(site), _) => Some(site),
            (None, Some(text)) => Some(guid(&text).map_err(|expected| {
                Failure::new(Kind::Usage, format!("DOSSIER_SITE: {expected}"))
            })?),
            (None, None) => profile.as_ref().and_then(|profile| profile.site),
        };
        let saved_ca = || profile.as_ref().and_then(|profile| profile.ca.clone());
        let server = Server {
            url,
            ca: self.ca()?.or_else(saved_ca).map(String::into_bytes),
            allow_http: self.allow_http
                || profile.as_ref().is_some_and(|profile| profile.allow_http),
        };
        let client = Client::new(&server, key.as_deref().unwrap_or_default(), site)?;
        Ok(Chosen { client, profile: profile.map(|_| name), has_key: key.is_some() })
    }

    /// As [`Remote::choose`], but requires a key.
    pub(super) fn client(&self) -> Result<Client> {
        let chosen = self.choose()?;
        if chosen.has_key {
            return Ok(chosen.client);
        }
        let what = format!("no API key is saved for {}", chosen.client.address());
        Err(Failure::new(Kind::NotAllowed, what)
            .next(format!("run dossier login --server {}", chosen.client.address())))
    }

    /// Loads a profile. A missing profile is an error only if it was named explicitly.
    fn load_profile(&self, name: &str, has_server: bool) -> Result<Option<Profile>> {
        let is_named =
            self.profile.is_some() || (!has_server && variable("DOSSIER_PROFILE").is_some());
        if !is_named && has_server && (self.has_own_key() || Profiles::file().is_err()) {
            return Ok(None);
        }
        let profiles = Profiles::load(&Profiles::file()?)?;
        let found = profiles.get(name).cloned();
        if found.is_none() && is_named {
            let next = format!("run dossier login --profile {name} --server URL");
            return Err(no_profile(name, &profiles).next(next));
        }
        Ok(found)
    }

    fn has_own_key(&self) -> bool {
        self.key.is_some() || variable("DOSSIER_KEY").is_some()
    }

    /// Reads the file of `--ca`.
    pub(super) fn ca(&self) -> Result<Option<String>> {
        let Some(path) = &self.ca else { return Ok(None) };
        let mut text = String::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(MAX_CA_BYTES).read_to_string(&mut text));
        read.map_err(|error| Failure::file(path, &error))?;
        Ok(Some(text))
    }
}

/// Runs a client command and reports its failure.
pub(super) fn run(json: bool, work: impl Future<Output = Result<()>>) -> ExitCode {
    let outcome = match runtime() {
        Ok(runtime) => {
            let outcome = runtime.block_on(work);
            // A pending read of standard input must not keep the process alive.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Failure::failed(error.to_string())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print_failure(&failure, json);
            ExitCode::from(failure.kind.code())
        }
    }
}

/// Prints to standard error what happened and what to do next.
pub(super) fn print_failure(failure: &Failure, json: bool) {
    let mut out = std::io::stderr().lock();
    // Nothing can be done if standard error is closed.
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

/// Whether a person can be asked: standard input and standard error are terminals.
pub(super) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks for confirmation; only `y`, `Y` or `yes` confirms.
pub(super) fn confirm(question: &str) -> Result<bool> {
    let failed =
        |error: std::io::Error| Failure::failed(format!("cannot use the terminal: {error}"));
    let term = console::Term::stderr();
    term.write_str(&format!("{question} [y/N] ")).map_err(failed)?;
    let mut reply = String::new();
    std::io::stdin().read_line(&mut reply).map_err(failed)?;
    Ok(matches!(reply.trim(), "y" | "Y" | "yes"))
}

/// Prints to standard output.
pub(super) fn print_stdout(text: &str) -> Result<()> {
    super::print_stdout(text)
        .map_err(|error| Failure::failed(format!("cannot write to standard output: {error}")))
}

/// Formats a byte count for people.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut amount, mut unit) = (count as f64, 0);
    while amount >= 1_024.0 && unit + 1 < UNITS.len() {
        amount /= 1_024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{amount:.1} {}", UNITS[unit]) }
}
