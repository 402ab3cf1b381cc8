// Runs every command and snippet of README.md and docs/*.md against the real program.
//
//   DOSSIER_BIN=target/debug/dossier node tests/book/run.mjs [PAGE…]
//
// Each page with commands gets an empty folder with sample files, a server, and one bash session. In that session:
//
// - A `sh` block runs, in its order. The first block that is a `dossier serve …` command is the page's server.
// - A block after "Save this as `NAME`" becomes that file. A `sh` block of the page has to use it.
// - A `json` or `text` block that follows a `sh` block is its output: `…` matches anything, JSON is compared by keys.
// - `<!-- keeps running -->` on the line before a `sh` block: it stays in the background until the page ends.
// - `<!-- example: REASON -->` on the line before a block: it is not run, because of REASON.
//
// A page that uses $SERVER, $API_KEY, $SITE_ID or $CONTACT sets them, or links to start.md#variables, whose block
// then runs first. A block of any other kind is a failure, so that nothing in the book goes unchecked unnoticed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { classify, matches, parse } from './blocks.mjs';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const BINARY = path.resolve(process.env.DOSSIER_BIN ?? path.join(ROOT, 'target/debug/dossier'));
/** Where the snippets find the official SDK and tus-js-client. */
const PACKAGES = path.join(ROOT, 'tests/sdk/node_modules');
/** Pages that run at the same time. Most of a page's time is waiting. */
const PARALLEL_PAGES = 4;
/** Longest that the session of a page may take. */
const PAGE_MS = 60_000;
/** Longest that expected output of a background command may take. */
const OUTPUT_MS = 5_000;
const VARIABLES = ['SERVER', 'API_KEY', 'SITE_ID', 'CONTACT'];
/** The block of start.md that sets them. */
const SETS_VARIABLES = /^export API_KEY=/m;
/** A marker line of the session's output, before the output of a block. */
const MARKER = '\u001eblock ';
/** Ports that the pages name. Each is replaced by a free one. */
const PORTS = ['3000', '9464'];
/** Process groups of sessions, which are ended with this program. */
const groups = new Set();

/** The files that the pages mention. */
async function samples(folder) {
  const pictures = path.join(ROOT, 'docs/screenshots');
  for (const name of ['photos/2026', 'scans', 'home', 'tmp', 'bin', 'backups']) {
    await mkdir(path.join(folder, name), { recursive: true });
  }
  const png = ['photo.png', 'photos/garden.png', 'photos/2026/house.png', 'scans/1.png', 'scans/2.png'];
  for (const name of png) await cp(path.join(pictures, 'phone.png'), path.join(folder, name));
  await writeFile(path.join(folder, 'report.pdf'), '%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n');
  await writeFile(path.join(folder, 'people.csv'), 'name,town\nAda,London\n');
  await symlink(BINARY, path.join(folder, 'bin/dossier'));
  await symlink(PACKAGES, path.join(folder, 'node_modules'));
  await symlink(path.join(ROOT, 'deploy'), path.join(folder, 'deploy'));
}

/** A free port for each that the pages name. */
async function freePorts() {
  const servers = PORTS.map(() => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => String(server.address().port));
  for (const server of servers) server.close();
  return new Map(PORTS.map((port, index) => [port, ports[index]]));
}

/** Starts the server of a page and reads from its greeting what a person would. */
async function startServer(folder, env, command) {
  const ports = '--listen 127.0.0.1:0 --listen-tls 127.0.0.1:0';
  const child = spawn('bash', ['-c', `exec ${command.trim()} ${ports} --set log=warn`], { cwd: folder, env });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece) => { output += piece; });
  const ended = once(child, 'exit');
  const stop = async () => {
    child.kill();
    const [code] = await ended;
    if (code !== 0) throw new Error(`the server ended with ${code}:\n${output}`);
  };
  for (const begin = Date.now(); ; await pause(20)) {
    const [http, https, key, site] = [
      /http:\/\/127\.0\.0\.1:\d+/, /https:\/\/127\.0\.0\.1:\d+/, /dossier_[\w-]{20,}/, /site id +([0-9a-f-]{36})/,
    ].map((pattern) => pattern.exec(output)?.at(-1));
    if (http && https && key && site && /Ctrl-C/.test(output)) {
      return { http, https, key, site, stop, output: () => output };
    }
    if (child.exitCode !== null || Date.now() - begin > PAGE_MS) throw new Error(`${command.trim()} did not start:\n${output}`);
  }
}

