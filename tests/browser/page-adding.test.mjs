// How files are added, and what can prevent it: folders, pasted images, a full quota, a revoked key.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, afterEach, test } from 'node:test';

import { dossier } from '../sdk/server.mjs';
import { PATIENCE, announce, csv, drop, headersOf, namesOf, openContact, put, signedIn, until } from './page.mjs';
import { startBrowser, startServer } from './support.mjs';

let server;
let browser;
let page;
let folder;
before(async () => {
  server = await startServer();
  browser = await startBrowser();
  folder = await makeFolder();
});
after(async () => {
  await browser?.stop();
  await rm(folder.root, { recursive: true, force: true });
  assert.equal(await server?.stop(), 'code 0');
});
beforeEach(async () => { page = await signedIn(browser.context, server); });
afterEach(() => page.close({ runBeforeUnload: false }));

/** A folder with subfolders and with the files that operating systems leave in folders. */
async function makeFolder() {
  const root = await mkdtemp(path.join(tmpdir(), 'dossier-folder-'));
  const top = path.join(root, 'Holiday');
  await mkdir(path.join(top, 'second day', 'evening'), { recursive: true });
  await mkdir(path.join(top, '.cache'));
  const wanted = ['list.csv', 'second day/route.csv', 'second day/evening/bill.csv'];
  for (const name of [...wanted, '.DS_Store', 'second day/Thumbs.db', '.cache/kept.csv']) {
    await writeFile(path.join(top, name), csv(100));
  }
  return { root, top, names: wanted.map((name) => path.basename(name)).sort() };
}

async function at(label) {
  const contact = await announce(server, label);
  await openContact(page, contact);
  return contact;
}

async function has(contact, names) {
  await page.waitForFunction((wanted) => document.querySelectorAll('.item .open').length === wanted, names.length, { timeout: PATIENCE });
  assert.deepEqual((await namesOf(server, contact)).sort(), names);
}

test('a dropped folder adds the files of all its subfolders, without system files', async () => {
  const contact = await at('Dropped folder');
  const devtools = await browser.context.newCDPSession(page);
  const { width, height } = page.viewportSize();
  for (const type of ['dragEnter', 'dragOver', 'drop']) {
    const data = { items: [], files: [folder.top], dragOperationsMask: 1 };
    await devtools.send('Input.dispatchDragEvent', { type, x: width / 2, y: height / 2, data });
  }
  await has(contact, folder.names);
});

test('a chosen folder adds the same files', async () => {
  const contact = await at('Chosen folder');
  const choosing = page.waitForEvent('filechooser');
  await page.getByRole('button', { name: 'Add a folder' }).click();
  await (await choosing).setFiles(folder.top);
  await has(contact, folder.names);
});

test('with more files than one drop may have, the page says which are added', async () => {
  await at('Far too many');
  // Only the message matters: no file needs to arrive.
  await browser.context.setOffline(true);
  try {
    await page.evaluate(() => {
      const dataTransfer = new DataTransfer();
      for (let number = 0; number <= 10_000; number += 1) dataTransfer.items.add(new File(['a'], `${number}.csv`));
      window.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
    });
    await page.getByText(/Only the first 10.?000 files are added/).waitFor({ timeout: PATIENCE });
    await page.getByText(/^0 of 10.?000 done/).waitFor({ timeout: PATIENCE });
  } finally {
    await browser.context.setOffline(false);
  }
});

test('upload URLs of small files are requested together, and a rejected file causes no further request', async () => {
  const contact = await at('Many small ones');
  let requests = 0;
  page.on('request', (request) => { requests += request.url().endsWith('/upload-urls'); });
  const all = Array.from({ length: 20 }, (_, n) => `n${n}.${n % 2 ? 'csv' : 'exe'}`);
  await drop(page, all.map((name) => ({ name, type: '', bytes: csv(100) })));
  await page.getByText('10 of 20 done').waitFor({ timeout: PATIENCE });
  await page.waitForFunction(() => document.querySelectorAll('.upload.rejected').length === 10, undefined, { timeout: PATIENCE });
  await has(contact, all.filter((name) => name.endsWith('.csv')).sort());
  assert.equal(requests, 1);
});

