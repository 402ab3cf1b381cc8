//! The command line: parses the arguments, runs one command, reports the outcome.

mod backup;
mod contacts;
mod db;
mod demo;
mod demo_files;
mod doctor;
mod files;
mod fsck;
mod generate;
mod get;
mod help;
mod inbound;
mod keys;
mod listen;
mod login;
mod progress;
mod put;
mod remote;
mod serve;
mod several;
mod sign_in;
mod sites;
mod storage;
mod webhooks;
mod webhooks_log;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::config::{Config, DEFAULTS, LogFormat};
use crate::db::{DatabaseLocation, LastRun, record_last_run};
use crate::render_workers::{self, WORKER_COMMAND};

/// The running program, even if an update has replaced its file since.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// A self-hosted server for the files of contacts.
///
/// It implements the Contact Attachments V4 contract, so code that uses the official JavaScript
/// SDK works unchanged. Try `dossier demo` first: it takes ten seconds.
#[derive(Parser)]
#[command(name = "dossier", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server until SIGTERM or SIGINT.
    Serve(serve::Serve),
    /// Show a file's lifecycle on a temporary server.
    ///
    /// Requests an upload URL, uploads two files, lists them and opens their links.
    Demo(demo::Demo),
    /// Save a server's URL and API key for the client commands.
    ///
    /// The client commands are put, ls, get, rm, open and status.
    ///
    /// The key is checked with the server first. Both are saved in ~/.config/dossier/profiles.toml,
    /// which only you can read. On a terminal you are prompted for the key; otherwise it is read
    /// from the first line of standard input.
    Login(login::Login),
    /// Remove a saved server and its key from this machine.
    ///
    /// The key stays valid: run `dossier key revoke` on the server to revoke it.
    Logout(login::Logout),
    /// Upload files, folders or standard input to a contact.
    ///
    /// Folders are uploaded recursively. To resume an interrupted upload of a large file, run the
    /// same command again. Each upload is verified by its SHA-256.
    Put(put::Put),
    /// List contacts, or the files of a contact.
    Ls(files::Ls),
    /// Download files of a contact.
    ///
    /// Files are saved in the current folder. To resume an interrupted download, run the same
    /// command again. A file gets its name once it is complete and its SHA-256 is verified.
    /// Characters that are unsafe in a local file name are removed or replaced by `_`.
    Get(get::Get),
    /// Delete files of a contact.
    ///
    /// If the server has a trash, they can be restored from it for a while.
    Rm(files::Rm),
    /// Open a file in the browser, or print its link.
    ///
    /// The link is printed if there is no display or standard output is not a terminal. Anyone with
    /// the link can open the file until the link expires.
    Open(files::Open),
    /// Show a server's health, the key's scopes and the site's usage.
    Status(login::Status),
    /// Print the description of the HTTP API (openapi.json).
    ///
    /// The same as docs/openapi.json, and as a server returns at /dossier/v1/openapi.json.
    Openapi,
    /// Print all settings with their defaults and explanations.
    Settings,
    /// Check stored files against the database, and repair.
    ///
    /// Finds missing, orphaned and altered files, and wrong counters.
    Fsck(fsck::Fsck),
    /// Check the server's environment and suggest fixes.
    ///
    /// Checks the data folder, database, bucket, disk, clock, ports and image formats.
    Doctor(doctor::Doctor),
    /// Migrate the database schema; `serve` does it too.
    Migrate(db::Migrate),
    /// Database: copy from SQLite to PostgreSQL, or back.
    #[command(subcommand)]
    Db(db::DbCommand),
    /// File storage: migrate to another location.
    #[command(subcommand)]
    Storage(storage::StorageCommand),
    /// Backups: create, verify, restore.
    #[command(subcommand, alias = "backups")]
    Backup(backup::Backup),
    /// API keys: create, list, revoke.
    #[command(subcommand, alias = "keys")]
    Key(keys::KeyCommand),
    /// Print a one-time link that signs you in to the page.
    SignIn(sign_in::SignIn),
    /// Contacts: announce, list, delete, merge, erase, restore, receipt.
    #[command(subcommand, alias = "contacts")]
    Contact(contacts::ContactCommand),
    /// Contact webhooks from the vendor: add, list, remove.
    #[command(subcommand)]
    Inbound(inbound::InboundCommand),
    /// Sites (tenants): create, set, list.
    #[command(subcommand, alias = "sites")]
    Site(sites::SiteCommand),
    /// Webhooks: add, list, remove, test, deliveries, replay, keys.
    #[command(subcommand, alias = "webhooks")]
    Webhook(webhooks::WebhookCommand),
    /// Forward events to a local program while this runs.
    Listen(listen::Listen),
    /// Send a test event to a site's webhooks.
    ///
    /// The event is correctly signed and sent to every webhook that is subscribed to its type.
    Trigger(webhooks::Trigger),
    /// Print the completion script for bash, zsh or fish.
    ///
    /// For bash: dossier completions bash > ~/.local/share/bash-completion/completions/dossier
    Completions(generate::Completions),
    /// Print the manual page, or write all pages to a folder.
    ///
    /// Prints the page of `dossier` itself. With --to, writes the page of each command as well:
    /// dossier man --to ~/.local/share/man/man1
    Man(generate::Man),
}

