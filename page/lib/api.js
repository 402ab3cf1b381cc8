// The requests of the page. No other module knows a path of the API.

/**
 * @import {
 *   ApiKey, Attachment, AttachmentJson, AttachmentPageJson, Contact, ContactJson, ContactPageJson, CreatedKey, Delivery,
 *   ErrorJson, FileFilters, LoggedRequest, OpenApi, Operations, Session, UploadUrlJson, Usage, Violation, Webhook
 * } from './types.js'
 */

const OWN = '/dossier/v1';
const CONTRACT = '/contacts/v4/attachments';
/** Items of one page of a list. */
export const PAGE = 200;

/** Why a request failed. */
export class ApiError extends Error {
  /**
   * @param {number} status 0 when there was no response
   * @param {ErrorJson} [body]
   * @param {string | null} [requestId]
   */
  constructor(status, body, requestId) {
    const error = body?.details?.applicationError;
    super(error?.description || body?.message || '');
    this.status = status;
    this.code = error?.code ?? '';
    /** @type {Record<string, unknown>} */
    this.data = error?.data ?? {};
    /** @type {Violation[]} */
    this.violations = body?.details?.validationError?.fieldViolations ?? [];
    this.requestId = requestId ?? '';
  }
}

/** @type {{ session: Session | null, isSigningOut: boolean, endListeners: Set<() => void> }} */
const state = { session: null, isSigningOut: false, endListeners: new Set() };

/** The session of a page that is signed in. Views are only shown then. */
export function session() {
  if (!state.session) throw new Error('nobody is signed in');
  return state.session;
}

/**
 * Calls `listener` when the server has ended the session.
 *
 * @param {() => void} listener
 */
export function onSessionEnd(listener) {
  state.endListeners.add(listener);
  return () => { state.endListeners.delete(listener); };
}

/**
 * Sends a request and returns the JSON of its response, whose shape the caller declares.
 *
 * @template T
 * @param {string} method
 * @param {string} path
 * @param {{ body?: unknown, signal?: AbortSignal, isAboutSession?: boolean }} [options] with `isAboutSession`, a 401 does
 *   not count as the end of the session
 * @returns {Promise<T>}
 */
async function request(method, path, { body, signal, isAboutSession = false } = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (state.session) headers['X-CSRF-Token'] = state.session.csrfToken;
  let response;
  try {
    response = await fetch(path, {
      method, headers, signal: signal ?? null, credentials: 'same-origin', cache: 'no-store',
      body: body === undefined ? null : JSON.stringify(body),
    });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError(0);
  }
  const json = await response.json().catch(() => undefined);
  if (response.ok) return json;
  if (response.status === 401 && state.session && !isAboutSession && !state.isSigningOut) {
    for (const listener of state.endListeners) listener();
  }
  throw new ApiError(response.status, json, response.headers.get('x-wix-request-id'));
}

/**
 * Whether a request was cancelled by its `signal`.
 *
 * @param {unknown} error
 */
export const isAbort = (error) => error instanceof DOMException && error.name === 'AbortError';

/**
 * A link of the server, on the origin of this page: the host name may differ from `public_url`.
 *
 * @template {string | null} Link
 * @param {Link} link
 */
function onThisOrigin(link) {
  const publicUrl = state.session?.server.publicUrl;
  if (!link || !publicUrl || !link.startsWith(publicUrl)) return link;
  return /** @type {Link} */ (`${window.location.origin}/${link.slice(publicUrl.length)}`);
}

// --- Session ---

/** @returns {Promise<Session>} */
export async function currentSession() {
  state.session = await request('GET', `${OWN}/session`, { isAboutSession: true });
  return session();
}

/**
 * @param {{ apiKey: string } | { link: string }} proof
 * @returns {Promise<Session>}
 */
export async function signIn(proof) {
  state.session = await request('POST', `${OWN}/session`, { body: proof, isAboutSession: true });
  return session();
}

/** The page must be reloaded afterwards. Until then views keep the session that they show. */
export async function signOut() {
  state.isSigningOut = true;
  await request('DELETE', `${OWN}/session`);
}

// --- Contacts ---

/**
 * @param {ContactJson} json
 * @returns {Contact}
 */
const contactOf = (json) => ({ ...json, totalBytes: Number(json.totalBytes) });

/**
 * A page of contacts.
 *
 * @param {{ search: string, sort: string, after: string | null, signal: AbortSignal }} options
 */
export async function contacts({ search, sort, after, signal }) {
  const query = new URLSearchParams({ limit: String(PAGE) });
  if (search) query.set('search', search);
  if (sort && sort !== 'id') query.set('sort', sort);
  if (after) query.set('after', after);
  /** @type {ContactPageJson} */
  const json = await request('GET', `${OWN}/contacts?${query}`, { signal });
  return { contacts: json.contacts.map(contactOf), next: json.next };
}

/**
 * A contact. One that the server has no record of is returned without files.
 *
 * @param {string} id
 * @returns {Promise<Contact>}
 */
export async function getContact(id) {
  try {
    /** @type {{ contact: ContactJson }} */
    const json = await request('GET', `${OWN}/contacts/${id}`);
    return contactOf(json.contact);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
    return { id, label: null, attachmentCount: 0, totalBytes: 0, isUnknown: true };
  }
}

/**
 * Creates a contact, or sets the name of an existing one.
 *
 * @param {string} id
 * @param {string} label
 */
export async function putContact(id, label) {
  await request('PUT', `${OWN}/contacts/${id}`, { body: { label: label || null } });
}

// --- Files ---

/**
 * @param {AttachmentJson} json
 * @returns {Attachment}
 */
const attachmentOf = (json) => ({
  ...json, size: Number(json.sizeBytes), url: onThisOrigin(json.url), preview: onThisOrigin(json.previewUrl),
});

