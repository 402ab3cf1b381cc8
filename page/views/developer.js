// For developers: webhooks, API keys, the latest requests, the SDK's code for this server, and the HTTP API.

/**
 * @import { TargetedSubmitEvent } from '../vendor/preact.js'
 * @import { Route } from '../lib/route.js'
 * @import { ApiKey, CreatedKey, Role } from '../lib/types.js'
 */

import { html, useEffect, useState } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { ago, dateTime } from '../lib/format.js';
import { linkTo } from '../lib/route.js';
import { Button, Confirm, Dialog, Empty, Failed, Field, Loading, Select, copyText, fieldText, notify, reason, useLoaded } from '../lib/ui.js';
import { t } from '../lib/strings.js';
import { Description } from './description.js';
import { Webhooks } from './webhooks.js';

/** @type {{ name: 'hooks' | 'keys' | 'requests' | 'sdk' | 'api', roles: Role[], render: () => unknown }[]} */
const SECTIONS = [
  { name: 'hooks', roles: ['editor', 'admin'], render: () => html`<${Webhooks} />` },
  { name: 'keys', roles: ['admin'], render: () => html`<${Keys} />` },
  { name: 'requests', roles: ['admin'], render: () => html`<${Requests} />` },
  { name: 'sdk', roles: ['editor', 'admin'], render: () => html`<${Sdk} />` },
  { name: 'api', roles: ['editor', 'admin'], render: () => html`<${Description} />` },
];

/** How often the requests are fetched, in milliseconds. */
const POLL_MS = 2000;

/** @type {Role[]} */
const ROLES = ['viewer', 'editor', 'admin'];
/** @type {Record<Role, string[]>} */
const SCOPES = { viewer: ['VIEW'], editor: ['VIEW', 'MODIFY'], admin: ['ADMIN'] };

/** @param {{ onCreated: (created: CreatedKey) => void, onClose: () => void }} props */
function NewKey({ onCreated, onClose }) {
  const [role, setRole] = useState(/** @type {Role} */ ('editor'));
  const [problem, setProblem] = useState('');
  /** @param {TargetedSubmitEvent<HTMLFormElement>} event */
  const submit = async (event) => {
    event.preventDefault();
    try {
      onCreated(await api.addKey(fieldText(event.currentTarget, 'name'), SCOPES[role]));
    } catch (error) {
      setProblem(reason(error));
    }
  };
  return html`<${Dialog} title=${t('keys.new')} kind="narrow" onClose=${onClose}><form onSubmit=${submit}>
    <${Field} id="key-name" name="name" label=${t('keys.name')} maxlength="200" error=${problem} autocomplete="off" autofocus />
    <${Select} label=${t('keys.role')} value=${role} onChange=${setRole} options=${ROLES.map((known) => [known, t(`role.${known}`)])} />
    <div class="dialog-actions"><${Button} label=${t('dialog.cancel')} onClick=${onClose} />
      <${Button} type="submit" kind="primary" label=${t('contacts.create')} /></div></form><//>`;
}