/// The sources of settings on the command line.
#[derive(Args, Clone)]
struct Settings {
    /// A settings file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder [default: ./dossier-data].
    #[arg(long, value_name = "FOLDER")]
    data: Option<String>,
    /// Override a setting; repeatable. `dossier settings` lists all settings. Each can also be set
    /// by the environment variable DOSSIER_<NAME>.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    settings: Vec<(String, String)>,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

impl Settings {
    /// Loads the settings; `flags` are settings that the command has flags of its own for.
    fn load(&self, flags: &[(&str, &Option<String>)]) -> anyhow::Result<Config> {
        let mut pairs = self.settings.clone();
        for (name, value) in flags.iter().copied().chain([("data", &self.data)]) {
            pairs.extend(value.iter().map(|value| (name.to_owned(), value.clone())));
        }
        Config::load(self.config.as_deref(), &pairs)
    }
}

/// Runs the command that this process's arguments name.
pub fn run() -> ExitCode {
    // First: parsing the arguments takes as long as a worker's whole start.
    if std::env::args_os().nth(1).is_some_and(|first| first == WORKER_COMMAND) {
        return render_workers::work();
    }
    let matches = help::grouped(Arguments::command()).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let outcome = match arguments.command {
        Command::Serve(command) => serve::run(&command),
        Command::Demo(command) => demo::run(&command),
        Command::Login(command) => return login::run(&command),
        Command::Logout(command) => return login::run_logout(&command),
        Command::Put(command) => return put::run(&command),
        Command::Ls(command) => return files::run_ls(&command),
        Command::Get(command) => return get::run(&command),
        Command::Rm(command) => return files::run_rm(&command),
        Command::Open(command) => return files::run_open(&command),
        Command::Status(command) => return login::run_status(&command),
        Command::Completions(command) => generate::completions(Arguments::command(), &command),
        Command::Man(command) => generate::man(Arguments::command(), &command),
        Command::Openapi => print_stdout(&format!("{:#}", crate::http::openapi())),
        Command::Settings => print_stdout(DEFAULTS.trim_end()),
        Command::Fsck(command) => return fsck::run(&command),
        Command::Doctor(command) => return doctor::run(&command),
        Command::Storage(command) => return storage::run(&command),
        Command::Backup(command) => return backup::run(&command),
        Command::Key(command) => keys::run_key(&command),
        Command::SignIn(command) => sign_in::run(&command),
        Command::Contact(command) => contacts::run_contact(&command),
        Command::Inbound(command) => inbound::run_inbound(&command),
        Command::Migrate(command) => db::migrate(&command),
        Command::Db(command) => db::run(&command),
        Command::Site(command) => sites::run_site(&command),
        Command::Webhook(command) => webhooks::run_webhook(&command),
        Command::Listen(command) => listen::run(&command),
        Command::Trigger(command) => webhooks::run_trigger(&command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Prints an error to standard error.
fn print_error(error: &anyhow::Error) {
    // Nothing can be done if standard error is closed.
    let _ = writeln!(std::io::stderr(), "dossier: {error:#}");
}

/// Records a finished run for administrators. The run counts as done even if this fails.
fn record_run<K: LastRun>(database: &DatabaseLocation, last: &K) {
    if let Err(error) = record_last_run(database, last) {
        print_error(&error.context("the run is not recorded for /dossier/v1/operations"));
    }
}

/// Prints to standard output. A closed pipe is not an error: the reader has seen enough.
fn print_stdout(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn log_to_stderr(config: &Config) -> anyhow::Result<()> {
    let filter: Targets = config.log.parse().map_err(|error| {
        anyhow::anyhow!(
            "log: expected a level (error, warn, info, debug) or tracing directives: {error}"
        )
    })?;
    // Below WARN it logs statement parameters, which hold names of files and people.
    let filter = filter.with_target("tokio_postgres", LevelFilter::WARN);
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let layer = match config.log_format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    tracing_subscriber::registry().with(layer).with(filter).init();
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
