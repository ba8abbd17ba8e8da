// The witness's step, operation by operation: what each does, and each reason for which it is refused.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  type AdmitOperation,
  apply,
  type ClaimOperation,
  type CreateOperation,
  type ExcludeOperation,
  viewOfState,
  type WitnessOperation,
  type WitnessState,
} from '../../../src/core/arbiter/witness-state.ts';
import { stateFault } from '../../../src/core/arbiter/witness-rules.ts';
import { InvariantError } from '../../../src/core/base/assert.ts';
import { CELL_PAYLOAD_BYTES_MAX, canonicalJson, type Json } from '../../../src/core/base/cell.ts';
import { limits } from '../../../src/core/base/limits.ts';
import { INSTANCE, creation, Group, created, mirrored } from '../../support/witness-group.ts';

describe('create', () => {
  test('enters a group in which only the first copy may serve, without a primary', () => {
    const group = created();
    assert.equal(group.picture(), 'r1 e0 nobody primary+ near- far-');
    assert.deepEqual(viewOfState(group.state as WitnessState), {
      group: 'vm',
      groupId: 'id-1',
      instance: INSTANCE,
      revision: 1,
      epoch: 0,
      primary: null,
      copies: [
        { site: 'primary', mode: 'sync', flag: true },
        { site: 'near', mode: 'sync', flag: false },
        { site: 'far', mode: 'async', flag: false },
      ],
    });
  });

  test('of the same group is done again without a change, whoever asks and in whatever order the copies stand', () => {
    const group = mirrored();
    const before = group.picture();
    const answer = group.do({ ...creation, requestId: 'create-2', from: 'near', copies: [...creation.copies].reverse() });
    assert.equal(answer.outcome, 'done');
    assert.equal(group.picture(), before);
  });

  test('of another group under the same name is refused', () => {
    const group = created();
    const others: Partial<CreateOperation>[] = [
      { groupId: 'id-2' },
      { first: 'near' },
      { copies: creation.copies.slice(0, 2) },
      { copies: creation.copies.map((copy) => ({ ...copy, mode: 'sync' as const })) },
      { copies: creation.copies.map((copy) => (copy.site === 'far' ? { ...copy, site: 'farther' } : copy)) },
    ];
    for (const [index, other] of others.entries()) {
      const answer = group.do({ ...creation, ...other, requestId: `other-${index}` });
      assert.equal(answer.outcome === 'refused' && answer.reason, 'exists-different');
      assert.equal(group.picture(), 'r1 e0 nobody primary+ near- far-');
    }
  });

  test('needs a first copy that is one of the copies, and a sync one', () => {
    const group = new Group();
    const stranger = group.do({ ...creation, first: 'elsewhere' });
    assert.equal(stranger.outcome === 'refused' && stranger.reason, 'not-a-copy');
    const far = group.do({ ...creation, first: 'far' });
    assert.equal(far.outcome === 'refused' && far.reason, 'mode');
    assert.equal(far.outcome === 'refused' && far.view, null);
    assert.equal(group.state, null);
  });

  test('with one site twice, or too many sites, is a fault of the caller', () => {
    const twice = [...creation.copies, { site: 'near', mode: 'async' as const }];
    assert.throws(() => new Group().do({ ...creation, copies: twice }), InvariantError);
    const many = Array.from({ length: limits.groupSitesMax + 1 }, (_, index) => ({ site: `s${index}`, mode: 'sync' as const }));
    assert.throws(() => new Group().do({ ...creation, copies: many, first: 's0' }), InvariantError);
  });
});

