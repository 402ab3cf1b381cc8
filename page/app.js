// Starts the page: who is signed in, which view, and what lies over all of them.

import { html, render, useEffect, useState } from './vendor/preact.js';
import * as api from './lib/api.js';
import { useRoute } from './lib/route.js';
import { Failed, Loading, Toasts, useLoaded } from './lib/ui.js';
import { applyTheme } from './lib/theme.js';
import { uploads } from './lib/uploads.js';
import { Contacts } from './views/contacts.js';
import { Files } from './views/files.js';
import { Shell, Top } from './views/shell.js';
import { SignIn, SignInAgain, takeLink } from './views/sign-in.js';
import { UploadPanel } from './views/upload-panel.js';

/** Views that few need, fetched when they are opened. */
const LATER = {
  developer: () => import('./views/developer.js').then((module) => module.Developer),
  operations: () => import('./views/operations.js').then((module) => module.Operations),
};

function Later({ name, route }) {
  const { value: View, error, again } = useLoaded(LATER[name], [name]);
  if (error) return html`<${Failed} error=${error} retry=${again} />`;
  return View ? html`<${View} route=${route} />` : html`<${Loading} />`;
}

function View({ route }) {
  const [name, id] = route.path;
  if (name === 'contacts' && id) return html`<${Files} key=${id} contactId=${id} route=${route} />`;
  if (name in LATER) return html`<${Later} key=${name} name=${name} route=${route} />`;
  return html`<${Contacts} route=${route} />`;
}

/** Whoever comes by a link is signed in by it; everybody else may be already. */
async function begin() {
  const link = takeLink();
  if (link) {
    try {
      return { session: await api.signIn({ link }) };
    } catch (refused) {
      return { refused };
    }
  }
  try {
    return { session: await api.currentSession() };
  } catch (error) {
    if (error.status === 401) return {};
    throw error;
  }
}

function App() {
  const begun = useLoaded(begin, []);
  const [session, setSession] = useState(null);
  const [hasEnded, setHasEnded] = useState(false);
  const route = useRoute();
  useEffect(() => setSession(begun.value?.session ?? null), [begun.value]);
  useEffect(() => api.onSessionEnd(() => setHasEnded(true)), []);
  if (begun.error) return html`<${Top} /><main class="alone"><${Failed} error=${begun.error} retry=${begun.again} /></main>`;
  if (begun.loading || (begun.value.session && !session)) return html`<${Top} />`;
  if (!session) return html`<${Top} /><${SignIn} refused=${begun.value.refused} onSignedIn=${setSession} />`;
  const signOut = async () => {
    await api.signOut().catch(() => undefined);
    window.location.replace('/');
  };
  const again = (renewed) => {
    setSession(renewed);
    setHasEnded(false);
    uploads.signedIn();
  };
  return html`<${Shell} session=${session} route=${route} onSignOut=${signOut}>
    <${View} route=${route} />
  <//>
  <${UploadPanel} />
  <${Toasts} />
  ${hasEnded && html`<${SignInAgain} session=${session} onSignedIn=${again} />`}`;
}

applyTheme();
render(html`<${App} />`, document.getElementById('app'));
