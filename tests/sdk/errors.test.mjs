// Every row of the contract's error table (contract §6), as the SDK reports it to callers.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createClient } from '@wix/sdk';
import { attachments } from '@wix/crm';

import {
  assertApplicationError, assertViolations, makeClient, newContact, servers, thrownBy,
  watchedFetch,
} from './support.mjs';

const client = makeClient();
const { listAttachments, getAttachment, deleteAttachment, generateAttachmentUploadUrl } =
  client.attachments;

const notGuid = (field) => ({
  field, description: 'is not a valid GUID', violatedRule: 'FORMAT', data: { type: 'GUID' },
});
const required = (field) => ({
  field, description: 'must not be empty', violatedRule: 'REQUIRED_FIELD',
});
const tooShort = (field) => ({
  field, description: 'must have at least 1 character', violatedRule: 'MIN_LENGTH',
  data: { threshold: 1 },
});
const tooLong = (field, threshold) => ({
  field, description: `must have at most ${threshold} characters`, violatedRule: 'MAX_LENGTH',
  data: { threshold },
});
const notInteger = (field) => ({
  field, description: 'is not an integer', violatedRule: 'FORMAT', data: { type: 'INT32' },
});
const belowZero = (field) => ({
  field, description: 'must be at least 0', violatedRule: 'MIN', data: { threshold: 0 },
});

/** A client whose requests are altered before they are sent. */
const changed = (change, options) =>
  makeClient(servers.auto, { fetch: watchedFetch(change), ...options }).attachments;

test('a contactId that is not a GUID', async () => {
  await assertViolations(listAttachments('not-a-guid'), notGuid('contactId'));
  await assertViolations(
    generateAttachmentUploadUrl('not-a-guid', 'a.csv', { mimeType: 'text/csv' }),
    notGuid('contactId'),
  );
});

test('all ids that are not GUIDs are listed under identifiers', async () => {
  for (const method of [getAttachment, deleteAttachment]) {
    await assertViolations(
      method({ contactId: 'x', attachmentId: 'y' }),
      notGuid('identifiers.attachmentId'), notGuid('identifiers.contactId'),
    );
    await assertViolations(
      method({ contactId: newContact(), attachmentId: 'y' }), notGuid('identifiers.attachmentId'),
    );
    await assertViolations(
      method({ contactId: 'x', attachmentId: newContact() }), notGuid('identifiers.contactId'),
    );
  }
});

test('undefined arguments are reported by field', async () => {
  await assertViolations(listAttachments(), notGuid('contactId'));
  await assertViolations(listAttachments(undefined, undefined), notGuid('contactId'));
  for (const method of [getAttachment, deleteAttachment]) {
    await assertViolations(
      method({ contactId: undefined, attachmentId: undefined }),
      notGuid('identifiers.attachmentId'), notGuid('identifiers.contactId'),
    );
    await assertViolations(
      method({ contactId: newContact() }), notGuid('identifiers.attachmentId'),
    );
  }
  await assertViolations(
    generateAttachmentUploadUrl(),
    notGuid('contactId'), required('fileName'), required('options.mimeType'),
  );
});

test('a list without a contactId', async () => {
  const nowhere = changed((url, init) => {
    const bare = new URL(url);
    return [`${bare.origin}/_api/contacts/v4/attachments`, init];
  });
  await assertViolations(nowhere.listAttachments(newContact()), required('contactId'));
});

test('an id in the query that differs from the path', async () => {
  const differs = changed((url, init) => [url.replace(/contactId=.*/, `contactId=${newContact()}`), init]);
  await assertViolations(differs.listAttachments(newContact()), {
    field: 'contactId', description: 'must be the same wherever it is repeated',
    violatedRule: 'OTHER', ruleName: 'ID_MISMATCH', data: {},
  });
});

test('fileName and mimeType absent or null', async () => {
  const contact = newContact();
  for (const missing of [undefined, null]) {
    await assertViolations(
      generateAttachmentUploadUrl(contact, missing, { mimeType: missing }),
      required('fileName'), required('options.mimeType'),
    );
  }
  await assertViolations(
    generateAttachmentUploadUrl(contact, 'a.csv'), required('options.mimeType'),
  );
});

test('empty fileName and mimeType', async () => {
  await assertViolations(
    generateAttachmentUploadUrl(newContact(), '', { mimeType: '' }),
    tooShort('fileName'), tooShort('options.mimeType'),
  );
});

test('fileName and mimeType that are too long, counted in characters', async () => {
  const contact = newContact();
  const mimeType = `image/${'x'.repeat(250)}`;
  await assertViolations(
    generateAttachmentUploadUrl(contact, `${'ü'.repeat(257)}.csv`, { mimeType }),
    tooLong('fileName', 260), tooLong('options.mimeType', 255),
  );
  const longest = `${'ü'.repeat(256)}.csv`;
  const { uploadUrl } = await generateAttachmentUploadUrl(contact, longest, { mimeType: 'text/csv' });
  assert.match(uploadUrl, /^http/);
});

