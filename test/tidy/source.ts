// Reads TypeScript just well enough for the repository's own rules: which modules a file imports, and how long its functions are. Not a
// parser: it blanks out comments, strings and regular expressions, then matches brackets. The compiler here has no API to ask instead.

/** A source text in which comments, strings, template texts and regular expressions have been blanked out, at equal length and lines. */
export type Masked = string;

const REGEX_MAY_FOLLOW_WORDS = new Set([
  'return',
  'typeof',
  'case',
  'in',
  'of',
  'do',
  'else',
  'void',
  'delete',
  'throw',
  'yield',
  'await',
  'new',
]);

/** Blanks out what is not code. A literal becomes underscores, so that it still reads as an operand; a comment becomes spaces. */
export function mask(source: string): Masked {
  const out: string[] = [];
  // One entry for each template that is open around the cursor: the depth of braces inside its `${ }`.
  const templates: number[] = [];
  let at = 0;
  const blank = (end: number, fill: string): void => {
    for (; at < end && at < source.length; at++) out.push(source[at] === '\n' ? '\n' : fill);
  };
  while (at < source.length) {
    const char = source[at] as string;
    const two = source.slice(at, at + 2);
    if (two === '//' || (at === 0 && two === '#!')) blank(endOr(source.indexOf('\n', at), source), ' ');
    else if (two === '/*') blank(endOr(source.indexOf('*/', at + 2), source) + 2, ' ');
    else if (char === "'" || char === '"') blank(stringEnd(source, at, char), '_');
    else if (char === '`') {
      blank(at + 1, '_');
      templateText();
    } else if (char === '/' && regexMayStart(out)) blank(regexEnd(source, at), '_');
    else {
      const depth = templates.at(-1);
      if (depth !== undefined && char === '{') templates[templates.length - 1] = depth + 1;
      if (depth !== undefined && char === '}') templates[templates.length - 1] = depth - 1;
      if (depth === 1 && char === '}') {
        templates.pop();
        out.push(')');
        at++;
        templateText();
      } else {
        out.push(char);
        at++;
      }
    }
  }
  return out.join('');

  // Blanks the text of a template up to its end, or up to a `${`, whose inside is code again: it is put in round brackets.
  function templateText(): void {
    while (at < source.length) {
      if (source[at] === '\\') blank(at + 2, '_');
      else if (source[at] === '`') return blank(at + 1, '_');
      else if (source.startsWith('${', at)) {
        out.push('_', '(');
        at += 2;
        templates.push(1);
        return;
      } else blank(at + 1, '_');
    }
  }
}

function endOr(index: number, source: string): number {
  return index < 0 ? source.length : index;
}

function stringEnd(source: string, start: number, quote: string): number {
  let at = start + 1;
  while (at < source.length && source[at] !== quote && source[at] !== '\n') at += source[at] === '\\' ? 2 : 1;
  return at + 1;
}

/** Whether a slash begins a regular expression: where an operand may stand, as opposed to after one, where it divides. */
function regexMayStart(out: readonly string[]): boolean {
  let last = out.length - 1;
  while (last >= 0 && /\s/.test(out[last] as string)) last--;
  if (last < 0) return true;
  const before = out[last] as string;
  // After `x++`, `x--` and `x!` comes a division.
  if (/(\+\+|--|[\w$)\]]!)$/.test(out.slice(Math.max(0, last - 1), last + 1).join(''))) return false;
  if (!/[\w$)\]]/.test(before)) return true;
  if (!/[\w$]/.test(before)) return false;
  let first = last;
  while (first > 0 && /[\w$]/.test(out[first - 1] as string)) first--;
  return REGEX_MAY_FOLLOW_WORDS.has(out.slice(first, last + 1).join(''));
}

function regexEnd(source: string, start: number): number {
  let inClass = false;
  let at = start + 1;
  for (; at < source.length && source[at] !== '\n'; at++) {
    const char = source[at];
    if (char === '\\') at++;
    else if (char === '[') inClass = true;
    else if (char === ']') inClass = false;
    else if (char === '/' && !inClass) break;
  }
  return at + 1;
}

/** One import of a file: the module as written, and whether it is loaded only when the code gets there (`import()`). */
export interface Import {
  readonly specifier: string;
  readonly dynamic: boolean;
}

