// The repository's own rules, which no compiler or linter knows: who may import whom, how long a function may grow, that the documentation
// names every error and every field of every stored form, that nothing slips in that belongs on one machine only.

import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { posix } from 'node:path';
import { test } from 'node:test';

import { ERROR_CODES } from '../src/core/base/errors.ts';
import { ROOT, coreLayouts, listFiles, readText } from './tidy/files.ts';
import { layoutPlaceText, layoutPlaces } from './tidy/layouts.ts';
import { REFERENCE_PARTS, fillReference, plain, referenceParts } from './tidy/reference.ts';
import { functionsOf, importsOf, mask } from './tidy/source.ts';

const FUNCTION_LINES_MAX = 70;
const FILE_LINES_MAX = 700;
const FILE_BYTES_MAX = 200 * 1024;

const CORE = ['core/base', 'core/record', 'core/nbd', 'core/arbiter', 'core/replica', 'core/scan', 'core/mirror', 'core/site'] as const;

/** What a folder may import besides itself. A folder that is not listed may not exist. */
interface Allowed {
  readonly folders: readonly string[];
  /** Folders that may be loaded by import() alone: where a command is the place that starts the program in question. */
  readonly dynamic?: readonly string[];
  readonly node: boolean;
  readonly packages: readonly string[];
}

const core = (...folders: string[]): Allowed => ({ folders, node: false, packages: [] });

// Direction of imports. Reasons in docs/ARCHITECTURE.md: the core knows no machine, host and sim are two implementations of the same ports
// and never meet, and a command talks to a daemon through its API and not through its modules.
const IMPORTS: Readonly<Record<string, Allowed>> = {
  'core/base': core(),
  'core/record': core('core/base'),
  'core/nbd': core('core/base'),
  'core/arbiter': core('core/base'),
  'core/replica': core('core/base', 'core/record'),
  'core/scan': core('core/base', 'core/record', 'core/replica'),
  'core/mirror': core('core/base', 'core/record', 'core/replica', 'core/scan', 'core/arbiter'),
  'core/site': core(...CORE),
  host: { folders: CORE, node: true, packages: ['koffi', '@node-rs/crc32'] },
  // The model as well: its traces are replayed against the core.
  sim: { folders: [...CORE, 'spec'], node: true, packages: [] },
  witness: { folders: ['core/base', 'core/arbiter', 'host'], node: true, packages: ['hono', '@hono/node-server', 'zod', 'pino'] },
  api: { folders: ['core/base', 'core/arbiter', 'core/site'], node: true, packages: ['hono', '@hono/node-server', 'zod'] },
  // Looks at a site from outside, as the API shows it.
  watch: { folders: ['core/base', 'core/site', 'api'], node: true, packages: ['hono'] },
  daemon: {
    folders: [...CORE, 'host', 'witness', 'api', 'watch'],
    node: true,
    packages: ['hono', '@hono/node-server', 'zod', 'pino', 'smol-toml'],
  },
  cli: {
    folders: ['api', 'core/base'],
    dynamic: ['attach', 'daemon', 'host', 'preflight', 'witness'],
    node: true,
    packages: ['@stricli/core', 'zod', 'smol-toml'],
  },
  // Runs in a browser, which gets these files as they are.
  page: { folders: [], node: false, packages: [] },
  attach: { folders: ['core/base', 'core/nbd', 'host'], node: true, packages: [] },
  preflight: { folders: ['api', 'core/base', 'host'], node: true, packages: [] },
  demo: { folders: ['api', 'core/base'], node: true, packages: [] },
  // A second opinion on the rules: it shares no line with what it judges.
  spec: { folders: [], node: true, packages: [] },
};
const FREE = ['scripts', 'test'];

const files = listFiles();
const sources = files.filter((path) => /\.(ts|js)$/.test(path));
const masks = new Map(sources.map((path) => [path, mask(readText(path))]));
const isText = (path: string): boolean =>
  !path.startsWith('test/golden/') && !readFileSync(`${ROOT}/${path}`).subarray(0, 8192).includes(0);

/** Folder of the import table that a source belongs to, such as core/replica, host, test. */
function folderOf(path: string): string {
  const parts = path.split('/');
  if (parts[0] !== 'src') return parts[0] as string;
  return parts[1] === 'core' ? `core/${parts[2]}` : (parts[1] as string);
}

