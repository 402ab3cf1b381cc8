// Uploads files, several at once: small ones with one PUT, larger ones resumably (tus). Does not know how they are shown.

/**
 * @import { NewFile } from './choose.js'
 * @import { Callbacks } from './whole.js'
 * @typedef {import('../vendor/tus.js').DetailedError} DetailedError
 */

import * as api from './api.js';
import { ApiError } from './api.js';
import { mediaType } from './types.js';
import { SinglePut, errorJson } from './whole.js';

/** Concurrent uploads: two fewer than the connections that browsers open to one host. */
const AT_ONCE = 4;
/** How many of them may be large. */
const LARGE_AT_ONCE = 2;
/** Up to this size a file is sent with one PUT: starting again costs less than keeping an offset. */
const SINGLE_PUT = 1024 * 1024;
/** Small files whose upload URLs are requested together. */
const URL_BATCH = 32;
/** Largest chunk of a resumable upload: what a request that a proxy cuts off can lose. */
const CHUNK = 64 * 1024 * 1024;
/** Pauses before a failed request is repeated, in milliseconds. After the last one the network counts as lost. */
const RETRY_DELAYS = [0, 500, 2000];
/** Statuses that may change by themselves; 0 is no response. */
const TRANSIENT = [0, 429, 500, 502, 503, 504];
/** How often offline uploads are tried again, in milliseconds, besides the browser's `online` event. */
const PROBE_MS = 5000;
/** An upload without progress for this long counts as cut off, in milliseconds. */
const STALLED_MS = 45_000;
/** The window over which the speed is averaged, in milliseconds. */
const SPEED_WINDOW_MS = 4000;
/** A speed is shown once the window covers this long, in milliseconds. */
const SPEED_MIN_MS = 400;
/** Prefix of tus-js-client's keys in the local storage, which our fingerprint follows. */
const TUS_PREFIX = 'tus::';
const FINGERPRINT_PREFIX = 'dossier--';

/**
 * A running transfer, of `SinglePut` or tus-js-client.
 *
 * @typedef {{ url: string | null, abort: (terminate?: boolean) => Promise<void> }} Transfer
 * @typedef {Transfer & { start: () => void }} StartableTransfer
 */
/**
 * `problem` names a reason that was found without the server, else `error` has the server's.
 *
 * @typedef {'waiting' | 'starting' | 'running' | 'paused' | 'offline' | 'signedOut' | 'rejected' | 'done'} State
 * @typedef {'' | 'empty' | 'tooLarge' | 'name' | 'unreadable'} Problem
 */
/**
 * @typedef {{
 *   id: number, contactId: string, file: File, name: string, size: number, type: string, state: State, sent: number,
 *   speed: number | null, error: ApiError | null, problem: Problem, samples: { at: number, sent: number }[], movedAt: number,
 *   uploadUrl: string | null, transfer: Transfer | null,
 * }} Upload `movedAt` is the time of the last progress; `transfer` stays while paused, so that it can be terminated
 */

/** @param {Upload} upload */
const isLarge = ({ size }) => size > SINGLE_PUT;

class Uploads extends EventTarget {
  /** @type {Upload[]} */
  list = [];
  #lastId = 0;
  /** @type {Map<number, Transfer>} */
  #running = new Map();
  /**
   * Requested upload URLs that were not used yet, by upload.
   *
   * @type {Map<number, Promise<string>>}
   */
  #urls = new Map();
  #probe = 0;

