// What a site remembers of its verifies: the last word is written, however many came while one was on its way to the disk.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VerifyStore } from '../../../src/core/site/verify-store.ts';
import { machineDigests } from '../../../src/host/digests.ts';
import { MemoryStorage } from '../../support/memory-storage.ts';

test('the end of a verify that comes while its cursor is being written is written behind it', () => {
  const storage = new MemoryStorage();
  const store = new VerifyStore(storage, machineDigests);
  store.open();
  const order = { algorithm: 'sha256', reportOnly: false, bytesPerSecond: 0 } as const;
  const run = { order, cursor: { volume: 0, offset: 4096 }, began: 5, scheduled: true, unverifiedBytes: 8192 };
  store.set({ lastBegan: 1, lastEnded: 2, run });
  store.set({ lastBegan: 1, lastEnded: 3, run: null });
  store.set({ lastBegan: 1, lastEnded: 4, run: null });
  storage.settle();
  const again = new VerifyStore(storage, machineDigests);
  again.open();
  assert.deepEqual(again.value, { lastBegan: 1, lastEnded: 4, run: null });
});

test('a run that goes on knows what it could not compare', () => {
  const storage = new MemoryStorage();
  const store = new VerifyStore(storage, machineDigests);
  store.open();
  const order = { algorithm: 'md5', reportOnly: true, bytesPerSecond: 0 } as const;
  const run = { order, cursor: { volume: 1, offset: 0 }, began: 5, scheduled: false, unverifiedBytes: 8192 };
  store.set({ lastBegan: null, lastEnded: null, run });
  storage.settle();
  const again = new VerifyStore(storage, machineDigests);
  again.open();
  assert.deepEqual(again.value.run, run);
});
