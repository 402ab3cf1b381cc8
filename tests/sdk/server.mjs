// Runs the real binary in its own folder on free ports, and ends it by its process id.

import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const DEFAULT_BINARY = fileURLToPath(new URL('../../target/debug/dossier', import.meta.url));
/** The program under test. */
export const BINARY = path.resolve(process.env.DOSSIER_BIN ?? DEFAULT_BINARY);

/** How long a server may take to start or stop. */
const PATIENCE_MS = 30_000;

/**
 * Starts a server and waits until it serves requests.
 *
 * @param {string[]} flags more arguments of `dossier serve`
 * @param {string} folder a folder that a server was stopped on by `stop({ keep: true })`
 */
export async function startServer(flags = [], folder = undefined) {
  folder ??= await mkdtemp(path.join(tmpdir(), 'dossier-sdk-'));
  const data = path.join(folder, 'data');
  const server = spawn(
    BINARY,
    ['serve', '--ready-json', '--listen', '127.0.0.1:0', '--listen-tls', '127.0.0.1:0', '--data', data]
      .concat(['--set', 'log=warn'], flags),
    { stdio: ['ignore', 'pipe', 'inherit'], env: withoutSettings(process.env) },
  );
  const ended = new Promise((resolve) => {
    server.once('exit', (code, signal) => resolve(signal ?? `code ${code}`));
    server.once('error', (error) => resolve(error.message));
  });
  const stop = async ({ keep = false } = {}) => {
    const late = setTimeout(() => server.kill('SIGKILL'), PATIENCE_MS);
    server.kill('SIGTERM');
    const how = await ended;
    clearTimeout(late);
    if (!keep) await rm(folder, { recursive: true, force: true });
    return how;
  };
  try {
    const ready = JSON.parse(await firstLine(server.stdout, ended));
    return { ready, data, folder, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Runs a command of the binary on a data folder and parses the JSON it prints. */
export async function dossier(data, ...command) {
  const { stdout } = await promisify(execFile)(BINARY, [...command, '--json', '--data', data], {
    env: withoutSettings(process.env),
  });
  return JSON.parse(stdout);
}

/** The binary treats every DOSSIER_ variable as a setting and rejects unknown ones. */
function withoutSettings(environment) {
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => !name.startsWith('DOSSIER_')),
  );
}

async function firstLine(stream, ended) {
  let late;
  const failures = [
    ended.then((how) => Promise.reject(new Error(`${BINARY} ended before it was ready: ${how}`))),
    new Promise((_, reject) => {
      const message = `${BINARY} was not ready after ${PATIENCE_MS} ms`;
      late = setTimeout(() => reject(new Error(message)), PATIENCE_MS);
    }),
  ];
  const line = new Promise((resolve) => {
    createInterface({ input: stream }).once('line', resolve);
  });
  try {
    return await Promise.race([line, ...failures]);
  } finally {
    clearTimeout(late);
  }
}
