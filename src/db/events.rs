//! Events: written in the transaction of the change that they describe, with one delivery for each
//! subscription that includes them (contract §11), and kept for a while for replays.

use crate::db::sql::{self, Connection, Row, params};
use uuid::Uuid;

use super::rows::AttachmentRow;
use super::{Db, deliveries};
use crate::db::engine::Done;
use crate::domain::ids::{AttachmentId, ContactId, EventId, SiteId, SubscriptionId};
use crate::domain::webhook::{Cause, Event, EventType};
use crate::error::Result;

/// An event with the attachment as it was then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The event.
    pub event: Event,
    /// The attachment, for a created event.
    pub entity: Option<Entity>,
}

/// An attachment in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// The name as the user gave it.
    pub file_name: String,
    /// Canonical MIME type.
    pub mime_type: String,
    /// Extension of the media id.
    pub media_extension: String,
    /// Width of the upright image in pixels, or 0.
    pub width: u32,
    /// Height of the upright image in pixels, or 0.
    pub height: u32,
    /// Whether a preview exists or can be made.
    pub has_preview: bool,
}

impl RecordedEvent {
    /// The attachment of a created event as a list row.
    pub fn row(&self) -> Option<AttachmentRow<'_>> {
        self.entity.as_ref().map(|entity| AttachmentRow {
            id: self.event.attachment_id,
            file_name: &entity.file_name,
            mime_type: &entity.mime_type,
            media_extension: &entity.media_extension,
            width: entity.width,
            height: entity.height,
            has_preview: entity.has_preview,
        })
    }
}

/// A change that has just happened.
pub(super) struct NewEvent<'a> {
    pub(super) event_type: EventType,
    pub(super) contact: ContactId,
    pub(super) attachment: AttachmentId,
    pub(super) sequence: i64,
    pub(super) occurred_at_ms: i64,
    /// The current time. `occurred_at_ms` may be later, because attachment times keep lists in
    /// order.
    pub(super) now_ms: i64,
    pub(super) cause: &'a Cause,
    pub(super) entity: Option<AttachmentRow<'a>>,
}

impl Db {
    /// Writes a test event, to be delivered to every subscription that includes it, or once to one
    /// subscription; returns the number of deliveries.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn send_test_event(
        &self,
        site: SiteId,
        only: Option<SubscriptionId>,
        test_event: RecordedEvent,
    ) -> Result<usize> {
        let outbox = self.outbox.clone();
        self.engine
            .write(site, move |connection| {
                let event = &test_event.event;
                let new_event = NewEvent {
                    event_type: event.event_type,
                    contact: event.contact_id,
                    attachment: event.attachment_id,
                    sequence: event.sequence,
                    occurred_at_ms: event.occurred_at_ms,
                    now_ms: event.occurred_at_ms,
                    cause: &event.cause,
                    entity: test_event.row(),
                };
                let enqueued = match only {
                    None => record(connection, site, event.id, &new_event),
                    Some(only) => deliveries::enqueue_once(
                        connection,
                        (site, only),
                        event.id,
                        new_event.now_ms,
                    )
                    .and_then(|enqueued| {
                        write(connection, site, event.id, &new_event).map(|()| enqueued)
                    }),
                };
                let enqueued = enqueued?;
                connection.notify(&outbox);
                Ok(Done { value: enqueued, changed: None })
            })
            .await
    }

    /// Deletes events that happened before a time with their deliveries and attempts, at most
    /// `limit`; returns how many.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn delete_old_events(&self, before_ms: i64, limit: u32) -> Result<usize> {
        self.engine
            .write_across(move |connection| {
                let deleted = delete_old(connection, before_ms, limit)?;
                Ok(Done { value: deleted, changed: None })
            })
            .await
    }

    /// Ids of events that happened at or after a time and that a subscription includes, after a
    /// cursor of time and id, at most `limit`.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn events_since(
        &self,
        (site, subscription): (SiteId, SubscriptionId),
        (since_ms, after): (i64, EventId),
        limit: u32,
    ) -> Result<Vec<(i64, EventId)>> {
        self.engine
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT e.occurred_at_ms, e.event_id FROM events e \
                         JOIN subscriptions s ON s.site_id = e.site_id \
                         WHERE e.site_id = $1 AND s.subscription_id = $2 \
                         AND (e.occurred_at_ms, e.event_id) > ($3, $4) \
                         AND (e.event_type & s.event_types) <> 0 \
                         ORDER BY e.occurred_at_ms, e.event_id LIMIT $5",
                    )?
                    .query_map(params![site, subscription, since_ms, after, limit], |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })
            })
            .await
    }
}

