// The shapes of the API's JSON, and the types of files.

/**
 * @typedef {'viewer' | 'editor' | 'admin'} Role
 * @typedef {'image' | 'pdf' | 'document' | 'spreadsheet' | 'text' | 'audio' | 'video' | 'archive' | 'other'} Kind
 *
 * Times are RFC 3339 texts. Sizes that may exceed 2^53 are decimal texts.
 *
 * @typedef {{
 *   site: { id: string, name: string }, role: Role, key: { id: string, name: string }, csrfToken: string, expiresAt: string,
 *   server: { version: string, publicUrl: string, mediaUrl: string, uploadMaxBytes: number, trashDays: number },
 * }} Session
 *
 * @typedef {{
 *   id: string, state: 'ACTIVE' | 'TRASHED', label: string | null, announcedDate: string | null,
 *   attachmentCount: number, totalBytes: string, lastActivityAt: string,
 * }} ContactJson
 * @typedef {{ contacts: ContactJson[], next: string | null }} ContactPageJson
 *
 * @typedef {{
 *   id: string, fileName: string, mimeType: string, type: Kind, sizeBytes: string, width: number | null,
 *   height: number | null, createdAt: string, sha256: string, label: string | null, description: string | null,
 *   url: string, previewUrl: string | null, linksExpireAt: string,
 * }} AttachmentJson
 * @typedef {{ attachments: AttachmentJson[], next: string | null, total: number }} AttachmentPageJson
 *
 * @typedef {{ field: string, description: string, violatedRule: string, ruleName?: string, data?: Record<string, unknown> }} Violation
 * @typedef {{
 *   message?: string,
 *   details?: {
 *     applicationError?: { code: string, description: string, data?: Record<string, unknown> },
 *     validationError?: { fieldViolations: Violation[] },
 *   },
 * }} ErrorJson
 *
 * @typedef {{ uploadUrl: string, error?: undefined } | { error: ErrorJson, uploadUrl?: undefined }} UploadUrlJson
 *
 * @typedef {{ id: string, url: string, eventTypes: string[], enabled: boolean, failuresInARow: number, createdDate: string }} Webhook
 * @typedef {{
 *   attempt: number, startedDate: string, milliseconds: number, status: number | null, problem: string | null, response: string,
 * }} Attempt
 * @typedef {{
 *   eventId: string, eventType: string, contactId: string, attachmentId: string, eventTime: string,
 *   state: 'pending' | 'delivered' | 'dead', attempts: Attempt[], nextAttempt?: string,
 * }} Delivery
 *
 * @typedef {{
 *   id: string, name: string, scopes: string[], role: Role | null, createdAt: string, revokedAt: string | null,
 * }} ApiKey
 * @typedef {{ key: ApiKey, apiKey: string }} CreatedKey
 *
 * @typedef {{
 *   seq: number, at: string, method: string, route: string, status: number, durationMs: number, scope: string | null, keyName: string,
 * }} LoggedRequest
 *
 * Quotas that are null are unlimited.
 *
 * @typedef {{
 *   site: {
 *     siteId: string, name: string, attachmentCount: number, totalBytes: string,
 *     quotas: { maxFiles: number | null, maxBytes: string | null, contactMaxFiles: number | null, contactMaxBytes: string | null },
 *   },
 * }} Usage
 * @typedef {{
 *   server: { version: string, database: string, storage: string, state: 'ok' | 'read-only', problems: string[] },
 *   queues: { uploadsUnderWay: number, webhooksToDeliver: number, filesToRemove: number },
 *   trash: { files: number, days: number },
 *   scrub: { damagedFiles: number, roundBeganAt: string | null, roundEndedAt: string | null, filesReadInRound: number },
 *   backup: { lastBackupOf: string | null, files: number | null, bytes: number | null },
 *   check: { lastEndedAt: string | null, findings: number | null, everyFileRead: boolean | null },
 * }} Operations
 *
 * What the page reads of an OpenAPI description.
 *
 * @typedef {{ $ref?: string, name?: string, in?: string, description?: string }} Reference a value, or a `$ref` to one
 * @typedef {{
 *   operationId?: string, summary: string, description?: string, tags: string[], 'x-scope'?: string, parameters?: Reference[],
 *   requestBody?: { content?: Record<string, { example?: unknown }> }, responses: Record<string, Reference>,
 * }} OpenApiOperation
 * @typedef {Record<string, OpenApiOperation | Reference[]> & { parameters?: Reference[] }} OpenApiPath
 * @typedef {{ paths: Record<string, OpenApiPath>, tags: { name: string, description?: string }[] }} OpenApi
 */