/** Why an import is not allowed; null when it is. */
function importFault(path: string, specifier: string, dynamic: boolean): string | null {
  const from = folderOf(path);
  if (FREE.includes(from) || path.startsWith('bin/')) return null;
  const allowed = IMPORTS[from];
  if (allowed === undefined) return `${path}: folder ${from} is not in the import table of test/tidy.test.ts`;
  if (specifier.startsWith('node:')) return allowed.node ? null : `${path} imports ${specifier}: ${from} must not know Node.js`;
  if (!specifier.startsWith('.')) {
    const name = specifier
      .split('/')
      .slice(0, specifier.startsWith('@') ? 2 : 1)
      .join('/');
    return allowed.packages.includes(name) ? null : `${path} imports package ${name}, which is not for ${from}`;
  }
  const to = folderOf(posix.join(posix.dirname(path), specifier));
  if (to === from || allowed.folders.includes(to) || (dynamic && allowed.dynamic?.includes(to) === true)) return null;
  return `${path} imports ${specifier}: ${from} may import ${[...allowed.folders, ...(allowed.dynamic ?? [])].join(', ') || 'nothing'}`;
}

/** Fails with all faults at once, one to a line. */
function none(faults: readonly (string | null)[]): void {
  const found = faults.filter((fault) => fault !== null);
  assert.equal(found.length, 0, `\n${found.join('\n')}`);
}

/** Places where a pattern stands in files, as faults. */
function occurrences(paths: readonly string[], pattern: RegExp, text: string, read: (path: string) => string = readText): string[] {
  return paths.flatMap((path) =>
    read(path)
      .split('\n')
      .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${text}`] : [])),
  );
}

test('every import follows the import table', () => {
  none(sources.flatMap((path) => importsOf(readText(path), masks.get(path)).map((one) => importFault(path, one.specifier, one.dynamic))));
});

test('the import table refuses what it should', () => {
  assert.equal(importFault('src/core/nbd/a.ts', '../base/units.ts', false), null);
  assert.equal(importFault('src/cli/commands/a.ts', '../../witness/server.ts', true), null);
  for (const [path, specifier] of [
    ['src/core/nbd/a.ts', '../replica/replica.ts'],
    ['src/core/base/a.ts', 'node:fs'],
    ['src/core/base/a.ts', 'zod'],
    ['src/host/a.ts', '../sim/world.ts'],
    ['src/sim/a.ts', '../host/disk.ts'],
    ['src/cli/commands/a.ts', '../../witness/server.ts'],
    ['src/elsewhere/a.ts', './b.ts'],
    ['src/core/site/a.ts', '../../host/disk.ts'],
  ] as const) {
    assert.notEqual(importFault(path, specifier, false), null, `${path} may import ${specifier}`);
  }
});

test('imports are found in every form, and not in comments or strings', () => {
  const source = [
    `import { a } from './a.ts';`,
    `import type { B } from "./b.ts";`,
    `export * from './c.ts';`,
    `import './d.ts';`,
    `const e = await import('./e.ts');`,
    `// import './no.ts';`,
    'const text = `import "./no.ts" ${await import("./f.ts")} from "./no.ts"`;',
  ].join('\n');
  const found = importsOf(source);
  assert.deepEqual(
    found.map((one) => one.specifier),
    ['./a.ts', './b.ts', './c.ts', './d.ts', './e.ts', './f.ts'],
  );
  assert.deepEqual(
    found.map((one) => one.dynamic),
    [false, false, false, false, true, true],
  );
});

test(`no function is longer than ${FUNCTION_LINES_MAX} lines`, () => {
  // The body of describe() is a list of tests, not a function that someone has to hold in mind.
  const bounded = sources.filter((path) => !path.startsWith('test/'));
  none(
    bounded.flatMap((path) =>
      functionsOf(masks.get(path) as string)
        .filter((one) => one.lines > FUNCTION_LINES_MAX)
        .map((one) => `${path}:${one.line}: a function of ${one.lines} lines`),
    ),
  );
});