function Keys() {
  const list = useLoaded(api.keys, []);
  const [isCreating, setCreating] = useState(false);
  const [created, setCreated] = useState(/** @type {CreatedKey | null} */ (null));
  const [revoking, setRevoking] = useState(/** @type {ApiKey | null} */ (null));
  if (list.error) return html`<${Failed} error=${list.error} retry=${list.reload} />`;
  if (!list.value) return html`<${Loading} />`;
  /** @param {ApiKey} key */
  const revoke = async (key) => {
    await api.revokeKey(key.id).catch((error) => notify(reason(error)));
    setRevoking(null);
    list.reload();
  };
  return html`<div class="lead"><p>${t('keys.lead')}</p>
      <${Button} icon="plus" kind="primary" label=${t('keys.new')} onClick=${() => setCreating(true)} /></div>
    <section class="panel"><ul class="timeline">${list.value.map((key) => html`<li key=${key.id}><div class="line">
      <div class="grow"><b>${key.name || key.id}</b> <small class="soft mono">${key.id}</small></div>
      <span class="tag">${key.role ? t(`role.${key.role}`) : key.scopes.join(' ')}</span>
      ${key.id === api.session().key.id && html`<span class="tag good">${t('keys.yours')}</span>`}
      ${key.revokedAt ? html`<span class="tag bad" title=${dateTime(key.revokedAt)}>${t('keys.revoked')}</span>`
        : html`<${Button} label=${t('keys.revoke')} onClick=${() => setRevoking(key)} />`}</div></li>`)}</ul></section>
    ${isCreating && html`<${NewKey} onClose=${() => setCreating(false)}
      onCreated=${(/** @type {CreatedKey} */ key) => { setCreating(false); setCreated(key); list.reload(); }} />`}
    ${created && html`<${Dialog} title=${t('keys.new')} onClose=${() => setCreated(null)}><p>${t('keys.created')}</p>
      <p class="mono">${created.apiKey}</p><div class="dialog-actions">
      <${Button} icon="copy" kind="primary" label=${t('dev.copy')} onClick=${() => copyText(created.apiKey, t('viewer.copied'))} />
      <${Button} label=${t('dialog.close')} onClick=${() => setCreated(null)} /></div><//>`}
    ${revoking && html`<${Confirm} title=${t('keys.revokeTitle', { name: revoking.name || revoking.id })} label=${t('keys.revoke')}
      onConfirm=${() => revoke(revoking)} onClose=${() => setRevoking(null)}><p>${t('keys.revokeLead')}</p><//>`}`;
}

function Requests() {
  const list = useLoaded(api.requests, []);
  useEffect(() => {
    const timer = setInterval(() => { if (!list.error && !document.hidden) list.reload(); }, POLL_MS);
    return () => clearInterval(timer);
  }, [list.error]);
  if (list.error && !list.value) return html`<${Failed} error=${list.error} retry=${list.reload} />`;
  if (!list.value) return html`<${Loading} />`;
  if (list.value.length === 0) return html`<${Empty} icon="clock" title=${t('requests.empty')} />`;
  const newestFirst = [...list.value].reverse();
  return html`<div class="lead"><p>${t('requests.lead')}</p></div>
    <section class="panel"><ul class="timeline">${newestFirst.map((request) => html`<li key=${request.seq}><div class="line">
      <span class="method">${request.method}</span><span class="grow mono">${request.route}</span>
      <span class="tag ${request.status < 400 ? 'good' : request.status < 500 ? 'warn' : 'bad'}">${request.status}</span>
      <span class="soft number">${request.durationMs} ms</span><span class="soft">${request.keyName} ${request.scope ?? ''}</span>
      <span class="soft" title=${dateTime(request.at)}>${ago(request.at)}</span></div></li>`)}</ul></section>`;
}

function Sdk() {
  const { site, server } = api.session();
  const text = `// npm install @wix/crm @wix/sdk
import { attachments } from '@wix/crm';
import { ApiKeyStrategy, createClient } from '@wix/sdk';

// Node trusts the server's own certificate with NODE_EXTRA_CA_CERTS; \`dossier serve\` prints the file.
const client = createClient({
  modules: { attachments },
  auth: ApiKeyStrategy({ apiKey: process.env.DOSSIER_KEY, siteId: '${site.id}' }),
  host: { getHost: () => ({ host: '${new URL(server.publicUrl).host}' }) },
});

const { attachments: files } = await client.attachments.listAttachments(contactId);
`;
  return html`<div class="lead"><p>${t('dev.sdkLead')}</p>
      <${Button} icon="copy" label=${t('dev.copy')} onClick=${() => copyText(text, t('viewer.copied'))} /></div>
    <section class="panel"><pre tabindex="0" aria-label=${t('dev.sdk')}>${text}</pre></section>`;
}

/** @param {{ route: Route }} props */
export function Developer({ route }) {
  const { role } = api.session();
  const sections = SECTIONS.filter(({ roles }) => roles.includes(role));
  const open = sections.find(({ name }) => name === route.path[1]) ?? sections[0];
  useEffect(() => { document.title = `${t('dev.title')} · ${t('app.name')}`; }, []);
  if (!open) return html`<${Failed} error=${new Error(t('error.denied'))} />`;
  return html`<nav class="parts" aria-label=${t('dev.sections')}>${sections.map(({ name }) => html`<a key=${name}
      href=${linkTo('developer', name)} aria-current=${name === open.name ? 'page' : undefined}>${t(`dev.${name}`)}</a>`)}</nav>
    <div class="page" tabindex="-1"><h1 class="visually-hidden">${t(`dev.${open.name}`)}</h1>${open.render()}</div>`;
}
