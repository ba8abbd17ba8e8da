// A witness that was replaced: it grants nothing before the copies that may serve have told it, twice and unchanged, what they are.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { CopyReport, ReportRole } from '../../../src/core/arbiter/seeding.ts';
import {
  apply,
  type ReportOperation,
  type WitnessAnswer,
  type WitnessOperation,
  type WitnessState,
} from '../../../src/core/arbiter/witness-state.ts';
import { limits } from '../../../src/core/base/limits.ts';

const COPIES = [
  { site: 'prim', mode: 'sync' },
  { site: 'near', mode: 'sync' },
  { site: 'far', mode: 'async' },
] as const;
type Said = Partial<CopyReport> & { role: ReportRole };

/** A new witness, and copies that report to it. */
class Witness {
  state: WitnessState | null = null;
  round = 0;
  #ids = 0;

  do(operation: WitnessOperation): WitnessAnswer {
    const { state, answer } = apply(this.state, operation, 'new');
    this.state = state;
    return answer;
  }

  report(site: string, said: Said, round = this.round, copies: ReportOperation['copies'] = COPIES): WitnessAnswer {
    const report: CopyReport = { site, epoch: 3, revision: 9, mayBeTrue: [], end: null, life: '1.1', ...said };
    const names = { requestId: `r${++this.#ids}`, group: 'db', from: site };
    const answer = this.do({ kind: 'report', ...names, instance: 'new', groupId: 'g', copies, round, report });
    if (answer.outcome === 'refused' && answer.seeding !== undefined) this.round = answer.seeding.round;
    return answer;
  }

  /** Reports of several sites, each as often as it takes to be heard in one round. */
  all(said: Readonly<Record<string, Said>>): WitnessAnswer {
    let answer: WitnessAnswer | null = null;
    for (let times = 0; times < 3; times++) for (const [site, what] of Object.entries(said)) answer = this.report(site, what);
    return answer as WitnessAnswer;
  }

  flags(): string {
    const { state } = this;
    if (state === null || !state.seeded) return 'nothing';
    const flags = state.copies.map(({ site, flag }) => `${site}${flag ? '+' : '-'}`).join(' ');
    return `e${state.epoch} ${state.primary ?? 'nobody'} ${flags}`;
  }
}

const end = (seq: number, chain = seq): CopyReport['end'] => ({ epoch: 3, seq, chain });

describe('a new witness, with a primary that serves', () => {
  test('begins with it alone when it knows every other flag false', () => {
    const witness = new Witness();
    witness.report('prim', { role: 'primary' });
    assert.equal(witness.flags(), 'nothing', 'heard once only: it may tell of a world that is gone');
    const answer = witness.report('prim', { role: 'primary' });
    assert.equal(answer.outcome, 'done');
    assert.equal(witness.flags(), 'e3 prim prim+ near- far-');
    assert.equal(answer.view?.revision, 9 + limits.witnessSeedRevisions);
  });

  test('waits for every sync copy whose flag may be true, and leaves it true', () => {
    const witness = new Witness();
    witness.all({ prim: { role: 'primary', mayBeTrue: ['near', 'far'] } });
    assert.equal(witness.flags(), 'nothing');
    const waits = witness.report('prim', { role: 'primary', mayBeTrue: ['near', 'far'] });
    assert.deepEqual(waits.outcome === 'refused' && waits.seeding?.missing, ['near']);
    witness.all({ near: { role: 'following' }, prim: { role: 'primary', mayBeTrue: ['near', 'far'] } });
    assert.equal(witness.flags(), 'e3 prim prim+ near+ far+');
  });

  test('does not count a report that says something else by the time the others are heard', () => {
    const witness = new Witness();
    const leads: Said = { role: 'primary', mayBeTrue: ['near'] };
    witness.all({ prim: leads });
    witness.report('near', { role: 'following' });
    witness.report('near', { role: 'following' });
    assert.equal(witness.flags(), 'nothing', 'what prim said before near was heard is not known to be so any more');
    // A delayed report of the round before.
    witness.report('prim', leads, witness.round - 1);
    assert.equal(witness.flags(), 'nothing');
    // It has restarted meanwhile, and leads nobody.
    witness.all({ prim: { role: 'waiting', end: end(95), life: '2.1' }, near: { role: 'following' } });
    assert.equal(witness.flags(), 'nothing');
  });

  test('leaves a primary of an older epoch behind', () => {
    const witness = new Witness();
    witness.all({ prim: { role: 'primary', mayBeTrue: ['near'] }, near: { role: 'primary', epoch: 4, mayBeTrue: [] } });
    assert.equal(witness.flags(), 'e4 near prim- near+ far-');
  });
});

