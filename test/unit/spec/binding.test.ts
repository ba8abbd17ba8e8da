// The model is bound to the product: in every state that a bounded exploration reaches, the product's own functions must decide as the model does.
// The witness's step on every question that could be put to it there, the right to claim, the duty to step down, and the acknowledgement rule.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';

import { answer, type Broken, takeReport } from '../../../spec/witness.ts';
import { mayClaim } from '../../../spec/actions/questions.ts';
import { isDeposed } from '../../../spec/actions/reign.ts';
import { scopeOf, type ScopeName } from '../../../spec/scopes.ts';
import { explore } from '../../../spec/search.ts';
import { FALSE, has, isSync, type Question, type Report, type State, TRUE, type Witness } from '../../../spec/state.ts';
import { attached, indexes, isPrimary, linked, look, mayAcknowledge, name, others, type Scope, siteOf } from '../../../spec/world.ts';
import {
  apply,
  type ReportOperation,
  viewOfState,
  type WitnessOperation,
  type WitnessState,
  type WitnessView,
} from '../../../src/core/arbiter/witness-state.ts';
import { acknowledgedUpTo } from '../../../src/core/mirror/acknowledge.ts';
import { whyDeposed } from '../../../src/core/site/desk.ts';
import { type ClaimGround, whyNotClaim } from '../../../src/core/site/standby.ts';

const STATES_MAX = 4_000;
const unbroken = (): boolean => false;
const A_TURNS = ['A is led to the new witness', 'A turns to the new witness'];
const B_TURNS = ['B is led to the new witness', 'B turns to the new witness'];
const AGREED = [
  'the witness is lost',
  'A asks B to leave it the right to go on alone',
  'B leaves A the right to go on alone',
  'A may go on without B',
];
const APART = ['the link is cut', 'B finds its primary gone'];
const scopes: readonly { scope: ScopeName; within?: Partial<Scope> }[] = [
  { scope: 'pair' },
  // Both lost their power: they compare what they hold.
  { scope: 'pair', within: { writes: 1, begin: ['A takes write 1', 'B receives write 1', 'A loses its power', 'B loses its power'] } },
  { scope: 'late' },
  { scope: 'far' },
  { scope: 'handover' },
  { scope: 'agreement', within: { begin: [...AGREED, 'A goes on without B, as was agreed'] } },
  { scope: 'agreement', within: { writes: 1, cuts: 4, begin: [...AGREED, 'A loses its power', 'A starts', 'the witness is back'] } },
  { scope: 'replace', within: { begin: [...A_TURNS, ...B_TURNS] } },
  { scope: 'replace', within: { writes: 0, cuts: 0, fails: 0, begin: [...A_TURNS, ...B_TURNS] } },
  { scope: 'replace', within: { writes: 0, cuts: 1, fails: 1, begin: [...APART, ...B_TURNS, 'A is killed', 'A starts', ...A_TURNS] } },
  {
    scope: 'replace',
    within: { writes: 1, cuts: 1, begin: ['A takes write 1', ...APART, ...B_TURNS, 'A is killed', 'A starts', ...A_TURNS] },
  },
];

/** Every state of all scopes, as far as the test looks. */
function reachable(): State[] {
  const states: State[] = [];
  for (const { scope, within } of scopes) {
    const { fault } = explore({ ...scopeOf(scope, 1), ...within }, { statesMax: STATES_MAX, onState: (state) => states.push(state) });
    assert.equal(fault, null);
  }
  return states;
}

const all = reachable();
const visit = (see: (state: State) => void): void => all.forEach(see);

const instance = (index: number): string => `witness-${index}`;
const copiesOf = (count: number): { site: string; mode: 'sync' | 'async' }[] =>
  Array.from({ length: count }, (_, index) => ({ site: name(index), mode: isSync(index) ? 'sync' : 'async' }));

/** Whether a witness knows nothing of the group at all. */
const isEmpty = (witness: Witness): boolean => !witness.seeded && witness.revision === 0 && witness.round === 0;

