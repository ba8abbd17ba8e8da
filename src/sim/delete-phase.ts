// The very end of some runs: the group is deleted, in order or by force while its primary lives. Sites come back with whole copies, ask again, are
// promoted by force and turned to the witness anew; nobody serves any more, and everybody knows why.

import type { InspectedSite } from './check/observe.ts';
import type { Machine } from './machine.ts';
import type { Chance } from './random.ts';
import type { Simulation } from './run.ts';
import type { WitnessState } from '../core/arbiter/witness-state.ts';

const TROUBLE_MILLIS = 12_000;
const KNOWN_MILLIS = 60_000;

/** Deletes the group of a run that has ended well. */
export function deletePhase(simulation: Simulation): void {
  const { world, watch, witness, machines, faults } = simulation;
  const chance = world.chance('deletion');
  const primary = machines.find((machine) => machine.site?.serving === true);
  const { state } = witness;
  if (!chance.happens(0.3) || primary === undefined || state === null) return;
  const byForce = chance.happens(0.5);
  const asker = byForce ? chance.pick(machines.filter((machine) => machine !== primary)) : primary;
  // Whoever asks has shown that the daemon of that site does not run; others may.
  const ended = !byForce && chance.happens(0.5) ? [...machines] : [asker];
  for (const machine of ended) {
    faults.leftOut.add(machine.name);
    machine.end('crash');
  }
  for (const { name } of machines) if (chance.happens(0.3)) witness.cut.add(name);
  if (byForce && primary.site?.serving === true) watch.reached('a group was deleted by force while its primary served');
  if (!erase(simulation, asker, state, byForce)) return;
  watch.reached('a group was deleted');
  for (const machine of machines) {
    if (machine.site !== null) continue;
    world.after(chance.spread(1, TROUBLE_MILLIS / 2), () => {
      faults.leftOut.delete(machine.name);
      machine.start();
    });
  }
  for (let left = chance.integer(0, 5); left > 0; left--) world.after(chance.between(0, TROUBLE_MILLIS), () => trouble(chance, machines));
  simulation.waitUntil(TROUBLE_MILLIS, () => false);
  witness.cut.clear();
  if (!simulation.waitUntil(KNOWN_MILLIS, () => machines.every((machine) => knows(machine))))
    world.fail('L1 liveness', `not everybody knows that the group was deleted: ${simulation.describe()}`);
}

function erase({ world, witness }: Simulation, asker: Machine<InspectedSite>, state: WitnessState, byForce: boolean): boolean {
  const { group, groupId, instance, revision } = state;
  const reply = witness.operate(asker, {
    kind: 'delete',
    requestId: 'operator',
    group,
    groupId,
    from: asker.name,
    seen: { instance, revision },
    revision,
    ...(byForce && { force: true }),
  });
  if (reply.outcome === 'done') return true;
  world.fail('18 deleted', `the witness does not delete the group: ${JSON.stringify(reply)}`);
  return false;
}

function trouble(chance: Chance, machines: readonly Machine<InspectedSite>[]): void {
  const machine = chance.pick(machines);
  const dice = chance.unit();
  if (dice < 0.3) machine.end(chance.pick(['crash', 'power']));
  else if (dice < 0.7) machine.enter('order', machine.life, () => machine.site?.promote({ force: dice < 0.5 }, () => undefined));
  else machine.enter('order', machine.life, () => machine.site?.replaceWitness(() => undefined));
}

/** A site without a copy has nothing to say of a group. */
function knows({ site, frozen }: Machine<InspectedSite>): boolean {
  if (site === null || frozen || site.serving) return false;
  return site.role === 'absent' || site.status().witness.trouble?.cause === 'this group was deleted, and its copies serve no more';
}