/** The session of a page: its blocks, with a marker line before the output of each. */
function script(blocks) {
  const parts = [`set -euo pipefail
exec 2>&1
mark() { printf '\\n${MARKER}%s\\n' "$1"; }
# Waits until a command in the background has printed something.
begun() {
  for _ in $(seq 200); do
    [ ! -s "$1" ] || return 0
    kill -0 "$2" || break
    sleep 0.05
  done
  echo "it printed nothing, or ended"
  return 1
}
`];
  for (const [index, block] of blocks.entries()) {
    const log = `background.${index}`;
    const text = block.keepsRunning ? `(\n${block.text}) >${log} 2>&1 &\nbegun ${log} $!\n` : block.text;
    parts.push(`mark ${index}\n${block.isServer ? '' : text}`);
  }
  return parts.join('');
}

/** Runs a session; gives back the output of each block that was reached, and how it ended. */
async function session(folder, env, text) {
  await writeFile(path.join(folder, 'tmp/session.sh'), text);
  // A process group of its own, so that what it leaves in the background can be ended.
  const child = spawn('bash', ['tmp/session.sh'], { cwd: folder, env, detached: true, stdio: ['ignore', 'pipe', 'inherit'] });
  groups.add(child.pid);
  let output = '';
  child.stdout.on('data', (piece) => { output += piece; });
  const late = setTimeout(() => endGroup(child.pid, 'SIGKILL'), PAGE_MS);
  const [code, signal] = await once(child, 'exit');
  clearTimeout(late);
  await pause(10);
  const outputs = output.split(`\n${MARKER}`).slice(1).map((part) => part.slice(part.indexOf('\n') + 1));
  return { outputs, code: signal ?? code, end: () => endGroup(child.pid, 'SIGTERM') };
}

function endGroup(pid, signal) {
  groups.delete(pid);
  try {
    process.kill(-pid, signal);
  } catch {
    // Nothing of it is left.
  }
}

/** Runs a page. Its failures have a line and a reason. */
async function runPage(page, prelude) {
  const markdown = await readFile(path.join(ROOT, page), 'utf8');
  const { blocks, wrong } = parse(markdown);
  const active = classify(blocks, wrong);
  const marked = blocks.filter((block) => block.reason !== undefined);
  const result = { page, ran: 0, marked, failures: wrong };
  const shell = active.filter((block) => block.kind === 'sh');
  if (shell.length === 0) return result;
  const text = shell.map((block) => block.text).join('');
  const missing = VARIABLES.filter((name) => text.includes(`$${name}`) && !new RegExp(`\\b${name}=`).test(text));
  const isLinked = /\]\((docs\/)?start\.md#variables\)/.test(markdown);
  if (missing.length > 0 && !isLinked) {
    wrong.push({ line: shell[0].line, why: `nothing says where ${missing.join(', ')} come from: link to start.md#variables` });
    return result;
  }
  const server = shell.find((block) => /^dossier serve( [^\n]*)?\n$/.test(block.text) && !block.text.includes('--ready-json'));
  if (server) server.isServer = true;
  const all = missing.length > 0 ? [{ ...prelude, isPrelude: true }, ...shell] : shell;

  const folder = await mkdtemp(path.join(tmpdir(), 'dossier-book-'));
  const env = {
    PATH: [path.join(folder, 'bin'), path.dirname(process.execPath), '/usr/bin', '/bin'].join(':'),
    HOME: path.join(folder, 'home'), TMPDIR: path.join(folder, 'tmp'), LANG: 'C.UTF-8',
  };
  let running;
  try {
    await samples(folder);
    const ports = await freePorts();
    const withPorts = (code) => code.replaceAll(/\b\d{4}\b/g, (port) => ports.get(port) ?? port);
    running = await startServer(folder, env, withPorts(server?.text ?? 'dossier serve'));
    const adapt = (code) => withPorts(code).replaceAll('http://127.0.0.1:8080', running.http)
      .replaceAll('127.0.0.1:8443', new URL(running.https).host)
      .replaceAll('dossier_…', running.key).replaceAll('SITE_ID=…', `SITE_ID=${running.site}`);
    for (const block of active.filter((one) => one.kind === 'file')) {
      await writeFile(path.join(folder, block.file), adapt(block.text));
      result.ran += 1;
    }
    const { outputs, code, end } = await session(folder, env, adapt(script(all)));
    try {
      for (const [index, block] of all.entries()) {
        block.output = block.isServer ? running.output() : outputs[index];
        block.log = block.keepsRunning ? path.join(folder, `background.${index}`) : undefined;
        const isLast = index === outputs.length - 1;
        if (index >= outputs.length) wrong.push({ line: block.line, why: 'not reached' });
        else if (isLast && code !== 0) {
          wrong.push({ line: block.line, why: `ended with ${code}`, block, output: block.output });
          block.output = undefined;
        } else if (!block.isPrelude) result.ran += 1;
      }
      for (const block of active.filter((one) => one.kind === 'output' && one.of.output !== undefined)) {
        await compare(block, adapt(block.text), all, result);
      }
    } finally {
      end();
    }
  } catch (error) {
    wrong.push({ line: 1, why: error.message });
  } finally {
    await running?.stop().catch((error) => wrong.push({ line: 1, why: error.message }));
    await rm(folder, { recursive: true, force: true });
  }
  return result;
}

