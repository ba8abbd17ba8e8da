// A backup holds every group, comes back whole into an empty store only, and what came back grants nothing.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { backupOf, parseBackup, restoreBackup } from '../../../src/witness/backup.ts';
import { openFileStore } from '../../../src/witness/file-store.ts';
import { memoryStore } from '../../../src/witness/memory-store.ts';
import { startService } from '../../../src/witness/service.ts';

async function text(): Promise<string> {
  const store = memoryStore('old');
  const service = await startService(store, () => {});
  const copies = [
    { site: 'a', mode: 'sync' as const },
    { site: 'b', mode: 'sync' as const },
  ];
  for (const group of ['vm', 'db'])
    await service.answer({ kind: 'create', requestId: 'c', group, from: 'a', groupId: `id-${group}`, copies, first: 'a' });
  await service.answer({ kind: 'claim', requestId: 'k', group: 'db', from: 'a', revision: 1, epoch: 0 });
  return JSON.stringify(backupOf(service.instance, (await service.states()).values()));
}

test('a backup comes back whole, under another name, and grants nothing', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-backup-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const data = join(folder, 'witness');
  const first = await openFileStore(data);
  assert.equal(await restoreBackup(first, parseBackup(await text(), 'b')), 2);
  await assert.rejects(restoreBackup(first, parseBackup(await text(), 'b')), /it holds 2 groups already/);
  await first.close();
  const store = await openFileStore(data);
  t.after(() => store.close());
  const states = await store.readAll();
  assert.deepEqual([...states].map(([group, state]) => `${group} r${state.revision} e${state.epoch} of ${state.instance}`).sort(), [
    'db r2 e1 of old',
    'vm r1 e0 of old',
  ]);
  const service = await startService(store, () => {});
  const claim = await service.answer({ kind: 'claim', requestId: 'x', group: 'db', from: 'a', revision: 2, epoch: 1 });
  assert.equal(claim.outcome === 'refused' && claim.reason, 'unseeded');
  await assert.rejects(service.view('db'), /grants nothing for group db until the copies have reported \(so far: none\)/);
});

test('a backup that is not whole is refused', async () => {
  const whole = await text();
  assert.throws(() => parseBackup(whole.slice(0, -1), 'b'), /TERCET_WITNESS_DAMAGED|not JSON/);
  assert.throws(() => parseBackup(whole.replace('"epoch":1', '"epoch":-1'), 'b'), /epoch/);
  const twice = JSON.parse(whole) as { groups: unknown[] };
  twice.groups.push(twice.groups[0]);
  assert.throws(() => parseBackup(JSON.stringify(twice), 'b'), /it holds a group twice/);
  assert.throws(() => parseBackup(whole.replace('"flag":true', '"flag":false'), 'b'), /breaks a rule/);
});
