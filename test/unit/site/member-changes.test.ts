// What a primary does about a change of a copy that the witness refuses, or whose program is too old to understand: it asks less and less often, says why,
// and puts other questions meanwhile. What was given up and is carried out after all does not go unseen.

import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';

import { WitnessDesk } from '../../../src/core/arbiter/ask.ts';
import type { RefusalReason, WitnessCopy, WitnessOperation, WitnessReply, WitnessView } from '../../../src/core/arbiter/witness-state.ts';
import type { Mode } from '../../../src/core/base/copies.ts';
import type { SiteName } from '../../../src/core/base/units.ts';
import { FollowedPeer } from '../../../src/core/mirror/followed.ts';
import { Peer } from '../../../src/core/mirror/peer.ts';
import { type ChangesGround, MemberChanges, type MemberStep } from '../../../src/core/site/member-changes.ts';

const RETRY = 100;
const NOT_UNDERSTOOD: WitnessReply = { outcome: 'not-understood' };
const TO_ASYNC: MemberStep = { kind: 'mode', mode: 'async' };

/** A primary with two mirrors whose flags are false, and a witness that a test answers for. */
class Ground {
  now = 1000;
  readonly steps = new Map<SiteName, MemberStep>();
  readonly changed: string[] = [];
  readonly events: string[] = [];
  readonly asked: { operation: WitnessOperation; reply: (reply: WitnessReply) => void }[] = [];
  readonly followed: Map<SiteName, FollowedPeer>;
  readonly desk: WitnessDesk;
  readonly changes: MemberChanges;
  copies: readonly WitnessCopy[] = [
    { site: 'prim', mode: 'sync', flag: true },
    { site: 'near', mode: 'sync', flag: false },
    { site: 'far', mode: 'sync', flag: false },
  ];
  revision = 7;

  constructor() {
    this.followed = new Map(['near', 'far'].map((site) => [site, new FollowedPeer(new Peer(site, 'sync'), 'false', 0.02, 0)]));
    for (const peer of this.followed.values()) peer.entered = true;
    const clock = { now: () => this.now, wall: () => 0 };
    const journal = (event: string, _facts: unknown, text: string): unknown => this.events.push(`${event}: ${text}`);
    let ids = 0;
    this.desk = new WitnessDesk({
      group: 'db',
      site: 'prim',
      port: { call: (operation, reply) => this.asked.push({ operation, reply }) },
      clock,
      random: { id: () => `id${++ids}` },
      journal,
      retryMillis: RETRY,
      groupId: () => 'g1',
      proveMillis: 60_000,
      onView: () => undefined,
    });
    this.changes = new MemberChanges({
      options: { clock, journal, timings: { witnessRetryMillis: RETRY }, shell: { wake: () => undefined } },
      replica: { epoch: 2 },
      desk: this.desk,
      members: {
        stepFor: ({ site }: FollowedPeer) => this.steps.get(site) ?? null,
        changed: (site: SiteName, mode: Mode | null) => this.changed.push(`${site} ${mode}`),
      },
      followed: this.followed,
      lead: { entered: () => undefined, dismissed: () => undefined },
    } as unknown as ChangesGround);
    this.desk.read();
    this.answer(this.done());
  }

  get view(): WitnessView {
    return { group: 'db', groupId: 'g1', instance: 'w1', revision: this.revision, epoch: 2, primary: 'prim', copies: this.copies };
  }

  peer(site: SiteName): FollowedPeer {
    return this.followed.get(site) as FollowedPeer;
  }

  done(): WitnessReply {
    return { outcome: 'done', view: this.view };
  }

  refused(reason: RefusalReason): WitnessReply {
    return { outcome: 'refused', reason, text: `because of ${reason}`, view: this.view };
  }

  /** Answers the only question that is under way, which is of this kind. */
  answer(reply: WitnessReply, kind: WitnessOperation['kind'] = 'read'): void {
    const [question, ...others] = this.asked.splice(0);
    assert.ok(question !== undefined && others.length === 0, 'one question is under way');
    assert.equal(question.operation.kind, kind);
    question.reply(reply);
  }

  /** Goes on to when it is to be looked at again. Returns how long that was. */
  wait(): number {
    const millis = this.changes.deadline(this.now) - this.now;
    assert.ok(Number.isFinite(millis), 'there is a moment to wait for');
    this.now += millis;
    this.changes.turn(this.now);
    return millis;
  }
}

let ground: Ground;
beforeEach(() => (ground = new Ground()));