describe('claim', () => {
  test('names a primary of the next epoch and puts every other sync flag to false in the same step; far keeps its own', () => {
    const group = mirrored();
    group.done({ kind: 'claim', from: 'near', epoch: 1 });
    assert.equal(group.picture(), 'r5 e2 near primary- near+ far+');
  });

  test('by a copy whose flag is false is refused', () => {
    const group = created();
    assert.match(group.refused('flag-false', { kind: 'claim', from: 'near', epoch: 0 }), /flag of near is false/);
  });

  test('in another epoch is refused', () => {
    const group = mirrored();
    assert.match(
      group.refused('epoch', { kind: 'claim', from: 'near', epoch: 0 }),
      /decided in epoch 0, the group is in epoch 1, primary primary/,
    );
    group.refused('epoch', { kind: 'claim', from: 'near', epoch: 2 });
  });

  test('by a stranger is refused', () => {
    mirrored().refused('not-a-copy', { kind: 'claim', from: 'elsewhere', epoch: 1 });
  });

  test('for an async copy is refused, but by hand it is done and clears every sync flag in the same step', () => {
    const group = mirrored();
    group.refused('mode', { kind: 'claim', from: 'far', epoch: 1 });
    group.done({ kind: 'claim', from: 'far', epoch: 1, byHand: true });
    assert.equal(group.picture(), 'r5 e2 far primary- near- far+');
    // The sites that were cleared come back as mirrors of far, and one of them takes over again.
    group.refused('flag-false', { kind: 'claim', from: 'near', epoch: 2 });
    group.done({ kind: 'admit', from: 'far', site: 'near', epoch: 2 });
    group.done({ kind: 'handover', from: 'far', to: 'near', epoch: 2 });
    assert.equal(group.picture(), 'r7 e3 near primary- near+ far+');
  });

  test('for an async copy by hand still needs its flag', () => {
    created().refused('flag-false', { kind: 'claim', from: 'far', epoch: 0, byHand: true });
  });

  test('by the primary again begins another epoch', () => {
    const group = mirrored();
    group.done({ kind: 'claim', from: 'primary', epoch: 1 });
    assert.equal(group.picture(), 'r5 e2 primary primary+ near- far+');
  });

  test('of two at once, one wins and the other is refused', () => {
    const group = mirrored();
    const revision = 4;
    assert.equal(group.ask({ kind: 'claim', from: 'near', epoch: 1 }, { revision }).outcome, 'done');
    group.refused('revision', { kind: 'claim', from: 'primary', epoch: 1 }, { revision });
    group.refused('epoch', { kind: 'claim', from: 'primary', epoch: 1 });
    group.refused('flag-false', { kind: 'claim', from: 'primary', epoch: 2 });
  });
});

