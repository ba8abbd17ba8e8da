// Line numbers of the keys and values of a TOML text. The parser (smol-toml) gives values without their places, and a fault without its
// line is hard to find in a long file. Only for texts that the parser has accepted: then this needs to know no more than where things begin.

/** Way to a value: names of tables and keys, and indexes of array elements. */
export type KeyPath = readonly (string | number)[];

/** Lines, from 1, at which keys, tables and array elements begin. */
export interface TomlPlaces {
  /** Line of that key, or of the nearest table around it that is in the text; 1 when none is. */
  lineOf(path: KeyPath): number;
  /** Whether the text itself has that key. */
  has(path: KeyPath): boolean;
}

/** Reads the places of an accepted TOML text. */
export function tomlPlaces(text: string): TomlPlaces {
  const scanner = new Scanner(text);
  scanner.document();
  const { lines } = scanner;
  return {
    lineOf(path) {
      for (let length = path.length; length > 0; length--) {
        const line = lines.get(JSON.stringify(path.slice(0, length)));
        if (line !== undefined) return line;
      }
      return 1;
    },
    has: (path) => lines.has(JSON.stringify(path)),
  };
}

const BARE_KEY = /[A-Za-z0-9_-]/;

class Scanner {
  readonly lines: Map<string, number> = new Map();
  readonly #text: string;
  readonly #elementCounts: Map<string, number> = new Map();
  #at = 0;
  #line = 1;

  constructor(text: string) {
    this.#text = text;
  }

  document(): void {
    let table: KeyPath = [];
    for (;;) {
      this.#blank();
      if (this.#at >= this.#text.length) return;
      if (this.#here() === '[') table = this.#header();
      else this.#pair(table);
    }
  }

  #here(): string {
    return this.#text.charAt(this.#at);
  }

  #step(): void {
    if (this.#here() === '\n') this.#line++;
    this.#at++;
  }

  /** Passes white space, line ends and comments. */
  #blank(): void {
    for (;;) {
      const char = this.#here();
      if (char === '#') while (this.#at < this.#text.length && this.#here() !== '\n') this.#step();
      else if (char !== '' && /\s/.test(char)) this.#step();
      else return;
    }
  }

  #note(path: KeyPath): void {
    const key = JSON.stringify(path);
    if (!this.lines.has(key)) this.lines.set(key, this.#line);
  }

  /** [a.b] and [[a.b]]: the path of the table whose keys follow. */
  #header(): KeyPath {
    this.#step();
    const element = this.#here() === '[';
    if (element) this.#step();
    const names = this.#names();
    let path: KeyPath = [];
    for (const [index, name] of names.entries()) {
      path = [...path, name];
      this.#note(path);
      const key = JSON.stringify(path);
      if (element && index === names.length - 1) this.#elementCounts.set(key, (this.#elementCounts.get(key) ?? 0) + 1);
      const count = this.#elementCounts.get(key);
      if (count !== undefined) path = [...path, count - 1];
    }
    this.#note(path);
    while (this.#here() === ']') this.#step();
    return path;
  }

  #pair(table: KeyPath): void {
    let path = table;
    for (const name of this.#names()) {
      path = [...path, name];
      this.#note(path);
    }
    // The '=': names() stops at it.
    this.#step();
    this.#blank();
    this.#value(path);
  }

  /** Names of a dotted key, up to the '=' or ']' behind it. */
  #names(): readonly string[] {
    const names: string[] = [];
    for (;;) {
      this.#blank();
      const char = this.#here();
      if (char === '"' || char === "'") names.push(this.#string(char));
      else if (char === '.') this.#step();
      else if (BARE_KEY.test(char)) names.push(this.#bare());
      else return names;
    }
  }

  #bare(): string {
    const start = this.#at;
    while (BARE_KEY.test(this.#here())) this.#step();
    return this.#text.slice(start, this.#at);
  }

  #value(path: KeyPath): void {
    const char = this.#here();
    if (char === '[') this.#array(path);
    else if (char === '{') this.#inlineTable(path);
    else if (char === '"' || char === "'") this.#string(char);
    else while (this.#at < this.#text.length && !/[,\]}\n#]/.test(this.#here())) this.#step();
  }

  #array(path: KeyPath): void {
    this.#step();
    for (let index = 0; ; index++) {
      this.#separators();
      if (this.#at >= this.#text.length || this.#here() === ']') break;
      const element = [...path, index];
      this.#note(element);
      const before = this.#at;
      this.#value(element);
      // Not in an accepted text; but a scanner must end on any.
      if (this.#at === before) this.#step();
    }
    this.#step();
  }

  #inlineTable(path: KeyPath): void {
    this.#step();
    for (;;) {
      this.#separators();
      if (this.#at >= this.#text.length || this.#here() === '}') break;
      this.#pair(path);
    }
    this.#step();
  }

  #separators(): void {
    this.#blank();
    while (this.#here() === ',') {
      this.#step();
      this.#blank();
    }
  }

  /** A string in any of the four forms; returns its text, with the escapes of a basic string resolved where JSON knows them too. */
  #string(quote: string): string {
    const triple = this.#text.startsWith(quote.repeat(3), this.#at);
    const close = triple ? quote.repeat(3) : quote;
    for (let count = 0; count < close.length; count++) this.#step();
    const start = this.#at;
    while (this.#at < this.#text.length && !this.#text.startsWith(close, this.#at)) {
      if (quote === '"' && this.#here() === '\\') this.#step();
      this.#step();
    }
    const body = this.#text.slice(start, this.#at);
    for (let count = 0; count < close.length; count++) this.#step();
    // """a"""" ends with a quote that belongs to the text.
    while (triple && this.#here() === quote) this.#step();
    return quote === '"' ? unescaped(body) : body;
  }
}

function unescaped(body: string): string {
  if (!body.includes('\\')) return body;
  try {
    return JSON.parse(`"${body}"`) as string;
  } catch (error) {
    // An escape of TOML that JSON lacks (\U0001F600, \e): the key is then found by the table around it.
    if (error instanceof SyntaxError) return body;
    throw error;
  }
}
