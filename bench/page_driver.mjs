// The measurements of bench/page:
//
//   page_driver.mjs load LOADS
//   page_driver.mjs drop ROUNDS FILES BYTES
//
// Prints one JSON object.

import { randomUUID } from 'node:crypto';

import { startServer } from '../tests/sdk/server.mjs';
import { Browser } from './page_browser.mjs';

/** CPU throttling factor for the first load. */
const SLOWED = 4;
/** Concurrent uploads, the same as AT_ONCE of page/lib/uploads.js. */
const AT_ONCE = 4;
const CONTACTS = 30;
const WARM_UP = 20;

/** First loads while signed in, each in a new browser with an empty cache. */
async function load(count) {
  const server = await startServer();
  const loads = [];
  try {
    for (let number = 0; number < CONTACTS; number += 1) await announce(server, `Contact ${number}`);
    // One-time work of the server, such as compressing files, is not measured.
    await oneLoad(server);
    for (let round = 0; round < count; round += 1) {
      const plainMs = await plainPaint(server);
      loads.push({ ...await oneLoad(server), plainMs });
    }
  } finally {
    await server.stop();
  }
  return { loads };
}

async function oneLoad(server) {
  const browser = await Browser.start();
  try {
    await browser.send('Network.enable');
    await browser.send('Network.setCookie', await session(server));
    let [bytes, hosts] = [0, []];
    browser.on('Network.loadingFinished', ({ encodedDataLength }) => { bytes += encodedDataLength; });
    browser.on('Network.requestWillBeSent', ({ request }) => hosts.push(new URL(request.url).host));
    await browser.send('Emulation.setCPUThrottlingRate', { rate: SLOWED });
    await browser.send('Page.navigate', { url: server.ready.http });
    const times = { contactsMs: await browser.run(contactsMs), paintMs: await browser.run(paintMs) };
    const { host } = new URL(server.ready.http);
    return { ...times, bytes, requests: hosts.length, otherHosts: hosts.filter((one) => one !== host).length };
  } finally {
    await browser.stop();
  }
}

/** The browser's baseline: the first paint of a text from the same server. */
async function plainPaint(server) {
  const html = await (await fetch(server.ready.http)).text();
  const [folder] = /\/page\/\w+\//.exec(html);
  const browser = await Browser.start();
  try {
    await browser.send('Emulation.setCPUThrottlingRate', { rate: SLOWED });
    await browser.send('Page.navigate', { url: `${server.ready.http}${folder}vendor/licences.txt` });
    return await browser.run(paintMs);
  } finally {
    await browser.stop();
  }
}

/** In the page: the time of the first contentful paint. */
async function paintMs() {
  const [paint] = await new Promise((resolve) => {
    new PerformanceObserver((list) => {
      const found = list.getEntriesByName('first-contentful-paint');
      if (found.length > 0) resolve(found);
    }).observe({ type: 'paint', buffered: true });
  });
  return paint.startTime;
}

/** In the page: when the first contact was visible. */
async function contactsMs() {
  return new Promise((resolve) => {
    const look = () => document.querySelector('.row') && resolve(performance.now());
    new MutationObserver(look).observe(document, { childList: true, subtree: true });
    look();
  });
}

/** The cookie of a session with the first key. */
async function session({ ready }) {
  const answer = await fetch(`${ready.http}/dossier/v1/session`, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ apiKey: ready.apiKey }),
  });
  const [, name, value] = /^([^=]+)=([^;]*)/.exec(answer.headers.get('set-cookie'));
  return { name, value, url: ready.http };
}

const headersOf = ({ ready }) => ({
  Authorization: ready.apiKey, 'wix-site-id': ready.siteId, 'Content-Type': 'application/json',
});

async function announce(server, label) {
  const id = randomUUID();
  const answer = await fetch(`${server.ready.http}/dossier/v1/contacts/${id}`, {
    method: 'PUT', headers: headersOf(server), body: JSON.stringify({ label }),
  });
  if (!answer.ok) throw new Error(await answer.text());
  return id;
}

/** The same number of small files, alternately by the page and by the API, with a new server each round. */
async function drop(rounds, count, bytes) {
  const runs = { page: [], api: [], atOnce: AT_ONCE };
  const ways = { page: droppedOnPage, api: sentByApi };
  for (let round = 0; round < rounds; round += 1) {
    const server = await startServer();
    const browser = await Browser.start();
    try {
      await browser.send('Network.setCookie', await session(server));
      await browser.send('Page.navigate', { url: server.ready.http });
      for (const send of Object.values(ways)) await send(server, browser, files(WARM_UP, bytes));
      // They alternate in going first.
      const order = round % 2 ? ['page', 'api'] : ['api', 'page'];
      for (const name of order) runs[name].push({ seconds: await ways[name](server, browser, files(count, bytes)) });
    } finally {
      await browser.stop();
      await server.stop();
    }
  }
  return runs;
}

/** No two files are the same. */
const files = (count, bytes) => Array.from({ length: count }, (_, number) => ({
  name: `n${number}.csv`, body: `${number},${'0123456789\n'.repeat(bytes / 11 + 1)}`.slice(0, bytes),
}));

async function droppedOnPage(server, browser, given) {
  return browser.run(dropAll, await announce(server, 'Dropped'), given);
}

/** In the page: seconds from the drop until it reports that all files are uploaded. */
async function dropAll(contact, given) {
  const seen = (isThere) => new Promise((resolve) => {
    const look = () => {
      if (!isThere()) return;
      observer.disconnect();
      resolve();
    };
    const observer = new MutationObserver(look);
    observer.observe(document, { childList: true, characterData: true, subtree: true });
    look();
  });
  document.querySelector('.uploads .button.quiet')?.click();
  window.location.hash = `#/contacts/${contact}`;
  await seen(() => document.querySelector('.titles small')?.textContent === contact && !document.querySelector('.uploads'));
  const transfer = new DataTransfer();
  for (const { name, body } of given) transfer.items.add(new File([body], name, { type: 'text/csv' }));
  const start = performance.now();
  document.getElementById('main').dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
  const all = given.length.toLocaleString();
  await seen(() => document.querySelector('.uploads [role=status]')?.textContent === `${all} of ${all} done`);
  return (performance.now() - start) / 1000;
}

/** Seconds to request an upload URL and use it, for every file. */
async function sentByApi(server, _browser, given) {
  const contact = await announce(server, 'Sent');
  const list = `${server.ready.http}/contacts/v4/attachments/${contact}`;
  const left = [...given];
  const one = async ({ name, body }) => {
    const wish = JSON.stringify({ fileName: name, mimeType: 'text/csv', sizeInBytes: body.length });
    const generated = await fetch(`${list}/upload-url`, { method: 'POST', headers: headersOf(server), body: wish });
    const { uploadUrl } = await generated.json();
    const answer = await fetch(uploadUrl, { method: 'PUT', headers: { 'Content-Type': 'text/csv' }, body });
    if (!answer.ok) throw new Error(await answer.text());
    await answer.arrayBuffer();
  };
  const worker = async () => { while (left.length > 0) await one(left.shift()); };
  const start = performance.now();
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return (performance.now() - start) / 1000;
}

const [what, ...numbers] = process.argv.slice(2);
const figures = await { load, drop }[what](...numbers.map(Number));
console.log(JSON.stringify(figures));
