//! Looks through the API, after a crash, whether the server kept its word.

use std::collections::HashMap;
use std::sync::PoisonError;

use anyhow::{Context as _, bail, ensure};

use super::Figures;
use super::client::{Client, Listed, attachment_id, descriptor, is_same};
use super::files::{Dice, is_whole_picture};
use super::load::Shared;
use super::log::{Entry, Log, State, Way};
use super::tus;

/// Old uploads, deleted or not, that are looked at after each crash.
const OLD_ONES: u64 = 60;

/// One look at everything.
pub(crate) struct Check<'a> {
    client: &'a Client,
    contacts: usize,
    log: &'a mut Log,
    dice: &'a mut Dice,
    figures: &'a mut Figures,
    listed: HashMap<String, Listed>,
}

/// Checks the log against the server, and sends again what was not answered. `everything`:
/// also all old ones.
pub(crate) async fn check(
    shared: &Shared,
    dice: &mut Dice,
    figures: &mut Figures,
    everything: bool,
) -> anyhow::Result<()> {
    // No client runs: the log is this check's alone until it is put back.
    let taken = std::mem::take(&mut *shared.log.lock().unwrap_or_else(PoisonError::into_inner));
    let mut log = taken;
    let (client, contacts) = (&shared.client, shared.contacts);
    let listed = HashMap::new();
    let mut check = Check { client, contacts, log: &mut log, dice, figures, listed };
    check.run(everything).await?;
    *shared.log.lock().unwrap_or_else(PoisonError::into_inner) = log;
    Ok(())
}

