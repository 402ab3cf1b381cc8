// Makes the templates of the page's scripts visible to the type check, for which they are only texts:
//
//   templates.mjs FOLDER
//
// Writes copies of the scripts into a folder. In a copy, a component of a template is a call with its attributes, and an
// event handler of an element is an argument of `__on` (types/templates.d.ts). Every line keeps its number.

import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import * as espree from 'espree';

const PAGE = fileURLToPath(new URL('../../page/', import.meta.url));

/** The outermost `html` templates in a syntax tree. */
function templatesIn(node) {
  if (node.type === 'TaggedTemplateExpression' && node.tag.name === 'html') return [node];
  return Object.values(node).flat().filter((child) => typeof child?.type === 'string').flatMap(templatesIn);
}

/** A range of a source, in which `node` stands, with its templates rewritten. */
function rewritten(source, node, start, end) {
  let text = '';
  let from = start;
  for (const template of templatesIn(node)) {
    text += source.slice(from, template.start) + new Template(source, template.quasi).calls();
    from = template.end;
  }
  return text + source.slice(from, end);
}

/** Reads one template. Follows the grammar of htm. */
class Template {
  /** Characters, and for each `${…}` an object with its code. */
  #items;
  #at = 0;
  #output = '';

  constructor(source, { quasis, expressions }) {
    // The ends of a quasi include the braces around it.
    const code = (expression, index) => `(${rewritten(source, expression, quasis[index].end, quasis[index + 1].start)})`;
    const values = expressions.map((expression, index) => ({ code: code(expression, index) }));
    this.#items = quasis.flatMap((quasi, index) => [...quasi.value.raw, ...values.slice(index, index + 1)]);
  }

  /** The template with everything that it shows as one list of values. */
  calls() {
    while (this.#at < this.#items.length) {
      if (this.#isCode()) this.#output += `${this.#next().code}, `;
      else if (this.#isAt('<!--')) this.#skipPast('-->');
      else if (this.#isAt('</')) this.#skipPast('>');
      else if (this.#next() === '<') this.#tag();
    }
    return `html\`\${[${this.#output}]}\``;
  }

  #isAt(text) {
    return [...text].every((character, offset) => this.#items[this.#at + offset] === character);
  }

  #isCode() {
    return typeof this.#items[this.#at] === 'object';
  }

  #next() {
    const item = this.#items[this.#at];
    this.#at += 1;
    if (item === '\n') this.#output += '\n';
    return item;
  }

  #skipPast(text) {
    while (!this.#isAt(text)) this.#next();
    this.#at += text.length;
  }

  #word() {
    let word = '';
    while (!this.#isCode() && /[\w:-]/.test(this.#items[this.#at])) word += this.#next();
    return word;
  }

  #tag() {
    const component = this.#isCode() ? this.#next().code : null;
    const element = component ?? this.#word();
    const keys = [];
    if (component) this.#output += `${component}(`;
    // A component without attributes is called without an argument.
    let hasAttributes = false;
    while (!this.#isAt('>') && !this.#isAt('/>')) {
      if (/\s/.test(this.#items[this.#at])) {
        this.#next();
        continue;
      }
      const { name, code } = this.#attribute();
      if (!component) {
        this.#output += /^on[A-Z]/.test(name) ? `__on('${element}', { ${name}: ${code} }), ` : `${code}, `;
      } else if (name === 'key') {
        keys.push(`${code}, `);
      } else {
        this.#output += `${hasAttributes ? '' : '{ '}${name ? `'${name}': ` : '...'}${code}, `;
        hasAttributes = true;
      }
    }
    if (component) this.#output += `${hasAttributes ? '}' : ''}), ${keys.join('')}`;
    this.#skipPast('>');
  }

  /** An attribute, or without a name an object that is spread. */
  #attribute() {
    if (this.#isAt('...')) {
      this.#at += 3;
      return { name: '', code: this.#next().code };
    }
    const name = this.#word();
    if (!this.#isAt('=')) return { name, code: 'true' };
    this.#next();
    return { name, code: this.#isCode() ? this.#next().code : this.#quoted() };
  }

  #quoted() {
    const codes = [];
    let text = '';
    this.#next();
    while (!this.#isAt('"')) {
      if (this.#isCode()) codes.push(this.#next().code);
      else text += this.#next();
    }
    this.#next();
    return codes.length > 0 ? `String([${codes}])` : JSON.stringify(text);
  }
}

const folder = path.resolve(process.argv[2]);
const names = ['app.js'];
for (const part of ['lib', 'views']) {
  await mkdir(path.join(folder, part), { recursive: true });
  names.push(...(await readdir(path.join(PAGE, part))).map((name) => path.join(part, name)));
}
for (const name of names) {
  const source = await readFile(path.join(PAGE, name), 'utf8');
  const tree = espree.parse(source, { ecmaVersion: 'latest', sourceType: 'module' });
  await writeFile(path.join(folder, name), rewritten(source, tree, 0, source.length));
}
