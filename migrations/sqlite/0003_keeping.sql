-- Backups under way: bytes that are to be removed wait for them. Each is held for a short time and
-- renewed, so that one that died keeps nothing for long.
CREATE TABLE backup_holds (
    hold_id       BLOB    NOT NULL PRIMARY KEY,
    expires_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- What was deleted, so that restoring an older backup does not bring it back. Ids and a time only.
CREATE TABLE tombstones (
    site_id       BLOB    NOT NULL,
    attachment_id BLOB    NOT NULL,
    deleted_at_ms INTEGER NOT NULL,
    PRIMARY KEY (site_id, attachment_id)
) WITHOUT ROWID;
CREATE INDEX tombstones_by_time ON tombstones (deleted_at_ms);

-- Blobs whose bytes are not what they were when they were uploaded, as the scrub found them.
CREATE TABLE damaged_blobs (
    site_id       BLOB    NOT NULL,
    blob_id       BLOB    NOT NULL,
    attachment_id BLOB    NOT NULL,
    problem       TEXT    NOT NULL,
    found_at_ms   INTEGER NOT NULL,
    PRIMARY KEY (site_id, blob_id)
) WITHOUT ROWID;

-- Work that one process does for all: who has it until when, and how far it has come. The fence
-- rises whenever it changes hands, so that whoever lost it without noticing writes nothing more.
CREATE TABLE job_leases (
    job             TEXT    NOT NULL PRIMARY KEY,
    holder          BLOB    NOT NULL,
    fence           INTEGER NOT NULL,
    leased_until_ms INTEGER NOT NULL,
    progress        TEXT    NOT NULL
) WITHOUT ROWID;

-- A site's own quotas; NULL is the setting's, 0 is any number.
ALTER TABLE sites ADD COLUMN max_bytes INTEGER;
ALTER TABLE sites ADD COLUMN max_files INTEGER;
ALTER TABLE sites ADD COLUMN contact_max_bytes INTEGER;
ALTER TABLE sites ADD COLUMN contact_max_files INTEGER;
