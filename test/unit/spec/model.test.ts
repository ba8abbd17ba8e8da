// The model of arbitration: within small bounds nothing breaks, each rule that is left out breaks what is named for it, and everything that the
// scopes are about does happen.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { MUTATIONS, SCOPE_NAMES, type ScopeName, scopeOf } from '../../../spec/scopes.ts';
import { explore } from '../../../spec/search.ts';
import type { Scope } from '../../../spec/world.ts';

/** States that are looked at: most of what a test can see in its time. */
const STATES_MAX = 12_000;
/** The mutation that takes the longest way needs 27,000. */
const MUTATION_STATES_MAX = 60_000;

/** What has to happen in each scope: a model in which it cannot proves nothing about it. `within`: other bounds, so that it is near. */
const HAPPENS: readonly { scope: ScopeName; within?: Partial<Scope>; steps: readonly string[] }[] = [
  {
    scope: 'pair',
    steps: [
      'A acknowledges write 1',
      'A asks to exclude B',
      'A asks to admit B',
      'B asks for epoch 2',
      'A joins B',
      'A hears of a newer epoch',
    ],
  },
  { scope: 'level', steps: ['A joins B', 'A finds B gone', 'B finds its primary gone'] },
  {
    scope: 'level',
    within: { begin: ['A takes write 1', 'B finds its primary gone', 'A is killed', 'A starts'] },
    steps: ['B takes from A what it lacks'],
  },
  { scope: 'late', steps: ['a exclude of A arrives late', 'the answer to the claim of B is lost'] },
  { scope: 'far', steps: ['C receives write 1', 'C is promoted by force', 'A joins C'] },
  {
    scope: 'handover',
    steps: ['A stops and offers the reign', 'B confirms what it holds', 'A asks to hand over', 'B takes over', 'A calls the handover off'],
  },
  { scope: 'replace', steps: ['A turns to the new witness', 'B reports that it is following', 'B reports that it is waiting'] },
  { scope: 'replace', within: { writes: 0, cuts: 0 }, steps: ['A reports, and believes the witness'] },
  {
    scope: 'agreement',
    steps: [
      'B leaves A the right to go on alone',
      'A may go on without B',
      'A gives the right back',
      'B hears that what was agreed is over',
      'A goes on without B, as was agreed',
    ],
  },
  { scope: 'agreement', within: { fails: 0 }, steps: ['A tells the witness that it went on without B', 'B joins A'] },
  { scope: 'agreement', within: { sites: 3, fails: 0 }, steps: ['C receives write 1', 'B leaves A the right to go on alone'] },
  { scope: 'again', within: { fails: 0 }, steps: ['A may go on without B', 'A goes on without B, as was agreed'] },
];

describe('the model of arbitration', () => {
  for (const { scope, within, steps } of HAPPENS) {
    test(`${scope}${within === undefined ? '' : ' in other bounds'}: everything holds in the nearest ${STATES_MAX} states`, () => {
      const found = explore({ ...scopeOf(scope, 1), ...within }, { statesMax: STATES_MAX });
      assert.equal(found.fault, null);
      assert.deepEqual(
        steps.filter((step) => !found.steps.has(step)),
        [],
      );
    });
  }

  for (const { name, scope, breaks, text, within } of MUTATIONS) {
    test(`${breaks} breaks when ${text}`, () => {
      const { fault } = explore({ ...scopeOf(scope, 1), ...within }, { mutation: name, statesMax: MUTATION_STATES_MAX });
      assert.equal(fault?.invariant, breaks);
      assert.ok(fault.story.length > 0);
    });
  }

  test('a small world is seen to its end, and twice the same', () => {
    const scope = { ...scopeOf('pair', 1), fails: 0, cuts: 0, epochs: 1 };
    const [first, second] = [explore(scope, { statesMax: 100_000 }), explore(scope, { statesMax: 100_000 })];
    assert.ok(first.complete);
    assert.equal(first.states, second.states);
    assert.equal(explore(scope, { statesMax: 5 }).complete, false);
  });

  test('no two mutations have one name, and every scope is looked at', () => {
    assert.equal(new Set(MUTATIONS.map(({ name }) => name)).size, MUTATIONS.length);
    assert.deepEqual(
      SCOPE_NAMES.filter((name) => !HAPPENS.some(({ scope }) => scope === name) || !MUTATIONS.some(({ scope }) => scope === name)),
      [],
    );
  });
});
