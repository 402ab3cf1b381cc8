// A contact with many files: the document stays bounded, every file can be reached, and many are deleted together.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { PATIENCE, announce, csv, headersOf, openContact, picture, put, shot, signedIn } from './page.mjs';
import { startBrowser, startServer } from './support.mjs';

const FILES = 10_000;
/** Most elements of the document: a few screens of cards, each of about 15. */
const MOST_ELEMENTS = 3_000;

let server;
let browser;
let page;
let large;
before(async () => {
  server = await startServer();
  browser = await startBrowser();
  page = await signedIn(browser.context, server);
  large = await announce(server, 'Ten thousand');
  await put(server, large, { name: 'file-00000.png', type: 'image/png', bytes: await picture(page, { type: 'image/png', width: 90, height: 60 }) });
  await page.close();
  await server.stop({ keep: true });
  const [database] = (await readdir(server.data)).filter((name) => /\.(db|sqlite3?)$/.test(name));
  const script = fileURLToPath(new URL('multiply.py', import.meta.url));
  await promisify(execFile)('python3', [script, path.join(server.data, database), String(FILES)]);
  const { apiKey, siteId } = server.ready;
  server = await startServer(['--set', 'trash_days=30'], server.folder);
  server.ready = { apiKey, siteId, ...server.ready };
  page = await signedIn(browser.context, server, apiKey);
});
after(async () => {
  await browser?.stop();
  assert.equal(await server?.stop(), 'code 0');
});

const elements = () => page.evaluate(() => document.querySelectorAll('*').length);

/** Scrolls down by a screen each frame. Returns the largest number of elements seen. */
const scrolled = (screens) => page.evaluate(async (count) => {
  const scroller = document.querySelector('.scroller');
  let most = 0;
  for (let screen = 0; screen < count; screen += 1) {
    scroller.scrollTop += scroller.clientHeight;
    await new Promise((resolve) => { requestAnimationFrame(resolve); });
    most = Math.max(most, document.querySelectorAll('*').length);
  }
  return most;
}, screens);

test('10,000 files scroll with a bounded document, and the last can be reached by scrolling and by key', async () => {
  await openContact(page, large);
  await page.getByText('10,000 files').waitFor({ timeout: PATIENCE });
  for (const layout of ['List', 'Grid']) {
    await page.getByRole('button', { name: layout, exact: true }).click();
    await page.evaluate(() => { document.querySelector('.scroller').scrollTop = 0; });
    await page.getByRole('button', { name: 'Open file-09999.png' }).waitFor();
    const most = await scrolled(40);
    assert.ok(most < MOST_ELEMENTS, `${layout}: ${most} elements`);
    // The visible files are fetched.
    await page.waitForFunction(() => document.querySelector('.item .open') && !document.querySelector('.skeleton'), undefined, { timeout: PATIENCE });
  }
  await page.evaluate(() => { document.querySelector('.scroller').scrollTop = 1e9; });
  await page.getByRole('button', { name: 'Open file-00000.png' }).waitFor({ timeout: PATIENCE });
  assert.ok((await elements()) < MOST_ELEMENTS);
  await page.evaluate(() => { document.querySelector('.scroller').scrollTop = 0; });
  await page.getByRole('button', { name: 'Open file-09999.png' }).focus();
  await page.keyboard.press('End');
  await page.waitForFunction(() => document.activeElement.dataset.index === '9999', undefined, { timeout: PATIENCE });
  await page.keyboard.press('Home');
  await page.waitForFunction(() => document.activeElement.dataset.index === '0', undefined, { timeout: PATIENCE });
});

test('the End key reaches the last file even when only the first page was fetched', async () => {
  await page.reload();
  await openContact(page, large);
  await page.getByRole('button', { name: 'Open file-09999.png' }).focus();
  await page.keyboard.press('End');
  await page.waitForFunction(() => document.activeElement.dataset.index === '9999', undefined, { timeout: PATIENCE });
  assert.equal(await page.evaluate(() => document.activeElement.textContent.includes('file-00000.png')), true);
  await shot(page, 'ten-thousand');
});

test('selected files are deleted by the hundred, and the files after them appear', async () => {
  const contact = await announce(server, 'Deleted together');
  const all = Array.from({ length: 230 }, (_, n) => n);
  while (all.length > 0) {
    await Promise.all(all.splice(0, 8).map((n) => put(server, contact, { name: `n${n}.csv`, type: 'text/csv', bytes: csv(100) })));
  }
  await openContact(page, contact);
  await page.getByText('230 files').waitFor();
  const requests = [];
  page.on('request', (request) => { if (!['GET', 'HEAD'].includes(request.method())) requests.push(request); });
  await page.locator('.item .open').first().focus();
  await page.keyboard.press('Control+a');
  await page.getByText('200 selected').waitFor();
  await page.keyboard.press('Delete');
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.getByText('Deleted 200 files.').waitFor();
  await page.getByText('30 files').waitFor();
  await page.waitForFunction(() => document.querySelectorAll('.item .open').length > 20 && !document.querySelector('.skeleton'));
  const total = async () => {
    const response = await fetch(`${server.ready.http}/contacts/v4/attachments/${contact}`, { headers: headersOf(server) });
    return (await response.json()).metadata.total;
  };
  assert.equal(await total(), 30);
  const bulk = requests.filter((request) => request.url().endsWith('/bulk-delete'));
  assert.deepEqual(bulk.map((request) => request.postDataJSON().attachmentIds.length), [100, 100]);
  assert.equal(requests.length, 2);
  await page.getByRole('button', { name: 'Undo' }).click();
  await page.getByText('230 files').waitFor({ timeout: PATIENCE });
  assert.equal(await total(), 230);
});
