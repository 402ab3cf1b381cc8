-- Backups in progress: they suspend the removal of bytes. Holds are short and renewed, so that a
-- backup that died suspends nothing for long.
CREATE TABLE backup_holds (
    hold_id       BLOB    NOT NULL PRIMARY KEY,
    expires_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Deleted attachments, so that restoring an older backup does not bring them back. Ids and a time
-- only.
CREATE TABLE tombstones (
    site_id       BLOB    NOT NULL,
    attachment_id BLOB    NOT NULL,
    deleted_at_ms INTEGER NOT NULL,
    PRIMARY KEY (site_id, attachment_id)
) WITHOUT ROWID;
CREATE INDEX tombstones_by_time ON tombstones (deleted_at_ms);

-- Blobs that the scrub found damaged: their bytes differ from those that were uploaded.
CREATE TABLE damaged_blobs (
    site_id       BLOB    NOT NULL,
    blob_id       BLOB    NOT NULL,
    attachment_id BLOB    NOT NULL,
    problem       TEXT    NOT NULL,
    found_at_ms   INTEGER NOT NULL,
    PRIMARY KEY (site_id, blob_id)
) WITHOUT ROWID;

-- Leases of jobs that one process does for all, with their progress. The fence increases whenever
-- a job changes hands, so that a holder that was replaced without noticing cannot write.
CREATE TABLE job_leases (
    job             TEXT    NOT NULL PRIMARY KEY,
    holder          BLOB    NOT NULL,
    fence           INTEGER NOT NULL,
    leased_until_ms INTEGER NOT NULL,
    progress        TEXT    NOT NULL
) WITHOUT ROWID;

-- A site's own quotas; NULL for the setting's, 0 for unlimited.
ALTER TABLE sites ADD COLUMN max_bytes INTEGER;
ALTER TABLE sites ADD COLUMN max_files INTEGER;
ALTER TABLE sites ADD COLUMN contact_max_bytes INTEGER;
ALTER TABLE sites ADD COLUMN contact_max_files INTEGER;