test('a pasted image is named after the time', async () => {
  const contact = await at('Pasted');
  await browser.context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: server.ready.http });
  await page.evaluate(async () => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 40, height: 30 });
    canvas.getContext('2d').fillRect(5, 5, 20, 10);
    const blob = await new Promise((resolve) => { canvas.toBlob(resolve, 'image/png'); });
    await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]);
  });
  await page.keyboard.press('Control+V');
  await page.waitForFunction(() => document.querySelector('.thumb img')?.naturalWidth > 0, undefined, { timeout: PATIENCE });
  const [name] = await namesOf(server, contact);
  assert.match(name, /^\d{4}-\d\d-\d\d \d\d\.\d\d\.\d\d\.png$/);
});

test('a small file is sent again after a lost response, and stored once', async () => {
  const contact = await at('Response lost');
  let lost = 0;
  await page.route('**/upload/*', async (route) => {
    if (lost > 0) {
      await route.continue();
      return;
    }
    lost += 1;
    assert.equal((await route.fetch()).status(), 200);
    await route.abort('connectionreset');
  });
  await drop(page, [{ name: 'once.csv', type: 'text/csv', bytes: csv(2000) }]);
  await page.getByText('1 of 1 done').waitFor({ timeout: PATIENCE });
  assert.equal(lost, 1);
  await has(contact, ['once.csv']);
});

test('a full contact shows its limit, and a retry succeeds once the quota is raised', async () => {
  const contact = await at('Full');
  const set = (...quotas) => dossier(server.data, 'site', 'set', ...quotas);
  const known = (field, wanted) => until(async () => {
    const response = await fetch(`${server.ready.http}/dossier/v1/usage`, { headers: headersOf(server) });
    return (await response.json()).site.quotas[field] === wanted;
  });
  await put(server, contact, { name: 'first.csv', type: 'text/csv', bytes: csv(100) });
  await set('--contact-max-bytes', '1000000');
  await known('contactMaxBytes', '1000000');
  await drop(page, [
    { name: 'small.csv', type: 'text/csv', bytes: csv(2000) }, { name: 'large.csv', type: 'text/csv', bytes: csv(3_000_000) },
  ]);
  await page.getByText('This contact is full. Its limit is 1 MB.').waitFor();
  await page.getByText('1 of 2 done').waitFor();
  await set('--contact-max-bytes', 'default');
  await known('contactMaxBytes', null);
  await page.getByRole('button', { name: 'Retry large.csv' }).click();
  await page.getByText('2 of 2 done').waitFor({ timeout: PATIENCE });
  await has(contact, ['first.csv', 'large.csv', 'small.csv']);
});

test('uploads whose key was revoked resume after signing in again', async () => {
  await page.close();
  const key = await dossier(server.data, 'key', 'create');
  page = await signedIn(browser.context, server, key.apiKey);
  const contact = await at('Revoked');
  const network = await browser.context.newCDPSession(page);
  await network.send('Network.enable');
  const speed = (uploadThroughput) => network.send('Network.emulateNetworkConditions', {
    offline: false, latency: 0, downloadThroughput: -1, uploadThroughput,
  });
  await speed(2_000_000);
  const names = Array.from({ length: 4 }, (_, n) => `r${n}.csv`);
  await drop(page, names.map((name) => ({ name, type: 'text/csv', bytes: csv(2_500_000) })));
  await page.waitForFunction(() => document.querySelector('progress')?.value > 0, undefined, { timeout: PATIENCE });
  await dossier(server.data, 'key', 'revoke', key.keyId ?? key.id);
  await page.getByText('Your session has ended').waitFor({ timeout: PATIENCE });
  await speed(-1);
  await page.getByLabel('API key').fill(server.ready.apiKey);
  await page.getByRole('dialog').getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('4 of 4 done').waitFor({ timeout: PATIENCE });
  await has(contact, names);
});
