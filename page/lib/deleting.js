// Deletes files, and restores them where the server has a trash.

/** @import { Attachment } from './types.js' */

import * as api from './api.js';
import { plainName } from './format.js';
import { notify, reason } from './ui.js';
import { t } from './strings.js';

/** Most files of one request that deletes; the server accepts no more. */
const BATCH = 100;
/** Concurrent requests that restore. */
const RESTORES = 4;

/** @typedef {{ removed: (ids: string[]) => void, restored: () => void }} Callbacks called when files are gone or back */

/**
 * Deletes files and reports the outcome.
 *
 * @param {string} contactId
 * @param {Attachment[]} files
 * @param {Callbacks} callbacks
 */
export async function deleteFiles(contactId, files, callbacks) {
  const { deleted, missing, error } = await deleteInBatches(contactId, files);
  callbacks.removed([...deleted, ...missing].map(({ id }) => id));
  if (error) notify(t('delete.failed', { reason: reason(error) }));
  if (missing.length > 0) notify(t('delete.gone', subject(missing)));
  if (deleted.length === 0) return;
  const hasTrash = api.session().server.trashDays > 0;
  notify(t('delete.done', subject(deleted)), hasTrash
    ? { label: t('delete.undo'), run: () => restore(contactId, deleted, callbacks) } : undefined);
}

/**
 * Stops at the first failure: the other batches would most likely fail too. Their files stay.
 *
 * @param {string} contactId
 * @param {Attachment[]} files
 */
async function deleteInBatches(contactId, files) {
  /** @type {Attachment[]} */
  const deleted = [];
  /** @type {Attachment[]} */
  const missing = [];
  for (let from = 0; from < files.length; from += BATCH) {
    const batch = files.slice(from, from + BATCH);
    try {
      const { notFound } = await api.deleteFiles(contactId, batch.map(({ id }) => id));
      const isMissing = new Set(notFound);
      for (const file of batch) (isMissing.has(file.id) ? missing : deleted).push(file);
    } catch (error) {
      return { deleted, missing, error };
    }
  }
  return { deleted, missing, error: null };
}

/**
 * @param {string} contactId
 * @param {Attachment[]} files
 * @param {Callbacks} callbacks
 */
async function restore(contactId, files, callbacks) {
  const waiting = [...files];
  /** @type {unknown[]} */
  const errors = [];
  const worker = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) {
      await api.restoreFile(contactId, file.id).catch((error) => errors.push(error));
    }
  };
  await Promise.all(Array.from({ length: RESTORES }, worker));
  notify(errors.length > 0 ? reason(errors[0]) : t('delete.undone'));
  callbacks.restored();
}

/**
 * What a message says about deleted files.
 *
 * @param {Attachment[]} files
 */
export const subject = (files) => ({ count: files.length, name: files[0] ? plainName(files[0].fileName) : '' });
