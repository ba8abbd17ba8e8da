// Safety rule 7, the primary's half: which record two sidefiles share last, and when only a whole copy helps.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { EpochStart, History } from '../../../src/core/base/position.ts';
import { inHistory } from '../../../src/core/base/position.ts';
import type { Join } from '../../../src/core/mirror/forms.ts';
import { decideJoin, type JoinDecision, type Shared } from '../../../src/core/mirror/join.ts';

/** [epoch, firstSeq] pairs. */
const history = (...starts: readonly (readonly [number, number])[]): History =>
  starts.map(([epoch, firstSeq]): EpochStart => ({ epoch, firstSeq }));

function own(of: {
  history: History;
  received: number;
  oldest?: number;
  forgotten?: number;
  bitmapFrom?: number;
  scans?: boolean;
}): Shared {
  return {
    history: of.history,
    received: of.received,
    oldest: of.oldest ?? 1,
    chainAt: (seq) => (seq === of.forgotten ? null : 1000 + seq),
    bitmapFrom: of.bitmapFrom ?? null,
    scans: of.scans ?? false,
  };
}

function join(of: Partial<Join> & { history: History; received: number }): Join {
  return {
    epoch: 1,
    durable: 0,
    destageTarget: 0,
    oldest: 1,
    consistent: true,
    unclean: false,
    partial: false,
    scan: null,
    staged: null,
    needsCopy: null,
    ...of,
  };
}

const delta = (cutTo: number): JoinDecision => ({ rung: 'delta', cutTo, chain: 1000 + cutTo });
const E12 = history([1, 1], [2, 51]);

// The primary is in epoch 2, which began with record 51, and holds records up to 60.
const TABLE: readonly [what: string, decision: JoinDecision, expected: JoinDecision | RegExp][] = [
  [
    'a mirror of the same epoch goes on behind its newest record',
    decideJoin(own({ history: E12, received: 60 }), join({ history: E12, received: 55 })),
    delta(55),
  ],
  [
    'a mirror that holds everything lacks nothing',
    decideJoin(own({ history: E12, received: 60 }), join({ history: E12, received: 60 })),
    delta(60),
  ],
  [
    'a mirror of the epoch before gets what it lacks',
    decideJoin(own({ history: E12, received: 60 }), join({ history: history([1, 1]), received: 45 })),
    delta(45),
  ],
  [
    'the old primary gives up the records that the new one never had',
    decideJoin(own({ history: E12, received: 60 }), join({ history: history([1, 1]), received: 58 })),
    delta(50),
  ],
  [
    'a mirror that holds more than the primary of this epoch is cut back to it',
    decideJoin(own({ history: E12, received: 52 }), join({ history: E12, received: 55 })),
    delta(52),
  ],
  [
    'two reigns that began at one record share what was before both',
    decideJoin(own({ history: history([1, 1], [3, 51]), received: 60 }), join({ history: E12, received: 57 })),
    delta(50),
  ],
  [
    'a reign that the mirror missed, without any record, changes nothing',
    decideJoin(own({ history: history([1, 1], [2, 51], [3, 51]), received: 60 }), join({ history: history([1, 1]), received: 50 })),
    delta(50),
  ],
  [
    'an empty mirror of a new group begins at the beginning',
    decideJoin(own({ history: history([1, 1]), received: 9 }), join({ history: [], received: 0 })),
    delta(0),
  ],
  [
    'the last record before what the sidefile holds is enough',
    decideJoin(own({ history: E12, received: 60, oldest: 46 }), join({ history: history([1, 1]), received: 45 })),
    delta(45),
  ],
  [
    'one record less needs a copy',
    decideJoin(own({ history: E12, received: 60, oldest: 47 }), join({ history: history([1, 1]), received: 45 })),
    /lacks records from 46, the sidefile here begins at 47/,
  ],
  [
    'a base image that holds records that are not shared needs a copy',
    decideJoin(own({ history: E12, received: 60 }), join({ history: history([1, 1]), received: 58, destageTarget: 51 })),
    /holds records up to 51, but only those up to 50 are shared/,
  ],
  [
    'a base image that holds just what is shared does not',
    decideJoin(own({ history: E12, received: 60 }), join({ history: history([1, 1]), received: 58, destageTarget: 50 })),
    delta(50),
  ],
  [
    'an inconsistent mirror needs a copy',
    decideJoin(own({ history: E12, received: 60 }), join({ history: E12, received: 60, consistent: false })),
    /new, or a resync/,
  ],
  [
    'a mirror that found its chain to differ gets a copy, for that reason',
    decideJoin(own({ history: E12, received: 60 }), join({ history: E12, received: 60, needsCopy: 'the chains differ at record 60' })),
    /^the chains differ at record 60; /,
  ],
  [
    'a chain that is not known any more needs a copy',
    decideJoin(own({ history: E12, received: 60, forgotten: 55 }), join({ history: E12, received: 55 })),
    /chain at record 55 is no longer known/,
  ],
];

const staged = {
  rung: 'scan',
  scan: null,
  fromSeq: 60,
  upTo: { epoch: 2, seq: 65 },
  cursor: { volume: 0, offset: 0 },
  olderHistory: E12,
  olderSeq: 40,
} as const;
const inside = own({ history: E12, received: 80, oldest: 70, bitmapFrom: 41 });

