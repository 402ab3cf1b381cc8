// Shared by the tests of the page: a signed-in tab, requests beside the page, and files to upload.

import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where screenshots are written, for people to look at. */
export const SHOTS = fileURLToPath(new URL('../../build/screenshots/', import.meta.url));

/** How long a step may take before the test fails, in milliseconds. */
export const PATIENCE = 60_000;

/** Headers of the first key. */
export const headersOf = ({ ready }) => ({ Authorization: ready.apiKey, 'wix-site-id': ready.siteId });

/** Creates a contact. */
export async function announce(server, label) {
  const id = randomUUID();
  const response = await fetch(`${server.ready.http}/dossier/v1/contacts/${id}`, {
    method: 'PUT', headers: { ...headersOf(server), 'Content-Type': 'application/json' }, body: JSON.stringify({ label }),
  });
  if (!response.ok) throw new Error(await response.text());
  return id;
}

/** Uploads a file of a contact, without the page. */
export async function put(server, contact, { name, type, bytes }) {
  const generated = await fetch(`${server.ready.http}/contacts/v4/attachments/${contact}/upload-url`, {
    method: 'POST', headers: { ...headersOf(server), 'Content-Type': 'application/json' },
    body: JSON.stringify({ fileName: name, mimeType: type }),
  });
  if (!generated.ok) throw new Error(await generated.text());
  const uploaded = await fetch((await generated.json()).uploadUrl, { method: 'PUT', body: bytes });
  if (!uploaded.ok) throw new Error(await uploaded.text());
}

/** The names of a contact's files, as the contract lists them. */
export async function namesOf(server, contact) {
  const response = await fetch(`${server.ready.http}/contacts/v4/attachments/${contact}?paging.limit=100`, { headers: headersOf(server) });
  return (await response.json()).attachments.map(({ fileName }) => fileName);
}

/** Polls until `check` holds. */
export async function until(check) {
  const end = Date.now() + PATIENCE;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`not within ${PATIENCE} ms: ${check}`);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

/** A tab that is signed in with a key. */
export async function signedIn(context, server, key = server.ready.apiKey) {
  await context.clearCookies();
  const page = await context.newPage();
  await page.goto(server.ready.http);
  await page.getByLabel('API key').fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Contacts', exact: true }).waitFor();
  return page;
}

/** Opens a contact's files. */
export async function openContact(page, contact) {
  await page.evaluate((id) => { window.location.hash = `#/contacts/${id}`; }, contact);
  await page.getByRole('group', { name: 'View' }).waitFor();
}

/** Drops files on the page, with the events that a browser sends. */
export async function drop(page, files) {
  const transfer = await page.evaluateHandle((given) => {
    const data = new DataTransfer();
    for (const { name, type, base64 } of given) {
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      data.items.add(new File([bytes], name, { type, lastModified: 1 }));
    }
    return data;
  }, files.map(({ name, type, bytes }) => ({ name, type, base64: Buffer.from(bytes).toString('base64') })));
  for (const event of ['dragenter', 'dragover', 'drop']) {
    await page.dispatchEvent('#main', event, { dataTransfer: transfer });
  }
}

/** Takes a screenshot. */
export async function shot(page, name) {
  await mkdir(SHOTS, { recursive: true });
  await page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
}

/** CSV of about this size. */
export function csv(bytes) {
  const lines = Array.from({ length: Math.ceil(bytes / 8) }, (_, n) => String(n).padStart(7, '0'));
  return Buffer.from(`number\n${lines.join('\n')}\n`);
}

/** An image that the browser draws: JPEG or PNG. */
export async function picture(page, { width = 800, height = 600, hue = 210, type = 'image/jpeg', words = '' } = {}) {
  const base64 = await page.evaluate(({ width, height, hue, type, words }) => {
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const draw = canvas.getContext('2d');
    const sky = draw.createLinearGradient(0, 0, 0, height);
    sky.addColorStop(0, `hsl(${hue} 60% 70%)`);
    sky.addColorStop(1, `hsl(${hue + 30} 50% 92%)`);
    draw.fillStyle = sky;
    draw.fillRect(0, 0, width, height);
    for (let layer = 0; layer < 4; layer += 1) {
      draw.fillStyle = `hsl(${hue + 90 + layer * 12} 35% ${62 - layer * 13}%)`;
      draw.beginPath();
      draw.moveTo(0, height);
      for (let x = 0; x <= width; x += 8) {
        draw.lineTo(x, height * (0.45 + layer * 0.13) + Math.sin(x / (90 - layer * 14) + layer * 2 + hue) * height * 0.06);
      }
      draw.lineTo(width, height);
      draw.fill();
    }
    draw.fillStyle = '#fff';
    draw.font = `600 ${height / 9}px sans-serif`;
    draw.fillText(words, width / 16, height * 0.9);
    return canvas.toDataURL(type, 0.85).split(',')[1];
  }, { width, height, hue, type, words });
  return Buffer.from(base64, 'base64');
}

/** A PDF of one page with a line of text. */
export function pdf(words) {
  const content = `BT /F1 26 Tf 60 760 Td (${words}) Tj ET 60 740 475 2 re f `
    + Array.from({ length: 22 }, (_, line) => `60 ${700 - line * 28} ${300 + ((line * 97) % 175)} 9 re f`).join(' ');
  const parts = [
    '<< /Type /Catalog /Pages 2 0 R >>', '<< /Type /Pages /Kids [3 0 R] /Count 1 >>',
    '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>',
    `<< /Length ${content.length} >>\nstream\n${content}\nendstream`,
    '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold >>',
  ];
  let text = '%PDF-1.4\n';
  const at = parts.map((part, number) => {
    const start = text.length;
    text += `${number + 1} 0 obj\n${part}\nendobj\n`;
    return start;
  });
  const table = text.length;
  text += `xref\n0 6\n0000000000 65535 f \n${at.map((start) => `${String(start).padStart(10, '0')} 00000 n \n`).join('')}`;
  return Buffer.from(`${text}trailer << /Size 6 /Root 1 0 R >>\nstartxref\n${table}\n%%EOF\n`, 'latin1');
}
