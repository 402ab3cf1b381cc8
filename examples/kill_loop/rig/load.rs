//! Clients that upload, delete, read and list until the server is killed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};

use super::client::{Client, Listed, attachment_id, descriptor, is_same};
use super::files::{Dice, File, is_whole_picture, sha256};
use super::log::{Entry, Log, State, Way};
use super::tus::{self, InFlight};

/// Attachments that are kept at most, so that a long run needs no large disk.
const MOST_KEPT: usize = 800;

/// What all clients share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) log: Arc<Mutex<Log>>,
    /// Set before the server is killed: from then on it may fail to answer.
    pub(crate) killed: Arc<AtomicBool>,
    pub(crate) contacts: usize,
}

pub(crate) fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Works until the server is killed. An error is something that must not happen.
pub(crate) async fn work(shared: Shared, mut dice: Dice) -> anyhow::Result<()> {
    loop {
        let done = match dice.between(0, 100) {
            _ if lock(&shared.log).kept() > MOST_KEPT => delete(&shared, &mut dice).await,
            0..55 => upload(&shared, &mut dice).await,
            55..75 => delete(&shared, &mut dice).await,
            75..90 => read(&shared, &mut dice).await,
            _ => list(&shared, &mut dice).await,
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

async fn upload(shared: &Shared, dice: &mut Dice) -> anyhow::Result<()> {
    let number = lock(&shared.log).new_name();
    let file = File::roll(number, dice);
    let contact = dice.between(0, shared.contacts as u64) as usize;
    let bytes = file.bytes()?;
    let entry = Entry {
        contact,
        upload_path: shared.client.upload_path(contact, &file).await?,
        sha256: sha256(&bytes),
        way: match dice.between(0, 10) {
            0..4 => Way::Put,
            4..7 => Way::Form,
            _ => Way::Tus,
        },
        in_flight: InFlight::default(),
        file,
        state: State::Sent,
        media_id: String::new(),
        link: String::new(),
        is_new: true,
    };
    let place = lock(&shared.log).sent(entry.clone());
    let answer = match entry.way {
        Way::Tus => tus::upload(shared, place, &entry, &bytes, dice).await?,
        Way::Put | Way::Form => shared.client.upload(&entry, bytes).await?,
    };
    // Too busy: tried again after the restart, like a lost answer.
    if answer.status == 503 || entry.way == Way::Tus && answer.status == 409 {
        return Ok(());
    }
    let (media_id, link) = descriptor(&entry, &answer)?;
    let mut log = lock(&shared.log);
    log.uploads += 1;
    log.keep(place, media_id, link);
    Ok(())
}

async fn delete(shared: &Shared, dice: &mut Dice) -> anyhow::Result<()> {
    let taken = lock(&shared.log).take_kept(dice);
    let Some((place, entry)) = taken else { return Ok(()) };
    let id = attachment_id(&entry.media_id)?;
    let answer = shared.client.delete(entry.contact, &id).await?;
    if answer.status == 503 {
        return Ok(());
    }
    answer.ok().with_context(|| format!("delete of {entry:?}"))?;
    lock(&shared.log).deleted(place);
    let answer = shared.client.open(&entry.link).await?;
    if answer.status != 404 {
        bail!("the link of a deleted attachment was answered {}: {entry:?}", answer.status);
    }
    Ok(())
}

/// Reads an attachment, its bytes and its preview; all must be there while it is kept.
async fn read(shared: &Shared, dice: &mut Dice) -> anyhow::Result<()> {
    let found = lock(&shared.log).any_kept(dice);
    let Some((place, entry)) = found else { return Ok(()) };
    let is_kept = || lock(&shared.log).entries[place].state == State::Kept;
    let answer = shared.client.get(entry.contact, &attachment_id(&entry.media_id)?).await?;
    if answer.status != 200 && !is_kept() {
        return Ok(());
    }
    let listed = Listed::read(entry.contact, &answer.ok()?["attachment"])
        .with_context(|| format!("get of {entry:?}"))?;
    let answer = shared.client.open(&listed.link).await?;
    if !is_same(&entry, &answer) && is_kept() {
        bail!("{} and wrong bytes while it runs: {entry:?}", answer.status);
    }
    if let Some(preview) = listed.preview.filter(|_| dice.percent(30)) {
        let answer = shared.client.open(&preview).await?;
        if (answer.status != 200 || !is_whole_picture(&answer.body)) && is_kept() {
            bail!("{} and no preview while it runs: {entry:?}", answer.status);
        }
    }
    Ok(())
}

async fn list(shared: &Shared, dice: &mut Dice) -> anyhow::Result<()> {
    let contact = dice.between(0, shared.contacts as u64) as usize;
    let (limit, offset) = (dice.between(1, 101) as usize, dice.between(0, 120) as usize);
    let (page, total) = shared.client.page(contact, limit, offset).await?;
    if page.len() != total.saturating_sub(offset).min(limit) {
        bail!("a page of {limit} from {offset} of {total} has {} items", page.len());
    }
    Ok(())
}
