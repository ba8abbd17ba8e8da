// docs/recovery.md and its rehearsals, bound to each other. A rehearsal names the situation of the page that it brings about, and takes the sentences that it
// waits for from the page; a unit test (test/unit/recovery-page.test.ts) finds situations and sentences that no rehearsal names.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/recovery.md'), 'utf8');

/** Headings that are no situations. */
const OTHER_HEADINGS: readonly string[] = ['First'];

/** All situations of the page, by their headings. */
export const SITUATIONS: readonly string[] = [...PAGE.matchAll(/^#{2,} (.+)$/gm)]
  .map((match) => match[1] as string)
  .filter((heading) => !OTHER_HEADINGS.includes(heading));

/** Every sentence of Tercet that the page quotes: what stands between back-quotes, has a space, and is no command and no line of the configuration. */
export const SENTENCES: readonly string[] = [
  ...new Set(
    [...PAGE.replace(/^ *```[\s\S]*?^ *```/gm, '').matchAll(/`([^`]+)`/g)]
      .map((match) => (match[1] as string).replace(/\s+/g, ' '))
      .filter((quoted) => quoted.includes(' ') && !/^(tercet|tercetd|systemctl|etcdctl|cp) | = |^--/.test(quoted)),
  ),
];

/** Says that what follows in a test is this situation, brought about and got out of as the page says. */
export function rehearse(situation: string): void {
  assert.ok(SITUATIONS.includes(situation), `docs/recovery.md has no situation "${situation}"`);
}

/** A sentence of the page, as what it stands for: numbers, names of sites and "..." may be others. */
export function told(sentence: string): RegExp {
  assert.ok(SENTENCES.includes(sentence), `docs/recovery.md does not say \`${sentence}\``);
  const pattern = sentence
    .replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
    .replaceAll('\\.\\.\\.', '.*')
    .replace(/\b[0-9]+ (s|min|h)\b/g, '[0-9.]+ (s|min|h)')
    .replace(/\b(alpha|beta|gamma)\b/g, '(alpha|beta|gamma)');
  return new RegExp(pattern);
}
