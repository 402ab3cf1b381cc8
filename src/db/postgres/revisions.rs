//! Point reads of contact revisions, which every list makes before it trusts a cached page. Lookups
//! that wait at the same time share one statement, so a busy node sends fewer statements without
//! added delay. A statement is sent after its lookups were queued, so each result includes
//! everything committed before its lookup.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;

use super::target::Target;
use super::{Link, QUEUE_LENGTH, queue_full};
use crate::db::sql::{self, Cell};
use crate::domain::ids::{ContactId, SiteId};
use crate::error::Result;

/// Maximum lookups in one statement.
const MAX_BATCH: usize = 256;

struct Lookup {
    site: SiteId,
    contact: ContactId,
    reply: oneshot::Sender<Result<i64>>,
}

/// The queue of the thread that serves lookups.
pub(super) struct Revisions(Sender<Lookup>);

impl Revisions {
    pub(super) fn start(target: &Arc<Target>) -> anyhow::Result<Self> {
        let (lookups, queued) = bounded(QUEUE_LENGTH);
        let link = Link::new(Arc::clone(target))?;
        std::thread::Builder::new()
            .name("db-revisions".to_owned())
            .spawn(move || serve(link, &queued))?;
        Ok(Self(lookups))
    }

    pub(super) async fn get(&self, site: SiteId, contact: ContactId) -> Result<i64> {
        let (reply, result) = oneshot::channel();
        self.0.try_send(Lookup { site, contact, reply }).map_err(|full| queue_full(&full))?;
        result.await.context("the database's reader thread has stopped")?
    }
}

fn serve(mut link: Link, queued: &Receiver<Lookup>) {
    while let Ok(first) = queued.recv() {
        let mut sites: HashMap<SiteId, Vec<Lookup>> = HashMap::new();
        for lookup in std::iter::once(first).chain(queued.try_iter().take(MAX_BATCH - 1)) {
            sites.entry(lookup.site).or_default().push(lookup);
        }
        for (site, lookups) in sites {
            let revisions = read(&mut link, site, &lookups);
            for lookup in lookups {
                let revision = match &revisions {
                    Ok(revisions) => Ok(revisions.get(&lookup.contact).copied().unwrap_or(0)),
                    Err(error) => Err(super::shared_error(error)),
                };
                // The receiver is gone if the caller was cancelled.
                let _ = lookup.reply.send(revision);
            }
        }
    }
}

/// One statement per site, so that a sharded database queries a single shard.
fn read(link: &mut Link, site: SiteId, lookups: &[Lookup]) -> sql::Result<HashMap<ContactId, i64>> {
    let contacts: Vec<uuid::Uuid> = lookups.iter().map(|lookup| lookup.contact.0).collect();
    let mut revisions = HashMap::with_capacity(contacts.len());
    let site = Cell::Bytes(site.as_bytes());
    link.each(
        "SELECT contact_id, revision FROM contacts WHERE site_id = $1 AND contact_id = ANY($2)",
        &[site, Cell::Ids(&contacts)],
        |row| {
            let row = sql::Row::Postgres(row);
            revisions.insert(row.get(0)?, row.get(1)?);
            Ok(true)
        },
    )?;
    Ok(revisions)
}
