// Offers of records between two survivors cross on their way: what ends one of them ends no other.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Level, Standing } from '../../../src/core/mirror/forms.ts';
import type { Link } from '../../../src/core/mirror/link.ts';
import { ACKNOWLEDGE_BODY, decodeJson, encodeJson, encodeNumbers, type MessageName } from '../../../src/core/mirror/messages.ts';
import { Peer } from '../../../src/core/mirror/peer.ts';
import { type Role, SITE_COUNTERS, type SiteCounter, type SiteOptions } from '../../../src/core/site/contract.ts';
import { Survivors } from '../../../src/core/site/survivors.ts';
import { frameView, ReplicaRig } from '../../support/replica-rig.ts';

const LEASE = 2000;

/** A copy that follows nobody, beside another one which is played by hand. */
class Survivor {
  readonly rig: ReplicaRig;
  readonly survivors: Survivors;
  readonly sent: { readonly name: string; readonly body: Record<string, unknown> }[] = [];
  /** Newest record of each frame that was sent. */
  readonly given: number[] = [];
  readonly #peer = new Peer('other', 'sync');

  /** Why this copy cannot be made equal to the other one yet: it is smaller, or has not noted that it is as large. */
  small: string | null = null;
  readonly #link: Link;

  constructor(records: number, connected = true) {
    this.rig = copyOf(records);
    this.#link = {
      peer: 'other',
      send: (name: MessageName, body: Uint8Array) => this.sent.push({ name, body: decodeJson(body) ?? {} }),
      sendParts: (_name: MessageName, [frame]: readonly [Uint8Array], _lent: number, sent: () => void) => {
        this.given.push(frameView(frame).lastSeq);
        sent();
      },
    } as unknown as Link;
    const options = {
      clock: { now: () => this.rig.now, wall: () => 0 },
      timings: { leaseMillis: LEASE, heartbeatMillis: 400 },
      journal: () => undefined,
      shell: { wake: () => undefined },
    } as unknown as SiteOptions;
    const counters = Object.fromEntries(SITE_COUNTERS.map((name) => [name, 0])) as Record<SiteCounter, number>;
    const peers = new Map([['other', this.#peer]]);
    const growth = { mayTakeFrom: () => this.small === null, whyTooSmall: () => this.small };
    this.survivors = new Survivors({ options, peers, counters, replica: () => this.rig.replica, growth });
    this.survivors.begin();
    if (connected) this.connect();
    this.turn();
  }

  connect(role: Role | null = 'standby'): void {
    this.#peer.link = this.#link;
    this.#peer.said = role === null ? null : ({ role, consistent: true } as unknown as Peer['said']);
    this.turn();
  }

  lose(): void {
    this.#peer.link = null;
    this.#peer.said = null;
    this.survivors.peerLost('other');
    this.turn();
  }

  /** What a claim would wait for. */
  get cause(): string | null {
    return this.survivors.waits(this.rig.now)?.cause ?? null;
  }

  turn(): void {
    this.survivors.turn(this.rig.replica, this.rig.now);
  }

  hear(name: MessageName, body: object): void {
    this.survivors.receive(this.#peer, { name, body: encodeJson(body) }, 'standby');
    this.turn();
  }

  acknowledge(received: number): void {
    const body = encodeNumbers(ACKNOWLEDGE_BODY, [1, received, received, 0]);
    this.survivors.receive(this.#peer, { name: 'acknowledge', body }, 'standby');
    this.turn();
  }

  /** What was sent last of a kind. */
  last(name: string): Record<string, unknown> | undefined {
    return this.sent.findLast((message) => message.name === name)?.body;
  }
}

/** The same group everywhere, up to some record. */
function copyOf(records: number): ReplicaRig {
  const rig = new ReplicaRig().start();
  for (let seq = 1; seq <= records; seq++) rig.write(0, seq, 1, seq);
  return rig;
}

function standingOf(records: number): Standing {
  const { epoch, history, chain, marks } = copyOf(records).replica;
  return { epoch, history, received: marks.received, committed: 0, destageTarget: 0, oldest: 1, chain, consistent: true };
}

test('an offer that is refused because it is out of date does not end the one that has followed it', () => {
  const ahead = new Survivor(4);
  ahead.hear('compare', standingOf(1));
  const first = ahead.last('level');
  // The other has taken a record from a third copy meanwhile, and says so; the first offer reaches it only then.
  ahead.hear('compare', standingOf(2));
  const second = ahead.last('level');
  assert.deepEqual([first?.['position'], second?.['position']], [1, 2]);
  ahead.hear('levelEnd', { reason: 'records of one epoch are not cut back without a primary', number: first?.['number'] });
  ahead.acknowledge(2);
  assert.equal(ahead.given.at(-1), 4, 'what the second offer promises is given');
});

test('an offer that is refused itself is over, whoever refuses it names it or not', () => {
  for (const named of [true, false]) {
    const ahead = new Survivor(4);
    ahead.hear('compare', standingOf(1));
    const number = ahead.last('level')?.['number'];
    ahead.hear('levelEnd', named ? { reason: 'no', number } : { reason: 'no' });
    ahead.acknowledge(1);
    assert.deepEqual(ahead.given, [], `named: ${named}`);
  }
});

test('a claim does not wait for records that their giver says will not come', () => {
  const behind = new Survivor(1);
  const { history, epoch, chain } = copyOf(1).replica;
  behind.hear('compare', standingOf(3));
  behind.hear('level', { epoch, history, position: 1, chain, target: 3, number: 7 });
  assert.equal(behind.cause, 'other holds 2 records that are not here yet');
  behind.hear('levelEnd', { reason: 'of an older offer', number: 6, gives: true });
  assert.equal(behind.cause, 'other holds 2 records that are not here yet');
  behind.rig.now += LEASE;
  behind.hear('levelEnd', { reason: 'the sidefile begins later by now', number: 7, gives: true });
  assert.equal(behind.cause, null);
});

test('what refuses an offer, or gives it up, says which one', () => {
  const behind = new Survivor(2);
  const { history, epoch, chain } = copyOf(1).replica;
  behind.hear('level', { epoch, history, position: 1, chain, target: 3, number: 8 });
  assert.equal(behind.last('levelEnd')?.['number'], 8);
  const ahead = new Survivor(3);
  ahead.hear('compare', standingOf(1));
  ahead.rig.now += 2 * LEASE;
  ahead.turn();
  const { number, gives } = ahead.last('levelEnd') ?? {};
  assert.deepEqual([number, gives], [ahead.last('level')?.['number'], true]);
});

test('a claim waits for a survivor that it meets late, for a lease and once', () => {
  const behind = new Survivor(1, false);
  behind.rig.now += 20 * LEASE;
  behind.turn();
  assert.equal(behind.cause, null, 'for nobody that is not there');
  behind.connect();
  assert.equal(behind.cause, 'it compares its copy with the one of other');
  behind.rig.now += LEASE / 2;
  behind.hear('compare', standingOf(3));
  assert.equal(behind.cause, 'it compares its copy with the one of other', 'and for what that one will offer');
  behind.rig.now += LEASE / 2;
  assert.equal(behind.cause, null);
  behind.lose();
  behind.connect();
  assert.equal(behind.cause, null, 'one that comes and goes is not waited for again');
});

test('a survivor that is met late and holds no more is not waited for', () => {
  const behind = new Survivor(1, false);
  behind.rig.now += 20 * LEASE;
  behind.connect();
  behind.hear('compare', standingOf(1));
  assert.equal(behind.cause, null);
});

test('one that has just connected is waited for until it says what it is', () => {
  const behind = new Survivor(1, false);
  behind.rig.now += 20 * LEASE;
  behind.connect(null);
  assert.equal(behind.cause, 'it compares its copy with the one of other');
  behind.connect('starting');
  assert.equal(behind.cause, null);
  behind.lose();
  behind.connect(null);
  behind.rig.now += LEASE;
  assert.equal(behind.cause, null, 'for a lease, and once');
  behind.connect('standby');
  assert.equal(behind.cause, 'it compares its copy with the one of other');
});

/** What the other one would offer from a record on. */
function offerOf(records: number, position: number, epoch = 1): Level {
  const { replica } = copyOf(records);
  return { epoch, history: replica.history, position, chain: replica.chainAt(position) as number, target: records, number: 1 };
}

test('a copy that has not noted how large the volumes are by now is not made equal by another one', () => {
  const behind = new Survivor(1, false);
  behind.small = 'volume small has 8192 bytes there, and this copy can hold 4096 bytes';
  behind.connect();
  assert.equal(behind.last('compare'), undefined, 'what it holds is not told before');
  assert.deepEqual(behind.survivors.status('other'), { is: 'apart', theirs: null, leftRecords: null, why: behind.small });
  behind.hear('level', offerOf(2, 1, 2));
  assert.equal(behind.last('levelEnd')?.['number'], 1, 'what is offered all the same is not taken');
  assert.equal(behind.rig.replica.epoch, 1);
  behind.small = null;
  behind.turn();
  assert.ok(behind.last('compare') !== undefined);
  behind.hear('level', offerOf(2, 1, 2));
  behind.rig.storage.settle();
  assert.equal(behind.rig.replica.epoch, 2);
});
