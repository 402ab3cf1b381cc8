// All contacts of the site: found by name or id, sorted, with what each has.

import { html, useEffect, useState } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { ago, contactName, count, size } from '../lib/format.js';
import { icon } from '../lib/icons.js';
import { go, linkTo } from '../lib/route.js';
import { Button, Dialog, Empty, Failed, Field, Loading, Select, reason } from '../lib/ui.js';
import { t } from '../lib/strings.js';
import { usePaged, useVirtual } from '../lib/virtual.js';

const SORTS = ['-lastActivity', 'label', '-count', '-size', 'id'];
const GUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** How long typing may pause before it is searched. */
const TYPING = 200;

/** A random GUID, also where the page came by plain HTTP. */
function newGuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function NewContact({ onClose }) {
  const [problem, setProblem] = useState('');
  const submit = async (event) => {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    const id = String(fields.get('id')).trim().toLowerCase() || newGuid();
    try {
      await api.announce(id, String(fields.get('label')).trim());
      onClose();
      go(['contacts', id]);
    } catch (error) {
      setProblem(error.violations?.[0]?.description ? `${error.violations[0].field} ${error.violations[0].description}` : reason(error));
    }
  };
  return html`<${Dialog} title=${t('contacts.newTitle')} onClose=${onClose} kind="narrow">
    <form onSubmit=${submit}>
      <${Field} id="new-label" name="label" label=${t('contacts.newLabel')} hint=${t('contacts.newHint')} maxlength="200"
        autocomplete="off" autofocus />
      <${Field} id="new-id" name="id" label=${t('contacts.newId')} hint=${t('contacts.newIdHint')} error=${problem}
        pattern="[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}" autocomplete="off" spellcheck=${false} />
      <div class="dialog-actions">
        <${Button} label=${t('dialog.cancel')} onClick=${onClose} />
        <${Button} type="submit" kind="primary" label=${t('contacts.create')} />
      </div>
    </form>
  <//>`;
}

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

function List({ list, search }) {
  const { items, total, next } = list;
  const virtual = useVirtual({ total: items.length, rowRem: 3.75, columnRem: null });
  useEffect(() => list.want(virtual.to + api.PAGE / 2), [virtual.to]);
  const known = GUID.test(search) && items.length === 0;
  if (list.error && items.length === 0) return html`<${Failed} error=${list.error} retry=${list.again} />`;
  if (list.isFirst) return html`<${Loading} />`;
  if (known) {
    return html`<${Empty} icon="person" title=${t('contacts.none', { search })}>
      <a class="button primary" href=${linkTo('contacts', search.toLowerCase())}>${t('contacts.open')}</a><//>`;
  }
  if (total === 0 && search) return html`<${Empty} icon="search" title=${t('contacts.none', { search })} />`;
  if (total === 0) return html`<${Empty} icon="person" title=${t('contacts.empty')}><p>${t('contacts.emptyLead')}</p><//>`;
  const shown = items.slice(virtual.from, virtual.to);
  return html`
    <div class="list-head contact" aria-hidden="true"><span></span><span>${t('contacts.name')}</span>
      <span class="number">${t('contacts.files')}</span><span class="number">${t('contacts.size')}</span>
      <span class="when">${t('contacts.active')}</span></div>
    <div class="scroller" ref=${virtual.ref} tabindex="-1"><ul class="virtual" style=${{ height: `${virtual.height}px` }}>
      ${shown.map((contact, at) => html`<${Row} key=${contact.id} contact=${contact} index=${virtual.from + at}
        total=${next === null ? items.length : -1} style=${virtual.style(virtual.from + at)} />`)}
    </ul></div>`;
}

export function Contacts({ route }) {
  const search = route.query.get('search') ?? '';
  const sort = route.query.get('sort') ?? SORTS[0];
  const [typed, setTyped] = useState(search);
  const [isMaking, setMaking] = useState(false);
  const mayChange = api.session().role !== 'viewer';
  const list = usePaged(async (after, signal) => {
    const page = await api.contacts({ search, sort, after, signal });
    return { items: page.contacts, next: page.next };
  }, [search, sort]);
  useEffect(() => {
    const timer = setTimeout(() => {
      if (typed.trim() !== search) go(['contacts'], { search: typed.trim(), sort }, true);
    }, TYPING);
    return () => clearTimeout(timer);
  }, [typed]);
  useEffect(() => { document.title = `${t('contacts.title')} · ${t('app.name')}`; }, []);
  useEffect(() => {
    const pressed = (event) => {
      if (event.key !== '/' || event.target.closest?.('input, textarea, select, dialog')) return;
      event.preventDefault();
      document.getElementById('contact-search').focus();
    };
    window.addEventListener('keydown', pressed);
    return () => window.removeEventListener('keydown', pressed);
  }, []);
  const known = list.items.length;
  return html`<section class="view">
    <div class="bar">
      <h1>${t('contacts.title')}</h1>
      <span class="soft count">${!list.isFirst && (list.next === null ? t('contacts.loaded', { count: known })
        : t('contacts.loadedMore', { count: count(known) }).replace(/\.\w+$/, ''))}</span>
      <label class="search">${icon('search')}<span class="visually-hidden">${t('contacts.search')}</span>
        <input id="contact-search" type="search" placeholder=${t('contacts.search')} value=${typed}
          onInput=${(event) => setTyped(event.target.value)}
          onKeyDown=${(event) => event.key === 'Escape' && setTyped('')} /></label>
      <${Select} label=${t('contacts.sort')} value=${sort} onChange=${(value) => go(['contacts'], { search, sort: value }, true)}
        options=${SORTS.map((key) => [key, t(`contacts.sort.${key}`)])} />
      ${mayChange && html`<${Button} icon="plus" kind="primary" label=${t('contacts.new')} onClick=${() => setMaking(true)} />`}
    </div>
    <${List} list=${list} search=${search} />
    ${isMaking && html`<${NewContact} onClose=${() => setMaking(false)} />`}
  </section>`;
}
