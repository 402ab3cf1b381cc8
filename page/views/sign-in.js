// Signing in: with the link that the server prints, or with an API key.

import { html, useState } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { Button, Dialog, Field, reason } from '../lib/ui.js';
import { t } from '../lib/strings.js';

const LINK = '#/sign-in/';

/** The secret of a sign-in link; from now on it stands nowhere any more. */
export function takeLink() {
  const { hash } = window.location;
  if (!hash.startsWith(LINK)) return null;
  window.history.replaceState(null, '', window.location.pathname);
  return hash.slice(LINK.length);
}

function KeyForm({ onSignedIn, checks = () => true }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState('');
  const submit = async (event) => {
    event.preventDefault();
    const input = event.currentTarget.elements.namedItem('key');
    setBusy(true);
    setProblem('');
    try {
      const session = await api.signIn({ apiKey: input.value.trim() });
      if (checks(session)) onSignedIn(session);
    } catch (error) {
      setProblem(error.status === 401 ? t('signIn.unknownKey') : error.message || reason(error));
      input.focus();
    }
    setBusy(false);
  };
  return html`<form class="key-form" onSubmit=${submit}>
    <${Field} id="sign-in-key" name="key" type="password" label=${t('signIn.key')} required autocomplete="current-password"
      spellcheck=${false} error=${problem} autofocus />
    <${Button} type="submit" kind="primary" disabled=${busy} label=${t(busy ? 'signIn.working' : 'signIn.go')} />
  </form>
  <p class="hint">${t('signIn.hint')}: <code>dossier sign-in</code></p>`;
}

export function SignIn({ refused, onSignedIn }) {
  const isSpent = refused?.status === 401;
  return html`<main class="alone sign-in">
    <h1>${t('signIn.title')}</h1>
    ${refused && html`<p class="notice warn" role="alert">${isSpent ? t('signIn.spentLink') : reason(refused)}</p>`}
    <p>${t('signIn.lead')}</p>
    <${KeyForm} onSignedIn=${onSignedIn} />
  </main>`;
}

/** Over a page whose session has ended: what was open stays. */
export function SignInAgain({ session, onSignedIn }) {
  // Somebody of another site would not see what is open.
  const checks = (renewed) => {
    if (renewed.site.id === session.site.id) return true;
    window.location.replace('/');
    return false;
  };
  return html`<${Dialog} title=${t('signIn.ended')} kind="narrow">
    <p>${t('signIn.endedLead')}</p>
    <${KeyForm} onSignedIn=${onSignedIn} checks=${checks} />
  <//>`;
}
