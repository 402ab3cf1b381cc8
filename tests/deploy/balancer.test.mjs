// Two nodes behind HAProxy, with the file from docs/own-machines.md, and pgbouncer in transaction
// mode between the nodes and PostgreSQL. No file is opened, so no bucket is needed. Run by
// `scripts/postgres`; skipped without it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { randomUUID } from 'node:crypto';

import { BINARY, ENVIRONMENT, at, run, text } from './support.mjs';

const POSTGRES = process.env.TEST_POSTGRES && new URL(process.env.TEST_POSTGRES);
const skip = POSTGRES ? false : 'needs PostgreSQL: scripts/postgres node --test tests/deploy/balancer.test.mjs';
/** More than two health checks of the balancer. */
const NOTICE_SECONDS = 4;

/** Ports that are free now, chosen together. */
async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

/** Starts a program that ends with the test; its output is shown if it exits early. */
function start(t, command, args, env = ENVIRONMENT) {
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (piece) => { output += piece; });
  child.stderr.on('data', (piece) => { output += piece; });
  const ended = once(child, 'exit');
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await ended;
  });
  return { child, ended, output: () => output };
}

async function until(what, holds) {
  for (const begin = Date.now(); ; await pause(20)) {
    let why = '';
    if (await holds().catch((error) => { why = error.message; })) return;
    assert.ok(Date.now() - begin < 30_000, `timed out waiting for ${what} ${why}`);
  }
}

/** Starts pgbouncer in front of the test's PostgreSQL server, for a new database. */
function poolerSettings(folder, port, database) {
  const file = path.join(folder, 'pgbouncer.ini');
  writeFileSync(file, `[databases]
${database} = host=${POSTGRES.hostname} port=${POSTGRES.port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 6
max_client_conn = 100
`);
  return file;
}

async function cluster(t) {
  const folder = mkdtempSync(path.join(tmpdir(), 'dossier-balancer-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  chmodSync(folder, 0o755);
  const [front, one, two, pooler] = await freePorts(4);
  const database = `b_${randomUUID().replaceAll('-', '')}`;
  run('psql', ['--quiet', '--command', `CREATE DATABASE ${database}`, POSTGRES.href]);

  const settings = poolerSettings(folder, pooler, database);
  const asPostgres = process.getuid() === 0 ? ['-u', 'postgres'] : [];
  start(t, '/usr/sbin/pgbouncer', [...asPostgres, settings]);
  await until('pgbouncer answers', async () => run('psql', ['-c', 'SELECT 1', `postgres://a@127.0.0.1:${pooler}/${database}`]));

  const base = `http://127.0.0.1:${front}`;
  const file = path.join(folder, 'haproxy.cfg');
  writeFileSync(file, text('deploy/haproxy.cfg').replace('bind :8090', `bind 127.0.0.1:${front}`)
    .replace('node-1:8080', `127.0.0.1:${one}`).replace('node-2:8080', `127.0.0.1:${two}`));
  run('sh', [at('deploy/make-keys'), path.join(folder, 'keys')]);
  const nodes = [];
  let key;
  for (const port of [one, two]) {
    const data = path.join(folder, String(port));
    run('cp', ['-r', path.join(folder, 'keys'), data]);
    const env = {
      ...ENVIRONMENT,
      DOSSIER_DATABASE_URL: `postgres://a@127.0.0.1:${pooler}/${database}?prepared=off`,
      DOSSIER_SHUTDOWN_NOTICE_SECONDS: String(NOTICE_SECONDS),
      DOSSIER_PUBLIC_URL: base,
    };
    const args = ['serve', '--ready-json', '--data', data, '--listen', `127.0.0.1:${port}`, '--listen-tls', 'off'];
    const node = start(t, BINARY, args, env);
    await until('a node is ready', async () => {
      assert.equal(node.child.exitCode, null, node.output());
      const output = node.output();
      const line = output.split('\n').find((line) => line.startsWith('{') && line.includes('"http"'));
      assert.ok(line, output);
      key ??= JSON.parse(line).apiKey;
      return true;
    });
    nodes.push(node);
  }
  start(t, '/usr/sbin/haproxy', ['-db', '-f', file]);
  await until('HAProxy answers', async () => (await fetch(`${base}/dossier/v1/health`)).ok);

  const call = async (method, place, options = {}) => {
    const headers = { authorization: key, ...options.headers };
    return fetch(new URL(place, base), { method, ...options, headers });
  };
  const json = async (response) => {
    const body = await response.text();
    assert.equal(response.status, 200, body);
    return JSON.parse(body);
  };
  const client = {
    call,
    async uploadUrl(contact) {
      const body = JSON.stringify({ fileName: 'a.csv', mimeType: 'text/csv' });
      const headers = { 'content-type': 'application/json' };
      const place = `/contacts/v4/attachments/${contact}/upload-url`;
      return (await json(await call('POST', place, { body, headers }))).uploadUrl;
    },
    upload: async (contact) => json(await fetch(await client.uploadUrl(contact), { method: 'PUT', body: 'a,b\n' })),
    list: async (contact) => json(await call('GET', `/contacts/v4/attachments/${contact}`)),
  };
  return { nodes, ports: [one, two], client };
}

test('two nodes behind HAProxy and pgbouncer act as one server, also while one stops', { skip }, async (t) => {
  const { nodes, ports, client } = await cluster(t);

  await t.test('uploads and deletes are in the next list, whichever node serves it', async () => {
    const contact = randomUUID();
    for (let count = 1; count <= 9; count += 1) {
      await client.upload(contact);
      const list = await client.list(contact);
      assert.equal(list.metadata.total, count);
    }
    const { attachments } = await client.list(contact);
    const gone = await client.call('DELETE', `/contacts/v4/attachments/${contact}/${attachments[0].id}`);
    assert.equal(gone.status, 200);
    assert.equal((await client.list(contact)).metadata.total, 8);
    assert.equal((await client.list(contact)).metadata.total, 8);
  });

  await t.test('no request fails while a node stops, and the node exits', async () => {
    let over = false;
    const failed = [];
    const load = async () => {
      let done = 0;
      for (; !over; done += 1) {
        const contact = randomUUID();
        try {
          await client.upload(contact);
          assert.equal((await client.list(contact)).metadata.total, 1);
        } catch (error) {
          failed.push(error);
        }
      }
      return done;
    };
    const loads = [load(), load(), load()];
    await pause(300);
    nodes[0].child.kill('SIGTERM');
    await until('the stop is announced', async () => {
      const health = await fetch(`http://127.0.0.1:${ports[0]}/dossier/v1/health`);
      return health.status === 503 && (await health.json()).status === 'stopping';
    });
    const [code] = await nodes[0].ended;
    assert.equal(code, 0, nodes[0].output());
    await pause(300);
    over = true;
    const done = (await Promise.all(loads)).reduce((sum, one) => sum + one);
    assert.deepEqual(failed, []);
    assert.ok(done > 10, `${done}`);
    t.diagnostic(`${done} uploads and lists, 0 failed`);
  });
});
