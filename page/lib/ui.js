// The parts that all views share: buttons, dialogs, notifications, and the states loading, failed and empty.

/**
 * @import { ComponentChildren, TargetedEvent, TargetedMouseEvent } from '../vendor/preact.js'
 * @import { IconName } from './icons.js'
 * @import { NamePart } from './format.js'
 */

import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import { ApiError } from './api.js';
import { icon } from './icons.js';
import { nameParts, plainName } from './format.js';
import { find, t } from './strings.js';

/**
 * A button with an icon and a text. With `iconOnly` the text is only read aloud.
 *
 * @param {{ label: string, icon?: IconName, onClick?: (event: TargetedMouseEvent<HTMLButtonElement>) => void, kind?: string,
 *   iconOnly?: boolean, [attribute: string]: unknown }} props
 */
export function Button({ icon: name, label, onClick, kind = '', iconOnly = false, ...rest }) {
  return html`<button type="button" class="button ${kind} ${iconOnly ? 'icon-only' : ''}" onClick=${onClick}
      title=${iconOnly ? label : undefined} aria-label=${iconOnly ? label : undefined} ...${rest}>
    ${name && icon(name)}${iconOnly ? null : html`<span>${label}</span>`}
  </button>`;
}

/** @param {NamePart[]} parts */
const withCodes = (parts) => parts.map(({ text, code }) => (code ? html`<span class="code">${text}</span>` : text));

/**
 * A file name, with hidden characters shown as codes.
 *
 * @param {{ name: string }} props
 */
export function FileName({ name }) {
  return html`<bdi class="file-name" dir="auto">${withCodes(nameParts(name))}</bdi>`;
}

/**
 * A file name in one line. The end stays visible when it is cut, because it shows the type.
 *
 * @param {{ name: string }} props
 */
export function ShortName({ name }) {
  const parts = nameParts(name);
  const last = parts.at(-1);
  if (!last || last.code || (parts.length === 1 && last.text.length <= 8)) {
    return html`<span class="short-name" title=${plainName(name)}><${FileName} name=${name} /></span>`;
  }
  return html`<span class="short-name" title=${plainName(name)}>
    <bdi class="start">${withCodes(parts.slice(0, -1))}${last.text.slice(0, -8)}</bdi><bdi
      class="end">${last.text.slice(-8)}</bdi></span>`;
}

/** @param {{ title: string, icon?: IconName, children?: ComponentChildren }} props */
export function Empty({ icon: name, title, children }) {
  return html`<div class="state">
    ${name && html`<div class="state-icon">${icon(name)}</div>`}
    <h2>${title}</h2>
    ${children}
  </div>`;
}

export function Loading() {
  return html`<div class="state loading" role="status"><span class="spinner" aria-hidden="true"></span>
    <p>${t('files.loading')}</p></div>`;
}

/**
 * What people read of an error.
 *
 * @param {unknown} error
 */
export function reason(error) {
  if (!(error instanceof ApiError)) return (error instanceof Error && error.message) || t('error.title');
  const { status, code, data, violations: [violation] } = error;
  if (violation?.field === 'contactId') return t('error.noContact');
  if (violation) return `${find(`field.${violation.field}`) ?? violation.field} ${violation.description}`;
  if (status === 0) return t('error.offline');
  if (status === 503 || status === 429) return t('error.busy');
  if (status === 507) return t('rejected.full');
  if (status >= 500) return t('error.server', { id: error.requestId });
  if (status === 403 && code === 'PERMISSION_DENIED') return t('error.denied');
  if (status === 404) return t('contactId' in data && !('attachmentId' in data) ? 'error.noContact' : 'error.notFound');
  return error.message || t('error.title');
}

/** @param {{ error: unknown, retry?: () => void }} props */
export function Failed({ error, retry }) {
  return html`<div class="state failed" role="alert">
    <div class="state-icon">${icon('warning')}</div>
    <h2>${t('error.title')}</h2>
    <p>${reason(error)}</p>
    ${retry && html`<${Button} label=${t('error.retry')} icon="retry" onClick=${retry} />`}
  </div>`;
}

/**
 * Keeps a dialog open while its component is shown. The browser keeps the focus in it. Afterwards the focus
 * returns to where it was.
 */
