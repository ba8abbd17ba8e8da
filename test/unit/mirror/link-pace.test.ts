// A link that is bounded carries no more than its bound over any stretch of time, and nearly that much when there is always something to send.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';

import { LinkPace, UNPACED } from '../../../src/core/mirror/link-pace.ts';

const MB = 1_000_000;

test('what goes over a bounded link is the bound, however large the pieces are', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 2 * MB }), { minLength: 1, maxLength: 40 }), (pieces) => {
      let now = 1000;
      const pace = new LinkPace({ now: () => now }, MB);
      let sent = 0;
      let last = 0;
      for (const piece of pieces) {
        now = pace.opensAt;
        while (!pace.isOpen) now += 0.001;
        pace.spend(piece);
        sent += piece;
        last = piece;
      }
      const seconds = (now - 1000) / 1000;
      // All but the last piece were paid for, but for what had gathered at rest; and nothing waited longer than that took.
      assert.ok(sent - last <= seconds * MB + 0.1 * MB + 1, `${sent} ${last} ${seconds}`);
      assert.ok(sent - last >= seconds * MB - 0.1 * MB - 0.002 * MB * pieces.length, `${sent} ${last} ${seconds}`);
    }),
  );
});

test('a long rest gathers no more than a tenth of a second', () => {
  let now = 0;
  const pace = new LinkPace({ now: () => now }, MB);
  now = 3_600_000;
  pace.spend(0.1 * MB);
  assert.equal(pace.isOpen, false);
  assert.equal(pace.opensAt, now + 1);
});

test('a link without a bound is always open', () => {
  UNPACED.spend(1000 * MB);
  assert.equal(UNPACED.isOpen, true);
});
