// What a primary knows of the sidefiles of its mirrors, as they have said it in this reign.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { SiteName } from '../../../src/core/base/units.ts';
import { FollowedPeer } from '../../../src/core/mirror/followed.ts';
import { encodeNumbers, HELD_ACKNOWLEDGE_BODY } from '../../../src/core/mirror/messages.ts';
import { Peer } from '../../../src/core/mirror/peer.ts';
import type { Replica } from '../../../src/core/replica/replica.ts';
import type { SiteOptions } from '../../../src/core/site/contract.ts';
import { HeldDesk } from '../../../src/core/site/held-desk.ts';

const EPOCH = 3;

/** Mirrors of a primary that all follow, and each of which has said from which record on its sidefile holds them. */
function deskOf(oldest: Readonly<Record<SiteName, number>>): HeldDesk {
  const followed = new Map<SiteName, FollowedPeer>();
  for (const site of Object.keys(oldest)) {
    const peer = new FollowedPeer(new Peer(site, 'async'), 'true', 0.02, 0);
    peer.attach('following', { received: 100, durable: 100 }, 0);
    followed.set(site, peer);
  }
  const options = { timings: { heartbeatMillis: 100 }, setAside: { guide: 'oldest' } } as unknown as SiteOptions;
  const desk = new HeldDesk(options, { epoch: EPOCH } as unknown as Replica, followed);
  for (const [site, first] of Object.entries(oldest)) {
    const peer = followed.get(site) as FollowedPeer;
    assert.equal(desk.confirmed(peer, encodeNumbers(HELD_ACKNOWLEDGE_BODY, [EPOCH, 0, first, 4096])), null);
  }
  return desk;
}

test('what a mirror that is away holds still guides the size of the sidefile, and what a copy that was removed holds does not', () => {
  const desk = deskOf({ near: 50, far: 7 });
  assert.equal(desk.oldest, 7);
  desk.lost('far');
  assert.equal(desk.oldest, 7, 'it is away, and comes back');
  desk.removed('far');
  assert.equal(desk.oldest, 50);
  desk.removed('near');
  assert.equal(desk.oldest, Infinity);
});
