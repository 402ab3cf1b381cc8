// The viewer: PDFs without a frame, and the label and description of a file.

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

/** Creates a contact with one file and opens it in the viewer. */
async function viewing(file) {
  const contact = await announce(server, 'Viewed');
  await put(server, contact, file);
  await openContact(page, contact);
  await page.getByRole('button', { name: `Open ${file.name}` }).click();
  await page.getByRole('dialog', { name: `File ${file.name}` }).waitFor();
  return contact;
}

/** Opens all pages. Returns the tab and the content types that it received. */
async function readAll() {
  const responses = [];
  browser.context.on('response', (response) => responses.push(response));
  const opening = browser.context.waitForEvent('page');
  await page.getByRole('link', { name: 'Read all pages' }).click();
  const tab = await opening;
  await tab.waitForLoadState();
  browser.context.removeAllListeners('response');
  return { tab, types: responses.filter((one) => one.url() === tab.url()).map((one) => one.headers()['content-type']) };
}

test('the first page of a PDF is shown, and all pages open in a tab of their own', async () => {
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

test('a PDF whose first page cannot be shown can still be opened', async () => {
  // Complete, but without a page.
  const bytes = '%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [] /Count 0 >>\nendobj\n'
    + 'trailer << /Size 3 /Root 1 0 R >>\nstartxref\n0\n%%EOF\n';
  await viewing({ name: 'empty.pdf', type: 'application/pdf', bytes });
  await page.getByText('No preview of the first page').waitFor();
  const { tab, types } = await readAll();
  assert.deepEqual(types.slice(0, 1), ['application/pdf']);
  await tab.close();
  await page.keyboard.press('Escape');
});

test('a label and a description are still there after a reload', async () => {
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
  // An empty field removes the text.
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
