// Uploads a small file with one PUT. Its upload URL accepts the same bytes again without creating a duplicate, so the
// request is repeated when the response was lost.

/** @import { ErrorJson } from './types.js' */

import { ApiError } from './api.js';

/** Up to this size the progress is not reported: the request is over before anybody could read it. */
const NO_PROGRESS = 64 * 1024;

/**
 * @typedef {{ onProgress: (sent: number) => void, onSuccess: () => void, onError: (error: Error) => void }} Callbacks
 * @typedef {Callbacks & { type: string, retryDelays: number[], isTransient: (status: number) => boolean }} Options
 */

/** The transfer of one file to its upload URL. */
export class SinglePut {
  /** The server keeps nothing of an incomplete PUT that would have to be terminated. */
  url = null;
  #control = new AbortController();
  #file;
  #uploadUrl;
  #options;

  /**
   * @param {File} file
   * @param {string} uploadUrl
   * @param {Options} options
   */
  constructor(file, uploadUrl, options) {
    this.#file = file;
    this.#uploadUrl = uploadUrl;
    this.#options = options;
  }

  async start() {
    const { onSuccess, onError } = this.#options;
    try {
      await this.#send();
    } catch (error) {
      if (!this.#isAborted()) onError(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    if (!this.#isAborted()) onSuccess();
  }

  async abort() {
    this.#control.abort();
  }

  #isAborted() {
    return this.#control.signal.aborted;
  }

  async #send() {
    // Read before sending: a failed request would not tell an unreadable file from a lost network.
    const body = await this.#file.arrayBuffer();
    const { retryDelays, isTransient } = this.#options;
    for (const delay of [...retryDelays, null]) {
      if (this.#isAborted()) return;
      try {
        await this.#put(body);
        return;
      } catch (error) {
        if (delay === null || !(error instanceof ApiError) || !isTransient(error.status)) throw error;
        await new Promise((resolve) => { setTimeout(resolve, delay); });
      }
    }
  }

  /**
   * @param {ArrayBuffer} body
   * @returns {Promise<void>}
   */
  #put(body) {
    const { type, onProgress } = this.#options;
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open('PUT', this.#uploadUrl);
      request.setRequestHeader('Content-Type', type);
      if (body.byteLength > NO_PROGRESS) request.upload.onprogress = ({ loaded }) => onProgress(loaded);
      request.onload = () => {
        if (request.status < 300) resolve();
        else reject(new ApiError(request.status, errorJson(request.responseText), request.getResponseHeader('x-wix-request-id')));
      };
      request.onerror = () => reject(new ApiError(0));
      request.onabort = request.onerror;
      this.#control.signal.addEventListener('abort', () => request.abort());
      request.send(body);
    });
  }
}

/**
 * The body of an error response; undefined when it is not JSON.
 *
 * @param {string} text
 * @returns {ErrorJson | undefined}
 */
export function errorJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
