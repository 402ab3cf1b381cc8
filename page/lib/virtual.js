// Long lists: only the visible rows are in the document, and only the needed pages are fetched.

import { useEffect, useLayoutEffect, useRef, useState } from '../vendor/preact.js';
import { isAbort } from './api.js';

/** Rows kept in the document above and below the visible ones. */
const MARGIN = 4;

/**
 * @typedef {{
 *   ref: { current: HTMLElement | null }, columns: number, height: number, from: number, to: number, perPage: number,
 *   scrollTo: (index: number) => void, style: (index: number) => Record<string, string>,
 * }} Virtual the items from `from` up to `to` belong in the document; `perPage` are visible at once
 */

/**
 * Which items are visible in the scrolling element `ref`. All rows have the same height.
 *
 * @param {{ total: number, rowRem: number, columnRem: number | null }} list `columnRem` is the minimum width of a
 *   column of a grid; null for a list
 * @returns {Virtual}
 */
export function useVirtual({ total, rowRem, columnRem }) {
  /** @type {{ current: HTMLElement | null }} */
  const ref = useRef(null);
  const [viewport, setViewport] = useState({ top: 0, height: 800, width: 800 });
  useLayoutEffect(() => {
    const element = ref.current;
    if (!element) return undefined;
    const measure = () => setViewport((before) => {
      const now = { top: element.scrollTop, height: element.clientHeight, width: element.clientWidth };
      const isSame = now.top === before.top && now.height === before.height && now.width === before.width;
      return isSame ? before : now;
    });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener('scroll', measure, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener('scroll', measure);
    };
  }, [total > 0]);
  const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
  const rowHeight = rowRem * rem;
  const columns = columnRem ? Math.max(1, Math.floor(viewport.width / (columnRem * rem))) : 1;
  const rows = Math.ceil(total / columns);
  const first = Math.max(0, Math.floor(viewport.top / rowHeight) - MARGIN);
  const last = Math.min(rows, Math.ceil((viewport.top + viewport.height) / rowHeight) + MARGIN);
  /** @param {number} index */
  const scrollTo = (index) => {
    const element = ref.current;
    if (!element) return;
    // The padding scrolls with the rows; the same space stays visible below the last one.
    const padding = Number.parseFloat(getComputedStyle(element).paddingTop);
    const top = Math.floor(index / columns) * rowHeight;
    const bottom = top + rowHeight + 2 * padding;
    if (top < element.scrollTop) element.scrollTop = top;
    if (bottom > element.scrollTop + element.clientHeight) element.scrollTop = bottom - element.clientHeight;
  };
  return {
    ref, columns, scrollTo, height: rows * rowHeight, from: first * columns, to: Math.min(total, last * columns),
    perPage: Math.max(1, Math.floor(viewport.height / rowHeight)) * columns,
    style: (index) => ({
      top: `${Math.floor(index / columns) * rowHeight}px`, height: `${rowHeight}px`,
      left: `${((index % columns) / columns) * 100}%`, width: `${100 / columns}%`,
    }),
  };
}

/**
 * @template T
 * @typedef {{ items: T[], next: string | null, total?: number }} Page
 */
/**
 * A list as far as it was fetched. `isFirst` until the first page has come or failed.
 *
 * @template T
 * @typedef {{
 *   items: T[], next: string | null, total: number, isFirst: boolean, error: unknown,
 *   fetchUpTo: (count: number) => void, edit: (change: (items: T[]) => T[]) => void, reload: () => void,
 * }} Paged
 */

/**
 * A list that is fetched page by page, as far as needed.
 *
 * @template T
 * @param {(cursor: string | null, signal: AbortSignal) => Promise<Page<T>>} fetchPage
 * @param {unknown[]} inputs a change of one makes it another list
 * @returns {Paged<T>}
 */
export function usePaged(fetchPage, inputs) {
  /** @typedef {{ items: T[], next: string | null, total: number, isFirst: boolean, error: unknown }} State */
  const [state, setState] = useState(/** @type {State} */ ({ items: [], next: null, total: 0, isFirst: true, error: null }));
  /** @type {{ current: Fetcher<T> | null }} */
  const fetcher = useRef(null);
  const [round, setRound] = useState(0);

  useEffect(() => {
    const current = new Fetcher(fetchPage, (change) => setState((before) => ({ ...before, ...change, isFirst: false })));
    fetcher.current = current;
    setState((before) => ({ ...before, error: null }));
    current.run();
    return () => current.stop();
  }, [...inputs, round]);

  return {
    ...state,
    fetchUpTo: (count) => fetcher.current?.fetchUpTo(count),
    edit: (change) => fetcher.current?.edit(change),
    reload: () => setRound((before) => before + 1),
  };
}

/**
 * Fetches the pages of one list, one after another.
 *
 * @template T
 */
class Fetcher {
  /** @type {T[]} */
  #items = [];
  /** @type {string | null} */
  #next = null;
  #total = 0;
  #needed = 1;
  #isBusy = false;
  #isComplete = false;
  #control = new AbortController();
  #fetchPage;
  #report;

  /**
   * @param {(cursor: string | null, signal: AbortSignal) => Promise<Page<T>>} fetchPage
   * @param {(change: { items?: T[], next?: string | null, total?: number, error?: unknown }) => void} report
   */
  constructor(fetchPage, report) {
    this.#fetchPage = fetchPage;
    this.#report = report;
  }

  stop() {
    this.#control.abort();
  }

  async run() {
    if (this.#isBusy) return;
    this.#isBusy = true;
    try {
      while (!this.#isComplete && this.#items.length < this.#needed) {
        const page = await this.#fetchPage(this.#next, this.#control.signal);
        this.#items = [...this.#items, ...page.items];
        this.#next = page.next;
        this.#isComplete = page.next === null;
        this.#total = page.total ?? this.#items.length + (this.#isComplete ? 0 : 1);
        this.#report({ items: this.#items, next: this.#next, total: this.#total, error: null });
      }
    } catch (error) {
      if (!isAbort(error)) this.#report({ error });
    }
    this.#isBusy = false;
  }

  /** @param {number} count */
  fetchUpTo(count) {
    if (count <= this.#needed) return;
    this.#needed = count;
    this.run();
  }

  /**
   * Changes the items without fetching them again.
   *
   * @param {(items: T[]) => T[]} change
   */
  edit(change) {
    const before = this.#items.length;
    this.#items = change(this.#items);
    this.#total += this.#items.length - before;
    this.#report({ items: this.#items, total: this.#total });
    // Visible items may have been removed while others are not fetched yet.
    this.run();
  }
}
