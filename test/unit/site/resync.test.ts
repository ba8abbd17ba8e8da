// Bitmaps that a primary shares with its mirrors name their site by its place in the list of sites: one that has no place there is never sent.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FollowedPeer } from '../../../src/core/mirror/followed.ts';
import type { Link } from '../../../src/core/mirror/link.ts';
import { BITMAP_BODY } from '../../../src/core/mirror/messages.ts';
import { Peer } from '../../../src/core/mirror/peer.ts';
import type { SiteOptions } from '../../../src/core/site/contract.ts';
import { Resyncs } from '../../../src/core/site/resync.ts';
import { digests } from '../../support/records.ts';
import { ReplicaRig } from '../../support/replica-rig.ts';

/** Alpha leads, beta follows; bitmaps are there for the sites that are named, and the configuration has alpha, beta and gamma. */
function sharing(noted: readonly string[]): { resyncs: Resyncs; beta: FollowedPeer; places: number[] } {
  const rig = new ReplicaRig().start();
  for (const site of noted) rig.replica.bitmaps.begin(site, 1, 0);
  const places: number[] = [];
  const take = (_name: string, body: Uint8Array): number =>
    places.push(new DataView(body.buffer, body.byteOffset).getUint16(BITMAP_BODY.at.site, true));
  const peer = new Peer('beta', 'sync');
  peer.link = { send: take, sendParts: (name: string, [head]: readonly Uint8Array[]) => take(name, head as Uint8Array) } as unknown as Link;
  const beta = new FollowedPeer(peer, 'true', 0.02, 0);
  beta.attached = 'following';
  const sites = ['alpha', 'beta', 'gamma'].map((name) => ({ name, mode: 'sync' }));
  const options = { sites, digests, journal: () => undefined } as unknown as SiteOptions;
  const followed = new Map([['beta', beta]]);
  return { resyncs: new Resyncs({ options, replica: rig.replica, counters: {} as never, followed }), beta, places };
}

test('a mirror that has begun to follow gets the bitmaps of the others', () => {
  const { resyncs, beta, places } = sharing(['gamma']);
  resyncs.joined(beta);
  assert.deepEqual(places, [2, 2], 'that it begins, and that it is whole');
});

test('but none of a site that the configuration does not name, whose place no mirror knows', () => {
  const { resyncs, beta, places } = sharing(['removed']);
  resyncs.joined(beta);
  resyncs.ended(new FollowedPeer(new Peer('removed', 'async'), 'false', 0.02, 0));
  assert.deepEqual(places, []);
});
