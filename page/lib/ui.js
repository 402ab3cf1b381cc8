// Parts that every view is made of: buttons, dialogs, messages, and the states of loading, failing and
// having nothing.

import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import { icon } from './icons.js';
import { nameParts, plainName } from './format.js';
import { t } from './strings.js';

/** A button with an icon, and a text that is shown or only read aloud. */
export function Button({ icon: name, label, onClick, kind = '', iconOnly = false, ...rest }) {
  return html`<button type="button" class="button ${kind} ${iconOnly ? 'icon-only' : ''}" onClick=${onClick}
      title=${iconOnly ? label : undefined} aria-label=${iconOnly ? label : undefined} ...${rest}>
    ${name && icon(name)}${iconOnly ? null : html`<span>${label}</span>`}
  </button>`;
}

/** A name with what is not seen shown as codes. */
export function FileName({ name }) {
  return html`<bdi class="file-name" dir="auto">${nameParts(name).map(({ text, code }) =>
    (code ? html`<span class="code">${text}</span>` : text))}</bdi>`;
}

/** A name in one line whose ending stays in sight, as it tells the kind of file. */
export function ShortName({ name }) {
  const parts = nameParts(name);
  const last = parts.at(-1);
  const split = last && !last.code && last.text.length > 8 ? last.text.length - 8 : 0;
  if (!split) return html`<span class="short-name" title=${plainName(name)}><${FileName} name=${name} /></span>`;
  return html`<span class="short-name" title=${plainName(name)}>
    <bdi class="start">${parts.slice(0, -1).map(({ text, code }) =>
      (code ? html`<span class="code">${text}</span>` : text))}${last.text.slice(0, split)}</bdi><bdi
      class="end">${last.text.slice(split)}</bdi></span>`;
}

export function Empty({ icon: name, title, children }) {
  return html`<div class="state">
    ${name && html`<div class="state-icon">${icon(name)}</div>`}
    <h2>${title}</h2>
    ${children}
  </div>`;
}

export function Loading({ label = t('files.loading') }) {
  return html`<div class="state loading" role="status"><span class="spinner" aria-hidden="true"></span>
    <p>${label}</p></div>`;
}

/** What people are told of an error of the server. */
export function reason(error) {
  if (error?.status === 0) return t('error.offline');
  if (error?.status === 503 || error?.status === 429) return t('error.busy');
  if (error?.status === 507) return t('refused.full');
  if (error?.status >= 500) return t('error.server', { id: error.requestId });
  if (error?.status === 403 && error.code === 'PERMISSION_DENIED') return t('error.denied');
  if (error?.status === 404) return t('error.notFound');
  return error?.message || t('error.title');
}

export function Failed({ error, retry }) {
  return html`<div class="state failed" role="alert">
    <div class="state-icon">${icon('warning')}</div>
    <h2>${t('error.title')}</h2>
    <p>${reason(error)}</p>
    ${retry && html`<${Button} label=${t('error.retry')} icon="retry" onClick=${retry} />`}
  </div>`;
}

/**
 * A dialog over everything: the browser keeps the focus in it, and gives it back.
 *
 * @param {{ title: string, onClose?: () => void, kind?: string, children: any }} props without `onClose`
 *   it cannot be closed
 */
export function Dialog({ title, onClose, kind = '', children }) {
  const element = useRef(null);
  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement;
    if (!dialog.open) dialog.showModal();
    return () => {
      dialog.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  const cancelled = (event) => {
    event.preventDefault();
    onClose?.();
  };
  const clicked = (event) => event.target === element.current && onClose?.();
  return html`<dialog ref=${element} class="dialog ${kind}" aria-labelledby="dialog-title"
      onCancel=${cancelled} onMouseDown=${clicked}>
    <div class="dialog-body"><h2 id="dialog-title">${title}</h2>${children}</div>
  </dialog>`;
}

/** Asks before something that matters; the answer that changes nothing has the focus. */
export function Confirm({ title, children, go, danger = true, onGo, onClose }) {
  const [busy, setBusy] = useState(false);
  const act = async () => {
    setBusy(true);
    await onGo();
    setBusy(false);
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <div class="dialog-text">${children}</div>
    <div class="dialog-actions">
      <${Button} label=${t('dialog.cancel')} onClick=${onClose} autofocus />
      <${Button} label=${go} kind=${danger ? 'danger' : 'primary'} onClick=${act} disabled=${busy} />
    </div>
  <//>`;
}

/** A label, a control of one line, and what is to be known of it. */
export function Field({ label, hint, error, id, ...rest }) {
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(' ') || undefined;
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <input id=${id} aria-describedby=${described} aria-invalid=${error ? 'true' : undefined} ...${rest} />
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    ${error && html`<p class="field-error" id=${`${id}-error`} role="alert">${error}</p>`}
  </div>`;
}

export function Select({ label, value, options, onChange }) {
  return html`<label class="select"><span class="visually-hidden">${label}</span>
    <select value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${options.map(([key, text]) => html`<option key=${key} value=${key} selected=${key === value}>${text}</option>`)}
    </select></label>`;
}

// --- Messages that come and go ---

const toasts = { list: [], listeners: new Set(), number: 0 };
/** How long a message stays, in milliseconds; one with something to do stays longer. */
const STAY = 5000;
const STAY_WITH_ACTION = 12_000;

/** Says something in passing. */
export function say(text, action) {
  const one = { id: (toasts.number += 1), text, action };
  toasts.list = [...toasts.list.slice(-2), one];
  const changed = () => toasts.listeners.forEach((listener) => listener(toasts.list));
  changed();
  setTimeout(() => {
    toasts.list = toasts.list.filter((other) => other !== one);
    changed();
  }, action ? STAY_WITH_ACTION : STAY);
}

export function Toasts() {
  const [list, setList] = useState(toasts.list);
  useEffect(() => {
    toasts.listeners.add(setList);
    return () => toasts.listeners.delete(setList);
  }, []);
  const element = useRef(null);
  // Above the dialog that is open, if there is one.
  useEffect(() => {
    if (element.current.matches(':popover-open')) element.current.hidePopover();
    if (list.length > 0) element.current.showPopover();
  }, [list]);
  const act = (one) => {
    toasts.list = toasts.list.filter((other) => other !== one);
    setList(toasts.list);
    one.action.run();
  };
  return html`<section class="toasts" popover="manual" ref=${element} role="status" aria-label=${t('toast.region')}>
    ${list.map((one) => html`<div class="toast" key=${one.id}><span>${one.text}</span>
      ${one.action && html`<${Button} label=${one.action.label} kind="quiet" onClick=${() => act(one)} />`}</div>`)}
  </section>`;
}

/** What `load` gives, while it is asked for, and when it fails; `again` asks anew. */
export function useLoaded(load, needs) {
  const [state, setState] = useState({ loading: true });
  const [round, setRound] = useState(0);
  useEffect(() => {
    let isWanted = true;
    setState((before) => ({ ...before, loading: true, error: undefined }));
    load().then(
      (value) => isWanted && setState({ value, loading: false }),
      (error) => isWanted && setState((before) => ({ ...before, error, loading: false })),
    );
    return () => { isWanted = false; };
  }, [...needs, round]);
  return { ...state, again: () => setRound((before) => before + 1) };
}
