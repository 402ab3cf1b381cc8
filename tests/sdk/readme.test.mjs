// What README.md tells people to try.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { BINARY, startServer } from './server.mjs';
import { makeClient, newContact, photo, restHeaders, servers } from './support.mjs';

const README = new URL('../../README.md', import.meta.url);
/** A folder from which the packages are found. */
const PACKAGES = fileURLToPath(new URL('./node_modules/', import.meta.url));

const run = promisify(execFile);

/** The code blocks of a language, in order. */
async function blocks(language) {
  const fences = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms');
  return [...(await readFile(README, 'utf8')).matchAll(fences)].map((match) => match[1]);
}

/** The one shell block that holds a text. */
async function shell(text) {
  const found = (await blocks('sh')).filter((block) => block.includes(text));
  assert.equal(found.length, 1, `there is one sh block with ${text}`);
  return found[0];
}

test('the curl commands of the README upload a file and list it', async () => {
  const { http, apiKey } = servers.auto;
  const contact = newContact();
  const folder = await mkdtemp(path.join(tmpdir(), 'dossier-readme-'));
  try {
    await writeFile(path.join(folder, 'photo.png'), photo().bytes);
    const commands = (await shell('upload-url')).replaceAll('http://127.0.0.1:8080', http);
    const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', commands], {
      cwd: folder,
      env: { ...process.env, API_KEY: apiKey, CONTACT: contact },
    });
    assert.match(stdout, /"total":0.*"displayName":"photo\.png"/s);
    const list = await fetch(`${http}/contacts/v4/attachments/${contact}`, {
      headers: restHeaders(),
    });
    assert.equal((await list.json()).attachments[0].fileName, 'photo.png');
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('the commands of the README find, label, pack and delete a file', async () => {
  const { http, apiKey } = servers.auto;
  const contact = newContact();
  const folder = await mkdtemp(path.join(tmpdir(), 'dossier-readme-'));
  const headers = { ...restHeaders(), 'Content-Type': 'application/json' };
  const at = `${http}/contacts/v4/attachments/${contact}`;
  try {
    const { uploadUrl } = await (await fetch(`${at}/upload-url`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ fileName: 'my photo.png', mimeType: 'image/png' }),
    })).json();
    assert.equal((await fetch(uploadUrl, { method: 'PUT', body: photo().bytes })).status, 200);
    const commands = (await shell('bulk-delete')).replaceAll('http://127.0.0.1:8080', http);
    const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', commands], {
      cwd: folder,
      env: { ...process.env, API_KEY: apiKey, CONTACT: contact },
    });
    assert.match(stdout, /"label":"Left hip".*"deleted":\["[0-9a-f-]{36}"\],"notFound":\[\]/s);
    const packed = await run('unzip', ['-tq', 'files.zip'], { cwd: folder });
    assert.match(packed.stdout, /No errors/);
    assert.equal((await (await fetch(at, { headers })).json()).metadata.total, 0);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('the commands for sites and keys of the README work beside a running server', async () => {
  const server = await startServer();
  try {
    let siteId;
    let keyId;
    for (const line of (await shell('dossier site create')).trim().split('\n')) {
      const words = line.replace('SITE_ID', siteId).replace('KEY_ID', keyId).split(' ');
      assert.equal(words.shift(), 'dossier');
      const { stdout } = await run(BINARY, [...words, '--data', server.data], {
        env: { PATH: process.env.PATH },
      });
      siteId ??= /^site id  (\S+)/m.exec(stdout)?.[1];
      keyId ??= /^key id   (\S+)/m.exec(stdout)?.[1];
      assert.notEqual(stdout, '');
    }
    assert.match(String(keyId), /^[0-9a-f-]{36}$/);
  } finally {
    await server.stop();
  }
});

