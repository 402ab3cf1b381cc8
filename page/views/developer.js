// For those who write programs: who is told of events and what became of that, keys, the latest requests,
// the SDK with this server's values, and everything over HTTP.

import { html, useEffect, useState } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { ago, dateTime } from '../lib/format.js';
import { linkTo } from '../lib/route.js';
import { Button, Confirm, Dialog, Empty, Failed, Field, Loading, Select, reason, say, useLoaded } from '../lib/ui.js';
import { t } from '../lib/strings.js';
import { Description } from './description.js';
import { Webhooks } from './webhooks.js';

const PARTS = [
  ['hooks', () => html`<${Webhooks} />`, 'editor'],
  ['keys', () => html`<${Keys} />`, 'admin'],
  ['requests', () => html`<${Requests} />`, 'admin'],
  ['sdk', () => html`<${Sdk} />`, 'editor'],
  ['api', () => html`<${Description} />`, 'editor'],
];

/** How often the list of requests is read anew, in milliseconds. */
const LOOK_AGAIN = 2000;

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say(t('viewer.copied'));
  } catch {
    say(t('viewer.copyFailed'));
  }
}

const ROLES = [['viewer', 'VIEW'], ['editor', 'VIEW,MODIFY'], ['admin', 'ADMIN']];
const roleOf = (scopes) => {
  const text = [scopes].flat().join(' ');
  if (text.includes('ADMIN')) return 'admin';
  return text.includes('MODIFY') ? 'editor' : 'viewer';
};

function NewKey({ onMade, onClose }) {
  const [role, setRole] = useState('editor');
  const [problem, setProblem] = useState('');
  const submit = async (event) => {
    event.preventDefault();
    const name = String(new FormData(event.currentTarget).get('name')).trim();
    try {
      onMade(await api.addKey(name, ROLES.find(([key]) => key === role)[1].split(',')));
    } catch (error) {
      setProblem(reason(error));
    }
  };
  return html`<${Dialog} title=${t('keys.new')} kind="narrow" onClose=${onClose}><form onSubmit=${submit}>
    <${Field} id="key-name" name="name" label=${t('keys.name')} maxlength="200" error=${problem} autocomplete="off" autofocus />
    <${Select} label=${t('keys.role')} value=${role} onChange=${setRole} options=${ROLES.map(([key]) => [key, t(`role.${key}`)])} />
    <div class="dialog-actions"><${Button} label=${t('dialog.cancel')} onClick=${onClose} />
      <${Button} type="submit" kind="primary" label=${t('contacts.create')} /></div></form><//>`;
}

