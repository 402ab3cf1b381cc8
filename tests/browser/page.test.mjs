// What people do on the page: sign in by link, add files by drag and drop, lose the network, delete and undo,
// use only the keyboard, two tabs, an ended session; and hostile file names.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { after, before, beforeEach, afterEach, test } from 'node:test';

import { PATIENCE, announce, csv, drop, headersOf, namesOf, openContact, pdf, picture, put, signedIn } from './page.mjs';
import { startBrowser, startServer } from './support.mjs';

/** Most bytes over the network until the first contact is visible. */
const FIRST_LOAD = 150_000;

let server;
let browser;
let page;
before(async () => {
  server = await startServer(['--set', 'trash_days=30']);
  browser = await startBrowser();
});
after(async () => {
  await browser?.stop();
  assert.equal(await server?.stop(), 'code 0');
});
beforeEach(async () => { page = undefined; });
afterEach(async () => {
  // A dialog of `beforeunload` must not block the next test.
  for (const one of browser.context.pages().slice(1)) await one.close({ runBeforeUnload: false });
});

const rows = (tab = page) => tab.locator('.item .open');
const names = async (tab = page) => rows(tab).evaluateAll((all) => all.map((one) => one.querySelector('.visually-hidden').textContent.replace('Open ', '')));

/** Waits until the contact has this many files, on the page and on the server. */
async function has(contact, count, tab = page) {
  await tab.waitForFunction((wanted) => document.querySelectorAll('.item .open').length === wanted, count, { timeout: PATIENCE });
  assert.equal((await namesOf(server, contact)).length, count);
}

async function at(label = 'Anna Bergström') {
  const contact = await announce(server, label);
  page ??= await signedIn(browser.context, server);
  await openContact(page, contact);
  return contact;
}

test('the link of the first start signs in once and disappears from the address bar', async () => {
  const own = await startServer();
  const tab = await browser.context.newPage();
  try {
    await tab.goto(own.ready.signInUrl);
    await tab.getByRole('heading', { name: 'Contacts', exact: true }).waitFor();
    assert.equal(new URL(tab.url()).hash, '');
    await tab.getByRole('button', { name: 'Sign out' }).click();
    await tab.getByLabel('API key').waitFor();
    await tab.goto('about:blank');
    await tab.goto(own.ready.signInUrl);
    await tab.getByText('This sign-in link was already used').waitFor();
    await tab.getByLabel('API key').fill('dossier_unknown');
    await tab.getByRole('button', { name: 'Sign in' }).click();
    await tab.getByText('This API key is not valid here.').waitFor();
  } finally {
    await tab.close();
    await own.stop();
  }
});

test('no other host is requested, the first load is small, and scripts cannot read the cookie', async () => {
  const tab = await browser.context.newPage();
  const network = await browser.context.newCDPSession(tab);
  await network.send('Network.enable');
  await network.send('Network.setCacheDisabled', { cacheDisabled: true });
  let bytes = 0;
  network.on('Network.loadingFinished', (event) => { bytes += event.encodedDataLength; });
  const hosts = new Set();
  tab.on('request', (request) => hosts.add(new URL(request.url()).host));
  const problems = [];
  tab.on('pageerror', (error) => problems.push(error.message));
  await announce(server, 'Somebody');
  await tab.goto(server.ready.http);
  await tab.getByLabel('API key').fill(server.ready.apiKey);
  await tab.getByRole('button', { name: 'Sign in' }).click();
  await tab.getByText('Somebody').first().waitFor();
  assert.deepEqual([...hosts], [new URL(server.ready.http).host]);
  assert.ok(bytes > 10_000 && bytes < FIRST_LOAD, `${bytes} bytes`);
  console.log(`first load: ${bytes} bytes`);
  assert.equal(await tab.evaluate(() => document.cookie), '');
  assert.deepEqual(problems, []);
});

