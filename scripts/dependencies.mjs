#!/usr/bin/env node
// Licences and sources of the dependencies against deny.toml, from what cargo knows without a network, and the
// licences of what the page ships. With cargo-deny, also bans and known vulnerabilities (advisories).
//
//   scripts/dependencies.mjs
//
// Prints each violation. Exits with 0 when all was checked, 1 when something is not allowed, and 3 when only
// the advisories could not be checked; the last line then says why.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Where Dossier is built and served, as in deny.toml. */
const TARGETS = ['x86_64-unknown-linux-gnu', 'aarch64-unknown-linux-gnu'];
const REGISTRY = 'registry+https://github.com/rust-lang/crates.io-index';

const deny = readFileSync('deny.toml', 'utf8');
const allowed = new Set([.../^allow = \[([^\]]+)\]/m.exec(deny)[1].matchAll(/"([^"]+)"/g)].map((match) => match[1]));

/** Whether an SPDX expression leaves a choice of allowed licences; `/` is an old way to write OR. */
export function isAllowed(expression, isListed = (licence) => allowed.has(licence)) {
  const words = expression.replaceAll('/', ' OR ').replace(/[()]/g, ' $& ').trim().split(/\s+/);
  const either = () => {
    let value = both();
    while (words[0] === 'OR') value = (words.shift(), both()) || value;
    return value;
  };
  const both = () => {
    let value = one();
    while (words[0] === 'AND') value = (words.shift(), one()) && value;
    return value;
  };
  const one = () => {
    const word = words.shift();
    if (word === '(') {
      const value = either();
      words.shift();
      return value;
    }
    // An exception makes a licence another one.
    const exception = words[0] === 'WITH' ? ` ${words.splice(0, 2).join(' ')}` : '';
    return isListed(`${word}${exception}`);
  };
  return either();
}

function metadata(target) {
  const words = ['metadata', '--locked', '--format-version', '1', '--filter-platform', target];
  const ran = spawnSync('cargo', words, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (ran.status !== 0) throw new Error(`cargo metadata: ${ran.stderr}`);
  const { packages, resolve } = JSON.parse(ran.stdout);
  const used = new Set(resolve.nodes.map((node) => node.id));
  return packages.filter(({ id }) => used.has(id));
}

const problems = new Set();
const seen = new Set();
for (const target of TARGETS) {
  for (const { name, version, source, license } of metadata(target)) {
    seen.add(`${name} ${version}`);
    if (source !== null && source !== REGISTRY) problems.add(`${name} ${version} comes from ${source}`);
    if (license === null) problems.add(`${name} ${version} names no licence`);
    else if (!isAllowed(license)) problems.add(`${name} ${version}: ${license} is not in deny.toml's list`);
  }
}
const lock = JSON.parse(readFileSync('page/vendor/package-lock.json', 'utf8'));
for (const [place, { version, license, resolved, dev }] of Object.entries(lock.packages)) {
  if (place === '' || dev) continue;
  seen.add(`${place} ${version}`);
  if (!isAllowed(license ?? 'none')) problems.add(`${place} ${version}: ${license} is not in deny.toml's list`);
  if (resolved && !/^https:\/\/registry\.npmjs\.org\//.test(resolved)) problems.add(`${place} comes from ${resolved}`);
}
for (const problem of problems) console.error(problem);
console.log(`${seen.size} dependencies: licences and sources checked against deny.toml`);
if (problems.size > 0) process.exit(1);

const cargoDeny = ['build/tools/bin/cargo-deny', 'cargo-deny'].find((name) => spawnSync(name, ['--version']).status === 0);
if (cargoDeny === undefined) {
  console.log('advisories: cargo-deny is not installed (cargo install --locked cargo-deny)');
  process.exit(3);
}
const checks = (names) => spawnSync(cargoDeny, ['--log-level', 'error', 'check', ...names], { encoding: 'utf8' });
const own = checks(['licenses', 'bans', 'sources']);
if (own.status !== 0) {
  console.error(own.stderr);
  process.exit(1);
}
const known = checks(['advisories']);
if (known.status !== 0) {
  // A vulnerability is printed with its id; without a database there is none.
  const isFound = /RUSTSEC-\d{4}-\d{4}/.test(known.stderr);
  console.error(known.stderr.split('\n').slice(0, isFound ? undefined : 3).join('\n'));
  if (!isFound) console.log('advisories: the database of advisories cannot be reached');
  process.exit(isFound ? 1 : 3);
}
console.log('advisories: none is known');
