// The panel of uploads, shown over every view.

/**
 * @import { VNode } from '../vendor/preact.js'
 * @import { ApiError } from '../lib/api.js'
 * @import { IconName } from '../lib/icons.js'
 * @import { State, Upload } from '../lib/uploads.js'
 */

import { html, useEffect, useReducer, useRef, useState } from '../vendor/preact.js';
import { session } from '../lib/api.js';
import { plainName, size, span } from '../lib/format.js';
import { icon } from '../lib/icons.js';
import { Button, ShortName, reason } from '../lib/ui.js';
import { t } from '../lib/strings.js';
import { extension, kindOf } from '../lib/types.js';
import { uploads } from '../lib/uploads.js';

/** Rows shown at most. Others follow as these finish. */
const MAX_ROWS = 30;
/** How often changes are drawn, in milliseconds: many files report often, and drawing takes time from sending. */
const REDRAW_MS = 200;

/** Rejections for what the file is: sending it again cannot change them. */
const FINAL_CODES = ['UNSUPPORTED_MIME_TYPE', 'EXTENSION_MISMATCH', 'MIME_TYPE_MISMATCH', 'EMPTY_FILE', 'FILE_TOO_LARGE'];

/**
 * The states in which an upload can be paused; and all states, in the order of the panel.
 *
 * @type {State[]}
 */
const PAUSABLE = ['running', 'waiting', 'starting', 'offline'];
/** @type {State[]} */
const ORDER = ['running', 'starting', 'signedOut', 'offline', 'rejected', 'paused', 'waiting', 'done'];

/** @param {ApiError | null} error */
const codeOf = (error) => error?.violations[0]?.ruleName ?? error?.code ?? '';

const sizeLimit = () => size(session().server.uploadMaxBytes);

/**
 * Why the server rejected a file.
 *
 * @param {Upload} upload
 * @param {ApiError} error
 */
function rejection({ name, type }, error) {
  const code = codeOf(error);
  switch (code) {
    case 'UNSUPPORTED_MIME_TYPE': {
      const suffix = extension(name);
      return suffix ? t('rejected.type', { extension: suffix.toUpperCase() }) : t('rejected.unknownType', { type });
    }
    case 'EXTENSION_MISMATCH': return t('rejected.extension', { type });
    case 'MIME_TYPE_MISMATCH': return t('rejected.content', { problem: error.message });
    case 'EMPTY_FILE': return t('rejected.empty');
    case 'FILE_TOO_LARGE': return t('rejected.tooLarge', { limit: sizeLimit() });
    case 'QUOTA_EXCEEDED': return quota(error);
    default:
  }
  if (error.violations[0]?.field === 'sizeInBytes') return t('rejected.tooLarge', { limit: sizeLimit() });
  if (error.status === 403 && code === 'PERMISSION_DENIED') return t('rejected.role');
  if (error.status === 410 || code === 'INVALID_UPLOAD_TOKEN') return t('rejected.expired');
  return reason(error);
}

/** @param {ApiError} error */
function quota({ data }) {
  const limit = Number(data.limit);
  return t(data.scope === 'contact' ? 'rejected.quota.contact' : 'rejected.quota.site', {
    limit: data.unit === 'files' ? t('files.count', { count: limit }) : size(limit),
  });
}

/** @param {Upload} upload */
function status(upload) {
  const { state, sent, speed, error, problem } = upload;
  const percent = upload.size ? Math.floor((sent / upload.size) * 100) : 0;
  switch (state) {
    case 'waiting': return t('uploads.waiting');
    case 'starting': return t('uploads.starting');
    case 'running': {
      const progress = { sent: size(sent), size: size(upload.size) };
      if (!speed) return t('uploads.runningFirst', progress);
      return t('uploads.running', { ...progress, speed: size(speed), left: span(((upload.size - sent) / speed) * 1000) });
    }
    case 'rejected':
      if (problem === 'tooLarge') return t('rejected.tooLarge', { limit: sizeLimit() });
      if (problem) return t(`rejected.${problem}`);
      return error ? rejection(upload, error) : '';
    case 'done': return t('uploads.done', { size: size(upload.size) });
    default: return t(`uploads.${state}`, { percent });
  }
}

