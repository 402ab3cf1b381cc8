// The files of one contact: shown, searched, added, selected, deleted.

/**
 * @import { TargetedEvent, TargetedKeyboardEvent } from '../vendor/preact.js'
 * @import { NewFile } from '../lib/choose.js'
 * @import { Route } from '../lib/route.js'
 * @import { Attachment, Contact, FileFilters } from '../lib/types.js'
 * @import { Paged } from '../lib/virtual.js'
 * @import { ItemsProps, Layout } from './file-items.js'
 */

import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { MAX_FILES, droppedFiles, folderFiles, hasFiles, pastedFiles } from '../lib/choose.js';
import { deleteFiles, subject } from '../lib/deleting.js';
import { contactName, plainName } from '../lib/format.js';
import { icon } from '../lib/icons.js';
import { go, linkTo } from '../lib/route.js';
import { Button, Confirm, Empty, Failed, Loading, Select, notify, useLoaded } from '../lib/ui.js';
import { t } from '../lib/strings.js';
import { KINDS } from '../lib/types.js';
import { discardInterrupted, interruptedUploads, uploads } from '../lib/uploads.js';
import { usePaged, useVirtual } from '../lib/virtual.js';
import { Items } from './file-items.js';
import { Viewer } from './viewer.js';

/** The first is the default. */
const SORTS = /** @type {const} */ (['-created', 'created', 'name', '-name', '-size', 'size']);
/** @type {[type: string, text: string][]} */
const TYPES = [['', t('files.type.all')], ...KINDS.map((kind) => /** @type {[string, string]} */ ([kind, t(`kind.${kind}`)]))];
/** @type {Layout[]} */
const LAYOUTS = ['grid', 'list'];
/** Key of the layout in the local storage. */
const LAYOUT_KEY = 'dossier.layout';
/** Pause in typing after which a search starts, in milliseconds. */
const TYPING_MS = 200;
/** Pause after a finished upload before the list is fetched again, so that several need one request; in milliseconds. */
const SETTLE_MS = 400;
/** Names shown of interrupted uploads. */
const MAX_NAMES = 3;

/**
 * Changes filters, and with them the URL.
 *
 * @typedef {(change: Partial<FileFilters>) => void} SetFilters
 */
/** @typedef {((files: NewFile[]) => void) | null} OnFiles null where files cannot be added */

/** @param {{ onFiles: (files: NewFile[]) => void }} props */
function AddButtons({ onFiles }) {
  /** @type {{ current: HTMLInputElement | null }} */
  const files = useRef(null);
  /** @type {{ current: HTMLInputElement | null }} */
  const folder = useRef(null);
  /** @type {{ current: HTMLInputElement | null }} */
  const camera = useRef(null);
  /** @param {TargetedEvent<HTMLInputElement>} event */
  const chosen = ({ currentTarget: input }) => {
    const list = [...input.files ?? []];
    onFiles(input === folder.current ? folderFiles(list) : list.map((file) => ({ file })));
    // So that choosing the same file again is a change.
    input.value = '';
  };
  const isTouch = window.matchMedia('(pointer: coarse)').matches;
  return html`<div class="adds">
    <input ref=${files} type="file" multiple hidden onChange=${chosen} data-test="files" />
    <input ref=${folder} type="file" webkitdirectory hidden onChange=${chosen} data-test="folder" />
    <input ref=${camera} type="file" accept="image/*" capture="environment" hidden onChange=${chosen} />
    ${isTouch ? html`<${Button} iconOnly icon="camera" label=${t('files.camera')} onClick=${() => camera.current?.click()} />`
      : html`<${Button} iconOnly icon="folder" label=${t('files.addFolder')} onClick=${() => folder.current?.click()} />`}
    <${Button} icon="plus" kind="primary" label=${t('files.add')} onClick=${() => files.current?.click()} /></div>`;
}

