//! Where the rows are, as the settings say.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::config::{Config, Secret, read_text};
use crate::data_folder::DataFolder;

/// Where the rows are.
#[derive(Debug, Clone)]
pub enum Place {
    /// In this SQLite file.
    File(PathBuf),
    /// In PostgreSQL.
    Postgres(PostgresPlace),
}

/// How PostgreSQL is reached.
#[derive(Debug, Clone)]
pub struct PostgresPlace {
    /// `postgres://…`; may hold a password.
    pub url: Secret,
    /// The password, when it is not in the URL.
    pub password: Option<Secret>,
    /// Connections at most.
    pub connections: usize,
}

impl Place {
    /// For a server: the file is made in the folder if it is not there.
    ///
    /// # Errors
    ///
    /// When the file cannot be made, or the password's not be read.
    pub fn of(config: &Config, folder: &DataFolder) -> anyhow::Result<Self> {
        match PostgresPlace::of(config)? {
            Some(place) => Ok(Self::Postgres(place)),
            None => folder.database().map(Self::File),
        }
    }

    /// The folder for commands beside a server: that of a server that keeps its rows in it must have
    /// been used before.
    ///
    /// # Errors
    ///
    /// When there is no data in it, or it cannot be made.
    pub fn folder(config: &Config) -> anyhow::Result<DataFolder> {
        match &config.database_url {
            Some(_) => DataFolder::open(&config.data),
            None => DataFolder::existing(&config.data),
        }
    }

    /// For commands beside a server: the file must be there.
    ///
    /// # Errors
    ///
    /// As [`Place::of`]; also when there is no data.
    pub fn existing(config: &Config) -> anyhow::Result<Self> {
        match PostgresPlace::of(config)? {
            Some(place) => Ok(Self::Postgres(place)),
            None => DataFolder::existing(&config.data)?.database().map(Self::File),
        }
    }
}

impl PostgresPlace {
    fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(url) = config.database_url.clone() else { return Ok(None) };
        let password = config.database_password_file.as_ref().map(|file| {
            let text = read_text(file).context("in database_password_file")?;
            anyhow::Ok(Secret(text.trim_end_matches(['\r', '\n']).to_owned()))
        });
        let connections = config.database_connections;
        Ok(Some(Self { url, password: password.transpose()?, connections }))
    }
}