/** All imports and re-exports of a source. */
export function importsOf(source: string, masked: Masked = mask(source)): Import[] {
  const found: Import[] = [];
  for (const match of masked.matchAll(/\b(from|import)(\s*\(?\s*)(?=_)/g)) {
    const start = match.index + match[0].length;
    const quote = source[start];
    if (quote !== "'" && quote !== '"') continue;
    const specifier = source.slice(start + 1, stringEnd(source, start, quote) - 1);
    found.push({ specifier, dynamic: match[0].includes('(') });
  }
  return found;
}

/** A function with a body: where it begins, and how many lines it takes from its parameters to its end. */
export interface FunctionSpan {
  readonly line: number;
  readonly lines: number;
}

const NO_FUNCTION_AFTER = new Set(['if', 'for', 'while', 'switch', 'catch', 'with', 'await']);

/** Every function of a source: declarations, methods, arrows; inner ones as well as the ones around them. */
export function functionsOf(masked: Masked): FunctionSpan[] {
  const found: FunctionSpan[] = [];
  const lineStarts = [0];
  for (let at = masked.indexOf('\n'); at >= 0; at = masked.indexOf('\n', at + 1)) lineStarts.push(at + 1);
  const add = (start: number, end: number): void => {
    const line = lineAt(lineStarts, start);
    found.push({ line, lines: lineAt(lineStarts, end) - line + 1 });
  };
  for (const match of masked.matchAll(/[\w$]\s*=>/g)) add(match.index, arrowEnd(masked, match.index + match[0].length));
  for (let open = masked.indexOf('('); open >= 0; open = masked.indexOf('(', open + 1)) {
    const head = /([\w$]+)\s*$/.exec(masked.slice(Math.max(0, open - 60), open))?.[1];
    if (head !== undefined && NO_FUNCTION_AFTER.has(head)) continue;
    const body = bodyAfter(masked, closing(masked, open) + 1);
    if (body !== null) add(open, masked[body] === '{' ? closing(masked, body) : arrowEnd(masked, body));
  }
  return found;
}

function lineAt(lineStarts: readonly number[], offset: number): number {
  let low = 0;
  let high = lineStarts.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((lineStarts[middle] as number) <= offset) low = middle;
    else high = middle;
  }
  return low + 1;
}

/** Offset of the bracket that closes the one at `open`; the end of the text when none does. */
function closing(masked: Masked, open: number): number {
  let depth = 0;
  for (let at = open; at < masked.length; at++) {
    const char = masked[at] as string;
    if ('([{'.includes(char)) depth++;
    else if (')]}'.includes(char) && --depth === 0) return at;
  }
  return masked.length - 1;
}

function skipSpace(masked: Masked, at: number): number {
  while (at < masked.length && /\s/.test(masked[at] as string)) at++;
  return at;
}

/** End of an arrow function whose body begins after `at`: its brace, or the end of its expression. */
function arrowEnd(masked: Masked, at: number): number {
  const start = skipSpace(masked, at);
  if (masked[start] === '{') return closing(masked, start);
  for (let end = start; end < masked.length; end++) {
    const char = masked[end] as string;
    if ('([{'.includes(char)) end = closing(masked, end);
    else if (')]},;'.includes(char)) return end;
  }
  return masked.length - 1;
}

/**
 * What follows the closed parameters of a function: the offset of its `{`, or that behind its `=>`; null when it was no function. Between
 * them a return type may stand, in which braces belong to the type wherever an operand is due.
 */
function bodyAfter(masked: Masked, after: number): number | null {
  let at = skipSpace(masked, after);
  if (masked[at] === '{') return at;
  if (masked.startsWith('=>', at)) return at + 2;
  if (masked[at] !== ':') return null;
  at++;
  let operandDue = true;
  let functionType = false;
  for (;;) {
    at = skipSpace(masked, at);
    const char = masked[at];
    if (char === undefined) return null;
    const word = /^[\w$]+/.exec(masked.slice(at, at + 80))?.[0];
    if (word !== undefined) {
      if (!operandDue && !TYPE_OPERATORS.has(word)) return null;
      operandDue = TYPE_OPERATORS.has(word);
      at += word.length;
    } else if (masked.startsWith('=>', at)) {
      if (!functionType) return at + 2;
      operandDue = true;
      functionType = false;
      at += 2;
    } else if ('({['.includes(char)) {
      if (char === '{' && !operandDue) return at;
      if (char === '(' && !operandDue) return null;
      const end = closing(masked, at);
      functionType = char === '(' && /^\(\s*\)|^\(\s*(\.\.\.)?[\w$]+\??\s*:/.test(masked.slice(at, end + 1));
      operandDue = false;
      at = end + 1;
    } else if (char === '<') {
      const end = anglesEnd(masked, at);
      if (end === null) return null;
      at = end;
    } else if ('|&.?:'.includes(char)) {
      operandDue = true;
      at++;
    } else return null;
  }
}

const TYPE_OPERATORS = new Set(['is', 'extends', 'asserts', 'keyof', 'typeof', 'readonly', 'infer', 'unique']);

/** Offset behind the `>` of type arguments; null when the `<` was a comparison. */
function anglesEnd(masked: Masked, open: number): number | null {
  let depth = 0;
  for (let at = open; at < masked.length; at++) {
    const char = masked[at] as string;
    if ('([{'.includes(char)) at = closing(masked, at);
    else if (')]};'.includes(char)) return null;
    else if (char === '<') depth++;
    else if (char === '>' && masked[at - 1] !== '=' && --depth === 0) return at + 1;
  }
  return null;
}