/**
 * A page of a contact's files.
 *
 * @param {string} contactId
 * @param {FileFilters & { cursor: string | null, signal: AbortSignal }} options
 * @returns {Promise<{ files: Attachment[], next: string | null, total: number }>}
 */
export async function files(contactId, { search, type, sort, cursor, signal }) {
  const query = new URLSearchParams({ limit: String(PAGE) });
  for (const [name, value] of Object.entries({ search, type, sort, cursor })) if (value) query.set(name, value);
  /** @type {AttachmentPageJson} */
  const json = await request('GET', `${OWN}/contacts/${contactId}/attachments?${query}`, { signal });
  return { files: json.attachments.map(attachmentOf), next: json.next, total: json.total };
}

/**
 * Sets the label and the description of a file; null removes one.
 *
 * @param {string} contactId
 * @param {string} id
 * @param {{ label: string | null, description: string | null }} change
 */
export async function annotateFile(contactId, id, change) {
  /** @type {{ attachment: AttachmentJson }} */
  const json = await request('PATCH', `${OWN}/contacts/${contactId}/attachments/${id}`, { body: change });
  return attachmentOf(json.attachment);
}

/**
 * Deletes up to 100 files in one request.
 *
 * @param {string} contactId
 * @param {string[]} attachmentIds
 * @returns {Promise<{ deleted: string[], notFound: string[] }>}
 */
export const deleteFiles = (contactId, attachmentIds) =>
  request('POST', `${OWN}/contacts/${contactId}/attachments/bulk-delete`, { body: { attachmentIds } });

/**
 * @param {string} contactId
 * @param {string} id
 * @returns {Promise<unknown>}
 */
export const restoreFile = (contactId, id) =>
  request('POST', `${OWN}/contacts/${contactId}/attachments/${id}/restore`);

/** @param {string} contactId */
export const zipUrl = (contactId) => `${OWN}/contacts/${contactId}/zip`;

/** @typedef {{ name: string, type: string, size: number }} UploadFile */

/** @param {UploadFile} file */
const uploadRequest = ({ name, type, size }) => ({ fileName: name, mimeType: type, sizeInBytes: size });

/**
 * The upload URL of one file.
 *
 * @param {string} contactId
 * @param {UploadFile} file
 */
export async function uploadUrl(contactId, file) {
  /** @type {{ uploadUrl: string }} */
  const json = await request('POST', `${CONTRACT}/${contactId}/upload-url`, { body: uploadRequest(file) });
  return onThisOrigin(json.uploadUrl);
}

/**
 * The upload URLs of up to 40 files, with an error in place of each that the server rejects.
 *
 * @param {string} contactId
 * @param {UploadFile[]} uploads
 * @returns {Promise<(string | ApiError)[]>}
 */
export async function uploadUrls(contactId, uploads) {
  /** @type {{ uploads: UploadUrlJson[] }} */
  const json = await request('POST', `${OWN}/contacts/${contactId}/upload-urls`, { body: { files: uploads.map(uploadRequest) } });
  return json.uploads.map((upload) => (upload.error ? new ApiError(400, upload.error) : onThisOrigin(upload.uploadUrl)));
}

// --- Developer and operations ---

export async function webhooks() {
  /** @type {{ webhooks: Webhook[] }} */
  const json = await request('GET', `${OWN}/webhooks`);
  return json.webhooks;
}

/**
 * @param {string} url
 * @returns {Promise<unknown>}
 */
export const addWebhook = (url) => request('POST', `${OWN}/webhooks`, { body: { url } });

/**
 * @param {string} id
 * @param {{ enabled: boolean }} change
 * @returns {Promise<unknown>}
 */
export const changeWebhook = (id, change) => request('PATCH', `${OWN}/webhooks/${id}`, { body: change });

/**
 * @param {string} id
 * @returns {Promise<unknown>}
 */
export const removeWebhook = (id) => request('DELETE', `${OWN}/webhooks/${id}`);

/**
 * Sends a test event. Without a delivery when it was not tried in time.
 *
 * @param {string} id
 */
export async function testWebhook(id) {
  /** @type {{ delivery: Delivery | null }} */
  const json = await request('POST', `${OWN}/webhooks/${id}/test`);
  return json.delivery;
}

/** @param {string} id */
export async function deliveries(id) {
  /** @type {{ deliveries: Delivery[] }} */
  const json = await request('GET', `${OWN}/webhooks/${id}/deliveries?limit=100`);
  return json.deliveries;
}

/**
 * @param {string} id
 * @param {string[]} eventIds
 * @returns {Promise<unknown>}
 */
export const replay = (id, eventIds) => request('POST', `${OWN}/webhooks/${id}/replay`, { body: { eventIds } });

/** @returns {Promise<OpenApi>} */
export const openapi = () => request('GET', `${OWN}/openapi.json`);

export async function keys() {
  /** @type {{ keys: ApiKey[] }} */
  const json = await request('GET', `${OWN}/keys`);
  return json.keys;
}

/**
 * @param {string} name
 * @param {string[]} scopes
 * @returns {Promise<CreatedKey>}
 */
export const addKey = (name, scopes) => request('POST', `${OWN}/keys`, { body: { name, scopes } });

/**
 * @param {string} id
 * @returns {Promise<unknown>}
 */
export const revokeKey = (id) => request('DELETE', `${OWN}/keys/${id}`);

export async function requests() {
  /** @type {{ requests: LoggedRequest[] }} */
  const json = await request('GET', `${OWN}/requests`);
  return json.requests;
}

/** @returns {Promise<Operations>} */
export const operations = () => request('GET', `${OWN}/operations`);

/** @returns {Promise<Usage>} */
export const usage = () => request('GET', `${OWN}/usage`);