function Keys() {
  const list = useLoaded(api.keys, []);
  const [isMaking, setMaking] = useState(false);
  const [made, setMade] = useState(null);
  const [revoking, setRevoking] = useState(null);
  if (list.error) return html`<${Failed} error=${list.error} retry=${list.again} />`;
  if (!list.value) return html`<${Loading} />`;
  const revoke = async () => {
    await api.revokeKey(revoking.id).catch((error) => say(reason(error)));
    setRevoking(null);
    list.again();
  };
  const secret = made?.apiKey ?? made?.secret ?? made?.key?.apiKey;
  return html`<div class="lead"><p>${t('keys.lead')}</p>
      <${Button} icon="plus" kind="primary" label=${t('keys.new')} onClick=${() => setMaking(true)} /></div>
    <section class="panel"><ul class="timeline">${list.value.map((key) => html`<li key=${key.id}><div class="line">
      <div class="grow"><b>${key.name || key.id}</b> <small class="soft mono">${key.id}</small></div>
      <span class="tag">${t(`role.${roleOf(key.scopes)}`)}</span>
      ${key.id === api.session().key.id && html`<span class="tag good">${t('keys.yours')}</span>`}
      ${key.revokedDate || key.revokedAt ? html`<span class="tag bad">${t('keys.revoked')}</span>`
        : html`<${Button} label=${t('keys.revoke')} onClick=${() => setRevoking(key)} />`}</div></li>`)}</ul></section>
    ${isMaking && html`<${NewKey} onClose=${() => setMaking(false)} onMade=${(key) => { setMaking(false); setMade(key); list.again(); }} />`}
    ${made && html`<${Dialog} title=${t('keys.new')} onClose=${() => setMade(null)}><p>${t('keys.made')}</p>
      <p class="mono">${secret}</p><div class="dialog-actions"><${Button} icon="copy" kind="primary" label=${t('dev.copy')} onClick=${() => copy(secret)} />
      <${Button} label=${t('dialog.close')} onClick=${() => setMade(null)} /></div><//>`}
    ${revoking && html`<${Confirm} title=${t('keys.revokeTitle', { name: revoking.name || revoking.id })} go=${t('keys.revoke')}
      onGo=${revoke} onClose=${() => setRevoking(null)}><p>${t('keys.revokeLead')}</p><//>`}`;
}

function Requests() {
  const list = useLoaded(api.requests, []);
  useEffect(() => {
    const timer = setInterval(() => { if (!list.error && !document.hidden) list.again(); }, LOOK_AGAIN);
    return () => clearInterval(timer);
  }, [list.error]);
  if (list.error && !list.value) return html`<${Failed} error=${list.error} retry=${list.again} />`;
  if (!list.value) return html`<${Loading} />`;
  const found = [...list.value.requests].reverse();
  if (found.length === 0) return html`<${Empty} icon="clock" title=${t('requests.empty')} />`;
  return html`<div class="lead"><p>${t('requests.lead')}</p></div>
    <section class="panel"><ul class="timeline">${found.map((one) => html`<li key=${one.seq}><div class="line">
      <span class="method">${one.method}</span><span class="grow mono">${one.route}</span>
      <span class="tag ${one.status < 400 ? 'good' : one.status < 500 ? 'warn' : 'bad'}">${one.status}</span>
      <span class="soft number">${one.durationMs} ms</span><span class="soft">${one.keyName ?? ''} ${one.scope ?? ''}</span>
      <span class="soft" title=${dateTime(one.at)}>${ago(one.at)}</span></div></li>`)}</ul></section>`;
}

function Sdk() {
  const { site } = api.session();
  const text = `// npm install @wix/crm @wix/sdk
import { attachments } from '@wix/crm';
import { ApiKeyStrategy, createClient } from '@wix/sdk';

// Node trusts the server's own certificate with NODE_EXTRA_CA_CERTS; \`dossier serve\` prints the file.
const client = createClient({
  modules: { attachments },
  auth: ApiKeyStrategy({ apiKey: process.env.DOSSIER_KEY, siteId: '${site.id}' }),
  host: { getHost: () => ({ host: '${new URL(api.session().server.publicUrl).host}' }) },
});

const { attachments: files } = await client.attachments.listAttachments(contactId);
`;
  return html`<div class="lead"><p>${t('dev.sdkLead')}</p><${Button} icon="copy" label=${t('dev.copy')} onClick=${() => copy(text)} /></div>
    <section class="panel"><pre tabindex="0" aria-label=${t('dev.sdk')}>${text}</pre></section>`;
}

export function Developer({ route }) {
  const { role } = api.session();
  const parts = PARTS.filter(([, , least]) => role === 'admin' || least === 'editor');
  const chosen = parts.find(([key]) => key === route.path[1]) ?? parts[0];
  useEffect(() => { document.title = `${t('dev.title')} · ${t('app.name')}`; }, []);
  return html`<nav class="parts" aria-label=${t('dev.sections')}>${parts.map(([key]) => html`<a key=${key} href=${linkTo('developer', key)}
      aria-current=${key === chosen[0] ? 'page' : undefined}>${t(`dev.${key}`)}</a>`)}</nav>
    <div class="page" tabindex="-1"><h1 class="visually-hidden">${t(`dev.${chosen[0]}`)}</h1>${chosen[1]()}</div>`;
}
