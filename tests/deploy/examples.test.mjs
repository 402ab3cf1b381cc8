// The container file, compose.yaml and the Kubernetes example. No container engine is needed: the
// tests check that these files match each other and the program.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';

import { parse, parseAllDocuments } from 'yaml';

import {
  BINARY, DEFAULTS, ENVIRONMENT, ROOT, SETTINGS, all, at, port, run, startServer, text,
} from './support.mjs';

const containerfile = text('Containerfile');
/** The variables that the image sets. */
const image = Object.fromEntries(
  /^ENV ((?:.*\\\n)*.*)$/m.exec(containerfile)[1].match(/[A-Z_]+=\S+/g).map((line) => line.split('=')),
);
const compose = parse(text('compose.yaml'), { merge: true });
const kubernetes = parseAllDocuments(text('deploy/kubernetes.yaml')).map((document) => {
  assert.deepEqual(document.errors, []);
  return document.toJS();
});
const kind = (name) => kubernetes.find((object) => object.kind === name);
const pod = kind('Deployment').spec.template.spec;
const server = pod.containers[0];
const node = { ...image, ...compose.services['node-1'].environment };

/** A folder that is deleted with the test. */
function folder(t) {
  const made = mkdtempSync(path.join(tmpdir(), 'dossier-deploy-'));
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

test('every variable in the files is a setting', () => {
  const files = ['Containerfile', 'compose.yaml', 'docs/own-machines.md']
    .concat(readdirSync(at('deploy'), { recursive: true }).map((name) => path.join('deploy', String(name))))
    .filter((name) => statSync(at(name)).isFile());
  const strangers = [];
  let found = 0;
  for (const file of files) {
    // Kubernetes would set DOSSIER_PORT, which is why the example turns service links off.
    for (const name of all(text(file), /\bDOSSIER_([A-Z_]+)/g).filter((name) => name !== 'PORT')) {
      found += 1;
      if (name !== 'CONFIG' && !SETTINGS.has(name.toLowerCase())) strangers.push(`${file}: DOSSIER_${name}`);
    }
  }
  assert.deepEqual(strangers, []);
  assert.ok(found > 20, `${found}`);
});

test('the program accepts the value of every variable', (t) => {
  const stores = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'key' };
  const places = {
    image,
    compose: { ...image, ...compose.services.dossier.environment },
    'a node of compose': node,
    Kubernetes: kind('ConfigMap').data,
  };
  for (const [place, variables] of Object.entries(places)) {
    // Databases and key files do not exist here; without a database it is the folder that is
    // missing.
    const { DOSSIER_DATABASE_URL, DOSSIER_DATABASE_PASSWORD_FILE, DOSSIER_BLOBS_CREDENTIALS_FILE, ...rest } =
      variables;
    for (const value of Object.values(variables)) assert.equal(typeof value, 'string', `${place}: ${value}`);
    if (DOSSIER_DATABASE_URL) assert.equal(new URL(DOSSIER_DATABASE_URL).protocol, 'postgres:', place);
    const env = { ...ENVIRONMENT, ...stores, ...rest, DOSSIER_DATA: path.join(folder(t), 'none') };
    const { stderr } = spawnSync(BINARY, ['site', 'list'], { env, encoding: 'utf8' });
    assert.match(stderr, /there is no data in/, place);
  }
});

test('the image is built from files that exist and suffice', (t) => {
  const copied = all(containerfile, /^COPY (?!--from)(.*) \S+$/gm).flatMap((paths) => paths.split(' '));
  const build = folder(t);
  for (const name of copied) cpSync(at(name), path.join(build, name), { recursive: true });
  // Cargo rejects a manifest that names missing files.
  run('cargo', ['metadata', '--no-deps', '--offline', '--format-version', '1'], { cwd: build });
  const lost = [];
  const sources = ['src', 'crates'].flatMap((folder) =>
    readdirSync(path.join(build, folder), { recursive: true }).map((name) => path.join(folder, String(name))));
  for (const name of sources) {
    if (!name.endsWith('.rs') || name.endsWith('tests.rs')) continue;
    const [program] = readFileSync(path.join(build, name), 'utf8').split('#[cfg(test)]');
    for (const included of all(program, /include_(?:str|bytes)!\("([^"]+)"\)/g)) {
      if (!existsSync(path.join(build, path.dirname(name), included))) lost.push(`${name}: ${included}`);
    }
  }
  assert.deepEqual(lost, []);
  const [everything, ...kept] = text('.dockerignore').split('\n').filter((line) => line && !line.startsWith('#'));
  assert.equal(everything, '*');
  assert.deepEqual(kept.sort(), copied.map((name) => `!${name}`).sort());
});

