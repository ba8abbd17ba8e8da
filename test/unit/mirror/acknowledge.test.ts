// Safety rule 3 as a table: who holds what, what is known of the flags, and up to where hosts may be answered.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { FlagView } from '../../../src/core/base/copies.ts';
import { acknowledgedUpTo, type RequiredView } from '../../../src/core/mirror/acknowledge.ts';

type PeerRow = readonly [flag: FlagView, received: number, durable: number];

function acknowledged(
  own: readonly [received: number, durable: number],
  peers: readonly PeerRow[],
  { onlyCopy = false, excluding = false } = {},
): [number, number] {
  const views = peers.map(([flag, received, durable], i): RequiredView => ({ site: `peer${i}`, flag, received, durable }));
  const { committed, durable } = acknowledgedUpTo({ received: own[0], durable: own[1] }, views, { onlyCopy, excluding });
  return [committed, durable];
}

// own [received, durable]; peers [flag, received, durable]; then [committed, durable wherever it must be].
const TABLE: readonly [what: string, own: readonly [number, number], peers: readonly PeerRow[], expected: readonly [number, number]][] = [
  ['mirrored: what the peer holds, without waiting for any disk', [10, 2], [['true', 8, 1]], [8, 1]],
  ['mirrored: never more than the primary itself holds', [5, 2], [['true', 8, 8]], [5, 2]],
  ['mirrored, the peer away: nothing', [10, 10], [['true', 0, 0]], [0, 0]],
  ['changing: what the peer holds and the own disk has', [10, 6], [['maybe', 8, 1]], [6, 1]],
  ['changing, the own disk ahead: what the peer holds', [10, 9], [['maybe', 8, 1]], [8, 1]],
  ['changing, the peer away: nothing, however durable it is here', [10, 10], [['maybe', 0, 0]], [0, 0]],
  ['solo: what the own disk has', [10, 6], [['false', 8, 8]], [6, 6]],
  ['solo, the peer catching up: the peer does not matter', [10, 6], [['false', 3, 0]], [6, 6]],
  ['no sync peer in the group: what the own disk has', [10, 6], [], [6, 6]],
  [
    'two true: the one behind decides',
    [10, 0],
    [
      ['true', 9, 9],
      ['true', 7, 3],
    ],
    [7, 0],
  ],
  [
    'one true, one changing: both must hold it, and the true one is the second domain',
    [10, 0],
    [
      ['true', 9, 9],
      ['maybe', 7, 3],
    ],
    [7, 0],
  ],
  [
    'one true, one excluded: the excluded one does not matter',
    [10, 4],
    [
      ['true', 9, 9],
      ['false', 1, 1],
    ],
    [9, 4],
  ],
  [
    'one changing, one excluded: the changing one and the own disk',
    [10, 4],
    [
      ['maybe', 9, 9],
      ['false', 1, 1],
    ],
    [4, 4],
  ],
  [
    'two changing, one of them away: nothing',
    [10, 10],
    [
      ['maybe', 9, 9],
      ['maybe', 0, 0],
    ],
    [0, 0],
  ],
];

describe('hosts are answered', () => {
  for (const [what, own, peers, expected] of TABLE) {
    test(what, () => assert.deepEqual(acknowledged(own, peers), expected));
  }

  test('by a group of one copy as by a disk with a write cache: at once, and a flush waits for the disk', () => {
    assert.deepEqual(acknowledged([10, 6], [], { onlyCopy: true }), [10, 6]);
  });
});

const marks = fc.tuple(fc.nat(20), fc.nat(20)).map(([a, b]) => [Math.max(a, b), Math.min(a, b)] as const);
const peerRow = fc
  .tuple(fc.constantFrom<FlagView>('true', 'maybe', 'false'), marks)
  .map(([flag, [received, durable]]): PeerRow => [flag, received, durable]);

describe('while a peer is excluded', () => {
  test('the own disk has what hosts are told of, whatever another peer holds: what the exclusion waited for stays so until the witness is asked', () => {
    const peers: readonly PeerRow[] = [
      ['maybe', 10, 0],
      ['true', 10, 0],
    ];
    assert.deepEqual(acknowledged([10, 6], peers), [10, 0]);
    assert.deepEqual(acknowledged([10, 6], peers, { excluding: true }), [6, 0]);
  });
});

describe('whatever the state', () => {
  test('every peer whose flag may be true holds what was answered, and a second domain has it', () => {
    fc.assert(
      fc.property(marks, fc.array(peerRow, { maxLength: 4 }), (own, peers) => {
        const [committed, durable] = acknowledged(own, peers);
        const required = peers.filter(([flag]) => flag !== 'false');
        assert.ok(committed <= own[0] && durable <= own[1]);
        for (const [, received, peerDurable] of required) assert.ok(committed <= received && durable <= peerDurable);
        const secondDomain = peers.some(([flag]) => flag === 'true') || committed <= own[1];
        assert.ok(secondDomain);
      }),
    );
  });

  test('nothing is held back longer than the rule asks', () => {
    fc.assert(
      fc.property(marks, fc.array(peerRow, { maxLength: 4 }), (own, peers) => {
        const [committed] = acknowledged(own, peers);
        const required = peers.filter(([flag]) => flag !== 'false');
        const next = committed + 1;
        const held = next <= own[0] && required.every(([, received]) => next <= received);
        const safe = next <= own[1] || peers.some(([flag]) => flag === 'true');
        assert.ok(!(held && safe), `record ${next} could be answered`);
      }),
    );
  });

  test('doubt never answers more than knowledge either way', () => {
    fc.assert(
      fc.property(marks, fc.array(peerRow, { minLength: 1, maxLength: 4 }), (own, peers) => {
        const [first, ...others] = peers as [PeerRow, ...PeerRow[]];
        const as = (flag: FlagView): number => acknowledged(own, [[flag, first[1], first[2]], ...others])[0];
        assert.ok(as('maybe') <= as('true'));
        assert.ok(as('maybe') <= as('false'));
      }),
    );
  });
});