describe('exclude and admit', () => {
  test('change one flag, of sync and async copies alike', () => {
    const group = mirrored();
    group.done({ kind: 'exclude', from: 'primary', site: 'near', epoch: 1 });
    assert.equal(group.picture(), 'r5 e1 primary primary+ near- far+');
    group.done({ kind: 'exclude', from: 'primary', site: 'far', epoch: 1 });
    assert.equal(group.picture(), 'r6 e1 primary primary+ near- far-');
    group.done({ kind: 'admit', from: 'primary', site: 'near', epoch: 1 });
    assert.equal(group.picture(), 'r7 e1 primary primary+ near+ far-');
  });

  test('an exclusion fences an admission that is still on its way, also when the flag is false already', () => {
    const group = mirrored();
    group.done({ kind: 'exclude', from: 'primary', site: 'near', epoch: 1 });
    const late: AdmitOperation = { kind: 'admit', requestId: 'late', group: 'vm', from: 'primary', site: 'near', epoch: 1, revision: 5 };
    group.done({ kind: 'exclude', from: 'primary', site: 'near', epoch: 1 });
    const answer = group.do(late);
    assert.equal(answer.outcome === 'refused' && answer.reason, 'revision');
    assert.equal(group.picture(), 'r6 e1 primary primary+ near- far+');
  });

  test('an admission of a copy that is so already is done without a change', () => {
    const group = mirrored();
    const answer = group.ask({ kind: 'admit', from: 'primary', site: 'near', epoch: 1 });
    assert.equal(answer.outcome, 'done');
    group.done({ kind: 'exclude', from: 'primary', site: 'near', epoch: 1 });
    group.done({ kind: 'exclude', from: 'primary', site: 'near', epoch: 1 });
    assert.equal(group.picture(), 'r6 e1 primary primary+ near- far+');
  });

  test('are for the primary of the current epoch alone', () => {
    const group = mirrored();
    for (const kind of ['exclude', 'admit'] as const) {
      group.refused('not-primary', { kind, from: 'near', site: 'primary', epoch: 1 });
      group.refused('epoch', { kind, from: 'primary', site: 'near', epoch: 0 });
      group.refused('not-a-copy', { kind, from: 'elsewhere', site: 'near', epoch: 1 });
      group.refused('not-a-copy', { kind, from: 'primary', site: 'elsewhere', epoch: 1 });
      group.refused('not-a-copy', { kind, from: 'primary', site: 'primary', epoch: 1 });
    }
    const nobody = created();
    nobody.refused('not-primary', { kind: 'exclude', from: 'primary', site: 'near', epoch: 0 });
  });

  test('need the own flag true, even where no step of the witness leads: a state from a foreign hand', () => {
    const group = mirrored();
    const state = group.state as WitnessState;
    group.state = { ...state, copies: state.copies.map((copy) => ({ ...copy, flag: copy.site !== 'primary' })) };
    const operation: ExcludeOperation = {
      kind: 'exclude',
      requestId: 'x',
      group: 'vm',
      from: 'primary',
      site: 'near',
      epoch: 1,
      revision: 4,
    };
    assert.throws(() => group.do(operation), /the primary's flag must be true .*"near","mode":"sync","flag":true/);
  });

  test('an exclusion that comes after the claim of the excluded is refused: never both flags false', () => {
    const group = mirrored();
    group.done({ kind: 'claim', from: 'near', epoch: 1 });
    group.refused('revision', { kind: 'exclude', from: 'primary', site: 'near', epoch: 1 }, { revision: 4 });
    group.refused('epoch', { kind: 'exclude', from: 'primary', site: 'near', epoch: 1 });
    group.refused('not-primary', { kind: 'exclude', from: 'primary', site: 'near', epoch: 2 });
  });

  test('an admission that was under way when the copy was excluded again is refused, however late it comes', () => {
    const group = mirrored();
    group.done({ kind: 'exclude', from: 'primary', site: 'near', epoch: 1 });
    const late: AdmitOperation = { kind: 'admit', requestId: 'late', group: 'vm', from: 'primary', site: 'near', epoch: 1, revision: 5 };
    group.done({ kind: 'admit', from: 'primary', site: 'near', epoch: 1 });
    group.done({ kind: 'exclude', from: 'primary', site: 'near', epoch: 1 });
    const answer = group.do(late);
    assert.equal(answer.outcome === 'refused' && answer.reason, 'revision');
    assert.equal(group.picture(), 'r7 e1 primary primary+ near- far+');
  });
});

describe('handover', () => {
  test('names the next primary in a new epoch and leaves every flag as it is', () => {
    const group = mirrored();
    group.done({ kind: 'handover', from: 'primary', to: 'near', epoch: 1 });
    assert.equal(group.picture(), 'r5 e2 near primary+ near+ far+');
  });

  test('needs a primary that asks and a sync target whose flag is true', () => {
    const group = mirrored();
    group.refused('not-primary', { kind: 'handover', from: 'near', to: 'primary', epoch: 1 });
    group.refused('epoch', { kind: 'handover', from: 'primary', to: 'near', epoch: 2 });
    group.refused('not-a-copy', { kind: 'handover', from: 'primary', to: 'elsewhere', epoch: 1 });
    group.refused('not-a-copy', { kind: 'handover', from: 'primary', to: 'primary', epoch: 1 });
    group.refused('mode', { kind: 'handover', from: 'primary', to: 'far', epoch: 1 });
    group.done({ kind: 'exclude', from: 'primary', site: 'near', epoch: 1 });
    assert.match(group.refused('flag-false', { kind: 'handover', from: 'primary', to: 'near', epoch: 1 }), /flag of near is false/);
  });
});

describe('resign', () => {
  test('by the primary puts its flag to false and leaves nobody as primary, in the same epoch', () => {
    const group = mirrored();
    group.done({ kind: 'resign', from: 'primary' });
    assert.equal(group.picture(), 'r5 e1 nobody primary- near+ far+');
    group.refused('not-primary', { kind: 'exclude', from: 'primary', site: 'near', epoch: 1 });
    group.done({ kind: 'claim', from: 'near', epoch: 1 });
    assert.equal(group.picture(), 'r6 e2 near primary- near+ far+');
  });

  test('by a mirror leaves the primary alone', () => {
    const group = mirrored();
    group.done({ kind: 'resign', from: 'near' });
    assert.equal(group.picture(), 'r5 e1 primary primary+ near- far+');
    group.done({ kind: 'resign', from: 'near' });
    assert.equal(group.picture(), 'r5 e1 primary primary+ near- far+');
  });

  test('of the last sync copy that is complete is refused: an async one does not stand in for it', () => {
    const group = mirrored();
    group.done({ kind: 'exclude', from: 'primary', site: 'near', epoch: 1 });
    group.refused('last-copy', { kind: 'resign', from: 'primary' });
    group.refused('not-a-copy', { kind: 'resign', from: 'elsewhere' });
  });
});

describe('force', () => {
  test('makes any copy the primary of a new epoch and every other flag false', () => {
    const group = mirrored();
    group.done({ kind: 'exclude', from: 'primary', site: 'near', epoch: 1 });
    group.done({ kind: 'force', from: 'near', site: 'near', epoch: 1 });
    assert.equal(group.picture(), 'r6 e2 near primary- near+ far-');
    group.done({ kind: 'force', from: 'primary', site: 'far', epoch: 2 });
    assert.equal(group.picture(), 'r7 e3 far primary- near- far+');
    group.refused('last-copy', { kind: 'resign', from: 'far' });
  });

  test('is refused in another epoch or for a stranger', () => {
    const group = mirrored();
    group.refused('epoch', { kind: 'force', from: 'near', site: 'near', epoch: 0 });
    group.refused('epoch', { kind: 'force', from: 'near', site: 'near', epoch: 2 });
    group.refused('not-a-copy', { kind: 'force', from: 'near', site: 'elsewhere', epoch: 1 });
  });
});

describe('read', () => {
  test('shows the state and leaves no trace', () => {
    const group = mirrored();
    const before = group.state;
    const answer = group.do({ kind: 'read', requestId: 'r', group: 'vm', from: 'anybody' });
    assert.deepEqual(answer, { outcome: 'done', view: viewOfState(before as WitnessState) });
    assert.equal(group.state, before);
    group.done({ kind: 'resign', from: 'near' });
    // The same id again is not an old answer: a reader wants to know what is true now.
    const again = group.do({ kind: 'read', requestId: 'r', group: 'vm', from: 'anybody' });
    assert.equal(again.outcome === 'done' && again.view.revision, 5);
  });
});

describe('a group that the witness does not know', () => {
  test('has no view, and nothing but create does anything', () => {
    const group = new Group();
    const answer = group.do({ kind: 'read', requestId: 'r', group: 'vm', from: 'near' });
    assert.deepEqual({ ...answer, text: '' }, { outcome: 'refused', reason: 'unknown-group', text: '', view: null, instance: 'witness-1' });
    group.refused('unknown-group', { kind: 'claim', from: 'near', epoch: 0 });
    group.refused('unknown-group', { kind: 'force', from: 'near', site: 'near', epoch: 0 });
  });
});

describe('compare-and-set', () => {
  test('a change that was decided on any other revision is refused, an older or a newer one', () => {
    const group = mirrored();
    for (const revision of [0, 3, 5]) {
      group.refused('revision', { kind: 'exclude', from: 'primary', site: 'near', epoch: 1 }, { revision });
      group.refused('revision', { kind: 'resign', from: 'primary' }, { revision });
      group.refused('revision', { kind: 'force', from: 'primary', site: 'far', epoch: 1 }, { revision });
    }
  });
});

describe('a request id', () => {
  test('asked again gets the first answer, as it was, however much has changed since', () => {
    const group = mirrored();
    const claim: ClaimOperation = { kind: 'claim', requestId: 'lost', group: 'vm', from: 'near', revision: 4, epoch: 1 };
    const first = group.do(claim);
    group.done({ kind: 'admit', from: 'near', site: 'primary', epoch: 2 });
    const before = group.state;
    assert.deepEqual(group.do(claim), { ...first, repeated: true });
    assert.equal(group.state, before);
  });

  test('asked again gets the refusal that it got, even if it would be granted now', () => {
    const group = mirrored();
    const early: ClaimOperation = { kind: 'claim', requestId: 'early', group: 'vm', from: 'near', revision: 5, epoch: 1 };
    const first = group.do(early);
    assert.equal(first.outcome === 'refused' && first.reason, 'revision');
    group.done({ kind: 'exclude', from: 'primary', site: 'far', epoch: 1 });
    assert.deepEqual(group.do(early), { ...first, repeated: true });
    assert.equal(group.picture(), 'r5 e1 primary primary+ near+ far-');
  });

  test('used for another operation is refused', () => {
    const group = mirrored();
    const operation: ExcludeOperation = {
      kind: 'exclude',
      requestId: 'x',
      group: 'vm',
      from: 'primary',
      site: 'far',
      epoch: 1,
      revision: 4,
    };
    assert.equal(group.do(operation).outcome, 'done');
    const others: WitnessOperation[] = [
      { ...operation, site: 'near' },
      { ...operation, kind: 'admit' },
      { ...operation, revision: 5 },
      { ...operation, epoch: 2 },
      { ...operation, from: 'near' },
      { kind: 'resign', requestId: 'x', group: 'vm', from: 'primary', revision: 5 },
      { kind: 'claim', requestId: 'x', group: 'vm', from: 'near', revision: 5, epoch: 1 },
      { kind: 'handover', requestId: 'x', group: 'vm', from: 'primary', to: 'near', revision: 5, epoch: 1 },
      { ...creation, requestId: 'x' },
    ];
    for (const other of others) {
      const answer = group.do(other);
      assert.equal(answer.outcome === 'refused' && answer.reason, 'request-id-reused', JSON.stringify(other));
    }
    assert.equal(group.picture(), 'r5 e1 primary primary+ near+ far-');
  });

  test('is remembered within bounds: the oldest go first, refusals before anything that was done', () => {
    const group = mirrored();
    const claim: ClaimOperation = { kind: 'claim', requestId: 'kept', group: 'vm', from: 'primary', revision: 4, epoch: 1 };
    const first = group.do(claim);
    for (let i = 0; i < 3 * limits.witnessRequestsMax; i++) group.refused('flag-false', { kind: 'claim', from: 'near', epoch: 2 });
    assert.deepEqual(group.do(claim), { ...first, repeated: true });
    assert.equal(group.state?.requests.length, limits.witnessRequestsMax);
    for (let i = 0; i < limits.witnessRequestsMax; i++) {
      group.done({ kind: i % 2 === 0 ? 'admit' : 'exclude', from: 'primary', site: 'near', epoch: 2 });
    }
    const forgotten = group.do(claim);
    assert.equal(forgotten.outcome === 'refused' && forgotten.reason, 'revision');
  });

  test('never makes the state outgrow its cell, not even with the longest of everything', () => {
    const long = (name: string): string => name.padEnd(limits.nameCharsMax, 'x');
    const sites = Array.from({ length: limits.groupSitesMax }, (_, index) => long(`site${index}`));
    const id = (name: string): string => name.padEnd(limits.requestIdCharsMax, 'y');
    const first = sites[0] as string;
    const copies = sites.map((site) => ({ site, mode: 'async' as const })).with(0, { site: first, mode: 'sync' } as never);
    const group = long('group');
    let { state } = apply(null, { kind: 'create', requestId: id('c'), group, from: first, groupId: id('g'), copies, first }, id('w'));
    for (let i = 0; i < 200; i++) {
      const revision = state?.revision ?? 0;
      const operation: WitnessOperation = { kind: 'claim', requestId: id(`claim${i}-`), group, from: first, revision, epoch: i };
      state = apply(state, operation, id('w')).state;
      assert.ok(canonicalJson(state as unknown as Json).length <= CELL_PAYLOAD_BYTES_MAX);
    }
    assert.equal(state?.epoch, 200);
    assert.ok((state?.requests.length ?? 0) >= 8, 'one request of each site can be asked for again, whatever the names');
  });

  test('that is empty or too long is a fault of the caller', () => {
    const group = created();
    assert.throws(() => group.do({ kind: 'read', requestId: '', group: 'vm', from: 'near' }), InvariantError);
    assert.throws(() => group.do({ kind: 'read', requestId: 'x'.repeat(65), group: 'vm', from: 'near' }), InvariantError);
    assert.throws(() => group.do({ kind: 'read', requestId: 'x', group: 'other', from: 'near' }), InvariantError);
  });
});

describe('a witness that was replaced or restored', () => {
  /** The state of a group, on the disk of another witness than the one that it was granted by. */
  const OTHER = 'witness-2';

  test('grants nothing, tells that it is another one, and says what to do', () => {
    const group = mirrored();
    const instance = OTHER;
    assert.match(group.refused('unseeded', { kind: 'claim', from: 'near', epoch: 1 }, { instance }), /an operator must name the survivor/);
    group.refused('unseeded', { kind: 'exclude', from: 'primary', site: 'near', epoch: 1 }, { instance });
    const read = group.do({ kind: 'read', requestId: 'r', group: 'vm', from: 'near' }, instance);
    assert.equal(read.outcome === 'refused' && read.reason, 'unseeded');
    assert.equal(read.view?.instance, OTHER);
    const same = group.do(creation, instance);
    assert.equal(same.outcome === 'refused' && same.reason, 'unseeded');
  });

  test('is seeded by an operator who names the survivor and the highest epoch that any copy has seen', () => {
    const group = mirrored();
    group.refused('epoch', { kind: 'force', from: 'near', site: 'near', epoch: 0 }, { instance: OTHER });
    group.refused('not-a-copy', { kind: 'force', from: 'near', site: 'elsewhere', epoch: 7 }, { instance: OTHER });
    assert.equal(group.ask({ kind: 'force', from: 'near', site: 'near', epoch: 7 }, { instance: OTHER }).outcome, 'done');
    assert.equal(group.picture(), 'r1004 e8 near primary- near+ far-');
    assert.equal(group.state?.instance, OTHER);
    assert.equal(group.state?.requests.length, 1, 'answers of the other witness are forgotten');
    assert.equal(group.ask({ kind: 'admit', from: 'near', site: 'primary', epoch: 8 }, { instance: OTHER }).outcome, 'done');
  });
});

describe('delete', () => {
  const OWN = { kind: 'delete', from: 'primary', groupId: 'id-1' } as const;
  const NEXT: CreateOperation = { ...creation, requestId: 'create-2', groupId: 'id-2' };
  const report = (groupId: string, instance: string = INSTANCE): WitnessOperation => ({
    kind: 'report',
    requestId: 'report',
    group: 'vm',
    from: 'primary',
    instance,
    groupId,
    copies: creation.copies,
    round: 0,
    report: { site: 'primary', epoch: 1, revision: 4, role: 'primary', mayBeTrue: ['primary'], end: null, life: 'l' },
  });

  test('takes every flag and the primary away in one step, and nothing is granted any more, not by force either', () => {
    const group = mirrored();
    group.done(OWN);
    assert.equal(group.picture(), 'r5 e1 nobody primary- near- far-');
    assert.equal(stateFault(group.state as WitnessState), null);
    for (const fields of [
      { kind: 'claim', from: 'near', epoch: 1 },
      { kind: 'admit', from: 'primary', site: 'near', epoch: 1 },
      { kind: 'force', from: 'near', site: 'near', epoch: 1 },
      { kind: 'resign', from: 'near' },
    ] as const) {
      assert.match(group.refused('deleted', fields), /this group was deleted, and none of its copies serves again/);
      assert.match(group.refused('deleted', fields, { instance: 'witness-2' }), /was deleted/);
    }
    assert.deepEqual(group.do({ kind: 'read', requestId: 'r', group: 'vm', from: 'near' }), {
      outcome: 'refused',
      reason: 'deleted',
      text: 'read of group "vm" by near: this group was deleted, and none of its copies serves again; `tercet delete` removes them, `tercet create` makes a new group',
      view: null,
      instance: INSTANCE,
      deleted: { groupId: 'id-1' },
    });
  });

  test('is for the primary, decided on the newest state; by force for any copy', () => {
    const group = mirrored();
    group.refused('not-primary', { ...OWN, from: 'near' });
    group.refused('revision', OWN, { revision: 3 });
    group.refused('exists-different', { ...OWN, groupId: 'id-2' });
    group.refused('not-a-copy', { ...OWN, from: 'elsewhere', force: true });
    group.refused('unseeded', OWN, { instance: 'witness-2' });
    group.done({ ...OWN, from: 'near', force: true });
    const none = created();
    none.done({ ...OWN, from: 'far' });
  });

  test('asked again is done, and changes nothing; of another group it is refused', () => {
    const group = mirrored();
    group.done(OWN);
    const before = group.state;
    assert.equal(group.ask({ ...OWN, from: 'near' }, { revision: 4 }).outcome, 'done');
    assert.equal(group.state, before);
    group.refused('deleted', { ...OWN, groupId: 'id-2' });
  });

  test('leaves the name for another group, whose revision goes on; the same group is not made again', () => {
    const group = mirrored();
    group.done(OWN);
    const same = group.do({ ...creation, requestId: 'create-3' });
    assert.equal(same.outcome === 'refused' && same.reason, 'deleted');
    assert.equal(group.do(NEXT).outcome, 'done');
    assert.equal(group.picture(), 'r6 e0 nobody primary+ near- far-');
    assert.deepEqual([group.state?.groupId, group.state?.deleted, group.state?.writes], ['id-2', undefined, 6]);
    group.done({ kind: 'claim', from: 'primary', epoch: 0 });
    const old = group.do({ ...creation, requestId: 'create-4' });
    assert.equal(old.outcome === 'refused' && old.reason, 'exists-different');
  });

  test('reports do not bring the group back, and those of another group do not wait for ever behind its tombstone', () => {
    const group = mirrored();
    group.done(OWN);
    const tombstone = group.state;
    const gone = group.do(report('id-1'));
    assert.equal(gone.outcome === 'refused' && gone.reason, 'deleted');
    assert.equal(group.state, tombstone);
    const stray = group.do(report('id-2', 'witness-3'));
    assert.equal(stray.outcome === 'refused' && stray.reason, 'deleted');
    const other = group.do(report('id-2', 'witness-2'), 'witness-2');
    assert.equal(other.outcome === 'refused' && other.reason, 'unseeded');
    assert.deepEqual([group.state?.groupId, group.state?.deleted, group.state?.writes], ['id-2', undefined, (tombstone?.writes ?? 0) + 1]);
  });
});

describe('prove', () => {
  const proof = (seen?: { instance: string; revision: number }): WitnessOperation => ({
    kind: 'prove',
    requestId: 'proof',
    group: 'vm',
    from: 'near',
    ...(seen !== undefined && { seen }),
  });

  test('has the state stored anew, as it is, each time and whoever asks however late', () => {
    const group = mirrored();
    const before = group.state as WitnessState;
    for (const times of [1, 2]) {
      const answer = group.do(proof({ instance: INSTANCE, revision: 2 }));
      assert.deepEqual(answer, { outcome: 'done', view: viewOfState(before) });
      assert.deepEqual(group.state, { ...before, writes: before.writes + times });
    }
    // A claim that was decided before is granted after it.
    group.done({ kind: 'claim', from: 'near', epoch: 1 });
  });

  test('is refused, and stores nothing, where nothing is granted', () => {
    const nowhere = new Group();
    assert.equal(nowhere.do(proof()).outcome, 'refused');
    assert.equal(nowhere.state, null);
    const group = mirrored();
    const before = group.state;
    for (const answer of [group.do(proof(), 'witness-2'), group.do(proof({ instance: 'witness-2', revision: 4 }))]) {
      assert.equal(answer.outcome, 'refused');
      assert.equal(group.state, before);
    }
  });
});
