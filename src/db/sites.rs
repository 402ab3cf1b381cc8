//! Queries on sites and their API keys. Few rows, read whole and kept in memory by the callers.

use std::collections::HashMap;

use crate::db::sql::{self, Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::Db;
use crate::db::engine::Done;
use crate::domain::ids::SiteId;
use crate::domain::quota::{Amount, OwnQuotas};
use crate::domain::scope::Scopes;
use crate::error::Result;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its id, what `wix-site-id` holds.
    pub id: SiteId,
    /// First part of its media ids; unique.
    pub media_prefix: String,
    /// A label for people.
    pub name: String,
    /// Life of its media links in seconds; `None` is the setting's.
    pub link_life_seconds: Option<u32>,
    /// Its own quotas.
    pub quotas: OwnQuotas,
    /// When it was made, in Unix milliseconds.
    pub created_at_ms: i64,
}

/// An API key as stored: its secret only as a hash (S21).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The site that it opens.
    pub site_id: SiteId,
    /// What people name it by.
    pub id: Uuid,
    /// A label for people.
    pub name: String,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made, in Unix milliseconds.
    pub created_at_ms: i64,
    /// When it was revoked, in Unix milliseconds.
    pub revoked_at_ms: Option<i64>,
}

/// A key to be made; it is not revoked.
pub type NewApiKey = ApiKey;

impl Db {
    /// All sites, oldest first.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn sites(&self) -> Result<Vec<Site>> {
        self.engine
            .read(|connection| {
                connection
                    .prepare_cached(
                        "SELECT site_id, media_prefix, name, link_life_seconds, created_at_ms, \
                         max_bytes, max_files, contact_max_bytes, contact_max_files \
                         FROM sites ORDER BY created_at_ms, site_id",
                    )?
                    .query_map(&[], site)
            })
            .await
    }

    /// All keys that are not revoked, or every one, oldest first.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn api_keys(&self, with_revoked: bool) -> Result<Vec<ApiKey>> {
        self.engine
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT site_id, key_id, name, secret_hash, scopes, created_at_ms, \
                         revoked_at_ms, is_admin FROM api_keys WHERE $1 = 1 OR revoked_at_ms IS NULL \
                         ORDER BY created_at_ms, key_id",
                    )?
                    .query_map(params![i64::from(with_revoked)], api_key)
            })
            .await
    }

    /// Keys of a site, revoked ones too, oldest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn keys_of(&self, site: SiteId, limit: u32) -> Result<Vec<ApiKey>> {
        self.engine
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT site_id, key_id, name, secret_hash, scopes, created_at_ms, \
                         revoked_at_ms, is_admin FROM api_keys WHERE site_id = $1 \
                         ORDER BY created_at_ms, key_id LIMIT $2",
                    )?
                    .query_map(params![site, limit], api_key)
            })
            .await
    }

    /// Revokes a key of a site; false when the site has no such key. The first time counts.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn revoke_key_of(&self, site: SiteId, id: Uuid, now_ms: i64) -> Result<bool> {
        self.engine
            .write(site, move |connection| {
                let revoked = connection
                    .prepare_cached(
                        "UPDATE api_keys SET revoked_at_ms = COALESCE(revoked_at_ms, $1) \
                         WHERE site_id = $2 AND key_id = $3",
                    )
                    .and_then(|mut statement| statement.execute(params![now_ms, site, id]))?;
                Ok(Done { value: revoked > 0, changed: None })
            })
            .await
    }

    /// Makes a site, and keys for it, in one transaction. False when the media prefix is taken
    /// already; then nothing was made and another prefix may be tried.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn create_site(&self, site: Site, key: Option<NewApiKey>) -> Result<bool> {
        self.engine
            .write_across(move |connection| {
                let made = insert_site(connection, &site)?;
                if let (true, Some(key)) = (made, &key) {
                    insert_key(connection, key)?;
                }
                Ok(Done { value: made, changed: None })
            })
            .await
    }

    /// Gives a site its name, its links' life and its quotas anew; false when there is no such site.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn change_site(&self, site: Site) -> Result<bool> {
        self.engine
            .write_across(move |connection| {
                let bound = |bound: Option<u64>| bound.map(|bound| bound as i64);
                let changed = connection
                    .prepare_cached(
                        "UPDATE sites SET name = $1, link_life_seconds = $2, max_bytes = $3, \
                         max_files = $4, contact_max_bytes = $5, contact_max_files = $6 \
                         WHERE site_id = $7",
                    )
                    .and_then(|mut statement| {
                        statement.execute(params![
                            site.name,
                            site.link_life_seconds,
                            bound(site.quotas.max_bytes),
                            bound(site.quotas.max_files),
                            bound(site.quotas.contact_max_bytes),
                            bound(site.quotas.contact_max_files),
                            site.id,
                        ])
                    })?;
                Ok(Done { value: changed > 0, changed: None })
            })
            .await
    }

    /// What each site holds in all.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn site_usage(&self) -> Result<HashMap<SiteId, Amount>> {
        let used = self
            .engine
            .read(|connection| {
                connection
                    .prepare_cached(
                        "SELECT site_id, attachment_count, total_bytes FROM site_usage",
                    )?
                    .query_map(&[], |row| {
                        let files = row.get::<i64>(1)? as u64;
                        Ok((row.get(0)?, Amount { files, bytes: row.get::<i64>(2)? as u64 }))
                    })
            })
            .await?;
        Ok(used.into_iter().collect())
    }

    /// Makes a key.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn create_key(&self, key: NewApiKey) -> Result<()> {
        self.engine
            .write_across(move |connection| {
                insert_key(connection, &key)?;
                Ok(Done { value: (), changed: None })
            })
            .await
    }

    /// Revokes a key; `None` when there is no such key, otherwise when it was revoked (the
    /// first time counts).
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn revoke_key(&self, id: Uuid, now_ms: i64) -> Result<Option<i64>> {
        self.engine
            .write_across(move |connection| {
                let revoked = connection
                    .prepare_cached(
                        "UPDATE api_keys SET revoked_at_ms = COALESCE(revoked_at_ms, $1) \
                         WHERE key_id = $2 RETURNING revoked_at_ms",
                    )
                    .and_then(|mut statement| {
                        statement.query_row(params![now_ms, id], |row| row.get(0)).optional()
                    })?;
                Ok(Done { value: revoked, changed: None })
            })
            .await
    }
}

