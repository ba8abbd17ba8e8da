// A copy that reports to a new witness: when it leaves its part so that the witness can begin.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { WitnessTrouble } from '../../../src/core/arbiter/ask.ts';
import type { Role } from '../../../src/core/site/contract.ts';
import { type MovingSite, WitnessMove } from '../../../src/core/site/witness-move.ts';

/** Reports once, as `role` of epoch 4, to a witness that has got epoch `epoch` from a backup; returns why the site has stepped back. */
function reported(role: Role, epoch: number, missing: readonly string[]): string | null {
  let why: string | null = null;
  const trouble = { kind: 'unseeded', view: { epoch }, missing, round: 2 } as unknown as WitnessTrouble;
  const witness = { instance: 'new', revision: 5, reporting: true } as const;
  const replica = {
    epoch: 4,
    startCount: 1,
    failure: null,
    changing: false,
    consistent: true,
    marks: { durable: 9, received: 9 },
    end: { epoch: 4, seq: 9 },
    chain: 7,
    superblock: { value: { groupId: 'id' }, durableValue: { witness } },
  };
  const site = {
    options: { site: 'prim', timings: { witnessRetryMillis: 100 }, shell: { wake: () => undefined }, journal: () => undefined },
    desk: { moving: true, instance: 'new', trouble, report: (_: unknown, then: (reply: unknown) => void) => then({ outcome: 'refused' }) },
    members: { list: [] },
    replica: () => replica,
    role: () => role,
    lead: () => (role === 'primary' ? { followed: new Map() } : null),
    undecided: () => false,
    stepBack: (text: string) => {
      why = text;
    },
  };
  new WitnessMove(site as unknown as MovingSite).turn(1000);
  return why;
}

test('a primary steps back where the witness comes from a backup with an epoch that nobody has begun, and all have reported', () => {
  assert.match(reported('primary', 5, []) ?? '', /epoch 5, which nobody has begun/);
  assert.equal(reported('primary', 4, []), null, 'its own epoch is the newest');
  assert.equal(reported('primary', 5, ['far']), null, 'far may have begun it');
  assert.equal(reported('mirror', 5, []), null);
});
