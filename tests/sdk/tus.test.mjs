// Resumable uploads with common clients, written as in the vendor's article: endpoint, metadata
// with the token, then one PUT of an empty object.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { test } from 'node:test';

import Uppy from '@uppy/core';
import UppyTus from '@uppy/tus';
import * as tus from 'tus-js-client';

import { startServer } from './server.mjs';
import { makeClient, newContact, restHeaders, servers } from './support.mjs';

const KIB = 1024;
const RETRIES = [0, 3000, 5000, 10000, 20000];

/** Lines of text that differ at each position. */
function csv(size) {
  const lines = Array.from({ length: size / 8 + 1 }, (_, n) => String(n).padStart(7, '0'));
  return Buffer.from(`${lines.join('\n')}\n`).subarray(0, size);
}

/** An upload URL, its token, and the shared endpoint. */
async function uploadUrl(contactId, name = 'table.csv') {
  const client = makeClient();
  const options = { mimeType: 'text/csv' };
  const made = await client.attachments.generateAttachmentUploadUrl(contactId, name, options);
  return parts(made.uploadUrl);
}

function parts(url) {
  const token = url.slice(url.lastIndexOf('/') + 1);
  return { url, token, endpoint: new URL('/upload/tus', url).href };
}

/** Uploads with tus-js-client; `options` are passed on to it. */
function upload(source, options) {
  return new Promise((resolve, reject) => {
    const one = new tus.Upload(source, {
      retryDelays: RETRIES,
      onError: reject,
      onSuccess: () => resolve(one),
      ...options,
    });
    one.start();
  });
}

/** The last step of the vendor's code. */
async function finish({ endpoint, token }, name = 'table.csv') {
  const response = await fetch(`${endpoint}/${token}?filename=${encodeURIComponent(name)}`, {
    method: 'PUT',
    headers: { 'Content-Type': 'application/json' },
    body: '{}',
  });
  assert.equal(response.status, 200, await response.clone().text());
  return (await response.json()).file;
}

async function assertHas(contactId, bytes) {
  const listed = await makeClient().attachments.listAttachments(contactId);
  assert.equal(listed.attachments.length, 1);
  const rest = await fetch(`${servers.auto.http}/contacts/v4/attachments/${contactId}`, {
    headers: restHeaders(),
  });
  const [attachment] = (await rest.json()).attachments;
  const file = await (await fetch(attachment.document.url)).arrayBuffer();
  assert.ok(bytes.equals(Buffer.from(file)), 'the stored bytes are those that were sent');
  return attachment;
}

test('the documented code uploads with tus-js-client', async () => {
  const [contact, bytes] = [newContact(), csv(300 * KIB)];
  const place = await uploadUrl(contact);
  await upload(bytes, {
    endpoint: place.endpoint,
    metadata: { filename: 'Grüße.csv', contentType: 'text/csv', token: place.token },
  });
  const file = await finish(place);
  assert.equal(file.displayName, 'table.csv');
  assert.equal(file.sizeInBytes, String(bytes.length));
  assert.equal(file.hash, createHash('sha256').update(bytes).digest('hex'));
  assert.deepEqual((await finish(place)).id, file.id);
  await assertHas(contact, bytes);
});

test('the upload URL itself is an endpoint, also with creation-with-upload', async () => {
  const [contact, bytes] = [newContact(), csv(100 * KIB)];
  const { url, token } = await uploadUrl(contact);
  await upload(bytes, {
    endpoint: url,
    chunkSize: 30 * KIB,
    uploadDataDuringCreation: true,
    metadata: { token },
  });
  const response = await fetch(`${url}/${token}`, { method: 'PUT', body: '{}' });
  assert.equal(response.status, 200);
  await assertHas(contact, bytes);
});

test('a stream of unknown length is uploaded', async () => {
  const [contact, bytes] = [newContact(), csv(100 * KIB)];
  const place = await uploadUrl(contact);
  await upload(Readable.from([bytes.subarray(0, 1000), bytes.subarray(1000)], { objectMode: false }), {
    endpoint: place.endpoint,
    chunkSize: 32 * KIB,
    uploadLengthDeferred: true,
    metadata: { token: place.token },
  });
  await finish(place);
  await assertHas(contact, bytes);
});

