// The page in each of its states: axe-core finds nothing, in light and dark, on a desktop and a phone, and at
// 200%. The screenshots are for people to look at.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';

import { announce, csv, drop, openContact, pdf, picture, put, shot, signedIn } from './page.mjs';
import { startBrowser, startServer } from './support.mjs';

const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };

let server;
let browser;
let page;
let anna;
let hook;
before(async () => {
  server = await startServer(['--dev', '--set', 'trash_days=30']);
  browser = await startBrowser();
  page = await browser.context.newPage();
  await page.setViewportSize(DESKTOP);
  await page.goto(server.ready.http);
  anna = await announce(server, 'Anna Bergström');
  const others = ['Jonas Weber', 'Mireille Okafor', 'Yuki Tanaka', 'Σοφία Παπαδοπούλου', 'Omar Haddad', 'Lena Fischer'];
  for (const [number, label] of others.entries()) {
    const id = await announce(server, label);
    for (let file = 0; file < 1 + ((number * 3) % 4); file += 1) {
      await put(server, id, { name: `report ${file}.csv`, type: 'text/csv', bytes: csv(4000 * (number + 1)) });
    }
  }
  for (const [number, words] of ['Before', 'X-ray left', 'Consent', 'After 2 weeks', 'After 6 weeks', 'Insurance card'].entries()) {
    const bytes = await picture(page, { hue: (number * 57) % 360, words, width: 900, height: number % 3 === 1 ? 1200 : 640 });
    await put(server, anna, { name: `${words.toLowerCase().replaceAll(' ', '-')}.jpg`, type: 'image/jpeg', bytes });
  }
  await put(server, anna, { name: 'treatment-plan.pdf', type: 'application/pdf', bytes: pdf('Treatment plan') });
  await put(server, anna, { name: 'invoice-2026-114.pdf', type: 'application/pdf', bytes: pdf('Invoice 2026-114') });
  await put(server, anna, { name: 'measurements.csv', type: 'text/csv', bytes: csv(64_000) });
  await put(server, anna, { name: 'invoice_\u202Egpj.csv', type: 'text/csv', bytes: csv(900) });
  await page.close();
  page = await signedIn(browser.context, server);
  await page.setViewportSize(DESKTOP);
});
after(async () => {
  hook?.close();
  await browser?.stop();
  await server?.stop();
});

