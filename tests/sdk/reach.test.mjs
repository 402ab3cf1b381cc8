// How the SDK reaches a self-hosted server (contract §5).

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { makeClient, newContact, servers, table, upload, watchedFetch } from './support.mjs';

test('host.apiBaseUrl leads to the server over TLS, under the /_api prefix', async () => {
  const fetched = watchedFetch();
  const contact = newContact();
  const client = makeClient(servers.auto, { fetch: fetched });
  const { metadata } = await client.attachments.listAttachments(contact);
  assert.deepEqual(metadata, { count: 0, offset: 0, total: 0, tooManyToCount: false });
  const [{ url, init }] = fetched.exchanges;
  assert.ok(url.startsWith(`${servers.auto.https}/_api/contacts/v4/attachments/${contact}?`), url);
  assert.equal(init.headers.Authorization, servers.auto.apiKey);
  assert.equal(init.headers['wix-site-id'], servers.auto.siteId);
});

test('with the default fetch the SDK needs only the trusted certificate authority', async () => {
  const { attachments } = await makeClient().attachments.listAttachments(newContact());
  assert.deepEqual(attachments, []);
});

test('all methods work on the default host when fetch redirects them to plain http', async () => {
  const toServer = watchedFetch((url, init) => {
    assert.ok(url.startsWith('https://www.wixapis.com/contacts/v4/attachments/'), url);
    return [url.replace('https://www.wixapis.com', servers.auto.http), init];
  });
  const client = makeClient(servers.auto, { host: undefined, fetch: toServer });
  const contactId = newContact();
  await upload(client, contactId, table());
  const { attachments } = await client.attachments.listAttachments(contactId);
  const [{ _id: attachmentId }] = attachments;
  const got = await client.attachments.getAttachment({ contactId, attachmentId });
  assert.deepEqual(got, attachments[0]);
  await client.attachments.deleteAttachment({ contactId, attachmentId });
  const after = await client.attachments.listAttachments(contactId);
  assert.equal(after.metadata.total, 0);
  const methods = toServer.exchanges.map(({ init }) => init.method);
  assert.deepEqual(methods, ['POST', 'GET', 'GET', 'DELETE', 'GET']);
});

test('client.fetchWithAuth reaches the server with the same credentials', async () => {
  const url = `${servers.auto.https}/contacts/v4/attachments/${newContact()}`;
  const response = await makeClient().fetchWithAuth(url);
  assert.equal(response.status, 200);
});

test('every response carries the request id that the SDK reads', async () => {
  const fetched = watchedFetch();
  await makeClient(servers.auto, { fetch: fetched }).attachments.listAttachments(newContact());
  const { headers } = fetched.exchanges[0].response;
  assert.match(headers.get('x-wix-request-id'), /^[0-9a-f-]{8,}$/);
  assert.equal(headers.get('content-type'), 'application/json');
});