/** The product's state for a witness of the model; null: it has no such group. */
function realState(witness: Witness, index: number): WitnessState | null {
  if (isEmpty(witness)) return null;
  const { revision, epoch, primary, flags, seeded, round } = witness;
  const reports = witness.reports.flatMap((report) =>
    report === null ? [] : [{ ...realReport(report), confirmed: has(witness.confirmed, report.from) }],
  );
  return {
    group: 'g',
    groupId: 'id',
    instance: instance(index),
    revision,
    epoch,
    primary: primary < 0 ? null : name(primary),
    copies: copiesOf(witness.reports.length).map((copy, site) => ({ ...copy, flag: has(flags, site) })),
    writes: 1,
    first: 'A',
    seeded,
    seeding: { round, reports },
    requests: [],
  };
}

function realReport({ from, role, epoch, revision, maybe, log, life }: Report): ReportOperation['report'] {
  const newest = log.at(-1) ?? 0;
  const chain = log.reduce((sum, record) => (sum * 31 + record) % 1_000_003, 7);
  return {
    site: name(from),
    epoch,
    revision,
    role,
    mayBeTrue: [0, 1, 2].filter((site) => has(maybe, site)).map(name),
    end: role === 'waiting' ? { epoch: newest >> 4, seq: log.length, chain } : null,
    life: String(life),
  };
}

function realQuestion({ kind, from, site, epoch, revision, witness }: Question): WitnessOperation {
  const head = { requestId: 'r', group: 'g', from: name(from), revision, seen: { instance: instance(witness), revision } };
  if (kind === 'claim') return { ...head, kind, epoch };
  if (kind === 'handover') return { ...head, kind, epoch, to: name(site) };
  return { ...head, kind, epoch, site: name(site) };
}

/** What both know of a group, in one form. */
function factsOf(state: WitnessState | null): unknown {
  if (state === null) return null;
  const { seeding = { round: 0, reports: [] } } = state;
  const reports = seeding.reports.map(({ confirmed, ...report }) => ({ ...report, confirmed })).sort((a, b) => (a.site < b.site ? -1 : 1));
  return { view: viewOfState(state), seeded: state.seeded, round: seeding.round, reports };
}

function modelFacts(witness: Witness, index: number): unknown {
  return factsOf(realState(witness, index));
}

const clone = (witness: Witness): Witness => ({ ...witness, answered: [...witness.answered], reports: [...witness.reports] });

/** All questions that could be put to a witness: of everybody about everybody, decided on this state or the one before, meant for it or another. */
function* questionsTo(witness: Witness, index: number): Generator<Question> {
  const sites = witness.reports.map((_, site) => site);
  for (const kind of ['claim', 'exclude', 'admit', 'handover', 'force'] as const)
    for (const from of sites)
      for (const site of kind === 'claim' ? [from] : sites.filter((each) => kind === 'force' || each !== from))
        for (const epoch of [witness.epoch, witness.epoch - 1].filter((each) => each >= 0))
          for (const revision of [witness.revision, witness.revision - 1].filter((each) => each >= 0))
            for (const meant of [index, 1 - index]) yield { kind, from, site, epoch, revision, witness: meant };
}

/** Every witness that is reached, each once. */
function witnesses(): { witness: Witness; index: number }[] {
  const found = new Map<string, { witness: Witness; index: number }>();
  for (const state of all)
    state.witnesses.forEach((witness, index) => found.set(JSON.stringify([index, { ...witness, answered: [] }]), { witness, index }));
  return [...found.values()];
}

/** What the product does with a question that the model does not; null where they do the same. */
function differs(witness: Witness, index: number, question: Question, broken: Broken): unknown {
  const model = clone(witness);
  const refused = answer(model, question, index, broken);
  const real = apply(realState(witness, index), realQuestion(question), instance(index));
  const said = real.answer.outcome === 'done' ? null : real.answer.reason;
  if (said !== refused) return { said, refused };
  const [product, expected] = [factsOf(real.state), modelFacts(model, index)];
  return isDeepStrictEqual(product, expected) ? null : { product, expected };
}

