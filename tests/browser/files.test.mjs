// Nothing that a link opens runs in a browser (S11): in its own tab, in a frame, as an image, a script,
// a style or an embedded object of a page.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { linkOf, startBrowser, startPage, startServer, upload } from './support.mjs';

let server;
let browser;
let beacon;
before(async () => {
  server = await startServer();
  browser = await startBrowser();
  beacon = await startPage(() => '');
});
after(async () => {
  await browser?.stop();
  await beacon?.stop();
  assert.equal(await server?.stop(), 'code 0');
});

/** Reports to the beacon in every way that a script can. */
const script = () => `
  try { new Image().src = '${beacon.url}/ran-image'; } catch {}
  try { fetch('${beacon.url}/ran-fetch', { mode: 'no-cors' }); } catch {}
  try { document.title = 'ran'; } catch {}
  try { document.cookie = 'ran=1'; } catch {}
  try { (window.opener ?? parent).postMessage('ran', '*'); } catch {}
`;

const html = () => `<!doctype html><title>still</title><script>${script()}</script>
<body onload="${script().replaceAll('"', "'")}"><img src="${beacon.url}/loaded" onerror="1"></body>`;

const svg = () => `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="document.title='ran'">
<script>${script()}</script></svg>`;

const xhtml = () => `<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">
<head><title>still</title><script>//<![CDATA[
${script()}
//]]></script></head><body/></html>`;

/** A PDF that runs JavaScript when opened. */
function pdf() {
  const code = `app.alert('ran'); app.launchURL('${beacon.url}/ran-pdf');`.replaceAll(/[()]/g, '\\$&');
  const objects = [
    '<< /Type /Catalog /Pages 2 0 R /OpenAction 4 0 R >>',
    '<< /Type /Pages /Kids [3 0 R] /Count 1 >>',
    '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] >>',
    `<< /S /JavaScript /JS (${code}) >>`,
  ];
  let text = '%PDF-1.7\n';
  const places = objects.map((object, at) => {
    const place = text.length;
    text += `${at + 1} 0 obj\n${object}\nendobj\n`;
    return `${String(place).padStart(10, '0')} 00000 n \n`;
  });
  const start = text.length;
  text += `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${places.join('')}`;
  return `${text}trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\nstartxref\n${start}\n%%EOF\n`;
}

/** Hostile content, each under a type and a name with which it is accepted. */
const hostile = () => [
  { name: 'page.csv', type: 'text/csv', bytes: `a,b\n${html()}\n` },
  { name: 'list.csv', type: 'text/csv', bytes: `"${xhtml().replaceAll('"', '""')}",1\n` },
  { name: 'drawing', type: 'image/x-xbitmap', bytes: `#define x_width 9\n${svg()}` },
  { name: 'markup', type: 'image/x-xbitmap', bytes: `#define x_width 9\n${xhtml()}` },
  { name: 'script.pdf', type: 'application/pdf', bytes: pdf() },
  { name: 'polyglot.gif', type: 'image/gif', bytes: gif(html()) },
];

/** A GIF with HTML in a comment. */
function gif(comment) {
  const head = Buffer.from('GIF89a\x01\0\x01\0\0\0\0', 'latin1');
  const blocks = [];
  for (let at = 0; at < comment.length; at += 255) {
    const part = Buffer.from(comment.slice(at, at + 255));
    blocks.push(Buffer.from([part.length]), part);
  }
  const picture = Buffer.from(',\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;', 'latin1');
  return Buffer.concat([head, Buffer.from('!\xfe', 'latin1'), ...blocks, Buffer.from([0]), picture]);
}

/** Opens a URL in a tab, which it returns. A download counts as opened. */
async function open(url) {
  const tab = await browser.context.newPage();
  const download = tab.waitForEvent('download', { timeout: 3_000 }).then((it) => it, () => null);
  await tab.goto(url, { waitUntil: 'load', timeout: 10_000 }).catch((error) => {
    // The browser reports a navigation that becomes a download as aborted.
    assert.match(error.message, /Download is starting|ERR_ABORTED/);
  });
  await Promise.race([download, tab.waitForTimeout(300)]);
  return tab;
}

test('the beacon receives requests of a page whose scripts run', async () => {
  const page = await startPage(html);
  try {
    const tab = await open(page.url);
    await tab.waitForFunction(() => document.title === 'ran');
    await tab.close();
    assert.ok(beacon.requested.includes('/ran-image'), 'without this the other tests prove nothing');
    beacon.requested.length = 0;
  } finally {
    await page.stop();
  }
});

test('s11: nothing runs in its own tab, and no cookie is set', async () => {
  for (const file of hostile()) {
    const tab = await open(linkOf(await upload(server, file)));
    assert.notEqual(await tab.title(), 'ran', file.name);
    await tab.close();
  }
  assert.deepEqual(beacon.requested, []);
  assert.deepEqual(await browser.context.cookies(server.ready.http), []);
});

test('s11: nothing runs in a page that shows, frames, loads or embeds it', async () => {
  for (const file of hostile()) {
    const link = linkOf(await upload(server, file));
    const page = await startPage(() => `<!doctype html><title>host</title>
      <script>addEventListener('message', (event) => { document.title = event.data; });</script>
      <img src="${link}"><iframe src="${link}"></iframe><object data="${link}"></object>
      <embed src="${link}"><script src="${link}"></script><link rel="stylesheet" href="${link}">`);
    try {
      const tab = await open(page.url);
      assert.equal(await tab.title(), 'host', file.name);
      await tab.close();
    } finally {
      await page.stop();
    }
  }
  assert.deepEqual(beacon.requested, []);
  assert.deepEqual(await browser.context.cookies(server.ready.http), []);
});

test('s11: every response has the sandbox and forbids sniffing, also previews and errors', async () => {
  const links = [];
  for (const file of hostile()) links.push(linkOf(await upload(server, file)));
  const pictures = links.filter((link) => link.includes('/media/'));
  const withPreview = pictures.map((link) => link.replace('?', '/preview?'));
  for (const link of [...links, ...withPreview, links[0].slice(0, -1)]) {
    const response = await fetch(link);
    assert.equal(response.headers.get('content-security-policy'), "default-src 'none'; sandbox", link);
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff', link);
    assert.equal(response.headers.get('set-cookie'), null, link);
    await response.arrayBuffer();
  }
});

test('a page of another origin can show an image', async () => {
  const dot = Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC',
    'base64',
  );
  const attachment = await upload(server, { name: 'dot.png', type: 'image/png', bytes: dot });
  const page = await startPage(() => `<img id="it" src="${linkOf(attachment)}">
    <img id="small" src="${attachment.previewImage.url}">`);
  try {
    const tab = await open(page.url);
    for (const id of ['it', 'small']) {
      await tab.waitForFunction((name) => document.getElementById(name).naturalWidth === 1, id);
    }
    await tab.close();
  } finally {
    await page.stop();
  }
});
