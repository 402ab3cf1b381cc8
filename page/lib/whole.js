// A small file, sent whole by one PUT. The upload URL takes the same bytes again and makes nothing twice of them,
// so it is kept and used again when nobody knows whether the first time had arrived.

import { ApiError } from './api.js';

/** Files up to this size are sent before anybody could read how far they are. */
const AT_A_STROKE = 64 * 1024;

/** Sends the bytes of one file to an upload URL. */
export class Whole {
  /** Nothing of it is left at the server that somebody would have to end. */
  url = null;
  #control = new AbortController();
  #file;
  #to;
  #options;

  /**
   * @param {File} file
   * @param {string} to an upload URL
   * @param {{ type: string, retryDelays: number[], mayPass: (status: number) => boolean,
   *   onProgress: (sent: number) => void, onSuccess: () => void, onError: (error: Error) => void }} options
   */
  constructor(file, to, options) {
    this.#file = file;
    this.#to = to;
    this.#options = options;
  }

  async start() {
    const { onSuccess, onError } = this.#options;
    try {
      await this.#send();
    } catch (error) {
      if (!this.#isGone()) onError(error);
      return;
    }
    if (!this.#isGone()) onSuccess();
  }

  async abort() {
    this.#control.abort();
  }

  #isGone() {
    return this.#control.signal.aborted;
  }

  async #send() {
    // Read here: a request could not tell a file that cannot be read from a network that is away.
    const body = await this.#file.arrayBuffer();
    const { retryDelays, mayPass } = this.#options;
    for (const delay of [...retryDelays, null]) {
      if (this.#isGone()) return;
      try {
        await this.#put(body);
        return;
      } catch (error) {
        if (delay === null || !mayPass(error.status)) throw error;
        await new Promise((resolve) => { setTimeout(resolve, delay); });
      }
    }
  }

  #put(body) {
    const { type, onProgress } = this.#options;
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open('PUT', this.#to);
      request.setRequestHeader('Content-Type', type);
      if (body.byteLength > AT_A_STROKE) request.upload.onprogress = ({ loaded }) => onProgress(loaded);
      request.onload = () => {
        if (request.status < 300) resolve();
        else reject(new ApiError(request.status, parsed(request.responseText), request.getResponseHeader('x-wix-request-id')));
      };
      request.onerror = () => reject(new ApiError(0));
      request.onabort = request.onerror;
      this.#control.signal.addEventListener('abort', () => request.abort());
      request.send(body);
    });
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
