-- Whether a key administers its site. A column of its own: a release that knows no such scope reads the
-- others as before.
ALTER TABLE api_keys ADD COLUMN is_admin INTEGER NOT NULL DEFAULT 0;

-- Who is signed in at the page: the SHA-256 of what the cookie holds, and the key that it acts for.
CREATE TABLE sessions (
    site_id       BLOB    NOT NULL,
    token_hash    BLOB    NOT NULL,
    key_id        BLOB    NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (site_id, token_hash)
) WITHOUT ROWID;
CREATE INDEX sessions_by_key ON sessions (site_id, key_id, created_at_ms);
CREATE INDEX sessions_by_expiry ON sessions (expires_at_ms);

-- Links that sign in once: the SHA-256 of what they hold. The row goes when one is used.
CREATE TABLE sign_in_links (
    site_id       BLOB    NOT NULL,
    token_hash    BLOB    NOT NULL,
    key_id        BLOB    NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (site_id, token_hash)
) WITHOUT ROWID;
CREATE INDEX sign_in_links_by_expiry ON sign_in_links (expires_at_ms);
