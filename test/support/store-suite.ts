// What every store of a witness must do, whatever it is made of: one suite for the file store, etcd, and those to come.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { WitnessAnswer, WitnessOperation, WitnessState } from '../../src/core/arbiter/witness-state.ts';
import { apply } from '../../src/core/arbiter/witness-state.ts';
import { startService } from '../../src/witness/service.ts';
import type { SharedStore, WitnessStore } from '../../src/witness/store.ts';

/** How a store is opened, and opened again after it was closed. Each place is empty at first. */
export type OpenStore = (place: string) => Promise<WitnessStore | SharedStore>;

const log = (): void => undefined;

function creation(group: string): WitnessOperation {
  const copies = [
    { site: 'alpha', mode: 'sync' as const },
    { site: 'beta', mode: 'sync' as const },
    { site: 'gamma', mode: 'async' as const },
  ];
  return { kind: 'create', requestId: `create-${group}`, group, from: 'alpha', groupId: `id-${group}`, copies, first: 'alpha' };
}

function created(group: string, instance: string): WitnessState {
  const { state } = apply(null, creation(group), instance);
  assert.ok(state);
  return state;
}

/** The tests of one kind of store. */
export function storeSuite(kind: string, open: OpenStore): void {
  test(`${kind}: a new store is empty and has a name, which it keeps`, async () => {
    const store = await open('name');
    assert.equal((await store.readAll()).size, 0);
    await store.close();
    const again = await open('name');
    assert.equal(again.instance, store.instance);
    await again.close();
    const other = await open('another name');
    assert.notEqual(other.instance, store.instance);
    await other.close();
  });

  test(`${kind}: what was stored is there when it is opened again, for each of many groups`, async () => {
    const store = await open('many');
    const states = Array.from({ length: 20 }, (_, index) => created(`group-${index}`, store.instance));
    const outcomes = await Promise.all(states.map((state) => store.compareAndSet(state.group, null, state)));
    assert.deepEqual(new Set(outcomes), new Set(['stored']));
    await store.close();
    const again = await open('many');
    assert.deepEqual(
      await again.readAll(),
      new Map([...states].sort((a, b) => (a.group < b.group ? -1 : 1)).map((state) => [state.group, state])),
    );
    await again.close();
  });

  test(`${kind}: a change that was decided on another state changes nothing`, async () => {
    const store = await open('conflict');
    const first = created('vm', store.instance);
    const next: WitnessState = { ...first, writes: 2 };
    assert.equal(await store.compareAndSet('vm', 1, next), 'conflict');
    assert.equal(await store.compareAndSet('vm', null, first), 'stored');
    assert.equal(await store.compareAndSet('vm', null, first), 'conflict');
    assert.equal(await store.compareAndSet('vm', 2, { ...first, writes: 3 }), 'conflict');
    assert.deepEqual((await store.readAll()).get('vm'), first);
    assert.equal(await store.compareAndSet('vm', 1, next), 'stored');
    assert.deepEqual((await store.readAll()).get('vm'), next);
    await store.close();
  });

  test(`${kind}: a group's whole life, and a lost answer that is asked for again after a restart`, async () => {
    let store = await open('life');
    let service = await startService(store, log);
    const base = { group: 'vm', from: 'alpha' };
    const ask = async (operation: WitnessOperation): Promise<WitnessAnswer> => service.answer(operation);
    assert.equal((await ask(creation('vm'))).outcome, 'done');
    const claim: WitnessOperation = { ...base, kind: 'claim', requestId: 'claim', revision: 1, epoch: 0 };
    assert.equal((await ask(claim)).view?.epoch, 1);
    await service.drained();
    await store.close();
    store = await open('life');
    service = await startService(store, log);
    const again = await ask(claim);
    assert.deepEqual([again.outcome, again.repeated, again.view?.revision], ['done', true, 2]);
    assert.equal((await ask({ ...base, kind: 'admit', requestId: 'admit', site: 'beta', revision: 2, epoch: 1 })).outcome, 'done');
    assert.equal((await ask({ ...base, kind: 'handover', requestId: 'over', to: 'beta', revision: 3, epoch: 1 })).view?.primary, 'beta');
    assert.equal((await ask({ ...base, kind: 'exclude', requestId: 'late', site: 'beta', revision: 4, epoch: 2 })).outcome, 'refused');
    assert.equal((await ask({ ...base, kind: 'resign', requestId: 'resign', revision: 4 })).outcome, 'done');
    const view = await service.view('vm');
    assert.deepEqual(
      [view?.revision, view?.epoch, view?.primary, view?.copies.map((copy) => copy.flag)],
      [5, 2, 'beta', [false, true, false]],
    );
    await service.drained();
    await store.close();
  });
}
