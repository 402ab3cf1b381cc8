// The four methods and the upload as SDK callers see them (contract §4, §5, §8).

import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { test } from 'node:test';

import {
  assertApplicationError, makeClient, newContact, photo, table, upload, watchedFetch,
} from './support.mjs';

const GUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

test('an uploaded image is listed with _id and working urls', async () => {
  const client = makeClient();
  const contactId = newContact();
  const file = photo('kitchen.png', 1000, 500);
  await upload(client, contactId, file);
  const { attachments, metadata } = await client.attachments.listAttachments(contactId);
  assert.deepEqual(metadata, { count: 1, offset: 0, total: 1, tooManyToCount: false });
  const [{ _id, image, previewImage, ...others }] = attachments;
  assert.match(_id, GUID);
  assert.deepEqual(others, {
    fileName: 'kitchen.png', mimeType: 'image/png', attachmentType: 'IMAGE',
  });
  const original = await fetch(image);
  assert.equal(original.status, 200);
  assert.equal(original.headers.get('content-type'), 'image/png');
  assert.deepEqual(Buffer.from(await original.arrayBuffer()), file.bytes);
  const preview = await fetch(previewImage);
  assert.equal(preview.status, 200);
  assert.match(preview.headers.get('content-type'), /^image\/(png|jpeg)$/);
});

test('an uploaded document is listed with a working url', async () => {
  const client = makeClient();
  const contactId = newContact();
  const file = table();
  await upload(client, contactId, file);
  const { attachments } = await client.attachments.listAttachments(contactId);
  const [{ _id, document, ...others }] = attachments;
  assert.match(_id, GUID);
  assert.deepEqual(others, {
    fileName: 'my-data.csv', mimeType: 'text/csv', attachmentType: 'OTHER',
  });
  const opened = await fetch(document);
  assert.equal(opened.status, 200);
  assert.deepEqual(Buffer.from(await opened.arrayBuffer()), file.bytes);
});

test('an upload returns the file descriptor', async () => {
  const file = photo();
  const descriptor = await upload(makeClient(), newContact(), file);
  assert.match(descriptor.id, /^[0-9a-f]+_[0-9a-f]{32}~mv2\.png$/);
  assert.equal(descriptor.displayName, 'kitchen.png');
  assert.equal(descriptor.sizeInBytes, String(file.bytes.length));
  assert.equal(descriptor.hash, createHash('sha256').update(file.bytes).digest('hex'));
  assert.equal(descriptor.mediaType, 'IMAGE');
  assert.equal(descriptor.operationStatus, 'READY');
  const { width, height } = descriptor.media.image.image;
  assert.deepEqual({ width, height }, { width: 6, height: 4 });
});

test('a name in the query of the upload overrides the earlier one', async () => {
  const client = makeClient();
  const contactId = newContact();
  const { uploadUrl } = await client.attachments.generateAttachmentUploadUrl(
    contactId, 'before.csv', { mimeType: 'text/csv' },
  );
  const url = new URL(uploadUrl);
  url.searchParams.set('filename', 'Grüße & 日本.csv');
  const response = await fetch(url, { method: 'PUT', body: table().bytes });
  assert.equal(response.status, 200, await response.text());
  const { attachments } = await client.attachments.listAttachments(contactId);
  assert.equal(attachments[0].fileName, 'Grüße & 日本.csv');
});

test('the type of an upload sent as octet-stream is detected', async () => {
  const client = makeClient();
  const contactId = newContact();
  const { uploadUrl } = await client.attachments.generateAttachmentUploadUrl(
    contactId, 'kitchen.png', { mimeType: 'image/png' },
  );
  const headers = { 'Content-Type': 'application/octet-stream' };
  const response = await fetch(uploadUrl, { method: 'PUT', headers, body: photo().bytes });
  assert.equal(response.status, 200, await response.text());
  const { attachments } = await client.attachments.listAttachments(contactId);
  assert.equal(attachments[0].mimeType, 'image/png');
});

test('get returns the same attachment as the list', async () => {
  const client = makeClient();
  const contactId = newContact();
  await upload(client, contactId, photo());
  const [listed] = (await client.attachments.listAttachments(contactId)).attachments;
  const got = await client.attachments.getAttachment({ contactId, attachmentId: listed._id });
  assert.deepEqual(got, listed);
});

test('delete returns undefined, and the attachment is gone at once', async () => {
  const client = makeClient();
  const contactId = newContact();
  await upload(client, contactId, photo());
  const [{ _id, image }] = (await client.attachments.listAttachments(contactId)).attachments;
  const ids = { contactId, attachmentId: _id };
  assert.equal(await client.attachments.deleteAttachment(ids), undefined);
  const gone = { status: 404, code: 'NOT_FOUND', data: ids };
  await assertApplicationError(client.attachments.getAttachment(ids), gone);
  await assertApplicationError(client.attachments.deleteAttachment(ids), gone);
  const { attachments, metadata } = await client.attachments.listAttachments(contactId);
  assert.deepEqual(attachments, []);
  assert.equal(metadata.total, 0);
  assert.equal((await fetch(image)).status, 404);
});

test('ids in upper case are returned in lower case', async () => {
  const client = makeClient();
  const contactId = newContact();
  await upload(client, contactId, table());
  const upper = contactId.toUpperCase();
  const [{ _id }] = (await client.attachments.listAttachments(upper)).attachments;
  const got = await client.attachments.getAttachment({
    contactId: upper, attachmentId: _id.toUpperCase(),
  });
  assert.equal(got._id, _id);
});

test('an attachment of another contact is not found', async () => {
  const client = makeClient();
  const contactId = newContact();
  await upload(client, contactId, table());
  const [{ _id }] = (await client.attachments.listAttachments(contactId)).attachments;
  const ids = { contactId: randomUUID(), attachmentId: _id };
  const expected = { status: 404, code: 'NOT_FOUND', data: ids };
  await assertApplicationError(client.attachments.getAttachment(ids), expected);
  await assertApplicationError(client.attachments.deleteAttachment(ids), expected);
});

test('generate stores nothing until bytes arrive', async () => {
  const fetched = watchedFetch();
  const client = makeClient(undefined, { fetch: fetched });
  const contactId = newContact();
  await client.attachments.generateAttachmentUploadUrl(contactId, 'a.csv', { mimeType: 'text/csv' });
  const { attachments } = await client.attachments.listAttachments(contactId);
  assert.deepEqual(attachments, []);
  assert.equal(fetched.exchanges[0].init.headers['Content-Type'], 'application/json');
});
