// What stands around every view: where one is, who one is, the colours.

import { html, useState } from '../vendor/preact.js';
import { icon } from '../lib/icons.js';
import { linkTo } from '../lib/route.js';
import { THEMES, applyTheme, theme } from '../lib/theme.js';
import { Button } from '../lib/ui.js';
import { t } from '../lib/strings.js';

const ICON = new URL('../icon.svg', import.meta.url).pathname;
const PLACES = [
  ['contacts', 'person', () => true],
  ['developer', 'code', (role) => role !== 'viewer'],
  ['operations', 'gauge', (role) => role === 'admin'],
];

function ThemeSwitch() {
  const [now, setNow] = useState(theme);
  const next = () => {
    const chosen = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    applyTheme(chosen);
    setNow(chosen);
  };
  const icons = { auto: 'auto', light: 'sun', dark: 'moon' };
  return html`<${Button} iconOnly kind="quiet" icon=${icons[now]} onClick=${next}
    label=${t('theme.switch', { now: t(`theme.${now}`) })} />`;
}

/** What stands in `index.html` as well, so that it is seen before any of this runs: nothing jumps when this does. */
export function Top({ children }) {
  return html`<header class="top"><span class="brand">
    <img src=${ICON} width="26" height="26" alt="" /><span>${t('app.name')}</span></span>${children}</header>`;
}

export function Shell({ session, route, onSignOut, children }) {
  const [place] = route.path;
  const skip = (event) => {
    event.preventDefault();
    document.getElementById('main').focus();
  };
  return html`<a class="skip" href="#main" onClick=${skip}>${t('app.skip')}</a>
  <header class="top">
    <a class="brand" href=${linkTo('contacts')} aria-label=${t('app.name')}>
      <img src=${ICON} width="26" height="26" alt="" /><span>${t('app.name')}</span></a>
    <nav aria-label=${t('nav.label')}>
      ${PLACES.filter(([, , isFor]) => isFor(session.role)).map(([name, picture]) => html`<a key=${name}
        href=${linkTo(name)} aria-current=${place === name ? 'page' : undefined}>${icon(picture)}<span>${t(`nav.${name}`)}</span></a>`)}
    </nav>
    <div class="account">
      <span class="who" title=${t('account.site', { name: session.site.name })}>
        <b>${session.site.name}</b><small>${t(`role.${session.role}`)}</small></span>
      <${ThemeSwitch} />
      <${Button} iconOnly kind="quiet" icon="out" label=${t('account.signOut')} onClick=${onSignOut} />
    </div>
  </header>
  <main id="main" tabindex="-1">${children}</main>`;
}