/** Compares expected output with that of the block before and of everything in the background. */
async function compare(block, expected, shell, result) {
  for (const begin = Date.now(); ; await pause(50)) {
    const logs = shell.filter((one) => one.log && existsSync(one.log)).map((one) => readFile(one.log, 'utf8'));
    const outputs = [block.of.output, ...(await Promise.all(logs))];
    if (outputs.some((output) => matches(block, expected, output))) {
      result.ran += 1;
      return;
    }
    if (logs.length === 0 || Date.now() - begin > OUTPUT_MS) {
      result.failures.push({ line: block.line, why: 'the output is another one', block, output: outputs.join('\n') });
      return;
    }
  }
}

async function main() {
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => {
      for (const pid of groups) endGroup(pid, signal);
      process.exit(1);
    });
  }
  const pages = process.argv.slice(2);
  if (pages.length === 0) {
    const docs = (await readdir(path.join(ROOT, 'docs'))).filter((name) => name.endsWith('.md')).sort();
    pages.push('README.md', ...docs.map((name) => `docs/${name}`));
  }
  const start = parse(await readFile(path.join(ROOT, 'docs/start.md'), 'utf8'));
  const prelude = start.blocks.find((block) => SETS_VARIABLES.test(block.text));
  const queue = [...pages];
  const results = [];
  const worker = async () => {
    for (let page = queue.shift(); page; page = queue.shift()) {
      const begin = Date.now();
      results.push({ ...await runPage(page, prelude), ms: Date.now() - begin });
    }
  };
  await Promise.all(Array.from({ length: PARALLEL_PAGES }, worker));
  results.sort((a, b) => pages.indexOf(a.page) - pages.indexOf(b.page));
  let [passed, failed] = [0, 0];
  for (const { page, ran, marked, failures, ms } of results) {
    passed += ran;
    failed += failures.length;
    const counts = `${ran} ran, ${marked.length} marked, ${failures.length} failed`;
    console.log(`${failures.length > 0 ? '✖' : '✔'} ${page}: ${counts} (${ms}ms)`);
    for (const { line, reason } of marked) console.log(`  ${page}:${line} not run: ${reason}`);
    for (const { line, why, block, output } of failures) {
      console.log(`FAILED ${page}:${line}: ${why}`);
      if (block) console.log(`${block.text.trimEnd()}\n--- output\n${(output ?? '').trimEnd()}\n---`);
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}

await main();
