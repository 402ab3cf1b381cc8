//! Queries on sites and their API keys. Few rows; callers read all of them and keep them in memory.

use std::collections::HashMap;

use crate::db::sql::{self, Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::Db;
use crate::db::engine::Done;
use crate::domain::ids::SiteId;
use crate::domain::quota::{Amount, QuotaOverrides};
use crate::domain::scope::Scopes;
use crate::error::Result;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its id, the value of `wix-site-id`.
    pub id: SiteId,
    /// The first part of its media ids; unique.
    pub media_prefix: String,
    /// A label for people.
    pub name: String,
    /// Lifetime of its media links in seconds; `None` for the setting's.
    pub link_life_seconds: Option<u32>,
    /// Its own quotas.
    pub quotas: QuotaOverrides,
    /// When it was created, in Unix milliseconds.
    pub created_at_ms: i64,
}

/// An API key as stored: only a hash of its secret (S21).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The site that it gives access to.
    pub site_id: SiteId,
    /// The id by which people refer to it.
    pub id: Uuid,
    /// A label for people.
    pub name: String,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// Its permissions.
    pub scopes: Scopes,
    /// When it was created, in Unix milliseconds.
    pub created_at_ms: i64,
    /// When it was revoked, in Unix milliseconds.
    pub revoked_at_ms: Option<i64>,
}

/// A key to create; not revoked.
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

    /// All keys that are not revoked, or all keys, oldest first.
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

    /// Keys of a site including revoked ones, oldest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn site_keys(&self, site: SiteId, limit: u32) -> Result<Vec<ApiKey>> {
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

    /// Revokes a key of a site; false when the site has no such key. The time of the first call is
    /// kept.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn revoke_site_key(&self, site: SiteId, id: Uuid, now_ms: i64) -> Result<bool> {
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

    /// Creates a site, and optionally a key for it, in one transaction. False when the media prefix
    /// is in use; then nothing was created, and the caller may try another prefix.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn create_site(&self, site: Site, key: Option<NewApiKey>) -> Result<bool> {
        self.engine
            .write_across(move |connection| {
                let is_new = insert_site(connection, &site)?;
                if let (true, Some(key)) = (is_new, &key) {
                    insert_key(connection, key)?;
                }
                Ok(Done { value: is_new, changed: None })
            })
            .await
    }

    /// Updates a site's name, link lifetime and quotas; false when there is no such site.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn update_site(&self, site: Site) -> Result<bool> {
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

    /// The usage of each site.
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

    /// Creates a key.
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

    /// Revokes a key. Returns when it was revoked, which is the time of the first call; `None` when
    /// there is no such key.
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
    let inserted = connection
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
    Ok(inserted == 1)
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
            key.scopes.contract_ids(),
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
        quotas: QuotaOverrides {
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
    let scopes = Scopes::from_stored(&row.get::<String>(4)?, row.get::<i64>(7)? != 0);
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