describe('a witness that does not understand a change', () => {
  beforeEach(() => {
    ground.steps.set('near', TO_ASYNC);
    ground.changes.turn(ground.now);
    ground.answer(NOT_UNDERSTOOD, 'mode');
  });

  test('has said so once, in a sentence, and other questions go on', () => {
    assert.equal(ground.desk.busy, false);
    assert.deepEqual(ground.changes.trouble('near'), {
      cause: 'the program of the witness is older, and does not know such a change',
      next: 'upgrade the witness first; it is asked again now and then',
    });
    ground.steps.set('far', { kind: 'remove' });
    ground.changes.turn(ground.now);
    ground.answer(ground.done(), 'remove');
    const waits = Array.from({ length: 4 }, () => {
      const millis = ground.wait();
      ground.answer(NOT_UNDERSTOOD, 'mode');
      return millis;
    });
    assert.deepEqual(waits, [100, 200, 400, 800]);
    assert.equal(ground.events.filter((event) => event.startsWith('mode.')).length, 2, ground.events.join('\n'));
  });

  test('is asked again until it is upgraded', () => {
    ground.wait();
    ground.copies = ground.copies.map((copy) => (copy.site === 'near' ? { ...copy, mode: 'async' } : copy));
    ground.revision = 8;
    ground.answer(ground.done(), 'mode');
    assert.deepEqual(ground.changed, ['near async']);
    assert.equal(ground.peer('near').peer.mode, 'async');
    ground.steps.clear();
    assert.deepEqual([ground.changes.concerns(ground.peer('near')), ground.changes.trouble('near')], [false, null]);
  });

  test('may be a newer one when a try of it arrives: the copy is not admitted before an exclusion has raised the revision', () => {
    ground.steps.clear();
    assert.equal(ground.changes.concerns(ground.peer('near')), true);
    ground.wait();
    ground.revision = 8;
    ground.answer(ground.done(), 'exclude');
    assert.deepEqual([ground.changes.concerns(ground.peer('near')), ground.changed], [false, []]);
  });

  test('and has carried it out after all: the copy counts as what the witness has it', () => {
    ground.steps.clear();
    ground.wait();
    // A try that was on its way arrived before the exclusion.
    ground.copies = ground.copies.map((copy) => (copy.site === 'near' ? { ...copy, mode: 'async' } : copy));
    ground.revision = 8;
    ground.answer(ground.refused('revision'), 'exclude');
    assert.equal(ground.changes.concerns(ground.peer('near')), true);
    ground.changes.turn(ground.now);
    ground.revision = 9;
    ground.answer(ground.done(), 'exclude');
    assert.deepEqual(ground.changed, ['near async']);
    assert.deepEqual([ground.peer('near').peer.mode, ground.changes.concerns(ground.peer('near'))], ['async', false]);
  });
});

describe('a change that is refused', () => {
  test('is asked for again less and less often, and told of once', () => {
    ground.steps.set('far', TO_ASYNC);
    ground.changes.turn(ground.now);
    const waits = Array.from({ length: 8 }, () => {
      ground.answer(ground.refused('too-many'), 'mode');
      return ground.wait();
    });
    assert.deepEqual(waits, [100, 200, 400, 800, 1600, 3200, 3200, 3200]);
    assert.deepEqual(ground.events, [
      'witness.reachable: the witness answers',
      'mode.begin: far is mirrored as async from now on: the witness is asked',
      'mode.refused: far is mirrored as async from now on: not yet: the witness refused: because of too-many',
    ]);
  });

  test('does not keep another one waiting, nor is what is wanted instead kept waiting', () => {
    ground.steps.set('near', TO_ASYNC);
    ground.changes.turn(ground.now);
    ground.answer(ground.refused('too-many'), 'mode');
    ground.steps.set('far', TO_ASYNC);
    ground.changes.turn(ground.now);
    assert.match(JSON.stringify(ground.asked[0]?.operation), /"site":"far"/);
    ground.answer(ground.refused('too-many'), 'mode');
    ground.steps.set('near', { kind: 'remove' });
    ground.changes.turn(ground.now);
    ground.answer(ground.done(), 'remove');
  });

  test('because the copy is known with another mode already, is learned', () => {
    ground.peer('far').entered = false;
    ground.steps.set('far', { kind: 'add', mode: 'async' });
    ground.changes.turn(ground.now);
    ground.answer(ground.refused('exists-different'), 'add');
    assert.deepEqual(ground.changed, ['far sync']);
  });
});
