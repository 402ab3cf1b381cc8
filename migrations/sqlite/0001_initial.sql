-- Every primary key begins with site_id, so that a distributed database can shard by it.
-- Ids are 16 bytes, times are Unix milliseconds. Tables that lists read are clustered in read
-- order (WITHOUT ROWID).

CREATE TABLE sites (
    site_id           BLOB    NOT NULL PRIMARY KEY,
    media_prefix      TEXT    NOT NULL UNIQUE,
    name              TEXT    NOT NULL,
    link_life_seconds INTEGER,
    created_at_ms     INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE api_keys (
    site_id       BLOB    NOT NULL REFERENCES sites (site_id),
    key_id        BLOB    NOT NULL,
    name          TEXT    NOT NULL,
    secret_hash   BLOB    NOT NULL UNIQUE,
    scopes        TEXT    NOT NULL,
    created_at_ms INTEGER NOT NULL,
    revoked_at_ms INTEGER,
    PRIMARY KEY (site_id, key_id)
) WITHOUT ROWID;

-- A list reads this row first: it holds the exact total, so that nothing is counted, and the
-- revision that shows whether a cached page is still valid.
CREATE TABLE contacts (
    site_id            BLOB    NOT NULL,
    contact_id         BLOB    NOT NULL,
    attachment_count   INTEGER NOT NULL,
    total_bytes        INTEGER NOT NULL,
    revision           INTEGER NOT NULL,
    last_created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (site_id, contact_id)
) WITHOUT ROWID;

CREATE TABLE attachments (
    site_id         BLOB    NOT NULL,
    contact_id      BLOB    NOT NULL,
    created_at_ms   INTEGER NOT NULL,
    attachment_id   BLOB    NOT NULL,
    file_name       TEXT    NOT NULL,
    mime_type       TEXT    NOT NULL,
    media_extension TEXT    NOT NULL,
    size_bytes      INTEGER NOT NULL,
    sha256          BLOB    NOT NULL,
    blob_id         BLOB    NOT NULL,
    width           INTEGER NOT NULL,
    height          INTEGER NOT NULL,
    has_preview     INTEGER NOT NULL,
    PRIMARY KEY (site_id, contact_id, created_at_ms, attachment_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX attachments_by_id ON attachments (site_id, attachment_id);

-- Used upload URLs, kept until they expire, so that a URL cannot be replayed after its attachment
-- was deleted.
CREATE TABLE spent_uploads (
    site_id       BLOB    NOT NULL,
    attachment_id BLOB    NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (site_id, attachment_id)
) WITHOUT ROWID;
CREATE INDEX spent_uploads_by_expiry ON spent_uploads (expires_at_ms);

-- Blobs of deleted rows, with the time after which their bytes are removed.
CREATE TABLE blob_removals (
    site_id         BLOB    NOT NULL,
    blob_id         BLOB    NOT NULL,
    remove_after_ms INTEGER NOT NULL,
    PRIMARY KEY (site_id, blob_id)
) WITHOUT ROWID;
CREATE INDEX blob_removals_by_time ON blob_removals (remove_after_ms);
