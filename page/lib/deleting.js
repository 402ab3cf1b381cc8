// Deleting files, and taking that back where there is a trash.

import * as api from './api.js';
import { plainName } from './format.js';
import { reason, say } from './ui.js';
import { t } from './strings.js';

/** Requests at the same time. */
const AT_ONCE = 4;

/**
 * Deletes files and says what came of it.
 *
 * @param {string} contactId
 * @param {any[]} files
 * @param {{ gone: (ids: string[]) => void, back: () => void }} tell what is told when files are gone or back
 */
export async function deleteFiles(contactId, files, tell) {
  const [deleted, missing, failed] = [[], [], []];
  await each(files, async (file) => {
    try {
      await api.deleteFile(contactId, file.id);
      deleted.push(file);
    } catch (error) {
      if (error.status === 404) missing.push(file);
      else failed.push(error);
    }
  });
  tell.gone([...deleted, ...missing].map(({ id }) => id));
  if (failed.length > 0) say(t('delete.failed', { reason: reason(failed[0]) }));
  if (missing.length > 0) say(told('delete.gone', missing));
  if (deleted.length === 0) return;
  const hasTrash = api.session().server.trashDays > 0;
  say(told('delete.done', deleted), hasTrash
    ? { label: t('delete.undo'), run: () => restore(contactId, deleted, tell) } : undefined);
}

async function restore(contactId, files, tell) {
  const failed = [];
  await each(files, (file) => api.restoreFile(contactId, file.id).catch((error) => failed.push(error)));
  say(failed.length > 0 ? reason(failed[0]) : t('delete.undone'));
  tell.back();
}

const told = (key, files) => t(key, { count: files.length, name: plainName(files[0].fileName) });

async function each(files, work) {
  const left = [...files];
  const worker = async () => {
    while (left.length > 0) await work(left.shift());
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
