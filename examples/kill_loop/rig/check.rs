//! Checks through the API, after a crash, that the server kept its promises.

use std::collections::HashMap;
use std::sync::PoisonError;

use anyhow::{Context as _, bail, ensure};

use super::Figures;
use super::client::{Client, Listed, attachment_id, descriptor, is_same};
use super::files::{Rng, is_whole_picture};
use super::load::Shared;
use super::log::{Entry, Log, State, Transfer};
use super::tus;

/// How many old uploads, deleted or not, are checked in depth after each crash.
const OLD_SAMPLE: u64 = 60;

/// One check of everything.
pub(crate) struct Check<'a> {
    client: &'a Client,
    contacts: usize,
    log: &'a mut Log,
    rng: &'a mut Rng,
    figures: &'a mut Figures,
    listed: HashMap<String, Listed>,
}

/// Checks the log against the server and retries what got no response. With `everything`, all old
/// uploads are checked too.
pub(crate) async fn check(
    shared: &Shared,
    rng: &mut Rng,
    figures: &mut Figures,
    everything: bool,
) -> anyhow::Result<()> {
    // No client runs, so this check owns the log until it puts it back.
    let taken = std::mem::take(&mut *shared.log.lock().unwrap_or_else(PoisonError::into_inner));
    let mut log = taken;
    let (client, contacts) = (&shared.client, shared.contacts);
    let listed = HashMap::new();
    let mut check = Check { client, contacts, log: &mut log, rng, figures, listed };
    check.run(everything).await?;
    *shared.log.lock().unwrap_or_else(PoisonError::into_inner) = log;
    Ok(())
}

impl Check<'_> {
    async fn run(&mut self, everything: bool) -> anyhow::Result<()> {
        self.list().await?;
        self.check_listed_are_known()?;
        let old = self.log.entries.len().max(1) as u64;
        for index in 0..self.log.entries.len() {
            let entry = &self.log.entries[index];
            let in_depth = entry.is_new || everything || self.rng.between(0, old) < OLD_SAMPLE;
            let is_gone = matches!(entry.state, State::Deleted | State::Abandoned);
            if !in_depth && is_gone && !self.listed.contains_key(&entry.file.name) {
                continue;
            }
            let entry = entry.clone();
            self.log.entries[index].is_new = false;
            self.check_entry(index, &entry, in_depth)
                .await
                .with_context(|| format!("upload {index}: {entry:?}"))?;
        }
        // After all retries, every upload is listed once and nothing else is.
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

    fn check_listed_are_known(&self) -> anyhow::Result<()> {
        for one in self.listed.values() {
            let index = self.log.index_by_name.get(&one.name);
            let index = *index.with_context(|| format!("not sent by any client: {one:?}"))?;
            let entry = &self.log.entries[index];
            ensure!(
                entry.contact == one.contact && entry.file.mime_type() == one.mime_type,
                "sent as {entry:?} but listed as {one:?}"
            );
        }
        Ok(())
    }

    async fn check_entry(
        &mut self,
        index: usize,
        entry: &Entry,
        in_depth: bool,
    ) -> anyhow::Result<()> {
        let listed = self.listed.remove(&entry.file.name);
        match (entry.state, listed) {
            (State::Kept, None) => {
                self.figures.losses += 1;
                bail!("LOST: an acknowledged upload is not listed");
            }
            (State::Kept, Some(one)) => {
                ensure!(one.media_id == entry.media_id, "its id has changed: {one:?}");
                if in_depth { self.check_stored(entry, &one).await } else { Ok(()) }
            }
            (State::Deleted, None) => {
                if in_depth {
                    self.check_gone(entry).await
                } else {
                    Ok(())
                }
            }
            (State::Abandoned, None) => Ok(()),
            (State::Deleted | State::Abandoned, Some(one)) => bail!("it came back: {one:?}"),
            (State::Sent, one) => self.retry_upload(index, entry, one).await,
            (State::Deleting, one) => self.retry_delete(index, entry, one).await,
        }
    }

    /// All its bytes are stored, and its preview is a complete picture.
    async fn check_stored(&mut self, entry: &Entry, one: &Listed) -> anyhow::Result<()> {
        let response = self.client.open(&one.link).await?;
        if !is_same(entry, &response) {
            self.figures.losses += 1;
            bail!("LOST: status {} and {} bytes at its link", response.status, response.body.len());
        }
        self.figures.hashed += 1;
        // Only a sample: in test builds a preview costs more than everything else.
        if let Some(preview) = one.preview.as_ref().filter(|_| self.rng.percent(20)) {
            let response = self.client.open(preview).await?;
            ensure!(
                response.status == 200 && is_whole_picture(&response.body),
                "status {} and {} bytes at its preview",
                response.status,
                response.body.len()
            );
        }
        Ok(())
    }

    /// Its id, link and upload URL all fail.
    async fn check_gone(&self, entry: &Entry) -> anyhow::Result<()> {
        let id = attachment_id(&entry.media_id)?;
        let found = self.client.get(entry.contact, &id).await?.status;
        ensure!(found == 404, "a deleted attachment returns {found}");
        let found = self.client.open(&entry.link).await?.status;
        ensure!(found == 404, "the link of a deleted attachment returns {found}");
        let found = self.client.upload(entry, vec![b'0']).await?.status;
        ensure!(found == 403, "the upload URL of a deleted attachment returns {found}");
        Ok(())
    }

    async fn retry_upload(
        &mut self,
        index: usize,
        entry: &Entry,
        one: Option<Listed>,
    ) -> anyhow::Result<()> {
        match &one {
            Some(one) => {
                self.figures.unanswered_stored += 1;
                self.check_stored(entry, one).await?;
            }
            None => self.figures.unanswered_absent += 1,
        }
        if one.is_none() && self.rng.percent(30) {
            // Some are terminated; others are abandoned, as clients do.
            if let Some(location) =
                entry.tus_progress.location.as_ref().filter(|_| self.rng.percent(70))
            {
                tus::terminate(self.client, location).await?;
            }
            self.log.set(index, State::Abandoned);
            return Ok(());
        }
        let bytes = entry.file.bytes()?;
        let response = if entry.transfer == Transfer::Tus {
            self.figures.resumed += u64::from(entry.tus_progress.location.is_some());
            tus::resume(self.client, entry, &bytes, self.rng).await?
        } else {
            self.client.upload(entry, bytes).await?
        };
        let (media_id, link) = descriptor(entry, &response)?;
        self.figures.retried += 1;
        self.log.uploads += 1;
        if let Some(one) = &one {
            ensure!(one.media_id == media_id, "sent again, its id became {media_id}: {one:?}");
        }
        let response = self.client.get(entry.contact, &attachment_id(&media_id)?).await?;
        let now = Listed::read(entry.contact, &response.ok()?["attachment"])?;
        self.check_stored(entry, &now).await?;
        ensure!(attachment_id(&media_id)? == now.id, "{media_id} became {now:?}");
        self.log.keep(index, media_id, link);
        Ok(())
    }

    async fn retry_delete(
        &mut self,
        index: usize,
        entry: &Entry,
        one: Option<Listed>,
    ) -> anyhow::Result<()> {
        let Some(one) = one else {
            self.log.set(index, State::Deleted);
            return self.check_gone(entry).await;
        };
        self.check_stored(entry, &one).await?;
        if self.rng.percent(50) {
            self.log.keep(index, entry.media_id.clone(), entry.link.clone());
            return Ok(());
        }
        self.client.delete(entry.contact, &one.id).await?.ok()?;
        self.log.deleted(index);
        self.check_gone(entry).await
    }
}
