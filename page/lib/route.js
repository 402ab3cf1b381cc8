// The open view, as the fragment of the URL, so that the browser's history works.

import { useEffect, useState } from '../vendor/preact.js';

/** @typedef {{ path: string[], query: URLSearchParams }} Route */

/**
 * A part of the fragment, decoded. One that is not valid percent encoding is taken as it is.
 *
 * @param {string} text
 */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @returns {Route} */
export function currentRoute() {
  const [path = '', query = ''] = window.location.hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').filter(Boolean).map(decoded);
  return { path: parts.length ? parts : ['contacts'], query: new URLSearchParams(query) };
}

/** @param {string[]} path */
export const linkTo = (...path) => `#/${path.map(encodeURIComponent).join('/')}`;

/**
 * Opens a view.
 *
 * @param {string[]} path
 * @param {Record<string, string>} [query] empty values are left out
 * @param {boolean} [inPlace] replaces the current entry of the history: for the same view with other filters
 */
export function go(path, query = {}, inPlace = false) {
  const parameters = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  const fragment = `${linkTo(...path)}${parameters.size ? `?${parameters}` : ''}`;
  if (inPlace) {
    window.history.replaceState(null, '', fragment);
    window.dispatchEvent(new HashChangeEvent('hashchange'));
  } else {
    window.location.hash = fragment;
  }
}

export function useRoute() {
  const [route, setRoute] = useState(currentRoute);
  useEffect(() => {
    const changed = () => setRoute(currentRoute());
    window.addEventListener('hashchange', changed);
    return () => window.removeEventListener('hashchange', changed);
  }, []);
  return route;
}
