// Kinds of files: what the browser does not know of a file by itself, and what people call it.

/** Types by ending, where browsers often have none. */
const BY_ENDING = {
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
};

/** @param {string} name */
export const ending = (name) => {
  const dot = name.lastIndexOf('.');
  return dot > 0 ? name.slice(dot + 1).toLowerCase() : '';
};

/**
 * The media type that a file is announced with.
 *
 * @param {{ name: string, type: string }} file
 */
export function mediaType(file) {
  const known = BY_ENDING[ending(file.name)];
  return known ?? (file.type || 'application/octet-stream');
}

/** What people call a media type: the same words as the server's filter. */
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

/** For the filter, in the order in which they are offered. */
export const KINDS = ['image', 'pdf', 'document', 'spreadsheet', 'text', 'audio', 'video', 'archive', 'other'];