describe('the model and the product', () => {
  test('the witness grants and refuses alike, for the same reasons, and knows the same afterwards', () => {
    const outcomes = new Map<string, number>();
    for (const { witness, index } of witnesses()) {
      for (const question of questionsTo(witness, index)) {
        const difference = differs(witness, index, question, unbroken);
        assert.equal(difference, null, JSON.stringify({ witness, question }));
        const refused = answer(clone(witness), question, index, unbroken);
        const outcome = `${question.kind} ${refused ?? 'done'}`;
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        if (refused !== null) continue;
        // Asked again with its id it is answered as before, and changes nothing.
        const operation = realQuestion(question);
        const { state } = apply(realState(witness, index), operation, instance(index));
        const again = apply(state, operation, instance(index));
        assert.equal(again.state, state);
        assert.ok(again.answer.outcome === 'done' && again.answer.repeated === true);
      }
    }
    const compared = [...outcomes.values()].reduce((sum, each) => sum + each, 0);
    assert.ok(compared > 3000, `${compared} questions`);
    const expected = ['claim done', 'exclude done', 'admit done', 'handover done', 'force done', 'claim flag-false', 'exclude not-primary'];
    for (const each of [
      ...expected,
      'claim revision',
      'claim epoch',
      'claim mode',
      'claim unseeded',
      'claim other-witness',
      'force unknown-group',
    ])
      assert.ok((outcomes.get(each) ?? 0) > 0, `never: ${each}`);
  });

  test('a witness of the model that leaves a rule out is told from the product', () => {
    const rules = [
      'no-compare-and-set',
      'claim-without-flag',
      'claim-leaves-flags',
      'force-leaves-flags',
      'exclude-keeps-revision',
      'far-claims',
    ];
    for (const rule of [...rules, 'witness-of-any-name']) {
      const isNoticed = witnesses().some(({ witness, index }) =>
        [...questionsTo(witness, index)].some((question) => differs(witness, index, question, (name) => name === rule) !== null),
      );
      assert.ok(isNoticed, rule);
    }
  });

  test('a new witness takes reports alike, and begins at the same report with the same flags', () => {
    const seen = new Set<string>();
    const count = { taken: 0, begun: 0, late: 0 };
    visit((state) => {
      const witness = state.witnesses[1];
      if (witness === undefined) return;
      for (const site of state.sites) {
        if (site.report === null) continue;
        const { report } = site.report;
        for (const round of [site.report.round, witness.round]) {
          const key = JSON.stringify([{ ...witness, answered: [] }, report, round]);
          if (seen.has(key)) continue;
          seen.add(key);
          const model = clone(witness);
          const taken = takeReport(model, report, round, unbroken);
          const operation: ReportOperation = {
            kind: 'report',
            requestId: 'r',
            group: 'g',
            from: name(report.from),
            instance: instance(1),
            groupId: 'id',
            copies: copiesOf(state.sites.length),
            round,
            report: realReport(report),
          };
          const real = apply(realState(witness, 1), operation, instance(1));
          assert.equal(real.answer.outcome === 'done', taken, JSON.stringify({ witness, report, round }));
          assert.deepEqual(factsOf(real.state), modelFacts(model, 1), JSON.stringify({ witness, report, round }));
          if (taken) count[witness.seeded ? 'late' : 'begun']++;
          else count.taken++;
        }
      }
    });
    assert.ok(count.taken > 50 && count.begun > 5 && count.late > 10, JSON.stringify(count));
  });

  test('a site may claim in the same states', () => {
    const count = { may: 0, mayNot: 0, unclean: 0 };
    visit((state) => {
      for (const index of indexes(state)) {
        const site = siteOf(state, index);
        if (!site.up || site.role !== 'standby' || site.asks !== null || site.claim !== null) continue;
        const model = mayClaim(state, index, unbroken);
        const real = whyNotClaim(groundOf(state, index), NOW);
        assert.equal(real === null, model, `${name(index)}: ${JSON.stringify(real)} in ${JSON.stringify(state)}`);
        count[model ? 'may' : 'mayNot']++;
        if (model && !site.clean) count.unclean++;
      }
    });
    assert.ok(count.may > 50 && count.mayNot > 50 && count.unclean > 3, JSON.stringify(count));
  });

  test('a primary steps down on the same views, and acknowledges the same records', () => {
    const count = { down: 0, stays: 0, acknowledged: 0, waits: 0 };
    visit((state) => {
      for (const index of indexes(state)) {
        const site = siteOf(state, index);
        const witness = look(state, index);
        if (!isPrimary(site)) continue;
        if (witness !== null) {
          const model = isDeposed(state, index);
          const view = viewOfState(realState(witness, site.believes) as WitnessState);
          assert.equal(
            whyDeposed(view, { site: name(index), epoch: site.epoch, groupId: view.groupId }) !== null,
            model,
            JSON.stringify(state),
          );
          count[model ? 'down' : 'stays']++;
        }
        const peers = others(state, index)
          .filter(isSync)
          .map((peer) => ({
            site: name(peer),
            flag: flagOf(site.view[peer] ?? FALSE),
            received: attached(state, index, peer) ? shared(site.log, siteOf(state, peer).log) : 0,
            durable: 0,
          }));
        const { committed } = acknowledgedUpTo({ received: site.log.length, durable: site.durable }, peers, {
          onlyCopy: false,
          excluding: false,
        });
        site.log.forEach((_, place) => {
          const model = mayAcknowledge(state, index, place, unbroken);
          assert.equal(place < committed, model, JSON.stringify(state));
          count[model ? 'acknowledged' : 'waits']++;
        });
      }
    });
    assert.ok(
      Object.values(count).every((each) => each > 20),
      JSON.stringify(count),
    );
  });
});

