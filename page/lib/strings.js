// Every text that people read. A translation is another table with the same ids.

const ENGLISH = /** @type {const} */ ({
  'app.name': 'Dossier',
  'app.skip': 'Skip to content',
  'nav.label': 'Main',
  'nav.contacts': 'Contacts',
  'nav.developer': 'Developer',
  'nav.operations': 'Operations',
  'account.signOut': 'Sign out',
  'account.site': 'Site: {name}',
  'role.viewer': 'viewer',
  'role.editor': 'editor',
  'role.admin': 'admin',
  'theme.switch': 'Theme: {theme}',
  'theme.auto': 'same as system',
  'theme.light': 'light',
  'theme.dark': 'dark',

  'signIn.title': 'Sign in',
  'signIn.lead': 'Open a sign-in link, or enter an API key.',
  'signIn.key': 'API key',
  'signIn.submit': 'Sign in',
  'signIn.submitting': 'Signing in…',
  'signIn.hint': 'Ask your administrator for a sign-in link.',
  'signIn.adminHint': 'Administrators create one with this command on the server:',
  'signIn.ended': 'Your session has ended',
  'signIn.endedLead': 'Sign in again to continue. Your uploads are not lost.',
  'signIn.unknownKey': 'This API key is not valid here. Check that it is complete and was not revoked.',
  'signIn.usedLink': 'This sign-in link was already used or has expired. Ask for a new one.',

  'contacts.title': 'Contacts',
  'contacts.search': 'Search by name or ID',
  'contacts.new': 'New contact',
  'contacts.newLabel': 'Name',
  'contacts.newHint': 'The name shown on this page. Optional.',
  'contacts.advanced': 'Advanced',
  'contacts.newId': 'Existing contact ID (optional)',
  'contacts.newIdHint': 'The GUID of the contact in another system. If empty, a new one is generated.',
  'contacts.newIdFormat': 'An ID looks like 5b0c1d2e-0000-4000-8000-000000000001.',
  'contacts.create': 'Create',
  'contacts.sort': 'Sort',
  'contacts.sort.label': 'Name',
  'contacts.sort.-lastActivity': 'Last activity',
  'contacts.sort.-count': 'Most files',
  'contacts.sort.-size': 'Largest',
  'contacts.sort.id': 'ID',
  'contacts.files': 'Files',
  'contacts.size': 'Size',
  'contacts.active': 'Last activity',
  'contacts.name': 'Contact',
  'contacts.unnamed': 'No name',
  'contacts.empty': 'No contacts yet',
  'contacts.emptyLead': 'A contact appears when a program uploads its first file, or when you create one here.',
  'contacts.noMatch': 'No contact matches “{search}”',
  'contacts.openId': 'Open the contact with this ID',
  'contacts.loaded.one': '{count} contact',
  'contacts.loaded.other': '{count} contacts',
  'contacts.loadedMore': 'More than {loaded} contacts',

  'files.title': 'Files',
  'files.back': 'All contacts',
  'files.search': 'Search file names',
  'files.sort': 'Sort',
  'files.sort.created': 'Oldest first',
  'files.sort.-created': 'Newest first',
  'files.sort.name': 'Name A–Z',
  'files.sort.-name': 'Name Z–A',
  'files.sort.-size': 'Largest first',
  'files.sort.size': 'Smallest first',
  'files.type': 'Type',
  'files.type.all': 'All types',
  'files.layout': 'View',
  'files.layout.grid': 'Grid',
  'files.layout.list': 'List',
  'files.add': 'Add files',
  'files.addFolder': 'Add a folder',
  'files.camera': 'Take a photo',
  'files.zip': 'Download all',
  'files.empty': 'No files yet',
  'files.emptyLead': 'Drop files or a folder here, paste an image, or choose files.',
  'files.emptyViewer': 'Files appear here when somebody adds them.',
  'files.noMatch': 'No file matches',
  'files.noMatchLead': 'Change the search or the type.',
  'files.clearFilters': 'Clear search and type',
  'files.drop': 'Drop to add to {name}',
  'files.count.one': '{count} file',
  'files.count.other': '{count} files',
  'files.selected': '{selected} selected',
  'files.select': 'Select {name}',
  'files.open': 'Open {name}',
  'files.clearSelection': 'Clear selection',
  'files.delete': 'Delete',
  'files.list': 'Files of this contact',
  'files.loading': 'Loading…',
  'files.interrupted.one': 'An upload was interrupted: {names}. Choose the same file again to resume it.',
  'files.interrupted.other': '{count} uploads were interrupted: {names}. Choose the same files again to resume them.',
  'files.discardInterrupted': 'Discard',

  'delete.title.one': 'Delete “{name}”?',
  'delete.title.other': 'Delete {count} files?',
  'delete.trash.one': 'Deleted files can be restored for {count} day.',
  'delete.trash.other': 'Deleted files can be restored for {count} days.',
  'delete.final': 'This cannot be undone.',
  'delete.confirm': 'Delete',
  'delete.done.one': 'Deleted “{name}”.',
  'delete.done.other': 'Deleted {count} files.',
  'delete.gone.one': '“{name}” had already been deleted.',
  'delete.gone.other': '{count} files had already been deleted.',
  'delete.undo': 'Undo',
  'delete.undone': 'Restored.',
  'delete.failed': 'Not deleted. {reason}',

  'viewer.label': 'File {name}',
  'viewer.close': 'Close',
  'viewer.next': 'Next file',
  'viewer.previous': 'Previous file',
  'viewer.zoomIn': 'Zoom in',
  'viewer.zoomOut': 'Zoom out',
  'viewer.rotate': 'Rotate',
  'viewer.reset': 'Fit to window',
  'viewer.download': 'Download',
  'viewer.openTab': 'Open in a new tab',
  'viewer.copyLink': 'Copy link',
  'viewer.copied': 'Copied.',
  'viewer.linkCopied': 'Link copied. Anyone with it can open the file for {time}.',
  'viewer.copyFailed': 'Could not copy. Browsers allow it over HTTPS only, and only with your permission.',
  'viewer.details': 'Details',
  'viewer.size': 'Size',
  'viewer.type': 'Type',
  'viewer.pixels': 'Dimensions',
  'viewer.added': 'Added',
  'viewer.hash': 'SHA-256',
  'viewer.id': 'ID',
  'viewer.link': 'Link',
  'viewer.linkLeft': 'expires in {time}',
  'viewer.linkOver': 'expired; reload this page for a new one',
  'viewer.noPreview': 'No preview for this type of file',
  'viewer.noFirstPage': 'No preview of the first page',
  'viewer.pdf': 'First page',
  'viewer.readAll': 'Read all pages',
  'viewer.broken': 'The image could not be loaded',
  'viewer.suspicious': 'This name contains invisible or misleading characters. They are shown as codes.',
  'viewer.labelField': 'Label',
  'viewer.description': 'Description',
  'viewer.save': 'Save',
  'viewer.saved': 'Saved.',

  'uploads.title': 'Uploads',
  'uploads.summary': '{done} of {all} done',
  'uploads.collapse': 'Show less',
  'uploads.expand': 'Show all',
  'uploads.pause': 'Pause {name}',
  'uploads.resume': 'Resume {name}',
  'uploads.cancel': 'Cancel {name}',
  'uploads.retry': 'Retry {name}',
  'uploads.dismiss': 'Remove {name} from this list',
  'uploads.clear': 'Clear finished',
  'uploads.waiting': 'Waiting',
  'uploads.starting': 'Starting…',
  'uploads.running': '{sent} of {size} · {speed}/s · {left} left',
  'uploads.runningFirst': '{sent} of {size}',
  'uploads.paused': 'Paused at {percent}%',
  'uploads.offline': 'No connection. Resumes automatically at {percent}%.',
  'uploads.signedOut': 'Paused at {percent}% until you sign in again.',
  'uploads.done': 'Added · {size}',
  'uploads.progress': 'Progress of {name}',
  'uploads.tooMany': 'Only the first {limit} files are added. Add the others separately.',

  'rejected.empty': 'The file is empty.',
  'rejected.tooLarge': 'The file is larger than {limit}, the most that this server accepts.',
  'rejected.type': '{extension} files are not accepted. Photos, PDF, Word, Excel, PowerPoint and CSV are.',
  'rejected.unknownType': 'This type of file ({type}) is not accepted. Photos, PDF, Word, Excel, PowerPoint and CSV are.',
  'rejected.extension': 'The extension does not belong to this type of file ({type}). Rename the file, then add it again.',
  'rejected.content': 'The file {problem}. Give it the extension of its content, then add it again.',
  'rejected.quota.site': 'The site is full. Its limit is {limit}.',
  'rejected.quota.contact': 'This contact is full. Its limit is {limit}.',
  'rejected.role': 'Your API key is read-only. Sign in with one that can add files.',
  'rejected.full': 'The server’s disk is full. Tell your administrator.',
  'rejected.expired': 'The upload has expired. Retry it.',
  'rejected.name': 'The name has more than 260 characters. Shorten it, then add the file again.',
  'rejected.unreadable': 'The browser could not read the file. If it was moved or changed, add it again.',

  'error.title': 'Something went wrong',
  'error.offline': 'The server cannot be reached. Check your connection, and that the server is running.',
  'error.busy': 'The server is busy. Try again in a moment.',
  'error.server': 'The server failed to handle this. Try again, or give your administrator this request ID: {id}.',
  'error.denied': 'Your API key does not permit this.',
  'error.notFound': 'It no longer exists.',
  'error.noContact': 'There is no such contact.',
  'error.retry': 'Try again',
  'field.url': 'The address',
  'field.name': 'The name',
  'field.label': 'The name',
  'field.description': 'The description',
  'dialog.cancel': 'Cancel',
  'dialog.close': 'Close',
  'toast.region': 'Notifications',

  'time.seconds': '{n} s',
  'time.minutes': '{n} min',
  'time.hours': '{n} h',
  'time.days.one': '{count} day',
  'time.days.other': '{count} days',
  'time.ago': '{time} ago',
  'time.now': 'just now',

  'kind.image': 'Image',
  'kind.pdf': 'PDF',
  'kind.document': 'Document',
  'kind.spreadsheet': 'Spreadsheet',
  'kind.audio': 'Audio',
  'kind.video': 'Video',
  'kind.archive': 'Archive',
  'kind.text': 'Text',
  'kind.other': 'Other',

  'hooks.lead': 'Addresses that receive an event when a file is added or deleted.',
  'hooks.empty': 'No webhooks yet',
  'hooks.emptyLead': 'Add the address of a program that should receive events.',
  'hooks.add': 'Add a webhook',
  'hooks.url': 'Address',
  'hooks.urlHint': 'An https:// URL of a public host.',
  'hooks.test': 'Send a test',
  'hooks.testDelivered': 'The test was delivered: status {status}.',
  'hooks.testFailed': 'The test failed: {problem}.',
  'hooks.testPending': 'The test has not been sent yet. Refresh the deliveries to see its outcome.',
  'hooks.remove': 'Remove',
  'hooks.removeTitle': 'Remove this webhook?',
  'hooks.enabled': 'On',
  'hooks.disabled': 'Off',
  'hooks.enable': 'Turn on',
  'hooks.disable': 'Turn off',
  'hooks.deliveries': 'Deliveries',
  'hooks.noDeliveries': 'No deliveries yet',
  'hooks.noDeliveriesLead': 'Add or delete a file, or send a test.',
  'hooks.replay': 'Send again',
  'hooks.replayed': 'The event will be delivered again.',
  'hooks.attempt': 'Attempt {n}',
  'hooks.status': 'status {status}',
  'hooks.next': 'Next attempt: {time}',
  'hooks.state.delivered': 'delivered',
  'hooks.state.pending': 'pending',
  'hooks.state.dead': 'failed',
  'hooks.refresh': 'Refresh',
  'hooks.failures.one': '{count} failure',
  'hooks.failures.other': '{count} failures in a row',
  'hooks.noResponse': 'no response',

  'dev.title': 'Developer',
  'dev.sections': 'Sections',
  'dev.hooks': 'Webhooks',
  'dev.keys': 'API keys',
  'dev.requests': 'Requests',
  'dev.sdk': 'SDK',
  'dev.api': 'API',
  'dev.sdkLead': 'The official JavaScript SDK with this server.',
  'dev.copy': 'Copy',
  'dev.apiLead': 'The HTTP API of this server. For tools:',
  'dev.apiFile': 'openapi.json',
  'dev.apiFilter': 'Filter by path or summary',
  'dev.scope': 'requires {scope}',
  'dev.public': 'no key required',
  'dev.parameters': 'Parameters',
  'dev.responses': 'Responses',
  'dev.body': 'Request body',

  'keys.lead': 'Programs authenticate with an API key. A key is shown once, when it is created.',
  'keys.new': 'New key',
  'keys.name': 'Name',
  'keys.role': 'Role',
  'keys.created': 'Copy the key now. It is not shown again.',
  'keys.revoke': 'Revoke',
  'keys.revokeTitle': 'Revoke “{name}”?',
  'keys.revokeLead': 'Programs that use it are rejected within a second. This cannot be undone.',
  'keys.revoked': 'revoked',
  'keys.yours': 'this session',
  'requests.lead': 'The latest requests to this node, newest first.',
  'requests.empty': 'No requests yet',

  'operations.usage': 'Usage',
  'operations.files': 'Files',
  'operations.size': 'Size',
  'operations.siteLimit': 'Limit of the site',
  'operations.contactLimit': 'Limit per contact',
  'operations.none': 'none',
  'operations.server': 'Server',
  'operations.version': 'Version',
  'operations.database': 'Database',
  'operations.storage': 'Storage',
  'operations.state': 'State',
  'operations.problems': 'Problems',
  'operations.queues': 'Queues',
  'operations.uploads': 'Uploads in progress',
  'operations.deliveries': 'Webhook deliveries',
  'operations.removals': 'Files to remove',
  'operations.trash': 'Trash',
  'operations.kept': 'Kept for',
  'operations.scrub': 'Scrub',
  'operations.damaged': 'Damaged files',
  'operations.roundBegan': 'Current round began',
  'operations.roundEnded': 'Last round ended',
  'operations.filesRead': 'Files read in this round',
  'operations.backup': 'Backup',
  'operations.lastBackup': 'Last backup',
  'operations.noBackup': 'No backup yet',
  'operations.check': 'Check',
  'operations.lastCheck': 'Last check',
  'operations.noCheck': 'No check yet',
  'operations.findings': 'Findings',
  'operations.everyFileRead': 'Every file read',
  'operations.yes': 'yes',
  'operations.no': 'no',
});