  constructor() {
    super();
    window.addEventListener('online', () => this.#retry('offline'));
    window.addEventListener('offline', () => this.#cutOff(() => true));
    setInterval(() => {
      const now = performance.now();
      this.#cutOff(({ state, movedAt }) => state === 'running' && now - movedAt > STALLED_MS);
    }, PROBE_MS);
    window.addEventListener('beforeunload', (event) => {
      if (this.isBusy()) event.preventDefault();
    });
  }

  isBusy() {
    return this.list.some(({ state }) => ['waiting', 'starting', 'running', 'offline', 'signedOut'].includes(state));
  }

  /**
   * Adds files of a contact and starts uploading them.
   *
   * @param {string} contactId
   * @param {NewFile[]} files
   */
  add(contactId, files) {
    const added = files.map(({ file, name = file.name }) => {
      const problem = problemOf(name, file.size);
      /** @type {Upload} */
      const upload = {
        id: (this.#lastId += 1), contactId, file, name, size: file.size, type: mediaType({ name, type: file.type }),
        state: problem ? 'rejected' : 'waiting', sent: 0, speed: null, error: null, problem, samples: [], movedAt: 0,
        uploadUrl: null, transfer: null,
      };
      return upload;
    });
    this.list = [...this.list, ...added];
    this.#pump();
  }

  /** @param {Upload} upload */
  pause(upload) {
    this.#running.get(upload.id)?.abort();
    this.#running.delete(upload.id);
    this.#set(upload, { state: 'paused', speed: null });
    this.#pump();
  }

  /** @param {Upload} upload */
  resume(upload) {
    this.#set(upload, { state: 'waiting', error: null, problem: '', samples: [] });
    this.#pump();
  }

  /**
   * Ends an upload, also at the server.
   *
   * @param {Upload} upload
   */
  cancel(upload) {
    const transfer = this.#running.get(upload.id) ?? upload.transfer;
    this.#running.delete(upload.id);
    this.#urls.delete(upload.id);
    // Where it cannot be terminated it expires.
    transfer?.abort(transfer.url !== null).catch(() => undefined);
    this.list = this.list.filter((other) => other !== upload);
    this.#pump();
  }

  /** @param {Upload} upload */
  dismiss(upload) {
    this.list = this.list.filter((other) => other !== upload);
    this.#changed();
  }

  clearFinished() {
    this.list = this.list.filter(({ state }) => !['done', 'rejected'].includes(state));
    this.#changed();
  }

  /** Continues uploads whose session had ended. */
  signedIn() {
    this.#retry('signedOut');
  }

  /**
   * Aborts requests without progress: browsers would wait for them for minutes.
   *
   * @param {(upload: Upload) => boolean} isCutOff
   */
  #cutOff(isCutOff) {
    const cut = this.list.filter((upload) => this.#running.has(upload.id) && isCutOff(upload));
    for (const upload of cut) {
      this.#running.get(upload.id)?.abort();
      this.#running.delete(upload.id);
      upload.state = 'offline';
      upload.speed = null;
    }
    if (cut.length > 0) this.#pump();
  }

  /** @param {State} state */
  #retry(state) {
    for (const upload of this.list) if (upload.state === state) upload.state = 'waiting';
    this.#pump();
  }

  /**
   * @param {Upload} upload
   * @param {Partial<Upload>} change
   */
  #set(upload, change) {
    Object.assign(upload, change);
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }

  /** Starts waiting uploads while there is room. */
  #pump() {
    for (const upload of this.list) {
      if (this.#running.size >= AT_ONCE) break;
      const isBlocked = isLarge(upload) && this.#largeRunning() >= LARGE_AT_ONCE;
      if (upload.state === 'waiting' && !isBlocked) this.#start(upload);
    }
    const isOffline = this.list.some(({ state }) => state === 'offline');
    if (isOffline && !this.#probe) this.#probe = window.setInterval(() => this.#retry('offline'), PROBE_MS);
    if (!isOffline && this.#probe) {
      clearInterval(this.#probe);
      this.#probe = 0;
    }
    this.#changed();
  }

  #largeRunning() {
    return this.list.filter((upload) => isLarge(upload) && this.#running.has(upload.id)).length;
  }

  /** @param {Upload} upload */
  async #start(upload) {
    upload.state = 'starting';
    upload.samples = [];
    // Holds the place of the transfer, so that it can be aborted before there is one.
    let isAborted = false;
    this.#running.set(upload.id, { url: null, abort: async () => { isAborted = true; } });
    try {
      const transfer = await (isLarge(upload) ? this.#resumable(upload) : this.#singlePut(upload));
      if (isAborted) return;
      this.#running.set(upload.id, transfer);
      transfer.start();
      this.#set(upload, { state: 'running', transfer, movedAt: performance.now() });
    } catch (error) {
      if (!isAborted) this.#failed(upload, error);
    }
  }

  /**
   * @param {Upload} upload
   * @returns {Promise<StartableTransfer>}
   */
  async #singlePut(upload) {
    upload.uploadUrl ??= await this.#takeUrl(upload);
    return new SinglePut(upload.file, upload.uploadUrl, {
      type: upload.type, retryDelays: RETRY_DELAYS, isTransient: (status) => TRANSIENT.includes(status), ...this.#callbacks(upload),
    });
  }

  /**
   * The upload URL of a small file. Those of the next small files are requested with it.
   *
   * @param {Upload} upload
   */
  async #takeUrl(upload) {
    const url = this.#urls.get(upload.id) ?? this.#requestUrls(upload);
    this.#urls.delete(upload.id);
    return url;
  }

  /**
   * @param {Upload} first
   * @returns {Promise<string>} the URL of `first`
   */
  #requestUrls(first) {
    /** @param {Upload} upload */
    const isNext = (upload) => upload !== first && upload.state === 'waiting' && upload.contactId === first.contactId
      && !isLarge(upload) && !upload.uploadUrl && !this.#urls.has(upload.id);
    const next = this.list.filter(isNext).slice(0, URL_BATCH - 1);
    const response = api.uploadUrls(first.contactId, [first, ...next]);
    // After a failed request, each upload requests again when its turn comes.
    response.catch(() => next.forEach(({ id }) => this.#urls.delete(id)));
    /** @param {number} index */
    const urlAt = async (index) => {
      const url = (await response)[index];
      if (typeof url !== 'string') throw url ?? new ApiError(0);
      return url;
    };
    next.forEach(({ id }, index) => {
      const url = urlAt(index + 1);
      // A rejection waits like a URL until the upload's turn. It is handled there.
      url.catch(() => undefined);
      this.#urls.set(id, url);
    });
    return urlAt(0);
  }

  /**
   * @param {Upload} upload
   * @returns {Promise<StartableTransfer>}
   */
  async #resumable(upload) {
    const [uploadUrl, tus] = await Promise.all([api.uploadUrl(upload.contactId, upload), loadTus()]);
    const url = new URL(uploadUrl);
    const endpoint = new URL('/upload/tus', url).href;
    const token = url.pathname.slice(url.pathname.lastIndexOf('/') + 1);
    const transfer = new tus.Upload(upload.file, {
      endpoint, metadata: { filename: upload.name, filetype: upload.type, token },
      chunkSize: CHUNK, retryDelays: RETRY_DELAYS, removeFingerprintOnSuccess: true,
      fingerprint: async (file) =>
        `${FINGERPRINT_PREFIX}${[upload.contactId, upload.size, file.lastModified, upload.name].join('-')}`,
      onShouldRetry: (error) => [...TRANSIENT, 409, 423].includes(tusStatus(error)),
      ...this.#callbacks(upload),
    });
    const [previous] = await transfer.findPreviousUploads();
    if (previous) transfer.resumeFromPreviousUpload(previous);
    return transfer;
  }

  /**
   * @param {Upload} upload
   * @returns {Callbacks}
   */
  #callbacks(upload) {
    return {
      onProgress: (sent) => this.#progress(upload, sent),
      onSuccess: () => this.#done(upload),
      onError: (error) => this.#failed(upload, error),
    };
  }

