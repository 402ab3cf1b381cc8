// The files of one contact: shown, found, added, chosen, deleted.

import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { MOST, dropped, hasFiles, ofFolder, pasted } from '../lib/choose.js';
import { deleteFiles } from '../lib/deleting.js';
import { contactName, count, plainName } from '../lib/format.js';
import { icon } from '../lib/icons.js';
import { go, linkTo } from '../lib/route.js';
import { Button, Confirm, Empty, Failed, Loading, Select, say, useLoaded } from '../lib/ui.js';
import { t } from '../lib/strings.js';
import { KINDS } from '../lib/types.js';
import { forgetInterrupted, interrupted, uploads } from '../lib/uploads.js';
import { usePaged, useVirtual } from '../lib/virtual.js';
import { Items } from './file-items.js';
import { Viewer } from './viewer.js';

const SORTS = ['-created', 'created', 'name', '-name', '-size', 'size'];
const LAYOUT = 'dossier.layout';
const TYPING = 200;
/** How long several uploads that end together are waited for, before the list is read anew. */
const SETTLE = 400;

function AddButtons({ onFiles }) {
  const [files, folder, camera] = [useRef(null), useRef(null), useRef(null)];
  const chosen = (event) => {
    onFiles([...event.target.files].map((file) => ({ file })));
    event.target.value = '';
  };
  const folderChosen = (event) => {
    onFiles(ofFolder(event.target.files));
    event.target.value = '';
  };
  const isTouch = window.matchMedia('(pointer: coarse)').matches;
  return html`<div class="adds">
    <input ref=${files} type="file" multiple hidden onChange=${chosen} data-test="files" />
    <input ref=${folder} type="file" webkitdirectory hidden onChange=${folderChosen} data-test="folder" />
    <input ref=${camera} type="file" accept="image/*" capture="environment" hidden onChange=${chosen} />
    ${isTouch ? html`<${Button} iconOnly icon="camera" label=${t('files.camera')} onClick=${() => camera.current.click()} />`
      : html`<${Button} iconOnly icon="folder" label=${t('files.addFolder')} onClick=${() => folder.current.click()} />`}
    <${Button} icon="plus" kind="primary" label=${t('files.add')} onClick=${() => files.current.click()} /></div>`;
}

function Interrupted({ contactId }) {
  const [list, setList] = useState(() => interrupted(contactId));
  useEffect(() => {
    const changed = () => setList((before) => (before.length > 0 ? interrupted(contactId) : before));
    uploads.addEventListener('change', changed);
    return () => uploads.removeEventListener('change', changed);
  }, []);
  if (list.length === 0) return null;
  const names = list.slice(0, 3).map(({ name }) => plainName(name)).join(', ');
  const forget = () => {
    forgetInterrupted(list);
    setList([]);
  };
  return html`<p class="notice"><span>${t('files.interrupted', { count: list.length, names })}</span>
    <${Button} kind="quiet" label=${t('files.forget')} onClick=${forget} /></p>`;
}

/** Dropping anywhere in the window, and pasting. */
function useGiven(onFiles) {
  const [isOver, setOver] = useState(false);
  const depth = useRef(0);
  const handler = useRef(onFiles);
  handler.current = onFiles;
  useEffect(() => {
    const moved = (by) => (event) => {
      if (!hasFiles(event.dataTransfer) || !handler.current) return;
      event.preventDefault();
      depth.current += by;
      setOver(depth.current > 0);
    };
    const [enter, leave, over] = [moved(1), moved(-1), moved(0)];
    const drop = async (event) => {
      if (!hasFiles(event.dataTransfer)) return;
      event.preventDefault();
      depth.current = 0;
      setOver(false);
      handler.current?.(await dropped(event.dataTransfer));
    };
    const paste = (event) => {
      if (hasFiles(event.clipboardData) && handler.current) handler.current(pasted(event.clipboardData));
    };
    const all = { dragenter: enter, dragleave: leave, dragover: over, drop, paste };
    for (const [name, listener] of Object.entries(all)) window.addEventListener(name, listener);
    return () => { for (const [name, listener] of Object.entries(all)) window.removeEventListener(name, listener); };
  }, []);
  return isOver;
}

