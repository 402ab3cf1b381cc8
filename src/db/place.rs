//! The location of the database, from the settings.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::config::{Config, Secret, read_text};
use crate::data_folder::DataFolder;

/// The location of the database.
#[derive(Debug, Clone)]
pub enum DatabaseLocation {
    /// A SQLite file.
    File(PathBuf),
    /// A PostgreSQL server.
    Postgres(PostgresLocation),
}

/// How to connect to PostgreSQL.
#[derive(Debug, Clone)]
pub struct PostgresLocation {
    /// `postgres://…`; may hold a password.
    pub url: Secret,
    /// The password, if it is not in the URL.
    pub password: Option<Secret>,
    /// Maximum number of connections.
    pub connections: usize,
}

impl DatabaseLocation {
    /// For a server: creates the SQLite file in the data folder if it is missing.
    ///
    /// # Errors
    ///
    /// When the file cannot be created, or the password file cannot be read.
    pub fn from_config(config: &Config, folder: &DataFolder) -> anyhow::Result<Self> {
        match PostgresLocation::from_config(config)? {
            Some(location) => Ok(Self::Postgres(location)),
            None => folder.database().map(Self::File),
        }
    }

    /// The data folder, for commands that run next to a server. With SQLite it must exist already.
    ///
    /// # Errors
    ///
    /// When it holds no data, or cannot be created.
    pub fn folder(config: &Config) -> anyhow::Result<DataFolder> {
        match &config.database_url {
            Some(_) => DataFolder::open(&config.data),
            None => DataFolder::existing(&config.data),
        }
    }

    /// For commands that run next to a server: the SQLite file must exist.
    ///
    /// # Errors
    ///
    /// As [`DatabaseLocation::from_config`]; also when there is no data.
    pub fn existing(config: &Config) -> anyhow::Result<Self> {
        match PostgresLocation::from_config(config)? {
            Some(location) => Ok(Self::Postgres(location)),
            None => DataFolder::existing(&config.data)?.database().map(Self::File),
        }
    }
}

impl PostgresLocation {
    fn from_config(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(url) = config.database_url.clone() else { return Ok(None) };
        let password = config.database_password_file.as_ref().map(|file| {
            let text = read_text(file).context("in database_password_file")?;
            anyhow::Ok(Secret(text.trim_end_matches(['\r', '\n']).to_owned()))
        });
        let connections = config.database_connections;
        Ok(Some(Self { url, password: password.transpose()?, connections }))
    }
}
