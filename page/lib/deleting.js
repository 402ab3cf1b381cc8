// Deleting files, and taking that back where there is a trash.

import * as api from './api.js';
import { plainName } from './format.js';
import { reason, say } from './ui.js';
import { t } from './strings.js';

/** Files that one request deletes: the most that the server takes. */
const IN_ONE_REQUEST = 100;
/** Requests at the same time that restore. */
const AT_ONCE = 4;

/**
 * Deletes files and says what came of it.
 *
 * @param {string} contactId
 * @param {any[]} files
 * @param {{ gone: (ids: string[]) => void, back: () => void }} tell what is told when files are gone or back
 */
export async function deleteFiles(contactId, files, tell) {
  const { deleted, missing, error } = await deleteInTurn(contactId, files);
  tell.gone([...deleted, ...missing].map(({ id }) => id));
  if (error) say(t('delete.failed', { reason: reason(error) }));
  if (missing.length > 0) say(told('delete.gone', missing));
  if (deleted.length === 0) return;
  const hasTrash = api.session().server.trashDays > 0;
  say(told('delete.done', deleted), hasTrash
    ? { label: t('delete.undo'), run: () => restore(contactId, deleted, tell) } : undefined);
}

/** Some hundreds after another. What fails ends it: the rest would most likely fail as well, and stays. */
async function deleteInTurn(contactId, files) {
  const [deleted, missing] = [[], []];
  for (let from = 0; from < files.length; from += IN_ONE_REQUEST) {
    const some = files.slice(from, from + IN_ONE_REQUEST);
    try {
      const answer = await api.deleteFiles(contactId, some.map(({ id }) => id));
      const isMissing = new Set(answer.notFound);
      for (const file of some) (isMissing.has(file.id) ? missing : deleted).push(file);
    } catch (error) {
      return { deleted, missing, error };
    }
  }
  return { deleted, missing, error: null };
}

async function restore(contactId, files, tell) {
  const [left, failed] = [[...files], []];
  const worker = async () => {
    while (left.length > 0) await api.restoreFile(contactId, left.shift().id).catch((error) => failed.push(error));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  say(failed.length > 0 ? reason(failed[0]) : t('delete.undone'));
  tell.back();
}

const told = (key, files) => t(key, { count: files.length, name: plainName(files[0].fileName) });