/** @param {{ contactId: string }} props */
function Interrupted({ contactId }) {
  const [list, setList] = useState(() => interruptedUploads(contactId));
  useEffect(() => {
    const changed = () => setList((before) => (before.length > 0 ? interruptedUploads(contactId) : before));
    uploads.addEventListener('change', changed);
    return () => uploads.removeEventListener('change', changed);
  }, []);
  if (list.length === 0) return null;
  const shown = list.slice(0, MAX_NAMES).map(({ name }) => plainName(name));
  const names = [...shown, ...(list.length > MAX_NAMES ? ['…'] : [])].join(', ');
  const discard = () => {
    discardInterrupted(list);
    setList([]);
  };
  return html`<p class="notice"><span>${t('files.interrupted', { count: list.length, names })}</span>
    <${Button} kind="quiet" label=${t('files.discardInterrupted')} onClick=${discard} /></p>`;
}

/**
 * Accepts files that are dropped anywhere in the window or pasted. Returns whether some are dragged over it.
 *
 * @param {OnFiles} onFiles
 */
function useDropAndPaste(onFiles) {
  const [isOver, setOver] = useState(false);
  // Each element that is entered and left sends an event.
  const depth = useRef(0);
  const handler = useRef(onFiles);
  handler.current = onFiles;
  useEffect(() => {
    /** @param {DragEvent} event @param {number} change */
    const dragged = (event, change) => {
      if (!hasFiles(event.dataTransfer) || !handler.current) return;
      event.preventDefault();
      depth.current += change;
      setOver(depth.current > 0);
    };
    /** @param {DragEvent} event */
    const entered = (event) => dragged(event, 1);
    /** @param {DragEvent} event */
    const left = (event) => dragged(event, -1);
    /** @param {DragEvent} event */
    const over = (event) => dragged(event, 0);
    /** @param {DragEvent} event */
    const dropped = async (event) => {
      if (!hasFiles(event.dataTransfer)) return;
      event.preventDefault();
      depth.current = 0;
      setOver(false);
      handler.current?.(await droppedFiles(event.dataTransfer));
    };
    /** @param {ClipboardEvent} event */
    const pasted = ({ clipboardData }) => {
      if (hasFiles(clipboardData)) handler.current?.(pastedFiles(clipboardData));
    };
    const control = new AbortController();
    const options = { signal: control.signal };
    window.addEventListener('dragenter', entered, options);
    window.addEventListener('dragleave', left, options);
    window.addEventListener('dragover', over, options);
    window.addEventListener('drop', dropped, options);
    window.addEventListener('paste', pasted, options);
    return () => control.abort();
  }, []);
  return isOver;
}

/**
 * Calls `reload` after uploads of a contact have finished.
 *
 * @param {string} contactId
 * @param {() => void} reload
 */
function useAdded(contactId, reload) {
  const handler = useRef(reload);
  handler.current = reload;
  useEffect(() => {
    let timer = 0;
    /** @param {Event} event */
    const added = (event) => {
      if (!(event instanceof CustomEvent) || event.detail.contactId !== contactId) return;
      clearTimeout(timer);
      timer = window.setTimeout(() => handler.current(), SETTLE_MS);
    };
    uploads.addEventListener('added', added);
    return () => {
      clearTimeout(timer);
      uploads.removeEventListener('added', added);
    };
  }, [contactId]);
}

/** @param {{ files: Attachment[], onConfirm: () => Promise<void>, onClose: () => void }} props */
function DeleteDialog({ files, onConfirm, onClose }) {
  const days = api.session().server.trashDays;
  return html`<${Confirm} title=${t('delete.title', subject(files))} label=${t('delete.confirm')} onConfirm=${onConfirm} onClose=${onClose}>
    <p>${days > 0 ? t('delete.trash', { count: days }) : t('delete.final')}</p><//>`;
}

/** @param {{ contact: Contact | undefined, contactId: string, onFiles: OnFiles }} props */
function Header({ contact, contactId, onFiles }) {
  // A space keeps the height of the line until the name is there.
  const name = contact ? contactName(contact) ?? t('contacts.unnamed') : '\u00A0';
  return html`<div class="bar">
    <a class="button quiet icon-only" href=${linkTo('contacts')} aria-label=${t('files.back')} title=${t('files.back')}>${icon('left')}</a>
    <div class="titles"><h1>${name}</h1><small class="soft mono">${contactId}</small></div>
    ${onFiles && html`<${AddButtons} onFiles=${onFiles} />`}
  </div>`;
}

