//! The database: sites, keys, contacts, attachments. The only module that contains SQL; it knows
//! nothing of HTTP and nothing of blob storage.
//!
//! Each statement is written once, in the subset that SQLite and PostgreSQL share, next to the
//! function that uses it. `engine` runs it on the threads of `sqlite` or of `postgres`.

mod attachments;
mod backups;
mod changes;
mod checkup;
mod contacts;
mod copy;
mod deliveries;
mod delivering;
mod engine;
mod events;
mod files;
mod folds;
mod inbound;
mod inspect;
mod key_fingerprints;
mod leases;
mod looks;
mod migrate;
mod operations;
mod pages;
mod place;
mod postgres;
mod removals;
mod rows;
mod scrub;
mod sessions;
mod sites;
mod sql;
mod sqlite;
mod subscriptions;
mod uploads;

pub use attachments::Commit;
pub use backups::{Tombstone, copy_rows};
pub use changes::Change;
pub use checkup::{Finding, check_server};
pub use contacts::{
    Announced, Closing, Contact, ContactOrder, ContactSearch, ContactState, ContactTombstone,
    CreateUnknown, ErasedFile, Erasure, Removal, Restored, Trashed,
};
pub use copy::{CopiedTable, copy};
pub use deliveries::{Attempt, Delivery, DeliveryState};
pub use delivering::{ClaimedDelivery, LeaseCapacity, SettledAttempt, SubscriptionKey};
pub use events::{Entity, RecordedEvent};
pub use files::{AnnotatedFile, FileChange, FileOrder, FilePage, FileSearch};
pub use inbound::{InboundKey, InboundOutcome};
pub use inspect::{BlobRow, Drift, Inspection, UploadRow};
pub use leases::Lease;
pub use looks::{LastBackup, LastCheck, LastRun, record_last_run};
pub use migrate::migrate;
pub use operations::{COUNT_LIMIT, Operations};
pub use pages::{ListedPage, PageTotals, Rows};
pub use place::{DatabaseLocation, PostgresLocation};
pub use rows::AttachmentRow;
pub use scrub::DamagedBlob;
pub use sessions::{NewSession, Session};
pub use sites::{ApiKey, NewApiKey, Site};
pub use subscriptions::{Subscription, SubscriptionChange};
pub use uploads::{BlobOwner, ResumableUpload, UploadStart};

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

use crate::error::Result;
use engine::{Done, Engine};
use postgres::Postgres;
use sqlite::Sqlite;

/// Version of the schema that this program writes.
pub const SCHEMA_VERSION: i64 = 8;

/// The open database.
pub struct Db {
    engine: Engine,
    anchors: pages::Anchors,
    /// Notified inside the write of an event: a write queued after it sees the event committed.
    outbox: Arc<Notify>,
    /// SQLite's `data_version` when commits of other processes were last checked.
    data_version: Arc<AtomicI64>,
}

impl Db {
    /// Opens the database; creates and migrates it as needed.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or written, or has a newer release's schema.
    pub fn open(location: &DatabaseLocation, reading_threads: usize) -> anyhow::Result<Self> {
        let engine = match location {
            DatabaseLocation::File(file) => {
                Engine::Sqlite(Sqlite::open(file, reading_threads, Arc::default())?)
            }
            DatabaseLocation::Postgres(location) => Engine::Postgres(Postgres::open(location)?),
        };
        let (outbox, data_version) = (Arc::default(), Arc::default());
        Ok(Self { engine, anchors: pages::Anchors::new(), outbox, data_version })
    }

    /// Whether processes on other machines may share this database.
    pub fn is_shared(&self) -> bool {
        matches!(self.engine, Engine::Postgres(_))
    }

    /// Why writes are disabled, if they are: see [`crate::blobs::Blobs::failure`].
    pub fn failure(&self) -> Option<&str> {
        self.engine.failure()
    }

    /// Detects what other processes have committed. On SQLite, pages cached before are then no
    /// longer used. PostgreSQL's caches are validated on every read; there this only checks whether
    /// the schema has become too new, which disables writes.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn detect_external_changes(&self) -> Result<()> {
        if let Engine::Postgres(postgres) = &self.engine {
            return postgres.check_schema().await;
        }
        let data_version = Arc::clone(&self.data_version);
        let detected = self.engine.write_with_changes(
            None,
            move |connection| {
                let version = connection
                    .prepare_cached("PRAGMA data_version")?
                    .query_row(&[], |row| row.get(0))?;
                let value = data_version.swap(version, Ordering::AcqRel) != version;
                Ok(Done { value, changed: None })
            },
            |is_changed, changes| {
                if *is_changed {
                    changes.bump_all();
                }
            },
        );
        detected.await.map(drop)
    }

    /// Whether the database responds.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub async fn ping(&self) -> Result<()> {
        self.engine
            .read(|connection| connection.prepare_cached("SELECT 1")?.query_row(&[], |_| Ok(())))
            .await
    }
}

#[cfg(test)]
mod tests {
    /// `SQLite` treats `$2` as a name and numbers names in order of first use, while `PostgreSQL`
    /// reads the number: parameters mean the same to both only if they first appear in order.
    #[test]
    fn parameters_first_appear_in_the_order_of_their_numbers() {
        let sources = [
            include_str!("attachments.rs"),
            include_str!("backups.rs"),
            include_str!("contacts/closing.rs"),
            include_str!("contacts/erasures.rs"),
            include_str!("contacts/graves.rs"),
            include_str!("contacts/merge.rs"),
            include_str!("contacts/mod.rs"),
            include_str!("contacts/search.rs"),
            include_str!("contacts/trash.rs"),
            include_str!("deliveries.rs"),
            include_str!("delivering.rs"),
            include_str!("events.rs"),
            include_str!("files.rs"),
            include_str!("folds.rs"),
            include_str!("inbound.rs"),
            include_str!("leases.rs"),
            include_str!("looks.rs"),
            include_str!("pages.rs"),
            include_str!("removals.rs"),
            include_str!("scrub.rs"),
            include_str!("sessions.rs"),
            include_str!("sites.rs"),
            include_str!("subscriptions.rs"),
            include_str!("uploads.rs"),
        ];
        for source in sources {
            for statement in source.split("prepare_cached(").skip(1) {
                let statement = statement.split("params!").next().unwrap();
                let mut highest = 0;
                for rest in statement.split('$').skip(1) {
                    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                    let number: u32 = digits.parse().unwrap();
                    assert!(
                        number <= highest + 1,
                        "${number} before ${}: {statement}",
                        highest + 1
                    );
                    highest = highest.max(number);
                }
            }
        }
    }
}
