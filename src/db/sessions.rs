//! Queries on page sessions and on single-use sign-in links.

use uuid::Uuid;

use super::Db;
use crate::db::engine::Done;
use crate::db::sql::{self, Connection, OptionalExtension as _, params};
use crate::domain::ids::SiteId;
use crate::error::Result;

/// Maximum sessions of a key: one more ends the oldest.
const MAX_SESSIONS_PER_KEY: i64 = 50;

/// A session to create.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The tenant.
    pub site_id: SiteId,
    /// SHA-256 of the cookie's value.
    pub token_hash: [u8; 32],
    /// When it begins, in Unix milliseconds.
    pub created_at_ms: i64,
    /// When it ends, in Unix milliseconds.
    pub expires_at_ms: i64,
}

/// A session that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The key that it acts for.
    pub key_id: Uuid,
    /// When it ends, in Unix milliseconds.
    pub expires_at_ms: i64,
}

impl Db {
    /// Begins a session of a key.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn begin_session(&self, session: NewSession, key: Uuid) -> Result<()> {
        self.engine
            .write(session.site_id, move |connection| {
                insert_session(connection, &session, key)?;
                Ok(Done { value: (), changed: None })
            })
            .await
    }

    /// Begins a session of the key that a link signs in, and deletes the link. `None` when there is
    /// no such link, it has expired, or its key was revoked. Of concurrent uses one succeeds.
    ///
    /// # Errors
    ///
    /// Only when the database fails; then the link can be used again.
    pub async fn begin_session_by_link(
        &self,
        session: NewSession,
        link_hash: [u8; 32],
    ) -> Result<Option<Uuid>> {
        self.engine
            .write(session.site_id, move |connection| {
                let site = session.site_id;
                let key: Option<Uuid> = connection
                    .prepare_cached(
                        "DELETE FROM sign_in_links WHERE site_id = $1 AND token_hash = $2 \
                         AND expires_at_ms > $3 AND key_id IN (SELECT key_id FROM api_keys \
                         WHERE site_id = $1 AND revoked_at_ms IS NULL) RETURNING key_id",
                    )
                    .and_then(|mut statement| {
                        statement
                            .query_row(params![site, link_hash, session.created_at_ms], |row| {
                                row.get(0).map(Uuid::from_bytes)
                            })
                            .optional()
                    })?;
                if let Some(key) = key {
                    insert_session(connection, &session, key)?;
                }
                Ok(Done { value: key, changed: None })
            })
            .await
    }

    /// Finds a session that has not ended.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn session(
        &self,
        site: SiteId,
        token_hash: [u8; 32],
        now_ms: i64,
    ) -> Result<Option<Session>> {
        self.engine
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT s.key_id, s.expires_at_ms FROM sessions s \
                         JOIN api_keys k ON k.site_id = s.site_id AND k.key_id = s.key_id \
                         WHERE s.site_id = $1 AND s.token_hash = $2 AND s.expires_at_ms > $3 \
                         AND k.revoked_at_ms IS NULL",
                    )?
                    .query_row(params![site, token_hash, now_ms], |row| {
                        let key_id = Uuid::from_bytes(row.get(0)?);
                        Ok(Session { key_id, expires_at_ms: row.get(1)? })
                    })
                    .optional()
            })
            .await
    }

    /// Ends a session.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn end_session(&self, site: SiteId, token_hash: [u8; 32]) -> Result<()> {
        self.engine
            .write(site, move |connection| {
                connection
                    .prepare_cached("DELETE FROM sessions WHERE site_id = $1 AND token_hash = $2")
                    .and_then(|mut statement| statement.execute(params![site, token_hash]))?;
                Ok(Done { value: (), changed: None })
            })
            .await
    }

    /// Stores a link that signs in a key once, until it expires.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn add_sign_in_link(
        &self,
        site: SiteId,
        link_hash: [u8; 32],
        key: Uuid,
        expires_at_ms: i64,
    ) -> Result<()> {
        self.engine
            .write(site, move |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO sign_in_links (site_id, token_hash, key_id, expires_at_ms) \
                         VALUES ($1, $2, $3, $4)",
                    )
                    .and_then(|mut statement| {
                        statement.execute(params![site, link_hash, key, expires_at_ms])
                    })?;
                Ok(Done { value: (), changed: None })
            })
            .await
    }

    /// Deletes sessions and links that have expired, at most `limit` of each. Returns the larger of
    /// the two counts.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn delete_expired_sessions(&self, now_ms: i64, limit: u32) -> Result<usize> {
        self.engine
            .write_across(move |connection| {
                let sessions = connection
                    .prepare_cached(
                        "DELETE FROM sessions WHERE (site_id, token_hash) IN \
                         (SELECT site_id, token_hash FROM sessions \
                         WHERE expires_at_ms <= $1 ORDER BY expires_at_ms LIMIT $2)",
                    )
                    .and_then(|mut statement| statement.execute(params![now_ms, limit]))?;
                let links = connection
                    .prepare_cached(
                        "DELETE FROM sign_in_links WHERE (site_id, token_hash) IN \
                         (SELECT site_id, token_hash FROM sign_in_links \
                         WHERE expires_at_ms <= $1 ORDER BY expires_at_ms LIMIT $2)",
                    )
                    .and_then(|mut statement| statement.execute(params![now_ms, limit]))?;
                Ok(Done { value: sessions.max(links), changed: None })
            })
            .await
    }
}

fn insert_session(connection: &Connection, session: &NewSession, key: Uuid) -> sql::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO sessions (site_id, token_hash, key_id, created_at_ms, expires_at_ms) \
             VALUES ($1, $2, $3, $4, $5)",
        )?
        .execute(params![
            session.site_id,
            session.token_hash,
            key,
            session.created_at_ms,
            session.expires_at_ms
        ])?;
    connection
        .prepare_cached(
            "DELETE FROM sessions WHERE site_id = $1 AND key_id = $2 AND token_hash NOT IN \
             (SELECT token_hash FROM sessions WHERE site_id = $1 AND key_id = $2 \
             ORDER BY created_at_ms DESC, token_hash LIMIT $3)",
        )?
        .execute(params![session.site_id, key, MAX_SESSIONS_PER_KEY])?;
    Ok(())
}
