// Long lists of which only what is seen is in the page.

import { useEffect, useLayoutEffect, useRef, useState } from '../vendor/preact.js';

/** Rows above and below what is seen. */
const MARGIN = 4;

/**
 * Which items are seen. The element `ref` scrolls; all rows are of one height.
 *
 * @param {{ total: number, rowRem: number, columnRem: number | null }} list `columnRem` is the least width of
 *   a column in a grid; null for a list
 */
export function useVirtual({ total, rowRem, columnRem }) {
  const ref = useRef(null);
  const [place, setPlace] = useState({ top: 0, height: 800, width: 800 });
  useLayoutEffect(() => {
    const element = ref.current;
    if (!element) return undefined;
    const look = () => setPlace((before) => {
      const now = { top: element.scrollTop, height: element.clientHeight, width: element.clientWidth };
      const same = now.top === before.top && now.height === before.height && now.width === before.width;
      return same ? before : now;
    });
    look();
    const observer = new ResizeObserver(look);
    observer.observe(element);
    element.addEventListener('scroll', look, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener('scroll', look);
    };
  }, [total > 0]);
  const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
  const row = rowRem * rem;
  const columns = columnRem ? Math.max(1, Math.floor(place.width / (columnRem * rem))) : 1;
  const rows = Math.ceil(total / columns);
  const first = Math.max(0, Math.floor(place.top / row) - MARGIN);
  const last = Math.min(rows, Math.ceil((place.top + place.height) / row) + MARGIN);
  const show = (index) => {
    const element = ref.current;
    if (!element) return;
    // What stands above the rows scrolls with them, and is left in sight below the last one too.
    const [top, space] = [Math.floor(index / columns) * row, Number.parseFloat(getComputedStyle(element).paddingTop)];
    if (top < element.scrollTop) element.scrollTop = top;
    const bottom = top + row + 2 * space;
    if (bottom > element.scrollTop + element.clientHeight) element.scrollTop = bottom - element.clientHeight;
  };
  return {
    ref, columns, show, height: rows * row, from: first * columns, to: Math.min(total, last * columns),
    perPage: Math.max(1, Math.floor(place.height / row)) * columns,
    style: (index) => ({
      top: `${Math.floor(index / columns) * row}px`, height: `${row}px`,
      left: `${((index % columns) / columns) * 100}%`, width: `${100 / columns}%`,
    }),
  };
}

/**
 * A list that is fetched page by page, as far as it is needed.
 *
 * @template T
 * @param {(cursor: string | null, signal: AbortSignal) => Promise<{ items: T[], next: string | null, total?: number }>} fetchPage
 * @param {any[]} needs what makes it another list
 */
export function usePaged(fetchPage, needs) {
  const [state, setState] = useState({ items: [], next: null, total: 0, isFirst: true, error: null });
  const work = useRef(null);
  const [round, setRound] = useState(0);

  useEffect(() => {
    const control = new AbortController();
    const own = { items: [], next: null, total: 0, wanted: 1, busy: false, ended: false, control };
    work.current = own;
    own.more = async () => {
      if (own.busy || own.ended) return;
      own.busy = true;
      try {
        while (!own.ended && own.items.length < own.wanted) {
          const page = await fetchPage(own.next, control.signal);
          own.items = [...own.items, ...page.items];
          own.next = page.next;
          own.ended = page.next === null;
          own.total = page.total ?? own.items.length + (own.ended ? 0 : 1);
          setState({ items: own.items, next: own.next, total: own.total, isFirst: false, error: null });
        }
      } catch (error) {
        if (error.name !== 'AbortError') setState((before) => ({ ...before, error, isFirst: false }));
      }
      own.busy = false;
    };
    setState((before) => ({ ...before, error: null, isStale: true }));
    own.more();
    return () => control.abort();
  }, [...needs, round]);

  const want = (count) => {
    const own = work.current;
    if (!own || count <= own.wanted) return;
    own.wanted = count;
    own.more();
  };
  /** Changes items in place: what was removed or changed by hand needs no fetching. */
  const change = (edit) => {
    const own = work.current;
    const before = own.items.length;
    own.items = edit(own.items);
    own.total += own.items.length - before;
    setState((last) => ({ ...last, items: own.items, total: own.total }));
    // What was in sight may be gone, with more behind it.
    own.more();
  };
  return { ...state, want, change, again: () => setRound((before) => before + 1) };
}