test('functions are measured in every form', () => {
  // A function type, or the return type of an arrow, may count as one more function, never longer than the one around it.
  const measure = (source: string): number[] => [...new Set(functionsOf(mask(source)).map((one) => one.lines))];
  assert.deepEqual(measure('export function a(b: number): void {\n  c();\n}'), [3]);
  assert.deepEqual(measure('function a(): { b: number } {\n  return c;\n}'), [3]);
  assert.deepEqual(measure('function a(b: B): asserts b is C {\n}'), [2]);
  assert.deepEqual(measure('function a(): (b: number) => number {\n\n}'), [3]);
  assert.deepEqual(measure('function* a(): Generator<{ b: 1 }, Map<C, D[]>> {\n\n}'), [3]);
  assert.deepEqual(measure('class A {\n  b(c = "}"): void {\n    // }\n    d(`{${e}`);\n  }\n}'), [4]);
  assert.deepEqual(measure('const a = (b: number): C =>\n  d(b,\n    1);'), [3]);
  assert.deepEqual(measure('const a = b => {\n};'), [2]);
  assert.deepEqual(measure('const a = /[/}{]\\//.test(b) ? c(d) : e;'), []);
  assert.deepEqual(measure('if (a(b)) {\n\n}\nfor (const a of b) {\n}\nswitch (a) {\n  case b(c): {\n  }\n}'), []);
  assert.deepEqual(measure('const a = b ? c(d) : e < f;\nconst g = h > i;'), []);
  assert.deepEqual(measure('interface A {\n  b(c: number): void;\n}'), []);
  assert.deepEqual(measure(`function a() {${'\n'.repeat(70)}}`), [71]);
});

test(`no source is longer than ${FILE_LINES_MAX} lines`, () => {
  none(sources.map((path) => (readText(path).split('\n').length > FILE_LINES_MAX + 1 ? `${path} is longer: split it by meaning` : null)));
});

