-- Whether a key administers its site. A separate column, so that releases without this scope still
-- read the others.
ALTER TABLE api_keys ADD COLUMN is_admin INTEGER NOT NULL DEFAULT 0;

-- Sessions of the page: the SHA-256 of the cookie's value, and the key that the session acts for.
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

-- Single-use sign-in links: the SHA-256 of their token. Using a link deletes its row.
CREATE TABLE sign_in_links (
    site_id       BLOB    NOT NULL,
    token_hash    BLOB    NOT NULL,
    key_id        BLOB    NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (site_id, token_hash)
) WITHOUT ROWID;
CREATE INDEX sign_in_links_by_expiry ON sign_in_links (expires_at_ms);