/** Reads the list anew when uploads of this contact have ended. */
function useAdded(contactId, again) {
  const handler = useRef(again);
  handler.current = again;
  useEffect(() => {
    let timer = 0;
    const added = (event) => {
      if (event.detail.contactId !== contactId) return;
      clearTimeout(timer);
      timer = setTimeout(() => handler.current(), SETTLE);
    };
    uploads.addEventListener('added', added);
    return () => {
      clearTimeout(timer);
      uploads.removeEventListener('added', added);
    };
  }, [contactId]);
}

function DeleteDialog({ files, onGo, onClose }) {
  const days = api.session().server.trashDays;
  return html`<${Confirm} title=${t('delete.title', { count: files.length, name: plainName(files[0].fileName) })}
      go=${t('delete.go')} onGo=${onGo} onClose=${onClose}>
    <p>${days > 0 ? t('delete.trash', { days }) : t('delete.final')}</p><//>`;
}

function Bar({ contact, list, wishes, wish, layout, setLayout, onFiles }) {
  const [typed, setTyped] = useState(wishes.search);
  useEffect(() => {
    const timer = setTimeout(() => typed.trim() !== wishes.search && wish({ search: typed.trim() }), TYPING);
    return () => clearTimeout(timer);
  }, [typed]);
  useEffect(() => setTyped(wishes.search), [wishes.search]);
  const name = contact ? contactName(contact) ?? t('contacts.unnamed') : '\u00A0';
  return html`
    <div class="bar">
      <a class="button quiet icon-only" href=${linkTo('contacts')} aria-label=${t('files.back')} title=${t('files.back')}>${icon('left')}</a>
      <div class="titles"><h1>${name}</h1><small class="soft mono">${contact?.id}</small></div>
      ${onFiles && html`<${AddButtons} onFiles=${onFiles} />`}
    </div>
    <div class="bar tools">
      <label class="search">${icon('search')}<span class="visually-hidden">${t('files.search')}</span>
        <input id="file-search" type="search" placeholder=${t('files.search')} value=${typed}
          onInput=${(event) => setTyped(event.target.value)}
          onKeyDown=${(event) => event.key === 'Escape' && (setTyped(''), event.target.blur())} /></label>
      <${Select} label=${t('files.type')} value=${wishes.type} onChange=${(type) => wish({ type })}
        options=${[['', t('files.type.all')], ...KINDS.map((kind) => [kind, t(`kind.${kind}`)])]} />
      <${Select} label=${t('files.sort')} value=${wishes.sort} onChange=${(sort) => wish({ sort })}
        options=${SORTS.map((key) => [key, t(`files.sort.${key}`)])} />
      <span class="soft count" role="status">${!list.isFirst && t('files.count', { count: list.total }).replace(String(list.total), count(list.total))}</span>
      <div class="toggle" role="group" aria-label=${t('files.view')}>
        ${['grid', 'list'].map((key) => html`<button type="button" key=${key} class="button icon-only" aria-pressed=${layout === key}
          aria-label=${t(`files.view.${key}`)} title=${t(`files.view.${key}`)} onClick=${() => setLayout(key)}>${icon(key)}</button>`)}
      </div>
      ${list.total > 0 && html`<a class="button icon-only" href=${api.zipUrl(contact?.id ?? '')} download
        aria-label=${t('files.zip')} title=${t('files.zip')}>${icon('download')}</a>`}
    </div>`;
}

