// Chromium over its DevTools protocol and a pipe, with only the needed domains enabled: test libraries
// subscribe to every network request of a page, which takes longer than many of the requests.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = [
  '--headless', '--remote-debugging-pipe', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-extensions',
  '--window-size=1280,800', 'about:blank',
];

/** A browser with a fresh profile and one tab. */
export class Browser {
  #child;
  #profile;
  #number = 0;
  #waiting = new Map();
  #listeners = new Map();
  #session;

  static async start() {
    const browser = new Browser();
    browser.#profile = await mkdtemp(path.join(tmpdir(), 'dossier-bench-browser-'));
    const stdio = ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'];
    browser.#child = spawn(EXECUTABLE, [`--user-data-dir=${browser.#profile}`, ...FLAGS], { stdio });
    browser.#listen(browser.#child.stdio[4]);
    const { targetInfos } = await browser.#call('Target.getTargets');
    const { targetId } = targetInfos.find(({ type }) => type === 'page');
    browser.#session = (await browser.#call('Target.attachToTarget', { targetId, flatten: true })).sessionId;
    return browser;
  }

  async stop() {
    const ended = new Promise((resolve) => { this.#child.once('exit', resolve); });
    await this.#call('Browser.close').catch(() => undefined);
    await ended;
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }

  /** Sends a command to the tab. */
  send(method, params = {}) {
    return this.#call(method, params, this.#session);
  }

  on(method, listener) {
    this.#listeners.set(method, listener);
  }

  /** Runs a function in the page and returns its result, awaited if it is a promise. */
  async run(work, ...values) {
    const expression = `(${work})(...${JSON.stringify(values)})`;
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  #call(method, params = {}, sessionId = undefined) {
    const id = (this.#number += 1);
    this.#child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => { this.#waiting.set(id, { resolve, reject }); });
  }

  #listen(stream) {
    let rest = '';
    stream.setEncoding('utf8').on('data', (text) => {
      const messages = (rest + text).split('\0');
      rest = messages.pop();
      for (const message of messages) this.#take(JSON.parse(message));
    });
    this.#child.once('exit', (code) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${EXECUTABLE} ended with ${code}`));
    });
  }

  #take({ id, result, error, method, params }) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) waiting?.reject(new Error(error.message));
    else if (waiting) waiting.resolve(result);
    else this.#listeners.get(method)?.(params);
  }
}