test('every source opens with a comment on why it exists, under a name that says what is in it', () => {
  const unopened = sources.map((path) =>
    /^(#!.*\n)?(\/\/|\/\*\*) ?\S/.test(readText(path)) ? null : `${path} does not open with a comment`,
  );
  const nameless = sources.map((path) =>
    /\/(utils?|helpers?|common|misc)\.(ts|js)$/.test(path) ? `${path}: a name that says nothing` : null,
  );
  none([...unopened, ...nameless]);
});

test('nothing is left for later', () => {
  const word = new RegExp(`\\b(${['TO', 'DO'].join('')}|${['FIX', 'ME'].join('')}|${['XX', 'X'].join('')})\\b`);
  none(occurrences(files.filter(isText), word, 'write an issue or do it now'));
});

test('no test is skipped, and none runs alone', () => {
  const tests = sources.filter((path) => path.startsWith('test/'));
  const read = (path: string): string => masks.get(path) as string;
  const calls = occurrences(tests, /\b(test|it|describe|suite|t|context)\s*\.\s*(only|skip|todo)\b/, 'a test that does not count', read);
  const options = occurrences(tests, /\b(test|it|describe|suite)\(.*\{[^}]*\b(only|skip|todo)\s*:/, 'a test that does not count', read);
  none([...calls, ...options]);
});

test('every error code has its heading in docs/reference/errors.md, and every heading its code', () => {
  const headings = [...readText('docs/reference/errors.md').matchAll(/^## (\S+)$/gm)].map((match) => match[1]);
  assert.deepEqual(headings, [...ERROR_CODES]);
});

test('every stored or sent form has its offset table in docs/internals, as it is in the code', async () => {
  const { layouts, hidden } = await coreLayouts(files);
  none(hidden);
  const seen = new Set<string>();
  const faults: string[] = [];
  for (const path of files.filter((file) => file.startsWith('docs/') && file.endsWith('.md'))) {
    for (const place of layoutPlaces(readText(path))) {
      const layout = layouts.get(place.name);
      if (layout === undefined) faults.push(`${path}: the core has no layout ${place.name}`);
      else if (place.text !== layoutPlaceText(layout))
        faults.push(`${path}: the table of ${place.name} is not that of the code: npm run docs`);
      seen.add(place.name);
    }
  }
  for (const name of layouts.keys()) {
    if (!seen.has(name))
      faults.push(`layout ${name} is in no page: give it a place in docs/internals (see test/tidy/layouts.ts) and npm run docs`);
  }
  none(faults);
});

test('every command, option, metric, event, hook and exit code stands in the reference as it is in the code', () => {
  const pages = files.filter((file) => file.startsWith('docs/') && file.endsWith('.md')).map((path) => ({ path, page: readText(path) }));
  none(
    pages.map(({ path, page }) => (plain(fillReference(page)) === plain(page) ? null : `${path} is not what the code says: npm run docs`)),
  );
  const present = pages.flatMap(({ page }) => referenceParts(page));
  none(REFERENCE_PARTS.map((part) => (present.includes(part) ? null : `no page has a place for the part "${part}" of the reference`)));
});

test('every command, metric and page that the documentation speaks of exists', () => {
  const known = namesOf(REFERENCE_PARTS.map((part) => fillReference(`<!-- reference: ${part} -->\n<!-- end of reference -->`)).join('\n'));
  const pages = files.filter((file) => file.endsWith('.md') && file !== 'CHANGELOG.md');
  none(pages.flatMap((path) => [...strangers(path, known), ...deadLinks(path)]));
  assert.deepEqual(strangers('x', known, '`tercet status --jsn`, `tercet fly`, tercet_flights_total'), [
    'x: `tercet status --jsn`: there is no option --jsn',
    'x: `tercet fly`: there is no such command',
    'x: there is no metric tercet_flights_total',
  ]);
});

/** Commands with their options, and metrics, from the generated parts of the reference. */
interface Known {
  readonly options: ReadonlyMap<string, ReadonlySet<string>>;
  readonly metrics: ReadonlySet<string>;
}

function namesOf(reference: string): Known {
  const options = new Map<string, Set<string>>();
  let last = new Set<string>();
  for (const line of reference.split('\n')) {
    const command = /^## `tercet ([a-z -]+?)( [[A-Z].*)?`$/.exec(line)?.[1];
    if (command !== undefined) options.set(command, (last = new Set(['--help', '--version'])));
    const option = /^\| `(--[a-z-]+)/.exec(line)?.[1];
    if (option !== undefined) last.add(option);
  }
  return { options, metrics: new Set([...reference.matchAll(/`(tercet_[a-z_]+)`/g)].map((match) => match[1] as string)) };
}

/** Commands in code marks and metrics anywhere that the code does not know. */
function strangers(path: string, { options, metrics }: Known, text: string = readText(path)): string[] {
  const faults: string[] = [];
  for (const [, typed] of text.matchAll(/`tercet ((?:[a-z-]+ ?)+[^`]*)`/g)) {
    const words = (typed as string).split(' ');
    const command = [words.slice(0, 2).join(' '), words[0] as string].find((each) => options.has(each));
    const isGroup = [...options.keys()].some((each) => each.startsWith(`${words[0]} `));
    if (command === undefined) {
      if (!isGroup || words.slice(1).some((word) => word !== '--help'))
        faults.push(`${path}: \`tercet ${typed}\`: there is no such command`);
      continue;
    }
    for (const [option] of (typed as string).matchAll(/--[a-z-]+/g))
      if (options.get(command)?.has(option) !== true) faults.push(`${path}: \`tercet ${typed}\`: there is no option ${option}`);
  }
  for (const [, metric] of text.matchAll(/\b(tercet_[a-z_]*[a-z])\b/g))
    if (!metrics.has(metric as string)) faults.push(`${path}: there is no metric ${metric}`);
  return faults;
}

/** Links to files of the repository, or to headings of them, that do not exist. */
function deadLinks(path: string): string[] {
  return [...readText(path).matchAll(/\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].flatMap(([, target, heading]) => {
    const file = target === '' ? path : posix.join(posix.dirname(path), target as string);
    const isFolder = files.some((each) => each.startsWith(`${file.replace(/\/$/, '')}/`));
    if (!files.includes(file) && !isFolder) return [`${path}: there is no ${file}`];
    if (heading === undefined || !file.endsWith('.md')) return [];
    const anchors = [...readText(file).matchAll(/^#+ (.+)$/gm)].map((match) => anchorOf(match[1] as string));
    return anchors.includes(heading) ? [] : [`${path}: ${file} has no heading #${heading}`];
  });
}

/** The anchor that a forge gives a heading. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^a-z0-9 _-]/g, '')
    .replaceAll(' ', '-');
}

test('files are small, and binary only where they are golden', () => {
  const large = files.map((path) =>
    statSync(`${ROOT}/${path}`).size > FILE_BYTES_MAX ? `${path} is larger than ${FILE_BYTES_MAX} bytes` : null,
  );
  const binary = files.map((path) =>
    isText(path) || path.startsWith('test/golden/') ? null : `${path} is binary: move it to test/golden`,
  );
  none([...large, ...binary]);
});

test('nothing names a package registry or a place on one machine', () => {
  const texts = files.filter(isText);
  const registries = occurrences(
    texts,
    /\bregistry\.[a-z-]+\.(org|com|net|io)\b|\bregistry\s*=|npm\.pkg\.github|registry\.npm/,
    'names a package registry',
  );
  const places = occurrences(texts, /(^|[\s'"`(=:])\/(work|root|home\/\w+|Users\/\w+)\//, 'a path of one machine');
  none([...registries, ...places]);
  assert.equal(/"resolved":/.test(readText('package-lock.json')), false, 'the lockfile names where packages came from: see .npmrc');
});
