// Shared by the tests: the servers that run.mjs started, clients as callers create them, sample
// files, and assertions on the SDK's errors.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { deflateSync } from 'node:zlib';

import { attachments } from '@wix/crm';
import { ApiKeyStrategy, createClient } from '@wix/sdk';

const given = process.env.DOSSIER_SDK_SERVERS;
if (given === undefined) {
  throw new Error('start these tests by "node run.mjs": they need servers');
}

/** `auto` and `id` are named after their setting media_references; `limited` has a low rate limit. */
export const servers = JSON.parse(given);

/** A contact that no other test uses. */
export const newContact = () => randomUUID();

/** How the SDK reaches a self-hosted server: `host.apiBaseUrl`, always over TLS. */
export function makeClient(server = servers.auto, options = {}) {
  const { apiKey = server.apiKey, siteId = server.siteId, ...others } = options;
  return createClient({
    modules: { attachments },
    auth: ApiKeyStrategy({ apiKey, siteId }),
    host: { apiBaseUrl: new URL(server.https).host },
    ...others,
  });
}

/** A `fetch` that records what went over the wire; `change` may alter the request first. */
export function watchedFetch(change = (url, init) => [url, init]) {
  const exchanges = [];
  const watched = async (url, init) => {
    const [sentUrl, sentInit] = change(String(url), init ?? {});
    const response = await fetch(sentUrl, sentInit);
    exchanges.push({ url: sentUrl, init: sentInit, response });
    return response;
  };
  return Object.assign(watched, { exchanges });
}

/** The headers of a plain REST call. */
export const restHeaders = (server = servers.auto) => ({
  Authorization: server.apiKey,
  'wix-site-id': server.siteId,
});

/** Generates an upload URL with the SDK and sends the bytes there, as the vendor documents. */
export async function upload(client, contactId, { name, type, bytes }) {
  const { uploadUrl } = await client.attachments.generateAttachmentUploadUrl(contactId, name, {
    mimeType: type,
  });
  const response = await fetch(uploadUrl, {
    method: 'PUT',
    headers: { 'Content-Type': type },
    body: bytes,
  });
  assert.equal(response.status, 200, await response.clone().text());
  return (await response.json()).file;
}

/** Awaits an SDKError and returns it. */
export async function thrownBy(promise) {
  const error = await promise.then(
    (value) => assert.fail(`succeeded with ${JSON.stringify(value)}`),
    (thrown) => thrown,
  );
  assert.ok(error instanceof Error, `threw no Error: ${error}`);
  return error;
}

/** Awaits an SDKError with an applicationError and compares everything but its message. */
export async function assertApplicationError(promise, { status, code, data = {} }) {
  const error = await thrownBy(promise);
  assert.equal(error.status, status);
  const { applicationError } = error.details;
  assert.equal(applicationError.code, code);
  assert.deepEqual(applicationError.data, data);
  assert.match(applicationError.description, /\w/);
  assertRequestId(error);
  return error;
}

/** Awaits an SDKError with a validationError and compares all of its violations. */
export async function assertViolations(promise, ...expected) {
  const error = await thrownBy(promise);
  assert.equal(error.status, 400);
  assert.deepEqual(error.details.validationError?.fieldViolations, expected);
  const text = expected.map(({ field, description }) => `"${field}" ${description}`).join(', ');
  assert.equal(JSON.parse(error.message).message, `INVALID_ARGUMENT: ${text}`);
  assertRequestId(error);
  return error;
}

function assertRequestId(error) {
  assert.match(error.requestId, /^[0-9a-f-]{8,}$/);
  assert.equal(error.details.requestId, error.requestId);
}

/** A PNG of one grey, in the given size. */
export function png(width, height) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 8; // bits per sample; colour type 0: grey
  const rows = deflateSync(Buffer.alloc((width + 1) * height));
  const parts = [chunk('IHDR', header), chunk('IDAT', rows), chunk('IEND', Buffer.alloc(0))];
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), ...parts]);
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const whole = Buffer.alloc(body.length + 8);
  whole.writeUInt32BE(data.length, 0);
  body.copy(whole, 4);
  whole.writeUInt32BE(crc32(body), body.length + 4);
  return whole;
}

/** By hand, because Node 20's zlib has none. */
function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** A file as `upload` accepts it. */
export const photo = (name = 'kitchen.png', width = 6, height = 4) => ({
  name,
  type: 'image/png',
  bytes: png(width, height),
});

/** A file as `upload` accepts it. */
export const table = (name = 'my-data.csv', text = 'a,b\n1,2\n') => ({
  name,
  type: 'text/csv',
  bytes: Buffer.from(text),
});
