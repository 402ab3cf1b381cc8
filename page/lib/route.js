// Which view is open: what stands behind `#` in the address, so that going back and forth works.

import { useEffect, useState } from '../vendor/preact.js';

/**
 * @typedef {{ path: string[], query: URLSearchParams }} Route
 * @returns {Route}
 */
export function currentRoute() {
  const [path, query] = window.location.hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').filter(Boolean).map(decodeURIComponent);
  return { path: parts.length ? parts : ['contacts'], query: new URLSearchParams(query ?? '') };
}

export const linkTo = (...path) => `#/${path.map(encodeURIComponent).join('/')}`;

/** Opens a view; in place of the one before if it is the same one with other wishes. */
export function go(path, query = {}, inPlace = false) {
  const wishes = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  const address = `${linkTo(...path)}${wishes.size ? `?${wishes}` : ''}`;
  if (inPlace) {
    window.history.replaceState(null, '', address);
    window.dispatchEvent(new HashChangeEvent('hashchange'));
  } else {
    window.location.hash = address;
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