test('a mimeType that is not supported', async () => {
  for (const mimeType of ['video/mp4', 'application/octet-stream', 'image/webp', 'text/html', 'x']) {
    const error = await thrownBy(
      generateAttachmentUploadUrl(newContact(), 'a.csv', { mimeType }),
    );
    assert.equal(error.status, 400);
    const [{ data, ...violation }, ...others] = error.details.validationError.fieldViolations;
    assert.deepEqual(others, []);
    assert.deepEqual(violation, {
      field: 'options.mimeType', description: 'is not a supported MIME type',
      violatedRule: 'OTHER', ruleName: 'UNSUPPORTED_MIME_TYPE',
    });
    assert.equal(data.mimeType, mimeType);
    assert.ok(data.supported.includes('application/pdf'));
  }
});

test('a paging limit over 100', async () => {
  for (const limit of [101, 5000, 99_999_999_999]) {
    await assertViolations(listAttachments(newContact(), { paging: { limit } }), {
      field: 'options.paging.limit', description: 'must be at most 100', violatedRule: 'MAX',
      data: { threshold: 100 },
    });
  }
});

test('a paging limit or offset below 0', async () => {
  await assertViolations(
    listAttachments(newContact(), { paging: { limit: -1, offset: -5 } }),
    belowZero('options.paging.limit'), belowZero('options.paging.offset'),
  );
});

test('a paging value that is not an integer', async () => {
  for (const value of [1.5, 'ten', NaN, '']) {
    await assertViolations(
      listAttachments(newContact(), { paging: { limit: value, offset: value } }),
      notInteger('options.paging.limit'), notInteger('options.paging.offset'),
    );
  }
});

test('all violations of a request are reported together', async () => {
  await assertViolations(
    listAttachments('x', { paging: { limit: 101, offset: -1 } }),
    notGuid('contactId'),
    {
      field: 'options.paging.limit', description: 'must be at most 100', violatedRule: 'MAX',
      data: { threshold: 100 },
    },
    belowZero('options.paging.offset'),
  );
});

test('a body that is not JSON', async () => {
  const broken = changed((url, init) => [url, { ...init, body: '{\n  "fileName": oops' }]);
  await assertApplicationError(
    broken.generateAttachmentUploadUrl(newContact(), 'a.csv', { mimeType: 'text/csv' }),
    { status: 400, code: 'INVALID_ARGUMENT', data: { line: 2, column: 15 } },
  );
});

test('a JSON body that is not an object', async () => {
  const list = changed((url, init) => [url, { ...init, body: '[]' }]);
  const error = await assertApplicationError(
    list.generateAttachmentUploadUrl(newContact(), 'a.csv', { mimeType: 'text/csv' }),
    { status: 400, code: 'INVALID_ARGUMENT' },
  );
  assert.equal(error.details.applicationError.description, 'Expected an object');
});

test('a body that is too large', async () => {
  await assertApplicationError(
    generateAttachmentUploadUrl(newContact(), 'x'.repeat(100_000), { mimeType: 'text/csv' }),
    { status: 413, code: 'REQUEST_TOO_LARGE', data: { limitBytes: 65536 } },
  );
});

test('no Authorization: a client without a strategy sends an empty one', async () => {
  const anonymous = createClient({
    modules: { attachments }, host: { apiBaseUrl: new URL(servers.auto.https).host },
  });
  const error = await assertApplicationError(
    anonymous.attachments.listAttachments(newContact()),
    { status: 401, code: 'UNAUTHENTICATED' },
  );
  assert.match(error.details.applicationError.description, /Authorization header is missing/);
});

test('an unknown key', async () => {
  for (const apiKey of ['nobody', `${servers.auto.apiKey}x`, servers.id.apiKey]) {
    await assertApplicationError(
      makeClient(servers.auto, { apiKey }).attachments.listAttachments(newContact()),
      { status: 401, code: 'UNAUTHENTICATED' },
    );
  }
});

test('the site header is missing and there are several sites', async () => {
  const noSite = makeClient(servers.id, { siteId: null });
  const error = await assertApplicationError(
    noSite.attachments.listAttachments(newContact()), { status: 403, code: 'PERMISSION_DENIED' },
  );
  assert.match(error.details.applicationError.description, /wix-site-id/);
});

test('the site header names a foreign or unknown site', async () => {
  for (const siteId of [servers.id.otherSiteId, newContact(), 'x']) {
    await assertApplicationError(
      makeClient(servers.id, { siteId }).attachments.listAttachments(newContact()),
      { status: 403, code: 'PERMISSION_DENIED' },
    );
  }
});

