// Starts the page: the session, the open view, and what is shown above all views.

/**
 * @import { Route } from './lib/route.js'
 * @import { Session } from './lib/types.js'
 */

import { html, render, useEffect, useState } from './vendor/preact.js';
import * as api from './lib/api.js';
import { useRoute } from './lib/route.js';
import { Failed, Loading, Toasts, useLoaded } from './lib/ui.js';
import { applyTheme } from './lib/theme.js';
import { uploads } from './lib/uploads.js';
import { Contacts } from './views/contacts.js';
import { Files } from './views/files.js';
import { Shell, TopBar } from './views/shell.js';
import { SignIn, SignInAgain, takeSignInLink } from './views/sign-in.js';
import { UploadPanel } from './views/upload-panel.js';

/** Views that few people need. They are fetched when opened. */
const LAZY_VIEWS = new Map([
  ['developer', () => import('./views/developer.js').then((module) => module.Developer)],
  ['operations', () => import('./views/operations.js').then((module) => module.Operations)],
]);

/** @typedef {(props: { route: Route }) => unknown} ViewComponent */

/** @param {{ load: () => Promise<ViewComponent>, route: Route }} props */
function LazyView({ load, route }) {
  const { value: Component, error, reload } = useLoaded(load, []);
  if (error) return html`<${Failed} error=${error} retry=${reload} />`;
  return Component ? html`<${Component} route=${route} />` : html`<${Loading} />`;
}

/** @param {{ route: Route }} props */
function View({ route }) {
  const [name = '', id] = route.path;
  if (name === 'contacts' && id) return html`<${Files} key=${id} contactId=${id} route=${route} />`;
  const load = LAZY_VIEWS.get(name);
  if (load) return html`<${LazyView} key=${name} load=${load} route=${route} />`;
  return html`<${Contacts} route=${route} />`;
}

/**
 * Signs in with the link that opened the page, or finds an existing session.
 *
 * @returns {Promise<{ session?: Session, linkError?: unknown }>}
 */
async function begin() {
  const link = takeSignInLink();
  if (link) {
    try {
      return { session: await api.signIn({ link }) };
    } catch (linkError) {
      return { linkError };
    }
  }
  try {
    return { session: await api.currentSession() };
  } catch (error) {
    if (error instanceof api.ApiError && error.status === 401) return {};
    throw error;
  }
}

function App() {
  const begun = useLoaded(begin, []);
  const [session, setSession] = useState(/** @type {Session | null} */ (null));
  const [hasEnded, setHasEnded] = useState(false);
  const route = useRoute();
  useEffect(() => setSession(begun.value?.session ?? null), [begun.value]);
  useEffect(() => api.onSessionEnd(() => setHasEnded(true)), []);
  if (begun.error) return html`<${TopBar} /><main class="alone"><${Failed} error=${begun.error} retry=${begun.reload} /></main>`;
  if (!begun.value || begun.isLoading || (begun.value.session && !session)) return html`<${TopBar} />`;
  if (!session) return html`<${TopBar} /><${SignIn} linkError=${begun.value.linkError} onSignedIn=${setSession} />`;
  const signOut = async () => {
    await api.signOut().catch(() => undefined);
    window.location.replace('/');
  };
  /** @param {Session} renewed */
  const signedInAgain = (renewed) => {
    setSession(renewed);
    setHasEnded(false);
    uploads.signedIn();
  };
  return html`<${Shell} session=${session} route=${route} onSignOut=${signOut}>
    <${View} route=${route} />
  <//>
  <${UploadPanel} />
  <${Toasts} />
  ${hasEnded && html`<${SignInAgain} session=${session} onSignedIn=${signedInAgain} />`}`;
}

applyTheme();
const root = document.getElementById('app');
if (root) render(html`<${App} />`, root);
