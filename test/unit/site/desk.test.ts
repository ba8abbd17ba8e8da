// When a primary must step down because of what the witness says.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { WitnessView } from '../../../src/core/arbiter/witness-state.ts';
import { whyDeposed } from '../../../src/core/site/desk.ts';

const VIEW: WitnessView = {
  group: 'db',
  groupId: 'g1',
  instance: 'w1',
  revision: 7,
  epoch: 3,
  primary: 'alpha',
  copies: [
    { site: 'alpha', mode: 'sync', flag: true },
    { site: 'near', mode: 'sync', flag: true },
  ],
};
const OWN = { site: 'alpha', epoch: 3, groupId: 'g1' };

test('a primary that the witness names, its flag true, goes on; on an older view, too', () => {
  assert.equal(whyDeposed(VIEW, OWN), null);
  assert.equal(whyDeposed({ ...VIEW, epoch: 2, primary: 'near' }, OWN), null);
});

test('it steps down when a newer epoch has begun, or it is not named, or its flag is false', () => {
  assert.match(whyDeposed({ ...VIEW, epoch: 4, primary: 'near' }, OWN) ?? '', /epoch 4 has begun, with near as primary/);
  assert.match(whyDeposed({ ...VIEW, primary: null }, OWN) ?? '', /may not serve/);
  const copies = VIEW.copies.map((copy) => ({ ...copy, flag: false }));
  assert.match(whyDeposed({ ...VIEW, copies }, OWN) ?? '', /may not serve/);
});

test('it steps down when its group was deleted and another one has taken the name, whatever the epochs', () => {
  for (const epoch of [0, 2, 3, 9]) assert.match(whyDeposed({ ...VIEW, groupId: 'g2', epoch }, OWN) ?? '', /another group of this name/);
});
