// What a primary serves of a volume: no more than every copy of the group can hold, those among them that its own configuration does not name.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { PeerState } from '../../../src/core/mirror/forms.ts';
import { FollowedPeer } from '../../../src/core/mirror/followed.ts';
import { Peer } from '../../../src/core/mirror/peer.ts';
import type { Replica } from '../../../src/core/replica/replica.ts';
import type { SiteOptions } from '../../../src/core/site/contract.ts';
import { Growth } from '../../../src/core/site/growth.ts';
import type { Lead } from '../../../src/core/site/lead.ts';

const [OLD, NEW] = [4096, 8192];

/** Growth at prim, which leads and can hold the new size; of the peers the ones that are named have said that they can, and have agreed. */
class Group {
  readonly followed = new Map<string, FollowedPeer>();
  readonly growth: Growth;

  constructor(followed: readonly string[], large: readonly string[]) {
    for (const site of followed) {
      const peer = new Peer(site, 'sync');
      if (large.includes(site)) peer.said = { heldBytes: [NEW], agreedBytes: [NEW] } as unknown as PeerState;
      this.followed.set(site, new FollowedPeer(peer, 'false', 0.02, 0));
    }
    const sizes = {
      refused: [],
      grow: () => undefined,
      agreed: [{ name: 'vol', sizeBytes: OLD }],
      agree: ([size]: readonly number[]) => {
        sizes.agreed = [{ name: 'vol', sizeBytes: Math.max(sizes.agreed[0]?.sizeBytes ?? 0, size ?? 0) }];
      },
    };
    const replica = { failure: null, sizes, volumes: [{ name: 'vol', sizeBytes: NEW }] } as unknown as Replica;
    const lead = { followed: this.followed } as unknown as Lead;
    const options = { volumes: [{ name: 'vol', sizeBytes: NEW }], journal: () => undefined } as unknown as SiteOptions;
    this.growth = new Growth({ options, replica: () => replica, lead: () => lead, primaryPeer: () => null });
  }

  /** What is served after two turns: in the first one it is agreed. */
  served(): number | undefined {
    this.growth.turn();
    this.growth.turn();
    return this.growth.sizes[0];
  }
}

test('hosts are served more once every copy can hold it', () => {
  assert.equal(new Group(['near', 'far'], ['near']).served(), OLD);
  assert.equal(new Group(['near', 'far'], ['near', 'far']).served(), NEW);
});

test('a copy that the configuration here does not name counts until it is struck out', () => {
  // It is followed, because the view that granted the reign has it; it cannot connect, and so says nothing.
  const group = new Group(['near', 'far'], ['near']);
  assert.equal(group.served(), OLD);
  assert.match(group.growth.waiting()[0]?.cause ?? '', /^far is not connected/);
  group.followed.delete('far');
  assert.equal(group.served(), NEW);
});

/** A copy that follows nobody and can hold a size, but has noted the old one only. */
function survivor(heldBytes: number): { readonly growth: Growth; readonly agreed: () => number; readonly note: () => void } {
  let [wanted, agreed] = [OLD, OLD];
  const sizes = {
    get agreed() {
      return [{ name: 'vol', sizeBytes: agreed }];
    },
    agree: ([size]: readonly number[]) => {
      wanted = Math.max(wanted, size ?? 0);
    },
  };
  const replica = { failure: null, sizes, volumes: [{ name: 'vol', sizeBytes: heldBytes }] } as unknown as Replica;
  const options = { volumes: [{ name: 'vol', sizeBytes: heldBytes }] } as unknown as SiteOptions;
  return {
    growth: new Growth({ options, replica: () => replica, lead: () => null, primaryPeer: () => null }),
    agreed: () => agreed,
    note: () => {
      agreed = wanted;
    },
  };
}

test('a copy takes nothing from another survivor before it has noted, on its disk, what is agreed there', () => {
  const theirs = { agreedBytes: [NEW], heldBytes: [NEW] } as unknown as PeerState;
  const able = survivor(NEW);
  assert.equal(able.growth.mayTakeFrom(theirs), false);
  able.note();
  assert.deepEqual([able.growth.mayTakeFrom(theirs), able.agreed()], [true, NEW]);
  const small = survivor(OLD);
  assert.equal(small.growth.mayTakeFrom(theirs), false);
  small.note();
  assert.equal(small.growth.mayTakeFrom(theirs), false);
  assert.match(small.growth.whyTooSmall(theirs) ?? '', /volume vol has 8192 bytes there, and this copy can hold 4096 bytes/);
  assert.equal(small.growth.mayTakeFrom({ agreedBytes: [OLD] } as unknown as PeerState), true);
  assert.equal(small.growth.mayTakeFrom({} as unknown as PeerState), true, 'a program that does not say it has what it has');
});
