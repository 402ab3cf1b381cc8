// One file over the page: an image that can be zoomed and rotated, or the first page of a PDF, and the file's details.

/**
 * @import { TargetedMouseEvent, TargetedPointerEvent, TargetedSubmitEvent } from '../vendor/preact.js'
 * @import { IconName } from '../lib/icons.js'
 * @import { Attachment } from '../lib/types.js'
 */

import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { dateTime, isSuspicious, plainName, size, span } from '../lib/format.js';
import { icon } from '../lib/icons.js';
import { Button, FileName, copyText, fieldText, notify, reason, useModal } from '../lib/ui.js';
import { t } from '../lib/strings.js';

const MAX_ZOOM = 8;
/** Factors of a button or key, of a step of the wheel, and the zoom of a double click. */
const ZOOM_STEP = 1.4;
const WHEEL_STEP = 1.15;
const DOUBLE_CLICK_ZOOM = 2.5;

/** Types that browsers show. Of others, and of originals from this size on, the preview is shown. */
const SHOWN_BY_BROWSERS = ['image/jpeg', 'image/png', 'image/gif', 'image/avif'];
const MAX_SHOWN_BYTES = 40e6;

/** @typedef {{ zoom: number, turns: number, x: number, y: number }} Transform `turns` are quarter turns, `x` and `y` pixels */
/** @typedef {(change: Transform | ((before: Transform) => Transform)) => void} SetTransform */

/** @type {Transform} */
const FITTED = { zoom: 1, turns: 0, x: 0, y: 0 };
/**
 * Zooms within the bounds. A fitted image is back in the middle.
 *
 * @param {Transform} before
 * @param {number} factor
 * @returns {Transform}
 */
function zoomed(before, factor) {
  const zoom = Math.min(MAX_ZOOM, Math.max(1, before.zoom * factor));
  return zoom === 1 ? { ...before, zoom, x: 0, y: 0 } : { ...before, zoom };
}

/** @param {{ file: Attachment, transform: Transform, setTransform: SetTransform }} props */
function Picture({ file, transform, setTransform }) {
  const [state, setState] = useState('loading');
  /** @type {{ current: { x: number, y: number } | null }} where the pointer is, relative to the moved image */
  const drag = useRef(null);
  const isOriginal = SHOWN_BY_BROWSERS.includes(file.mimeType) && file.size < MAX_SHOWN_BYTES;
  /** @param {WheelEvent} event */
  const wheel = (event) => {
    event.preventDefault();
    const factor = event.deltaY < 0 ? WHEEL_STEP : 1 / WHEEL_STEP;
    setTransform((before) => zoomed(before, factor));
  };
  /** @param {TargetedPointerEvent<HTMLElement>} event */
  const down = (event) => {
    if (transform.zoom <= 1) return;
    drag.current = { x: event.clientX - transform.x, y: event.clientY - transform.y };
    event.currentTarget.setPointerCapture(event.pointerId);
  };
  /** @param {PointerEvent} event */
  const move = ({ clientX, clientY }) => {
    const from = drag.current;
    if (from) setTransform((before) => ({ ...before, x: clientX - from.x, y: clientY - from.y }));
  };
  const doubleClicked = () => setTransform(transform.zoom > 1 ? FITTED : { ...FITTED, zoom: DOUBLE_CLICK_ZOOM });
  if (state === 'broken') return html`<div class="no-preview">${icon('warning')}<p>${t('viewer.broken')}</p></div>`;
  const { zoom, turns, x, y } = transform;
  return html`<div class="stage-picture ${zoom > 1 ? 'zoomed' : ''}" onWheel=${wheel} onPointerDown=${down} onPointerMove=${move}
      onPointerUp=${() => { drag.current = null; }} onDblClick=${doubleClicked}>
    ${state === 'loading' && html`<span class="spinner" aria-hidden="true"></span>`}
    <img src=${isOriginal ? file.url : file.preview} alt=${plainName(file.fileName)} draggable=${false} class=${turns % 2 ? 'sideways' : ''}
      style=${{ transform: `translate(${x}px, ${y}px) scale(${zoom}) rotate(${turns * 90}deg)` }}
      onLoad=${() => setState('shown')} onError=${() => setState('broken')} /></div>`;
}