test('five files by drag and drop', async () => {
  const contact = await at();
  const files = [
    { name: 'photo.jpg', type: 'image/jpeg', bytes: await picture(page, {}) },
    { name: 'scan.png', type: 'image/png', bytes: await picture(page, { type: 'image/png', hue: 30, width: 300, height: 200 }) },
    { name: 'letter.pdf', type: 'application/pdf', bytes: pdf('A letter') },
    { name: 'table.csv', type: '', bytes: csv(20_000) },
    { name: 'large.csv', type: 'text/csv', bytes: csv(5_000_000) },
  ];
  await drop(page, files);
  await has(contact, 5);
  assert.deepEqual((await namesOf(server, contact)).sort(), files.map(({ name }) => name).sort());
  await page.getByText('5 of 5 done').waitFor();
  const shown = page.locator('.thumb img');
  await page.waitForFunction(() => [...document.querySelectorAll('.thumb img')].filter((one) => one.naturalWidth > 0).length >= 2);
  assert.ok((await shown.count()) >= 2);
});

test('200 small files at once', async () => {
  const contact = await at('Many');
  const start = Date.now();
  await drop(page, Array.from({ length: 200 }, (_, n) => ({ name: `n${n}.csv`, type: 'text/csv', bytes: `a,b\n${n},1\n` })));
  await page.getByText('200 of 200 done').waitFor({ timeout: PATIENCE });
  console.log(`200 files: ${Date.now() - start} ms`);
  await page.getByText('200 files').waitFor();
  const response = await fetch(`${server.ready.http}/contacts/v4/attachments/${contact}`, { headers: headersOf(server) });
  assert.equal((await response.json()).metadata.total, 200);
});

test('an upload can be paused and resumed, and resumes by itself after the network was lost', async () => {
  const contact = await at('Cut');
  const network = await browser.context.newCDPSession(page);
  await network.send('Network.enable');
  const speed = (uploadThroughput, offline = false) => network.send('Network.emulateNetworkConditions', {
    offline, latency: 0, downloadThroughput: -1, uploadThroughput,
  });
  const pieces = [];
  page.on('request', (request) => {
    if (request.method() === 'PATCH') pieces.push(Number(request.headers()['upload-offset']));
  });
  await speed(4_000_000);
  await drop(page, [{ name: 'long.csv', type: 'text/csv', bytes: csv(16_000_000) }]);
  await page.waitForFunction(() => document.querySelector('progress')?.value > 4_000_000, undefined, { timeout: PATIENCE });
  await page.getByRole('button', { name: 'Pause long.csv' }).click();
  await page.getByText(/Paused at \d+%/).waitFor();
  await page.getByRole('button', { name: 'Resume long.csv' }).click();
  await page.waitForFunction(() => document.querySelector('progress')?.value > 6_000_000, undefined, { timeout: PATIENCE });
  await speed(4_000_000, true);
  await page.getByText('No connection. Resumes automatically').waitFor({ timeout: PATIENCE });
  await speed(-1);
  await has(contact, 1);
  // It did not start again from the beginning.
  assert.ok(pieces.length >= 3 && pieces.slice(1).some((offset) => offset > 1_000_000), `${pieces}`);
});

test('after a reload the same file resumes at its offset', async () => {
  const contact = await at('Reload');
  const network = await browser.context.newCDPSession(page);
  await network.send('Network.enable');
  await network.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 3_000_000 });
  const file = { name: 'again.csv', type: 'text/csv', bytes: csv(12_000_000) };
  await drop(page, [file]);
  await page.waitForFunction(() => document.querySelector('progress')?.value > 3_000_000, undefined, { timeout: PATIENCE });
  page.on('dialog', (dialog) => dialog.accept());
  await page.reload();
  await page.getByText(/An upload was interrupted: again.csv/).waitFor();
  await network.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  const offsets = [];
  page.on('request', (request) => {
    if (request.method() === 'PATCH') offsets.push(Number(request.headers()['upload-offset']));
  });
  await drop(page, [file]);
  await has(contact, 1);
  assert.ok(offsets[0] > 0, `${offsets}`);
});

test('deleting asks first, and can be undone with a trash', async () => {
  const contact = await at('Trash');
  await put(server, contact, { name: 'kept.csv', type: 'text/csv', bytes: csv(100) });
  await put(server, contact, { name: 'gone.csv', type: 'text/csv', bytes: csv(200) });
  await page.reload();
  await has(contact, 2);
  await rows().filter({ hasText: 'gone.csv' }).focus();
  await page.keyboard.press('Delete');
  await page.getByRole('button', { name: 'Cancel' }).click();
  assert.equal((await namesOf(server, contact)).length, 2);
  await rows().filter({ hasText: 'gone.csv' }).focus();
  await page.keyboard.press('Delete');
  await page.getByText('Deleted files can be restored for 30 days.').waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await has(contact, 1);
  await page.getByRole('button', { name: 'Undo' }).click();
  await has(contact, 2);
});

