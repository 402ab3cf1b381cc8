-- The lifecycle of a contact. `state` is active, trashed, deleted, erased or merged. Rows are never
-- deleted, so that upload URLs of a deleted contact stay rejected.
ALTER TABLE contacts ADD COLUMN state TEXT NOT NULL DEFAULT 'active';
ALTER TABLE contacts ADD COLUMN state_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE contacts ADD COLUMN announced_at_ms INTEGER;
ALTER TABLE contacts ADD COLUMN label TEXT;
ALTER TABLE contacts ADD COLUMN purge_at_ms INTEGER;
ALTER TABLE contacts ADD COLUMN merged_into BLOB;
CREATE INDEX contacts_merged ON contacts (site_id, merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX contacts_to_purge ON contacts (purge_at_ms) WHERE purge_at_ms IS NOT NULL;

-- The upload's contact, whose end also ends the upload. NULL if an older release began it.
ALTER TABLE uploads ADD COLUMN contact_id BLOB;
CREATE INDEX uploads_by_contact ON uploads (site_id, contact_id);

-- Deleted attachments that can be restored until `purge_at_ms`. Queries that list, open or count
-- attachments do not read this table.
CREATE TABLE trashed_attachments (
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
    event_sequence  INTEGER NOT NULL,
    deleted_at_ms   INTEGER NOT NULL,
    purge_at_ms     INTEGER NOT NULL,
    with_contact    INTEGER NOT NULL,
    PRIMARY KEY (site_id, attachment_id)
) WITHOUT ROWID;
CREATE INDEX trashed_by_contact ON trashed_attachments (site_id, contact_id, attachment_id);
CREATE INDEX trashed_to_purge ON trashed_attachments (purge_at_ms);

-- Contacts whose attachments are being deleted in batches: from the first batch on, none of the
-- attachments is reachable or counted.
CREATE TABLE contact_closings (
    site_id              BLOB    NOT NULL,
    contact_id           BLOB    NOT NULL,
    begun_at_ms          INTEGER NOT NULL,
    grace_ms             INTEGER NOT NULL,
    purge_at_ms          INTEGER,
    originated_from      TEXT,
    by_anonymize_request INTEGER NOT NULL,
    receipt_id           BLOB,
    PRIMARY KEY (site_id, contact_id)
) WITHOUT ROWID;

-- Receipts of erasures: the contact, its files, and when their bytes were deleted.
CREATE TABLE erasures (
    site_id           BLOB    NOT NULL,
    receipt_id        BLOB    NOT NULL,
    contact_id        BLOB    NOT NULL,
    requested_at_ms   INTEGER NOT NULL,
    rows_erased_at_ms INTEGER,
    completed_at_ms   INTEGER,
    PRIMARY KEY (site_id, receipt_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX erasures_by_contact ON erasures (site_id, contact_id);
CREATE INDEX erasures_open ON erasures (requested_at_ms) WHERE completed_at_ms IS NULL;

CREATE TABLE erased_files (
    site_id       BLOB    NOT NULL,
    receipt_id    BLOB    NOT NULL,
    attachment_id BLOB    NOT NULL,
    blob_id       BLOB    NOT NULL,
    erased_at_ms  INTEGER,
    PRIMARY KEY (site_id, receipt_id, attachment_id)
) WITHOUT ROWID;
CREATE INDEX erased_files_open ON erased_files (site_id, blob_id) WHERE erased_at_ms IS NULL;

-- Installations that may report changes of contacts kept elsewhere: the vendor's public key of an
-- app, for one installation of it, which belongs to one site.
CREATE TABLE inbound_keys (
    instance_id   BLOB    NOT NULL PRIMARY KEY,
    site_id       BLOB    NOT NULL REFERENCES sites (site_id),
    app_id        BLOB    NOT NULL,
    public_key    BLOB    NOT NULL,
    created_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Ids of inbound events, kept for as long as a replay would be accepted.
CREATE TABLE inbound_events (
    site_id       BLOB    NOT NULL,
    event_id      BLOB    NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (site_id, event_id)
) WITHOUT ROWID;
CREATE INDEX inbound_events_by_expiry ON inbound_events (expires_at_ms);

-- The attachments that counters include.
CREATE VIEW counted_attachments AS SELECT * FROM attachments a WHERE NOT EXISTS
    (SELECT 1 FROM contact_closings c
     WHERE c.site_id = a.site_id AND c.contact_id = a.contact_id);

-- The attachments whose bytes must exist.
CREATE VIEW stored_attachments AS
    SELECT site_id, attachment_id, blob_id, size_bytes, sha256 FROM attachments
    UNION ALL
    SELECT site_id, attachment_id, blob_id, size_bytes, sha256 FROM trashed_attachments;