/**
 * @typedef {keyof typeof ENGLISH} EntryId
 */
/**
 * The id of a text with plural forms: `files.count` for `files.count.one` and `files.count.other`.
 *
 * @template Id
 * @typedef {Id extends `${infer Stem}.one` ? Stem : never} PluralId
 */
/**
 * @typedef {EntryId | PluralId<EntryId>} TextId
 */
/**
 * The texts of an id: one, or its plural forms.
 *
 * @template {TextId} Id
 * @typedef {(typeof ENGLISH)[Id extends EntryId ? Id : Extract<EntryId, `${Id}.one` | `${Id}.other`>]} TextsOf
 */
/**
 * The names in braces in a text.
 *
 * @template {string} Text
 * @typedef {Text extends `${string}{${infer Name}}${infer Rest}` ? Name | Placeholders<Rest> : never} Placeholders
 */
/**
 * @template {TextId} Id
 * @typedef {[Placeholders<TextsOf<Id>>] extends [never] ? [] : [Record<Placeholders<TextsOf<Id>>, string | number>]} ValuesOf
 */

const PLURALS = new Intl.PluralRules('en');
/** @type {Record<string, string>} */
const TEXTS = ENGLISH;

/**
 * A text with its values filled in. `count` selects the plural form. Numbers are written with separators.
 *
 * The type check rejects an unknown id and a missing value.
 *
 * @template {TextId} Id
 * @param {Id} id
 * @param {ValuesOf<Id>} rest
 * @returns {string}
 */
export function t(id, ...rest) {
  /** @type {Record<string, string | number>} */
  const values = rest[0] ?? {};
  const plural = 'count' in values ? TEXTS[`${id}.${PLURALS.select(Number(values.count))}`] : undefined;
  const text = plural ?? TEXTS[id] ?? id;
  return text.replace(/\{(\w+)\}/g, (placeholder, name) => {
    const value = values[name] ?? placeholder;
    return typeof value === 'number' ? value.toLocaleString() : value;
  });
}

/**
 * A text whose id is only known at run time; undefined without one.
 *
 * @param {string} id
 * @returns {string | undefined}
 */
export const find = (id) => TEXTS[id];
