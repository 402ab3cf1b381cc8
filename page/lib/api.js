// What the page asks the server for. Nothing else in the page knows an address.

const OWN = '/dossier/v1';
const CONTRACT = '/contacts/v4/attachments';
/** Files of a page of a list. */
export const PAGE = 200;

/** Why something was not done. */
export class ApiError extends Error {
  /** @param {number} status 0 when the server could not be reached */
  constructor(status, body, requestId) {
    const error = body?.details?.applicationError;
    super(error?.description || body?.message || '');
    this.status = status;
    this.code = error?.code ?? '';
    this.data = error?.data ?? {};
    /** @type {{ field: string, ruleName?: string, description: string, data?: any }[]} */
    this.violations = body?.details?.validationError?.fieldViolations ?? [];
    this.requestId = requestId ?? '';
  }
}

/** Who is signed in, and who wants to know when that ends. */
const state = { session: null, ended: new Set() };

export const session = () => state.session;

/** Calls `listener` when a session has ended by itself. */
export function onSessionEnd(listener) {
  state.ended.add(listener);
  return () => state.ended.delete(listener);
}

async function ask(method, path, body, options = {}) {
  const headers = { Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (state.session) headers['X-CSRF-Token'] = state.session.csrfToken;
  let response;
  try {
    response = await fetch(path, {
      method, headers, signal: options.signal, credentials: 'same-origin', cache: 'no-store',
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (problem) {
    if (problem.name === 'AbortError') throw problem;
    throw new ApiError(0);
  }
  const json = await response.json().catch(() => undefined);
  if (response.ok) return json;
  const error = new ApiError(response.status, json, response.headers.get('x-wix-request-id'));
  if (response.status === 401 && state.session && !options.signingIn) {
    for (const listener of state.ended) listener();
  }
  throw error;
}

/** Links lead to where this page came from, by whatever name that is. */
function here(link) {
  const server = state.session?.server;
  if (!link || !server || !link.startsWith(server.publicUrl)) return link;
  return `${window.location.origin}/${link.slice(server.publicUrl.length)}`;
}

// --- Being signed in ---

export async function currentSession() {
  state.session = await ask('GET', `${OWN}/session`, undefined, { signingIn: true });
  return state.session;
}

/** @param {{ apiKey: string } | { link: string }} proof */
export async function signIn(proof) {
  state.session = await ask('POST', `${OWN}/session`, proof, { signingIn: true });
  return state.session;
}

export async function signOut() {
  await ask('DELETE', `${OWN}/session`, undefined, { signingIn: true });
  state.session = null;
}

// --- Contacts ---

const contact = (json) => ({ ...json, totalBytes: Number(json.totalBytes) });

/** A page of contacts. */
export async function contacts({ search, sort, after, signal }) {
  const query = new URLSearchParams({ limit: String(PAGE) });
  if (search) query.set('search', search);
  if (sort && sort !== 'id') query.set('sort', sort);
  if (after) query.set('after', after);
  const json = await ask('GET', `${OWN}/contacts?${query}`, undefined, { signal });
  return { contacts: json.contacts.map(contact), next: json.next };
}

/** A contact; one that nothing is known of is one without files. */
export async function getContact(id, signal) {
  try {
    return contact((await ask('GET', `${OWN}/contacts/${id}`, undefined, { signal })).contact);
  } catch (error) {
    if (error.status !== 404) throw error;
    return { id, label: null, attachmentCount: 0, totalBytes: 0, isUnknown: true };
  }
}

export async function announce(id, label) {
  return contact((await ask('PUT', `${OWN}/contacts/${id}`, { label: label || null })).contact);
}

// --- Files ---

const file = (json) => ({
  ...json, size: Number(json.sizeBytes), url: here(json.url), preview: here(json.previewUrl),
});

/**
 * A page of a contact's files.
 *
 * @returns {Promise<{ files: any[], next: string | null, total: number }>}
 */
export async function files(contactId, { search, type, sort, cursor, signal }) {
  const query = new URLSearchParams({ limit: String(PAGE) });
  for (const [name, value] of Object.entries({ search, type, sort, cursor })) if (value) query.set(name, value);
  const json = await ask('GET', `${OWN}/contacts/${contactId}/attachments?${query}`, undefined, { signal });
  return { files: json.attachments.map(file), next: json.next, total: json.total };
}

export const describe = async (contactId, id, change) =>
  file((await ask('PATCH', `${OWN}/contacts/${contactId}/attachments/${id}`, change)).attachment);

/**
 * Deletes up to 100 files together.
 *
 * @returns {Promise<{ deleted: string[], notFound: string[] }>}
 */
export const deleteFiles = (contactId, attachmentIds) =>
  ask('POST', `${OWN}/contacts/${contactId}/attachments/bulk-delete`, { attachmentIds });

export const restoreFile = (contactId, id) =>
  ask('POST', `${OWN}/contacts/${contactId}/attachments/${id}/restore`);

export const zipUrl = (contactId) => `${OWN}/contacts/${contactId}/zip`;

/** A signed address for one file, as one that this page reaches. */
export async function uploadUrl(contactId, { name, type, size }) {
  const json = await ask('POST', `${CONTRACT}/${contactId}/upload-url`, wish({ name, type, size }));
  return here(json.uploadUrl);
}

const wish = ({ name, type, size }) => ({ fileName: name, mimeType: type, sizeInBytes: size });

/**
 * Signed addresses for up to 40 files, or for each what is wrong with it.
 *
 * @returns {Promise<(string | ApiError)[]>}
 */
export async function uploadUrls(contactId, files) {
  const json = await ask('POST', `${OWN}/contacts/${contactId}/upload-urls`, { files: files.map(wish) });
  return json.uploads.map(({ uploadUrl, error }) => (error ? new ApiError(400, error) : here(uploadUrl)));
}

// --- For developers and those who run it ---

export const webhooks = async () => (await ask('GET', `${OWN}/webhooks`)).webhooks;
export const addWebhook = async (url) => (await ask('POST', `${OWN}/webhooks`, { url })).webhook;
export const changeWebhook = async (id, change) => (await ask('PATCH', `${OWN}/webhooks/${id}`, change)).webhook;
export const removeWebhook = (id) => ask('DELETE', `${OWN}/webhooks/${id}`);
export const testWebhook = async (id) => (await ask('POST', `${OWN}/webhooks/${id}/test`)).delivery;
export const deliveries = async (id) => (await ask('GET', `${OWN}/webhooks/${id}/deliveries?limit=100`)).deliveries;
export const replay = (id, eventIds) => ask('POST', `${OWN}/webhooks/${id}/replay`, { eventIds });
export const openapi = () => ask('GET', `${OWN}/openapi.json`);
export const keys = async () => (await ask('GET', `${OWN}/keys`)).keys;
export const addKey = (name, scopes) => ask('POST', `${OWN}/keys`, { name, scopes });
export const revokeKey = (id) => ask('DELETE', `${OWN}/keys/${id}`);
export const requests = (after) => ask('GET', `${OWN}/requests${after ? `?after=${after}` : ''}`);
export const operations = () => ask('GET', `${OWN}/operations`);
export const usage = () => ask('GET', `${OWN}/usage`);
