// The contacts of the site: searched by name or ID, and sorted.

/**
 * @import { TargetedEvent, TargetedKeyboardEvent, TargetedSubmitEvent } from '../vendor/preact.js'
 * @import { Route } from '../lib/route.js'
 * @import { Contact } from '../lib/types.js'
 * @import { Paged } from '../lib/virtual.js'
 */

import { html, useEffect, useState } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { ago, contactName, count, size } from '../lib/format.js';
import { icon } from '../lib/icons.js';
import { go, linkTo } from '../lib/route.js';
import { Button, Dialog, Empty, Failed, Field, Loading, Select, fieldText, reason } from '../lib/ui.js';
import { t } from '../lib/strings.js';
import { usePaged, useVirtual } from '../lib/virtual.js';

/** The first is the default. */
const SORTS = /** @type {const} */ (['-lastActivity', 'label', '-count', '-size', 'id']);
const GUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** Pause in typing after which a search starts, in milliseconds. */
const TYPING_MS = 200;

/** A random GUID. `crypto.randomUUID` does not exist on plain HTTP. */
function newGuid() {
  const bytes = [...crypto.getRandomValues(new Uint8Array(16))];
  // Version 4, variant 1 (RFC 9562).
  const fixed = bytes.map((byte, index) => (index === 6 ? (byte & 0x0f) | 0x40 : index === 8 ? (byte & 0x3f) | 0x80 : byte));
  const digits = fixed.map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** @param {{ onClose: () => void }} props */
function NewContact({ onClose }) {
  const [problem, setProblem] = useState('');
  const [isAdvanced, setAdvanced] = useState(false);
  /** @param {TargetedSubmitEvent<HTMLFormElement>} event */
  const submit = async (event) => {
    event.preventDefault();
    const id = fieldText(event.currentTarget, 'id').toLowerCase() || newGuid();
    try {
      await api.putContact(id, fieldText(event.currentTarget, 'label'));
      onClose();
      go(['contacts', id]);
    } catch (error) {
      setProblem(reason(error));
    }
  };
  /** @param {TargetedEvent<HTMLDetailsElement>} event */
  const toggled = (event) => setAdvanced(event.currentTarget.open);
  // The browser can only show what is wrong with the ID while its field is visible.
  const invalid = () => setAdvanced(true);
  return html`<${Dialog} title=${t('contacts.new')} onClose=${onClose} kind="narrow">
    <form onSubmit=${submit}>
      <${Field} id="new-label" name="label" label=${t('contacts.newLabel')} hint=${t('contacts.newHint')} error=${problem}
        maxlength="200" autocomplete="off" autofocus />
      <details class="advanced" open=${isAdvanced} onToggle=${toggled}><summary>${t('contacts.advanced')}</summary>
        <${Field} id="new-id" name="id" label=${t('contacts.newId')} hint=${t('contacts.newIdHint')} onInvalid=${invalid}
          title=${t('contacts.newIdFormat')} pattern="[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}" autocomplete="off" spellcheck=${false} /></details>
      <div class="dialog-actions">
        <${Button} label=${t('dialog.cancel')} onClick=${onClose} />
        <${Button} type="submit" kind="primary" label=${t('contacts.create')} />
      </div>
    </form>
  <//>`;
}

/** @param {{ contact: Contact, style: Record<string, string>, index: number, total: number }} props `total` is -1 while unknown */
function Row({ contact, style, index, total }) {
  const name = contactName(contact);
  return html`<li class="row" style=${style} aria-setsize=${total} aria-posinset=${index + 1}>
    <a href=${linkTo('contacts', contact.id)} class="contact">
      <span class="avatar" aria-hidden="true">${name ? [...name.trim()][0]?.toUpperCase() : icon('person')}</span>
      <span class="names"><b class=${name ? '' : 'soft'}>${name ?? t('contacts.unnamed')}</b>
        <small class="mono">${contact.id}</small></span>
      <span class="number"><span class="visually-hidden">${t('contacts.files')} </span>${count(contact.attachmentCount)}</span>
      <span class="number"><span class="visually-hidden">${t('contacts.size')} </span>${size(contact.totalBytes)}</span>
      <span class="when"><span class="visually-hidden">${t('contacts.active')} </span>${ago(contact.lastActivityAt)}</span>
    </a></li>`;
}

/** @param {{ list: Paged<Contact>, search: string }} props */
function List({ list, search }) {
  const { items, total, next } = list;
  const virtual = useVirtual({ total: items.length, rowRem: 3.75, columnRem: null });
  useEffect(() => list.fetchUpTo(virtual.to + api.PAGE / 2), [virtual.to]);
  if (list.error && items.length === 0) return html`<${Failed} error=${list.error} retry=${list.reload} />`;
  if (list.isFirst) return html`<${Loading} />`;
  if (items.length === 0 && GUID.test(search)) {
    return html`<${Empty} icon="person" title=${t('contacts.noMatch', { search })}>
      <a class="button primary" href=${linkTo('contacts', search.toLowerCase())}>${t('contacts.openId')}</a><//>`;
  }
  if (total === 0 && search) return html`<${Empty} icon="search" title=${t('contacts.noMatch', { search })} />`;
  if (total === 0) return html`<${Empty} icon="person" title=${t('contacts.empty')}><p>${t('contacts.emptyLead')}</p><//>`;
  const visible = items.slice(virtual.from, virtual.to);
  return html`
    <div class="list-head contact" aria-hidden="true"><span></span><span>${t('contacts.name')}</span>
      <span class="number">${t('contacts.files')}</span><span class="number">${t('contacts.size')}</span>
      <span class="when">${t('contacts.active')}</span></div>
    <div class="scroller" ref=${virtual.ref} tabindex="-1"><ul class="virtual" style=${{ height: `${virtual.height}px` }}>
      ${visible.map((contact, offset) => html`<${Row} key=${contact.id} contact=${contact} index=${virtual.from + offset}
        total=${next === null ? items.length : -1} style=${virtual.style(virtual.from + offset)} />`)}
    </ul></div>`;
}

/** Focuses the search when `/` is pressed outside of an input. */
function useSearchKey() {
  useEffect(() => {
    /** @param {KeyboardEvent} event */
    const pressed = (event) => {
      const isTyping = event.target instanceof Element && event.target.closest('input, textarea, select, dialog');
      if (event.key !== '/' || isTyping) return;
      event.preventDefault();
      document.getElementById('contact-search')?.focus();
    };
    window.addEventListener('keydown', pressed);
    return () => window.removeEventListener('keydown', pressed);
  }, []);
}

/** @param {{ route: Route }} props */
export function Contacts({ route }) {
  const search = route.query.get('search') ?? '';
  const sort = SORTS.find((known) => known === route.query.get('sort')) ?? SORTS[0];
  const [typed, setTyped] = useState(search);
  const [isCreating, setCreating] = useState(false);
  const mayChange = api.session().role !== 'viewer';
  const list = usePaged(async (after, signal) => {
    const page = await api.contacts({ search, sort, after, signal });
    return { items: page.contacts, next: page.next };
  }, [search, sort]);
  useEffect(() => {
    const timer = setTimeout(() => {
      if (typed.trim() !== search) go(['contacts'], { search: typed.trim(), sort }, true);
    }, TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  useEffect(() => { document.title = `${t('contacts.title')} · ${t('app.name')}`; }, []);
  useSearchKey();
  const loaded = list.items.length;
  /** @param {TargetedEvent<HTMLInputElement>} event */
  const input = (event) => setTyped(event.currentTarget.value);
  /** @param {TargetedKeyboardEvent<HTMLInputElement>} event */
  const pressed = (event) => { if (event.key === 'Escape') setTyped(''); };
  return html`<section class="view">
    <div class="bar">
      <h1>${t('contacts.title')}</h1>
      <span class="soft count">${!list.isFirst && (list.next === null ? t('contacts.loaded', { count: loaded })
        : t('contacts.loadedMore', { loaded }))}</span>
      <label class="search">${icon('search')}<span class="visually-hidden">${t('contacts.search')}</span>
        <input id="contact-search" type="search" placeholder=${t('contacts.search')} value=${typed}
          onInput=${input} onKeyDown=${pressed} /></label>
      <${Select} label=${t('contacts.sort')} value=${sort} options=${SORTS.map((key) => [key, t(`contacts.sort.${key}`)])}
        onChange=${(/** @type {string} */ chosen) => go(['contacts'], { search, sort: chosen }, true)} />
      ${mayChange && html`<${Button} icon="plus" kind="primary" label=${t('contacts.new')} onClick=${() => setCreating(true)} />`}
    </div>
    <${List} list=${list} search=${search} />
    ${isCreating && html`<${NewContact} onClose=${() => setCreating(false)} />`}
  </section>`;
}