test('with the keyboard only: search, open, next file, select, delete', async () => {
  const contact = await at('Keyboard');
  for (const name of ['a.csv', 'b.csv', 'c.csv']) await put(server, contact, { name, type: 'text/csv', bytes: csv(100) });
  await page.goto(server.ready.http);
  await page.getByText('Keyboard').waitFor();
  await page.keyboard.press('/');
  await page.keyboard.type(contact);
  await page.keyboard.press('Tab');
  for (let step = 0; step < 12; step += 1) {
    if (await page.evaluate((id) => document.activeElement.getAttribute('href')?.includes(id), contact)) break;
    await page.keyboard.press('Tab');
  }
  await page.keyboard.press('Enter');
  await has(contact, 3);
  const order = await names();
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog', { name: `File ${order[1]}` }).waitFor();
  await page.keyboard.press('ArrowRight');
  await page.getByRole('dialog', { name: `File ${order[2]}` }).waitFor();
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => !document.querySelector('dialog[open]'));
  await page.keyboard.press('Home');
  await page.keyboard.press('Space');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Space');
  await page.getByText('2 selected').waitFor();
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => !document.querySelector('.selection'));
  await page.keyboard.press('Delete');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await has(contact, 2);
});

test('two tabs delete the same file: the second reports it and shows the remaining files', async () => {
  const contact = await at('Tabs');
  await put(server, contact, { name: 'one.csv', type: 'text/csv', bytes: csv(100) });
  await put(server, contact, { name: 'two.csv', type: 'text/csv', bytes: csv(100) });
  await page.reload();
  await has(contact, 2);
  const other = await browser.context.newPage();
  await other.goto(page.url());
  await has(contact, 2, other);
  for (const tab of [page, other]) {
    await rows(tab).filter({ hasText: 'one.csv' }).focus();
    await tab.keyboard.press('Delete');
    await tab.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await has(contact, 1, tab);
  }
  await other.getByText('“one.csv” had already been deleted.').waitFor();
});

test('when the session ends during uploads, the page says so and loses nothing', async () => {
  const contact = await at('Ends');
  const network = await browser.context.newCDPSession(page);
  await network.send('Network.enable');
  await network.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 3_000_000 });
  await drop(page, Array.from({ length: 5 }, (_, n) => ({ name: `s${n}.csv`, type: 'text/csv', bytes: csv(2_000_000) })));
  await page.waitForFunction(() => document.querySelector('progress')?.value > 0, undefined, { timeout: PATIENCE });
  // As after signing out in another tab.
  await browser.context.clearCookies();
  await page.getByText('Your session has ended').waitFor({ timeout: PATIENCE });
  await page.getByLabel('API key').fill(server.ready.apiKey);
  await page.getByRole('dialog').getByRole('button', { name: 'Sign in' }).click();
  await has(contact, 5);
});

test('a restart of the server during an upload loses nothing', async () => {
  // A proxy keeps the address, since the server gets another port.
  let upstream = 0;
  const front = createServer((socket) => {
    const back = connect(upstream, '127.0.0.1');
    for (const [one, other] of [[socket, back], [back, socket]]) one.on('error', () => other.destroy()).on('close', () => other.destroy());
    socket.pipe(back).pipe(socket);
  }).listen(0, '127.0.0.1');
  await once(front, 'listening');
  const address = `http://127.0.0.1:${front.address().port}`;
  const flags = ['--set', 'shutdown_seconds=0', '--public-url', address];
  const own = await startServer(flags);
  const port = ({ ready }) => Number(new URL(ready.http).port);
  upstream = port(own);
  let again;
  try {
    page = await signedIn(browser.context, { ready: { ...own.ready, http: address } });
    const contact = await announce(own, 'Restart');
    await openContact(page, contact);
    const network = await browser.context.newCDPSession(page);
    await network.send('Network.enable');
    await network.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 3_000_000 });
    await drop(page, [{ name: 'long.csv', type: 'text/csv', bytes: csv(9_000_000) }]);
    await page.waitForFunction(() => document.querySelector('progress')?.value > 2_000_000, undefined, { timeout: PATIENCE });
    await own.stop({ keep: true });
    await page.getByText('No connection. Resumes automatically').waitFor({ timeout: PATIENCE });
    await network.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
    again = await startServer(flags, own.folder);
    upstream = port(again);
    await page.getByText('1 of 1 done').waitFor({ timeout: PATIENCE });
    await page.waitForFunction(() => document.querySelectorAll('.item .open').length === 1);
  } finally {
    await page?.close();
    await (again ?? own).stop();
    front.close();
  }
});

