// The program that README.md tells people to try.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { servers } from './support.mjs';

const README = new URL('../../README.md', import.meta.url);
/** A folder from which the packages are found. */
const PACKAGES = fileURLToPath(new URL('./node_modules/', import.meta.url));

test('the SDK example of the README does what it says', async () => {
  const blocks = [...(await readFile(README, 'utf8')).matchAll(/^```js\n(.*?)^```$/gms)];
  assert.equal(blocks.length, 1, 'there is one js block');
  const folder = await mkdtemp(path.join(PACKAGES, '.readme-'));
  try {
    const file = path.join(folder, 'try.mjs');
    await writeFile(file, blocks[0][1]);
    const { stdout } = await promisify(execFile)(process.execPath, [file], {
      env: {
        ...process.env,
        API_KEY: servers.auto.apiKey,
        SITE_ID: servers.auto.siteId,
        API_HOST: new URL(servers.auto.https).host,
      },
    });
    assert.equal(stdout, '1 people.csv\nname,town\nAda,London\n\n');
  } finally {
    await rm(folder, { recursive: true });
  }
});
