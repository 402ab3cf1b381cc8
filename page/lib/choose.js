// Files that people give: dropped, with whole folders; pasted; chosen.

/** Files of one drop or folder at most. */
export const MOST = 10_000;

function read(entry) {
  return new Promise((resolve, reject) => { entry.file(resolve, reject); });
}

function entriesOf(reader) {
  return new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
}

/** What systems and programs leave in folders, and nobody means to add. */
const isLeftover = (name) => name.startsWith('.') || name === 'Thumbs.db';

/** The files below a folder, one more than the most at most. What the browser may not read is passed over. */
async function walk(entry, found) {
  if (found.length > MOST || isLeftover(entry.name)) return;
  if (entry.isFile) {
    found.push({ file: await read(entry) });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await entriesOf(reader).catch(() => []);
    if (some.length === 0) return;
    for (const one of some) await walk(one, found).catch(() => undefined);
  }
}

/**
 * What was dropped. Must be called while the event is being handled.
 *
 * @param {DataTransfer} transfer
 * @returns {Promise<{ file: File, name?: string }[]>} may be more than {@link MOST}
 */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files].map((file) => ({ file }));
  const found = [];
  for (const entry of entries) {
    if (entry.isFile) found.push({ file: await read(entry) });
    else await walk(entry, found);
  }
  return found;
}

/** The files of a folder that was chosen; may be more than {@link MOST}. */
export function ofFolder(files) {
  const kept = [...files].filter((file) => !file.webkitRelativePath.split('/').slice(1).some(isLeftover));
  return kept.map((file) => ({ file }));
}

/** What was pasted; a picture without a name of its own gets one with the time. */
export function pasted(transfer) {
  return [...transfer.files].map((file) => {
    if (file.name && file.name !== 'image.png') return { file };
    const time = new Date().toISOString().slice(0, 19).replace('T', ' ').replaceAll(':', '.');
    return { file, name: `${time}.${file.type.split('/')[1] ?? 'png'}` };
  });
}

export const hasFiles = (transfer) => [...(transfer?.types ?? [])].includes('Files');