/**
 * @param {{ contactId: string, list: Paged<Attachment>, filters: FileFilters, setFilters: SetFilters, layout: Layout,
 *   setLayout: (layout: Layout) => void }} props
 */
function Tools({ contactId, list, filters, setFilters, layout, setLayout }) {
  const [typed, setTyped] = useState(filters.search);
  useEffect(() => {
    const timer = setTimeout(() => { if (typed.trim() !== filters.search) setFilters({ search: typed.trim() }); }, TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  useEffect(() => setTyped(filters.search), [filters.search]);
  /** @param {TargetedEvent<HTMLInputElement>} event */
  const input = (event) => setTyped(event.currentTarget.value);
  /** @param {TargetedKeyboardEvent<HTMLInputElement>} event */
  const pressed = (event) => {
    if (event.key !== 'Escape') return;
    setTyped('');
    event.currentTarget.blur();
  };
  return html`<div class="bar tools">
    <label class="search">${icon('search')}<span class="visually-hidden">${t('files.search')}</span>
      <input id="file-search" type="search" placeholder=${t('files.search')} value=${typed} onInput=${input} onKeyDown=${pressed} /></label>
    <${Select} label=${t('files.type')} value=${filters.type} options=${TYPES}
      onChange=${(/** @type {string} */ type) => setFilters({ type })} />
    <${Select} label=${t('files.sort')} value=${filters.sort} onChange=${(/** @type {string} */ sort) => setFilters({ sort })}
      options=${SORTS.map((key) => [key, t(`files.sort.${key}`)])} />
    <span class="soft count" role="status">${!list.isFirst && t('files.count', { count: list.total })}</span>
    <div class="toggle" role="group" aria-label=${t('files.layout')}>
      ${LAYOUTS.map((key) => html`<button type="button" key=${key} class="button icon-only" aria-pressed=${layout === key}
        aria-label=${t(`files.layout.${key}`)} title=${t(`files.layout.${key}`)} onClick=${() => setLayout(key)}>${icon(key)}</button>`)}
    </div>
    ${list.total > 0 && html`<a class="button icon-only" href=${api.zipUrl(contactId)} download
      aria-label=${t('files.zip')} title=${t('files.zip')}>${icon('download')}</a>`}
  </div>`;
}

/** @param {Omit<ItemsProps, 'virtual'> & { filters: FileFilters, setFilters: SetFilters, mayChange: boolean }} props */
function Body({ list, filters, setFilters, layout, mayChange, ...rest }) {
  const isGrid = layout === 'grid';
  const virtual = useVirtual({ total: list.total, rowRem: isGrid ? 13.5 : 3.25, columnRem: isGrid ? 11.5 : null });
  useEffect(() => {
    if (!list.isFirst) list.fetchUpTo(virtual.to + 2 * virtual.perPage);
  }, [virtual.to, virtual.perPage, list.isFirst]);
  if (list.error && list.items.length === 0) return html`<${Failed} error=${list.error} retry=${list.reload} />`;
  if (list.isFirst) return html`<${Loading} />`;
  if (list.total === 0 && (filters.search || filters.type)) {
    return html`<${Empty} icon="search" title=${t('files.noMatch')}><p>${t('files.noMatchLead')}</p>
      <${Button} label=${t('files.clearFilters')} onClick=${() => setFilters({ search: '', type: '' })} /><//>`;
  }
  if (list.total === 0) {
    return html`<${Empty} icon="upload" title=${t('files.empty')}><p>${t(mayChange ? 'files.emptyLead' : 'files.emptyViewer')}</p><//>`;
  }
  return html`<${Items} list=${list} virtual=${virtual} layout=${layout} ...${rest} />`;
}

/** @returns {[layout: Layout, setLayout: (layout: Layout) => void]} */
function useLayout() {
  const [layout, setLayout] = useState(() => LAYOUTS.find((known) => known === localStorage.getItem(LAYOUT_KEY)) ?? 'grid');
  /** @param {Layout} chosen */
  const choose = (chosen) => {
    localStorage.setItem(LAYOUT_KEY, chosen);
    setLayout(chosen);
  };
  return [layout, choose];
}

/** @param {{ contactId: string, route: Route }} props */
export function Files({ contactId, route }) {
  /** @type {FileFilters} */
  const filters = {
    search: route.query.get('search') ?? '', type: route.query.get('type') ?? '', sort: route.query.get('sort') ?? SORTS[0],
  };
  const [layout, setLayout] = useLayout();
  const [selected, setSelected] = useState(/** @type {Set<string>} */ (new Set()));
  const [opened, setOpened] = useState(/** @type {string | null} */ (null));
  const [deleting, setDeleting] = useState(/** @type {Attachment[] | null} */ (null));
  const mayChange = api.session().role !== 'viewer';
  const contact = useLoaded(() => api.getContact(contactId), [contactId]);
  const list = usePaged(async (cursor, signal) => {
    const page = await api.files(contactId, { ...filters, cursor, signal });
    return { items: page.files, next: page.next, total: page.total };
  }, [contactId, filters.search, filters.type, filters.sort]);
  const reload = () => { list.reload(); contact.reload(); };
  /** @param {NewFile[]} files */
  const add = (files) => {
    if (files.length > MAX_FILES) notify(t('uploads.tooMany', { limit: MAX_FILES }));
    if (files.length > 0) uploads.add(contactId, files.slice(0, MAX_FILES));
  };
  const onFiles = mayChange ? add : null;
  const isOver = useDropAndPaste(onFiles);
  useAdded(contactId, reload);
  const name = contact.value ? contactName(contact.value) ?? t('contacts.unnamed') : '';
  useEffect(() => { document.title = `${name || t('files.title')} · ${t('app.name')}`; }, [name]);
  /** @type {SetFilters} */
  const setFilters = (change) => go(['contacts', contactId], { ...filters, ...change }, true);
  /** @param {Attachment[]} files */
  const remove = async (files) => {
    const ids = new Set(files.map(({ id }) => id));
    await deleteFiles(contactId, files, {
      removed: (removed) => list.edit((items) => items.filter(({ id }) => !removed.includes(id))),
      restored: reload,
    });
    setDeleting(null);
    setSelected((before) => new Set([...before].filter((id) => !ids.has(id))));
    if (opened && ids.has(opened)) setOpened(null);
  };
  /** @param {Attachment} changed */
  const replace = (changed) => list.edit((items) => items.map((item) => (item.id === changed.id ? changed : item)));
  const chosen = list.items.filter(({ id }) => selected.has(id));
  const at = list.items.findIndex(({ id }) => id === opened);
  const file = list.items[at];
  return html`<section class="view files">
    <${Header} contact=${contact.value} contactId=${contactId} onFiles=${onFiles} />
    <${Tools} contactId=${contactId} list=${list} filters=${filters} setFilters=${setFilters} layout=${layout} setLayout=${setLayout} />
    <${Interrupted} contactId=${contactId} />
    <${Body} list=${list} filters=${filters} setFilters=${setFilters} layout=${layout} selected=${selected} setSelected=${setSelected}
      mayChange=${mayChange} onOpen=${setOpened} onDelete=${mayChange ? setDeleting : null} />
    ${chosen.length > 0 && html`<div class="selection" role="status"><b>${t('files.selected', { selected: chosen.length })}</b>
      <${Button} kind="quiet" label=${t('files.clearSelection')} onClick=${() => setSelected(new Set())} />
      ${mayChange && html`<${Button} icon="trash" kind="danger" label=${t('files.delete')} onClick=${() => setDeleting(chosen)} />`}</div>`}
    ${isOver && html`<div class="drop-here"><div>${icon('upload')}<b>${t('files.drop', { name })}</b></div></div>`}
    ${file && html`<${Viewer} file=${file} contactId=${contactId} mayChange=${mayChange}
      previous=${list.items[at - 1]} next=${list.items[at + 1]} onOpen=${setOpened} onClose=${() => setOpened(null)}
      onDelete=${mayChange ? () => setDeleting([file]) : null} onChanged=${replace} />`}
    ${deleting && html`<${DeleteDialog} files=${deleting} onConfirm=${() => remove(deleting)} onClose=${() => setDeleting(null)} />`}
  </section>`;
}
