// Uploads of files: several at once, each with its own state; small ones whole, the others resumable (tus). Knows
// nothing of how that is shown.

import * as api from './api.js';
import { session } from './api.js';
import { mediaType } from './types.js';
import { Whole } from './whole.js';

/** Uploads that run at the same time: as many as browsers have connections to a host, but for two. */
const AT_ONCE = 4;
/** Larger ones of them. */
const LARGE_AT_ONCE = 2;
/** Files up to this size are sent whole: beginning again costs less than remembering where they were. */
const IN_ONE_REQUEST = 1024 * 1024;
/** Small files whose upload URLs are asked for together. */
const URLS_AT_ONCE = 32;
/** How long a piece may be: a request that a proxy cuts off costs no more than this. */
const PIECE = 64 * 1024 * 1024;
/** When a piece that failed is tried again, in milliseconds; after that the network is taken to be away. */
const RETRIES = [0, 500, 2000];
/** Answers that may be others in a moment; 0 is none at all. */
const PASSING = [0, 429, 500, 502, 503, 504];
/** How often it is looked whether the network is back, besides being told. */
const LOOK_AGAIN = 5000;
/** An upload of which nothing moves for so long is taken to be cut off, in milliseconds. */
const STALLED = 45_000;
/** The span over which speed is averaged, in milliseconds. */
const SPEED_SPAN = 4000;
/** How what can go on after a reload is called in the browser's own storage. */
const STORED = 'tus::dossier-';

/**
 * @typedef {'waiting' | 'starting' | 'running' | 'paused' | 'offline' | 'signedOut' | 'refused' | 'done'} State
 * @typedef {{ id: number, contactId: string, file: File, name: string, size: number, type: string,
 *   state: State, sent: number, speed: number | null, error: any, problem: string, resumedAt: number,
 *   uploadUrl: string | null }} Upload
 */

class Uploads extends EventTarget {
  /** @type {Upload[]} */
  list = [];
  #number = 0;
  #running = new Map();
  /** Upload URLs that were asked for and not used yet, by the number of the upload. */
  #urls = new Map();
  #timer = 0;

