// What must hold in every state, whatever happened. Each has a name, and each mutation has to break one.

import { has, isSync, type State } from './state.ts';
import { ackedIn, indexes, name, others, serves, siteOf, witnessOf } from './world.ts';
import type { Broken } from './witness.ts';

export type InvariantName = 'one-primary' | 'one-reign' | 'kept' | 'flag' | 'some-flag';

/** An invariant that does not hold, and why. */
export interface Fault {
  readonly invariant: InvariantName;
  readonly why: string;
}

/** The first invariant that a state breaks; null for a sound one. */
export function faultOf(state: State, broken: Broken): Fault | null {
  if (state.broken !== null) return { invariant: 'one-reign', why: state.broken };
  const serving = indexes(state).filter((index) => serves(state, index, broken));
  if (serving.length > 1) return { invariant: 'one-primary', why: `${serving.map(name).join(' and ')} serve at the same time` };
  for (const index of serving) {
    const write = missing(state, index);
    if (write !== null) return { invariant: 'kept', why: `${name(index)} serves without write ${write}, which was acknowledged` };
  }
  return flagFault(state) ?? witnessFault(state);
}

/** An acknowledged write that a site lacks, and that was not lost with the power of both sync sites. */
function missing(state: State, index: number): number | null {
  const held = ackedIn(state, siteOf(state, index));
  for (let write = 1; write < state.next; write++) {
    if (!has(state.acked, write) || has(held, write)) continue;
    if (
      indexes(state)
        .filter(isSync)
        .every((site) => has(state.gone[site] ?? 0, write))
    )
      continue;
    return write;
  }
  return null;
}

/** The other one has gone on without it, as was agreed: its flag says nothing until the witness has heard. */
const givenUp = (state: State, index: number): boolean =>
  siteOf(state, index).yields > 0 && others(state, index).some((peer) => siteOf(state, peer).alone === siteOf(state, index).yields);

/** Who finds its own flag true holds everything that was acknowledged, unless it knows that it lost its power. */
function flagFault(state: State): Fault | null {
  for (const index of indexes(state).filter(isSync)) {
    const site = siteOf(state, index);
    const witness = witnessOf(state, site.believes);
    if (site.moving || givenUp(state, index) || !site.clean || !witness.seeded || !has(witness.flags, index)) continue;
    const write = missing(state, index);
    if (write === null) continue;
    return { invariant: 'flag', why: `the flag of ${name(index)} is true, and it lacks write ${write}, which was acknowledged` };
  }
  return null;
}

/** Some copy may serve alone, always. */
function witnessFault(state: State): Fault | null {
  for (const witness of state.witnesses) {
    const able = indexes(state).filter((index) => has(witness.flags, index) && (isSync(index) || witness.primary === index));
    if (witness.seeded && able.length === 0) return { invariant: 'some-flag', why: 'a witness calls no copy able to serve' };
  }
  return null;
}
