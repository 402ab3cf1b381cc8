-- Resumable uploads in progress (tus). `offset_bytes` counts bytes that are synced to disk, and
-- `hash_state` is the SHA-256 state over exactly those, so that an upload resumes after a restart
-- without reading them again. The transaction that creates the attachment deletes the row.
CREATE TABLE uploads (
    site_id       BLOB    NOT NULL,
    attachment_id BLOB    NOT NULL,
    blob_id       BLOB    NOT NULL,
    length_bytes  INTEGER,
    offset_bytes  INTEGER NOT NULL,
    hash_state    BLOB    NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (site_id, attachment_id)
) WITHOUT ROWID;
CREATE INDEX uploads_by_expiry ON uploads (expires_at_ms);

-- The totals of a site, updated in the same transactions as `contacts`, for quotas.
CREATE TABLE site_usage (
    site_id          BLOB    NOT NULL PRIMARY KEY,
    attachment_count INTEGER NOT NULL,
    total_bytes      INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO site_usage (site_id, attachment_count, total_bytes)
    SELECT site_id, sum(attachment_count), sum(total_bytes) FROM contacts GROUP BY site_id;
