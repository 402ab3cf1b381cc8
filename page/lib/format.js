// How sizes, times and names are written for people.

import { t } from './strings.js';

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB'];

/**
 * A size in words.
 *
 * @param {number | null | undefined} bytes
 */
export function size(bytes) {
  if (bytes === null || bytes === undefined || Number.isNaN(bytes)) return '–';
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < UNITS.length - 1) [value, unit] = [value / 1000, unit + 1];
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toLocaleString(undefined, { maximumFractionDigits: digits })} ${UNITS[unit]}`;
}

export const count = (number) => Number(number).toLocaleString();

/** A span of time in its largest unit. */
export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return t('time.seconds', { n: seconds });
  if (seconds < 5400) return t('time.minutes', { n: Math.round(seconds / 60) });
  if (seconds < 129600) return t('time.hours', { n: Math.round(seconds / 3600) });
  const days = Math.round(seconds / 86400);
  return t('time.days', { count: days, n: days });
}

/** How long ago something was; a date when that is long. */
export function ago(text) {
  if (!text) return '–';
  const ms = Date.now() - Date.parse(text);
  if (ms < 10_000) return t('time.now');
  return ms < 6 * 86_400_000 ? t('time.ago', { time: span(ms) }) : date(text);
}

export function date(text) {
  return text ? new Date(text).toLocaleDateString(undefined, { dateStyle: 'medium' }) : '–';
}

export function dateTime(text) {
  if (!text) return '–';
  return new Date(text).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
}

/** Not seen, or changing how their neighbours are seen: what the server takes out of names in headers. */
const HIDDEN = new RegExp(
  '[\\p{Cc}\\u00AD\\u034F\\u061C\\u115F\\u1160\\u17B4\\u17B5\\u180B-\\u180F\\u200B-\\u200F\\u2028-\\u202E'
  + '\\u2060-\\u206F\\u3164\\uFE00-\\uFE0F\\uFEFF\\uFFA0\\uFFF0-\\uFFFB\\p{Co}\\p{Cn}\\p{Cs}\\u{E0000}-\\u{E0FFF}]',
  'gu',
);
/** A variation selector and a joiner between emoji are how emoji are written. */
const EMOJI = /\p{Extended_Pictographic}(?:\uFE0F|\u200D\p{Extended_Pictographic}|\p{Emoji_Modifier})*/gu;

/**
 * A name cut into what is shown as it is and what is shown as a code (S14).
 *
 * @param {string} name
 * @returns {{ text: string, code: boolean }[]}
 */
export function nameParts(name) {
  const parts = [];
  const add = (text, code) => {
    const last = parts.at(-1);
    if (last && !code && !last.code) last.text += text;
    else if (text) parts.push({ text, code });
  };
  const plain = (text) => {
    let from = 0;
    for (const found of text.matchAll(HIDDEN)) {
      add(text.slice(from, found.index), false);
      add(`U+${found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}`, true);
      from = found.index + found[0].length;
    }
    add(text.slice(from), false);
  };
  let from = 0;
  for (const found of name.matchAll(EMOJI)) {
    plain(name.slice(from, found.index));
    add(found[0], false);
    from = found.index + found[0].length;
  }
  const end = name.slice(from);
  const trimmed = end.replace(/[\s.]+$/u, '');
  plain(trimmed);
  // What a system that saves the file would drop, so that the ending is not what it seems.
  for (const character of end.slice(trimmed.length)) {
    add(character === '.' ? '.' : `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}`,
      character !== '.');
  }
  return parts;
}

/** The same as one text, for labels that are read aloud. */
export const plainName = (name) =>
  nameParts(name).map(({ text, code }) => (code ? `[${text}]` : text)).join('');

export const isSuspicious = (name) => nameParts(name).some(({ code }) => code);

/** How a contact is called. */
export const contactName = (contact) => (contact.label ? plainName(contact.label) : null);
