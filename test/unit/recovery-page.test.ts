// Each situation of docs/recovery.md, and each sentence that it quotes, is rehearsed with real daemons by a test that names it.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { SENTENCES, SITUATIONS, told } from '../support/recovery-page.ts';

const folder = join(import.meta.dirname, '../e2e');
const texts = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8'));

/** What the end-to-end tests hand to a function, as a string. */
function handedTo(name: string): ReadonlySet<string> {
  const calls = texts.flatMap((text) => [...text.matchAll(new RegExp(`\\b${name}\\(\\s*(['"\`])(.*?)\\1\\s*,?\\s*\\)`, 'gs'))]);
  return new Set(calls.map((match) => match[2] as string));
}

test('every situation of docs/recovery.md has a rehearsal', () => {
  assert.ok(SITUATIONS.length > 10, SITUATIONS.join(', '));
  const rehearsed = handedTo('rehearse');
  assert.deepEqual(
    SITUATIONS.filter((situation) => !rehearsed.has(situation)),
    [],
    'call rehearse() with it where an end-to-end test brings it about',
  );
  assert.deepEqual(
    [...rehearsed].filter((situation) => !SITUATIONS.includes(situation)),
    [],
  );
});

test('every sentence that docs/recovery.md quotes is waited for in a rehearsal', () => {
  assert.ok(SENTENCES.length > 10, SENTENCES.join(', '));
  const heard = handedTo('told');
  assert.deepEqual(
    SENTENCES.filter((sentence) => !heard.has(sentence)),
    [],
    'take it from the page with told() where an end-to-end test waits for it',
  );
});

test('a sentence of the page stands for the same with other numbers and sites, and for nothing else', () => {
  assert.match('gamma is not connected to beta', told('beta is not connected to alpha'));
  assert.doesNotMatch('gamma is not known to beta', told('beta is not connected to alpha'));
});
