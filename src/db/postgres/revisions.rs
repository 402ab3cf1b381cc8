//! Point reads of contacts' revisions, which every list makes before it trusts a finished page. Those
//! that wait at the same time are asked in one statement, so that a busy node asks less often, not
//! later: each question is sent after it was put, so the answer holds whatever was committed before.

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

/// Questions that one statement asks at most.
const AT_ONCE: usize = 256;

struct Question {
    site: SiteId,
    contact: ContactId,
    answer: oneshot::Sender<Result<i64>>,
}

/// Whoever answers them.
pub(super) struct Revisions(Sender<Question>);

impl Revisions {
    pub(super) fn start(target: &Arc<Target>) -> anyhow::Result<Self> {
        let (ask, asked) = bounded(QUEUE_LENGTH);
        let link = Link::new(Arc::clone(target))?;
        std::thread::Builder::new()
            .name("db-revisions".to_owned())
            .spawn(move || answer_all(link, &asked))?;
        Ok(Self(ask))
    }

    pub(super) async fn of(&self, site: SiteId, contact: ContactId) -> Result<i64> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Question { site, contact, answer }).map_err(|full| queue_full(&full))?;
        answered.await.context("the database's reader has gone")?
    }
}

fn answer_all(mut link: Link, asked: &Receiver<Question>) {
    while let Ok(first) = asked.recv() {
        let mut sites: HashMap<SiteId, Vec<Question>> = HashMap::new();
        for question in std::iter::once(first).chain(asked.try_iter().take(AT_ONCE - 1)) {
            sites.entry(question.site).or_default().push(question);
        }
        for (site, questions) in sites {
            let known = look(&mut link, site, &questions);
            for question in questions {
                let revision = match &known {
                    Ok(known) => Ok(known.get(&question.contact).copied().unwrap_or(0)),
                    Err(error) => Err(super::away(error)),
                };
                // The caller may have gone; then nobody needs the answer.
                let _ = question.answer.send(revision);
            }
        }
    }
}

/// One statement for the contacts of one site: a database that is divided by site asks one part.
fn look(
    link: &mut Link,
    site: SiteId,
    questions: &[Question],
) -> sql::Result<HashMap<ContactId, i64>> {
    let contacts: Vec<uuid::Uuid> = questions.iter().map(|one| one.contact.0).collect();
    let mut known = HashMap::with_capacity(contacts.len());
    let site = Cell::Bytes(site.as_bytes());
    link.each(
        "SELECT contact_id, revision FROM contacts WHERE site_id = $1 AND contact_id = ANY($2)",
        &[site, Cell::Ids(&contacts)],
        |row| {
            let row = sql::Row::Postgres(row);
            known.insert(row.get(0)?, row.get(1)?);
            Ok(true)
        },
    )?;
    Ok(known)
}
