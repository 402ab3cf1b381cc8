// The contents of image, previewImage and document, by the setting media_references (contract §5,
// §16).

import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  makeClient, newContact, photo, restHeaders, servers, table, upload,
} from './support.mjs';

async function listByRest(server, contactId) {
  const url = `${server.http}/contacts/v4/attachments/${contactId}`;
  const response = await fetch(url, { headers: restHeaders(server) });
  assert.equal(response.status, 200);
  return (await response.json()).attachments;
}

test('with "id" the SDK builds its wix:image and wix:document strings', async () => {
  const client = makeClient(servers.id);
  const contactId = newContact();
  const image = await upload(client, contactId, photo('wide.png', 300, 200));
  const document = await upload(client, contactId, table());
  const { attachments } = await client.attachments.listAttachments(contactId);
  const reference = `wix:image://v1/${image.id}#originWidth=300&originHeight=200`;
  assert.equal(attachments[0].image, reference);
  assert.equal(attachments[0].previewImage, reference);
  assert.equal(attachments[1].document, `wix:document://v1/${document.id}`);
  const got = await client.attachments.getAttachment({
    contactId, attachmentId: attachments[0]._id,
  });
  assert.equal(got.image, reference);
});

test('with "auto" the SDK gets urls and plain REST gets ids and urls', async () => {
  const client = makeClient(servers.auto);
  const contactId = newContact();
  const file = await upload(client, contactId, photo('wide.png', 300, 200));
  const [bySdk] = (await client.attachments.listAttachments(contactId)).attachments;
  const [byRest] = await listByRest(servers.auto, contactId);
  assert.equal(byRest.image.id, file.id);
  assert.equal(byRest.image.url, bySdk.image);
  assert.equal(byRest.previewImage.url, bySdk.previewImage);
  assert.equal(byRest.image.width, 300);
  assert.equal(byRest.image.height, 200);
  assert.equal(byRest.id, bySdk._id);
});

test('a page cached for one kind of caller is never returned to the other', async () => {
  const client = makeClient(servers.auto);
  const contactId = newContact();
  await upload(client, contactId, table());
  for (const round of [1, 2]) {
    const [byRest] = await listByRest(servers.auto, contactId);
    assert.ok(byRest.document.id, `round ${round}`);
    const [bySdk] = (await client.attachments.listAttachments(contactId)).attachments;
    assert.equal(bySdk.document, byRest.document.url, `round ${round}`);
  }
});
