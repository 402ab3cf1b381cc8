// The use of the site, and the state of the server.

/** @import { Operations as OperationsJson, Usage } from '../lib/types.js' */

import { html, useEffect } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { count, dateTime, size, span } from '../lib/format.js';
import { Failed, Loading, useLoaded } from '../lib/ui.js';
import { t } from '../lib/strings.js';

const DAY_MS = 86_400_000;

/**
 * A quota in files and bytes; null is unlimited.
 *
 * @param {number | null} files
 * @param {string | null} bytes
 */
const limit = (files, bytes) =>
  [files && t('files.count', { count: files }), bytes && size(Number(bytes))].filter(Boolean).join(', ') || t('operations.none');

/** @param {boolean | null} value */
const yesOrNo = (value) => t(value ? 'operations.yes' : 'operations.no');

/** @typedef {{ title: string, facts: [name: string, value: string][] } | { title: string, nothing: string }} Group */

/**
 * @param {Usage} usage
 * @param {OperationsJson} operations
 * @returns {Group[]}
 */
function groups({ site }, { server, queues, trash, scrub, backup, check }) {
  const { quotas } = site;
  return [
    { title: t('operations.usage'), facts: [
      [t('operations.files'), count(site.attachmentCount)],
      [t('operations.size'), size(Number(site.totalBytes))],
      [t('operations.siteLimit'), limit(quotas.maxFiles, quotas.maxBytes)],
      [t('operations.contactLimit'), limit(quotas.contactMaxFiles, quotas.contactMaxBytes)],
    ] },
    { title: t('operations.server'), facts: [
      [t('operations.state'), server.state],
      ...(server.problems.length > 0 ? [/** @type {[string, string]} */ ([t('operations.problems'), server.problems.join('; ')])] : []),
      [t('operations.version'), server.version],
      [t('operations.database'), server.database],
      [t('operations.storage'), server.storage],
    ] },
    { title: t('operations.queues'), facts: [
      [t('operations.uploads'), count(queues.uploadsUnderWay)],
      [t('operations.deliveries'), count(queues.webhooksToDeliver)],
      [t('operations.removals'), count(queues.filesToRemove)],
    ] },
    { title: t('operations.trash'), facts: [
      [t('operations.files'), count(trash.files)],
      [t('operations.kept'), span(trash.days * DAY_MS)],
    ] },
    { title: t('operations.scrub'), facts: [
      [t('operations.damaged'), count(scrub.damagedFiles)],
      [t('operations.roundBegan'), dateTime(scrub.roundBeganAt)],
      [t('operations.roundEnded'), dateTime(scrub.roundEndedAt)],
      [t('operations.filesRead'), count(scrub.filesReadInRound)],
    ] },
    backup.lastBackupOf === null ? { title: t('operations.backup'), nothing: t('operations.noBackup') }
      : { title: t('operations.backup'), facts: [
        [t('operations.lastBackup'), dateTime(backup.lastBackupOf)],
        [t('operations.files'), count(backup.files ?? 0)],
        [t('operations.size'), size(backup.bytes)],
      ] },
    check.lastEndedAt === null ? { title: t('operations.check'), nothing: t('operations.noCheck') }
      : { title: t('operations.check'), facts: [
        [t('operations.lastCheck'), dateTime(check.lastEndedAt)],
        [t('operations.findings'), count(check.findings ?? 0)],
        [t('operations.everyFileRead'), yesOrNo(check.everyFileRead)],
      ] },
  ];
}

export function Operations() {
  const { value, error, reload } = useLoaded(() => Promise.all([api.usage(), api.operations()]), []);
  useEffect(() => { document.title = `${t('nav.operations')} · ${t('app.name')}`; }, []);
  if (error) return html`<${Failed} error=${error} retry=${reload} />`;
  if (!value) return html`<${Loading} />`;
  return html`<div class="bar"><h1>${t('nav.operations')}</h1></div><div class="page" tabindex="0">
    ${groups(...value).map((group) => html`<h2>${group.title}</h2>${'nothing' in group
      ? html`<p class="no-facts soft">${group.nothing}</p>`
      : html`<dl class="facts">${group.facts.map(([name, text]) => html`<div key=${name}><dt>${name}</dt><dd>${text}</dd></div>`)}</dl>`}`)}
  </div>`;
}
