// Content-Disposition as read by a browser and by two independent parsers (S13, S14).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import hapi from '@hapi/content';
import * as jshttp from 'content-disposition';

import { linkOf, startBrowser, startServer, upload } from './support.mjs';

let server;
let browser;
before(async () => {
  server = await startServer();
  browser = await startBrowser();
});
after(async () => {
  await browser?.stop();
  assert.equal(await server?.stop(), 'code 0');
});

/** Uploaded names, and the names that every client must read. */
const NAMES = [
  ['plain.csv', 'plain.csv'],
  ['two words.csv', 'two words.csv'],
  ['semi;colon=x.csv', 'semi;colon=x.csv'],
  ["it's 50%.csv", "it's 50%.csv"],
  ['%41%2e%2e.csv', '%41%2e%2e.csv'],
  ['R\u00e9sum\u00e9.csv', 'R\u00e9sum\u00e9.csv'],
  ['\u5831\u544a\u66f8.csv', '\u5831\u544a\u66f8.csv'],
  ['smile \u{1F600}.csv', 'smile \u{1F600}.csv'],
  ['a"; filename="evil.exe.csv', 'a_; filename=_evil.exe.csv'],
  ["a; filename*=UTF-8''evil.csv", "a; filename_=UTF-8''evil.csv"],
  ['a\r\nSet-Cookie: a=b.csv', 'aSet-Cookie_ a=b.csv'],
  ['back\\slash".csv', 'back_slash_.csv'],
  ['../../etc/passwd.csv', '.._.._etc_passwd.csv'],
  ['invoice_\u202Evsc.csv', 'invoice_vsc.csv'],
  ['zero\u200Bwidth\uFEFF.csv', 'zerowidth.csv'],
  ['trailing.csv. . ', 'trailing.csv'],
  ['CON.csv', '_CON.csv'],
];

/** Uploads a file of this name. Returns the header of its download, and its link. */
async function uploaded(name) {
  const attachment = await upload(server, { name, type: 'text/csv', bytes: 'a,b\n1,2\n' });
  assert.equal(attachment.fileName, name, 'the name is stored unchanged');
  const response = await fetch(linkOf(attachment));
  await response.arrayBuffer();
  const header = response.headers.get('content-disposition');
  assert.match(header, /^[\x20-\x7e]+$/);
  return { header, link: linkOf(attachment) };
}

test('s13, s14: every parser reads the neutral name only', async () => {
  for (const [name, expected] of NAMES) {
    const { header } = await uploaded(name);
    const read = jshttp.parse(header);
    assert.equal(read.type, 'attachment', header);
    assert.equal(read.parameters.filename, expected, header);
    // This parser is for forms, whose headers have the same parameters.
    const form = hapi.disposition(header.replace(/^attachment/, 'form-data; name="file"'));
    assert.equal(form.filename, expected, header);
  }
});

test('s13, s14: a browser saves under the neutral name', async () => {
  const tab = await browser.context.newPage();
  for (const [name, expected] of NAMES) {
    const { link } = await uploaded(name);
    const saving = tab.waitForEvent('download');
    await tab.goto(link).catch((error) => assert.match(error.message, /Download is starting|ERR_ABORTED/));
    const suggested = (await saving).suggestedFilename();
    // The browser removes leading dots.
    assert.equal(suggested, expected.replace(/^\.+/, ''));
  }
  await tab.close();
});
