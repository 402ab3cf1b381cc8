// Runs the SDK's tests against real servers. Node reads NODE_EXTRA_CA_CERTS only at its start, so
// the servers, which create their own certificate authorities, start first and the tests run in a
// child process.
//
//   node run.mjs [arguments of node --test]
//
// DOSSIER_BIN names the binary; without it, target/debug/dossier is used.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { dossier, startServer } from './server.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));

/** The time limit for all tests. */
const PATIENCE_MS = 300_000;

/** A server that the SDK reaches by its host setting, and with a certificate for the vendor's host. */
async function startAuto(stops) {
  const server = await startServer(['--tls-name', 'www.wixapis.com']);
  stops.push(server.stop);
  const viewer = await dossier(server.data, 'key', 'create', '--scope', 'VIEW');
  const modifier = await dossier(server.data, 'key', 'create', '--scope', 'MODIFY');
  return { ...server.ready, viewKey: viewer.apiKey, modifyKey: modifier.apiKey };
}

/**
 * A server with three sites, one with a limit of one file. It shows media by id and allows every
 * transform.
 */
async function startId(stops) {
  const server = await startServer(['--set', 'media_references=id', '--set', 'transforms=any']);
  stops.push(server.stop);
  const other = await dossier(server.data, 'site', 'create', '--name', 'other');
  const key = await dossier(server.data, 'key', 'create', '--site', other.siteId);
  const full = await dossier(server.data, 'site', 'create', '--name', 'full');
  await dossier(server.data, 'site', 'set', full.siteId, '--max-files', '1');
  const fullKey = await dossier(server.data, 'key', 'create', '--site', full.siteId);
  return {
    ...server.ready,
    otherSiteId: other.siteId, otherApiKey: key.apiKey,
    fullSiteId: full.siteId, fullApiKey: fullKey.apiKey,
  };
}

/** A server that allows each key one request per minute. */
async function startLimited(stops) {
  const server = await startServer(['--set', 'requests_per_minute=1']);
  stops.push(server.stop);
  return server.ready;
}

async function runTests(servers, authorities) {
  const files = (await readdir(HERE)).filter((name) => name.endsWith('.test.mjs')).sort();
  const flags = ['--test', '--test-reporter=spec', ...process.argv.slice(2)];
  const child = spawn(process.execPath, [...flags, ...files], {
    timeout: PATIENCE_MS,
    cwd: HERE,
    stdio: 'inherit',
    env: {
      ...process.env,
      NODE_EXTRA_CA_CERTS: authorities,
      DOSSIER_SDK_SERVERS: JSON.stringify(servers),
    },
  });
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => child.kill(signal));
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      if (signal !== null) console.error(`the tests were ended by ${signal}`);
      resolve(code ?? 1);
    });
  });
}

async function main() {
  if (!existsSync(path.join(HERE, 'node_modules'))) {
    throw new Error(`the SDK is not installed: run "npm ci" in ${HERE}`);
  }
  const folder = await mkdtemp(path.join(tmpdir(), 'dossier-sdk-ca-'));
  const stops = [];
  try {
    const servers = {
      auto: await startAuto(stops),
      id: await startId(stops),
      limited: await startLimited(stops),
    };
    const files = Object.values(servers).map((server) => readFile(server.caFile, 'utf8'));
    const authorities = path.join(folder, 'authorities.pem');
    await writeFile(authorities, (await Promise.all(files)).join('\n'));
    process.exitCode = await runTests(servers, authorities);
  } finally {
    for (const how of await Promise.all(stops.map((stop) => stop()))) {
      if (how !== 'code 0') {
        console.error(`a server ended with ${how}`);
        process.exitCode = 1;
      }
    }
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
