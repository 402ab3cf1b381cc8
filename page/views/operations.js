// How the server does: what is used, and whether everything is in order.

import { html, useEffect } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { count, dateTime, size } from '../lib/format.js';
import { Failed, Loading, useLoaded } from '../lib/ui.js';
import { t } from '../lib/strings.js';

/** A name of JSON in words: `lastBackupAt` becomes "Last backup at". */
const words = (name) => {
  const text = name.replace(/([a-z])([A-Z])/g, '$1 $2').replace(/[_-]/g, ' ').toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
};

function shown(name, value) {
  if (value === null || value === '') return '–';
  if (typeof value === 'number' || /^\d+$/.test(value)) return /bytes/i.test(name) ? size(Number(value)) : count(value);
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\dT/.test(value)) return dateTime(value);
  return String(value);
}

/** Facts of any depth, each group under its own name. */
function Facts({ name, value }) {
  const entries = Object.entries(value);
  const flat = entries.filter(([, one]) => one === null || typeof one !== 'object');
  const deep = entries.filter(([, one]) => one !== null && typeof one === 'object' && Object.keys(one).length > 0);
  return html`${flat.length > 0 && html`<h2>${words(name)}</h2><dl class="facts">${flat.map(([key, one]) => html`<div key=${key}>
      <dt>${words(key)}</dt><dd>${shown(key, one)}</dd></div>`)}</dl>`}
    ${deep.map(([key, one]) => html`<${Facts} key=${key} name=${Array.isArray(value) ? `${name} ${Number(key) + 1}` : key} value=${one} />`)}`;
}

export function Operations() {
  const { value, error, again } = useLoaded(() => Promise.all([api.usage(), api.operations()]), []);
  useEffect(() => { document.title = `${t('nav.operations')} · ${t('app.name')}`; }, []);
  if (error) return html`<${Failed} error=${error} retry=${again} />`;
  if (!value) return html`<${Loading} />`;
  const [usage, operations] = value;
  return html`<div class="bar"><h1>${t('nav.operations')}</h1></div><div class="page" tabindex="0">
    <${Facts} name="use" value=${usage} /><${Facts} name="server" value=${operations} /></div>`;
}
