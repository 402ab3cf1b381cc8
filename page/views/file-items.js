// Files as cards or lines, of which only those in sight are in the page; moved through by keyboard.

import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import { ago, dateTime, plainName, size } from '../lib/format.js';
import { icon } from '../lib/icons.js';
import { ShortName } from '../lib/ui.js';
import { t } from '../lib/strings.js';

/** A preview, or the kind of file where there is none or it cannot be had. */
export function Thumb({ file }) {
  const [isBroken, setBroken] = useState(false);
  if (!file.preview || isBroken) return html`<span class="thumb kind-${file.type}">${icon(file.type)}</span>`;
  return html`<span class="thumb"><img src=${file.preview} alt="" loading="lazy" decoding="async" draggable=${false}
    onError=${() => setBroken(true)} /></span>`;
}

function Item({ file, index, style, layout, isSelected, isCurrent, onOpen, onSelect, total }) {
  if (!file) return html`<li class="item ${layout} skeleton" style=${style} aria-hidden="true"><div class="card"></div></li>`;
  const name = plainName(file.fileName);
  return html`<li class="item ${layout} ${isSelected ? 'selected' : ''}" style=${style} aria-setsize=${total} aria-posinset=${index + 1}>
    <div class="card">
      <button type="button" class="open" data-index=${index} tabindex=${isCurrent ? 0 : -1} onClick=${() => onOpen(file.id)}>
        <span class="visually-hidden">${t('files.open', { name })}</span>
        <${Thumb} file=${file} />
        <span class="names"><span aria-hidden="true"><${ShortName} name=${file.fileName} /></span>
          <small class="soft">${layout === 'grid' ? [file.label && plainName(file.label), file.size && size(file.size), t(`kind.${file.type}`)].filter(Boolean).slice(0, 2).join(' · ')
            : file.label && plainName(file.label)}</small></span>
        ${layout === 'list' && html`<span class="soft kind">${t(`kind.${file.type}`)}</span>
          <span class="number">${size(file.size)}</span>
          <span class="when soft" title=${dateTime(file.createdAt)}>${ago(file.createdAt)}</span>`}
      </button>
      <input type="checkbox" class="pick" checked=${isSelected} tabindex=${isCurrent ? 0 : -1} aria-label=${t('files.select', { name })}
        onClick=${(event) => onSelect(index, event.shiftKey)} />
    </div></li>`;
}

/** Where a key leads to from an item. */
function moved(key, at, { columns, perPage }, total) {
  const steps = {
    ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: perPage, PageUp: -perPage,
    Home: -total, End: total,
  };
  if (!(key in steps)) return null;
  const to = at + steps[key];
  if (['ArrowDown', 'ArrowUp'].includes(key) && (to < 0 || to >= total)) return at;
  return Math.min(total - 1, Math.max(0, to));
}

export function Items({ list, virtual, layout, selected, setSelected, onOpen, onDelete }) {
  const [current, setCurrent] = useState(0);
  const wantsFocus = useRef(false);
  const anchor = useRef(0);
  const total = list.total;
  const at = Math.min(current, total - 1);
  const focus = (index) => {
    const button = virtual.ref.current?.querySelector(`[data-index="${index}"]`);
    if (!button) return;
    button.focus({ preventScroll: true });
    wantsFocus.current = false;
  };
  // What comes into sight only now.
  useEffect(() => { if (wantsFocus.current) focus(at); });
  const move = (to) => {
    setCurrent(to);
    virtual.show(to);
    list.want(to + 1);
    wantsFocus.current = true;
    // At once where it is in sight: the next key may come before the next frame.
    focus(to);
  };
  const select = (index, isRange) => {
    const next = new Set(selected);
    const [from, to] = isRange ? [anchor.current, index].sort((a, b) => a - b) : [index, index];
    const isAdding = isRange || !selected.has(list.items[index]?.id);
    for (const { id } of list.items.slice(from, to + 1)) if (isAdding) next.add(id); else next.delete(id);
    anchor.current = index;
    setSelected(next);
  };
  const keys = useRef(null);
  keys.current = (event) => {
    if (event.defaultPrevented || event.altKey || document.querySelector('dialog[open]')) return;
    const isTyping = event.target.closest?.('input:not([type=checkbox]), textarea, select');
    if (event.key === '/' && !isTyping) {
      event.preventDefault();
      document.getElementById('file-search')?.focus();
      return;
    }
    const isHere = virtual.ref.current?.contains(event.target);
    if (isTyping || (!isHere && event.target !== document.body && event.target.id !== 'main')) return;
    const to = moved(event.key, at, virtual, total);
    if (to !== null) {
      event.preventDefault();
      move(isHere ? to : at);
    } else if (event.key === ' ' && isHere && event.target.type !== 'checkbox') {
      event.preventDefault();
      select(at, event.shiftKey);
    } else if (event.key.toLowerCase() === 'a' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      setSelected(new Set(list.items.map(({ id }) => id)));
    } else if (event.key === 'Delete' && onDelete) {
      const files = selected.size > 0 ? list.items.filter(({ id }) => selected.has(id)) : list.items.slice(at, at + 1);
      wantsFocus.current = isHere;
      if (files.length > 0) onDelete(files);
    } else if (event.key === 'Escape') {
      setSelected(new Set());
    }
  };
  useEffect(() => {
    const pressed = (event) => keys.current(event);
    window.addEventListener('keydown', pressed);
    return () => window.removeEventListener('keydown', pressed);
  }, []);
  const focused = (event) => {
    const index = event.target.dataset?.index;
    if (index !== undefined) setCurrent(Number(index));
  };
  const indexes = Array.from({ length: virtual.to - virtual.from }, (_, offset) => virtual.from + offset);
  return html`<div class="scroller ${layout}" ref=${virtual.ref} onFocusIn=${focused} tabindex="-1">
    <ul class="virtual" aria-label=${t('files.list')} style=${{ height: `${virtual.height}px` }}>
      ${indexes.map((index) => html`<${Item} key=${list.items[index]?.id ?? index} file=${list.items[index]} index=${index}
        total=${total} style=${virtual.style(index)} layout=${layout} isCurrent=${index === at}
        isSelected=${selected.has(list.items[index]?.id)} onOpen=${(id) => { wantsFocus.current = false; onOpen(id); }} onSelect=${select} />`)}
    </ul></div>`;
}
