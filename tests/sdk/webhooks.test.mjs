// The official SDK as the receiver: what `client.webhooks.process()` accepts and what it passes to
// handlers (contract §11).

import assert from 'node:assert/strict';
import { createHmac, createPublicKey, createSign, generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';

import { attachments } from '@wix/crm';
import { AppStrategy, createClient } from '@wix/sdk';

import { dossier, startServer } from './server.mjs';
import { newContact, photo, table } from './support.mjs';

/** How long an event may take to arrive. */
const PATIENCE_MS = 20_000;

let server;
let base;
let headers;

before(async () => {
  server = await startServer(['--dev']);
  base = server.ready.http;
  headers = { Authorization: server.ready.apiKey, 'Content-Type': 'application/json' };
});

after(() => server.stop());

/** Uploads a file by plain HTTP, since these tests are about the events, and returns its id. */
async function upload(contact, { name, type, bytes }) {
  const at = `${base}/contacts/v4/attachments/${contact}`;
  const body = JSON.stringify({ fileName: name, mimeType: type });
  const url = await fetch(`${at}/upload-url`, { method: 'POST', headers, body });
  const { uploadUrl } = await url.json();
  assert.equal((await fetch(uploadUrl, { method: 'PUT', body: bytes })).status, 200);
  const list = await (await fetch(at, { headers })).json();
  return list.attachments.at(-1).id;
}

async function remove(contact, id) {
  const at = `${base}/contacts/v4/attachments/${contact}/${id}`;
  assert.equal((await fetch(at, { method: 'DELETE', headers })).status, 200);
}

/** A client as in an app of the vendor's. */
async function appClient() {
  const response = await fetch(`${base}/dossier/v1/webhooks/public-key`);
  const { current } = await response.json();
  return makeClient(current.publicKey);
}

function makeClient(publicKey) {
  const auth = AppStrategy({ appId: '5f0a1b2c-0000-4000-8000-000000000001', publicKey });
  return createClient({ auth, modules: { attachments } });
}

/** A receiver on this machine with its subscription and every body it received. */
async function receive(handle, options = {}) {
  const bodies = [];
  const receiver = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    bodies.push(body);
    try {
      await handle(body);
      response.writeHead(200).end();
    } catch (error) {
      response.writeHead(500).end(String(error));
    }
  });
  await new Promise((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${receiver.address().port}/webhooks`;
  const body = JSON.stringify({ url, ...options });
  const made = await fetch(`${base}/dossier/v1/webhooks`, { method: 'POST', headers, body });
  assert.equal(made.status, 200, await made.clone().text());
  const { webhook } = await made.json();
  return {
    bodies,
    webhook,
    async stop() {
      const at = `${base}/dossier/v1/webhooks/${webhook.id}`;
      assert.equal((await fetch(at, { method: 'DELETE', headers })).status, 200);
      receiver.closeAllConnections();
      receiver.close();
    },
    async log() {
      const at = `${base}/dossier/v1/webhooks/${webhook.id}/deliveries`;
      return (await (await fetch(at, { headers })).json()).deliveries;
    },
  };
}

async function until(what, holds) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `timed out waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const claimsOf = (token) =>
  JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString('utf8'));
const eventOf = (token) => JSON.parse(JSON.parse(claimsOf(token).data).data);
const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

test('created and deleted events reach the handlers of the SDK, with bytes readable at once', async () => {
  const created = [];
  const deleted = [];
  let client;
  const receiver = await receive((body) => client.webhooks.process(body));
  client = await appClient();
  client.attachments.onAttachmentCreated(async (event) => {
    // Inside the handler: the bytes are readable before the event arrives.
    const link = event.entity.image ?? event.entity.document;
    const bytes = Buffer.from(await (await fetch(link)).arrayBuffer());
    created.push({ event, bytes });
  });
  client.attachments.onAttachmentDeleted((event) => {
    deleted.push(event);
  });
  try {
    const contact = newContact();
    const files = [table(), photo()];
    const ids = [];
    for (const file of files) ids.push(await upload(contact, file));
    await until('two are created', () => created.length === 2);
    for (const [number, file] of files.entries()) {
      const { event, bytes } = created.find(({ event }) => event.entity.fileName === file.name);
      assert.deepEqual(bytes, file.bytes);
      const { entity, metadata } = event;
      assert.equal(entity._id, ids[number]);
      assert.equal(entity.mimeType, file.type);
      assert.equal(entity.attachmentType, file.type === 'image/png' ? 'IMAGE' : 'OTHER');
      assert.equal(metadata.entityId, ids[number]);
      assert.equal(metadata.slug, 'created');
      assert.equal(metadata.entityFqdn, 'wix.contacts.v4.attachment');
      assert.equal(metadata.entityEventSequence, '1');
      assert.equal(metadata.triggeredByAnonymizeRequest, false);
      assert.equal(metadata.contactId, contact);
      assert.equal(metadata.instanceId, receiver.webhook.instanceId);
      assert.equal(metadata.identity.identityType, 'APP');
      assert.equal(metadata.accountInfo.siteId, server.ready.siteId);
      assert.ok(metadata.eventTime instanceof Date);
      assert.ok(Math.abs(metadata.eventTime - Date.now()) < PATIENCE_MS);
      assert.match(metadata._id, /^[0-9a-f-]{36}$/);
    }
    const picture = created.find(({ event }) => event.entity.image).event.entity;
    assert.match(picture.previewImage, /^http.*\/preview\?token=/);
    await remove(contact, ids[0]);
    await until('one is deleted', () => deleted.length === 1);
    const { metadata } = deleted[0];
    assert.equal(metadata.entityId, ids[0]);
    assert.equal(metadata.slug, 'deleted');
    assert.equal(metadata.entityEventSequence, '2');
    assert.equal(metadata.contactId, contact);
    await until('all are delivered', async () =>
      (await receiver.log()).every((delivery) => delivery.state === 'delivered'));
  } finally {
    await receiver.stop();
  }
});

test('a handler that throws causes a 500, and a replay repeats the event with the same id', async () => {
  let fails = true;
  let client;
  const handled = [];
  const receiver = await receive((body) => client.webhooks.process(body), {
    eventTypes: ['wix.contacts.v4.attachment_created'],
  });
  client = await appClient();
  client.attachments.onAttachmentCreated(({ metadata }) => {
    if (fails) throw new Error('not now');
    handled.push(metadata._id);
  });
  try {
    await upload(newContact(), table());
    await until('the failed attempt', async () => (await receiver.log())[0]?.attempts.length === 1);
    const [failed] = await receiver.log();
    assert.equal(failed.state, 'pending');
    assert.equal(failed.attempts[0].problem, 'status 500, expected 200');
    fails = false;
    const at = `${base}/dossier/v1/webhooks/${receiver.webhook.id}/replay`;
    const body = JSON.stringify({ eventIds: [failed.eventId] });
    assert.equal((await fetch(at, { method: 'POST', headers, body })).status, 200);
    await until('it was handled', () => handled.length === 1);
    assert.equal(handled[0], failed.eventId);
  } finally {
    await receiver.stop();
  }
});

test('the SDK rejects tampered events and every other signing method', async () => {
  const receiver = await receive(() => {});
  try {
    await upload(newContact(), table());
    await until('it came', () => receiver.bodies.length === 1);
    const [token] = receiver.bodies;
    const client = await appClient();
    client.attachments.onAttachmentCreated(() => {});
    await client.webhooks.process(token);

    const [head, claims, signature] = token.split('.');
    const altered = { ...claimsOf(token), aud: 'other' };
    const own = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const rs256 = (text, key) => createSign('RSA-SHA256').update(text).sign(key, 'base64url');
    const { publicKey } = (await (await fetch(`${base}/dossier/v1/webhooks/public-key`)).json())
      .current;
    const hmac = (text) => createHmac('sha256', publicKey).update(text).digest('base64url');
    const none = `${encode({ alg: 'none', typ: 'JWT' })}.${claims}`;
    const hs256 = `${encode({ alg: 'HS256', typ: 'JWT' })}.${claims}`;
    for (const [what, forged] of Object.entries({
      'other claims': `${head}.${encode(altered)}.${signature}`,
      'another signature': `${head}.${claims}.${signature.replace(/^./, (c) => (c === 'A' ? 'B' : 'A'))}`,
      'no signature': `${head}.${claims}.`,
      'alg none': `${none}.`,
      'alg none with a signature': `${none}.${signature}`,
      'HS256 with the public key': `${hs256}.${hmac(hs256)}`,
      'a foreign key': `${head}.${claims}.${rs256(`${head}.${claims}`, own.privateKey)}`,
      'a token that has expired': expired(token, own, head),
    })) {
      await assert.rejects(client.webhooks.process(forged), undefined, what);
    }
  } finally {
    await receiver.stop();
  }
});

/** Signed with a key of ours, so rejected for two reasons: it has expired too. */
function expired(token, own, head) {
  const claims = encode({ ...claimsOf(token), iat: 1, exp: 2 });
  const text = `${head}.${claims}`;
  return `${text}.${createSign('RSA-SHA256').update(text).sign(own.privateKey, 'base64url')}`;
}

test('after a rotation both keys are shown, and events are signed with the active one', async () => {
  const rotating = await startServer(['--dev']);
  try {
    const old = await dossier(rotating.data, 'webhook', 'public-key');
    const before = rotating.ready.http;
    const key = async () => (await fetch(`${before}/dossier/v1/webhooks/public-key`)).json();
    await until('the key is known', async () => (await key()).current !== undefined);
    const shown = await key();
    assert.deepEqual(shown.keys, old.keys);
    const command = ['webhook', 'rotate-key', '--after-hours', '0'];
    const { publicKey: pem } = await dossier(rotating.data, ...command);
    await until('the new key signs', async () => (await key()).keys.length === 2);
    const rotated = await key();
    assert.equal(rotated.current.publicKey, pem);
    assert.equal(rotated.other.publicKey, shown.current.publicKey);

    const bodies = [];
    const receiver = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      bodies.push(body);
      response.writeHead(200).end();
    });
    await new Promise((resolve) => receiver.listen(0, '127.0.0.1', resolve));
    const auth = { Authorization: rotating.ready.apiKey, 'Content-Type': 'application/json' };
    const url = `http://127.0.0.1:${receiver.address().port}/`;
    const made = await fetch(`${before}/dossier/v1/webhooks`, {
      method: 'POST', headers: auth, body: JSON.stringify({ url }),
    });
    const { webhook } = await made.json();
    const at = `${before}/dossier/v1/webhooks/${webhook.id}/test`;
    assert.equal((await fetch(at, { method: 'POST', headers: auth })).status, 200);
    receiver.closeAllConnections();
    receiver.close();
    const accepts = makeClient(pem);
    accepts.attachments.onAttachmentCreated(() => {});
    await accepts.webhooks.process(bodies[0]);
    const refuses = makeClient(shown.current.publicKey);
    refuses.attachments.onAttachmentCreated(() => {});
    await assert.rejects(refuses.webhooks.process(bodies[0]));
    // The key on one line and the JSON Web Key are the same key.
    const oneLine = makeClient(rotated.current.publicKeyBase64);
    oneLine.attachments.onAttachmentCreated(() => {});
    await oneLine.webhooks.process(bodies[0]);
    const jwk = createPublicKey({ key: rotated.keys[0], format: 'jwk' });
    assert.equal(jwk.export({ type: 'spki', format: 'pem' }), pem);
    assert.equal(eventOf(bodies[0]).slug, 'created');
  } finally {
    await rotating.stop();
  }
});
