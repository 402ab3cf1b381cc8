// What surrounds every view: navigation, account and theme.

/**
 * @import { ComponentChildren } from '../vendor/preact.js'
 * @import { IconName } from '../lib/icons.js'
 * @import { Route } from '../lib/route.js'
 * @import { Theme } from '../lib/theme.js'
 * @import { Role, Session } from '../lib/types.js'
 */

import { html, useState } from '../vendor/preact.js';
import { icon } from '../lib/icons.js';
import { linkTo } from '../lib/route.js';
import { applyTheme, nextTheme, theme } from '../lib/theme.js';
import { Button } from '../lib/ui.js';
import { t } from '../lib/strings.js';

const ICON = new URL('../icon.svg', import.meta.url).pathname;
/** @type {{ name: 'contacts' | 'developer' | 'operations', picture: IconName, roles: Role[] }[]} */
const SECTIONS = [
  { name: 'contacts', picture: 'person', roles: ['viewer', 'editor', 'admin'] },
  { name: 'developer', picture: 'code', roles: ['editor', 'admin'] },
  { name: 'operations', picture: 'gauge', roles: ['admin'] },
];
/** @type {Record<Theme, IconName>} */
const THEME_ICONS = { auto: 'auto', light: 'sun', dark: 'moon' };

function ThemeSwitch() {
  const [current, setCurrent] = useState(theme);
  const switchTheme = () => {
    const next = nextTheme(current);
    applyTheme(next);
    setCurrent(next);
  };
  return html`<${Button} iconOnly kind="quiet" icon=${THEME_ICONS[current]} onClick=${switchTheme}
    label=${t('theme.switch', { theme: t(`theme.${current}`) })} />`;
}

/** The same bar as in `index.html`, which is visible before any script runs. Nothing moves when this replaces it. */
export function TopBar() {
  return html`<header class="top"><span class="brand">
    <img src=${ICON} width="26" height="26" alt="" /><span>${t('app.name')}</span></span></header>`;
}

/** @param {{ session: Session, route: Route, onSignOut: () => void, children?: ComponentChildren }} props */
export function Shell({ session, route, onSignOut, children }) {
  /** @param {Event} event */
  const skip = (event) => {
    event.preventDefault();
    document.getElementById('main')?.focus();
  };
  const sections = SECTIONS.filter(({ roles }) => roles.includes(session.role));
  return html`<a class="skip" href="#main" onClick=${skip}>${t('app.skip')}</a>
  <header class="top">
    <a class="brand" href=${linkTo('contacts')} aria-label=${t('app.name')}>
      <img src=${ICON} width="26" height="26" alt="" /><span>${t('app.name')}</span></a>
    <nav aria-label=${t('nav.label')}>
      ${sections.map(({ name, picture }) => html`<a key=${name} href=${linkTo(name)}
        aria-current=${route.path[0] === name ? 'page' : undefined}>${icon(picture)}<span>${t(`nav.${name}`)}</span></a>`)}
    </nav>
    <div class="account">
      <span class="who" title=${session.site.name}><span class="site">${t('account.site', { name: session.site.name })}</span
        ><span>${` · ${t(`role.${session.role}`)}`}</span></span>
      <${ThemeSwitch} />
      <${Button} iconOnly kind="quiet" icon="out" label=${t('account.signOut')} onClick=${onSignOut} />
    </div>
  </header>
  <main id="main" tabindex="-1">${children}</main>`;
}
