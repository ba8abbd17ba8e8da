// All oracles, in the order in which they look at each event.

import { acknowledge } from './acknowledge.ts';
import { admit } from './admit.ts';
import { agreement } from './agreement.ts';
import { alone } from './alone.ts';
import { claim } from './claim.ts';
import { contents } from './contents.ts';
import { counted } from './counted.ts';
import { covered } from './covered.ts';
import { decided } from './decided.ts';
import { deleted } from './deleted.ts';
import { exclude } from './exclude.ts';
import { folding } from './folding.ts';
import { growth } from './growth.ts';
import { held } from './held.ts';
import { handover } from './handover.ts';
import { honest } from './honest.ts';
import { join } from './join.ts';
import { lease } from './lease.ts';
import { marks } from './marks.ts';
import { members } from './members.ts';
import { memory } from './memory.ts';
import { modes } from './modes.ts';
import { adopt } from './adopt.ts';
import type { Rule } from './observe.ts';
import { onePrimary } from './one-primary.ts';
import { paused } from './paused.ts';
import { kept } from './kept.ts';
import { overflow } from './overflow.ts';
import { older } from './older.ts';
import { replaced } from './replaced.ts';
import { unclean } from './unclean.ts';

/** The oracles of one run. */
export function allRules(volumeBytes: readonly number[], unitBytes: number, initialBytes = volumeBytes): readonly Rule[] {
  return [
    onePrimary(),
    lease(),
    acknowledge(),
    exclude(),
    claim(),
    handover(),
    unclean(),
    replaced(),
    join(),
    admit(),
    contents(volumeBytes, unitBytes),
    older(volumeBytes, unitBytes),
    alone(),
    honest(),
    decided(),
    marks(),
    kept(),
    adopt(),
    held(),
    overflow(),
    paused(),
    growth(initialBytes),
    deleted(),
    modes(),
    members(),
    covered(),
    counted(),
    folding(),
    memory(),
    agreement(),
  ];
}
