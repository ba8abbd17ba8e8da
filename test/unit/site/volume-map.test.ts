// A volume from above: each record in the cells that it touches, what waits for whom, what a resync has found; and no step that lasts.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FOUND_CHUNK_BYTES, ScanRanges } from '../../../src/core/mirror/ranges.ts';
import type { Inspected } from '../../../src/core/site/status.ts';
import type { VolumeMap } from '../../../src/core/site/volume-map.ts';
import { VolumeSurvey } from '../../../src/core/site/volume-map.ts';
import { ReplicaRig, VOLUMES, WIDE_BLOCKS, write } from '../../support/replica-rig.ts';

const WIDE = 1;
const BLOCK = 4096;

/** What a survey sees of a site with this replica and these mirrors. */
function inside(rig: ReplicaRig, followed: Readonly<Record<string, object>> = {}): Inspected {
  return {
    options: { group: 'db', site: 'alpha', volumes: VOLUMES, clock: { now: () => rig.now, wall: () => 0 } },
    role: 'primary',
    replica: rig.replica,
    growth: { volumes: () => VOLUMES },
    lead: { followed: new Map(Object.entries(followed)) },
    verifies: {
      status: () => ({
        running: true,
        passedBytes: VOLUMES[0].sizeBytes + 7 * BLOCK,
        oldestUnverifiedSeconds: null,
        findings: [
          { volume: WIDE, offset: 40 * BLOCK, length: BLOCK, repaired: false },
          { volume: WIDE, offset: 60 * BLOCK, length: BLOCK, repaired: true },
          { volume: 0, offset: 0, length: BLOCK, repaired: false },
        ],
      }),
    },
    peers: new Map(Object.keys(followed).map((name) => [name, {}])),
  } as unknown as Inspected;
}

function mapOf(inspected: Inspected, cellsMax: number): VolumeMap {
  const survey = new VolumeSurvey(() => inspected, WIDE, { cellsMax, unitBytes: BLOCK });
  for (let steps = 0; steps < 10_000; steps++) {
    const map = survey.step();
    if (map !== null) return map;
  }
  assert.fail('it does not end');
}

function touched(counts: readonly number[] | null): readonly (readonly [number, number])[] {
  return (counts ?? []).flatMap((count, cell) => (count > 0 ? [[cell, count] as const] : []));
}

test('each record counts in every cell that it touches, and only those of the volume', () => {
  const rig = new ReplicaRig().start();
  rig.append([write(WIDE, 0, 1, 1), write(0, 3, 1, 2), write(WIDE, 9, 3, 3)]);
  rig.append([write(WIDE, 9, 1, 4), write(WIDE, WIDE_BLOCKS - 1, 1, 5)]);
  const map = mapOf(inside(rig), 30);
  assert.deepEqual([map.cellBytes, map.cellCount, map.fromSeq, map.sizeBytes], [10 * BLOCK, 30, 1, WIDE_BLOCKS * BLOCK]);
  assert.deepEqual(touched(map.sidefile), [
    [0, 3],
    [1, 1],
    [29, 1],
  ]);
  assert.deepEqual(touched(map.undestaged), touched(map.sidefile));
});

test('what a verify has found and not mended, and how far it is', () => {
  const map = mapOf(inside(new ReplicaRig().start()), 30);
  assert.deepEqual(touched(map.wrong), [[4, 1]]);
  assert.deepEqual([map.verifyDoneBytes, map.verifiedSince], [7 * BLOCK, null]);
});

test('what a mirror has not acknowledged awaits it; of one that does not follow nothing is told', () => {
  const rig = new ReplicaRig().start();
  rig.append([write(WIDE, 0, 1, 1), write(WIDE, 10, 1, 2), write(WIDE, 20, 1, 3)]);
  const map = mapOf(
    inside(rig, { beta: { streaming: true, received: 2, copy: null }, gamma: { streaming: false, received: 0, copy: null } }),
    30,
  );
  assert.deepEqual(touched(map.peers[0]?.awaiting ?? null), [[2, 1]]);
  assert.equal(map.peers[1]?.awaiting, null);
});

test('a bitmap, and what a scan has found and not come to', () => {
  const rig = new ReplicaRig().start();
  rig.replica.bitmaps.begin('gamma', 1, 0);
  rig.append([write(WIDE, 100, 1, 1)]);
  const ranges = new ScanRanges(VOLUMES, { volume: 1, offset: 0 });
  ranges.differs({ volume: WIDE, offset: 2 * FOUND_CHUNK_BYTES, length: BLOCK });
  ranges.settled({ volume: WIDE, offset: 150 * BLOCK });
  const copy = { rung: 'scan', ranges, passedBytes: ranges.passedBytes };
  const [gamma] = mapOf(inside(rig, { gamma: { streaming: true, received: 1, copy } }), 300).peers;
  assert.ok(gamma);
  const chunk = rig.replica.bitmaps.chunkBytes / BLOCK;
  assert.deepEqual(touched(gamma.bitmap)[0], [Math.floor(100 / chunk) * chunk, 1]);
  assert.deepEqual(touched(gamma.differing)[0], [(2 * FOUND_CHUNK_BYTES) / BLOCK, 1]);
  assert.deepEqual(gamma.resync, { rung: 'scan', doneBytes: 150 * BLOCK });
});

test('no step lasts: it ends when its time is over, and the next one goes on', () => {
  const rig = new ReplicaRig().start();
  for (let i = 0; i < 400; i++) rig.append([write(WIDE, i % WIDE_BLOCKS, 1, i & 0xff)]);
  const inspected = inside(rig);
  let looks = 0;
  const slow = { ...inspected, options: { ...inspected.options, clock: { now: () => looks++ * 3, wall: () => 0 } } };
  const survey = new VolumeSurvey(() => slow, WIDE, { cellsMax: 300, unitBytes: BLOCK });
  let steps = 1;
  let map = survey.step();
  for (; map === null; map = survey.step()) steps++;
  assert.ok(steps > 3, `${steps} steps`);
  assert.equal(
    map.sidefile.reduce((sum, count) => sum + count, 0),
    400,
  );
});

test('a site without a copy has an empty map', () => {
  const none = { ...inside(new ReplicaRig().start()), replica: null } as unknown as Inspected;
  const map = mapOf(none, 30);
  assert.deepEqual([map.fromSeq, touched(map.sidefile)], [null, []]);
});
