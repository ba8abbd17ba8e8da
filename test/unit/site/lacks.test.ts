// What a mirror is said to lack: never too little, and no more than the bits of its records where the sidefile or a bitmap tells them.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { BLOCK_BYTES, type Seq } from '../../../src/core/base/units.ts';
import { type CopyView, Lacks, type Knowledge, type Stretch } from '../../../src/core/site/lacks.ts';
import { ReplicaRig, SMALL_BLOCKS } from '../../support/replica-rig.ts';

/** A bit stands for two blocks. */
const CHUNK_BYTES = 2 * BLOCK_BYTES;
const WHOLE = { volume: 0, offset: 0, length: SMALL_BLOCKS * BLOCK_BYTES };

function lacksOf(now: () => number = () => 0): Lacks {
  return new Lacks({ own: 'alpha', volumeCount: 2, chunkBytes: CHUNK_BYTES, clock: { now } });
}

function knowing(knownDurable: Seq | null): Knowledge {
  return { followed: new Map([['beta', { knownDurable }]]) };
}

/** [first block, blocks] of what is lacking. */
function runs(stretches: readonly Stretch[], offset = 0): [number, number][] {
  const found: [number, number][] = [];
  let at = offset;
  for (const { lacking, length } of stretches) {
    assert.ok(length > 0);
    if (lacking) found.push([at / BLOCK_BYTES, length / BLOCK_BYTES]);
    at += length;
  }
  return found;
}

const ALL: [number, number][] = [[0, SMALL_BLOCKS]];

test('the records behind what is known to be durable there are told, by the bits that they touch', () => {
  const rig = new ReplicaRig().start();
  const lacks = lacksOf();
  const ask = (known: Seq | null): [number, number][] => runs(lacks.of({ lead: knowing(known), replica: rig.replica }, 'beta', WHOLE));
  rig.write(0, 1, 1, 1);
  rig.write(0, 7, 2, 2);
  rig.write(1, 3, 1, 3);
  rig.write(0, 20, 1, 4);
  const all: [number, number][] = [
    [0, 2],
    [6, 4],
    [20, 2],
  ];
  assert.deepEqual(ask(0), all);
  assert.deepEqual(ask(1), all, 'what was found out before may say too much');
  assert.deepEqual(ask(3), [[20, 2]], 'and is made anew when most of it is old');
  assert.deepEqual(ask(4), []);
  rig.write(0, 12, 1, 5);
  assert.deepEqual(ask(4), [[12, 2]]);
  const part = lacks.of({ lead: knowing(4), replica: rig.replica }, 'beta', { volume: 0, offset: 13 * BLOCK_BYTES, length: BLOCK_BYTES });
  assert.deepEqual(part, [{ length: BLOCK_BYTES, lacking: true }]);
});

test('what is not known is lacking: without a reign, of a copy that nothing is known of, of one that is no site', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 1, 1, 1);
  const lacks = lacksOf();
  const { replica } = rig;
  assert.deepEqual(runs(lacks.of({ lead: null, replica }, 'beta', WHOLE)), ALL);
  assert.deepEqual(runs(lacks.of({ lead: knowing(1), replica: null }, 'beta', WHOLE)), ALL);
  assert.deepEqual(runs(lacks.of({ lead: knowing(null), replica }, 'beta', WHOLE)), ALL);
  assert.deepEqual(runs(lacks.of({ lead: knowing(1), replica }, 'gamma', WHOLE)), ALL);
  assert.deepEqual(runs(lacks.of({ lead: knowing(null), replica }, 'alpha', WHOLE)), [], 'the primary lacks nothing');
});

test('a question that cannot be looked into now is answered with everything, and a later one goes on', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 1, 1, 1);
  let now = 0;
  const lacks = lacksOf(() => (now += 10));
  const { replica } = rig;
  let isSlow = true;
  const { bitmaps, epoch, marks } = replica;
  const slow: CopyView = {
    bitmaps,
    epoch,
    marks,
    failure: null,
    fillBitmap: (site, into) => !isSlow && replica.fillBitmap(site, into),
  };
  const ask = (): [number, number][] => runs(lacks.of({ lead: knowing(0), replica: slow }, 'beta', WHOLE));
  assert.deepEqual(ask(), ALL);
  isSlow = false;
  assert.deepEqual(ask(), ALL, 'it rests');
  now += 1_000;
  assert.deepEqual(ask(), [[0, 2]]);
});

test('no block that a record behind the known one has written is ever left out', () => {
  const step = fc.record({
    block: fc.nat(SMALL_BLOCKS - 1),
    volume: fc.nat(1),
    known: fc.nat(40),
    ask: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 40 }), (steps) => {
      const rig = new ReplicaRig().start();
      const lacks = lacksOf();
      const written: { volume: number; block: number }[] = [];
      let known = 0;
      for (const { block, volume, known: wanted, ask } of steps) {
        rig.write(volume, block, 1, 1 + (written.length % 200));
        written.push({ volume, block });
        // It rises, and falls when a peer has lost what it held.
        known = Math.min(wanted, written.length);
        if (!ask) continue;
        for (const asked of [0, 1]) {
          const range = { volume: asked, offset: 0, length: SMALL_BLOCKS * BLOCK_BYTES };
          const found = runs(lacks.of({ lead: knowing(known), replica: rig.replica }, 'beta', range));
          for (const each of written.slice(known)) {
            if (each.volume !== asked) continue;
            assert.ok(
              found.some(([first, count]) => each.block >= first && each.block < first + count),
              `block ${each.block} of volume ${asked} is left out`,
            );
          }
        }
      }
    }),
  );
});
