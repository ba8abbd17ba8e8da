// What is said of a resync: rung, share and time left, of a delta as of everything else; and nothing that is not known.

import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import type { CopySender } from '../../../src/core/mirror/copy.ts';
import { FollowedPeer } from '../../../src/core/mirror/followed.ts';
import { Peer } from '../../../src/core/mirror/peer.ts';
import { resyncOf } from '../../../src/core/site/progress.ts';

/** Records of 100 bytes each, up to record 60 when the peer joins. */
const replica = { received: 60, bytesAfter: (seq: number): number => Math.max(0, (replica.received - seq) * 100) };

let peer: FollowedPeer;
beforeEach(() => {
  replica.received = 60;
  peer = new FollowedPeer(new Peer('far', 'async'), 'true', 0.02, 0);
});

describe('a delta', () => {
  beforeEach(() => {
    peer.attached = 'joining';
    peer.delta = { beganAt: 1000, target: 60, totalBytes: 5000, why: 'it is there' };
  });

  test('has nothing done and no time left before it flows', () => {
    const expected = { rung: 'delta', algorithm: null, why: 'it is there', doneBytes: 0, totalBytes: 5000, sentBytes: 0, ending: false };
    assert.deepEqual(resyncOf(peer, replica, 1500), { ...expected, secondsLeft: null });
  });

  test('counts what was acknowledged of what was lacking, and writes that come meanwhile change neither', () => {
    peer.attach('following', { received: 10, durable: 10 }, 1000);
    peer.sent(50, 4000, 1100);
    assert.equal(peer.acknowledged({ received: 30, durable: 10, destaged: 0 }, 1200), null);
    replica.received = 90;
    const said = resyncOf(peer, replica, 3000);
    assert.deepEqual([said?.doneBytes, said?.totalBytes, said?.sentBytes, said?.secondsLeft], [2000, 5000, 4000, 3]);
  });

  test('is over when the peer has what it lacked, or is gone', () => {
    peer.attach('following', { received: 10, durable: 10 }, 1000);
    peer.sent(60, 5000, 1100);
    assert.equal(peer.acknowledged({ received: 59, durable: 10, destaged: 0 }, 1200), null);
    assert.notEqual(resyncOf(peer, replica, 1300), null);
    assert.equal(peer.acknowledged({ received: 60, durable: 10, destaged: 0 }, 1400), null);
    assert.equal(resyncOf(peer, replica, 1500), null);
    peer.delta = { beganAt: 1000, target: 70, totalBytes: 1000, why: '' };
    peer.detach(1600);
    assert.equal(resyncOf(peer, replica, 1700), null);
  });
});

test('a resync by images goes by what was gone through since it began, and says no time once everything was sent', () => {
  const copy = { rung: 'scan', why: 'no bitmap', passedBytes: 600, totalBytes: 1000, sentBytes: 70, passedAtBegin: 200, beganAt: 0 };
  const scan = { how: { algorithm: 'md5' } };
  const at = (more: object): ReturnType<typeof resyncOf> => {
    peer.copy = { ...copy, scan, endSent: false, ...more } as unknown as CopySender;
    return resyncOf(peer, replica, 2000);
  };
  const expected = { rung: 'scan', algorithm: 'md5', why: 'no bitmap', doneBytes: 600, totalBytes: 1000, sentBytes: 70 };
  assert.deepEqual(at({}), { ...expected, ending: false, secondsLeft: 2 });
  assert.deepEqual(at({ endSent: true }), { ...expected, ending: true, secondsLeft: null });
  assert.equal(at({ passedBytes: 200 })?.secondsLeft, null);
  peer.copy = null;
});
