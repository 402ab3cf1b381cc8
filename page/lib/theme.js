// The colour theme: light, dark, or that of the system.

const KEY = 'dossier.theme';
/** @typedef {'auto' | 'light' | 'dark'} Theme */
/** @type {[Theme, Theme, Theme]} */
const THEMES = ['auto', 'light', 'dark'];

/** The chosen theme. */
export function theme() {
  const stored = localStorage.getItem(KEY);
  return THEMES.find((known) => known === stored) ?? 'auto';
}

/**
 * The theme after another, in a circle.
 *
 * @param {Theme} current
 */
export const nextTheme = (current) => THEMES[THEMES.indexOf(current) + 1] ?? THEMES[0];

export function applyTheme(chosen = theme()) {
  localStorage.setItem(KEY, chosen);
  if (chosen === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}