test('a view-only key can neither generate nor delete', async () => {
  const viewer = makeClient(servers.auto, { apiKey: servers.auto.viewKey }).attachments;
  const denied = { status: 403, code: 'PERMISSION_DENIED' };
  const ids = { contactId: newContact(), attachmentId: newContact() };
  assert.equal((await viewer.listAttachments(newContact())).metadata.total, 0);
  await assertApplicationError(viewer.deleteAttachment(ids), denied);
  await assertApplicationError(
    viewer.generateAttachmentUploadUrl(newContact(), 'a.csv', { mimeType: 'text/csv' }), denied,
  );
});

test('a modify-only key can neither list nor get', async () => {
  const modifier = makeClient(servers.auto, { apiKey: servers.auto.modifyKey }).attachments;
  const denied = { status: 403, code: 'PERMISSION_DENIED' };
  const ids = { contactId: newContact(), attachmentId: newContact() };
  await assertApplicationError(modifier.listAttachments(newContact()), denied);
  await assertApplicationError(modifier.getAttachment(ids), denied);
});

test('an attachment that does not exist', async () => {
  const ids = { contactId: newContact(), attachmentId: newContact() };
  for (const method of [getAttachment, deleteAttachment]) {
    await assertApplicationError(method(ids), { status: 404, code: 'NOT_FOUND', data: ids });
  }
});

test('an unknown route', async () => {
  const lost = changed((url, init) => [`${new URL(url).origin}/contacts/v4/nowhere`, init]);
  await assertApplicationError(lost.listAttachments(newContact()), {
    status: 404, code: 'NOT_FOUND', data: { method: 'GET', path: '/contacts/v4/nowhere' },
  });
});

test('a method that the route lacks, with an Allow header', async () => {
  const fetched = watchedFetch((url, init) => [url, { ...init, method: 'PUT' }]);
  const wrong = makeClient(servers.auto, { fetch: fetched }).attachments;
  await assertApplicationError(
    wrong.listAttachments(newContact()), { status: 405, code: 'METHOD_NOT_ALLOWED' },
  );
  assert.match(fetched.exchanges[0].response.headers.get('allow'), /\bGET\b/);
});

test('a request above the limit per minute', async () => {
  const fetched = watchedFetch();
  const hasty = makeClient(servers.limited, { fetch: fetched }).attachments;
  // If a minute ends between two calls, the count restarts; three calls exceed the limit in either
  // case.
  const calls = [];
  for (let call = 0; call < 3; call += 1) {
    calls.push(await hasty.listAttachments(newContact()).then(() => undefined, (error) => error));
  }
  const refused = calls.findIndex((error) => error !== undefined);
  const error = calls[refused];
  assert.equal(error.status, 429);
  assert.equal(error.details.applicationError.code, 'RESOURCE_EXHAUSTED');
  const seconds = error.details.applicationError.data.retryAfterSeconds;
  assert.ok(seconds >= 1 && seconds <= 60, String(seconds));
  assert.equal(fetched.exchanges[refused].response.headers.get('retry-after'), String(seconds));
});

test('the request id that the SDK shows is the one in the header', async () => {
  const fetched = watchedFetch();
  const watched = makeClient(servers.auto, { fetch: fetched }).attachments;
  const error = await thrownBy(watched.listAttachments('x'));
  assert.equal(error.requestId, fetched.exchanges[0].response.headers.get('x-wix-request-id'));
});

test('the client retries no error, so callers cannot rely on it', async () => {
  const fetched = watchedFetch();
  const watched = makeClient(servers.auto, { fetch: fetched }).attachments;
  await thrownBy(watched.listAttachments('x'));
  assert.equal(fetched.exchanges.length, 1);
});

test('a full site', async () => {
  const { fullSiteId: siteId, fullApiKey: apiKey } = servers.id;
  const client = makeClient(servers.id, { siteId, apiKey }).attachments;
  const ask = (name) => client.generateAttachmentUploadUrl(newContact(), name, { mimeType: 'text/csv' });
  const [first, second] = [await ask('a.csv'), await ask('b.csv')];
  assert.equal((await fetch(first.uploadUrl, { method: 'PUT', body: 'a,b\n' })).status, 200);
  await assertApplicationError(ask('c.csv'), {
    status: 403, code: 'QUOTA_EXCEEDED', data: { scope: 'site', unit: 'files', limit: 1, use: 1 },
  });
  // Also with a URL generated while there was room.
  const late = await fetch(second.uploadUrl, { method: 'PUT', body: 'a,b\n' });
  assert.equal(late.status, 403);
  assert.equal((await late.json()).details.applicationError.code, 'QUOTA_EXCEEDED');
});
