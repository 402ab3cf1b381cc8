// Formats sizes, times and names for people.

/** @import { Contact } from './types.js' */

import { t } from './strings.js';

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB'];

/**
 * A size in decimal units.
 *
 * @param {number | null | undefined} bytes
 */
export function size(bytes) {
  if (bytes === null || bytes === undefined || Number.isNaN(bytes)) return '–';
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) [value, unit] = [value / 1000, unit + 1];
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toLocaleString(undefined, { maximumFractionDigits: digits })} ${UNITS[unit]}`;
}

/** @param {number} number */
export const count = (number) => number.toLocaleString();

/**
 * A duration in its largest unit.
 *
 * @param {number} ms
 */
export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return t('time.seconds', { n: seconds });
  if (seconds < 5400) return t('time.minutes', { n: Math.round(seconds / 60) });
  if (seconds < 129600) return t('time.hours', { n: Math.round(seconds / 3600) });
  const days = Math.round(seconds / 86400);
  return t('time.days', { count: days });
}

/**
 * How long ago a time was, or its date after some days.
 *
 * @param {string | null | undefined} text
 */
export function ago(text) {
  if (!text) return '–';
  const ms = Date.now() - Date.parse(text);
  if (ms < 10_000) return t('time.now');
  return ms < 6 * 86_400_000 ? t('time.ago', { time: span(ms) }) : date(text);
}

/** @param {string | null | undefined} text */
export function date(text) {
  return text ? new Date(text).toLocaleDateString(undefined, { dateStyle: 'medium' }) : '–';
}

/** @param {string | null | undefined} text */
export function dateTime(text) {
  if (!text) return '–';
  return new Date(text).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
}

/** Characters that are invisible or change how their neighbours look: those that the server removes from header names. */
const HIDDEN = new RegExp(
  // The class lists single characters: U+034F is not meant to combine with the one before it.
  // eslint-disable-next-line no-misleading-character-class
  '[\\p{Cc}\\u00AD\\u034F\\u061C\\u115F\\u1160\\u17B4\\u17B5\\u180B-\\u180F\\u200B-\\u200F\\u2028-\\u202E'
  + '\\u2060-\\u206F\\u3164\\uFE00-\\uFE0F\\uFEFF\\uFFA0\\uFFF0-\\uFFFB\\p{Co}\\p{Cn}\\p{Cs}\\u{E0000}-\\u{E0FFF}]',
  'gu',
);
/** Between emoji, a variation selector and a joiner are part of how the emoji are written. */
const EMOJI = /\p{Extended_Pictographic}(?:\uFE0F|\u200D\p{Extended_Pictographic}|\p{Emoji_Modifier})*/gu;

/** @param {string} character */
const codePoint = (character) => `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;

/** @typedef {{ text: string, code: boolean }} NamePart text that is shown as it is, or as the code of a hidden character */

/**
 * Splits a name into what is shown as it is and what is shown as a code (S14).
 *
 * @param {string} name
 */
export function nameParts(name) {
  /** @type {NamePart[]} */
  const parts = [];
  /** @param {string} text @param {boolean} code */
  const add = (text, code) => {
    const last = parts.at(-1);
    if (last && !code && !last.code) last.text += text;
    else if (text) parts.push({ text, code });
  };
  /** @param {string} text */
  const addChecked = (text) => {
    let from = 0;
    for (const found of text.matchAll(HIDDEN)) {
      add(text.slice(from, found.index), false);
      add(codePoint(found[0]), true);
      from = found.index + found[0].length;
    }
    add(text.slice(from), false);
  };
  let from = 0;
  for (const found of name.matchAll(EMOJI)) {
    addChecked(name.slice(from, found.index));
    add(found[0], false);
    from = found.index + found[0].length;
  }
  const end = name.slice(from);
  const trimmed = end.replace(/[\s.]+$/u, '');
  addChecked(trimmed);
  // A system that saves the file drops these, so that the real extension is another one.
  for (const character of end.slice(trimmed.length)) {
    if (character === '.') add('.', false);
    else add(codePoint(character), true);
  }
  return parts;
}

/**
 * A name as plain text, for labels that are read aloud.
 *
 * @param {string} name
 */
export const plainName = (name) =>
  nameParts(name).map(({ text, code }) => (code ? `[${text}]` : text)).join('');

/** @param {string} name */
export const isSuspicious = (name) => nameParts(name).some(({ code }) => code);

/**
 * The name of a contact; null without one.
 *
 * @param {Contact} contact
 */
export const contactName = (contact) => (contact.label ? plainName(contact.label) : null);
