// The files of a contact, in a grid or a list. Only the visible ones are in the document. Keys move through all.

/**
 * @import { TargetedMouseEvent } from '../vendor/preact.js'
 * @import { Attachment } from '../lib/types.js'
 * @import { Paged, Virtual } from '../lib/virtual.js'
 */

import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import { ago, dateTime, plainName, size } from '../lib/format.js';
import { icon } from '../lib/icons.js';
import { ShortName } from '../lib/ui.js';
import { t } from '../lib/strings.js';

/** @typedef {'grid' | 'list'} Layout */

/**
 * The preview of a file, or an icon of its kind if there is none or it cannot be loaded.
 *
 * @param {{ file: Attachment }} props
 */
function Thumb({ file }) {
  const [isBroken, setBroken] = useState(false);
  if (!file.preview || isBroken) return html`<span class="thumb kind-${file.type}">${icon(file.type)}</span>`;
  return html`<span class="thumb"><img src=${file.preview} alt="" loading="lazy" decoding="async" draggable=${false}
    onError=${() => setBroken(true)} /></span>`;
}

/**
 * The line below a file's name: in the grid two facts, in the list the label, as the others have columns.
 *
 * @param {Attachment} file
 * @param {Layout} layout
 */
function caption(file, layout) {
  const label = file.label && plainName(file.label);
  if (layout === 'list') return label;
  return [label, size(file.size), t(`kind.${file.type}`)].filter(Boolean).slice(0, 2).join(' · ');
}

/**
 * One file. Without `file` it is not fetched yet.
 *
 * @param {{ file: Attachment | undefined, index: number, total: number, style: Record<string, string>, layout: Layout,
 *   isSelected: boolean, isCurrent: boolean, onOpen: (id: string) => void, onSelect: (index: number, isRange: boolean) => void }} props
 */
function Item({ file, index, total, style, layout, isSelected, isCurrent, onOpen, onSelect }) {
  if (!file) return html`<li class="item ${layout} skeleton" style=${style} aria-hidden="true"><div class="card"></div></li>`;
  const name = plainName(file.fileName);
  /** @param {TargetedMouseEvent<HTMLInputElement>} event */
  const picked = (event) => onSelect(index, event.shiftKey);
  return html`<li class="item ${layout} ${isSelected ? 'selected' : ''}" style=${style} aria-setsize=${total} aria-posinset=${index + 1}>
    <div class="card">
      <button type="button" class="open" data-index=${index} tabindex=${isCurrent ? 0 : -1} onClick=${() => onOpen(file.id)}>
        <span class="visually-hidden">${t('files.open', { name })}</span>
        <${Thumb} file=${file} />
        <span class="names"><span aria-hidden="true"><${ShortName} name=${file.fileName} /></span>
          <small class="soft">${caption(file, layout)}</small></span>
        ${layout === 'list' && html`<span class="soft kind">${t(`kind.${file.type}`)}</span>
          <span class="number">${size(file.size)}</span>
          <span class="when soft" title=${dateTime(file.createdAt)}>${ago(file.createdAt)}</span>`}
      </button>
      <input type="checkbox" class="pick" checked=${isSelected} tabindex=${isCurrent ? 0 : -1} aria-label=${t('files.select', { name })}
        onClick=${picked} />
    </div></li>`;
}

/**
 * The index that a key moves to; null if it does not move.
 *
 * @param {string} key
 * @param {number} index
 * @param {Virtual} virtual
 * @param {number} total
 */
function target(key, index, { columns, perPage }, total) {
  const steps = new Map([
    ['ArrowRight', 1], ['ArrowLeft', -1], ['ArrowDown', columns], ['ArrowUp', -columns], ['PageDown', perPage],
    ['PageUp', -perPage], ['Home', -total], ['End', total],
  ]);
  const step = steps.get(key);
  if (step === undefined) return null;
  const to = index + step;
  // Up from the first row and down from the last stay in the column.
  if (['ArrowDown', 'ArrowUp'].includes(key) && (to < 0 || to >= total)) return index;
  return Math.min(total - 1, Math.max(0, to));
}

/**
 * @typedef {{
 *   list: Paged<Attachment>, virtual: Virtual, layout: Layout, selected: Set<string>, setSelected: (ids: Set<string>) => void,
 *   onOpen: (id: string) => void, onDelete: ((files: Attachment[]) => void) | null,
 * }} ItemsProps without `onDelete` the files cannot be deleted
 */

