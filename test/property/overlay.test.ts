// The overlay against the plainest model there is: a map from block to the last record that touched it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { limits } from '../../src/core/base/limits.ts';
import { BLOCK_BYTES } from '../../src/core/base/units.ts';
import { BASE, Overlay, TRIMMED, ZEROES } from '../../src/core/replica/overlay.ts';

interface Newest {
  readonly seq: number;
  readonly segment: number;
  readonly at: number;
}

type Step =
  | { readonly kind: 'data' | 'zeroes' | 'trim'; readonly block: number; readonly blockCount: number; readonly place: number }
  | { readonly kind: 'destage'; readonly part: number }
  | { readonly kind: 'clear' };

const RANGE = limits.overlayZeroBlocksMax;
const WORLD = 6 * RANGE;

const extent = { block: fc.nat(WORLD - 1), place: fc.nat(3) };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('data' as const), ...extent, blockCount: fc.integer({ min: 1, max: 40 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('zeroes' as const, 'trim' as const),
      ...extent,
      blockCount: fc.integer({ min: 1, max: RANGE }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('zeroes' as const, 'trim' as const),
      ...extent,
      blockCount: fc.integer({ min: RANGE + 1, max: 3 * RANGE }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('destage' as const), part: fc.double({ min: 0, max: 1, noNaN: true }) }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'clear' as const }) },
);

class Model {
  readonly overlay = new Overlay();
  readonly newest = new Map<number, Newest>();
  /** Blocks of each record, as destaging sees them. */
  readonly touched: { seq: number; block: number; blockCount: number }[] = [];
  seq = 0;
  readonly #origin: number;

  constructor(origin: number) {
    this.#origin = origin;
  }

  apply(step: Step): void {
    switch (step.kind) {
      case 'data':
      case 'zeroes':
      case 'trim':
        this.#enter(step.kind, this.#origin + step.block, step.blockCount, step.place);
        break;
      case 'destage':
        this.#destage(Math.floor(this.seq * step.part));
        break;
      case 'clear':
        this.overlay.clear();
        this.newest.clear();
        this.touched.length = 0;
        break;
    }
  }

  #enter(kind: 'data' | 'zeroes' | 'trim', block: number, blockCount: number, place: number): void {
    const seq = ++this.seq;
    this.touched.push({ seq, block, blockCount });
    if (kind === 'data') this.overlay.putData(block, blockCount, seq, place, seq * 1000);
    else this.overlay.putZeroes(block, blockCount, seq, kind === 'zeroes' ? ZEROES : TRIMMED);
    for (let i = 0; i < blockCount; i++) {
      const at = kind === 'data' ? seq * 1000 + i * BLOCK_BYTES : 0;
      this.newest.set(block + i, { seq, segment: kind === 'data' ? place : kind === 'zeroes' ? ZEROES : TRIMMED, at });
    }
  }

  #destage(upTo: number): void {
    while (this.touched.length > 0 && (this.touched[0]?.seq as number) <= upTo) {
      const { block, blockCount } = this.touched.shift() as { block: number; blockCount: number };
      for (let i = 0; i < blockCount; i++) this.overlay.remove(block + i, upTo);
    }
    this.overlay.removeRanges(upTo);
    for (const [block, { seq }] of this.newest) if (seq <= upTo) this.newest.delete(block);
  }

  check(): void {
    for (let block = this.#origin; block < this.#origin + WORLD + 3 * RANGE; block++) {
      const wanted = this.newest.get(block);
      assert.equal(this.overlay.seek(block), wanted?.seq ?? 0, `block ${block}`);
      assert.equal(this.overlay.segment, wanted?.segment ?? BASE, `block ${block}`);
      if (wanted !== undefined && wanted.segment >= 0) assert.equal(this.overlay.at, wanted.at, `block ${block}`);
    }
    assert.equal(this.overlay.empty, this.newest.size === 0 && this.overlay.blockCount + this.overlay.rangeCount === 0);
    this.#checkRuns();
  }

  #checkRuns(): void {
    const seen: number[] = [];
    let end = -1;
    this.overlay.visitRuns((block, blockCount, segment, at) => {
      assert(block >= end, 'runs ascend and do not overlap');
      end = block + blockCount;
      for (let i = 0; i < blockCount; i++) {
        const wanted = this.newest.get(block + i);
        assert.equal(segment, wanted?.segment, `block ${block + i}`);
        if (segment >= 0) assert.equal(at + i * BLOCK_BYTES, wanted?.at, `block ${block + i}`);
        seen.push(block + i);
      }
    });
    assert.deepEqual(
      seen,
      [...this.newest.keys()].sort((a, b) => a - b),
    );
  }
}

test('the overlay finds the newest record of every block, whatever is written, zeroed, trimmed and destaged in between', () => {
  fc.assert(
    fc.property(fc.constantFrom(0, 0xffff_ffff - WORLD, 2 ** 38 - 10 * RANGE), fc.array(step, { maxLength: 60 }), (origin, steps) => {
      const model = new Model(origin);
      for (const one of steps) model.apply(one);
      model.check();
    }),
    { numRuns: 150 },
  );
});

test('an overlay that has been full and was destaged is small and right again', () => {
  const overlay = new Overlay();
  const blocks = 20_000;
  for (let i = 0; i < blocks; i++) overlay.putData(i * 7919, 1, i + 1, 0, i * BLOCK_BYTES);
  assert.equal(overlay.blockCount, blocks);
  for (let i = 0; i < blocks; i++) {
    assert.equal(overlay.seek(i * 7919), i + 1);
    assert.equal(overlay.at, i * BLOCK_BYTES);
  }
  // An odd half goes first, so that entries move within the table while others are still wanted.
  for (let i = 1; i < blocks; i += 2) overlay.remove(i * 7919, blocks);
  for (let i = 0; i < blocks; i++) assert.equal(overlay.seek(i * 7919), i % 2 === 0 ? i + 1 : 0);
  for (let i = 0; i < blocks; i += 2) overlay.remove(i * 7919, blocks);
  assert.equal(overlay.empty, true);
});

test('a record up to which a block was destaged does not take a newer one of the same block with it', () => {
  const overlay = new Overlay();
  overlay.putData(5, 1, 10, 1, 0);
  overlay.putData(5, 1, 11, 1, 8192);
  overlay.remove(5, 10);
  assert.equal(overlay.seek(5), 11);
  assert.equal(overlay.at, 8192);
});

test('the overlay refuses a record that is older than what it holds for the block', () => {
  const overlay = new Overlay();
  overlay.putData(5, 1, 10, 1, 0);
  assert.throws(() => overlay.putData(5, 1, 9, 1, 0), /order of their seq/);
  overlay.putZeroes(100, RANGE + 1, 11, TRIMMED);
  assert.throws(() => overlay.putZeroes(100, RANGE + 1, 9, ZEROES), /order of their seq/);
});
