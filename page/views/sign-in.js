// Signing in with an API key. A sign-in link does it without this form.

/**
 * @import { TargetedSubmitEvent } from '../vendor/preact.js'
 * @import { Session } from '../lib/types.js'
 */

import { html, useState } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { Button, Dialog, Field, fieldText, reason } from '../lib/ui.js';
import { t } from '../lib/strings.js';

const LINK = '#/sign-in/';

/** The secret of the sign-in link that opened the page, if one did. It is removed from the address bar and the history. */
export function takeSignInLink() {
  const { hash } = window.location;
  if (!hash.startsWith(LINK)) return null;
  window.history.replaceState(null, '', window.location.pathname);
  return hash.slice(LINK.length);
}

/** @param {unknown} error */
const isUnauthenticated = (error) => error instanceof api.ApiError && error.status === 401;

/** @param {{ onSignedIn: (session: Session) => void }} props */
function KeyForm({ onSignedIn }) {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState('');
  /** @param {TargetedSubmitEvent<HTMLFormElement>} event */
  const submit = async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    setBusy(true);
    setProblem('');
    try {
      onSignedIn(await api.signIn({ apiKey: fieldText(form, 'key') }));
    } catch (error) {
      setProblem(isUnauthenticated(error) ? t('signIn.unknownKey') : reason(error));
      form.querySelector('input')?.focus();
    }
    setBusy(false);
  };
  return html`<form class="key-form" onSubmit=${submit}>
    <${Field} id="sign-in-key" name="key" type="password" label=${t('signIn.key')} required autocomplete="current-password"
      spellcheck=${false} error=${problem} autofocus />
    <${Button} type="submit" kind="primary" disabled=${isBusy} label=${t(isBusy ? 'signIn.submitting' : 'signIn.submit')} />
  </form>
  <p class="hint">${t('signIn.hint')}<br />${t('signIn.adminHint')} <code>dossier sign-in</code></p>`;
}

/** @param {{ linkError: unknown, onSignedIn: (session: Session) => void }} props */
export function SignIn({ linkError, onSignedIn }) {
  return html`<main class="alone sign-in">
    <h1>${t('signIn.title')}</h1>
    ${linkError && html`<p class="notice warn" role="alert">
      ${isUnauthenticated(linkError) ? t('signIn.usedLink') : reason(linkError)}</p>`}
    <p>${t('signIn.lead')}</p>
    <${KeyForm} onSignedIn=${onSignedIn} />
  </main>`;
}

/**
 * Shown over a page whose session has ended. The page stays as it is.
 *
 * @param {{ session: Session, onSignedIn: (session: Session) => void }} props
 */
export function SignInAgain({ session, onSignedIn }) {
  /** @param {Session} renewed */
  const signedIn = (renewed) => {
    // A key of another site must not see what is open.
    if (renewed.site.id === session.site.id) onSignedIn(renewed);
    else window.location.replace('/');
  };
  return html`<${Dialog} title=${t('signIn.ended')} kind="narrow">
    <p>${t('signIn.endedLead')}</p>
    <${KeyForm} onSignedIn=${signedIn} />
  <//>`;
}
