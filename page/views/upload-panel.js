// What is being uploaded, wherever one is in the page.

import { html, useEffect, useReducer, useRef, useState } from '../vendor/preact.js';
import { session } from '../lib/api.js';
import { plainName, size, span } from '../lib/format.js';
import { icon } from '../lib/icons.js';
import { Button, ShortName, reason } from '../lib/ui.js';
import { t } from '../lib/strings.js';
import { kindOf } from '../lib/types.js';
import { uploads } from '../lib/uploads.js';

/** Rows in the page at most; the others follow as these are done. */
const SHOWN = 30;

/** How long reports are gathered before they are shown, in milliseconds. */
const REDRAW = 200;

/** Refusals that say something of the file itself: they stay true however often it is sent. */
const OF_THE_FILE = ['UNSUPPORTED_MIME_TYPE', 'EXTENSION_MISMATCH', 'MIME_TYPE_MISMATCH', 'EMPTY_FILE', 'FILE_TOO_LARGE'];
const codeOf = (error) => error?.violations?.[0]?.ruleName ?? error?.code;

/** Why a file was refused, in words. */
export function refusal({ error, problem, type }) {
  if (problem) return t(`refused.${problem}`, { limit: size(session()?.server.uploadMaxBytes) });
  const [violation] = error?.violations ?? [];
  const code = codeOf(error);
  if (code === 'UNSUPPORTED_MIME_TYPE') return t('refused.type', { type });
  if (code === 'EXTENSION_MISMATCH') return t('refused.extension');
  if (code === 'MIME_TYPE_MISMATCH') return t('refused.content');
  if (code === 'EMPTY_FILE') return t('refused.empty');
  if (code === 'FILE_TOO_LARGE' || violation?.field === 'sizeInBytes') {
    return t('refused.tooLarge', { limit: size(session()?.server.uploadMaxBytes) });
  }
  if (code === 'QUOTA_EXCEEDED') {
    const { scope, unit, limit } = error.data;
    const isFiles = String(unit).toLowerCase().includes('file');
    const most = isFiles ? t('refused.quota.files', { count: limit }) : t('refused.quota.bytes', { size: size(Number(limit)) });
    return t(`refused.quota.${String(scope).toLowerCase() === 'contact' ? 'contact' : 'site'}`, { limit: most });
  }
  if (error?.status === 403 && code === 'PERMISSION_DENIED') return t('refused.role');
  if (error?.status === 410 || code === 'INVALID_UPLOAD_TOKEN') return t('refused.gone');
  if (violation) return `${violation.field} ${violation.description}`;
  return reason(error);
}

function status(one) {
  const percent = one.size ? Math.floor((one.sent / one.size) * 100) : 0;
  switch (one.state) {
    case 'running':
      if (!one.speed) return t('uploads.runningFirst', { sent: size(one.sent), size: size(one.size) });
      return t('uploads.running', {
        sent: size(one.sent), size: size(one.size), speed: size(one.speed),
        left: span(((one.size - one.sent) / one.speed) * 1000),
      });
    case 'refused': return refusal(one);
    case 'done': return t('uploads.done', { size: size(one.size) });
    default: return t(`uploads.${one.state}`, { percent });
  }
}

function Row({ one }) {
  const name = plainName(one.name);
  const isOver = ['done', 'refused'].includes(one.state);
  const act = (icon, key, run) => html`<${Button} iconOnly kind="quiet" icon=${icon} label=${t(`uploads.${key}`, { name })}
    onClick=${() => run(one)} />`;
  return html`<li class="upload ${one.state}">
    <span class="kind" aria-hidden="true">${icon(one.state === 'done' ? 'check' : one.state === 'refused' ? 'warning' : kindOf(one.type))}</span>
    <div class="what"><${ShortName} name=${one.name} />
      <small class="status">${status(one)}</small>
      ${!isOver && html`<progress max=${one.size} value=${one.sent} aria-label=${t('uploads.progress', { name })}></progress>`}
    </div>
    <div class="acts">
      ${['running', 'waiting', 'starting', 'offline'].includes(one.state) && act('pause', 'pause', (it) => uploads.pause(it))}
      ${one.state === 'paused' && act('play', 'resume', (it) => uploads.resume(it))}
      ${one.state === 'refused' && !one.problem && !OF_THE_FILE.includes(codeOf(one.error)) && act('retry', 'retry', (it) => uploads.resume(it))}
      ${isOver ? act('close', 'dismiss', (it) => uploads.dismiss(it)) : act('close', 'cancel', (it) => uploads.cancel(it))}
    </div>
  </li>`;
}

/** Draws a row; one of which nothing has changed is what it was, so that it costs nothing. */
function useRows() {
  const drawn = useRef(new Map());
  return (list) => {
    const rows = list.map((one) => {
      const seen = [one.state, one.sent, one.speed, one.problem].join();
      const before = drawn.current.get(one.id);
      return before?.seen === seen ? before : { seen, id: one.id, node: html`<${Row} key=${one.id} one=${one} />` };
    });
    drawn.current = new Map(rows.map((row) => [row.id, row]));
    return rows.map(({ node }) => node);
  };
}

export function UploadPanel() {
  const [, redraw] = useReducer((round) => round + 1, 0);
  const rows = useRows();
  const [isOpen, setOpen] = useState(true);
  useEffect(() => {
    let wanted = 0;
    // Many files report often, and drawing takes time from sending them.
    const changed = () => { wanted ||= setTimeout(() => { wanted = 0; redraw(); }, REDRAW); };
    uploads.addEventListener('change', changed);
    return () => uploads.removeEventListener('change', changed);
  }, []);
  const { list } = uploads;
  if (list.length === 0) return null;
  const done = list.filter(({ state }) => state === 'done').length;
  const order = ['running', 'starting', 'signedOut', 'offline', 'refused', 'paused', 'waiting', 'done'];
  const sorted = [...list].sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
  return html`<section class="uploads" aria-label=${t('uploads.title')}>
    <div class="uploads-head"><h2>${t('uploads.title')}</h2>
      <span class="soft" role="status">${t('uploads.summary', { done, all: list.length })}</span>
      <${Button} kind="quiet" label=${t('uploads.clear')} onClick=${() => uploads.clearFinished()} />
      <${Button} iconOnly kind="quiet" icon=${isOpen ? 'down' : 'up'} aria-expanded=${isOpen}
        label=${t(isOpen ? 'uploads.collapse' : 'uploads.expand')} onClick=${() => setOpen(!isOpen)} /></div>
    ${isOpen && html`<ul tabindex="0" aria-label=${t('uploads.title')}>${rows(sorted.slice(0, SHOWN))}</ul>`}
  </section>`;
}
