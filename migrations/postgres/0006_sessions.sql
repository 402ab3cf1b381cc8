-- The same as migrations/sqlite/0006_sessions.sql, where it is documented. Releases from schema 5
-- on keep working with it.

ALTER TABLE api_keys ADD COLUMN is_admin SMALLINT NOT NULL DEFAULT 0;

CREATE TABLE sessions (
    site_id       UUID NOT NULL,
    token_hash    BYTEA NOT NULL,
    key_id        UUID NOT NULL,
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (site_id, token_hash)
);
CREATE INDEX sessions_by_key ON sessions (site_id, key_id, created_at_ms);
CREATE INDEX sessions_by_expiry ON sessions (expires_at_ms);

CREATE TABLE sign_in_links (
    site_id       UUID NOT NULL,
    token_hash    BYTEA NOT NULL,
    key_id        UUID NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (site_id, token_hash)
);
CREATE INDEX sign_in_links_by_expiry ON sign_in_links (expires_at_ms);

UPDATE dossier_schema SET version = 6;
