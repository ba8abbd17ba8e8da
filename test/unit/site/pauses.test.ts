// A pause is of a copy of the group: it ends with that, whoever learns of it and when.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FollowedPeer } from '../../../src/core/mirror/followed.ts';
import { Peer } from '../../../src/core/mirror/peer.ts';
import type { Replica } from '../../../src/core/replica/replica.ts';
import type { OrderOutcome, SiteOptions } from '../../../src/core/site/contract.ts';
import type { Lead } from '../../../src/core/site/lead.ts';
import { keptPauses, Pauses } from '../../../src/core/site/pauses.ts';

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
  const disk = new Disk(['near', 'far']);
  assert.deepEqual(keptPauses(disk.replica, { copies }), ['near']);
  assert.deepEqual([disk.superblock.value.paused, disk.updates], [['near'], 1], 'the other one is not noted any more');
  assert.deepEqual(keptPauses(disk.replica, { copies }), ['near']);
  const none = new Disk();
  assert.deepEqual([keptPauses(none.replica, { copies }), disk.updates, none.updates], [[], 1, 0]);
});

test('an order to pause a copy that is struck out meanwhile is refused', () => {
  const disk = new Disk();
  const far = new FollowedPeer(new Peer('far', 'async'), 'false', 0.02, 0);
  const followed = new Map([['far', far]]);
  const lead = { followed, handover: null } as unknown as Lead;
  const options = { site: 'prim', group: 'db', journal: () => undefined, shell: { wake: () => undefined }, clock: { now: () => 0 } };
  const pauses = new Pauses({
    options: options as unknown as SiteOptions,
    desk: { reachable: true } as never,
    lead: () => lead,
    replica: () => disk.replica,
  });
  const told: OrderOutcome[] = [];
  pauses.pause({ site: 'far', force: true }, (outcome) => told.push(outcome));
  followed.delete('far');
  pauses.turn(0);
  assert.equal(told.length, 1);
  assert.equal(told[0]?.kind, 'refused');
  assert.match(told[0]?.text ?? '', /far is no copy of the group any more/);
});