test('a rejected file shows why, and nothing of it is stored', async () => {
  const full = await startServer(['--set', 'contact_max_files=1']);
  try {
    page = await signedIn(browser.context, full);
    const contact = await announce(full, 'Full');
    await openContact(page, contact);
    await drop(page, [
      { name: 'empty.csv', type: 'text/csv', bytes: '' },
      { name: 'program.exe', type: '', bytes: 'MZ' },
      { name: 'really-a-picture.pdf', type: 'application/pdf', bytes: await picture(page, {}) },
      { name: `${'x'.repeat(260)}.csv`, type: 'text/csv', bytes: 'a' },
    ]);
    for (const reason of ['The file is empty.', 'EXE files are not accepted.', 'more than 260 characters', 'but holds a JPEG image']) {
      await page.getByText(reason).waitFor();
    }
    assert.equal(await page.getByRole('button', { name: /^Retry / }).count(), 0, 'none of these would be accepted');
    await put(full, contact, { name: 'first.csv', type: 'text/csv', bytes: csv(10) });
    await drop(page, [{ name: 'second.csv', type: 'text/csv', bytes: csv(10) }]);
    await page.getByText('This contact is full. Its limit is 1 file.').waitFor();
    assert.deepEqual(await namesOf(full, contact), ['first.csv']);
  } finally {
    await page?.close();
    await full.stop();
  }
});

test('s14: hostile names are shown as text and run nothing', async () => {
  const contact = await at('<img src=x onerror=window.harmed=1>');
  const hostile = [
    '<img src=x onerror=window.harmed=1>.csv', '\u202e\u200f\u200e.csv', '\u{1F600}'.repeat(256) + '.csv',
    'invoice_\u202excod.csv', '"><script>window.harmed=1</script>.csv', '{{constructor}}.csv', 'a'.repeat(256) + '.csv', 'trailing.csv. ',
  ];
  for (const name of hostile) await put(server, contact, { name, type: 'text/csv', bytes: csv(10) });
  await page.reload();
  await has(contact, hostile.length);
  const shown = await names();
  assert.ok(shown.includes('[U+202E][U+200F][U+200E].csv'), `${shown}`);
  assert.ok(shown.includes('invoice_[U+202E]xcod.csv'));
  assert.ok(shown.includes('<img src=x onerror=window.harmed=1>.csv'));
  for (const layout of ['List', 'Grid']) {
    await page.getByRole('button', { name: layout, exact: true }).click();
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(wide <= 0, `${layout} is too wide by ${wide}`);
  }
  await rows().first().click();
  for (let step = 0; step < hostile.length; step += 1) await page.keyboard.press('ArrowRight');
  assert.equal(await page.evaluate(() => window.harmed), undefined);
  // Only the page's own script.
  assert.equal(await page.locator('script:not([src])').count(), 1);
  assert.equal(await page.locator('#app script, #main img[src="x"]').count(), 0);
});

test('a viewer sees files and cannot change them', async () => {
  const contact = await at('Viewed');
  await put(server, contact, { name: 'a.csv', type: 'text/csv', bytes: csv(10) });
  const { dossier } = await import('../sdk/server.mjs');
  const made = await dossier(server.data, 'key', 'create', '--scope', 'VIEW');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('API key').waitFor();
  await page.close();
  page = await signedIn(browser.context, server, made.apiKey);
  await openContact(page, contact);
  await has(contact, 1);
  assert.equal(await page.getByRole('button', { name: 'Add files' }).count(), 0);
  assert.equal(await page.getByRole('link', { name: 'Developer' }).count(), 0);
  await rows().first().focus();
  await page.keyboard.press('Delete');
  await drop(page, [{ name: 'b.csv', type: 'text/csv', bytes: csv(10) }]);
  assert.equal(await page.locator('dialog[open], .uploads').count(), 0);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('API key').waitFor();
});
