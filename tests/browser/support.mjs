// Shared by the browser tests: a server, uploads by plain REST, and a browser for each file of tests.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { chromium } from 'playwright-core';

import { startServer } from '../sdk/server.mjs';

export { startServer };

/** Debian's browser; CHROMIUM names another. */
const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** Chromium runs as root, without a GPU, and must send no requests of its own. */
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

/** Starts a browser with an empty profile. */
export async function startBrowser() {
  const profile = await mkdtemp(path.join(tmpdir(), 'dossier-browser-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: EXECUTABLE, headless: true, args: FLAGS, acceptDownloads: true,
  });
  const stop = async () => {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  };
  return { context, stop };
}

/** Uploads a file and returns the attachment with its links. */
export async function upload(server, { name, type, bytes }) {
  const { http, apiKey, siteId } = server.ready;
  const headers = { Authorization: apiKey, 'wix-site-id': siteId };
  const list = `${http}/contacts/v4/attachments/${randomUUID()}`;
  const generated = await fetch(`${list}/upload-url`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify({ fileName: name, mimeType: type }),
  });
  assert.equal(generated.status, 200, await generated.clone().text());
  const { uploadUrl } = await generated.json();
  const put = await fetch(uploadUrl, { method: 'PUT', body: bytes });
  assert.equal(put.status, 200, await put.clone().text());
  const { attachments } = await (await fetch(list, { headers })).json();
  return attachments[0];
}

/** The link of an attachment's original. */
export const linkOf = (attachment) => (attachment.image ?? attachment.document).url;

/** Another origin's page: responds to every path with the same HTML and records the requested paths. */
export async function startPage(html) {
  const requested = [];
  const server = createServer((request, response) => {
    requested.push(request.url);
    response.setHeader('Content-Type', 'text/html; charset=utf-8');
    response.end(html());
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const stop = () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); });
  // Another host name than the server under test, so that cookies are separate.
  return { url: `http://localhost:${server.address().port}`, requested, stop };
}
