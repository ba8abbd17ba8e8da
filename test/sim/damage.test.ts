// When a start may call its copy damaged.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { encodeSlot } from '../../src/core/base/cell.ts';
import { falseDamage } from '../../src/sim/check/damage.ts';
import type { SeenSite } from '../../src/sim/check/observe.ts';

const REASON = 'sidefile damaged at record (1, 21), sidefile-000000000000 offset 158152: there is no frame';

function site(how: { flipped?: boolean; dropped?: boolean; durable?: number; unclean?: boolean }): SeenSite {
  const slot = encodeSlot(1, { unclean: how.unclean ?? false }, (bytes, seed) => crc32(bytes, seed));
  const machine = { disk: { contentsOf: () => slot } };
  const { flipped = false, dropped = false, durable = 20 } = how;
  return { flipped, dropped, durable: { history: [], upTo: durable }, machine } as unknown as SeenSite;
}

test('damage is an alarm unless a bit was flipped, or a failed flush may have taken what was not durable and the superblock could not say so', () => {
  assert.match(falseDamage(site({}), REASON) ?? '', /nothing has harmed/);
  assert.equal(falseDamage(site({ flipped: true }), REASON), null);
  assert.equal(falseDamage(site({ dropped: true }), REASON), null);
  assert.match(falseDamage(site({ dropped: true, unclean: true }), REASON) ?? '', /its superblock says/);
  assert.match(falseDamage(site({ dropped: true, durable: 21 }), REASON) ?? '', /durable before/);
  assert.match(falseDamage(site({ dropped: true }), 'the superblock is damaged') ?? '', /durable before/);
});
