// What page/vendor/preact.js exports. The file itself is a minified bundle without types.

import type { VNode } from 'preact';

export { render } from 'preact';
export { useEffect, useLayoutEffect, useReducer, useRef, useState } from 'preact/hooks';
export type * from 'preact';

/** htm bound to preact's `h`. A template with several roots returns a list. */
export const html: (strings: TemplateStringsArray, ...values: unknown[]) => VNode | VNode[];
