// The Debian package: its contents, and, as root on a machine without it, that it installs, runs as
// its user, and is removed without a trace or with the data kept.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

import { BINARY, DEFAULTS, ENVIRONMENT, SETTINGS, all, at, has, run, text, unit } from './support.mjs';

const SERVICE = 'deploy/debian/dossier.service';
const DATA = '/var/lib/dossier';
/** Files of this package, or of another one with its name, on this machine. */
const TRACES = ['/usr/bin/dossier', '/usr/lib/systemd/system/dossier.service', '/etc/dossier', DATA];
/** The interval and the maximum number of polls for something that others may hold up. */
const LOOK_SECONDS = '0.5';
const LOOKS = 120;

const exists = (database) => spawnSync('getent', [database, 'dossier']).status === 0;
const isInstalled = () => spawnSync('dpkg-query', ['--status', 'dossier']).status === 0;

let folder;
let file;
before(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'dossier-package-'));
  // Not compressed, which is only needed for releases.
  const env = { ...ENVIRONMENT, DPKG_DEB_COMPRESSOR_TYPE: 'none' };
  file = run(at('scripts/deb'), [BINARY, folder], { env }).trim();
});
after(() => rmSync(folder, { recursive: true, force: true }));

test('the package declares its description and dependencies', () => {
  const field = (name) => run('dpkg-deb', ['--field', file, name]).trim();
  const [, version] = run(BINARY, ['--version']).trim().split(' ');
  assert.equal(field('Package'), 'dossier');
  assert.equal(field('Version'), version.replace('-', '~'));
  assert.equal(field('Architecture'), run('dpkg', ['--print-architecture']).trim());
  assert.match(field('Depends'), /\blibc6 \(>= [\d.]+\).*, passwd$/);
  assert.match(field('Recommends'), /\blibheif1\b/);
  assert.equal(run('dpkg-deb', ['--info', file, 'conffiles']), '/etc/dossier/dossier.toml\n');
});

test('the package contains its files with the right modes', () => {
  const listed = new Map(run('dpkg-deb', ['--contents', file]).trim().split('\n').map((line) => {
    const [mode, owner, , , , name] = line.split(/ +/);
    assert.equal(owner, 'root/root', name);
    return [name.replace(/^\./, ''), mode];
  }));
  for (const [name, mode] of listed) {
    const wanted = name.endsWith('/') ? 'drwxr-xr-x' : '-rw-r--r--';
    assert.equal(mode, name === '/usr/bin/dossier' ? '-rwxr-xr-x' : wanted, name);
  }
  for (const name of ['/usr/bin/dossier', '/usr/lib/systemd/system/dossier.service', '/etc/dossier/dossier.toml',
    '/usr/share/doc/dossier/copyright', '/usr/share/doc/dossier/docs/own-machines.md',
    '/usr/share/man/man1/dossier-put.1.gz', '/usr/share/bash-completion/completions/dossier',
    '/usr/share/zsh/vendor-completions/_dossier', '/usr/share/fish/vendor_completions.d/dossier.fish']) assert.ok(listed.has(name), name);
  // Only its own paths: nothing is put where another package might be.
  const own = /\/dossier(\/|\.service$|$)|\/(_dossier|dossier\.fish|dossier(-[a-z-]+)?\.1\.gz)$/;
  const foreign = [...listed.keys()].filter((name) => !name.endsWith('/') && !own.test(name));
  assert.deepEqual(foreign, []);
});

