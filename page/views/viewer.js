// One file, large: a picture that can be zoomed and turned, and what is known of every file.

import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { dateTime, isSuspicious, plainName, size, span } from '../lib/format.js';
import { icon } from '../lib/icons.js';
import { Button, FileName, reason, say } from '../lib/ui.js';
import { t } from '../lib/strings.js';

const MOST_ZOOM = 8;
const STEP = 1.4;

/** What is shown large: the picture itself where browsers read it, its preview otherwise. */
const SHOWN_BY_BROWSERS = ['image/jpeg', 'image/png', 'image/gif', 'image/avif'];

function Picture({ file, view, setView }) {
  const [state, setState] = useState('loading');
  const drag = useRef(null);
  const isOriginal = SHOWN_BY_BROWSERS.includes(file.mimeType) && file.size < 40e6;
  const source = isOriginal ? file.url : file.preview;
  const wheel = (event) => {
    event.preventDefault();
    setView((before) => ({ ...before, zoom: bounded(before.zoom * (event.deltaY < 0 ? 1.15 : 1 / 1.15)) }));
  };
  const down = (event) => {
    if (view.zoom <= 1) return;
    drag.current = { x: event.clientX - view.x, y: event.clientY - view.y };
    event.currentTarget.setPointerCapture(event.pointerId);
  };
  const move = (event) => {
    if (drag.current) setView((before) => ({ ...before, x: event.clientX - drag.current.x, y: event.clientY - drag.current.y }));
  };
  if (state === 'broken') return html`<div class="no-preview">${icon('warning')}<p>${t('viewer.broken')}</p></div>`;
  return html`<div class="stage-picture ${view.zoom > 1 ? 'zoomed' : ''}" onWheel=${wheel} onPointerDown=${down} onPointerMove=${move}
      onPointerUp=${() => { drag.current = null; }} onDblClick=${() => setView(view.zoom > 1 ? WHOLE : { ...WHOLE, zoom: 2.5 })}>
    ${state === 'loading' && html`<span class="spinner" aria-hidden="true"></span>`}
    <img src=${source} alt=${plainName(file.fileName)} draggable=${false} class=${view.turns % 2 ? 'sideways' : ''}
      style=${{ transform: `translate(${view.x}px, ${view.y}px) scale(${view.zoom}) rotate(${view.turns * 90}deg)` }}
      onLoad=${() => setState('shown')} onError=${() => setState('broken')} /></div>`;
}

const WHOLE = { zoom: 1, turns: 0, x: 0, y: 0 };
const bounded = (zoom) => Math.min(MOST_ZOOM, Math.max(1, zoom));

function useNow(everyMs) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, []);
  return now;
}

function Describe({ file, contactId, onChanged }) {
  const [isBusy, setBusy] = useState(false);
  const save = async (event) => {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    const text = (name) => String(fields.get(name)).trim() || null;
    setBusy(true);
    try {
      onChanged(await api.describe(contactId, file.id, { label: text('label'), description: text('description') }));
      say(t('viewer.saved'));
    } catch (error) {
      say(reason(error));
    }
    setBusy(false);
  };
  return html`<form class="describe" onSubmit=${save} key=${file.id}>
    <div class="field"><label for="file-label">${t('viewer.labelField')}</label>
      <input id="file-label" name="label" maxlength="200" defaultValue=${file.label ?? ''} autocomplete="off" /></div>
    <div class="field"><label for="file-description">${t('viewer.description')}</label>
      <textarea id="file-description" name="description" rows="3" maxlength="2000" defaultValue=${file.description ?? ''}></textarea></div>
    <${Button} type="submit" label=${t('viewer.save')} disabled=${isBusy} />
  </form>`;
}

function Details({ file, contactId, mayChange, onChanged }) {
  const now = useNow(1000);
  const left = Date.parse(file.linksExpireAt) - now;
  const row = (key, value, kind = '') => value && html`<div class="fact"><dt>${t(`viewer.${key}`)}</dt><dd class=${kind}>${value}</dd></div>`;
  return html`<aside class="details" aria-label=${t('viewer.details')} tabindex="0">
    <h3><${FileName} name=${file.fileName} /></h3>
    ${isSuspicious(file.fileName) && html`<p class="notice warn">${t('viewer.suspicious')}</p>`}
    <dl>
      ${row('type', `${t(`kind.${file.type}`)} · ${file.mimeType}`)}
      ${row('size', size(file.size))}
      ${row('pixels', file.width > 0 && `${file.width} × ${file.height}`)}
      ${row('added', file.createdAt && dateTime(file.createdAt))}
      ${row('link', left > 0 ? t('viewer.linkLeft', { time: span(left) }) : t('viewer.linkOver'))}
      ${row('hash', file.sha256, 'mono')}
      ${row('id', file.id, 'mono')}
    </dl>
    ${mayChange && html`<${Describe} file=${file} contactId=${contactId} onChanged=${onChanged} />`}
  </aside>`;
}