const flagOf = (view: number): 'true' | 'maybe' | 'false' => (view === TRUE ? 'true' : view === FALSE ? 'false' : 'maybe');

function shared(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return length;
}

const NOW = 1_000_000;
const LEASE = 1000;

/** What the product's rule looks at, as the model's state has it. */
function groundOf(state: State, index: number): ClaimGround {
  const site = siteOf(state, index);
  const witness = look(state, index);
  const view: WitnessView | null = witness === null ? null : viewOfState(realState(witness, site.believes) as WitnessState);
  const peers = others(state, index).map((peer): [string, unknown] => {
    const other = siteOf(state, peer);
    const isThere = other.up && linked(state, index, peer);
    const newest = other.log.at(-1) ?? 0;
    const said = { role: other.role, consistent: true, unclean: !other.clean, endEpoch: newest >> 4, endSeq: other.log.length };
    return [name(peer), { link: isThere ? {} : null, said: isThere ? said : null }];
  });
  const ownMode = isSync(index) ? 'sync' : 'async';
  const ground = {
    members: { ownMode },
    agreements: {
      leftTo: site.yields > 0 ? name(1 - index) : null,
      wentWithout: site.alone > 0 ? name(1 - index) : null,
    },
    options: {
      group: 'g',
      site: name(index),
      sites: copiesOf(state.sites.length).map(({ site: each, mode }) => ({ name: each, mode })),
      timings: { leaseMillis: LEASE },
    },
    replica: {
      consistent: true,
      unclean: !site.clean,
      marks: { durable: site.durable, received: site.log.length },
      end: { epoch: (site.log.at(-1) ?? 0) >> 4, seq: site.log.length },
      superblock: { value: { groupId: 'id' } },
    },
    peers: new Map(peers),
    desk: { view, viewAt: NOW, trouble: null, moving: site.moving, unknownGroup: false, busy: false, reachable: view !== null },
    // Long over, the time that the last primary is given included; or not over.
    promised: { until: site.promised ? NOW + 1 : NOW - 10 * LEASE },
    standbySince: NOW - 1,
    survivors: { waits: () => null },
  };
  return ground as unknown as ClaimGround;
}
