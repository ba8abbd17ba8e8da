// The primary's view of one peer: it believes nothing that contradicts what it sent or was told before, and forgets what it knew with the connection.

import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { InvariantError } from '../../../src/core/base/assert.ts';
import { limits } from '../../../src/core/base/limits.ts';
import { FollowedPeer } from '../../../src/core/mirror/followed.ts';
import { Peer } from '../../../src/core/mirror/peer.ts';

let peer: FollowedPeer;
beforeEach(() => {
  peer = new FollowedPeer(new Peer('near', 'sync'), 'false', 0.02, 0);
  peer.attach('following', { received: 10, durable: 8 }, 100);
});

describe('an acknowledgement', () => {
  test('is believed up to what was sent', () => {
    peer.sent(15, 5000, 110);
    assert.equal(peer.acknowledged({ received: 15, durable: 10, destaged: 3 }, 120), null);
    assert.deepEqual([peer.received, peer.durable, peer.destaged], [15, 10, 3]);
  });

  for (const [what, said, text] of [
    ['of what was never sent', { received: 16, durable: 8, destaged: 0 }, /was sent only those up to 15/],
    ['that takes back records', { received: 9, durable: 8, destaged: 0 }, /takes back records: held 10, now says 9/],
    ['that takes back durable records', { received: 12, durable: 7, destaged: 0 }, /takes back durable records: 8, now says 7/],
    ['that calls durable what it does not hold', { received: 12, durable: 13, destaged: 0 }, /calls record 13 durable and holds only 12/],
  ] as const) {
    test(`${what} is refused, and changes nothing`, () => {
      peer.sent(15, 5000, 110);
      assert.match(peer.acknowledged(said, 120) ?? '', text);
      assert.deepEqual([peer.received, peer.durable], [10, 8]);
    });
  }

  test('of a record within a step is refused, and one of its end is not', () => {
    peer.sent(12, 1000, 110);
    peer.sent(20, 1000, 111, 13);
    peer.sent(22, 1000, 112);
    assert.equal(peer.acknowledged({ received: 12, durable: 8, destaged: 0 }, 120), null);
    for (const received of [13, 19])
      assert.match(
        peer.acknowledged({ received, durable: 8, destaged: 0 }, 121) ?? '',
        new RegExp(`acknowledges record ${received}, within records 13 to 20, which went as one step`),
      );
    assert.equal(peer.acknowledged({ received: 20, durable: 8, destaged: 0 }, 122), null);
    assert.equal(peer.acknowledged({ received: 21, durable: 8, destaged: 0 }, 123), null);
  });

  test('gives the window back, a frame at a time', () => {
    peer.sent(12, 1000, 110);
    peer.sent(15, 2000, 110);
    assert.equal(peer.windowBytes, limits.peerWindowBytes - 3000);
    assert.equal(peer.acknowledged({ received: 14, durable: 8, destaged: 0 }, 120), null);
    assert.equal(peer.windowBytes, limits.peerWindowBytes - 2000);
    assert.equal(peer.acknowledged({ received: 15, durable: 8, destaged: 0 }, 120), null);
    assert.equal(peer.windowBytes, limits.peerWindowBytes);
  });

  test('moves what must be kept for the peer, by what is durable there and not by what it holds', () => {
    assert.equal(peer.keptFrom, 9);
    peer.sent(15, 5000, 110);
    peer.acknowledged({ received: 15, durable: 12, destaged: 0 }, 120);
    assert.equal(peer.keptFrom, 13);
  });
});

describe('a peer that owes an acknowledgement', () => {
  test('owes it since the first record that it has not acknowledged was sent, or since its last progress', () => {
    assert.equal(peer.owingSince, Infinity);
    peer.sent(12, 1000, 110);
    peer.sent(15, 1000, 130);
    assert.equal(peer.owingSince, 110);
    peer.acknowledged({ received: 12, durable: 8, destaged: 0 }, 140);
    assert.equal(peer.owingSince, 140);
    peer.acknowledged({ received: 12, durable: 9, destaged: 0 }, 150);
    assert.equal(peer.owingSince, 140, 'saying the same again is no progress');
    peer.acknowledged({ received: 15, durable: 9, destaged: 0 }, 160);
    assert.equal(peer.owingSince, Infinity);
  });
});

describe('a peer that was lost', () => {
  test('holds nothing that may be relied on, and what it needs is still kept', () => {
    peer.sent(15, 5000, 110);
    peer.acknowledged({ received: 15, durable: 12, destaged: 0 }, 120);
    peer.detach(500);
    assert.deepEqual([peer.attached, peer.received, peer.durable, peer.lostAt], ['no', 0, 0, 500]);
    assert.equal(peer.keptFrom, 13);
    assert.equal(peer.windowBytes, limits.peerWindowBytes);
    assert.equal(peer.owingSince, Infinity);
  });

  test('was lost when it was lost first', () => {
    peer.detach(500);
    peer.detach(900);
    assert.equal(peer.lostAt, 500);
  });
});

describe('a peer', () => {
  test('is required when it is sync and its flag is not known false', () => {
    for (const [mode, flag, required] of [
      ['sync', 'true', true],
      ['sync', 'maybe', true],
      ['sync', 'false', false],
      ['async', 'true', false],
      ['async', 'maybe', false],
    ] as const) {
      assert.equal(new FollowedPeer(new Peer('x', mode), flag, 0.02, 0).required, required, `${mode} ${flag}`);
    }
  });

  test('is sent records in order', () => {
    peer.sent(15, 100, 110);
    assert.throws(() => peer.sent(14, 100, 120), InvariantError);
  });

  test('that gets a whole copy needs everything behind its begin', () => {
    peer.attach('copying', { received: 40, durable: 40 }, 100);
    assert.deepEqual([peer.keptFrom, peer.nextSeq, peer.streaming], [41, 41, true]);
  });
});