/** @param {ItemsProps} props */
export function Items({ list, virtual, layout, selected, setSelected, onOpen, onDelete }) {
  const [current, setCurrent] = useState(0);
  const wantsFocus = useRef(false);
  const anchor = useRef(0);
  const { items, total } = list;
  const at = Math.min(current, total - 1);
  /** @param {string | undefined} id */
  const isSelected = (id) => id !== undefined && selected.has(id);
  /** @param {number} index */
  const focus = (index) => {
    /** @type {HTMLElement | null | undefined} */
    const button = virtual.ref.current?.querySelector(`[data-index="${index}"]`);
    if (!button) return;
    button.focus({ preventScroll: true });
    wantsFocus.current = false;
  };
  // An item that was not in the document when it was moved to.
  useEffect(() => { if (wantsFocus.current) focus(at); });
  /** @param {number} index */
  const moveTo = (index) => {
    setCurrent(index);
    virtual.scrollTo(index);
    list.fetchUpTo(index + 1);
    wantsFocus.current = true;
    // At once if it is in the document: the next key may come before the next frame.
    focus(index);
  };
  /** @param {number} index @param {boolean} isRange */
  const select = (index, isRange) => {
    const next = new Set(selected);
    const [from, to] = isRange ? [Math.min(anchor.current, index), Math.max(anchor.current, index)] : [index, index];
    const isAdding = isRange || !isSelected(items[index]?.id);
    for (const { id } of items.slice(from, to + 1)) if (isAdding) next.add(id); else next.delete(id);
    anchor.current = index;
    setSelected(next);
  };
  /** @param {boolean} isInList whether the focus was in the list */
  const deleteChosen = (isInList) => {
    const files = selected.size > 0 ? items.filter(({ id }) => selected.has(id)) : items.slice(at, at + 1);
    wantsFocus.current = isInList;
    if (files.length > 0) onDelete?.(files);
  };
  /** @param {KeyboardEvent} event */
  const pressed = (event) => {
    const { key } = event;
    const element = event.target instanceof Element ? event.target : document.body;
    if (event.defaultPrevented || event.altKey || document.querySelector('dialog[open]')) return;
    const isTyping = element.closest('input:not([type=checkbox]), textarea, select') !== null;
    if (key === '/' && !isTyping) {
      event.preventDefault();
      document.getElementById('file-search')?.focus();
      return;
    }
    const isInList = virtual.ref.current?.contains(element) ?? false;
    if (isTyping || (!isInList && element !== document.body && element.id !== 'main')) return;
    const to = target(key, at, virtual, total);
    if (to !== null) {
      event.preventDefault();
      moveTo(isInList ? to : at);
    } else if (key === ' ' && isInList && !(element instanceof HTMLInputElement)) {
      event.preventDefault();
      select(at, event.shiftKey);
    } else if (key.toLowerCase() === 'a' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      setSelected(new Set(items.map(({ id }) => id)));
    } else if (key === 'Delete' && onDelete) {
      deleteChosen(isInList);
    } else if (key === 'Escape') {
      setSelected(new Set());
    }
  };
  const handler = useRef(pressed);
  handler.current = pressed;
  useEffect(() => {
    /** @param {KeyboardEvent} event */
    const listener = (event) => handler.current(event);
    window.addEventListener('keydown', listener);
    return () => window.removeEventListener('keydown', listener);
  }, []);
  /** @param {FocusEvent} event */
  const focused = (event) => {
    const index = event.target instanceof HTMLElement ? event.target.dataset.index : undefined;
    if (index !== undefined) setCurrent(Number(index));
  };
  /** @param {string} id */
  const open = (id) => {
    wantsFocus.current = false;
    onOpen(id);
  };
  const indexes = Array.from({ length: virtual.to - virtual.from }, (_, offset) => virtual.from + offset);
  return html`<div class="scroller ${layout}" ref=${virtual.ref} onFocusIn=${focused} tabindex="-1">
    <ul class="virtual" aria-label=${t('files.list')} style=${{ height: `${virtual.height}px` }}>
      ${indexes.map((index) => html`<${Item} key=${items[index]?.id ?? index} file=${items[index]} index=${index}
        total=${total} style=${virtual.style(index)} layout=${layout} isCurrent=${index === at}
        isSelected=${isSelected(items[index]?.id)} onOpen=${open} onSelect=${select} />`)}
    </ul></div>`;
}