  /**
   * @param {Upload} upload
   * @param {number} sent
   */
  #progress(upload, sent) {
    // An aborted transfer may still report.
    if (!this.#running.has(upload.id)) return;
    const now = performance.now();
    upload.samples = [...upload.samples.filter(({ at }) => now - at < SPEED_WINDOW_MS), { at: now, sent }];
    const [oldest = { at: now, sent }] = upload.samples;
    const elapsed = now - oldest.at;
    const speed = elapsed > SPEED_MIN_MS ? ((sent - oldest.sent) / elapsed) * 1000 : upload.speed;
    this.#set(upload, { sent, speed, state: 'running', movedAt: now });
  }

  /** @param {Upload} upload */
  #done(upload) {
    this.#running.delete(upload.id);
    this.#set(upload, { state: 'done', sent: upload.size, speed: null, transfer: null });
    this.dispatchEvent(new CustomEvent('added', { detail: { contactId: upload.contactId } }));
    this.#pump();
  }

  /**
   * @param {Upload} upload
   * @param {unknown} error
   */
  #failed(upload, error) {
    this.#running.delete(upload.id);
    const failure = error instanceof ApiError ? error : tusFailure(error);
    if (!failure) this.#set(upload, { state: 'rejected', problem: 'unreadable', speed: null });
    else if (failure.status === 401) this.#set(upload, { state: 'signedOut', speed: null });
    else if (failure.status === 0 || failure.status === 429 || failure.status >= 502) this.#set(upload, { state: 'offline', speed: null });
    else this.#set(upload, { state: 'rejected', error: failure, speed: null, uploadUrl: null });
    this.#pump();
  }
}

/**
 * What an upload would be rejected for, found without a request; empty if nothing.
 *
 * @param {string} name
 * @param {number} size
 * @returns {Problem}
 */
function problemOf(name, size) {
  if (size === 0) return 'empty';
  if (size > api.session().server.uploadMaxBytes) return 'tooLarge';
  return [...name].length > 260 ? 'name' : '';
}

/** tus-js-client, loaded with the first large file. */
const loadTus = () => import('../vendor/tus.js').catch(() => {
  // The import fails for want of the network, which says nothing against the file.
  throw new ApiError(0);
});

/**
 * The status of an error of tus-js-client; 0 without a response.
 *
 * @param {DetailedError} error
 */
const tusStatus = (error) => error.originalResponse?.getStatus() ?? 0;

/**
 * A failed request of tus-js-client; null for an error before any request, such as an unreadable file.
 *
 * @param {unknown} error
 */
function tusFailure(error) {
  if (!(error instanceof Error) || !('originalRequest' in error) || !error.originalRequest) return null;
  const failed = /** @type {DetailedError} */ (error);
  const response = failed.originalResponse;
  return new ApiError(tusStatus(failed), response ? errorJson(response.getBody()) : undefined, response?.getHeader('x-wix-request-id'));
}

export const uploads = new Uploads();

/** @typedef {{ key: string, name: string }} InterruptedUpload an upload in the local storage, by its key */

/**
 * Uploads of a contact that were interrupted before the page was loaded.
 *
 * @param {string} contactId
 * @returns {InterruptedUpload[]}
 */
export function interruptedUploads(contactId) {
  const prefix = `${TUS_PREFIX}${FINGERPRINT_PREFIX}${contactId}`;
  const running = new Set(uploads.list.map(({ name }) => name));
  return Object.keys(localStorage).filter((key) => key.startsWith(prefix)).map((key) => {
    const { metadata } = JSON.parse(localStorage.getItem(key) ?? '{}');
    return { key, name: String(metadata?.filename ?? '') };
  }).filter(({ name }) => name && !running.has(name));
}

/** @param {InterruptedUpload[]} list */
export const discardInterrupted = (list) => list.forEach(({ key }) => localStorage.removeItem(key));