test('the settings file lists existing settings with their defaults', () => {
  const lines = [...text('deploy/debian/dossier.toml').matchAll(/^(#?)([a-z_]+) = "(.*)"$/gm)];
  assert.ok(lines.length > 5);
  for (const [, , name, value] of lines) {
    assert.ok(SETTINGS.has(name), name);
    if (name.startsWith('listen')) assert.equal(value, DEFAULTS.get(name), name);
  }
  assert.deepEqual(lines.filter(([, mark]) => !mark).map(([, , name, value]) => [name, value]), [['data', DATA]]);
});

test('the unit allows the time that a stop needs and sets only existing settings', () => {
  const value = unit(SERVICE);
  const seconds = Number(DEFAULTS.get('shutdown_notice_seconds')) + Number(DEFAULTS.get('shutdown_seconds'));
  assert.ok(Number(value('TimeoutStopSec')) > seconds);
  for (const name of all(text(SERVICE), /\bDOSSIER_([A-Z_]+)=/g)) {
    assert.ok(name === 'CONFIG' || SETTINGS.has(name.toLowerCase()), name);
  }
  assert.deepEqual(value('WorkingDirectory'), [DATA]);
  assert.deepEqual(value('StateDirectory').map((name) => path.join('/var/lib', name)), [DATA]);
});

test('the unit leaves render workers the means for their sandbox', (t) => {
  const value = unit(SERVICE);
  // The server reads its workers' memory use, which a hidden process does not show.
  assert.deepEqual([value('ProtectProc'), value('ProcSubset')], [[], []]);
  if (!has('systemd-analyze')) return t.skip('!! NOT CHECKED: there is no systemd-analyze');
  const allowed = new Set();
  const groups = value('SystemCallFilter').flatMap((list) => list.split(' '));
  for (let group = groups.pop(); group; group = groups.pop()) {
    assert.ok(!group.startsWith('~'), group);
    if (!group.startsWith('@')) { allowed.add(group); continue; }
    const [, ...calls] = run('systemd-analyze', ['syscall-filter', group]).trim().split('\n');
    groups.push(...calls.map((call) => call.trim()).filter((call) => !call.startsWith('#')));
  }
  const sandbox = text('src/render_workers/sandbox.rs');
  const calls = [...new Set(all(sandbox, /\bSYS_([a-z0-9_]+)/g)), 'seccomp', 'prctl', 'prlimit64', 'execve'];
  assert.ok(calls.length > 40 && calls.includes('recvmsg'));
  assert.deepEqual(calls.filter((call) => !allowed.has(call)), []);
  return undefined;
});

/** Why the package cannot be installed here; empty if it can. */
function obstacle() {
  if (process.getuid() !== 0) return 'only root may install a package';
  if (isInstalled()) return 'a package dossier is installed';
  const traces = TRACES.filter((name) => existsSync(name));
  if (exists('passwd') || exists('group')) traces.push('a user or group dossier');
  return traces.length > 0 ? `this machine has ${traces.join(', ')}` : '';
}

/**
 * Waits until no other run of this test is active on this machine. Call the returned function to
 * let the next one start.
 */
async function lockMachine() {
  const lock = path.join(tmpdir(), 'dossier-package-test.lock');
  // The lock ends with this process, however it ends: its standard input closes.
  const holder = spawn('flock', [lock, 'sh', '-c', 'echo held; cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => { holder.once('exit', resolve); });
  await new Promise((resolve) => { holder.stdout.once('data', resolve); });
  return () => { holder.stdin.end(); return ended; };
}

/** dpkg, waiting while another one runs. Returns its output. */
function dpkg(...args) {
  const env = { ...ENVIRONMENT, DEBIAN_FRONTEND: 'noninteractive' };
  for (let look = 1; ; look += 1) {
    const { status, stdout, stderr } = spawnSync('dpkg', args, { encoding: 'utf8', env });
    if (status === 0) return stdout + stderr;
    if (look === LOOKS || !/lock/.test(stderr)) throw new Error(`dpkg ${args.join(' ')}: ${stdout}${stderr}`);
    spawnSync('sleep', [LOOK_SECONDS]);
  }
}

/** Removes everything that the test may have left, whatever its outcome. */
function clean() {
  if (isInstalled()) dpkg('--purge', 'dossier');
  rmSync(DATA, { recursive: true, force: true });
  rmSync('/etc/dossier', { recursive: true, force: true });
  if (exists('passwd')) run('userdel', ['dossier']);
  if (exists('group')) run('groupdel', ['dossier']);
}

/** Runs a program as the unit does: with its user, folder and variables, and without privileges. */
function asService(program) {
  const value = unit(SERVICE);
  const rights = [`--reuid=${value('User')}`, `--regid=${value('Group')}`, '--init-groups', '--no-new-privs',
    '--bounding-set=-all', '--inh-caps=-all'];
  const own = Object.fromEntries(value('Environment').map((line) => line.split('=')));
  const command = ['sh', '-c', `umask ${value('UMask')}; exec "$@"`, 'sh', ...program];
  return {
    command: ['setpriv', ...rights, ...command],
    options: { cwd: value('WorkingDirectory')[0], env: { PATH: '/usr/bin:/bin', ...own } },
  };
}

/** Starts what the unit starts, on free ports; `ready` resolves once it serves requests. */
function startService() {
  const start = unit(SERVICE)('ExecStart')[0].split(' ');
  const free = ['--listen', '127.0.0.1:0', '--listen-tls', '127.0.0.1:0', '--ready-json'];
  const { command, options } = asService([...start, ...free]);
  const child = spawn(command[0], command.slice(1), { ...options, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => { child.once('exit', (code, signal) => resolve(signal ?? code)); });
  const line = new Promise((resolve, reject) => {
    createInterface(child.stdout).once('line', resolve);
    ended.then((how) => reject(new Error(`it ended: ${how}`)));
  });
  return { child, ready: line.then(JSON.parse), stop: () => { child.kill('SIGTERM'); return ended; } };
}

/** Uploads a picture and returns the links of its attachment. */
async function uploadPicture({ http, apiKey, siteId }) {
  const headers = { Authorization: apiKey, 'wix-site-id': siteId };
  const list = `${http}/contacts/v4/attachments/${randomUUID()}`;
  const made = await fetch(`${list}/upload-url`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify({ fileName: 'picture.avif', mimeType: 'image/avif' }),
  });
  const { uploadUrl } = await made.json();
  const put = await fetch(uploadUrl, { method: 'PUT', body: readFileSync(at('tests/pictures/avif-420-8.avif')) });
  assert.equal(put.status, 200, await put.text());
  return (await (await fetch(list, { headers })).json()).attachments[0];
}

test('the package installs, runs as its user and can be removed', async (t) => {
  const done = process.getuid() === 0 ? await lockMachine() : () => {};
  const why = obstacle();
  if (why) {
    await done();
    return t.skip(`!! NOT RUN: the package was not installed and run, because ${why}`);
  }
  let service;
  const leave = () => {
    service?.child.kill('SIGKILL');
    clean();
  };
  // Also if the test is interrupted.
  const interrupted = () => { leave(); process.exit(1); };
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, interrupted);
  t.after(async () => {
    leave();
    for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, interrupted);
    await done();
  });

  await t.test('without data a purge leaves nothing', () => {
    dpkg('--install', file);
    assert.ok(exists('passwd'));
    dpkg('--purge', 'dossier');
    assert.deepEqual(TRACES.filter((name) => existsSync(name)), []);
    assert.ok(!exists('passwd') && !exists('group'));
  });

  await t.test('installing creates the user and the folder and starts nothing', () => {
    const output = dpkg('--install', file);
    assert.match(output, /is not started yet/);
    assert.equal(run('/usr/bin/dossier', ['--version']), run(BINARY, ['--version']));
    const [, , id, , , home, shell] = run('getent', ['passwd', 'dossier']).trim().split(':');
    assert.deepEqual([Number(id) < 1000, home, shell], [true, DATA, '/usr/sbin/nologin']);
    const { mode, uid } = statSync(DATA);
    assert.deepEqual([mode & 0o777, uid], [0o700, Number(id)]);
    assert.deepEqual(readdirSync(DATA), []);
    assert.equal(run('dpkg', ['--verify', 'dossier']), '');
  });

  await t.test('systemd accepts the unit', (inner) => {
    if (!has('systemd-analyze')) return inner.skip('!! NOT CHECKED: there is no systemd-analyze');
    const { status, stderr } = spawnSync('systemd-analyze', ['verify', TRACES[1]], { encoding: 'utf8' });
    // It reports other units of the machine too.
    assert.deepEqual([status, stderr.split('\n').filter((line) => line.includes('dossier'))], [0, []]);
    return undefined;
  });

  await t.test('the command of the unit serves requests, makes previews and stops', async () => {
    service = startService();
    const ready = await service.ready;
    const health = await fetch(`${ready.http}/dossier/v1/health`);
    assert.deepEqual([health.status, (await health.json()).status], [200, 'ok']);
    const status = readFileSync(`/proc/${service.child.pid}/status`, 'utf8');
    assert.match(status, new RegExp(`^Uid:\\t${statSync(DATA).uid}\\t`, 'm'));
    const { previewImage } = await uploadPicture(ready);
    assert.equal((await fetch(previewImage.url)).status, 200);
    const { command, options } = asService(['dossier', 'doctor', '--json']);
    // It exits with 1 if the configured ports are in use, and reports why.
    const doctor = spawnSync(command[0], command.slice(1), { ...options, encoding: 'utf8' });
    const faults = JSON.parse(doctor.stdout).checks.filter((check) => check.state === 'problem');
    assert.deepEqual(faults.filter(({ name }) => ['data folder', 'secrets', 'database'].includes(name)), []);
    assert.equal(await service.stop(), 0);
    for (const name of readdirSync(DATA, { recursive: true })) {
      assert.equal(statSync(path.join(DATA, String(name))).mode & 0o077, 0, String(name));
    }
  });

  await t.test('an upgrade, a removal and a purge keep the data', () => {
    const rows = readFileSync(path.join(DATA, 'dossier.db'));
    assert.doesNotMatch(dpkg('--install', file), /is not started yet/);
    dpkg('--remove', 'dossier');
    assert.ok(!existsSync('/usr/bin/dossier') && existsSync('/etc/dossier/dossier.toml'));
    assert.match(dpkg('--purge', 'dossier'), /data and its user are left/);
    assert.ok(!existsSync('/etc/dossier') && exists('passwd'));
    assert.ok(readFileSync(path.join(DATA, 'dossier.db')).equals(rows));
  });
  return undefined;
});