/**
 * The current time, renewed at an interval.
 *
 * @param {number} everyMs
 */
function useNow(everyMs) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, []);
  return now;
}

/** @param {{ file: Attachment, contactId: string, onChanged: (file: Attachment) => void }} props */
function Annotations({ file, contactId, onChanged }) {
  const [isBusy, setBusy] = useState(false);
  /** @param {TargetedSubmitEvent<HTMLFormElement>} event */
  const save = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    setBusy(true);
    try {
      const change = { label: fieldText(form, 'label') || null, description: fieldText(form, 'description') || null };
      onChanged(await api.annotateFile(contactId, file.id, change));
      notify(t('viewer.saved'));
    } catch (error) {
      notify(reason(error));
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

/** @param {{ file: Attachment, contactId: string, mayChange: boolean, onChanged: (file: Attachment) => void }} props */
function Details({ file, contactId, mayChange, onChanged }) {
  const now = useNow(1000);
  const left = Date.parse(file.linksExpireAt) - now;
  /**
   * @param {'type' | 'size' | 'pixels' | 'added' | 'link' | 'hash' | 'id'} name
   * @param {string} value
   */
  const row = (name, value, kind = '') => html`<div class="fact"><dt>${t(`viewer.${name}`)}</dt><dd class=${kind}>${value}</dd></div>`;
  return html`<aside class="details" aria-label=${t('viewer.details')} tabindex="0">
    <h3><${FileName} name=${file.fileName} /></h3>
    ${isSuspicious(file.fileName) && html`<p class="notice warn">${t('viewer.suspicious')}</p>`}
    <dl>
      ${row('type', `${t(`kind.${file.type}`)} · ${file.mimeType}`)}
      ${row('size', size(file.size))}
      ${file.width && row('pixels', `${file.width} × ${file.height}`)}
      ${row('added', dateTime(file.createdAt))}
      ${row('link', left > 0 ? t('viewer.linkLeft', { time: span(left) }) : t('viewer.linkOver'))}
      ${row('hash', file.sha256, 'mono')}
      ${row('id', file.id, 'mono')}
    </dl>
    ${mayChange && html`<${Annotations} file=${file} contactId=${contactId} onChanged=${onChanged} />`}
  </aside>`;
}

/** @param {Attachment} file */
const copyLink = (file) =>
  copyText(file.url, t('viewer.linkCopied', { time: span(Date.parse(file.linksExpireAt) - Date.now()) }));

/** @param {{ file: Attachment, transform: Transform, setTransform: SetTransform }} props */
function Stage({ file, transform, setTransform }) {
  const isPicture = file.type === 'image' && (SHOWN_BY_BROWSERS.includes(file.mimeType) || file.preview);
  if (isPicture) return html`<${Picture} key=${file.id} file=${file} transform=${transform} setTransform=${setTransform} />`;
  if (file.type === 'pdf') return html`<${FirstPage} key=${file.id} file=${file} />`;
  return html`<div class="no-preview">${icon(file.type)}<p>${t('viewer.noPreview')}</p></div>`;
}

/**
 * A PDF's first page, and a link to all of it. Not a frame: browsers show no PDF in a sandboxed one, and in any other a link in
 * the PDF could replace this page.
 *
 * @param {{ file: Attachment }} props
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

/**
 * @typedef {'zoomIn' | 'zoomOut' | 'rotate' | 'reset' | 'copyLink' | 'close' | 'previous' | 'next'} ToolName
 * @typedef {(event: TargetedMouseEvent<HTMLButtonElement>) => void} OnClick
 */

/** @param {{ picture: IconName, name: ToolName, onClick: OnClick, disabled?: boolean }} props */
function Tool({ picture, name, onClick, disabled = false }) {
  return html`<${Button} iconOnly kind="quiet" icon=${picture} label=${t(`viewer.${name}`)} onClick=${onClick} disabled=${disabled} />`;
}

/**
 * The viewer. `previous` and `next` are the file's neighbours in the list; without `onDelete` it cannot be deleted.
 *
 * @param {{
 *   file: Attachment, contactId: string, previous?: Attachment, next?: Attachment, mayChange: boolean,
 *   onOpen: (id: string) => void, onClose: () => void, onDelete: (() => void) | null,
 *   onChanged: (file: Attachment) => void,
 * }} props
 */
export function Viewer({ file, contactId, previous, next, mayChange, onOpen, onClose, onDelete, onChanged }) {
  const element = useModal();
  const [transform, setTransform] = useState(FITTED);
  useEffect(() => setTransform(FITTED), [file.id]);
  const zoomIn = () => setTransform((before) => zoomed(before, ZOOM_STEP));
  const zoomOut = () => setTransform((before) => zoomed(before, 1 / ZOOM_STEP));
  const rotate = () => setTransform((before) => ({ ...before, turns: before.turns + 1, x: 0, y: 0 }));
  const reset = () => setTransform(FITTED);
  const openPrevious = () => { if (previous) onOpen(previous.id); };
  const openNext = () => { if (next) onOpen(next.id); };
  const actions = new Map([
    ['ArrowRight', openNext], ['ArrowLeft', openPrevious], ['+', zoomIn], ['=', zoomIn], ['-', zoomOut], ['0', reset], ['r', rotate],
    ['Delete', () => onDelete?.()],
  ]);
  /** @param {KeyboardEvent} event */
  const pressed = (event) => {
    const isTyping = event.target instanceof Element && event.target.closest('input, textarea');
    const action = actions.get(event.key);
    if (!action || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  };
  /** @param {Event} event */
  const cancelled = (event) => {
    if (event.target !== element.current) return;
    event.preventDefault();
    onClose();
  };
  return html`<dialog class="viewer" ref=${element} aria-label=${t('viewer.label', { name: plainName(file.fileName) })}
      onKeyDown=${pressed} onCancel=${cancelled}>
    <div class="viewer-bar">
      <h2><${FileName} name=${file.fileName} /></h2>
      ${file.type === 'image' && html`<div class="tools">
        <${Tool} picture="zoomOut" name="zoomOut" onClick=${zoomOut} /><${Tool} picture="zoomIn" name="zoomIn" onClick=${zoomIn} />
        <${Tool} picture="rotate" name="rotate" onClick=${rotate} /><${Tool} picture="fit" name="reset" onClick=${reset} /></div>`}
      <div class="tools">
        <${Tool} picture="link" name="copyLink" onClick=${() => copyLink(file)} />
        <a class="button quiet icon-only" href=${file.url} target="_blank" rel="noreferrer" aria-label=${t('viewer.openTab')} title=${t('viewer.openTab')}>${icon('open')}</a>
        <a class="button quiet icon-only" href=${file.url} download aria-label=${t('viewer.download')} title=${t('viewer.download')}>${icon('download')}</a>
        ${onDelete && html`<${Button} iconOnly kind="quiet" icon="trash" label=${t('files.delete')} onClick=${onDelete} />`}
      </div>
      <${Tool} picture="close" name="close" onClick=${onClose} />
    </div>
    <div class="viewer-body">
      <div class="stage">
        <${Stage} file=${file} transform=${transform} setTransform=${setTransform} />
        <div class="turn-page before"><${Tool} picture="left" name="previous" onClick=${openPrevious} disabled=${!previous} /></div>
        <div class="turn-page after"><${Tool} picture="right" name="next" onClick=${openNext} disabled=${!next} /></div>
      </div>
      <${Details} file=${file} contactId=${contactId} mayChange=${mayChange} onChanged=${onChanged} />
    </div>
  </dialog>`;
}
