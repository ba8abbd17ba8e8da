// The witness under whatever the network may do to requests: any order, any number of times, any age. A few sites of random will ask on
// what they knew at some time; after each step the rules are checked from outside, without the witness's own assertions.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  apply,
  type WitnessAnswer,
  type WitnessOperation,
  type WitnessState,
  type WitnessView,
} from '../../src/core/arbiter/witness-state.ts';
import { canonicalJson, type Json } from '../../src/core/base/cell.ts';

const SITES = ['a', 'b', 'c'] as const;
const INSTANCE = 'w';
const KINDS = [
  ...(['claim', 'claim', 'exclude', 'exclude', 'admit', 'admit', 'admit', 'handover', 'resign', 'force'] as const),
  ...(['mode', 'mode', 'remove', 'add'] as const),
] as const;

/** One wish of one site. `age`: how many views ago it last looked; `drift`: how far off its epoch is, nearly always not at all. */
interface Wish {
  readonly kind: (typeof KINDS)[number];
  /** `primary`: whoever is that, as far as it is known. */
  readonly from: (typeof SITES)[number] | 'primary';
  readonly other: (typeof SITES)[number];
  readonly byHand: boolean;
  readonly age: number;
  readonly drift: number;
}

/** What happens next: a wish is sent and delivered, or sent and delayed, or an old request arrives, again or at last. */
type Turn = { readonly wish: Wish; readonly delayed: boolean } | { readonly old: number };

const wish: fc.Arbitrary<Wish> = fc.record({
  kind: fc.constantFrom(...KINDS),
  from: fc.constantFrom('primary', 'primary', 'primary', ...SITES),
  other: fc.constantFrom(...SITES),
  byHand: fc.boolean(),
  age: fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(5) }),
  drift: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constantFrom(-1, 1) }),
});
const turn: fc.Arbitrary<Turn> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ wish, delayed: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ old: fc.nat(100) }) },
);
const modes = fc.tuple(fc.constantFrom('sync', 'async'), fc.constantFrom('sync', 'async')) as fc.Arbitrary<
  ['sync' | 'async', 'sync' | 'async']
>;
const turns = fc.array(turn, { maxLength: 60, size: 'max' });

function operationOf({ kind, from, other, byHand, drift }: Wish, view: WitnessView, requestId: string): WitnessOperation {
  const head = { requestId, group: 'g', from: from === 'primary' ? (view.primary ?? 'a') : from, revision: view.revision };
  const epoch = Math.max(0, view.epoch + drift);
  switch (kind) {
    case 'claim':
      return { kind, ...head, epoch, ...(byHand ? { byHand } : {}) };
    case 'handover':
      return { kind, ...head, epoch, to: other };
    case 'mode':
    case 'add':
      return { kind, ...head, epoch, site: other, mode: byHand ? 'sync' : 'async' };
    case 'remove':
      return { kind, ...head, epoch, site: other };
    case 'resign':
      return { kind, ...head };
    case 'exclude':
    case 'admit':
    case 'force':
      return { kind, ...head, epoch, site: other };
  }
}

/** A step that was taken: what was asked, what was answered, and the state on either side. */
interface Step {
  readonly operation: WitnessOperation;
  readonly answer: WitnessAnswer;
  readonly before: WitnessState;
  readonly after: WitnessState;
}

function copiesOf([second, third]: ['sync' | 'async', 'sync' | 'async']): readonly { site: string; mode: 'sync' | 'async' }[] {
  return [
    { site: 'a', mode: 'sync' },
    { site: 'b', mode: second },
    { site: 'c', mode: third },
  ];
}

/** Runs turns against a witness; `check` sees each step. Returns all steps. */
function run(list: readonly Turn[], both: ['sync' | 'async', 'sync' | 'async'], check: (step: Step) => void): readonly Step[] {
  const copies = copiesOf(both);
  let state = apply(null, { kind: 'create', requestId: 'create', group: 'g', from: 'a', groupId: 'id', copies, first: 'a' }, INSTANCE)
    .state as WitnessState;
  const views: WitnessView[] = [state];
  const sent: WitnessOperation[] = [];
  const steps: Step[] = [];
  for (const each of list) {
    let operation: WitnessOperation | undefined;
    if ('wish' in each) {
      operation = operationOf(each.wish, views[Math.max(0, views.length - 1 - each.wish.age)] as WitnessView, `r${sent.length}`);
      sent.push(operation);
      if (each.delayed) continue;
    } else {
      operation = sent[each.old % Math.max(1, sent.length)];
      if (operation === undefined) continue;
    }
    const before = state;
    const { state: after, answer } = apply(before, operation, INSTANCE);
    assert.ok(after !== null);
    const step = { operation, answer, before, after };
    check(step);
    steps.push(step);
    state = after;
    views.push(state);
  }
  return steps;
}

