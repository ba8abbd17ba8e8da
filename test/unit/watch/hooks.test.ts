// Hooks: real programs in a folder, what they are told, and what becomes of those that fail or hang.

import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { test } from 'node:test';

import type { SiteEvent } from '../../../src/watch/events.ts';
import { Hooks } from '../../../src/watch/hooks.ts';

const event: SiteEvent = {
  id: 'r1-1',
  time: '2026-01-01T00:00:00.000Z',
  site: 'alpha',
  kind: 'disconnect',
  group: 'db',
  peer: 'beta',
  facts: {},
  text: 'ended',
};

interface Rig {
  readonly folder: string;
  readonly hooks: Hooks;
  readonly lines: string[];
  write(name: string, script: string, mode?: number): void;
}

function rig(t: TestContext, millisMax?: number): Rig {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-hooks-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const lines: string[] = [];
  const hooks = new Hooks({
    folder,
    journal: (_name, facts, text) => lines.push(`${text} | ${typeof facts['said'] === 'string' ? facts['said'] : ''}`),
    failed: () => {},
    ...(millisMax !== undefined && { millisMax }),
  });
  const write = (name: string, script: string, mode = 0o755): void => {
    writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(folder, name), mode);
  };
  return { folder, hooks, lines, write };
}

test('every program is called with the hook, the event, and its facts in the environment', async (t) => {
  const { folder, hooks, write } = rig(t);
  write('20-second', `echo second >> ${folder}/order.log`);
  write('10-first', `echo first >> ${folder}/order.log; { echo "$1 $TERCET_SITE $TERCET_GROUP $TERCET_PEER"; cat; } > ${folder}/said.log`);
  write('notes', 'echo notes >> order', 0o644);
  hooks.call(event);
  await hooks.idle();
  assert.equal(readFileSync(join(folder, 'order.log'), 'utf8'), 'first\nsecond\n');
  const [head, body] = readFileSync(join(folder, 'said.log'), 'utf8').split('\n');
  assert.equal(head, 'disconnect alpha db beta');
  assert.deepEqual(JSON.parse(body ?? ''), event);
  assert.deepEqual(hooks.counts, { done: 2, failed: 0, dropped: 0 });
});

test('a program that fails is told, with what it said, and the next one runs', async (t) => {
  const { folder, hooks, lines, write } = rig(t);
  write('a', 'echo no mail here >&2; exit 3');
  write('b', `touch ${folder}/done.log`);
  hooks.call(event);
  await hooks.idle();
  assert.deepEqual(lines, [`hook ${folder}/a disconnect ended with exit code 3 | no mail here`]);
  assert.ok(existsSync(join(folder, 'done.log')));
});

test('a program that hangs is ended with what it started', async (t) => {
  const { folder, hooks, lines, write } = rig(t, 300);
  write('a', `sleep 600 & echo $! > ${folder}/child.log; wait`);
  hooks.call(event);
  await hooks.idle();
  assert.match(lines[0] ?? '', /did not end within 0.3 s and was ended/);
  const child = Number(readFileSync(join(folder, 'child.log'), 'utf8'));
  const isGone = (): boolean => {
    try {
      return readFileSync(`/proc/${child}/stat`, 'utf8').includes(') Z ');
    } catch {
      return true;
    }
  };
  for (const end = Date.now() + 5000; !isGone();) {
    assert.ok(Date.now() < end, 'what the hook started goes on');
    await new Promise((resolve) => {
      setTimeout(resolve, 10);
    });
  }
});

test('calls that wait are bounded, and those left out are counted', async (t) => {
  const { hooks, lines, write } = rig(t);
  write('a', 'exit 0');
  hooks.folder = '/nowhere';
  for (let i = 0; i < 300; i++) hooks.call(event);
  assert.equal(hooks.counts.dropped, 44);
  assert.match(lines[0] ?? '', /256 hooks wait already/);
  await hooks.idle();
});

test('an event without a hook calls nobody', async (t) => {
  const { hooks, write } = rig(t);
  write('a', 'exit 0');
  hooks.call({ ...event, kind: 'started' });
  await hooks.idle();
  assert.deepEqual(hooks.counts, { done: 0, failed: 0, dropped: 0 });
});
