// A rejection that needs no body must still let the client send all of it: some clients, such as
// curl 7.88, treat a stream reset while sending as a failure.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:http2';
import { test } from 'node:test';

import { newContact, servers } from './support.mjs';

/** More than the server's initial window, so that the body cannot be sent without being read. */
const BODY = Buffer.alloc(3 * 1024 * 1024, ' ');

async function post(path) {
  const session = connect(servers.auto.http);
  try {
    const stream = session.request({ ':method': 'POST', ':path': path });
    const sent = once(stream, 'finish');
    stream.end(BODY);
    const [headers] = await once(stream, 'response');
    const parts = [];
    for await (const part of stream) parts.push(part);
    await sent;
    assert.equal(stream.rstCode, 0);
    return { status: headers[':status'], body: JSON.parse(Buffer.concat(parts)) };
  } finally {
    session.close();
  }
}

test('a rejected request can send its whole body', async () => {
  const noKey = await post(`/contacts/v4/attachments/${newContact()}/upload-url`);
  assert.equal(noKey.status, 401);
  assert.equal(noKey.body.details.applicationError.code, 'UNAUTHENTICATED');
  const noRoute = await post('/nowhere');
  assert.equal(noRoute.status, 404);
});
