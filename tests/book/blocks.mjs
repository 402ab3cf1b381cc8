// The code blocks of a page of the book: what each is, and whether an output is the one that a block shows.

/** The code blocks of a page, and what is wrong with their marks. */
export function parse(markdown) {
  const lines = markdown.split('\n');
  const blocks = [];
  const wrong = [];
  let prose = '';
  for (let number = 0; number < lines.length; number += 1) {
    const fence = /^```(\S*)$/.exec(lines[number]);
    if (!fence) {
      const mark = /^<!-- (example:|keeps running)/.exec(lines[number]);
      if (mark && !lines[number + 1]?.startsWith('```')) wrong.push({ line: number + 1, why: 'no block follows this mark' });
      prose += `${lines[number]}\n`;
      continue;
    }
    const end = lines.indexOf('```', number + 1);
    const before = lines[number - 1] ?? '';
    const example = /^<!-- example:(.*)-->$/.exec(before);
    const saved = [...prose.matchAll(/Save\s+this\s+as\s+`([^`]+)`/g)].at(-1);
    const block = {
      line: number + 1,
      language: fence[1],
      text: lines.slice(number + 1, end).map((line) => `${line}\n`).join(''),
      reason: example?.[1].trim(),
      keepsRunning: before === '<!-- keeps running -->',
      file: saved?.[1],
    };
    if (example && !block.reason) wrong.push({ line: number, why: 'a mark needs a reason' });
    blocks.push(block);
    prose = '';
    number = end;
  }
  return { blocks, wrong };
}

/** What each unmarked block is: `sh`, `file` or `output` (of the block before). */
export function classify(blocks, wrong) {
  const active = blocks.filter((block) => block.reason === undefined);
  let shell;
  for (const block of active) {
    if (block.file) block.kind = 'file';
    else if (block.language === 'sh') {
      block.kind = 'sh';
      shell = block;
    } else if (['json', 'text'].includes(block.language) && shell) {
      block.kind = 'output';
      block.of = shell;
    } else {
      wrong.push({ line: block.line, why: `a ${block.language || 'nameless'} block that is not run, saved, output or marked` });
    }
  }
  for (const { file, line } of active.filter((block) => block.kind === 'file')) {
    const isUsed = active.some((block) => block.kind === 'sh' && block.text.includes(file));
    if (!isUsed) wrong.push({ line, why: `no command of this page uses ${file}` });
  }
  return active.filter((block) => block.kind);
}

/** Whether a value has all keys of another one. */
function holds(actual, expected) {
  if (Array.isArray(expected)) return Array.isArray(actual) && expected.every((item, at) => holds(actual[at], item));
  if (expected === null || typeof expected !== 'object') return actual !== undefined;
  return typeof actual === 'object' && actual !== null
    && Object.keys(expected).every((key) => holds(actual[key], expected[key]));
}

const isJson = (line) => { try { JSON.parse(line); return true; } catch { return false; } };

/** Whether an output is the expected one. */
export function matches(block, expected, output) {
  // Responses of two commands may stand on one line.
  const lines = output.replaceAll('}{', '}\n{').split('\n');
  if (block.language === 'json') {
    const json = [...lines, output].filter((line) => line.trim().startsWith('{') && isJson(line));
    return json.some((line) => holds(JSON.parse(line), JSON.parse(expected)));
  }
  const pattern = (line) => line.trim().split('…').map((part) => part
    .replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll(/\s+/g, '\\s+')).join('.*');
  const wanted = expected.split('\n').filter((line) => line.trim()).map((line) => new RegExp(`^\\s*${pattern(line)}\\s*$`));
  let at = 0;
  return wanted.every((line) => {
    at = lines.findIndex((actual, index) => index >= at && line.test(actual)) + 1;
    return at > 0;
  });
}