const flagOf = (view: WitnessView, site: string): boolean => view.copies.find((copy) => copy.site === site)?.flag === true;
const changed = ({ before, after }: Step): boolean => before.revision !== after.revision;
const facts = ({ epoch, primary, copies }: WitnessView): string => canonicalJson({ epoch, primary, copies } as unknown as Json);

describe('the witness, whatever arrives in whatever order', () => {
  test('W1: some copy may serve alone, always; a flag falls only in one step with finding another one true', () => {
    fc.assert(
      fc.property(turns, modes, (list, both) => {
        run(list, both, (step) => {
          const { before, after, operation } = step;
          const serving = after.copies.filter((copy) => copy.flag && (copy.mode === 'sync' || copy.site === after.primary));
          assert.ok(serving.length > 0, facts(after));
          if (operation.kind === 'force') return;
          const fallen = before.copies.filter((copy) => copy.flag && !flagOf(after, copy.site));
          for (const copy of fallen) {
            const witnesses = after.copies.filter((other) => other.flag && other.site !== copy.site && flagOf(before, other.site));
            assert.ok(witnesses.length > 0, `${copy.site} fell: ${facts(before)} -> ${facts(after)}`);
          }
        });
      }),
      { numRuns: 300 },
    );
  });

  test('W5: an epoch has one primary, and one request began it', () => {
    fc.assert(
      fc.property(turns, modes, (list, both) => {
        const winners = new Map<number, string>();
        run(list, both, (step) => {
          const { before, after, operation } = step;
          assert.ok(after.epoch === before.epoch || after.epoch === before.epoch + 1);
          if (after.epoch > before.epoch) {
            assert.ok(!winners.has(after.epoch));
            winners.set(after.epoch, `${after.primary} by ${operation.requestId}`);
          } else assert.ok(after.primary === before.primary || after.primary === null, `${facts(before)} -> ${facts(after)}`);
        });
      }),
      { numRuns: 300 },
    );
  });

  test('W2, W3: only the primary of the current epoch, its own flag true, changes the flag of another without a new epoch', () => {
    fc.assert(
      fc.property(turns, modes, (list, both) => {
        run(list, both, (step) => {
          const { before, after, operation } = step;
          if (after.epoch !== before.epoch) return;
          for (const copy of before.copies) {
            if (copy.flag === flagOf(after, copy.site) || copy.site === operation.from) continue;
            assert.equal(before.primary, operation.from);
            assert.ok(flagOf(before, operation.from));
            assert.equal('epoch' in operation && operation.epoch, before.epoch);
          }
        });
      }),
      { numRuns: 300 },
    );
  });

  test('W3: whoever takes over alone finds every other sync flag cleared in that very step; by force, every other flag', () => {
    fc.assert(
      fc.property(turns, modes, (list, both) => {
        run(list, both, (step) => {
          const { after, operation } = step;
          if (!changed(step) || (operation.kind !== 'claim' && operation.kind !== 'force')) return;
          const others = after.copies.filter((copy) => copy.site !== after.primary && (copy.mode === 'sync' || operation.kind === 'force'));
          assert.ok(flagOf(after, after.primary as string));
          assert.deepEqual(
            others.filter((copy) => copy.flag),
            [],
          );
        });
      }),
      { numRuns: 300 },
    );
  });

  test('a change is decided on the state that it changes, and counts one revision; nothing else does', () => {
    fc.assert(
      fc.property(turns, modes, (list, both) => {
        run(list, both, (step) => {
          const { before, after, answer, operation } = step;
          // An exclusion counts also where the flag is false already: it fences what is still on its way.
          if (facts(before) !== facts(after)) assert.ok(changed(step));
          else if (operation.kind !== 'exclude') assert.ok(!changed(step));
          if (!changed(step)) return;
          assert.equal(after.revision, before.revision + 1);
          assert.equal('revision' in operation && operation.revision, before.revision);
          assert.equal(answer.outcome, 'done');
        });
      }),
      { numRuns: 300 },
    );
  });

  test('each request takes effect at most once, and asking again gives the first answer', () => {
    fc.assert(
      fc.property(turns, modes, (list, both) => {
        const first = new Map<string, WitnessAnswer>();
        const effects = new Map<string, number>();
        run(list, both, (step) => {
          const id = step.operation.requestId;
          const known = first.get(id);
          if (known === undefined) first.set(id, step.answer);
          else {
            assert.deepEqual(step.answer, { ...known, repeated: true });
            assert.equal(step.after, step.before);
          }
          if (changed(step)) effects.set(id, (effects.get(id) ?? 0) + 1);
        });
        for (const count of effects.values()) assert.equal(count, 1);
      }),
      { numRuns: 300 },
    );
  });

  test('an admission sent before an exclusion never undoes it', () => {
    fc.assert(
      fc.property(turns, modes, (list, both) => {
        let excludedAt = new Map<string, number>();
        run(list, both, (step) => {
          const { operation, before, after } = step;
          if (operation.kind === 'admit' && changed(step)) assert.ok(operation.revision >= (excludedAt.get(operation.site) ?? 0));
          if (operation.kind === 'exclude' && changed(step)) excludedAt = new Map(excludedAt).set(operation.site, after.revision);
          assert.ok(before.writes <= after.writes);
        });
      }),
      { numRuns: 300 },
    );
  });

  test('a copy that was struck out is granted nothing, and one that is entered, or changes its mode, is admitted anew', () => {
    fc.assert(
      fc.property(turns, modes, (list, both) => {
        run(list, both, (step) => {
          const { operation, before, after } = step;
          if (!changed(step)) return;
          const granted = operation.kind === 'force' ? operation.site : operation.from;
          assert.ok(before.copies.some(({ site }) => site === granted));
          assert.ok(after.primary === null || after.copies.some(({ site }) => site === after.primary));
          for (const copy of after.copies) {
            const was = before.copies.find(({ site }) => site === copy.site);
            if (was?.mode !== copy.mode) assert.ok(!copy.flag && was?.flag !== true, facts(after));
          }
          for (const copy of before.copies) if (after.copies.every(({ site }) => site !== copy.site)) assert.ok(!copy.flag);
        });
      }),
      { numRuns: 300 },
    );
  });

  test('after a deletion nothing that was ever asked changes anything, nor once another group has taken the name', () => {
    fc.assert(
      fc.property(turns, modes, (list, both) => {
        const asked: WitnessOperation[] = [];
        let state = run(list, both, (step) => asked.push(step.operation)).at(-1)?.after;
        if (state === undefined) return;
        const { site: from } = state.copies[0] as { site: string };
        const names = { requestId: 'delete', group: 'g', from, groupId: 'id', revision: state.revision } as const;
        const gone = apply(state, { kind: 'delete', ...names, force: true }, INSTANCE);
        assert.equal(gone.answer.outcome, 'done');
        state = gone.state as WitnessState;
        // What a copy of the old group has seen goes with its questions.
        const seen = { instance: INSTANCE, revision: state.revision };
        for (const operation of asked) assert.equal(apply(state, { ...operation, seen }, INSTANCE).state, state);
        const next = { requestId: 'next', group: 'g', from: 'b', groupId: 'id2', copies: copiesOf(both), first: 'a' };
        state = apply(state, { kind: 'create', ...next }, INSTANCE).state as WitnessState;
        const before = facts(state);
        for (const operation of asked) {
          const { state: after, answer } = apply(state, { ...operation, seen }, INSTANCE);
          assert.equal(answer.outcome, 'refused', JSON.stringify(operation));
          assert.ok(after !== null && after.seeded && after.groupId === 'id2');
          assert.equal(facts(after), before);
          state = after;
        }
      }),
      { numRuns: 300 },
    );
  });

  test('these runs do reach what they are about', () => {
    const reached = new Set<string>();
    fc.assert(
      fc.property(turns, modes, (list, both) => {
        run(list, both, (step) => {
          const { answer, operation } = step;
          const result = answer.outcome === 'done' ? (changed(step) ? 'changed' : 'so already') : answer.reason;
          reached.add(`${operation.kind}: ${result}${answer.repeated === true ? ', repeated' : ''}`);
        });
      }),
      { numRuns: 300, seed: 4711 },
    );
    const wanted = [
      ...['claim', 'exclude', 'admit', 'handover', 'resign', 'force'].map((kind) => `${kind}: changed`),
      ...['claim', 'exclude', 'admit', 'handover', 'resign', 'force'].map((kind) => `${kind}: revision`),
      'claim: so already, repeated',
      'claim: epoch',
      'claim: mode',
      'claim: flag-false',
      'claim: revision, repeated',
      'exclude: not-primary',
      'admit: so already',
      'handover: mode',
      'handover: flag-false',
      'resign: last-copy',
      'resign: so already',
      'force: epoch',
    ];
    assert.deepEqual(
      wanted.filter((each) => !reached.has(each)),
      [],
    );
  });
});
