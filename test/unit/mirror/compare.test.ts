// Which of two survivors is further on, what they share, and when they are left to a primary.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { EpochStart, History } from '../../../src/core/base/position.ts';
import { compareStandings, type Comparison } from '../../../src/core/mirror/compare.ts';
import type { Standing } from '../../../src/core/mirror/forms.ts';

const history = (...starts: readonly (readonly [number, number])[]): History =>
  starts.map(([epoch, firstSeq]): EpochStart => ({ epoch, firstSeq }));

function standing(of: Partial<Standing> & { received: number }): Standing {
  const epoch = of.epoch ?? 1;
  return {
    epoch,
    history: epoch === 2 ? history([1, 1], [2, 51]) : history([1, 1]),
    committed: 0,
    destageTarget: 0,
    oldest: 1,
    chain: 1000 + of.received,
    consistent: true,
    ...of,
  };
}

const TABLE: readonly [what: string, own: Standing, theirs: Standing, expected: Comparison | string][] = [
  [
    'the one with more records gives what lies behind',
    standing({ received: 60 }),
    standing({ received: 45 }),
    { kind: 'give', position: 45 },
  ],
  ['the one with fewer takes', standing({ received: 45 }), standing({ received: 60 }), { kind: 'take', position: 45 }],
  ['equal ends with equal chains are equal', standing({ received: 60 }), standing({ received: 60 }), { kind: 'equal' }],
  ['equal ends with other chains are not', standing({ received: 60 }), standing({ received: 60, chain: 7 }), 'chain'],
  [
    'the newer epoch gives, though it has fewer records',
    standing({ epoch: 2, received: 55 }),
    standing({ received: 58 }),
    { kind: 'give', position: 50 },
  ],
  [
    'the tail of the older epoch is not cut where it is known to be committed',
    standing({ epoch: 2, received: 55 }),
    standing({ received: 58, committed: 51 }),
    'diverged',
  ],
  ['nor where the base image may hold it', standing({ epoch: 2, received: 55 }), standing({ received: 58, destageTarget: 51 }), 'diverged'],
  [
    'records that the further one has dropped are not to be had',
    standing({ received: 60, oldest: 47 }),
    standing({ received: 45 }),
    'not-covered',
  ],
  [
    'the first record that is lacking is enough',
    standing({ received: 60, oldest: 46 }),
    standing({ received: 45 }),
    { kind: 'give', position: 45 },
  ],
  [
    'a copy that is inconsistent has no position',
    standing({ received: 60 }),
    standing({ received: 45, consistent: false }),
    'inconsistent',
  ],
];

describe('two survivors', () => {
  for (const [what, own, theirs, expected] of TABLE) {
    test(what, () => {
      const comparison = compareStandings(own, theirs);
      if (typeof expected === 'string') assert.equal(comparison.kind === 'apart' ? comparison.apart : comparison.kind, expected);
      else assert.deepEqual(comparison, expected);
    });
  }

  test('come to the same answer, each from its side', () => {
    const one = fc.record({
      epoch: fc.constantFrom(1, 2),
      received: fc.integer({ min: 40, max: 70 }),
      committed: fc.integer({ min: 0, max: 70 }),
      oldest: fc.integer({ min: 1, max: 60 }),
    });
    fc.assert(
      fc.property(one, one, (a, b) => {
        const [own, theirs] = [standing(a), standing(b)];
        const mine = compareStandings(own, theirs);
        const yours = compareStandings(theirs, own);
        const mirrored = { give: 'take', take: 'give', equal: 'equal', apart: 'apart' } as const;
        assert.equal(yours.kind, mirrored[mine.kind]);
        if (mine.kind === 'give' && yours.kind === 'take') {
          assert.equal(mine.position, yours.position);
          assert.ok(theirs.committed <= mine.position && own.oldest <= mine.position + 1);
        }
      }),
    );
  });
});
