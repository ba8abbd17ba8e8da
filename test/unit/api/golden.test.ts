// The forms of the control API and of the witness, version 1, pinned field by field: what a program was told once it is told for as long as the version is
// in the path, under the same name and of the same kind, and what it was allowed to ask it may ask. New fields may come beside these; with a release they are
// written down in test/golden/api-v1.txt as well (TERCET_PIN=1 writes it).

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import * as z from 'zod';

import * as api from '../../../src/api/schema.ts';
import { sidefileSchema } from '../../../src/api/sidefile.ts';
import { verifyProgressSchema, verifyStatusSchema } from '../../../src/api/verify.ts';
import { answerSchema, operationSchema, stateSchema } from '../../../src/witness/schema.ts';

const FILE = new URL('../../golden/api-v1.txt', import.meta.url);

/** What programs are told. */
const TOLD: Readonly<Record<string, z.ZodType>> = {
  status: api.daemonStatusSchema,
  health: api.healthSchema,
  events: api.eventListSchema,
  explain: api.explanationSchema,
  outcome: api.outcomeSchema,
  reload: api.reloadSchema,
  sidefile: sidefileSchema,
  verify: verifyStatusSchema,
  'verify-progress': verifyProgressSchema,
  error: api.apiErrorSchema,
  'witness-answer': answerSchema,
  'witness-state': stateSchema,
};

/** What they may ask. */
const ASKED: Readonly<Record<string, z.ZodType>> = {
  resync: api.resyncSchema,
  pause: api.pauseSchema,
  resume: api.resumeSchema,
  promote: api.promoteSchema,
  switchover: api.switchoverSchema,
  'witness-operation': operationSchema,
};

interface Node {
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Node>>;
  readonly required?: readonly string[];
  readonly items?: Node | readonly Node[];
  readonly anyOf?: readonly Node[];
  readonly oneOf?: readonly Node[];
  readonly additionalProperties?: Node | boolean;
}

/** Each field of a form, one a line: where it is, whether it is always there, and its kind. Values of an enumeration are lines of their own. */
function fields(node: Node, at: string, note: string): string[] {
  const branches = node.anyOf ?? node.oneOf ?? [];
  if (branches.length > 0) return branches.flatMap((branch) => fields(branch, `${at}${variant(branch)}`, note));
  if (node.const !== undefined) return [`${at}: ${JSON.stringify(node.const)}${note}`];
  if (node.enum !== undefined) return node.enum.map((value) => `${at}: ${JSON.stringify(value)}${note}`);
  const own = `${at}: ${[node.type ?? 'any'].flat().join(' or ')}${note}`;
  const inner = Object.entries(node.properties ?? {}).flatMap(([name, each]) =>
    fields(each, `${at}.${name}`, node.required?.includes(name) === true ? '' : ', perhaps'),
  );
  const items = [node.items ?? []].flat() as readonly Node[];
  const rest = typeof node.additionalProperties === 'object' ? [node.additionalProperties] : [];
  return [own, ...inner, ...items.flatMap((item) => fields(item, `${at}[]`, '')), ...rest.flatMap((each) => fields(each, `${at}{}`, ''))];
}

/** What tells one of several forms from the others. */
function variant({ properties = {} }: Node): string {
  const fixed = Object.entries(properties).find(([, { const: value }]) => value !== undefined);
  return fixed === undefined ? '' : `(${String(fixed[1].const)})`;
}

function linesOf(schemas: Readonly<Record<string, z.ZodType>>, io: 'input' | 'output'): string[] {
  const lines = Object.entries(schemas).flatMap(([name, schema]) =>
    fields(z.toJSONSchema(schema, { unrepresentable: 'any', io }) as unknown as Node, name, ''),
  );
  return [...new Set(lines)].sort();
}

test('what the control API and the witness tell and take in version 1 they go on telling and taking', () => {
  const now = [...linesOf(TOLD, 'output').map((line) => `told  ${line}`), ...linesOf(ASKED, 'input').map((line) => `asked ${line}`)];
  if (process.env['TERCET_PIN'] === '1') writeFileSync(FILE, `${now.join('\n')}\n`);
  const pinned = readFileSync(FILE, 'utf8').trimEnd().split('\n');
  assert.ok(pinned.length > 300, String(pinned.length));
  const there = new Set(now);
  assert.deepEqual(
    pinned.filter((line) => !there.has(line)),
    [],
    'a field of version 1 is gone, or of another kind',
  );
  const known = new Set(pinned.map((line) => line.replace(/:.*/, '')));
  const demanded = now.filter((line) => line.startsWith('asked') && !line.endsWith(', perhaps') && !known.has(line.replace(/:.*/, '')));
  // A new kind of question may need what it likes; an old one asks as it did.
  const isNew = (line: string): boolean => !known.has(line.replace(/:.*/, '').replace(/\.[^.]*$/, ''));
  assert.deepEqual(
    demanded.filter((line) => !isNew(line)),
    [],
    'programs of before do not send this',
  );
});