/**
 * A contact with its size as a number. `isUnknown` marks one that the server has no record of.
 *
 * @typedef {{ id: string, label: string | null, attachmentCount: number, totalBytes: number, lastActivityAt?: string, isUnknown?: boolean }} Contact
 */
/**
 * A stored file with its size as a number and links that this page can open.
 *
 * @typedef {AttachmentJson & { size: number, preview: string | null }} Attachment
 */
/**
 * The search, type and order of a list of files, as in the URL of the page. Empty texts are unset.
 *
 * @typedef {{ search: string, type: string, sort: string }} FileFilters
 */

/**
 * Media types by file extension, for files whose type the browser does not know.
 *
 * @type {Map<string, string>}
 */
const BY_EXTENSION = new Map(Object.entries({
  csv: 'text/csv', doc: 'application/msword', xls: 'application/vnd.ms-excel',
  ppt: 'application/vnd.ms-powerpoint', pdf: 'application/pdf',
  docx: 'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
  dotx: 'application/vnd.openxmlformats-officedocument.wordprocessingml.template',
  xlsx: 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
  xltx: 'application/vnd.openxmlformats-officedocument.spreadsheetml.template',
  pptx: 'application/vnd.openxmlformats-officedocument.presentationml.presentation',
  potx: 'application/vnd.openxmlformats-officedocument.presentationml.template',
  ppsx: 'application/vnd.openxmlformats-officedocument.presentationml.slideshow',
  jpg: 'image/jpeg', jpeg: 'image/jpeg', jpe: 'image/jpeg', jfif: 'image/jpeg', png: 'image/png',
  gif: 'image/gif', heic: 'image/heic', heif: 'image/heif', avif: 'image/avif', jxl: 'image/jxl',
  txt: 'text/plain', zip: 'application/zip', mp3: 'audio/mpeg', mp4: 'video/mp4',
}));

/**
 * The extension of a name in lower case, without the dot; empty without one.
 *
 * @param {string} name
 */
export const extension = (name) => {
  const dot = name.lastIndexOf('.');
  return dot > 0 ? name.slice(dot + 1).toLowerCase() : '';
};

/**
 * The media type that an upload declares.
 *
 * @param {{ name: string, type: string }} file
 */
export function mediaType(file) {
  return BY_EXTENSION.get(extension(file.name)) ?? (file.type || 'application/octet-stream');
}

/**
 * The kind of a media type, as the server's `type` filter names it.
 *
 * @param {string} type
 * @returns {Kind}
 */
export function kindOf(type) {
  if (type.startsWith('image/')) return 'image';
  if (type === 'application/pdf') return 'pdf';
  if (type.startsWith('audio/')) return 'audio';
  if (type.startsWith('video/')) return 'video';
  if (/sheet|excel|csv/.test(type)) return 'spreadsheet';
  if (/word|presentation|powerpoint|slideshow/.test(type)) return 'document';
  if (/zip|compressed|tar/.test(type)) return 'archive';
  return type.startsWith('text/') ? 'text' : 'other';
}

/**
 * All kinds, in the order of the filter.
 *
 * @type {Kind[]}
 */
export const KINDS = ['image', 'pdf', 'document', 'spreadsheet', 'text', 'audio', 'video', 'archive', 'other'];
