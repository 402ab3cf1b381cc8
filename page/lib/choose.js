// The files that people add: dropped (with whole folders), pasted or chosen.

/** @typedef {{ file: File, name?: string }} NewFile a file to upload, under another name if given */

/** Most files of one drop or folder. */
export const MAX_FILES = 10_000;

/**
 * @param {FileSystemFileEntry} entry
 * @returns {Promise<File>}
 */
const read = (entry) => new Promise((resolve, reject) => { entry.file(resolve, reject); });

/**
 * The next entries of a folder; empty after the last.
 *
 * @param {FileSystemDirectoryReader} reader
 * @returns {Promise<FileSystemEntry[]>}
 */
const nextEntries = (reader) => new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });

/**
 * Files that operating systems and programs create in folders, and that nobody means to add.
 *
 * @param {string} name
 */
const isSystemFile = (name) => name.startsWith('.') || name === 'Thumbs.db';

/** @param {FileSystemEntry} entry @returns {entry is FileSystemFileEntry} */
const isFile = (entry) => entry.isFile;
/** @param {FileSystemEntry} entry @returns {entry is FileSystemDirectoryEntry} */
const isFolder = (entry) => entry.isDirectory;

/**
 * Collects the files below an entry, at most one more than {@link MAX_FILES}. What the browser may not read is skipped.
 *
 * @param {FileSystemEntry} entry
 * @param {NewFile[]} found
 */
async function walk(entry, found) {
  if (found.length > MAX_FILES || isSystemFile(entry.name)) return;
  if (isFile(entry)) found.push({ file: await read(entry) });
  if (!isFolder(entry)) return;
  const reader = entry.createReader();
  for (;;) {
    const entries = await nextEntries(reader).catch(() => []);
    if (entries.length === 0) return;
    for (const child of entries) await walk(child, found).catch(() => undefined);
  }
}

/**
 * The dropped files. Must be called while the event is handled: the transfer is empty afterwards.
 *
 * @param {DataTransfer} transfer
 * @returns {Promise<NewFile[]>} may be more than {@link MAX_FILES}
 */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (!entries.some(isFolder)) return [...transfer.files].map((file) => ({ file }));
  /** @type {NewFile[]} */
  const found = [];
  for (const entry of entries) {
    // A file that was dropped by itself is meant, whatever its name.
    if (isFile(entry)) await read(entry).then((file) => found.push({ file }), () => undefined);
    else await walk(entry, found);
  }
  return found;
}

/**
 * The files of a chosen folder; may be more than {@link MAX_FILES}.
 *
 * @param {Iterable<File>} files
 */
export function folderFiles(files) {
  const wanted = [...files].filter((file) => !file.webkitRelativePath.split('/').slice(1).some(isSystemFile));
  return wanted.map((file) => ({ file }));
}

/**
 * The pasted files. An image that the browser named `image.png` gets the time as its name.
 *
 * @param {DataTransfer} transfer
 * @returns {NewFile[]}
 */
export function pastedFiles(transfer) {
  return [...transfer.files].map((file) => {
    if (file.name && file.name !== 'image.png') return { file };
    const time = new Date().toISOString().slice(0, 19).replace('T', ' ').replaceAll(':', '.');
    return { file, name: `${time}.${file.type.split('/')[1] ?? 'png'}` };
  });
}

/**
 * @param {DataTransfer | null} transfer
 * @returns {transfer is DataTransfer}
 */
export const hasFiles = (transfer) => transfer?.types.includes('Files') ?? false;