test('the command for CI of the README prints what it says', async () => {
  const command = await shell('--ready-json');
  const expected = Object.keys(JSON.parse((await blocks('json')).find((block) => block.includes('"https"'))));
  const folder = await mkdtemp(path.join(tmpdir(), 'dossier-readme-'));
  const server = spawn('bash', ['-c', `exec ${command.trim().replace('dossier', '"$BINARY"')}`], {
    env: { PATH: process.env.PATH, TMPDIR: folder, BINARY },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [line] = await once(createInterface({ input: server.stdout }), 'line');
    assert.deepEqual(Object.keys(JSON.parse(line)), expected);
  } finally {
    const ended = once(server, 'exit');
    server.kill();
    await ended;
    await rm(folder, { recursive: true });
  }
});

test('the SDK example of the README does what it says', async () => {
  const programs = await blocks('js');
  assert.equal(programs.length, 3, 'js blocks for the SDK, resumable uploads and webhooks');
  const folder = await mkdtemp(path.join(PACKAGES, '.readme-'));
  try {
    const file = path.join(folder, 'try.mjs');
    await writeFile(file, programs[0]);
    const { stdout } = await run(process.execPath, [file], {
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

test('the resumable upload of the README does what it says', async () => {
  const program = (await blocks('js'))[1];
  const { uploadUrl } = await makeClient().attachments.generateAttachmentUploadUrl(
    newContact(), 'people.csv', { mimeType: 'text/csv' });
  const folder = await mkdtemp(path.join(PACKAGES, '.readme-'));
  try {
    const file = path.join(folder, 'resume.mjs');
    const given = `const uploadUrl = ${JSON.stringify(uploadUrl)};
      const file = Buffer.from('name,town\\nAda,London\\n');\n`;
    await writeFile(file, given + program);
    const { stdout } = await run(process.execPath, [file]);
    assert.match(stdout, /displayName: 'people\.csv'/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('the receiver of the README is told of an upload through dossier listen', async () => {
  const program = (await blocks('js'))[2];
  const server = await startServer();
  const folder = await mkdtemp(path.join(PACKAGES, '.readme-'));
  const children = [];
  try {
    const file = path.join(folder, 'receiver.mjs');
    await writeFile(file, program.replace('.listen(process.env.PORT ?? 3000)', `.listen(0, function () {
      console.log(this.address().port);
    })`));
    const env = { PATH: process.env.PATH };
    const key = ['webhook', 'public-key', '--base64', '--data', server.data];
    const { stdout } = await run(BINARY, key, { env });
    const start = (command, args, env) => {
      const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
      children.push(child);
      return createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    };
    const told = start(process.execPath, [file], { ...env, PUBLIC_KEY: stdout.trim(), APP_ID: 'any' });
    const forward = `http://localhost:${(await told.next()).value}/webhooks`;
    const listen = start(BINARY, ['listen', '--forward', forward, '--data', server.data], env);
    assert.match((await listen.next()).value, /go to http:\/\/localhost/);
    const contact = newContact();
    const at = `${server.ready.http}/contacts/v4/attachments/${contact}/upload-url`;
    const { uploadUrl } = await (await fetch(at, {
      method: 'POST',
      headers: { Authorization: server.ready.apiKey, 'Content-Type': 'application/json' },
      body: JSON.stringify({ fileName: 'people.csv', mimeType: 'text/csv' }),
    })).json();
    assert.equal((await fetch(uploadUrl, { method: 'PUT', body: 'name\nAda\n' })).status, 200);
    assert.equal((await told.next()).value, `${contact} people.csv 9`);
  } finally {
    for (const child of children) child.kill();
    await rm(folder, { recursive: true });
    await server.stop();
  }
});

test('the backup commands of the README bring a store back', async () => {
  const server = await startServer();
  try {
    const commands = (await shell('dossier backup create'))
      .replaceAll('/backups/', `${server.folder}/`)
      .replaceAll('./restored-data', `${server.folder}/restored`)
      .replaceAll('./dossier-data', server.data)
      .replace('backup create', `backup create --data ${server.data}`)
      .replaceAll('dossier backup', '"$BINARY" backup');
    const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', commands], {
      env: { PATH: process.env.PATH, BINARY },
    });
    assert.match(stdout, /Nothing is wrong\.\nRestored 0 attachments/);
  } finally {
    await server.stop();
  }
});