/// The columns of an event, in the order that [`recorded`] expects.
macro_rules! event_columns {
    () => {
        "event_id, event_type, contact_id, attachment_id, entity_sequence, occurred_at_ms, \
         originated_from, by_anonymize_request, restored_deleted_at_ms, file_name, mime_type, \
         media_extension, width, height, has_preview"
    };
}
pub(super) use event_columns;

/// Inside the write of the change: the event and one delivery for each subscription that includes
/// it. Without any subscription nothing is written, at the cost of one read of a small table.
pub(super) fn record(
    connection: &Connection,
    site: SiteId,
    id: EventId,
    new_event: &NewEvent<'_>,
) -> sql::Result<usize> {
    let enqueued =
        deliveries::enqueue(connection, (site, id), new_event.event_type, new_event.now_ms)?;
    if enqueued > 0 {
        write(connection, site, id, new_event)?;
    }
    Ok(enqueued)
}

fn write(
    connection: &Connection,
    site: SiteId,
    id: EventId,
    new_event: &NewEvent<'_>,
) -> sql::Result<()> {
    let (cause, entity) = (new_event.cause, new_event.entity.as_ref());
    connection
        .prepare_cached(concat!(
            "INSERT INTO events (",
            event_columns!(),
            ", site_id) VALUES \
             ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
        ))?
        .execute(params![
            id,
            new_event.event_type.bit(),
            new_event.contact,
            new_event.attachment,
            new_event.sequence,
            new_event.occurred_at_ms,
            cause.originated_from,
            cause.by_anonymize_request,
            cause.restored_deleted_at_ms,
            entity.map(|entity| entity.file_name),
            entity.map(|entity| entity.mime_type),
            entity.map(|entity| entity.media_extension),
            entity.map(|entity| entity.width),
            entity.map(|entity| entity.height),
            entity.map(|entity| entity.has_preview),
            site,
        ])?;
    Ok(())
}

/// A new id, greater than the previous ones.
pub(super) fn new_id() -> EventId {
    EventId(Uuid::now_v7())
}

fn delete_old(connection: &Connection, before_ms: i64, limit: u32) -> sql::Result<usize> {
    let old: Vec<(SiteId, EventId)> = connection
        .prepare_cached(
            "SELECT site_id, event_id FROM events WHERE occurred_at_ms < $1 \
             ORDER BY occurred_at_ms LIMIT $2",
        )?
        .query_map(params![before_ms, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (site, event) in &old {
        connection.lock_site(*site)?;
        for table in [
            "DELETE FROM delivery_attempts WHERE site_id = $1 AND event_id = $2",
            "DELETE FROM deliveries WHERE site_id = $1 AND event_id = $2",
            "DELETE FROM events WHERE site_id = $1 AND event_id = $2",
        ] {
            connection.prepare_cached(table)?.execute(params![site, event])?;
        }
    }
    Ok(old.len())
}

pub(super) fn recorded(row: Row<'_>) -> sql::Result<RecordedEvent> {
    let event_type = EventType::from_bit(row.get(1)?).ok_or(sql::Error::Unexpected(1))?;
    let entity = match row.get::<Option<String>>(9)? {
        None => None,
        Some(file_name) => Some(Entity {
            file_name,
            mime_type: row.get(10)?,
            media_extension: row.get(11)?,
            width: row.get(12)?,
            height: row.get(13)?,
            has_preview: row.get(14)?,
        }),
    };
    Ok(RecordedEvent {
        event: Event {
            id: row.get(0)?,
            event_type,
            contact_id: row.get(2)?,
            attachment_id: row.get(3)?,
            sequence: row.get(4)?,
            occurred_at_ms: row.get(5)?,
            cause: Cause {
                originated_from: row.get(6)?,
                by_anonymize_request: row.get(7)?,
                restored_deleted_at_ms: row.get(8)?,
            },
        },
        entity,
    })
}