impl Check<'_> {
    async fn run(&mut self, everything: bool) -> anyhow::Result<()> {
        self.list().await?;
        self.nothing_unknown_is_listed()?;
        let old = self.log.entries.len().max(1) as u64;
        for place in 0..self.log.entries.len() {
            let entry = &self.log.entries[place];
            let look = entry.is_new || everything || self.dice.between(0, old) < OLD_ONES;
            let is_gone = matches!(entry.state, State::Deleted | State::GivenUp);
            if !look && is_gone && !self.listed.contains_key(&entry.file.name) {
                continue;
            }
            let entry = entry.clone();
            self.log.entries[place].is_new = false;
            self.one(place, &entry, look)
                .await
                .with_context(|| format!("upload {place}: {entry:?}"))?;
        }
        // After everything was sent again: each is there once, nothing else is.
        self.list().await?;
        ensure!(
            self.listed.len() == self.log.kept(),
            "{} attachments are listed, {} were acknowledged",
            self.listed.len(),
            self.log.kept()
        );
        Ok(())
    }

    async fn list(&mut self) -> anyhow::Result<()> {
        self.listed.clear();
        for contact in 0..self.contacts {
            for one in self.client.list(contact).await? {
                if let Some(twice) = self.listed.insert(one.name.clone(), one) {
                    bail!("listed twice: {twice:?}");
                }
            }
        }
        Ok(())
    }

    fn nothing_unknown_is_listed(&self) -> anyhow::Result<()> {
        for one in self.listed.values() {
            let place = self.log.places.get(&one.name);
            let place = *place.with_context(|| format!("sent by nobody: {one:?}"))?;
            let entry = &self.log.entries[place];
            ensure!(
                entry.contact == one.contact && entry.file.mime_type() == one.mime_type,
                "it was sent as {entry:?} and is listed as {one:?}"
            );
        }
        Ok(())
    }

    async fn one(&mut self, place: usize, entry: &Entry, look: bool) -> anyhow::Result<()> {
        let listed = self.listed.remove(&entry.file.name);
        match (entry.state, listed) {
            (State::Kept, None) => {
                self.figures.losses += 1;
                bail!("LOST: an acknowledged upload is not listed");
            }
            (State::Kept, Some(one)) => {
                ensure!(one.media_id == entry.media_id, "it has another id now: {one:?}");
                if look { self.is_whole(entry, &one).await } else { Ok(()) }
            }
            (State::Deleted, None) => {
                if look {
                    self.is_gone(entry).await
                } else {
                    Ok(())
                }
            }
            (State::GivenUp, None) => Ok(()),
            (State::Deleted | State::GivenUp, Some(one)) => bail!("it came back: {one:?}"),
            (State::Sent, one) => self.retry_upload(place, entry, one).await,
            (State::Deleting, one) => self.retry_delete(place, entry, one).await,
        }
    }

    /// All its bytes are there, and its preview is a whole picture.
    async fn is_whole(&mut self, entry: &Entry, one: &Listed) -> anyhow::Result<()> {
        let answer = self.client.open(&one.link).await?;
        if !is_same(entry, &answer) {
            self.figures.losses += 1;
            bail!("LOST: {} and {} bytes at its link", answer.status, answer.body.len());
        }
        self.figures.hashed += 1;
        // Not every one: in test builds a preview costs more than all the rest.
        if let Some(preview) = one.preview.as_ref().filter(|_| self.dice.percent(20)) {
            let answer = self.client.open(preview).await?;
            ensure!(
                answer.status == 200 && is_whole_picture(&answer.body),
                "{} and {} bytes at its preview",
                answer.status,
                answer.body.len()
            );
        }
        Ok(())
    }

    /// Neither its id nor its link nor its upload URL bring it back.
    async fn is_gone(&self, entry: &Entry) -> anyhow::Result<()> {
        let id = attachment_id(&entry.media_id)?;
        let found = self.client.get(entry.contact, &id).await?.status;
        ensure!(found == 404, "a deleted attachment is answered {found}");
        let found = self.client.open(&entry.link).await?.status;
        ensure!(found == 404, "the link of a deleted attachment is answered {found}");
        let found = self.client.upload(entry, vec![b'0']).await?.status;
        ensure!(found == 403, "the upload URL of a deleted attachment is answered {found}");
        Ok(())
    }

    async fn retry_upload(
        &mut self,
        place: usize,
        entry: &Entry,
        one: Option<Listed>,
    ) -> anyhow::Result<()> {
        match &one {
            Some(one) => {
                self.figures.unanswered_whole += 1;
                self.is_whole(entry, one).await?;
            }
            None => self.figures.unanswered_absent += 1,
        }
        if one.is_none() && self.dice.percent(30) {
            // Some are ended, others lie there as uploads do that nobody goes on with.
            if let Some(location) =
                entry.in_flight.location.as_ref().filter(|_| self.dice.percent(70))
            {
                tus::terminate(self.client, location).await?;
            }
            self.log.set(place, State::GivenUp);
            return Ok(());
        }
        let bytes = entry.file.bytes()?;
        let answer = if entry.way == Way::Tus {
            self.figures.resumed += u64::from(entry.in_flight.location.is_some());
            tus::resume(self.client, entry, &bytes, self.dice).await?
        } else {
            self.client.upload(entry, bytes).await?
        };
        let (media_id, link) = descriptor(entry, &answer)?;
        self.figures.retried += 1;
        self.log.uploads += 1;
        if let Some(one) = &one {
            ensure!(one.media_id == media_id, "sent again, it became {media_id}: {one:?}");
        }
        let answer = self.client.get(entry.contact, &attachment_id(&media_id)?).await?;
        let now = Listed::read(entry.contact, &answer.ok()?["attachment"])?;
        self.is_whole(entry, &now).await?;
        ensure!(attachment_id(&media_id)? == now.id, "{media_id} became {now:?}");
        self.log.keep(place, media_id, link);
        Ok(())
    }

    async fn retry_delete(
        &mut self,
        place: usize,
        entry: &Entry,
        one: Option<Listed>,
    ) -> anyhow::Result<()> {
        let Some(one) = one else {
            self.log.set(place, State::Deleted);
            return self.is_gone(entry).await;
        };
        self.is_whole(entry, &one).await?;
        if self.dice.percent(50) {
            self.log.keep(place, entry.media_id.clone(), entry.link.clone());
            return Ok(());
        }
        self.client.delete(entry.contact, &one.id).await?.ok()?;
        self.log.deleted(place);
        self.is_gone(entry).await
    }
}