describe('a new witness, while members change', () => {
  const sync = COPIES.map(({ site }) => ({ site, mode: 'sync' }) as const);
  const leads: Said = { role: 'primary', mayBeTrue: ['near', 'far'] };

  test('takes modes from the primary: a copy whose flag says less than that of a sync one is not called one', () => {
    const witness = new Witness();
    for (let times = 0; times < 3; times++) {
      witness.report('near', { role: 'following' }, witness.round, sync);
      witness.report('prim', leads);
    }
    assert.equal(witness.flags(), 'e3 prim prim+ near+ far+');
    assert.deepEqual(
      witness.state?.copies.map(({ mode }) => mode),
      ['sync', 'sync', 'async'],
    );
  });

  test('takes members from the primary, and from nobody else', () => {
    const witness = new Witness();
    const two = COPIES.slice(0, 2);
    witness.report('far', { role: 'waiting', end: end(9) });
    const other = witness.report('near', { role: 'following' }, witness.round, two);
    assert.equal(other.outcome === 'refused' && other.reason, 'exists-different');
    for (let times = 0; times < 3; times++) {
      witness.report('prim', { role: 'primary', mayBeTrue: ['near'] }, witness.round, two);
      witness.report('near', { role: 'following' }, witness.round, two);
    }
    assert.equal(witness.flags(), 'e3 prim prim+ near+');
    const removed = witness.report('far', { role: 'waiting', end: end(9) });
    assert.equal(removed.outcome === 'refused' && removed.reason, 'not-a-copy');
  });
});

describe('a new witness, and nobody leads', () => {
  const waiting = (seq: number, more: Partial<CopyReport> = {}): Said => ({ role: 'waiting', end: end(seq), ...more });

  test('waits for every copy, and lets those go on that hold the most', () => {
    const witness = new Witness();
    witness.all({ prim: waiting(95), near: waiting(100) });
    assert.equal(witness.flags(), 'nothing', 'far may have been promoted by hand');
    witness.all({ prim: waiting(95), near: waiting(100), far: waiting(90) });
    assert.equal(witness.flags(), 'e3 near prim- near+ far-');
  });

  test('lets all go on that hold the same, and not those whose records differ', () => {
    const witness = new Witness();
    witness.all({ prim: waiting(100), near: waiting(100), far: waiting(100) });
    assert.equal(witness.flags(), 'e3 prim prim+ near+ far-');
    const other = new Witness();
    other.all({ prim: waiting(100), near: waiting(100, { end: end(100, 7) }), far: waiting(1) });
    assert.equal(other.flags(), 'e3 prim prim+ near- far-');
  });

  test('never takes a copy of an older epoch, or an inconsistent one', () => {
    const witness = new Witness();
    witness.all({ prim: waiting(500, { epoch: 2 }), near: waiting(10), far: waiting(1) });
    assert.equal(witness.flags(), 'e3 near prim- near+ far-');
    const none = new Witness();
    none.all({ prim: waiting(500, { epoch: 2 }), near: { role: 'waiting', end: null }, far: waiting(1, { epoch: 2 }) });
    assert.equal(none.flags(), 'nothing');
  });

  test('begins behind an epoch that was granted and not begun, once every copy says that it has not', () => {
    const restored = (): Witness => {
      const names = { group: 'db', from: 'prim' };
      const created = apply(null, { kind: 'create', requestId: 'c', ...names, groupId: 'g', copies: COPIES, first: 'prim' }, 'old').state;
      const witness = new Witness();
      witness.state = apply(created, { kind: 'claim', requestId: 'd', ...names, epoch: 0, revision: 1 }, 'old').state;
      return witness;
    };
    const behind = { epoch: 0, revision: 2 };
    const witness = restored();
    witness.all({ prim: waiting(7, behind), near: waiting(7, behind) });
    assert.equal(witness.flags(), 'nothing', 'far may have begun it');
    witness.all({ prim: waiting(7, behind), near: waiting(7, behind), far: waiting(6, behind) });
    assert.equal(witness.flags(), 'e1 nobody prim+ near+ far-');
    const broken = restored();
    broken.all({ prim: { role: 'waiting', ...behind, end: null }, near: waiting(7, behind), far: waiting(6, behind) });
    assert.equal(broken.flags(), 'nothing', 'a copy that is lost may have begun it');
    const led = restored();
    led.all({ prim: { role: 'primary', ...behind }, near: waiting(7, behind), far: waiting(6, behind) });
    assert.equal(led.flags(), 'nothing');
    // What was granted is void: whoever asked for it has given it up.
    const late = witness.do({ kind: 'claim', requestId: 'd', group: 'db', from: 'prim', epoch: 0, revision: 1 });
    assert.equal(late.outcome === 'refused' && late.reason, 'revision');
  });

  test('waits while far holds more than any sync copy; a far copy that was promoted by hand goes on alone', () => {
    const witness = new Witness();
    witness.all({ prim: waiting(95), near: waiting(95), far: waiting(96) });
    assert.equal(witness.flags(), 'nothing');
    const forced = new Witness();
    forced.all({ prim: waiting(95), near: waiting(95), far: waiting(60, { epoch: 4 }) });
    assert.equal(forced.flags(), 'e4 far prim- near- far+');
  });

  test('is decided by an operator when a copy does not report: the revision leaps all the same', () => {
    const witness = new Witness();
    witness.all({ near: waiting(100) });
    const force = { kind: 'force', requestId: 'f', group: 'db', from: 'near', site: 'near', epoch: 3, revision: 9 } as const;
    assert.equal(witness.do(force).outcome, 'done');
    assert.equal(witness.flags(), 'e4 near prim- near+ far-');
    assert.equal(witness.state?.revision, 9 + limits.witnessSeedRevisions);
  });
});

