// What the copies that templates.mjs writes call.

import type { JSX } from 'preact';

type Elements = JSX.IntrinsicElements;

declare global {
  /** An event handler of an element. */
  function __on<Name extends keyof Elements>(
    name: Name, handler: Pick<Elements[Name], Extract<keyof Elements[Name], `on${string}`>>,
  ): void;
}
