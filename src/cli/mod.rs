//! The command line: reads the arguments, runs one command, says what happened.

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
use crate::db::{Kept, Place, keep};
use crate::render_workers::{self, WORKER_COMMAND};

/// This program, as it was when it was started: an update may have replaced its file since.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// A self-hosted server for the files that belong to a contact.
///
/// It speaks the Contact Attachments V4 contract, so code written with the official JavaScript
/// SDK works against it unchanged. `dossier demo` shows it in ten seconds.
#[derive(Parser)]
#[command(name = "dossier", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests, until SIGTERM or SIGINT.
    Serve(serve::Serve),
    /// Show the whole way of a file, with a server of its own.
    ///
    /// An upload URL, the upload, the list, the links.
    Demo(demo::Demo),
    /// Keep a server and a key of it for the other commands.
    ///
    /// They are put, ls, get, rm, open and status.
    ///
    /// Checks the key with the server and keeps both in ~/.config/dossier/profiles.toml, which only you can
    /// read. On a terminal the key is asked for and not shown; otherwise it is the first line of standard
    /// input.
    Login(login::Login),
    /// Forget a server and its key on this machine.
    ///
    /// The key itself goes on opening the server: `dossier key revoke` ends it.
    Logout(login::Logout),
    /// Send files, folders or standard input to a contact.
    ///
    /// Folders are sent with all that is in them. A large file that was cut off goes on where it stopped,
    /// also after this command was killed: type the same again. What the server has got is compared by
    /// its SHA-256.
    Put(put::Put),
    /// List the contacts, or a contact's files.
    Ls(files::Ls),
    /// Fetch files of a contact; goes on after a cut.
    ///
    /// They come into this folder. A file that was cut off goes on where it stopped, also after this command
    /// was killed: type the same again. It has its name once it is whole and its SHA-256 was compared.
    /// Characters that a name must not have here become `_` or go.
    Get(get::Get),
    /// Delete files of a contact.
    ///
    /// A server with a trash keeps them there for a while.
    Rm(files::Rm),
    /// Open a file in the browser, or print its link.
    ///
    /// The link is printed without a screen, and when the output is no terminal. Whoever has it can open
    /// it for a while.
    Open(files::Open),
    /// Ask a server how it is, what the key may and what is there.
    Status(login::Status),
    /// Print the description of everything over HTTP.
    ///
    /// It is docs/openapi.json, and what a server answers at /dossier/v1/openapi.json.
    Openapi,
    /// Print a settings file: every setting, its default, its reason.
    Settings,
    /// Compare rows and bytes, and repair what differs.
    ///
    /// Finds what is missing, left over, altered or miscounted.
    Fsck(fsck::Fsck),
    /// Look at what the server stands on, and say what to do.
    ///
    /// Data folder, database, bucket, disk, clock, ports, formats of pictures.
    Doctor(doctor::Doctor),
    /// Bring the database's schema up to date; `serve` does it too.
    Migrate(db::Migrate),
    /// The database: copy to another kind.
    #[command(subcommand)]
    Db(db::DbCommand),
    /// The bytes: move to another place.
    #[command(subcommand)]
    Storage(storage::StorageCommand),
    /// Backups: create, verify, restore.
    #[command(subcommand, alias = "backups")]
    Backup(backup::Backup),
    /// API keys: create, list, revoke.
    #[command(subcommand, alias = "keys")]
    Key(keys::KeyCommand),
    /// Print a link that signs you in at the page, once.
    SignIn(sign_in::SignIn),
    /// Contacts: announce, list, delete, merge, erase, restore, receipt.
    #[command(subcommand, alias = "contacts")]
    Contact(contacts::ContactCommand),
    /// Webhooks of contacts kept at the vendor: add, list, remove.
    #[command(subcommand)]
    Inbound(inbound::InboundCommand),
    /// Sites, the tenants: create, set, list.
    #[command(subcommand, alias = "sites")]
    Site(sites::SiteCommand),
    /// Webhooks: add, list, remove, test, replay, see deliveries, keys.
    #[command(subcommand, alias = "webhooks")]
    Webhook(webhooks::WebhookCommand),
    /// Forward events to a program on this machine, while this runs.
    Listen(listen::Listen),
    /// Tell every webhook of an event that did not happen.
    ///
    /// It is correctly signed, and told to those that want events of its kind.
    Trigger(webhooks::Trigger),
    /// Print what a shell completes: bash, zsh or fish.
    ///
    /// For bash: dossier completions bash > ~/.local/share/bash-completion/completions/dossier
    Completions(generate::Completions),
    /// Print the manual page, or write all pages into a folder.
    ///
    /// Prints the page of `dossier` itself; with --to it writes that of each command too:
    /// dossier man --to ~/.local/share/man/man1
    Man(generate::Man),
}

/// Where settings come from.
#[derive(Args, Clone)]
struct Settings {
    /// A settings file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder [default: ./dossier-data].
    #[arg(long, value_name = "FOLDER")]
    data: Option<String>,
    /// Any setting by its name, repeatable. `dossier settings` lists them; each can also be
    /// DOSSIER_<NAME> in the environment.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    settings: Vec<(String, String)>,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

impl Settings {
    /// Loads the settings; `flags` are those of the command itself.
    fn load(&self, flags: &[(&str, &Option<String>)]) -> anyhow::Result<Config> {
        let mut pairs = self.settings.clone();
        for (name, value) in flags.iter().copied().chain([("data", &self.data)]) {
            pairs.extend(value.iter().map(|value| (name.to_owned(), value.clone())));
        }
        Config::load(self.config.as_deref(), &pairs)
    }
}

/// Runs the command of this process's arguments.
pub fn run() -> ExitCode {
    // Before all else: a worker starts in the time that reading arguments takes.
    if std::env::args_os().nth(1).is_some_and(|first| first == WORKER_COMMAND) {
        return render_workers::work();
    }
    let given = help::grouped(Arguments::command()).get_matches();
    let arguments = Arguments::from_arg_matches(&given).unwrap_or_else(|error| error.exit());
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
        Command::Openapi => say(&format!("{:#}", crate::http::openapi())),
        Command::Settings => say(DEFAULTS.trim_end()),
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
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

/// Says on standard error what went wrong.
fn tell(error: &anyhow::Error) {
    // Nothing can be done when standard error is closed as well.
    let _ = writeln!(std::io::stderr(), "dossier: {error:#}");
}

/// Writes down for administrators that a command has ended. It has, whatever comes of this.
fn write_down<K: Kept>(place: &Place, last: &K) {
    if let Err(error) = keep(place, last) {
        tell(&error.context("it was not written down for `/dossier/v1/operations`"));
    }
}

/// Writes to standard output. A closed pipe is no failure: nobody wants the rest.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn log_to_stderr(config: &Config) -> anyhow::Result<()> {
    let filter: Targets = config
        .log
        .parse()
        .map_err(|error| anyhow::anyhow!("log is not a level or a list of directives: {error}"))?;
    // Its lines below warnings show the parameters of statements: names of files and of people.
    let filter = filter.with_target("tokio_postgres", LevelFilter::WARN);
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines = match config.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(lines).with(filter).init();
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