test('the image is built with the toolchain and packages of the project', () => {
  const rust = /^rust-version = "(.*)"$/m.exec(text('Cargo.toml'))[1];
  assert.match(containerfile, new RegExp(`^FROM docker.io/library/rust:${rust}-bookworm AS build$`, 'm'));
  const installed = /install -y --no-install-recommends ([^\\\n]*)/.exec(containerfile)[1].split(' ');
  // Packages for everything come before those for some purposes. The Rust image has compilers and
  // make.
  const [forAll] = text('scripts/setup').split('case $purpose in');
  const needed = all(forAll, /^need \S+ (.*)$/gm).filter((name) => name !== 'build-essential');
  assert.ok(needed.length >= 3);
  for (const name of needed) assert.ok(installed.includes(name), name);
});

test('ports match the settings', () => {
  const ports = [port(image.DOSSIER_LISTEN), port(image.DOSSIER_LISTEN_TLS)];
  assert.deepEqual(ports, [port(DEFAULTS.get('listen')), port(DEFAULTS.get('listen_tls'))]);
  assert.equal(/^EXPOSE (.*)$/m.exec(containerfile)[1], ports.join(' '));
  const one = compose.services.dossier;
  assert.deepEqual(one.ports.map(port), ports);
  assert.equal(one.environment.DOSSIER_PUBLIC_URL, `http://${one.ports[0].replace(/:\d+$/, '')}`);

  const nginx = text('deploy/nginx.conf');
  const nodes = Object.keys(compose.services).filter((name) => name.startsWith('node-'));
  assert.deepEqual(all(nginx, /^ *server (\S+) /gm), nodes.map((name) => `${name}:${port(node.DOSSIER_LISTEN)}`));
  assert.equal(port(compose.services.nginx.ports[0]), Number(/listen (\d+);/.exec(nginx)[1]));
  assert.equal(node.DOSSIER_PUBLIC_URL, `http://${compose.services.nginx.ports[0].replace(/:\d+$/, '')}`);

  const settings = kind('ConfigMap').data;
  const named = Object.fromEntries(server.ports.map(({ name, containerPort }) => [name, containerPort]));
  assert.equal(named.http, port(settings.DOSSIER_LISTEN));
  assert.equal(named.metrics, port(settings.DOSSIER_LISTEN_METRICS));
  assert.equal(named[kind('Service').spec.ports[0].targetPort], named.http);
  for (const probe of ['startupProbe', 'readinessProbe']) {
    assert.deepEqual(server[probe].httpGet, { path: '/dossier/v1/health', port: 'http' });
  }
  assert.deepEqual(server.livenessProbe.httpGet, { path: '/metrics', port: 'metrics' });
});

test('everything that compose.yaml names exists', () => {
  for (const [name, service] of Object.entries(compose.services)) {
    assert.ok(service.image, name);
    const profiles = JSON.stringify(service.profiles);
    const awaited = service.depends_on ?? [];
    for (const other of Array.isArray(awaited) ? awaited : Object.keys(awaited)) {
      assert.equal(JSON.stringify(compose.services[other]?.profiles), profiles, `${name} waits for ${other}`);
    }
    for (const [source] of (service.volumes ?? []).map((volume) => volume.split(':'))) {
      const known = source.startsWith('.') ? existsSync(path.join(ROOT, source)) : source in compose.volumes;
      assert.ok(known, `${name}: ${source}`);
    }
  }
  // The password, the keys and the bucket match the stores next to the nodes.
  const database = compose.services.postgres.environment;
  const url = new URL(node.DOSSIER_DATABASE_URL);
  assert.deepEqual([url.username, url.password, url.hostname, url.pathname],
    [database.POSTGRES_USER, database.POSTGRES_PASSWORD, 'postgres', `/${database.POSTGRES_DB}`]);
  const store = compose.services.minio.environment;
  assert.deepEqual([node.AWS_ACCESS_KEY_ID, node.AWS_SECRET_ACCESS_KEY],
    [store.MINIO_ROOT_USER, store.MINIO_ROOT_PASSWORD]);
  assert.ok(compose.services.bucket.entrypoint.join().includes(`store/${new URL(node.DOSSIER_BLOBS).host}`));
});

