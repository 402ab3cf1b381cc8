// Everything that the server answers over HTTP, from its own description.

import { html, useState } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { icon } from '../lib/icons.js';
import { Failed, Loading, useLoaded } from '../lib/ui.js';
import { t } from '../lib/strings.js';

/** Follows a reference within the description. */
const resolve = (document, one) =>
  (one?.$ref ? one.$ref.slice(2).split('/').reduce((value, key) => value?.[key], document) : one);

function Operation({ document, path, method, operation, shared }) {
  const [isOpen, setOpen] = useState(false);
  const parameters = [...shared, ...(operation.parameters ?? [])].map((one) => resolve(document, one));
  const body = operation.requestBody?.content?.['application/json']?.example;
  return html`<details onToggle=${(event) => setOpen(event.target.open)}><summary>
      <span class="method">${method.toUpperCase()}</span><span class="mono">${path}</span><span class="soft">${operation.summary}</span></summary>
    ${isOpen && html`<div>
      ${operation.description && html`<p>${operation.description}</p>`}
      <p><span class="tag">${operation['x-scope'] ? t('dev.scope', { scope: operation['x-scope'] }) : t('dev.public')}</span></p>
      ${parameters.length > 0 && html`<h3>${t('dev.parameters')}</h3><ul>${parameters.map((one) => html`<li key=${one.name}>
        <code>${one.name}</code> (${one.in}) ${one.description}</li>`)}</ul>`}
      ${body && html`<h3>${t('dev.body')}</h3><pre tabindex="0" aria-label=${t('dev.body')}>${JSON.stringify(body, null, 2)}</pre>`}
      <h3>${t('dev.answers')}</h3><ul>${Object.entries(operation.responses).map(([status, response]) => html`<li key=${status}>
        <code>${status}</code> ${resolve(document, response).description}</li>`)}</ul></div>`}</details>`;
}

export function Description() {
  const { value: document, error, again } = useLoaded(api.openapi, []);
  const [filter, setFilter] = useState('');
  if (error) return html`<${Failed} error=${error} retry=${again} />`;
  if (!document) return html`<${Loading} />`;
  const all = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).filter(([, one]) => one?.operationId)
      .map(([method, operation]) => ({ path, method, operation, shared: item.parameters ?? [] })));
  const wanted = filter.toLowerCase();
  const found = all.filter(({ path, operation }) => `${path} ${operation.summary}`.toLowerCase().includes(wanted));
  const tags = document.tags.filter(({ name }) => found.some(({ operation }) => operation.tags.includes(name)));
  return html`<div class="lead"><p>${t('dev.apiLead')} <a href="/dossier/v1/openapi.json">${t('dev.apiFile')}</a></p>
      <label class="search">${icon('search')}<span class="visually-hidden">${t('dev.apiFilter')}</span>
        <input type="search" placeholder=${t('dev.apiFilter')} value=${filter} onInput=${(event) => setFilter(event.target.value)} /></label></div>
    ${tags.map((tag) => html`<section class="panel" key=${tag.name}><div class="panel-head"><h2>${tag.name}</h2><span class="soft">${tag.description}</span></div>
      ${found.filter(({ operation }) => operation.tags.includes(tag.name)).map((one) => html`<${Operation} key=${one.operation.operationId} document=${document} ...${one} />`)}
    </section>`)}`;
}