describe('a witness that grants', () => {
  const seeded = (): Witness => {
    const witness = new Witness();
    witness.all({ prim: { role: 'primary' } });
    return witness;
  };

  test('takes the report of a copy that knows no more, and refuses one that does', () => {
    assert.equal(seeded().report('near', { role: 'following' }).outcome, 'done');
    const epoch = seeded().report('near', { role: 'waiting', epoch: 4, end: end(1) });
    assert.equal(epoch.outcome === 'refused' && epoch.reason, 'epoch');
    const revision = seeded().report('near', { role: 'waiting', revision: 5000, end: end(1) });
    assert.equal(revision.outcome === 'refused' && revision.reason, 'revision');
  });

  test('grants nothing any more once a copy has seen more of it than it knows: its disk was put back', () => {
    const witness = seeded();
    const { state } = witness;
    const revision = state?.revision ?? 0;
    const names = { group: 'db', from: 'prim' };
    assert.equal(witness.do({ kind: 'admit', requestId: 'a', ...names, site: 'near', epoch: 3, revision }).outcome, 'done');
    witness.state = state;
    const seen = { instance: 'new', revision: revision + 1 };
    const read = witness.do({ kind: 'read', requestId: 'b', ...names, seen });
    assert.equal(read.outcome === 'refused' && read.reason, 'unseeded');
    const claim = witness.do({ kind: 'claim', requestId: 'c', group: 'db', from: 'near', epoch: 3, revision });
    assert.equal(claim.outcome === 'refused' && claim.reason, 'unseeded');
    assert.equal(witness.do({ kind: 'read', requestId: 'd', ...names, seen: { instance: 'old', revision: 1 } }).outcome, 'refused');
  });

  test('refuses what was meant for another witness, however late it arrives', () => {
    const first = { kind: 'create', requestId: 'c', group: 'db', from: 'prim', groupId: 'g', copies: COPIES, first: 'prim' } as const;
    const empty = new Witness();
    const create = empty.do({ ...first, seen: { instance: 'old', revision: 0 } });
    assert.deepEqual([create.outcome === 'refused' && create.reason, empty.state], ['unknown-group', null]);
    const witness = new Witness();
    witness.report('near', { role: 'waiting', end: end(1) });
    const force = { kind: 'force', requestId: 'f', group: 'db', from: 'near', site: 'near', epoch: 3, revision: 9 } as const;
    const late = witness.do({ ...force, seen: { instance: 'old', revision: 9 } });
    assert.deepEqual([late.outcome === 'refused' && late.reason, witness.flags()], ['other-witness', 'nothing']);
    assert.equal(witness.do({ ...force, seen: { instance: 'new', revision: 0 } }).outcome, 'done');
  });

  test('is not disturbed by what a copy has seen of another witness', () => {
    const read = seeded().do({ kind: 'read', requestId: 'x', group: 'db', from: 'near', seen: { instance: 'old', revision: 90_000 } });
    assert.equal(read.outcome, 'done');
  });
});
