// The viewer: PDFs without a frame, and what people write about a file.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { announce, csv, openContact, pdf, put, signedIn } from './page.mjs';
import { startBrowser, startServer } from './support.mjs';

let server;
let browser;
let page;
before(async () => {
  server = await startServer();
  browser = await startBrowser();
  page = await signedIn(browser.context, server);
});
after(async () => {
  await browser?.stop();
  assert.equal(await server?.stop(), 'code 0');
});

/** A contact with one file, which is open in the viewer. */
async function viewing(file) {
  const contact = await announce(server, 'Viewed');
  await put(server, contact, file);
  await openContact(page, contact);
  await page.getByRole('button', { name: `Open ${file.name}` }).click();
  await page.getByRole('dialog', { name: `File ${file.name}` }).waitFor();
  return contact;
}

/** Opens all pages, and gives back the tab and what the server sent to it. */
async function readAll() {
  const answers = [];
  browser.context.on('response', (response) => answers.push(response));
  const opening = browser.context.waitForEvent('page');
  await page.getByRole('link', { name: 'Read all pages' }).click();
  const tab = await opening;
  await tab.waitForLoadState();
  browser.context.removeAllListeners('response');
  return { tab, types: answers.filter((one) => one.url() === tab.url()).map((one) => one.headers()['content-type']) };
}

test('of a PDF the first page is seen, and all pages open in a tab of their own', async () => {
  const bytes = pdf('A letter');
  await viewing({ name: 'letter.pdf', type: 'application/pdf', bytes });
  await page.waitForFunction(() => document.querySelector('.first-page img')?.naturalWidth > 0);
  const { tab, types } = await readAll();
  assert.deepEqual(types.slice(0, 1), ['application/pdf']);
  const sent = await fetch(tab.url());
  assert.deepEqual(Buffer.from(await sent.arrayBuffer()), bytes);
  assert.equal(await tab.evaluate(() => window.opener), null);
  assert.equal(await page.locator('iframe, frame, object, embed').count(), 0);
  await tab.close();
  await page.keyboard.press('Escape');
});

test('a PDF whose first page cannot be shown opens all the same', async () => {
  // It ends as a whole file does and holds no page.
  const bytes = '%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [] /Count 0 >>\nendobj\n'
    + 'trailer << /Size 3 /Root 1 0 R >>\nstartxref\n0\n%%EOF\n';
  await viewing({ name: 'empty.pdf', type: 'application/pdf', bytes });
  await page.getByText('No picture of its first page').waitFor();
  const { tab, types } = await readAll();
  assert.deepEqual(types.slice(0, 1), ['application/pdf']);
  await tab.close();
  await page.keyboard.press('Escape');
});

test('a label and a description are kept: after a reload they are found again', async () => {
  const contact = await viewing({ name: 'scan.csv', type: 'text/csv', bytes: csv(100) });
  await page.getByLabel('Label').fill('Before the operation');
  await page.getByLabel('Description').fill('Taken by Dr. Weber.\nTo be repeated in May.');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved.').waitFor();
  await page.keyboard.press('Escape');
  await page.reload();
  await page.locator('.item').getByText('Before the operation').waitFor();
  await page.getByRole('button', { name: 'Open scan.csv' }).click();
  assert.equal(await page.getByLabel('Label').inputValue(), 'Before the operation');
  assert.equal(await page.getByLabel('Description').inputValue(), 'Taken by Dr. Weber.\nTo be repeated in May.');
  // An emptied field takes the text away.
  await page.getByLabel('Label').fill('');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved.').first().waitFor();
  await page.keyboard.press('Escape');
  await page.reload();
  await page.getByRole('button', { name: 'Open scan.csv' }).click();
  await page.getByRole('dialog').waitFor();
  assert.equal(await page.getByLabel('Label').inputValue(), '');
  await page.keyboard.press('Escape');
  assert.ok(page.url().includes(contact));
});
