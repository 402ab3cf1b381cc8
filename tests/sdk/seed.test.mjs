// The three examples from the vendor's page on List Attachments, as printed.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { attachments } from '@wix/crm';
import { ApiKeyStrategy, createClient } from '@wix/sdk';

import { makeClient, photo, servers, table, upload } from './support.mjs';

/** The contact of the examples. */
const CONTACT_ID = '513c1bfc-61b6-427d-a7f8-ceeedb1eb763';

/** Sends requests for the vendor's host name to the server, whose certificate covers that name too. */
const TO_SERVER = [
  '--silent', '--show-error', '--write-out', '\n%{http_code}',
  '--cacert', servers.auto.caFile,
  '--connect-to', `www.wixapis.com:443:${new URL(servers.auto.https).host}`,
];

const curlExample = (authorization) => [
  '-X', 'GET', 'https://www.wixapis.com/contacts/v4/attachments',
  '--data-binary', `{
    "contactId": "${CONTACT_ID}"
  }`,
  '-H', 'Content-Type: application/json',
  '-H', `Authorization: ${authorization}`,
];

async function curl(authorization) {
  const words = [...TO_SERVER, ...curlExample(authorization)];
  const { stdout } = await promisify(execFile)('curl', words);
  const [, body, status] = /^(.*)\n(\d+)$/s.exec(stdout);
  return { status: Number(status), body: JSON.parse(body) };
}

test('the three examples return the same list', async () => {
  const maker = makeClient();
  const known = (await maker.attachments.listAttachments(CONTACT_ID)).metadata.total;
  await upload(maker, CONTACT_ID, photo());
  await upload(maker, CONTACT_ID, table());
  const total = known + 2;

  // The curl example: a GET with a JSON body and no contact in the path.
  const byCurl = await curl(servers.auto.apiKey);
  assert.equal(byCurl.status, 200, JSON.stringify(byCurl.body));
  assert.deepEqual(byCurl.body.metadata, { count: total, offset: 0, total, tooManyToCount: false });

  // The module's own function, in a context.
  maker.enableContext('global');
  async function listAttachmentsExample() {
    const contactId = CONTACT_ID;
    const response = await attachments.listAttachments(contactId);
    return response;
  }
  const inContext = await listAttachmentsExample();
  delete globalThis.__wix_context__;

  // createClient with modules.
  const myWixClient = createClient({
    modules: { attachments },
    auth: ApiKeyStrategy({ apiKey: servers.auto.apiKey, siteId: servers.auto.siteId }),
    host: { apiBaseUrl: new URL(servers.auto.https).host },
  });
  async function listAttachments(contactId, options) {
    return myWixClient.attachments.listAttachments(contactId, options);
  }
  const byClient = await listAttachments(CONTACT_ID, { paging: { limit: 100 } });

  assert.deepEqual(inContext, byClient);
  assert.deepEqual(inContext.metadata, byCurl.body.metadata);
  assert.deepEqual(
    inContext.attachments.map(({ _id }) => _id),
    byCurl.body.attachments.map(({ id }) => id),
  );
});

test('the curl as printed, with no key after its colon, gets an error that says what is missing', async () => {
  const { status, body } = await curl('');
  assert.equal(status, 401);
  assert.equal(body.details.applicationError.code, 'UNAUTHENTICATED');
  assert.match(body.message, /Authorization header/);
});
