//! `dossier migrate` and `dossier db …`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Settings, print_stdout};
use crate::data_folder::DataFolder;
use crate::db::{self, DatabaseLocation};

/// Arguments of `dossier migrate`.
///
/// `dossier serve` does the same when it starts. During a rolling upgrade one node migrates while
/// the others wait; nodes of the previous release keep working.
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
    /// Copy all rows from SQLite to PostgreSQL, or back, and verify them.
    ///
    /// The server must be stopped and the target database must be empty. Files and keys stay where
    /// they are: afterwards start `dossier serve` on the same data folder with the new database.
    Copy(Copy),
}

#[derive(Args)]
pub(super) struct Copy {
    #[command(flatten)]
    settings: Settings,
    /// The target: a postgres:// URL, or `sqlite` for the file in the data folder. Pass a password
    /// by the setting `database_password_file`.
    #[arg(long, value_name = "postgres://…|sqlite")]
    to: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn migrate(command: &Migrate) -> anyhow::Result<()> {
    let config = command.settings.load(&[])?;
    let folder = DatabaseLocation::folder(&config)?;
    // A running server has already migrated its SQLite file.
    let _lock = if config.database_url.is_none() { Some(folder.lock()?) } else { None };
    let schema = db::migrate(&DatabaseLocation::from_config(&config, &folder)?)?;
    if command.json {
        return print_stdout(&json!({ "schema": schema }).to_string());
    }
    print_stdout(&format!("The database is at schema {schema}, the current one for this release."))
}

pub(super) fn run(command: &DbCommand) -> anyhow::Result<()> {
    let DbCommand::Copy(command) = command;
    let config = command.settings.load(&[])?;
    let folder = DataFolder::open(&config.data)?;
    let _lock = folder.lock()?;
    let url = if command.to == "sqlite" { String::new() } else { command.to.clone() };
    let to = command.settings.load(&[("database_url", &Some(url))])?;
    let copied = db::copy(
        &DatabaseLocation::existing(&config)?,
        &DatabaseLocation::from_config(&to, &folder)?,
    )?;
    if command.json {
        let tables: serde_json::Map<_, _> =
            copied.iter().map(|table| (table.name.to_owned(), json!(table.rows))).collect();
        return print_stdout(&json!({ "tables": tables }).to_string());
    }
    let mut text = String::new();
    for table in copied.iter().filter(|table| table.rows > 0) {
        writeln!(text, "{:>10} {}", table.rows, table.name)?;
    }
    text.push_str("All rows were copied and verified. The source database is unchanged.");
    print_stdout(&text)
}