/** @param {Upload} upload */
function kindIcon({ state, type }) {
  if (state === 'done') return icon('check');
  return icon(state === 'rejected' ? 'warning' : kindOf(type));
}

/** @param {{ upload: Upload }} props */
function Row({ upload }) {
  const { state, problem, error } = upload;
  const name = plainName(upload.name);
  const isOver = ['done', 'rejected'].includes(state);
  const mayRetry = state === 'rejected' && !problem && !FINAL_CODES.includes(codeOf(error));
  /**
   * @param {IconName} picture
   * @param {'pause' | 'resume' | 'retry' | 'dismiss' | 'cancel'} action
   * @param {() => void} run
   */
  const button = (picture, action, run) => html`<${Button} iconOnly kind="quiet" icon=${picture}
    label=${t(`uploads.${action}`, { name })} onClick=${run} />`;
  return html`<li class="upload ${state}">
    <span class="kind" aria-hidden="true">${kindIcon(upload)}</span>
    <div class="what"><${ShortName} name=${upload.name} />
      <small class="status">${status(upload)}</small>
      ${!isOver && html`<progress max=${upload.size} value=${upload.sent} aria-label=${t('uploads.progress', { name })}></progress>`}
    </div>
    <div class="acts">
      ${PAUSABLE.includes(state) && button('pause', 'pause', () => uploads.pause(upload))}
      ${state === 'paused' && button('play', 'resume', () => uploads.resume(upload))}
      ${mayRetry && button('retry', 'retry', () => uploads.resume(upload))}
      ${isOver ? button('close', 'dismiss', () => uploads.dismiss(upload)) : button('close', 'cancel', () => uploads.cancel(upload))}
    </div>
  </li>`;
}

/**
 * Draws rows. An unchanged upload keeps its node, so that it costs nothing.
 *
 * @returns {(list: Upload[]) => (VNode | VNode[])[]}
 */
function useRows() {
  /** @type {{ current: Map<number, { drawn: string, node: VNode | VNode[] }> }} */
  const nodes = useRef(new Map());
  return (list) => {
    const rows = new Map(list.map((upload) => {
      const drawn = [upload.state, upload.sent, upload.speed, upload.problem].join();
      const before = nodes.current.get(upload.id);
      const row = before?.drawn === drawn ? before : { drawn, node: html`<${Row} key=${upload.id} upload=${upload} />` };
      return [upload.id, row];
    }));
    nodes.current = rows;
    return [...rows.values()].map(({ node }) => node);
  };
}

export function UploadPanel() {
  const [, redraw] = useReducer((/** @type {number} */ round) => round + 1, 0);
  const rows = useRows();
  const [isOpen, setOpen] = useState(true);
  useEffect(() => {
    let timer = 0;
    const changed = () => {
      timer ||= window.setTimeout(() => {
        timer = 0;
        redraw(undefined);
      }, REDRAW_MS);
    };
    uploads.addEventListener('change', changed);
    return () => uploads.removeEventListener('change', changed);
  }, []);
  const { list } = uploads;
  if (list.length === 0) return null;
  const done = list.filter(({ state }) => state === 'done').length;
  const sorted = [...list].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state));
  return html`<section class="uploads" aria-label=${t('uploads.title')}>
    <div class="uploads-head"><h2>${t('uploads.title')}</h2>
      <span class="soft" role="status">${t('uploads.summary', { done, all: list.length })}</span>
      <${Button} kind="quiet" label=${t('uploads.clear')} onClick=${() => uploads.clearFinished()} />
      <${Button} iconOnly kind="quiet" icon=${isOpen ? 'down' : 'up'} aria-expanded=${isOpen}
        label=${t(isOpen ? 'uploads.collapse' : 'uploads.expand')} onClick=${() => setOpen(!isOpen)} /></div>
    ${isOpen && html`<ul tabindex="0" aria-label=${t('uploads.title')}>${rows(sorted.slice(0, MAX_ROWS))}</ul>`}
  </section>`;
}
