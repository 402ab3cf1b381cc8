// What a page on another origin may do (contract §15).

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { makeClient, newContact, servers, table } from './support.mjs';

const ORIGIN = 'https://app.example';

async function preflight(url, method, headers) {
  const response = await fetch(url, {
    method: 'OPTIONS',
    headers: {
      Origin: ORIGIN,
      'Access-Control-Request-Method': method,
      'Access-Control-Request-Headers': headers.join(','),
      'Sec-Fetch-Mode': 'cors',
    },
  });
  assert.equal(response.status, 200);
  assert.ok(['*', ORIGIN].includes(response.headers.get('access-control-allow-origin')));
  assert.equal(response.headers.get('access-control-allow-credentials'), null);
  const allowed = (name) => response.headers.get(name).toLowerCase().split(/\s*,\s*/);
  assert.ok(allowed('access-control-allow-methods').includes(method.toLowerCase()));
  for (const header of headers) {
    assert.ok(allowed('access-control-allow-headers').includes(header), header);
  }
}

/** Every header that the SDK may set, as its preflight lists them. */
const SDK_HEADERS = [
  'authorization', 'content-type', 'wix-account-id', 'wix-site-id', 'x-wix-bi-gateway',
  'x-wix-consistent',
];

/** Every header of a resumable upload. */
const UPLOAD_HEADERS = [
  'content-type', 'tus-resumable', 'upload-length', 'upload-offset', 'upload-metadata',
  'upload-defer-length', 'x-http-method-override',
];

test('the preflights of all four methods need no credentials', async () => {
  const contact = `${servers.auto.https}/_api/contacts/v4/attachments/${newContact()}`;
  const attachment = `${contact}/${newContact()}`;
  await preflight(contact, 'GET', SDK_HEADERS);
  await preflight(attachment, 'GET', SDK_HEADERS);
  await preflight(attachment, 'DELETE', SDK_HEADERS);
  await preflight(`${contact}/upload-url`, 'POST', SDK_HEADERS);
});

test('an upload and its preflight are allowed', async () => {
  const { uploadUrl } = await makeClient().attachments.generateAttachmentUploadUrl(
    newContact(), 'my-data.csv', { mimeType: 'text/csv' },
  );
  await preflight(uploadUrl, 'PUT', UPLOAD_HEADERS);
  const response = await fetch(uploadUrl, {
    method: 'PUT', headers: { Origin: ORIGIN, 'Content-Type': 'text/csv' }, body: table().bytes,
  });
  assert.equal(response.status, 200, await response.clone().text());
  assert.ok(['*', ORIGIN].includes(response.headers.get('access-control-allow-origin')));
});

test('a page can read errors with their request id', async () => {
  const url = `${servers.auto.https}/_api/contacts/v4/attachments/${newContact()}`;
  const response = await fetch(url, { headers: { Origin: ORIGIN } });
  assert.equal(response.status, 401);
  assert.ok(['*', ORIGIN].includes(response.headers.get('access-control-allow-origin')));
  const exposed = response.headers.get('access-control-expose-headers').toLowerCase();
  for (const header of [
    'x-wix-request-id', 'x-wix-consistent', 'location', 'upload-offset', 'upload-length',
    'tus-resumable', 'tus-version', 'tus-extension',
  ]) {
    assert.ok(exposed.split(/\s*,\s*/).includes(header), header);
  }
});