fn insert_site(connection: &Connection, site: &Site) -> sql::Result<bool> {
    let made = connection
        .prepare_cached(
            "INSERT INTO sites (site_id, media_prefix, name, link_life_seconds, created_at_ms) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (media_prefix) DO NOTHING",
        )?
        .execute(params![
            site.id,
            site.media_prefix,
            site.name,
            site.link_life_seconds,
            site.created_at_ms
        ])?;
    Ok(made == 1)
}

fn insert_key(connection: &Connection, key: &NewApiKey) -> sql::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO api_keys (site_id, key_id, name, secret_hash, scopes, created_at_ms, \
             is_admin) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )?
        .execute(params![
            key.site_id,
            key.id,
            key.name,
            key.secret_hash,
            key.scopes.of_contract(),
            key.created_at_ms,
            i64::from(key.scopes.is_admin()),
        ])?;
    Ok(())
}

fn site(row: Row<'_>) -> sql::Result<Site> {
    Ok(Site {
        id: row.get(0)?,
        media_prefix: row.get(1)?,
        name: row.get(2)?,
        link_life_seconds: row.get(3)?,
        created_at_ms: row.get(4)?,
        quotas: OwnQuotas {
            max_bytes: bound(row, 5)?,
            max_files: bound(row, 6)?,
            contact_max_bytes: bound(row, 7)?,
            contact_max_files: bound(row, 8)?,
        },
    })
}

fn bound(row: Row<'_>, column: usize) -> sql::Result<Option<u64>> {
    Ok(row.get::<Option<i64>>(column)?.map(|bound| bound as u64))
}

fn api_key(row: Row<'_>) -> sql::Result<ApiKey> {
    let scopes = Scopes::stored(&row.get::<String>(4)?, row.get::<i64>(7)? != 0);
    Ok(ApiKey {
        site_id: row.get(0)?,
        id: Uuid::from_bytes(row.get(1)?),
        name: row.get(2)?,
        secret_hash: row.get(3)?,
        scopes,
        created_at_ms: row.get(5)?,
        revoked_at_ms: row.get(6)?,
    })
}