async function copyLink(file) {
  try {
    await navigator.clipboard.writeText(file.url);
    say(t('viewer.copied'));
  } catch {
    say(t('viewer.copyFailed'));
  }
}

function Stage({ file, view, setView }) {
  const isPicture = file.type === 'image' && (SHOWN_BY_BROWSERS.includes(file.mimeType) || file.preview);
  if (isPicture) return html`<${Picture} key=${file.id} file=${file} view=${view} setView=${setView} />`;
  if (file.type === 'pdf') return html`<${FirstPage} key=${file.id} file=${file} />`;
  return html`<div class="no-preview">${icon(file.type)}<p>${t('viewer.noPreview')}</p></div>`;
}

/**
 * A PDF's first page, and the way to all of them. No frame: browsers show no PDF in one that is sandboxed, and in
 * another one a link within the PDF could lead this page away.
 */
function FirstPage({ file }) {
  const [isBroken, setBroken] = useState(false);
  const isShown = file.preview && !isBroken;
  return html`<figure class="${isShown ? 'first-page' : 'no-preview'}">
    ${isShown ? html`<img src=${file.preview} alt=${t('viewer.pdf')} onError=${() => setBroken(true)} />` : icon(file.type)}
    <figcaption>${t(isShown ? 'viewer.pdf' : 'viewer.noFirstPage')}</figcaption>
    <a class="button primary" href=${file.url} target="_blank" rel="noreferrer">${icon('open')}<span>${t('viewer.readAll')}</span></a>
  </figure>`;
}

export function Viewer({ file, contactId, previous, next, mayChange, onOpen, onClose, onDelete, onChanged }) {
  const element = useRef(null);
  const [view, setView] = useState(WHOLE);
  useEffect(() => {
    const before = document.activeElement;
    element.current.showModal();
    return () => {
      element.current?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  useEffect(() => setView(WHOLE), [file.id]);
  const zoom = (by) => setView((now) => (bounded(now.zoom * by) === 1 ? { ...now, zoom: 1, x: 0, y: 0 } : { ...now, zoom: bounded(now.zoom * by) }));
  const turn = () => setView((now) => ({ ...now, turns: now.turns + 1, x: 0, y: 0 }));
  const isPicture = file.type === 'image';
  const pressed = (event) => {
    if (event.target.closest('input, textarea') || event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = {
      ArrowRight: () => next && onOpen(next.id), ArrowLeft: () => previous && onOpen(previous.id),
      '+': () => zoom(STEP), '=': () => zoom(STEP), '-': () => zoom(1 / STEP), 0: () => setView(WHOLE), r: turn,
      Delete: () => onDelete?.(file),
    };
    if (!(event.key in acts)) return;
    event.preventDefault();
    event.stopPropagation();
    acts[event.key]();
  };
  const tool = (name, key, run, disabled = false) => html`<${Button} iconOnly kind="quiet" icon=${name} label=${t(`viewer.${key}`)} onClick=${run} disabled=${disabled} />`;
  return html`<dialog class="viewer" ref=${element} aria-label=${t('viewer.label', { name: plainName(file.fileName) })}
      onKeyDown=${pressed} onCancel=${(event) => { if (event.target !== element.current) return; event.preventDefault(); onClose(); }}>
    <div class="viewer-bar">
      <h2><${FileName} name=${file.fileName} /></h2>
      ${isPicture && html`<div class="tools">${tool('zoomOut', 'zoomOut', () => zoom(1 / STEP))}${tool('zoomIn', 'zoomIn', () => zoom(STEP))}
        ${tool('rotate', 'rotate', turn)}${tool('fit', 'reset', () => setView(WHOLE))}</div>`}
      <div class="tools">
        ${tool('link', 'copyLink', () => copyLink(file))}
        <a class="button quiet icon-only" href=${file.url} target="_blank" rel="noreferrer" aria-label=${t('viewer.openTab')} title=${t('viewer.openTab')}>${icon('open')}</a>
        <a class="button quiet icon-only" href=${file.url} download aria-label=${t('viewer.download')} title=${t('viewer.download')}>${icon('download')}</a>
        ${onDelete && html`<${Button} iconOnly kind="quiet" icon="trash" label=${t('files.delete')} onClick=${() => onDelete(file)} />`}
      </div>
      ${tool('close', 'close', onClose)}
    </div>
    <div class="viewer-body">
      <div class="stage">
        <${Stage} file=${file} view=${view} setView=${setView} />
        <div class="turn-page before">${tool('left', 'previous', () => onOpen(previous.id), !previous)}</div>
        <div class="turn-page after">${tool('right', 'next', () => onOpen(next.id), !next)}</div>
      </div>
      <${Details} file=${file} contactId=${contactId} mayChange=${mayChange} onChanged=${onChanged} />
    </div>
  </dialog>`;
}
