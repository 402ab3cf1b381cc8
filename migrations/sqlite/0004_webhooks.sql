-- Receivers of events. A subscription of `dossier listen` expires by itself. `next_due_at_ms` is
-- when its earliest delivery is due, or when its circuit allows an attempt: the only column that
-- the deliverer searches by. `event_types` is a bit set.
CREATE TABLE subscriptions (
    site_id         BLOB    NOT NULL,
    subscription_id BLOB    NOT NULL,
    url             TEXT    NOT NULL,
    event_types     INTEGER NOT NULL,
    app_id          BLOB    NOT NULL,
    instance_id     BLOB    NOT NULL,
    is_enabled      INTEGER NOT NULL,
    is_local        INTEGER NOT NULL,
    failures        INTEGER NOT NULL,
    open_until_ms   INTEGER NOT NULL,
    next_due_at_ms  INTEGER NOT NULL,
    created_at_ms   INTEGER NOT NULL,
    expires_at_ms   INTEGER,
    removed_at_ms   INTEGER,
    PRIMARY KEY (site_id, subscription_id)
) WITHOUT ROWID;
CREATE INDEX subscriptions_due ON subscriptions (next_due_at_ms);

-- Events, written in the transaction of the change, with the attachment as it was then. The
-- columns from file_name on are NULL for events without an attachment.
CREATE TABLE events (
    site_id                BLOB    NOT NULL,
    event_id               BLOB    NOT NULL,
    event_type             INTEGER NOT NULL,
    contact_id             BLOB    NOT NULL,
    attachment_id          BLOB    NOT NULL,
    entity_sequence        INTEGER NOT NULL,
    occurred_at_ms         INTEGER NOT NULL,
    originated_from        TEXT,
    by_anonymize_request   INTEGER NOT NULL,
    restored_deleted_at_ms INTEGER,
    file_name              TEXT,
    mime_type              TEXT,
    media_extension        TEXT,
    width                  INTEGER,
    height                 INTEGER,
    has_preview            INTEGER,
    PRIMARY KEY (site_id, event_id)
) WITHOUT ROWID;
CREATE INDEX events_by_time ON events (occurred_at_ms);
CREATE INDEX events_by_contact ON events (site_id, contact_id);

-- The delivery of one event to one subscription. `attempts` counts all attempts,
-- `series_attempts` those since the first attempt or the last replay.
CREATE TABLE deliveries (
    site_id         BLOB    NOT NULL,
    event_id        BLOB    NOT NULL,
    subscription_id BLOB    NOT NULL,
    state           TEXT    NOT NULL,
    attempts        INTEGER NOT NULL,
    series_attempts INTEGER NOT NULL,
    begun_at_ms     INTEGER NOT NULL,
    due_at_ms       INTEGER NOT NULL,
    leased_until_ms INTEGER NOT NULL,
    PRIMARY KEY (site_id, event_id, subscription_id)
) WITHOUT ROWID;
CREATE INDEX deliveries_pending ON deliveries
    (site_id, subscription_id, due_at_ms, leased_until_ms, begun_at_ms) WHERE state = 'pending';
CREATE INDEX deliveries_by_subscription ON deliveries (site_id, subscription_id, event_id);

CREATE TABLE delivery_attempts (
    site_id         BLOB    NOT NULL,
    event_id        BLOB    NOT NULL,
    subscription_id BLOB    NOT NULL,
    attempt         INTEGER NOT NULL,
    started_at_ms   INTEGER NOT NULL,
    duration_ms     INTEGER NOT NULL,
    status          INTEGER,
    problem         TEXT,
    response        TEXT    NOT NULL,
    PRIMARY KEY (site_id, event_id, subscription_id, attempt)
) WITHOUT ROWID;

-- Increases with every event of the attachment.
ALTER TABLE attachments ADD COLUMN event_sequence INTEGER NOT NULL DEFAULT 1;
