// A pause is of a copy of the group: it ends with that, whoever learns of it and when.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Journal } from '../../../src/core/base/ports.ts';
import { FollowedPeer } from '../../../src/core/mirror/followed.ts';
import { Peer } from '../../../src/core/mirror/peer.ts';
import type { Replica } from '../../../src/core/replica/replica.ts';
import type { OrderOutcome, SiteOptions } from '../../../src/core/site/contract.ts';
import type { Lead } from '../../../src/core/site/lead.ts';
import { keptPauses, pauseRemoved, Pauses } from '../../../src/core/site/pauses.ts';

class Disk {
  readonly superblock: { value: { paused?: readonly string[] }; update: (patch: object, done: (failure: null) => void) => void };
  updates = 0;

  constructor(paused?: readonly string[]) {
    const value = paused === undefined ? {} : { paused };
    this.superblock = {
      value,
      update: (patch, done) => {
        this.updates++;
        Object.assign(this.superblock.value, patch);
        done(null);
      },
    };
  }

  get replica(): Replica {
    return this as unknown as Replica;
  }
}

test('a reign begins with the pauses of the copies that the group still has', () => {
  const copies = [{ site: 'near', flag: true, mode: 'sync' as const }];
  const ended: unknown[] = [];
  const journal: Journal = (event, facts) => ended.push(`${event} ${String(facts['site'])}`);
  const disk = new Disk(['near', 'far']);
  assert.deepEqual(keptPauses(disk.replica, { copies }, journal), ['near']);
  assert.deepEqual([disk.superblock.value.paused, disk.updates, ended], [['near'], 1, ['pause.end far']]);
  assert.deepEqual([keptPauses(disk.replica, { copies }, journal), disk.updates], [['near'], 1]);
  const none = new Disk();
  assert.deepEqual([keptPauses(none.replica, { copies }, journal), none.updates, ended.length], [[], 0, 1]);
});

test('a pause ends with the copy, and the others stay', () => {
  const ended: unknown[] = [];
  const journal: Journal = (event, facts) => ended.push(`${event} ${String(facts['site'])}`);
  const disk = new Disk(['near', 'far']);
  pauseRemoved(disk.replica, 'far', journal);
  pauseRemoved(disk.replica, 'far', journal);
  assert.deepEqual([disk.superblock.value.paused, disk.updates, ended], [['near'], 1, ['pause.end far']]);
});

/** Orders at prim, which leads and has far as a peer, async and not connected. */
class Orders {
  readonly disk = new Disk();
  readonly far = new FollowedPeer(new Peer('far', 'async'), 'false', 0.02, 0);
  readonly followed = new Map([['far', this.far]]);
  readonly told: OrderOutcome[] = [];
  readonly pauses: Pauses;

  constructor() {
    const lead = { followed: this.followed, handover: null } as unknown as Lead;
    const options = { site: 'prim', group: 'db', journal: () => undefined, shell: { wake: () => undefined }, clock: { now: () => 0 } };
    this.pauses = new Pauses({
      options: options as unknown as SiteOptions,
      desk: { reachable: true } as never,
      lead: () => lead,
      replica: () => this.disk.replica,
    });
  }

  pause(): void {
    this.pauses.pause({ site: 'far', force: true }, (outcome) => this.told.push(outcome));
  }

  says(kind: string, what: RegExp): void {
    assert.deepEqual([this.told.length, this.told[0]?.kind], [1, kind]);
    assert.match(this.told[0]?.text ?? '', what);
  }
}

test('an order to pause a copy that is struck out meanwhile is refused', () => {
  const orders = new Orders();
  orders.pause();
  orders.followed.delete('far');
  orders.pauses.turn(0);
  orders.says('refused', /far is no copy of the group any more/);
});

test('a copy is paused, and one that the group does not have yet is not', () => {
  const orders = new Orders();
  orders.pause();
  orders.pauses.turn(0);
  orders.says('done', /far is paused/);
  const early = new Orders();
  early.far.entered = false;
  early.pause();
  early.says('refused', /"far" is not a copy of group db/);
  assert.equal(early.disk.updates, 0, 'nothing is noted that the next reign would not keep');
});
