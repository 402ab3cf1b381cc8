//! The rows: sites, keys, contacts, attachments. The only module that speaks SQL; it knows
//! nothing of HTTP and nothing of bytes.
//!
//! Each statement is written once, in the subset that SQLite and PostgreSQL share, beside the
//! function that uses it. The executor in `sqlite` runs them on its own threads.

mod attachments;
mod backups;
mod changes;
mod contacts;
mod deliveries;
mod delivering;
mod events;
mod inbound;
mod inspect;
mod leases;
mod pages;
mod removals;
mod rows;
mod scrub;
mod sites;
mod sqlite;
mod subscriptions;
mod uploads;

pub use attachments::Commit;
pub use backups::{Tombstone, copy_rows};
pub use changes::Change;
pub use contacts::{
    Announced, Closing, Contact, ContactState, ErasedFile, Erasure, Grave, Removal, Restored,
    Trashed, UnknownToo,
};
pub use deliveries::{Attempt, Delivery, DeliveryState};
pub use delivering::{Claimed, Room, Settled, SubscriptionKey};
pub use events::{Entity, RecordedEvent};
pub use inbound::{Heard, InboundKey};
pub use inspect::{BlobRow, Drift, Inspection, UploadRow};
pub use leases::Lease;
pub use pages::{ListedPage, PageTotals, Rows};
pub use rows::AttachmentRow;
pub use scrub::DamagedBlob;
pub use sites::{ApiKey, NewApiKey, Site};
pub use subscriptions::{Subscription, SubscriptionChange};
pub use uploads::{Begun, Standing, UploadInFlight};

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

use crate::error::Result;
use changes::Changes;

/// Version of the schema that this program writes.
pub const SCHEMA_VERSION: i64 = 5;

/// The open database.
pub struct Db {
    sqlite: sqlite::Sqlite,
    changes: Arc<Changes>,
    anchors: pages::Anchors,
    /// Told while an event is being written: whoever then writes sees it committed.
    outbox: Arc<Notify>,
    /// The commits of other processes that were noticed, as SQLite counts them.
    others: Arc<AtomicI64>,
}

impl Db {
    /// Opens the database file, making and migrating it as needed.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or written, or was written by a newer release.
    pub fn open(file: &Path, reading_threads: usize) -> anyhow::Result<Self> {
        let changes = Arc::new(Changes::default());
        let sqlite = sqlite::Sqlite::open(file, reading_threads, Arc::clone(&changes))?;
        Ok(Self {
            sqlite,
            changes,
            anchors: pages::Anchors::new(),
            outbox: Arc::default(),
            others: Arc::default(),
        })
    }

    /// Why nothing is written any more, if so: see [`crate::blobs::Blobs::failure`].
    pub fn failure(&self) -> Option<&str> {
        self.sqlite.failure()
    }

    /// Notices what other processes have written: from now on no page of before is shown.
    ///
    /// # Errors
    ///
    /// Only when the database fails.
    pub async fn notice_others(&self) -> Result<()> {
        let others = Arc::clone(&self.others);
        let noticed = self.sqlite.write_noting(
            move |connection| {
                let version = connection.query_row("PRAGMA data_version", [], |row| row.get(0));
                let version = version.map_err(sqlite::from_sqlite)?;
                let value = others.swap(version, Ordering::AcqRel) != version;
                Ok(sqlite::Done { value, changed: None })
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
        self.sqlite.read(|connection| connection.query_row("SELECT 1", [], |_| Ok(()))).await
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
            include_str!("contacts/trash.rs"),
            include_str!("deliveries.rs"),
            include_str!("delivering.rs"),
            include_str!("events.rs"),
            include_str!("inbound.rs"),
            include_str!("leases.rs"),
            include_str!("pages.rs"),
            include_str!("removals.rs"),
            include_str!("scrub.rs"),
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