test('methods can be overridden', async () => {
  const [contact, bytes] = [newContact(), csv(10 * KIB)];
  const place = await uploadUrl(contact);
  await upload(bytes, {
    endpoint: place.endpoint,
    overridePatchMethod: true,
    metadata: { token: place.token },
  });
  await finish(place);
  await assertHas(contact, bytes);
});

test('a paused upload continues after a server restart', async () => {
  const bytes = csv(600 * KIB);
  const server = await startServer();
  const { http, apiKey, siteId } = server.ready;
  const contact = newContact();
  const headers = { Authorization: apiKey, 'wix-site-id': siteId };
  const generated = await fetch(`${http}/contacts/v4/attachments/${contact}/upload-url`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify({ fileName: 'table.csv', mimeType: 'text/csv' }),
  });
  const place = parts((await generated.json()).uploadUrl);
  const location = await new Promise((resolve, reject) => {
    const first = new tus.Upload(bytes, {
      endpoint: place.endpoint,
      chunkSize: 200 * KIB,
      metadata: { token: place.token },
      onError: reject,
      onChunkComplete: async () => {
        await first.abort();
        resolve(first.url);
      },
    });
    first.start();
  });
  await server.stop({ keep: true });
  const again = await startServer([], server.folder);
  try {
    const base = again.ready.http;
    const from = [];
    await upload(bytes, {
      endpoint: place.endpoint.replace(http, base),
      uploadUrl: location.replace(http, base),
      onProgress: (sent) => from.push(sent),
      metadata: { token: place.token },
    });
    assert.ok(from[0] >= 200 * KIB, `it continued from ${from[0]}`);
    const file = await finish({ ...place, endpoint: place.endpoint.replace(http, base) });
    const stored = Buffer.from(await (await fetch(file.url)).arrayBuffer());
    assert.ok(bytes.equals(stored));
  } finally {
    await again.stop();
  }
});

/** Uppy sets `withCredentials` on the underlying XMLHttpRequest, which Node does not have. */
class NodeHttpStack extends tus.DefaultHttpStack {
  createRequest(method, url) {
    const request = super.createRequest(method, url);
    const underlying = request.getUnderlyingObject.bind(request);
    return Object.assign(request, { getUnderlyingObject: () => underlying() ?? {} });
  }
}

test('Uppy uploads several files with the token of each', async () => {
  const contact = newContact();
  const uppy = new Uppy({ autoProceed: false });
  uppy.use(UppyTus, {
    endpoint: `${servers.auto.http}/upload/tus`,
    retryDelays: RETRIES,
    httpStack: new NodeHttpStack({}),
    chunkSize: 40 * KIB,
    allowedMetaFields: ['token', 'filename'],
  });
  const sizes = [1, 10 * KIB, 90 * KIB];
  for (const size of sizes) {
    const { token } = await uploadUrl(contact, `${size}.csv`);
    // In Node, Uppy passes its data to a client that accepts Buffers and asks for their size.
    const data = Object.assign(csv(size), { size });
    uppy.addFile({ name: `${size}.csv`, type: 'text/csv', data, meta: { token } });
  }
  const { successful, failed } = await uppy.upload();
  assert.deepEqual(failed, []);
  assert.equal(successful.length, sizes.length);
  const { attachments } = await makeClient().attachments.listAttachments(contact);
  const names = attachments.map(({ fileName }) => fileName).sort();
  assert.deepEqual(names, sizes.map((size) => `${size}.csv`).sort());
});

test('a rejection reaches the client at once and with its reason', async () => {
  const place = await uploadUrl(newContact());
  const begun = Date.now();
  const refused = await upload(csv(10 * KIB), {
    endpoint: place.endpoint,
    metadata: { token: `${place.token}x` },
  }).then(
    () => assert.fail('a forged token was accepted'),
    (error) => error,
  );
  assert.equal(refused.originalResponse.getStatus(), 403);
  assert.match(refused.originalResponse.getBody(), /INVALID_UPLOAD_TOKEN/);
  assert.ok(Date.now() - begun < RETRIES[1], 'it was not retried');
});