  constructor() {
    super();
    window.addEventListener('online', () => this.#wake('offline'));
    window.addEventListener('offline', () => this.#cut(() => true));
    setInterval(() => this.#cut(({ state, movedAt }) => state === 'running' && performance.now() - movedAt > STALLED), LOOK_AGAIN);
    window.addEventListener('beforeunload', (event) => {
      if (this.isBusy()) event.preventDefault();
    });
  }

  isBusy() {
    return this.list.some((one) => ['waiting', 'starting', 'running', 'offline', 'signedOut'].includes(one.state));
  }

  /**
   * Adds files of a contact, and begins.
   *
   * @param {string} contactId
   * @param {{ file: File, name?: string }[]} files
   */
  add(contactId, files) {
    const added = files.map(({ file, name }) => ({
      id: (this.#number += 1), contactId, file, name: name ?? file.name, size: file.size,
      type: mediaType({ name: name ?? file.name, type: file.type }), state: 'waiting', sent: 0, speed: null,
      error: null, problem: '', resumedAt: 0, samples: [], uploadUrl: null,
    }));
    for (const one of added) {
      const problem = this.#refusal(one);
      if (problem) Object.assign(one, { state: 'refused', problem });
    }
    this.list = [...this.list, ...added];
    this.#pump();
  }

  /** What the server would say, without asking it. */
  #refusal({ size, name }) {
    const limit = session()?.server.uploadMaxBytes ?? Infinity;
    if (size === 0) return 'empty';
    if (size > limit) return 'tooLarge';
    return [...name].length > 260 ? 'name' : '';
  }

  pause(one) {
    this.#running.get(one.id)?.abort();
    this.#running.delete(one.id);
    this.#set(one, { state: 'paused', speed: null });
    this.#pump();
  }

  resume(one) {
    this.#set(one, { state: 'waiting', error: null, problem: '', samples: [] });
    this.#pump();
  }

  /** Ends one; what the server has of it goes. */
  cancel(one) {
    const running = this.#running.get(one.id) ?? one.kept;
    this.#running.delete(one.id);
    this.#urls.delete(one.id);
    // It expires by itself where it cannot be ended.
    running?.abort(running.url !== null).catch(() => undefined);
    this.list = this.list.filter((other) => other !== one);
    this.#pump();
  }

  dismiss(one) {
    this.list = this.list.filter((other) => other !== one);
    this.#changed();
  }

  clearFinished() {
    this.list = this.list.filter(({ state }) => !['done', 'refused'].includes(state));
    this.#changed();
  }

  /** Somebody is signed in again. */
  signedIn() {
    this.#wake('signedOut');
  }

  /** Ends requests that get nowhere: browsers wait for them for minutes. */
  #cut(isCut) {
    const cut = this.list.filter((one) => this.#running.has(one.id) && isCut(one));
    for (const one of cut) {
      this.#running.get(one.id).abort();
      this.#running.delete(one.id);
      Object.assign(one, { state: 'offline', speed: null });
    }
    if (cut.length > 0) this.#pump();
  }

  #wake(state) {
    for (const one of this.list) if (one.state === state) Object.assign(one, { state: 'waiting' });
    this.#pump();
  }

  #set(one, change) {
    Object.assign(one, change);
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }

  #pump() {
    for (const one of this.list) {
      if (this.#running.size >= AT_ONCE) break;
      const isLarge = one.size > IN_ONE_REQUEST;
      if (one.state !== 'waiting' || (isLarge && this.#largeRunning() >= LARGE_AT_ONCE)) continue;
      this.#start(one);
    }
    const isOffline = this.list.some(({ state }) => state === 'offline');
    if (isOffline && !this.#timer) this.#timer = setInterval(() => this.#wake('offline'), LOOK_AGAIN);
    if (!isOffline && this.#timer) {
      clearInterval(this.#timer);
      this.#timer = 0;
    }
    this.#changed();
  }

  #largeRunning() {
    return this.list.filter(({ id, size }) => size > IN_ONE_REQUEST && this.#running.has(id)).length;
  }

  async #start(one) {
    Object.assign(one, { state: 'starting', samples: [], resumedAt: 0 });
    // A place until there is something to abort.
    const place = { isGone: false, abort: async () => { place.isGone = true; }, url: null };
    this.#running.set(one.id, place);
    try {
      const upload = await (one.size > IN_ONE_REQUEST ? this.#resumable(one) : this.#whole(one));
      if (place.isGone) return;
      this.#running.set(one.id, upload);
      upload.start();
      this.#set(one, { state: 'running', kept: upload, movedAt: performance.now() });
    } catch (error) {
      if (!place.isGone) this.#failed(one, error);
    }
  }

  async #whole(one) {
    one.uploadUrl ??= await this.#url(one);
    const mayPass = (status) => PASSING.includes(status);
    return new Whole(one.file, one.uploadUrl, { type: one.type, retryDelays: RETRIES, mayPass, ...this.#tell(one) });
  }

  /** The upload URL of a small file; those of the small ones behind it come with it. */
  async #url(one) {
    if (!this.#urls.has(one.id)) this.#askUrls(one);
    const url = this.#urls.get(one.id);
    this.#urls.delete(one.id);
    return url;
  }

  #askUrls(first) {
    const isNext = (one) => one !== first && one.state === 'waiting' && one.contactId === first.contactId
      && one.size <= IN_ONE_REQUEST && !one.uploadUrl && !this.#urls.has(one.id);
    const wanted = [first, ...this.list.filter(isNext).slice(0, URLS_AT_ONCE - 1)];
    const answer = api.uploadUrls(first.contactId, wanted);
    // Without an answer there is none for anybody: whoever comes later asks again.
    answer.catch(() => wanted.forEach(({ id }) => this.#urls.delete(id)));
    wanted.forEach(({ id }, index) => {
      const url = answer.then((urls) => {
        if (urls[index] instanceof api.ApiError) throw urls[index];
        return urls[index];
      });
      // A refusal waits for its file's turn as a URL does; whoever wants it hears of it.
      url.catch(() => undefined);
      this.#urls.set(id, url);
    });
  }

  async #resumable(one) {
    const [address, tus] = await Promise.all([api.uploadUrl(one.contactId, one), import('../vendor/tus.js')]);
    const url = new URL(address);
    const endpoint = new URL('/upload/tus', url).href;
    const token = url.pathname.slice(url.pathname.lastIndexOf('/') + 1);
    const upload = new tus.Upload(one.file, {
      endpoint, metadata: { filename: one.name, filetype: one.type, token },
      chunkSize: PIECE, retryDelays: RETRIES, removeFingerprintOnSuccess: true,
      fingerprint: async (file) => [STORED.slice(5), one.contactId, one.size, file.lastModified, one.name].join('-'),
      onShouldRetry: (error) => [...PASSING, 409, 423].includes(statusOf(error)),
      ...this.#tell(one),
    });
    const [before] = await upload.findPreviousUploads();
    if (before) upload.resumeFromPreviousUpload(before);
    return upload;
  }

  #tell(one) {
    return {
      onProgress: (sent) => this.#progress(one, sent),
      onSuccess: () => this.#done(one),
      onError: (error) => this.#failed(one, error),
    };
  }

  #progress(one, sent) {
    // What was ended may still report.
    if (!this.#running.has(one.id)) return;
    const now = performance.now();
    if (one.samples.length === 0) one.resumedAt = sent > PIECE / 64 ? sent : 0;
    one.samples = [...one.samples.filter(([at]) => now - at < SPEED_SPAN), [now, sent]];
    const [[from, first]] = one.samples;
    const speed = now - from > 400 ? ((sent - first) / (now - from)) * 1000 : one.speed;
    this.#set(one, { sent, speed, state: 'running', movedAt: now });
  }

  #done(one) {
    this.#running.delete(one.id);
    this.#set(one, { state: 'done', sent: one.size, speed: null, kept: null });
    this.dispatchEvent(new CustomEvent('added', { detail: one }));
    this.#pump();
  }

  #failed(one, error) {
    this.#running.delete(one.id);
    const status = error instanceof api.ApiError ? error.status : statusOf(error);
    const isUnreadable = !(error instanceof api.ApiError) && !error.originalRequest;
    if (isUnreadable) this.#set(one, { state: 'refused', problem: 'unreadable', error });
    else if (status === 401) this.#set(one, { state: 'signedOut', speed: null });
    else if (status === 0 || status === 429 || status >= 502) this.#set(one, { state: 'offline', speed: null });
    else this.#set(one, { state: 'refused', error: asApiError(error), speed: null, uploadUrl: null });
    this.#pump();
  }
}

/** The status of an error of tus-js-client; 0 without an answer. */
const statusOf = (error) => error.originalResponse?.getStatus() ?? 0;

function asApiError(error) {
  if (error instanceof api.ApiError) return error;
  let body;
  try {
    body = JSON.parse(error.originalResponse.getBody());
  } catch {
    // The status says enough.
  }
  return new api.ApiError(statusOf(error), body, error.originalResponse?.getHeader('x-wix-request-id'));
}

export const uploads = new Uploads();

/** Uploads of a contact that were cut off before the page was loaded: their names, and how to forget them. */
export function interrupted(contactId) {
  const found = Object.keys(localStorage).filter((key) => key.startsWith(`${STORED}`) && key.includes(contactId));
  const running = new Set(uploads.list.map(({ name }) => name));
  return found.map((key) => {
    const kept = JSON.parse(localStorage.getItem(key) ?? '{}');
    return { key, name: kept.metadata?.filename ?? '' };
  }).filter(({ name }) => name && !running.has(name));
}

export const forgetInterrupted = (list) => list.forEach(({ key }) => localStorage.removeItem(key));
