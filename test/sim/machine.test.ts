// A simulated machine drives its site as the loop of a real process does.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SiteOptions } from '../../src/core/site/contract.ts';
import { type DrivenSite, Machine, type MachineListener, type MachineOptions, type SiteFactory } from '../../src/sim/machine.ts';
import { Network } from '../../src/sim/network.ts';
import { SimWitness } from '../../src/sim/witness.ts';
import { World } from '../../src/sim/world.ts';

/** A machine whose site does nothing but what is given. `wakes`: in each turn it asks for another one. */
function machineWith(world: World, site: Partial<DrivenSite>, wakes = false): Machine<DrivenSite> {
  const nothing = (): void => undefined;
  const make = ({ shell }: SiteOptions): DrivenSite => {
    const turn = (): void => (wakes ? shell.wake() : undefined);
    return { start: nothing, tick: nothing, turn, deadline: () => Infinity, dialTargets: [], ...site } as unknown as DrivenSite;
  };
  const factory = { make } as unknown as SiteFactory<DrivenSite>;
  const listener = { started: nothing, afterEvent: nothing } as unknown as MachineListener<DrivenSite>;
  const network = new Network(world, { latency: 1, jitter: 1, rate: 1e9, dialMillis: 500, split: 0, silentMillis: 1e9 });
  const witness = new SimWitness(world, 1000);
  const options = { site: 'alpha', sites: [] } as unknown as MachineOptions;
  return new Machine({ world, network, witness, factory, listener, others: () => [] }, options, { offset: 0, drift: 0 });
}

test('a machine has one timer, however often it has stood still', () => {
  const world = new World(1);
  const ticks: number[] = [];
  const machine = machineWith(world, { tick: () => void ticks.push(world.now), deadline: () => world.now + 100 });
  machine.start();
  for (let at = 1000; at < 2000; at += 50) {
    world.after(at, () => machine.freeze());
    world.after(at + 10, () => machine.thaw());
  }
  world.runUntil(10_000);
  assert.equal(world.violation, null);
  const after = ticks.filter((at) => at >= 5000).length;
  assert(after > 30 && after <= 50, `seed 23520: ${after} ticks in 5000 ms where one is wanted each 100 ms`);
});

test('a site that turns in circles is found, by its clock, by its own word or without a timer', () => {
  const found = (site: Partial<DrivenSite>, wakes = false): string => {
    const world = new World(1);
    const machine = machineWith(world, site, wakes);
    machine.start();
    for (let at = 0; at < 3000; at += 5) world.after(at, () => machine.enter('something', machine.life, () => undefined));
    world.runUntil(3000);
    assert.equal(world.violation?.rule, 'L2 restless');
    return world.violation.text;
  };
  assert.match(found({ deadline: () => 0 }), /went off 251 times within a second/);
  const restless = { name: 'offer', does: 'it is looked at', ticks: 3 };
  assert.match(
    found({ deadline: () => 1000, restless }),
    /a tick was wanted for offer \(it is looked at\), and 3 in a row have done nothing/,
  );
  assert.match(found({}, true), /501 turns within a second that nothing else had asked for/);
});
