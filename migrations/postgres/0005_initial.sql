-- The schema for PostgreSQL: the same tables as in migrations/sqlite, where they are documented.
-- Every primary key begins with site_id, except in the few tables that are not sharded by site
-- (docs/postgres.md). Ids are uuid, times Unix milliseconds, booleans 0 and 1.

-- The schema version of the data, and the oldest release's schema that may use them. A migration
-- that keeps the previous release working does not raise oldest_program, so that nodes can be
-- upgraded one after another.
CREATE TABLE dossier_schema (
    version        BIGINT NOT NULL,
    oldest_program BIGINT NOT NULL
);
INSERT INTO dossier_schema (version, oldest_program) VALUES (5, 5);

-- Fingerprints of the nodes' keys, to detect a node with different keys: hashes, no secrets.
CREATE TABLE key_fingerprints (
    file        TEXT  NOT NULL,
    fingerprint BYTEA NOT NULL,
    PRIMARY KEY (file, fingerprint)
);

CREATE TABLE sites (
    site_id           UUID NOT NULL,
    media_prefix      TEXT NOT NULL,
    name              TEXT NOT NULL,
    link_life_seconds BIGINT,
    created_at_ms     BIGINT NOT NULL,
    max_bytes         BIGINT,
    max_files         BIGINT,
    contact_max_bytes BIGINT,
    contact_max_files BIGINT,
    UNIQUE (media_prefix),
    PRIMARY KEY (site_id)
);

CREATE TABLE api_keys (
    site_id       UUID NOT NULL REFERENCES sites (site_id),
    key_id        UUID NOT NULL,
    name          TEXT NOT NULL,
    secret_hash   BYTEA NOT NULL,
    scopes        TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    revoked_at_ms BIGINT,
    UNIQUE (secret_hash),
    PRIMARY KEY (site_id, key_id)
);