/** The findings of axe-core. */
async function findings() {
  await page.evaluate(AXE);
  const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
  const { violations } = await page.evaluate((values) => window.axe.run(document, { runOnly: { type: 'tag', values } }), tags);
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target} ${node.failureSummary}`));
}

/** Takes screenshots and runs axe-core, in both themes. */
async function look(name) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.mouse.move(2, 400);
    await page.waitForTimeout(50);
    await shot(page, `${name}-${colorScheme}`);
    assert.deepEqual(await findings(), [], `${name}, ${colorScheme}`);
  }
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wide <= 0, `${name} is ${wide} pixels wider than the window`);
}

const pictures = () => page.waitForFunction(() => [...document.querySelectorAll('.thumb img')].every((one) => one.complete));

test('contacts, and the dialog for a new one', async () => {
  await page.getByText('Anna Bergström').waitFor();
  await look('contacts');
  await page.getByRole('button', { name: 'New contact' }).click();
  await look('new-contact');
  await page.keyboard.press('Escape');
});

test('files in the grid, selected, and in the list', async () => {
  await openContact(page, anna);
  await page.getByRole('button', { name: 'Open before.jpg' }).waitFor();
  await pictures();
  await look('grid');
  await page.getByRole('checkbox', { name: 'Select before.jpg' }).click();
  await look('grid-selected');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'List' }).click();
  await look('list');
  await page.getByRole('button', { name: 'Grid' }).click();
});

test('the viewer: an image, a PDF, and a file without a preview and with a suspicious name', async () => {
  for (const [name, file] of [['viewer', 'x-ray-left.jpg'], ['viewer-pdf', 'treatment-plan.pdf'], ['viewer-csv', 'invoice_[U+202E]gpj.csv']]) {
    await page.getByRole('button', { name: `Open ${file}` }).click();
    await page.getByRole('dialog').waitFor();
    await page.waitForFunction(() => [...document.querySelectorAll('.stage img')].every((one) => one.complete && one.naturalWidth > 0));
    await look(name);
    await page.keyboard.press('Escape');
  }
});

test('the dialog before a file is deleted', async () => {
  await page.getByRole('button', { name: 'Open consent.jpg' }).focus();
  await page.keyboard.press('Delete');
  await page.getByRole('dialog').waitFor();
  await look('delete');
  await page.keyboard.press('Escape');
});

test('uploads: running, done, and rejected with the reason', async () => {
  const network = await browser.context.newCDPSession(page);
  await network.send('Network.enable');
  const speed = (uploadThroughput) => network.send('Network.emulateNetworkConditions', {
    offline: false, latency: 0, downloadThroughput: -1, uploadThroughput,
  });
  await speed(500_000);
  await drop(page, [
    { name: 'mri-series-1.csv', type: 'text/csv', bytes: csv(9_000_000) },
    { name: 'mri-series-2.csv', type: 'text/csv', bytes: csv(3_000_000) },
    { name: 'empty.csv', type: 'text/csv', bytes: '' },
    { name: 'notes.csv', type: 'text/csv', bytes: csv(2000) },
    { name: 'program.exe', type: '', bytes: 'MZ' },
  ]);
  await page.getByText('1 of 5 done').waitFor();
  await page.getByText(/ left$/).first().waitFor();
  await look('uploads');
  await speed(-1);
  await page.getByText('3 of 5 done').waitFor({ timeout: 60_000 });
  await page.getByRole('button', { name: 'Clear finished' }).click();
  await page.locator('.uploads').waitFor({ state: 'detached' });
});

test('a contact without files', async () => {
  await openContact(page, await announce(server, 'New Person'));
  await page.getByText('No files yet').waitFor();
  await look('empty');
});

test('webhooks with their attempts, the SDK, and the description of the API', async () => {
  let count = 0;
  hook = createServer((request, response) => {
    count += 1;
    response.statusCode = count % 3 === 1 ? 500 : 200;
    request.resume().on('end', () => response.end(response.statusCode === 200 ? 'ok' : 'database is unavailable'));
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => { hook.once('listening', resolve); });
  await page.evaluate(() => { window.location.hash = '#/developer'; });
  await page.getByText('No webhooks yet').waitFor();
  await look('webhooks-empty');
  await page.getByRole('button', { name: 'Add a webhook' }).click();
  await page.getByLabel('Address').fill(`http://127.0.0.1:${hook.address().port}/hooks`);
  await page.getByRole('dialog').getByRole('button', { name: 'Add a webhook' }).click();
  await page.locator('.toast').first().waitFor({ state: 'detached' }).catch(() => undefined);
  for (let round = 0; round < 3; round += 1) {
    await page.getByRole('button', { name: 'Send a test' }).click();
    await page.waitForFunction((wanted) => document.querySelectorAll('.attempts > li').length >= wanted, round + 1);
  }
  await page.waitForFunction(() => document.querySelectorAll('.toast').length === 0);
  await look('webhooks');
  for (const part of ['SDK', 'API']) {
    await page.getByRole('navigation', { name: 'Sections' }).getByRole('link', { name: part, exact: true }).click();
    await page.locator('.panel').first().waitFor();
    if (part === 'API') await page.locator('summary').first().click();
    await look(`developer-${part.toLowerCase()}`);
  }
});

test('a phone', async () => {
  await page.setViewportSize(PHONE);
  await page.evaluate(() => { window.location.hash = '#/contacts'; });
  await page.getByText('Anna Bergström').waitFor();
  await look('phone-contacts');
  await openContact(page, anna);
  await page.getByRole('button', { name: 'Open before.jpg' }).waitFor();
  await pictures();
  await look('phone-grid');
  await page.getByRole('button', { name: 'Open before.jpg' }).click();
  await page.getByRole('dialog').waitFor();
  await look('phone-viewer');
  await page.keyboard.press('Escape');
});

test('at 200% everything fits into the window', async () => {
  // A window zoomed to 200% has half the pixels.
  await page.setViewportSize({ width: 640, height: 400 });
  await look('zoomed-grid');
  await page.setViewportSize(DESKTOP);
});

test('operations', async () => {
  await page.evaluate(() => { window.location.hash = '#/operations'; });
  await page.locator('.facts').first().waitFor();
  await look('operations');
});

test('signing in', async () => {
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('API key').waitFor();
  await look('sign-in');
});
