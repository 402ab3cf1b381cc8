// Lints of the page's scripts and of the scripts of tests. `check` runs them from the root of the repository.

import js from '@eslint/js';
import globals from 'globals';

const PAGE = ['page/**/*.js'];
const NODE = ['tests/**/*.mjs', 'tests/page/*.js', 'scripts/*.mjs'];

/** For all scripts, beyond the recommended rules. */
const RULES = {
  // A callback without a result where one is used.
  'array-callback-return': 'error',
  // `==` converts its sides.
  eqeqeq: 'error',
  // The page's policy forbids running text as code, but only in a browser.
  'no-eval': 'error',
  'no-implied-eval': 'error',
  'no-new-func': 'error',
  // '${name}' without backticks is shown as it is.
  'no-template-curly-in-string': 'error',
  'no-unreachable-loop': 'error',
  // An expression whose value nobody uses is a forgotten call or assignment.
  'no-unused-expressions': 'error',
  // `_` is a parameter before a used one; siblings of a rest are how a property is left out.
  'no-unused-vars': ['error', { argsIgnorePattern: '^_$', ignoreRestSiblings: true }],
  'no-var': 'error',
  // Except a variable that a callback reads before its assignment.
  'prefer-const': ['error', { ignoreReadBeforeAssign: true }],
  // A rejection without an Error has neither a message nor a stack.
  'prefer-promise-reject-errors': 'error',
};

/** Ways to turn text into markup. File names and labels come from strangers (S14). */
const MARKUP = ['innerHTML', 'outerHTML', 'insertAdjacentHTML', 'createContextualFragment', 'setHTMLUnsafe', 'write', 'writeln'];

export default [
  { ignores: ['**/node_modules/**', 'page/vendor/**'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  { ...js.configs.recommended, files: [...PAGE, ...NODE] },
  { files: [...PAGE, ...NODE], rules: RULES },
  {
    files: PAGE,
    languageOptions: { globals: globals.browser },
    rules: {
      // An executor that returns a value often forgot to resolve.
      'no-promise-executor-return': 'error',
      // With two variables of one name, an edit easily reaches the wrong one.
      'no-shadow': 'error',
      // Nobody reads the console of a deployed page.
      'no-console': 'error',
      // A dialog of the browser blocks the page, and uploads with it.
      'no-alert': 'error',
      'no-restricted-properties': ['error', ...MARKUP.map((property) => ({ property, message: 'Render text with html`…`.' }))],
      'no-restricted-syntax': ['error', {
        selector: 'TemplateElement[value.raw=/dangerouslySetInnerHTML/]', message: 'Render text with html`…`.',
      }],
    },
  },
  {
    // Requests have one place each, which adds the CSRF token and turns failures into ApiError.
    files: PAGE,
    ignores: ['page/lib/api.js', 'page/lib/whole.js'],
    rules: { 'no-restricted-globals': ['error', { name: 'fetch', message: 'Add a function to lib/api.js.' }, 'XMLHttpRequest'] },
  },
  {
    files: NODE,
    // Functions given to `page.evaluate` run in a browser.
    languageOptions: { globals: { ...globals.node, ...globals.browser } },
  },
];