export function useModal() {
  /** @type {{ current: HTMLDialogElement | null }} */
  const element = useRef(null);
  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement;
    if (dialog && !dialog.open) dialog.showModal();
    return () => {
      dialog?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return element;
}

/**
 * A dialog over the page.
 *
 * @param {{ title: string, onClose?: () => void, kind?: string, children?: ComponentChildren }} props without
 *   `onClose` it cannot be closed
 */
export function Dialog({ title, onClose, kind = '', children }) {
  const element = useModal();
  /** @param {Event} event */
  const cancelled = (event) => {
    event.preventDefault();
    onClose?.();
  };
  /** @param {MouseEvent} event */
  const pressed = (event) => { if (event.target === element.current) onClose?.(); };
  return html`<dialog ref=${element} class="dialog ${kind}" aria-labelledby="dialog-title"
      onCancel=${cancelled} onMouseDown=${pressed}>
    <div class="dialog-body"><h2 id="dialog-title">${title}</h2>${children}</div>
  </dialog>`;
}

/**
 * Asks before an action that cannot easily be undone. "Cancel" has the focus.
 *
 * @param {{ title: string, children?: ComponentChildren, label: string, onConfirm: () => Promise<void>, onClose: () => void }} props
 */
export function Confirm({ title, children, label, onConfirm, onClose }) {
  const [isBusy, setBusy] = useState(false);
  const confirmed = async () => {
    setBusy(true);
    await onConfirm();
    setBusy(false);
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <div class="dialog-text">${children}</div>
    <div class="dialog-actions">
      <${Button} label=${t('dialog.cancel')} onClick=${onClose} autofocus />
      <${Button} label=${label} kind="danger" onClick=${confirmed} disabled=${isBusy} />
    </div>
  <//>`;
}

/**
 * A labelled input with a hint and an error.
 *
 * @param {{ id: string, label: string, hint?: string, error?: string, [attribute: string]: unknown }} props
 */
export function Field({ label, hint, error, id, ...rest }) {
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(' ') || undefined;
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <input id=${id} aria-describedby=${described} aria-invalid=${error ? 'true' : undefined} ...${rest} />
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    ${error && html`<p class="field-error" id=${`${id}-error`} role="alert">${error}</p>`}
  </div>`;
}

/**
 * @template {string} Value
 * @param {{ label: string, value: Value, options: [Value, string][], onChange: (value: Value) => void }} props
 */
export function Select({ label, value, options, onChange }) {
  /** @param {TargetedEvent<HTMLSelectElement>} event */
  const changed = (event) => {
    const chosen = options[event.currentTarget.selectedIndex];
    if (chosen) onChange(chosen[0]);
  };
  return html`<label class="select"><span class="visually-hidden">${label}</span>
    <select value=${value} onChange=${changed}>
      ${options.map(([key, text]) => html`<option key=${key} value=${key} selected=${key === value}>${text}</option>`)}
    </select></label>`;
}

/**
 * The text of a form's field, without spaces around it.
 *
 * @param {HTMLFormElement} form
 * @param {string} name
 */
export function fieldText(form, name) {
  const value = new FormData(form).get(name);
  return typeof value === 'string' ? value.trim() : '';
}

// --- Notifications ---

/** @typedef {{ label: string, run: () => void }} Action */
/** @typedef {{ id: number, text: string, action?: Action | undefined }} Toast */

/** @type {{ list: Toast[], listeners: Set<(list: Toast[]) => void>, lastId: number }} */
const toasts = { list: [], listeners: new Set(), lastId: 0 };
/** How long a notification stays, in milliseconds: longer with an action, which takes time to reach. */
const SHOWN_MS = 5000;
const SHOWN_WITH_ACTION_MS = 12_000;
/** Notifications shown at once. */
const MAX_TOASTS = 3;

/** @param {Toast[]} list */
function setToasts(list) {
  toasts.list = list;
  for (const listener of toasts.listeners) listener(list);
}

/** @param {Toast} toast */
const removeToast = (toast) => setToasts(toasts.list.filter((other) => other !== toast));

/**
 * Shows a text for some seconds.
 *
 * @param {string} text
 * @param {Action} [action]
 */
export function notify(text, action) {
  const toast = { id: (toasts.lastId += 1), text, action };
  setToasts([...toasts.list.slice(1 - MAX_TOASTS), toast]);
  setTimeout(() => removeToast(toast), action ? SHOWN_WITH_ACTION_MS : SHOWN_MS);
}

/** Copies a text to the clipboard, and shows `done` or why that failed. */
export async function copyText(/** @type {string} */ text, /** @type {string} */ done) {
  try {
    await navigator.clipboard.writeText(text);
    notify(done);
  } catch {
    // Over plain HTTP there is no clipboard at all.
    notify(t('viewer.copyFailed'));
  }
}

export function Toasts() {
  const [list, setList] = useState(toasts.list);
  useEffect(() => {
    toasts.listeners.add(setList);
    return () => { toasts.listeners.delete(setList); };
  }, []);
  /** @type {{ current: HTMLElement | null }} */
  const element = useRef(null);
  // Shown anew with each change, so that it is above a dialog that was opened meanwhile.
  useEffect(() => {
    if (element.current?.matches(':popover-open')) element.current.hidePopover();
    if (list.length > 0) element.current?.showPopover();
  }, [list]);
  /** @param {Toast} toast */
  const act = (toast) => {
    removeToast(toast);
    toast.action?.run();
  };
  return html`<section class="toasts" popover="manual" ref=${element} role="status" aria-label=${t('toast.region')}>
    ${list.map((toast) => html`<div class="toast" key=${toast.id}><span>${toast.text}</span>
      ${toast.action && html`<${Button} label=${toast.action.label} kind="quiet" onClick=${() => act(toast)} />`}</div>`)}
  </section>`;
}

// --- Loading ---

/**
 * What was loaded. The value stays while it is loaded again, and after a failure of that.
 *
 * @template T
 * @typedef {{ value?: T | undefined, error?: unknown, isLoading: boolean, reload: () => void }} Loaded
 */

/**
 * Loads a value, and again when one of `inputs` changes.
 *
 * @template T
 * @param {() => Promise<T>} load
 * @param {unknown[]} inputs
 * @returns {Loaded<T>}
 */
export function useLoaded(load, inputs) {
  const [state, setState] = useState(/** @type {{ value?: T, error?: unknown, isLoading: boolean }} */ ({ isLoading: true }));
  const [round, setRound] = useState(0);
  useEffect(() => {
    let isCurrent = true;
    setState((before) => ({ ...before, isLoading: true, error: undefined }));
    load().then(
      (value) => { if (isCurrent) setState({ value, isLoading: false }); },
      (error) => { if (isCurrent) setState((before) => ({ ...before, error, isLoading: false })); },
    );
    return () => { isCurrent = false; };
  }, [...inputs, round]);
  return { ...state, reload: () => setRound((before) => before + 1) };
}
