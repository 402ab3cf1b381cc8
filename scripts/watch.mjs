#!/usr/bin/env node
// Runs a test command, passes its output on, and notes how long each test took.
//
//   scripts/watch.mjs SUITE TIMES COMMAND [ARGUMENT…]
//
// Appends a line "seconds<TAB>suite<TAB>test" to the file TIMES for each test. Reads the output of libtest
// (with --report-time) and of node --test (reporter spec). A test that libtest reports as running for over
// 60 seconds and that has not ended after HANG_SECONDS more is named, and the command is ended. Without any
// output for SILENT_SECONDS the command is ended too. Repeats the names of the failed tests at the end.
//
// Exits with the command's code; 124 when a test hung.

import { spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const HANG_SECONDS = Number(process.env.HANG_SECONDS ?? 240);
const SILENT_SECONDS = Number(process.env.SILENT_SECONDS ?? 300);

const [suite, times, command, ...words] = process.argv.slice(2);
if (command === undefined) {
  console.error('usage: scripts/watch.mjs SUITE TIMES COMMAND [ARGUMENT…]');
  process.exit(2);
}

// A process group of its own, so that what the tests have started ends with them.
const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
/** When each test that takes long was first named, by its name. */
const slow = new Map();
const failed = [];
let hung;
let heardAt = Date.now();
let last = '';

function end(why) {
  if (hung !== undefined) return;
  hung = why;
  console.error(`\nHANGS: ${suite}: ${why}`);
  process.kill(-child.pid, 'SIGTERM');
  setTimeout(() => process.kill(-child.pid, 'SIGKILL'), 5_000).unref();
}

function note(seconds, name) {
  appendFileSync(times, `${seconds.toFixed(3)}\t${suite}\t${name}\n`);
}

function read(line) {
  heardAt = Date.now();
  if (line.trim() !== '') last = line.trim();
  const rust = /^test (\S+)(?: - should panic)? \.\.\. (ok|FAILED)(?:.*<([\d.]+)s>)?/.exec(line);
  if (rust !== null) {
    slow.delete(rust[1]);
    note(Number(rust[3] ?? 0), rust[1]);
    if (rust[2] === 'FAILED') failed.push(rust[1]);
    return;
  }
  const long = /^test (\S+) has been running for over/.exec(line);
  if (long !== null) {
    slow.set(long[1], Date.now());
    return;
  }
  const node = /^\s*([✔✖]) (.+) \(([\d.]+)ms\)/u.exec(line);
  if (node !== null) {
    note(Number(node[3]) / 1_000, node[2]);
    if (node[1] === '✖' && !failed.includes(node[2])) failed.push(node[2]);
  }
}

for (const [stream, out] of [[child.stdout, process.stdout], [child.stderr, process.stderr]]) {
  createInterface({ input: stream, crlfDelay: Infinity }).on('line', (line) => {
    out.write(`${line}\n`);
    read(line);
  });
}

const look = setInterval(() => {
  const now = Date.now();
  for (const [name, since] of slow) {
    if (now - since > HANG_SECONDS * 1_000) end(`${name} has not ended after ${60 + HANG_SECONDS} seconds`);
  }
  if (now - heardAt > SILENT_SECONDS * 1_000) {
    end(`no output for ${SILENT_SECONDS} seconds; the last line was: ${last}`);
  }
}, 1_000);

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    process.kill(-child.pid, signal);
    process.exitCode = 130;
  });
}
child.once('error', (error) => {
  console.error(`${command}: ${error.message}`);
  process.exit(127);
});
child.once('close', (code, signal) => {
  clearInterval(look);
  if (failed.length > 0) console.error(`\nFAILED in ${suite}:\n  ${failed.join('\n  ')}`);
  if (signal !== null && hung === undefined) console.error(`${suite} was ended by ${signal}`);
  process.exitCode = hung !== undefined ? 124 : (code ?? 1);
});
