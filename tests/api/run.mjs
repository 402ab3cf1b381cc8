// Property-based tests of the whole HTTP API: Schemathesis generates valid and invalid requests
// from docs/openapi.json, some with existing ids, and checks each response against it. No response
// may be a 5xx or have an undocumented status, type, header or shape. The same seed generates the
// same requests. /metrics is left out because it has its own listener.
//
//   node tests/api/run.mjs [SEED]

import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { startServer } from '../sdk/server.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.resolve(HERE, '../..');
/** Where scripts/setup installs it. */
const SCHEMATHESIS = path.join(ROOT, 'build/api-tests/bin/schemathesis');
/** The minimum number of random requests for each operation. */
const REQUESTS = 10;

const CHECKS = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
  'unsupported_method',
  'ignored_auth',
];

const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC',
  'base64',
);

/** Creates things to be found and returns their ids and tokens by parameter name. */
async function furnish(base, key, siteId) {
  const ask = async (method, address, body) => {
    const headers = { authorization: key, 'content-type': 'application/json' };
    const response = await fetch(`${base}${address}`, { method, headers, body: body && JSON.stringify(body) });
    if (!response.ok) throw new Error(`${method} ${address}: ${response.status} ${await response.text()}`);
    return response.json();
  };
  const uploadUrl = async (contact, fileName, mimeType) =>
    (await ask('POST', `/contacts/v4/attachments/${contact}/upload-url`, { fileName, mimeType })).uploadUrl;
  const ids = { contactId: [], attachmentId: [], mediaId: [], token: [], webhookId: [], keyId: [] };
  for (const name of ['Ada', 'Grace']) {
    const contact = crypto.randomUUID();
    await ask('PUT', `/dossier/v1/contacts/${contact}`, { label: name });
    ids.contactId.push(contact);
    for (const fileName of ['one.png', 'two.png']) {
      const url = await uploadUrl(contact, fileName, 'image/png');
      const sent = await fetch(url, { method: 'PUT', body: PNG });
      if (!sent.ok) throw new Error(`the upload returned ${sent.status}`);
    }
    for (const { id, image } of (await ask('GET', `/contacts/v4/attachments/${contact}`)).attachments) {
      ids.attachmentId.push(id);
      ids.mediaId.push(image.id);
    }
    ids.token.push((await uploadUrl(contact, 'three.png', 'image/png')).split('/').pop().split('?')[0]);
  }
  const webhook = await ask('POST', '/dossier/v1/webhooks', { url: 'https://receiver.example/' });
  ids.webhookId.push(webhook.webhook.id);
  const spare = await ask('POST', '/dossier/v1/keys', { name: 'Front desk', scopes: ['VIEW'] });
  ids.keyId.push(spare.key.id);
  ids.siteId = [siteId];
  return ids;
}

function config(key, ids) {
  const lines = ['[auth.openapi.apiKey]', `api_key = ${JSON.stringify(key)}`];
  for (const [name, values] of Object.entries(ids)) lines.push(`[dictionaries.${name}]`, `values = ${JSON.stringify(values)}`);
  lines.push('[parameters]');
  for (const name of Object.keys(ids)) lines.push(`"path.${name}" = { dictionary = "${name}", probability = 0.5 }`);
  return `${lines.join('\n')}\n`;
}

const server = await startServer(['--set', 'trash_days=30']);
try {
  const { http, apiKey, siteId } = server.ready;
  const file = path.join(server.folder, 'schemathesis.toml');
  await writeFile(file, config(apiKey, await furnish(http, apiKey, siteId)));
  const words = ['--config-file', file, 'run', path.join(ROOT, 'docs/openapi.json'), '--url', http,
    '--phases', 'coverage,fuzzing', '--max-examples', String(REQUESTS), '--seed', process.argv[2] ?? '1',
    '--exclude-path', '/metrics', '--checks', CHECKS.join(','), '--continue-on-failure', '--request-timeout', '30', '--warnings', 'off', '--no-color'];
  const env = { ...process.env, SCHEMATHESIS_HOOKS: 'hooks', PYTHONPATH: HERE, PYTHONDONTWRITEBYTECODE: '1' };
  const child = spawn(SCHEMATHESIS, words, { cwd: server.folder, stdio: ['ignore', 'inherit', 'inherit'], env });
  process.exitCode = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
} finally {
  await server.stop();
}
