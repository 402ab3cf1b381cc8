// The HTTP API of the server, from its OpenAPI description.

/**
 * @import { TargetedEvent } from '../vendor/preact.js'
 * @import { OpenApi, OpenApiOperation, OpenApiPath, Reference } from '../lib/types.js'
 */

import { html, useState } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { icon } from '../lib/icons.js';
import { Failed, Loading, useLoaded } from '../lib/ui.js';
import { t } from '../lib/strings.js';

/**
 * The value that a reference within the description points to, or the value itself.
 *
 * @param {OpenApi} openapi
 * @param {Reference} value
 * @returns {Reference}
 */
function resolve(openapi, value) {
  if (!value.$ref) return value;
  /** @type {unknown} */
  let found = openapi;
  for (const key of value.$ref.slice(2).split('/')) found = found && typeof found === 'object' ? Reflect.get(found, key) : undefined;
  return /** @type {Reference | undefined} */ (found) ?? {};
}

/** @typedef {{ path: string, method: string, operation: OpenApiOperation, shared: Reference[] }} Entry `shared` are the path's parameters */

/**
 * All operations of a path.
 *
 * @param {[path: string, item: OpenApiPath]} entry
 * @returns {Entry[]}
 */
function operationsOf([path, item]) {
  const shared = item.parameters ?? [];
  return Object.entries(item).flatMap(([method, operation]) =>
    (operation && 'operationId' in operation ? [{ path, method, operation, shared }] : []));
}

/** @param {Entry & { openapi: OpenApi }} props */
function Operation({ openapi, path, method, operation, shared }) {
  const [isOpen, setOpen] = useState(false);
  const parameters = [...shared, ...(operation.parameters ?? [])].map((parameter) => resolve(openapi, parameter));
  const body = operation.requestBody?.content?.['application/json']?.example;
  /** @param {TargetedEvent<HTMLDetailsElement>} event */
  const toggled = (event) => setOpen(event.currentTarget.open);
  return html`<details onToggle=${toggled}><summary>
      <span class="method">${method.toUpperCase()}</span><span class="mono">${path}</span><span class="soft">${operation.summary}</span></summary>
    ${isOpen && html`<div>
      ${operation.description && html`<p>${operation.description}</p>`}
      <p><span class="tag">${operation['x-scope'] ? t('dev.scope', { scope: operation['x-scope'] }) : t('dev.public')}</span></p>
      ${parameters.length > 0 && html`<h3>${t('dev.parameters')}</h3><ul>${parameters.map((parameter) => html`<li key=${parameter.name}>
        <code>${parameter.name}</code> (${parameter.in}) ${parameter.description}</li>`)}</ul>`}
      ${body !== undefined && html`<h3>${t('dev.body')}</h3><pre tabindex="0" aria-label=${t('dev.body')}>${JSON.stringify(body, null, 2)}</pre>`}
      <h3>${t('dev.responses')}</h3><ul>${Object.entries(operation.responses).map(([status, response]) => html`<li key=${status}>
        <code>${status}</code> ${resolve(openapi, response).description}</li>`)}</ul></div>`}</details>`;
}

export function Description() {
  const { value: openapi, error, reload } = useLoaded(api.openapi, []);
  const [filter, setFilter] = useState('');
  if (error) return html`<${Failed} error=${error} retry=${reload} />`;
  if (!openapi) return html`<${Loading} />`;
  const wanted = filter.toLowerCase();
  const found = Object.entries(openapi.paths).flatMap(operationsOf)
    .filter(({ path, operation }) => `${path} ${operation.summary}`.toLowerCase().includes(wanted));
  const tags = openapi.tags.map((tag) => ({ ...tag, entries: found.filter(({ operation }) => operation.tags.includes(tag.name)) }));
  /** @param {TargetedEvent<HTMLInputElement>} event */
  const typed = (event) => setFilter(event.currentTarget.value);
  return html`<div class="lead"><p>${t('dev.apiLead')} <a href="/dossier/v1/openapi.json">${t('dev.apiFile')}</a></p>
      <label class="search">${icon('search')}<span class="visually-hidden">${t('dev.apiFilter')}</span>
        <input type="search" placeholder=${t('dev.apiFilter')} value=${filter} onInput=${typed} /></label></div>
    ${tags.filter(({ entries }) => entries.length > 0).map(({ name, description, entries }) => html`<section class="panel" key=${name}>
      <div class="panel-head"><h2>${name}</h2><span class="soft">${description}</span></div>
      ${entries.map((entry) => html`<${Operation} key=${entry.operation.operationId} openapi=${openapi} ...${entry} />`)}
    </section>`)}`;
}
