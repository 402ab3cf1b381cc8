// Shared by the deployment tests: the project's files and settings, and running programs to their
// end.

import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { BINARY, startServer } from '../sdk/server.mjs';

export { BINARY, startServer };

/** The project's folder. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** A path within the project. */
export const at = (name) => path.join(ROOT, name);

/** The text of a project file. */
export const text = (name) => readFileSync(at(name), 'utf8');

/** The environment without the settings of whoever runs the tests. */
export const ENVIRONMENT = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith('DOSSIER_')),
);

/** Runs a program and returns its standard output; on failure its other output is in the error. */
export const run = (command, args, options = {}) =>
  execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], env: ENVIRONMENT, ...options });

/** Whether a program is installed. */
export const has = (command) => spawnSync('sh', ['-c', `command -v ${command}`]).status === 0;

/** The first capture group of every match. */
export const all = (string, pattern) => [...string.matchAll(pattern)].map((match) => match[1]);

/** The names of all settings, as the program prints them. */
export const SETTINGS = new Set(all(run(BINARY, ['settings']), /^([a-z_]+) = /gm));
/** The default of each setting, as it is written. */
export const DEFAULTS = new Map(
  [...run(BINARY, ['settings']).matchAll(/^([a-z_]+) = "?([^"\n]*)"?$/gm)].map(([, name, value]) => [name, value]),
);

/** A systemd unit: the values of each key, in order. */
export function unit(name) {
  const values = new Map();
  for (const [, key, value] of text(name).matchAll(/^([A-Za-z]+)=(.*)$/gm)) {
    values.set(key, [...(values.get(key) ?? []), value]);
  }
  return (key) => values.get(key) ?? [];
}

/** The port at the end of an address. */
export const port = (address) => Number(/:(\d+)$/.exec(address)[1]);
