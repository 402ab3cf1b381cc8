// Offset paging by the SDK (contract §14).

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { makeClient, newContact, table, upload } from './support.mjs';

const TOTAL = 250;
/** Concurrent uploads while the contact is filled. */
const AT_ONCE = 10;

const client = makeClient();
const contactId = newContact();
const names = Array.from({ length: TOTAL }, (_, index) => `table-${index}.csv`);

before(async () => {
  const left = [...names];
  const fill = async () => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      await upload(client, contactId, table(name, `name\n${name}\n`));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, fill));
});

const list = (paging) => client.attachments.listAttachments(contactId, { paging });

test('250 attachments in pages of 100 are each returned once, with correct totals', async () => {
  const seen = [];
  for (const [offset, count] of [[0, 100], [100, 100], [200, 50]]) {
    const { attachments, metadata } = await list({ limit: 100, offset });
    assert.deepEqual(metadata, { count, offset, total: TOTAL, tooManyToCount: false });
    assert.equal(attachments.length, count);
    seen.push(...attachments);
  }
  assert.equal(new Set(seen.map(({ _id }) => _id)).size, TOTAL);
  assert.deepEqual(seen.map(({ fileName }) => fileName).sort(), [...names].sort());
});

test('pages of 7 add up to the same order as pages of 100', async () => {
  const walk = async (limit) => {
    const ids = [];
    for (let offset = 0; offset < TOTAL; offset += limit) {
      ids.push(...(await list({ limit, offset })).attachments.map(({ _id }) => _id));
    }
    return ids;
  };
  assert.deepEqual(await walk(7), await walk(100));
});

test('without paging, or with an empty one, a list returns the first hundred', async () => {
  const first = await list({ limit: 100, offset: 0 });
  assert.deepEqual(await client.attachments.listAttachments(contactId), first);
  assert.deepEqual(await list({}), first);
  assert.deepEqual(await list({ limit: null, offset: undefined }), first);
});

test('limit 0 returns no items and the correct total', async () => {
  const { attachments, metadata } = await list({ limit: 0 });
  assert.deepEqual(attachments, []);
  assert.deepEqual(metadata, { count: 0, offset: 0, total: TOTAL, tooManyToCount: false });
});

test('an offset past the end returns no items and the correct total', async () => {
  const { attachments, metadata } = await list({ offset: 1000 });
  assert.deepEqual(attachments, []);
  assert.deepEqual(metadata, { count: 0, offset: 1000, total: TOTAL, tooManyToCount: false });
});
