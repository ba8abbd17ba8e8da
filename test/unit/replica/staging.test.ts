// The staging area: what counts of it after a restart, and what it brings into the bases.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PagedBits } from '../../../src/core/base/bits.ts';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import { discardStaging, Staging, stagingEntryLayout } from '../../../src/core/replica/staging.ts';
import { digests } from '../../support/records.ts';
import { MemoryStorage } from '../../support/memory-storage.ts';
import { StepStorage } from '../../support/step-storage.ts';

const BLOCKS = 16;
const volumes = [{ sizeBytes: BLOCKS * BLOCK_BYTES }, { sizeBytes: BLOCKS * BLOCK_BYTES }];
const block = (fill: number): Uint8Array => new Uint8Array(BLOCK_BYTES).fill(fill);

test('what the superblock has not counted does not count, and the bases get the rest', () => {
  const storage = new StepStorage(new MemoryStorage());
  const staging = new Staging({ storage, digests, volumes }, 0);
  const put = (volume: number, at: number, content: Parameters<Staging['put']>[2]): void => {
    let failure: unknown = 'never';
    staging.put(volume, at * BLOCK_BYTES, content, (result) => {
      failure = result;
    });
    storage.settle();
    assert.equal(failure, null);
  };
  put(0, 3, block(0x11));
  put(1, 5, { zeroLength: 2 * BLOCK_BYTES });
  put(0, 9, block(0x22));
  assert.equal(staging.entries, 3);
  assert.equal(storage.open('staging-index', { create: false }).size(), 3 * stagingEntryLayout.bytes);
  staging.close();

  const again = new Staging({ storage, digests, volumes }, 2);
  assert.deepEqual(again.stretch(0, 3 * BLOCK_BYTES, 10 * BLOCK_BYTES), { length: BLOCK_BYTES, staged: true });
  assert.deepEqual(again.stretch(0, 4 * BLOCK_BYTES, 10 * BLOCK_BYTES), { length: 10 * BLOCK_BYTES, staged: false });
  const bases = volumes.map((_, volume) => {
    const base = storage.open(`base-${volume}`, { create: true });
    base.write(0, [new Uint8Array(BLOCKS * BLOCK_BYTES).fill(0x77)]);
    return base;
  });
  let applied: unknown = 'never';
  again.apply(bases, (failure) => {
    applied = failure;
  });
  storage.settle();
  assert.equal(applied, null);
  const fills = bases.map((base) => {
    const bytes = new Uint8Array(BLOCKS * BLOCK_BYTES);
    base.read(0, bytes);
    return Array.from({ length: BLOCKS }, (_, at) => bytes[at * BLOCK_BYTES]);
  });
  const expected = [Array(BLOCKS).fill(0x77), Array(BLOCKS).fill(0x77)] as [number[], number[]];
  expected[0][3] = 0x11;
  expected[1][5] = 0;
  expected[1][6] = 0;
  assert.deepEqual(fills, expected);
  again.remove();
  discardStaging(storage, volumes.length);
  assert.deepEqual(storage.list(), ['base-0', 'base-1']);
});

test('runs of bits are found over page ends, and pages carry them to another set', () => {
  const bits = new PagedBits();
  bits.add(5, 9);
  bits.add(32_760, 32_780);
  bits.add(1_000_000, 1_000_001);
  assert.equal(bits.count, 25);
  const copy = new PagedBits();
  for (const { index, bytes } of bits.pages()) copy.addPage(index, bytes);
  const runs: number[][] = [];
  for (let run = copy.nextRun(0); run !== null; run = copy.nextRun(run.to)) runs.push([run.from, run.to]);
  assert.deepEqual(runs, [
    [5, 9],
    [32_760, 32_768],
    [32_768, 32_780],
    [1_000_000, 1_000_001],
  ]);
  assert.equal(copy.count, 25);
  assert.ok(copy.has(8) && !copy.has(9));
});
