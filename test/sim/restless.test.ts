// Plays in which a moment that the clock brings was once over for ever: a site whose timer goes off without end serves nobody well.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { InspectedSite } from '../../src/sim/check/observe.ts';
import type { Machine } from '../../src/sim/machine.ts';
import { Simulation } from '../../src/sim/run.ts';

test('a copy that fails while it takes a reign over does not wait for what becomes of that', () => {
  const simulation = new Simulation(3, null);
  simulation.setUp();
  const [prim, near] = simulation.machines as [Machine<InspectedSite>, Machine<InspectedSite>];
  assert.deepEqual([simulation.world.violation, prim.site?.serving], [null, true]);
  prim.enter('order', prim.life, () => prim.site?.switchover({ to: 'near', dryRun: false }, () => undefined));
  const takes = (): boolean => near.site?.inspect()?.handover === 'takes';
  for (let step = 0; step < 2000 && !takes(); step++) simulation.world.runUntil(simulation.world.now + 1);
  assert.equal(takes(), true, 'it has confirmed that it takes the reign over');
  // It hears from the old primary that it was granted, and its disk fails when it hears it from the witness.
  simulation.witness.cut.add('near');
  simulation.world.runUntil(simulation.world.now + 250);
  near.disk.trouble.writeErrors = 1000;
  simulation.witness.cut.delete('near');
  const end = simulation.world.now + 3000;
  let failed = false;
  for (; simulation.world.violation === null && simulation.world.now < end; failed ||= near.failure !== null)
    simulation.world.runUntil(simulation.world.now + 10);
  assert.equal(failed, true, 'its disk has failed');
  assert.equal(simulation.world.violation, null, JSON.stringify(simulation.world.violation));
});
