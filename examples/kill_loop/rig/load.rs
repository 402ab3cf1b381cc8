//! Clients that upload, delete, read and list until the server is killed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};

use super::client::{Client, Listed, attachment_id, descriptor, is_same};
use super::files::{File, Rng, is_whole_picture, sha256};
use super::log::{Entry, Log, State, Transfer};
use super::tus::{self, TusProgress};

/// At most this many attachments are kept, so that a long run needs no large disk.
const MAX_KEPT: usize = 800;

/// What all clients share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) log: Arc<Mutex<Log>>,
    /// Set before the server is killed: from then on requests may fail.
    pub(crate) killed: Arc<AtomicBool>,
    pub(crate) contacts: usize,
}

pub(crate) fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Works until the server is killed. An error is a violation.
pub(crate) async fn work(shared: Shared, mut rng: Rng) -> anyhow::Result<()> {
    loop {
        let done = match rng.between(0, 100) {
            _ if lock(&shared.log).kept() > MAX_KEPT => delete(&shared, &mut rng).await,
            0..55 => upload(&shared, &mut rng).await,
            55..75 => delete(&shared, &mut rng).await,
            75..90 => read(&shared, &mut rng).await,
            _ => list(&shared, &mut rng).await,
        };
        let was_killed = shared.killed.load(Ordering::SeqCst);
        match done {
            Err(error) if error.is::<reqwest::Error>() && was_killed => return Ok(()),
            Err(error) => return Err(error),
            Ok(()) if was_killed => return Ok(()),
            Ok(()) => {}
        }
    }
}

async fn upload(shared: &Shared, rng: &mut Rng) -> anyhow::Result<()> {
    let number = lock(&shared.log).new_name();
    let file = File::random(number, rng);
    let contact = rng.between(0, shared.contacts as u64) as usize;
    let bytes = file.bytes()?;
    let entry = Entry {
        contact,
        upload_path: shared.client.upload_path(contact, &file).await?,
        sha256: sha256(&bytes),
        transfer: match rng.between(0, 10) {
            0..4 => Transfer::Put,
            4..7 => Transfer::Form,
            _ => Transfer::Tus,
        },
        tus_progress: TusProgress::default(),
        file,
        state: State::Sent,
        media_id: String::new(),
        link: String::new(),
        is_new: true,
    };
    let index = lock(&shared.log).sent(entry.clone());
    let response = match entry.transfer {
        Transfer::Tus => tus::upload(shared, index, &entry, &bytes, rng).await?,
        Transfer::Put | Transfer::Form => shared.client.upload(&entry, bytes).await?,
    };
    // Too busy: retried after the restart, like a lost response.
    if response.status == 503 || entry.transfer == Transfer::Tus && response.status == 409 {
        return Ok(());
    }
    let (media_id, link) = descriptor(&entry, &response)?;
    let mut log = lock(&shared.log);
    log.uploads += 1;
    log.keep(index, media_id, link);
    Ok(())
}

async fn delete(shared: &Shared, rng: &mut Rng) -> anyhow::Result<()> {
    let taken = lock(&shared.log).claim_kept(rng);
    let Some((index, entry)) = taken else { return Ok(()) };
    let id = attachment_id(&entry.media_id)?;
    let response = shared.client.delete(entry.contact, &id).await?;
    if response.status == 503 {
        return Ok(());
    }
    response.ok().with_context(|| format!("delete of {entry:?}"))?;
    lock(&shared.log).deleted(index);
    let response = shared.client.open(&entry.link).await?;
    if response.status != 404 {
        bail!("the link of a deleted attachment returned {}: {entry:?}", response.status);
    }
    Ok(())
}

/// Reads an attachment, its bytes and its preview, which must all exist while it is kept.
async fn read(shared: &Shared, rng: &mut Rng) -> anyhow::Result<()> {
    let found = lock(&shared.log).random_kept(rng);
    let Some((index, entry)) = found else { return Ok(()) };
    let is_kept = || lock(&shared.log).entries[index].state == State::Kept;
    let response = shared.client.get(entry.contact, &attachment_id(&entry.media_id)?).await?;
    if response.status != 200 && !is_kept() {
        return Ok(());
    }
    let listed = Listed::read(entry.contact, &response.ok()?["attachment"])
        .with_context(|| format!("get of {entry:?}"))?;
    let response = shared.client.open(&listed.link).await?;
    if !is_same(&entry, &response) && is_kept() {
        bail!("status {} and wrong bytes while the server runs: {entry:?}", response.status);
    }
    if let Some(preview) = listed.preview.filter(|_| rng.percent(30)) {
        let response = shared.client.open(&preview).await?;
        if (response.status != 200 || !is_whole_picture(&response.body)) && is_kept() {
            bail!("status {} and no preview while the server runs: {entry:?}", response.status);
        }
    }
    Ok(())
}

async fn list(shared: &Shared, rng: &mut Rng) -> anyhow::Result<()> {
    let contact = rng.between(0, shared.contacts as u64) as usize;
    let (limit, offset) = (rng.between(1, 101) as usize, rng.between(0, 120) as usize);
    let (page, total) = shared.client.page(contact, limit, offset).await?;
    if page.len() != total.saturating_sub(offset).min(limit) {
        bail!("a page of {limit} from {offset} of {total} has {} items", page.len());
    }
    Ok(())
}