export function Files({ contactId, route }) {
  const wishes = {
    search: route.query.get('search') ?? '', type: route.query.get('type') ?? '', sort: route.query.get('sort') ?? SORTS[0],
  };
  const [layout, keepLayout] = useState(localStorage.getItem(LAYOUT) === 'list' ? 'list' : 'grid');
  const [selected, setSelected] = useState(new Set());
  const [opened, setOpened] = useState(null);
  const [deleting, setDeleting] = useState(null);
  const mayChange = api.session().role !== 'viewer';
  const contact = useLoaded(() => api.getContact(contactId), [contactId]);
  const list = usePaged(async (cursor, signal) => {
    const page = await api.files(contactId, { ...wishes, cursor, signal });
    return { items: page.files, next: page.next, total: page.total };
  }, [contactId, wishes.search, wishes.type, wishes.sort]);
  const again = () => { list.again(); contact.again(); };
  const add = (files) => {
    if (files.length > MOST) say(t('uploads.tooMany', { count: MOST }));
    if (files.length > 0) uploads.add(contactId, files.slice(0, MOST));
  };
  const onFiles = mayChange ? add : null;
  const isOver = useGiven(onFiles);
  useAdded(contactId, again);
  const name = contact.value ? contactName(contact.value) ?? t('contacts.unnamed') : '';
  useEffect(() => { document.title = `${name || t('files.title')} · ${t('app.name')}`; }, [name]);
  const wish = (change) => go(['contacts', contactId], { ...wishes, ...change }, true);
  const setLayout = (chosen) => {
    localStorage.setItem(LAYOUT, chosen);
    keepLayout(chosen);
  };
  const remove = async () => {
    const ids = new Set(deleting.map(({ id }) => id));
    await deleteFiles(contactId, deleting, {
      gone: (gone) => list.change((items) => items.filter(({ id }) => !gone.includes(id))),
      back: again,
    });
    setDeleting(null);
    setSelected((before) => new Set([...before].filter((id) => !ids.has(id))));
    if (opened && ids.has(opened)) setOpened(null);
  };
  const chosen = list.items.filter(({ id }) => selected.has(id));
  const at = list.items.findIndex(({ id }) => id === opened);
  return html`<section class="view files">
    <${Bar} contact=${contact.value} list=${list} wishes=${wishes} wish=${wish} layout=${layout} setLayout=${setLayout} onFiles=${onFiles} />
    <${Interrupted} contactId=${contactId} />
    <${Body} list=${list} wishes=${wishes} wish=${wish} layout=${layout} selected=${selected} setSelected=${setSelected}
      mayChange=${mayChange} onOpen=${setOpened} onDelete=${mayChange ? setDeleting : null} />
    ${chosen.length > 0 && html`<div class="selection" role="status"><b>${t('files.selected', { count: chosen.length })}</b>
      <${Button} kind="quiet" label=${t('files.clearSelection')} onClick=${() => setSelected(new Set())} />
      ${mayChange && html`<${Button} icon="trash" kind="danger" label=${t('files.delete')} onClick=${() => setDeleting(chosen)} />`}</div>`}
    ${isOver && html`<div class="drop-here"><div>${icon('upload')}<b>${t('files.drop', { name })}</b></div></div>`}
    ${at >= 0 && html`<${Viewer} file=${list.items[at]} contactId=${contactId} mayChange=${mayChange}
      previous=${list.items[at - 1]} next=${list.items[at + 1]} onOpen=${setOpened} onClose=${() => setOpened(null)}
      onDelete=${mayChange ? (file) => setDeleting([file]) : null}
      onChanged=${(file) => list.change((items) => items.map((one) => (one.id === file.id ? { ...one, ...file } : one)))} />`}
    ${deleting && html`<${DeleteDialog} files=${deleting} onGo=${remove} onClose=${() => setDeleting(null)} />`}
  </section>`;
}

function Body({ list, wishes, wish, layout, mayChange, ...rest }) {
  const isGrid = layout === 'grid';
  const virtual = useVirtual({ total: list.total, rowRem: isGrid ? 13.5 : 3.25, columnRem: isGrid ? 11.5 : null });
  useEffect(() => { if (!list.isFirst) list.want(virtual.to + 2 * virtual.perPage); }, [virtual.to, virtual.perPage, list.isFirst]);
  if (list.error && list.items.length === 0) return html`<${Failed} error=${list.error} retry=${list.again} />`;
  if (list.isFirst) return html`<${Loading} />`;
  if (list.total === 0 && (wishes.search || wishes.type)) {
    return html`<${Empty} icon="search" title=${t('files.none')}><p>${t('files.noneLead')}</p>
      <${Button} label=${t('files.clear')} onClick=${() => wish({ search: '', type: '' })} /><//>`;
  }
  if (list.total === 0) {
    return html`<${Empty} icon="upload" title=${t('files.empty')}><p>${t(mayChange ? 'files.emptyLead' : 'files.emptyViewer')}</p><//>`;
  }
  return html`<${Items} list=${list} virtual=${virtual} layout=${layout} ...${rest} />`;
}
