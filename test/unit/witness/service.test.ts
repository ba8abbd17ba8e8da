// The witness between network and store: one change at a time, durable before it is visible, and silent for good once the store has failed.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ClaimOperation, CreateOperation, WitnessOperation } from '../../../src/core/arbiter/witness-state.ts';
import { limits } from '../../../src/core/base/limits.ts';
import { type MemoryStore, memoryStore } from '../../../src/witness/memory-store.ts';
import { startService } from '../../../src/witness/service.ts';

const create = (group: string): CreateOperation => ({
  kind: 'create',
  requestId: `create-${group}`,
  group,
  from: 'a',
  groupId: 'id',
  copies: [
    { site: 'a', mode: 'sync' },
    { site: 'b', mode: 'sync' },
  ],
  first: 'a',
});
const claim = (requestId: string, revision = 1): ClaimOperation => ({
  kind: 'claim',
  requestId,
  group: 'vm',
  from: 'a',
  revision,
  epoch: revision - 1,
});
const read = (group: string): WitnessOperation => ({ kind: 'read', requestId: 'read', group, from: 'a' });

/** A store whose next changes wait until the test lets them go. */
function gated(): { store: MemoryStore; release: () => void; reached: Promise<void> } {
  const store = memoryStore('w');
  const gate = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  store.beforeWrite = () => {
    reached.resolve();
    return gate.promise;
  };
  return { store, release: gate.resolve, reached: reached.promise };
}

const events: string[] = [];
const log = (event: string): void => {
  events.push(event);
};

describe('the witness', () => {
  test('shows a change only when it is durable', async () => {
    const { store, release, reached } = gated();
    store.groups.set('vm', await stateOf(create('vm')));
    const service = await startService(store, log);
    const changing = service.answer(claim('c'));
    await reached;
    assert.equal((await service.view('vm'))?.epoch, 0);
    release();
    const answer = await changing;
    assert.equal(answer.outcome === 'done' && answer.view.epoch, 1);
    assert.equal((await service.view('vm'))?.epoch, 1);
    assert.equal(store.groups.get('vm')?.epoch, 1);
  });

  test('does one change of a group after the other: of two claims on one revision the second is refused', async () => {
    const service = await startService(memoryStore('w'), log);
    await service.answer(create('vm'));
    const [first, second, again] = await Promise.all([
      service.answer(claim('one')),
      service.answer(claim('two')),
      service.answer(claim('one')),
    ]);
    assert.equal(first.outcome, 'done');
    assert.equal(second.outcome === 'refused' && second.reason, 'revision');
    assert.deepEqual(again, { ...first, repeated: true });
  });

  test('a read that is asked behind a change sees it, and another group does not wait for it', async () => {
    const { store, release, reached } = gated();
    store.groups.set('vm', await stateOf(create('vm')));
    store.groups.set('db', await stateOf(create('db')));
    const service = await startService(store, log);
    const changing = service.answer(claim('c'));
    const reading = service.answer(read('vm'));
    await reached;
    const other = await service.answer(read('db'));
    assert.equal(other.outcome, 'done');
    release();
    await changing;
    const seen = await reading;
    assert.equal(seen.outcome === 'done' && seen.view.epoch, 1);
    await service.drained();
  });

  test('answers nothing any more once a write has failed, not even a read', async () => {
    const store = memoryStore('w');
    const service = await startService(store, log);
    await service.answer(create('vm'));
    store.beforeWrite = () => Promise.reject(new Error('the disk is gone'));
    events.length = 0;
    await assert.rejects(() => service.answer(claim('c')), /the disk is gone/);
    store.beforeWrite = () => Promise.resolve();
    await assert.rejects(() => service.answer(claim('d')), /the disk is gone/);
    await assert.rejects(() => service.answer(read('vm')), /the disk is gone/);
    await assert.rejects(service.view('vm'), /the disk is gone/);
    assert.match(service.failure()?.message ?? '', /the disk is gone/);
    assert.deepEqual(events, ['witness.failed']);
  });

  test('stops when somebody else has changed its store', async () => {
    const store = memoryStore('w');
    const service = await startService(store, log);
    await service.answer(create('vm'));
    store.groups.delete('vm');
    await assert.rejects(() => service.answer(claim('c')), /changed by another witness/);
    await assert.rejects(() => service.answer(read('vm')), /changed by another witness/);
  });

  test('holds a bounded number of groups, and forgets names that were only asked for', async () => {
    const store = memoryStore('w');
    const state = await stateOf(create('vm'));
    for (let i = 0; i < limits.witnessGroupsMax; i++) store.groups.set(`g${i}`, { ...state, group: `g${i}` });
    const service = await startService(store, log);
    await assert.rejects(() => service.answer(create('one-more')), /its maximum/);
    assert.equal((await service.answer(create('g7'))).outcome, 'done');
    const unknown = await service.answer(read('nobody'));
    assert.equal(unknown.outcome === 'refused' && unknown.reason, 'unknown-group');
    assert.equal(service.groupCount, limits.witnessGroupsMax);
    assert.equal(service.failure(), null);
  });

  test('writes one line for each change, none for reads, repetitions and refusals', async () => {
    const service = await startService(memoryStore('w'), log);
    events.length = 0;
    await service.answer(create('vm'));
    await service.answer(claim('one'));
    await service.answer(claim('one'));
    await service.answer(claim('two'));
    await service.answer(read('vm'));
    assert.deepEqual(events, ['witness.create', 'witness.claim']);
  });
});

/** The state that an operation on nothing leads to. */
async function stateOf(operation: CreateOperation): Promise<NonNullable<ReturnType<MemoryStore['groups']['get']>>> {
  const store = memoryStore('w');
  const service = await startService(store, log);
  await service.answer(operation);
  const state = store.groups.get(operation.group);
  assert.ok(state !== undefined);
  return state;
}