CREATE TABLE contacts (
    site_id            UUID NOT NULL,
    contact_id         UUID NOT NULL,
    attachment_count   BIGINT NOT NULL,
    total_bytes        BIGINT NOT NULL,
    revision           BIGINT NOT NULL,
    last_created_at_ms BIGINT NOT NULL,
    state              TEXT NOT NULL DEFAULT 'active',
    state_at_ms        BIGINT NOT NULL DEFAULT 0,
    announced_at_ms    BIGINT,
    label              TEXT,
    purge_at_ms        BIGINT,
    merged_into        UUID,
    PRIMARY KEY (site_id, contact_id)
);
CREATE INDEX contacts_merged ON contacts (site_id, merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX contacts_to_purge ON contacts (purge_at_ms) WHERE purge_at_ms IS NOT NULL;

CREATE TABLE attachments (
    site_id         UUID NOT NULL,
    contact_id      UUID NOT NULL,
    created_at_ms   BIGINT NOT NULL,
    attachment_id   UUID NOT NULL,
    file_name       TEXT NOT NULL,
    mime_type       TEXT NOT NULL,
    media_extension TEXT NOT NULL,
    size_bytes      BIGINT NOT NULL,
    sha256          BYTEA NOT NULL,
    blob_id         UUID NOT NULL,
    width           BIGINT NOT NULL,
    height          BIGINT NOT NULL,
    has_preview     SMALLINT NOT NULL,
    event_sequence  BIGINT NOT NULL DEFAULT 1,
    PRIMARY KEY (site_id, contact_id, created_at_ms, attachment_id)
);
CREATE UNIQUE INDEX attachments_by_id ON attachments (site_id, attachment_id);

CREATE TABLE spent_uploads (
    site_id       UUID NOT NULL,
    attachment_id UUID NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (site_id, attachment_id)
);
CREATE INDEX spent_uploads_by_expiry ON spent_uploads (expires_at_ms);

CREATE TABLE blob_removals (
    site_id         UUID NOT NULL,
    blob_id         UUID NOT NULL,
    remove_after_ms BIGINT NOT NULL,
    PRIMARY KEY (site_id, blob_id)
);
CREATE INDEX blob_removals_by_time ON blob_removals (remove_after_ms);

CREATE TABLE uploads (
    site_id       UUID NOT NULL,
    attachment_id UUID NOT NULL,
    blob_id       UUID NOT NULL,
    length_bytes  BIGINT,
    offset_bytes  BIGINT NOT NULL,
    hash_state    BYTEA NOT NULL,
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    contact_id    UUID,
    PRIMARY KEY (site_id, attachment_id)
);
CREATE INDEX uploads_by_expiry ON uploads (expires_at_ms);
CREATE INDEX uploads_by_contact ON uploads (site_id, contact_id);

CREATE TABLE site_usage (
    site_id          UUID NOT NULL,
    attachment_count BIGINT NOT NULL,
    total_bytes      BIGINT NOT NULL,
    PRIMARY KEY (site_id)
);

CREATE TABLE backup_holds (
    hold_id       UUID NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (hold_id)
);

CREATE TABLE tombstones (
    site_id       UUID NOT NULL,
    attachment_id UUID NOT NULL,
    deleted_at_ms BIGINT NOT NULL,
    PRIMARY KEY (site_id, attachment_id)
);
CREATE INDEX tombstones_by_time ON tombstones (deleted_at_ms);

CREATE TABLE damaged_blobs (
    site_id       UUID NOT NULL,
    blob_id       UUID NOT NULL,
    attachment_id UUID NOT NULL,
    problem       TEXT NOT NULL,
    found_at_ms   BIGINT NOT NULL,
    PRIMARY KEY (site_id, blob_id)
);

CREATE TABLE job_leases (
    job             TEXT NOT NULL,
    holder          UUID NOT NULL,
    fence           BIGINT NOT NULL,
    leased_until_ms BIGINT NOT NULL,
    progress        TEXT NOT NULL,
    PRIMARY KEY (job)
);

CREATE TABLE subscriptions (
    site_id         UUID NOT NULL,
    subscription_id UUID NOT NULL,
    url             TEXT NOT NULL,
    event_types     BIGINT NOT NULL,
    app_id          UUID NOT NULL,
    instance_id     UUID NOT NULL,
    is_enabled      SMALLINT NOT NULL,
    is_local        SMALLINT NOT NULL,
    failures        BIGINT NOT NULL,
    open_until_ms   BIGINT NOT NULL,
    next_due_at_ms  BIGINT NOT NULL,
    created_at_ms   BIGINT NOT NULL,
    expires_at_ms   BIGINT,
    removed_at_ms   BIGINT,
    PRIMARY KEY (site_id, subscription_id)
);
CREATE INDEX subscriptions_due ON subscriptions (next_due_at_ms);

CREATE TABLE events (
    site_id                UUID NOT NULL,
    event_id               UUID NOT NULL,
    event_type             BIGINT NOT NULL,
    contact_id             UUID NOT NULL,
    attachment_id          UUID NOT NULL,
    entity_sequence        BIGINT NOT NULL,
    occurred_at_ms         BIGINT NOT NULL,
    originated_from        TEXT,
    by_anonymize_request   SMALLINT NOT NULL,
    restored_deleted_at_ms BIGINT,
    file_name              TEXT,
    mime_type              TEXT,
    media_extension        TEXT,
    width                  BIGINT,
    height                 BIGINT,
    has_preview            SMALLINT,
    PRIMARY KEY (site_id, event_id)
);
CREATE INDEX events_by_time ON events (occurred_at_ms);
CREATE INDEX events_by_contact ON events (site_id, contact_id);

CREATE TABLE deliveries (
    site_id         UUID NOT NULL,
    event_id        UUID NOT NULL,
    subscription_id UUID NOT NULL,
    state           TEXT NOT NULL,
    attempts        BIGINT NOT NULL,
    series_attempts BIGINT NOT NULL,
    begun_at_ms     BIGINT NOT NULL,
    due_at_ms       BIGINT NOT NULL,
    leased_until_ms BIGINT NOT NULL,
    PRIMARY KEY (site_id, event_id, subscription_id)
);
CREATE INDEX deliveries_pending ON deliveries (site_id, subscription_id, due_at_ms, leased_until_ms, begun_at_ms) WHERE state = 'pending';
CREATE INDEX deliveries_by_subscription ON deliveries (site_id, subscription_id, event_id);

CREATE TABLE delivery_attempts (
    site_id         UUID NOT NULL,
    event_id        UUID NOT NULL,
    subscription_id UUID NOT NULL,
    attempt         BIGINT NOT NULL,
    started_at_ms   BIGINT NOT NULL,
    duration_ms     BIGINT NOT NULL,
    status          BIGINT,
    problem         TEXT,
    response        TEXT NOT NULL,
    PRIMARY KEY (site_id, event_id, subscription_id, attempt)
);

CREATE TABLE trashed_attachments (
    site_id         UUID NOT NULL,
    contact_id      UUID NOT NULL,
    created_at_ms   BIGINT NOT NULL,
    attachment_id   UUID NOT NULL,
    file_name       TEXT NOT NULL,
    mime_type       TEXT NOT NULL,
    media_extension TEXT NOT NULL,
    size_bytes      BIGINT NOT NULL,
    sha256          BYTEA NOT NULL,
    blob_id         UUID NOT NULL,
    width           BIGINT NOT NULL,
    height          BIGINT NOT NULL,
    has_preview     SMALLINT NOT NULL,
    event_sequence  BIGINT NOT NULL,
    deleted_at_ms   BIGINT NOT NULL,
    purge_at_ms     BIGINT NOT NULL,
    with_contact    SMALLINT NOT NULL,
    PRIMARY KEY (site_id, attachment_id)
);
CREATE INDEX trashed_by_contact ON trashed_attachments (site_id, contact_id, attachment_id);
CREATE INDEX trashed_to_purge ON trashed_attachments (purge_at_ms);

CREATE TABLE contact_closings (
    site_id              UUID NOT NULL,
    contact_id           UUID NOT NULL,
    begun_at_ms          BIGINT NOT NULL,
    grace_ms             BIGINT NOT NULL,
    purge_at_ms          BIGINT,
    originated_from      TEXT,
    by_anonymize_request SMALLINT NOT NULL,
    receipt_id           UUID,
    PRIMARY KEY (site_id, contact_id)
);

CREATE TABLE erasures (
    site_id           UUID NOT NULL,
    receipt_id        UUID NOT NULL,
    contact_id        UUID NOT NULL,
    requested_at_ms   BIGINT NOT NULL,
    rows_erased_at_ms BIGINT,
    completed_at_ms   BIGINT,
    PRIMARY KEY (site_id, receipt_id)
);
CREATE UNIQUE INDEX erasures_by_contact ON erasures (site_id, contact_id);
CREATE INDEX erasures_open ON erasures (requested_at_ms) WHERE completed_at_ms IS NULL;

CREATE TABLE erased_files (
    site_id       UUID NOT NULL,
    receipt_id    UUID NOT NULL,
    attachment_id UUID NOT NULL,
    blob_id       UUID NOT NULL,
    erased_at_ms  BIGINT,
    PRIMARY KEY (site_id, receipt_id, attachment_id)
);
CREATE INDEX erased_files_open ON erased_files (site_id, blob_id) WHERE erased_at_ms IS NULL;

CREATE TABLE inbound_keys (
    instance_id   UUID NOT NULL,
    site_id       UUID NOT NULL REFERENCES sites (site_id),
    app_id        UUID NOT NULL,
    public_key    BYTEA NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (instance_id)
);

CREATE TABLE inbound_events (
    site_id       UUID NOT NULL,
    event_id      UUID NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (site_id, event_id)
);
CREATE INDEX inbound_events_by_expiry ON inbound_events (expires_at_ms);

CREATE VIEW counted_attachments AS SELECT * FROM attachments a WHERE NOT EXISTS
    (SELECT 1 FROM contact_closings c
     WHERE c.site_id = a.site_id AND c.contact_id = a.contact_id);

CREATE VIEW stored_attachments AS
    SELECT site_id, attachment_id, blob_id, size_bytes, sha256 FROM attachments
    UNION ALL
    SELECT site_id, attachment_id, blob_id, size_bytes, sha256 FROM trashed_attachments;