test('everything that the Kubernetes example names exists', () => {
  const volumes = pod.volumes.map(({ name }) => name);
  for (const container of [...pod.initContainers, ...pod.containers]) {
    for (const mount of container.volumeMounts) assert.ok(volumes.includes(mount.name), mount.name);
    for (const { configMapRef } of container.envFrom) {
      assert.equal(configMapRef.name, kind('ConfigMap').metadata.name);
    }
    assert.equal(container.image, server.image);
    assert.deepEqual(container.securityContext, {
      allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] },
    });
  }
  const secrets = all(text('deploy/kubernetes.yaml'), /^# +kubectl create secret generic (\S+)/gm);
  assert.deepEqual(pod.volumes.filter(({ secret }) => secret).map(({ secret }) => secret.secretName), secrets);
  const mounted = server.volumeMounts.map(({ mountPath }) => mountPath);
  const settings = kind('ConfigMap').data;
  for (const name of ['DATABASE_PASSWORD_FILE', 'BLOBS_CREDENTIALS_FILE', 'DATA']) {
    assert.ok(mounted.includes(path.dirname(settings[`DOSSIER_${name}`])), name);
  }
  const { labels } = kind('Deployment').spec.template.metadata;
  for (const selector of [kind('Deployment').spec.selector.matchLabels, kind('Service').spec.selector,
    kind('PodDisruptionBudget').spec.selector.matchLabels]) assert.deepEqual(selector, labels);
  // The image's user. No service variable may reach it as a setting.
  const { runAsUser, runAsGroup } = pod.securityContext;
  assert.match(containerfile, new RegExp(`^USER ${runAsUser}:${runAsGroup}$`, 'm'));
  assert.equal(pod.enableServiceLinks, false);
});

test('a stopping node gets the time that its settings need', () => {
  const settings = kind('ConfigMap').data;
  const promised = Number(settings.DOSSIER_SHUTDOWN_NOTICE_SECONDS) + Number(settings.DOSSIER_SHUTDOWN_SECONDS);
  assert.ok(pod.terminationGracePeriodSeconds > promised);
  // The load balancer has noticed before the node exits.
  const { periodSeconds, failureThreshold } = server.readinessProbe;
  assert.ok(Number(settings.DOSSIER_SHUTDOWN_NOTICE_SECONDS) >= periodSeconds * failureThreshold);
  const ordinary = Number(DEFAULTS.get('shutdown_notice_seconds')) + Number(DEFAULTS.get('shutdown_seconds'));
  for (const name of ['dossier', 'node-1', 'node-2']) {
    assert.ok(parseInt(compose.services[name].stop_grace_period, 10) > ordinary, name);
  }
});

test('the health check of the image distinguishes a server from none', async (t) => {
  const command = JSON.parse(/^HEALTHCHECK .*\\\n +CMD (.*)$/m.exec(containerfile)[1]);
  const { ready, stop } = await startServer();
  t.after(stop);
  const own = new RegExp(`/${port(image.DOSSIER_LISTEN)} `);
  assert.match(command.at(-1), own);
  const check = (at) => {
    const script = command.at(-1).replace(own, `/${at} `);
    return spawnSync(command[0], [...command.slice(1, -1), script], { encoding: 'utf8', timeout: 10_000 });
  };
  const found = check(port(ready.http));
  assert.equal(found.status, 0, found.stderr);
  // Nothing listens on port 1.
  assert.notEqual(check(1).status, 0);
});

test('keys generated for nodes are used and kept', async (t) => {
  const made = folder(t);
  const keys = path.join(made, 'data');
  run('sh', [at('deploy/make-keys'), keys]);
  const read = () => ['signing.keys', 'webhook.keys'].map((name) => readFileSync(path.join(keys, name), 'utf8'));
  const before = read();
  const { stop } = await startServer([], made);
  t.after(stop);
  assert.match(run(BINARY, ['webhook', 'public-key', '--data', keys]), /BEGIN PUBLIC KEY/);
  run('sh', [at('deploy/make-keys'), keys]);
  assert.deepEqual(read(), before);
  for (const name of ['signing.keys', 'webhook.keys']) {
    assert.equal(statSync(path.join(keys, name)).mode & 0o777, 0o600, name);
  }
});
