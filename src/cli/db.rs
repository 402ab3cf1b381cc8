//! `dossier migrate` and `dossier db …`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Settings, say};
use crate::data_folder::DataFolder;
use crate::db::{self, Place};

/// Arguments of `dossier migrate`.
///
/// `dossier serve` does the same at its start. During a rolling upgrade one node does it while the
/// others wait; nodes of the release before go on working.
#[derive(Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    settings: Settings,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
pub(super) enum DbCommand {
    /// Copy all rows from SQLite to PostgreSQL, or back, and compare both sides.
    ///
    /// The server must be stopped. The other side must be empty. Files stay where they are, and so do
    /// the keys in the data folder: start `dossier serve` on the same folder with the other database.
    Copy(Copy),
}

#[derive(Args)]
pub(super) struct Copy {
    #[command(flatten)]
    settings: Settings,
    /// Where they go: a postgres:// URL, or `sqlite` for the file in the data folder. A password is
    /// best kept in the setting `database_password_file`.
    #[arg(long, value_name = "postgres://…|sqlite")]
    to: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn migrate(command: &Migrate) -> anyhow::Result<()> {
    let config = command.settings.load(&[])?;
    let folder = Place::folder(&config)?;
    // A running server has brought its file up to date.
    let _lock = if config.database_url.is_none() { Some(folder.lock()?) } else { None };
    let schema = db::migrate(&Place::of(&config, &folder)?)?;
    if command.json {
        return say(&json!({ "schema": schema }).to_string());
    }
    say(&format!("The database has schema {schema}, which this release works with."))
}

pub(super) fn run(command: &DbCommand) -> anyhow::Result<()> {
    let DbCommand::Copy(command) = command;
    let config = command.settings.load(&[])?;
    let folder = DataFolder::open(&config.data)?;
    let _lock = folder.lock()?;
    let url = if command.to == "sqlite" { String::new() } else { command.to.clone() };
    let to = command.settings.load(&[("database_url", &Some(url))])?;
    let copied = db::copy(&Place::existing(&config)?, &Place::of(&to, &folder)?)?;
    if command.json {
        let tables: serde_json::Map<_, _> =
            copied.iter().map(|table| (table.name.to_owned(), json!(table.rows))).collect();
        return say(&json!({ "tables": tables }).to_string());
    }
    let mut text = String::new();
    for table in copied.iter().filter(|table| table.rows > 0) {
        writeln!(text, "{:>10} {}", table.rows, table.name)?;
    }
    text.push_str("All rows are there and were compared. The old ones were left as they are.");
    say(&text)
}