describe('the ladder', () => {
  test('a bitmap that begins behind what the mirror holds helps where a delta does not', () => {
    const decision = decideJoin(inside, join({ history: E12, received: 55 }));
    assert.deepEqual([decision.rung, 'cutTo' in decision && decision.cutTo], ['bitmap', 55]);
  });
  test('a bitmap that begins one record late does not', () => {
    const decision = decideJoin({ ...inside, scans: true }, join({ history: E12, received: 39 }));
    assert.equal(decision.rung, 'scan');
    assert.match('why' in decision ? decision.why : '', /lacks records from 40.*begins at record 41, the mirror ends at 39/);
  });
  test('a bitmap that was lost is not taken for an empty one', () => {
    assert.equal(decideJoin({ ...inside, bitmapFrom: null, scans: true }, join({ history: E12, received: 55 })).rung, 'scan');
  });
  test('a bitmap does not tell what a mirror wrote in another history', () => {
    const other = join({ history: history([1, 1]), received: 58, destageTarget: 55 });
    assert.equal(decideJoin({ ...inside, scans: true }, other).rung, 'scan');
    const tail = decideJoin(inside, join({ history: history([1, 1]), received: 58, destageTarget: 50 }));
    assert.deepEqual([tail.rung, 'cutTo' in tail && tail.cutTo], ['bitmap', 50]);
  });
  test('a resync that was cut off goes on while its records do', () => {
    const cut = { history: E12, received: 72, consistent: false, staged };
    const { why, ...resumed } = decideJoin(inside, join(cut)) as Extract<JoinDecision, { rung: 'resume' }>;
    assert.deepEqual(resumed, { rung: 'resume', how: 'scan', cutTo: 72, chain: 1072 });
    assert.equal(why, 'the mirror is new, or a resync of it was cut off; a resync by scan that was cut off goes on where it was');
    const bitmap = decideJoin(inside, join({ ...cut, received: 68 }));
    assert.equal(bitmap.rung, 'bitmap', 'records 69 and on are gone');
    assert.match(
      'why' in bitmap ? bitmap.why : '',
      /cut off; the resync that was cut off cannot go on: its records from 69 on are no longer here$/,
    );
  });
  test('what was staged from a history that is no more does not count', () => {
    const cut = { history: E12, received: 72, consistent: false };
    const foreign = { ...staged, upTo: { epoch: 1, seq: 53 } };
    assert.notEqual(decideJoin(inside, join({ ...cut, staged: foreign })).rung, 'resume');
    assert.notEqual(decideJoin(inside, join({ ...cut, staged: { ...staged, upTo: { epoch: 2, seq: 81 } } })).rung, 'resume');
  });
  test('a copy that was cut off is compared, a new one is filled', () => {
    const lost = { ...inside, bitmapFrom: null, scans: true };
    assert.equal(decideJoin(lost, join({ history: E12, received: 60, consistent: false, partial: true })).rung, 'scan');
    const filled = decideJoin(lost, join({ history: [], received: 0, consistent: false }));
    assert.equal(filled.rung, 'copy');
    assert.match('why' in filled ? filled.why : '', /; the mirror holds nothing that could be compared$/);
    const whole = decideJoin({ ...lost, scans: false }, join({ history: E12, received: 55 }));
    assert.match('why' in whole ? whole.why : '', /there is no bitmap of what it lacks; copies are not compared here$/);
  });
});

describe('a join', () => {
  for (const [what, decision, expected] of TABLE) {
    test(what, () => {
      if (expected instanceof RegExp) {
        assert.equal(decision.rung, 'copy');
        assert.match('why' in decision ? decision.why : '', expected);
      } else {
        assert.deepEqual(decision, expected);
      }
    });
  }
});

/** Two sites that shared everything up to some record and then saw different reigns: the second differs from the first behind `fork`. */
const forked = fc.record({
  before: fc.array(fc.nat(6), { maxLength: 4 }),
  fork: fc.nat(10),
  mine: fc.array(fc.nat(6), { minLength: 1, maxLength: 3 }),
  theirs: fc.array(fc.nat(6), { maxLength: 3 }),
  myTail: fc.nat(10),
  theirTail: fc.nat(10),
});

test('the last shared record is shared, and the one behind it is not', () => {
  fc.assert(
    fc.property(forked, ({ before, fork, mine, theirs, myTail, theirTail }) => {
      let epoch = 1;
      let seq = 1;
      const common: EpochStart[] = [{ epoch, firstSeq: seq }];
      for (const length of before) common.push({ epoch: ++epoch, firstSeq: (seq += length) });
      seq += fork;
      // From here on each epoch is one site's alone.
      const branch = (lengths: readonly number[], step: number): { history: EpochStart[]; end: number } => {
        const starts = [...common];
        let at = seq;
        let own = epoch + step;
        for (const length of lengths) {
          starts.push({ epoch: own, firstSeq: at });
          at += length;
          own += 2;
        }
        return { history: starts, end: at };
      };
      const a = branch(mine, 1);
      const b = branch(theirs, 2);
      const received = a.end - 1 + myTail;
      const joinReceived = (theirs.length === 0 ? seq - 1 : b.end - 1) + theirTail;
      const decision = decideJoin(own({ history: a.history, received }), join({ history: b.history, received: joinReceived }));
      assert.equal(decision.rung, 'delta');
      if (decision.rung !== 'delta') return;
      const named = (histories: History, at: number): number => histories.findLast((start) => start.firstSeq <= at)?.epoch ?? 0;
      const { cutTo } = decision;
      assert.ok(cutTo <= received && cutTo <= joinReceived);
      for (let at = 1; at <= cutTo; at++) assert.equal(named(a.history, at), named(b.history, at), `record ${at} is called shared`);
      const next = cutTo + 1;
      const both = next <= received && next <= joinReceived;
      assert.ok(!both || !inHistory(b.history, named(a.history, next), next), `record ${next} is shared too`);
    }),
    { numRuns: 2000 },
  );
});
