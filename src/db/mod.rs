//! The rows: sites, keys, contacts, attachments. The only module that speaks SQL; it knows
//! nothing of HTTP and nothing of bytes.
//!
//! Each statement is written once, in the subset that SQLite and PostgreSQL share, beside the
//! function that uses it. `engine` runs them on the threads of `sqlite` or of `postgres`.

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
    Announced, Closing, Contact, ContactOrder, ContactSearch, ContactState, ErasedFile, Erasure,
    Grave, Removal, Restored, Trashed, UnknownToo,
};
pub use copy::{CopiedTable, copy};
pub use deliveries::{Attempt, Delivery, DeliveryState};
pub use delivering::{Claimed, Room, Settled, SubscriptionKey};
pub use events::{Entity, RecordedEvent};
pub use files::{FileChange, FileOrder, FilePage, FileSearch, NotedFile};
pub use inbound::{Heard, InboundKey};
pub use inspect::{BlobRow, Drift, Inspection, UploadRow};
pub use leases::Lease;
pub use looks::{Kept, LastBackup, LastCheck, keep};
pub use migrate::migrate;
pub use operations::{MOST_COUNTED, Operations};
pub use pages::{ListedPage, PageTotals, Rows};
pub use place::{Place, PostgresPlace};
pub use rows::AttachmentRow;
pub use scrub::DamagedBlob;
pub use sessions::{NewSession, Session};
pub use sites::{ApiKey, NewApiKey, Site};
pub use subscriptions::{Subscription, SubscriptionChange};
pub use uploads::{Begun, Standing, UploadInFlight};

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
    /// Told while an event is being written: whoever then writes sees it committed.
    outbox: Arc<Notify>,
    /// The commits of other processes that were noticed, as SQLite counts them.
    others: Arc<AtomicI64>,
}

impl Db {
    /// Opens the database, making and migrating it as needed.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or written, or was written by a newer release.
    pub fn open(place: &Place, reading_threads: usize) -> anyhow::Result<Self> {
        let engine = match place {
            Place::File(file) => {
                Engine::Sqlite(Sqlite::open(file, reading_threads, Arc::default())?)
            }
            Place::Postgres(place) => Engine::Postgres(Postgres::open(place)?),
        };
        let (outbox, others) = (Arc::default(), Arc::default());
        Ok(Self { engine, anchors: pages::Anchors::new(), outbox, others })
    }

    /// Whether other processes on other machines may work on the same rows.
    pub fn is_shared(&self) -> bool {
        matches!(self.engine, Engine::Postgres(_))
    }

    /// Why nothing is written any more, if so: see [`crate::blobs::Blobs::failure`].
    pub fn failure(&self) -> Option<&str> {
        self.engine.failure()
    }

    /// Notices what other processes have written into a SQLite file: from now on no page of before is
    /// shown. On PostgreSQL nothing is shown without having asked; there a schema that has become too new
    /// is noticed, after which nothing is written.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn notice_others(&self) -> Result<()> {
        if let Engine::Postgres(postgres) = &self.engine {
            return postgres.notice_schema().await;
        }
        let others = Arc::clone(&self.others);
        let noticed = self.engine.write_noting(
            None,
            move |connection| {
                let version = connection
                    .prepare_cached("PRAGMA data_version")?
                    .query_row(&[], |row| row.get(0))?;
                let value = others.swap(version, Ordering::AcqRel) != version;
                Ok(Done { value, changed: None })
            },
            |others_wrote, changes| {
                if *others_wrote {
                    changes.note_all();
                }
            },
        );
        noticed.await.map(drop)
    }

    /// Whether the database answers.
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
    /// `SQLite` takes `$2` for a name and numbers names as it meets them, while `PostgreSQL`
    /// reads the number: only parameters that first appear in order mean the same to both.
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
