// What goes wrong in a run, as a plain list: made from the seed before the run begins, so that it can be printed, replayed and shrunk. Each
// seed switches whole kinds of faults on or off (swarm testing): a run in which everything happens at once reaches less than many runs that
// each do a few things often.

import type { CrashMoment } from './gate.ts';
import { Chance } from './random.ts';
import {
  makeAgreements,
  makeGrowths,
  makeHandovers,
  makeLosses,
  makeMembers,
  makeModes,
  makePauses,
  makeScans,
  makeStories,
  makeTails,
} from './stories.ts';

/** Kinds of faults. */
export const FAULT_KINDS = [
  'crash',
  'power',
  'double-power',
  'freeze',
  'cut',
  'isolate',
  'stall',
  'reset',
  'slow-link',
  'witness-cut',
  'witness-down',
  'witness-lossy',
  'witness-slow',
  'lose-answer',
  'cut-asker',
  'slow-disk',
  'write-error',
  'flush-error',
  'read-error',
  'full',
  'flip',
  'wipe',
  'wall',
  'order',
  'force',
  'switchover',
  'witness-lost',
  'witness-two',
  'scan',
  'pause',
  'grow',
  'stream-reset',
  'stream-stall',
  'mode',
  'member',
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** One fault. What its numbers mean is its kind's business (faults.ts); all of them are there so that a list stays plain data. */
export interface Fault {
  readonly at: number;
  readonly kind: FaultKind;
  /** Index of a site, and of another one. */
  readonly site: number;
  readonly other: number;
  /** How long it lasts, or how long until the machine is started again. */
  readonly millis: number;
  /** A second measure: a factor, a count, a variant. */
  readonly amount: number;
  /** For crashes: port calls from now on until it happens, or -1 for at once. */
  readonly calls: number;
  readonly moment: CrashMoment;
  /** For crashes with `calls`: only calls of this name count. */
  readonly on?: string;
}

/**
 * Those that are drawn here. Planned changes, lost witnesses, scans, pauses, growing, lost streams, modes and members have streams of chance of their own
 * (handoverFaults, witnessFaults, scanFaults, pauseFaults, growthFaults, streamFaults, modeFaults, memberFaults), so that runs without them stay what they were.
 */
const OWN_STREAM: ReadonlySet<FaultKind> = new Set([
  'switchover',
  'cut-asker',
  'witness-lost',
  'witness-two',
  'scan',
  'pause',
  'grow',
  'stream-reset',
  'stream-stall',
  'mode',
  'member',
]);
const DRAWN_KINDS = FAULT_KINDS.filter((kind) => !OWN_STREAM.has(kind));

/** How often each kind is chosen when it is on, relative to the others. */
const WEIGHTS: Record<FaultKind, number> = {
  crash: 6,
  power: 5,
  'double-power': 2,
  freeze: 4,
  cut: 6,
  isolate: 4,
  stall: 4,
  reset: 4,
  'slow-link': 2,
  'witness-cut': 4,
  'witness-down': 3,
  'witness-lossy': 4,
  'witness-slow': 2,
  'lose-answer': 4,
  'cut-asker': 2,
  'slow-disk': 3,
  'write-error': 1,
  'flush-error': 1,
  'read-error': 0.5,
  full: 2,
  flip: 1,
  wipe: 0.5,
  wall: 1,
  order: 2,
  force: 3,
  switchover: 5,
  'witness-lost': 1,
  'witness-two': 1,
  scan: 5,
  pause: 5,
  grow: 5,
  'stream-reset': 5,
  'stream-stall': 5,
  mode: 5,
  member: 5,
};

/** Kinds that destroy a copy, or need an operator: rarer, because after them a run often has little left to lose. */
const HARSH: ReadonlySet<FaultKind> = new Set(['write-error', 'flush-error', 'read-error', 'full', 'flip', 'wipe', 'force']);

/** A list of faults between two moments, in the order of their times. */
export function makeSchedule(
  chance: Chance,
  span: { readonly from: number; readonly to: number; readonly siteCount: number; readonly leaseMillis: number },
): readonly Fault[] {
  const { from, to, siteCount, leaseMillis } = span;
  const told = chance.happens(0.4) ? makeStories(chance, from, to, leaseMillis).filter((fault) => fault.at < to) : [];
  if (told.length > 0 && chance.happens(0.6)) return told;
  return [...told, ...makeFaults(chance, from, to, siteCount)].sort((a, b) => a.at - b.at);
}

/** Planned changes between two moments, in a share of all runs: plain ones, and those in whose middle something goes wrong. */
export function handoverFaults(chance: Chance, span: Parameters<typeof makeSchedule>[1]): readonly Fault[] {
  if (!chance.happens(0.35)) return [];
  return makeHandovers(chance, span.from, span.to, span.leaseMillis).filter((fault) => fault.at < span.to);
}

/** Witnesses that lose their disk, come back from a backup, or are two, in a share of all runs. */
export function witnessFaults(chance: Chance, span: Parameters<typeof makeSchedule>[1]): readonly Fault[] {
  if (!chance.happens(0.2)) return [];
  return makeLosses(chance, span.from, span.to, span.leaseMillis).filter((fault) => fault.at < span.to);
}

/** Scans that an operator orders between two moments, in a share of all runs: plain ones, and those in whose middle something goes wrong. */
export function scanFaults(chance: Chance, span: Parameters<typeof makeSchedule>[1]): readonly Fault[] {
  if (!chance.happens(0.3)) return [];
  return makeScans(chance, span.from, span.to, span.leaseMillis).filter((fault) => fault.at < span.to);
}

/** Mirrors that an operator pauses and resumes between two moments, in a share of all runs. */
export function pauseFaults(chance: Chance, span: Parameters<typeof makeSchedule>[1]): readonly Fault[] {
  if (!chance.happens(0.3)) return [];
  return makePauses(chance, span.from, span.to, span.leaseMillis).filter((fault) => fault.at < span.to);
}

/** The volume is made larger at one site after the other, where the run is one in which it grows. */
export function growthFaults(chance: Chance, span: Parameters<typeof makeSchedule>[1]): readonly Fault[] {
  return makeGrowths(chance, span.from, span.to, span.leaseMillis).filter((fault) => fault.at < span.to);
}

/** Single streams of links that are lost, or stand still for a while, where there are links of several. */
export function streamFaults(chance: Chance, span: Parameters<typeof makeSchedule>[1]): readonly Fault[] {
  if (!chance.happens(0.7)) return [];
  const gap = chance.spread(100, 2000);
  const faults: Fault[] = [];
  for (let at = span.from; at < span.to; at += chance.between(0.1, 1.9) * gap)
    faults.push(makeFault(chance, at, chance.pick(['stream-reset', 'stream-reset', 'stream-stall']), -1, span.siteCount));
  return faults;
}

/** Modes that an operator changes in the configuration of one site after the other, in a share of all runs. */
export function modeFaults(chance: Chance, span: Parameters<typeof makeSchedule>[1]): readonly Fault[] {
  if (!chance.happens(0.3)) return [];
  return makeModes(chance, span.from, span.to, span.leaseMillis).filter((fault) => fault.at < span.to);
}

/** The witness is lost for long, and then a copy of the pair that has agreed meanwhile, in a share of all runs. */
export function agreementFaults(chance: Chance, span: Parameters<typeof makeSchedule>[1]): readonly Fault[] {
  if (!chance.happens(0.5)) return [];
  return makeAgreements(chance, span.from, span.to, span.leaseMillis).filter((fault) => fault.at < span.to);
}

/** Primaries that lose their reign with records that nobody else has, in a share of the runs in which much waits before those. */
export function tailFaults(chance: Chance, span: Parameters<typeof makeSchedule>[1]): readonly Fault[] {
  if (!chance.happens(0.6)) return [];
  return makeTails(chance, span.from, span.to, span.leaseMillis).filter((fault) => fault.at < span.to);
}

/** Far is removed from the group and added again, in a share of all runs. */
export function memberFaults(chance: Chance, span: Parameters<typeof makeSchedule>[1]): readonly Fault[] {
  if (!chance.happens(0.25)) return [];
  return makeMembers(chance, span.from, span.to, span.leaseMillis).filter((fault) => fault.at < span.to);
}

function makeFaults(chance: Chance, from: number, to: number, siteCount: number): readonly Fault[] {
  const on = DRAWN_KINDS.filter((kind) => chance.happens(HARSH.has(kind) ? 0.12 : 0.4));
  if (on.length === 0) on.push('crash', 'cut');
  const total = on.reduce((sum, kind) => sum + WEIGHTS[kind], 0);
  const gap = chance.spread(300, 6000);
  // Some runs go for one site again and again, most spread their faults.
  const victim = chance.happens(0.2) ? chance.integer(0, siteCount - 1) : -1;
  const faults: Fault[] = [];
  for (let at = from; at < to; at += chance.between(0.1, 1.9) * gap) {
    faults.push(makeFault(chance, at, pickKind(chance, on, total), victim, siteCount));
  }
  return faults;
}

function pickKind(chance: Chance, on: readonly FaultKind[], total: number): FaultKind {
  let at = chance.between(0, total);
  for (const kind of on) {
    at -= WEIGHTS[kind];
    if (at < 0) return kind;
  }
  return on[0] as FaultKind;
}

function makeFault(chance: Chance, at: number, kind: FaultKind, victim: number, siteCount: number): Fault {
  // The two sync sites are hit more often than the far one: most rules are about them.
  const site = victim >= 0 && chance.happens(0.6) ? victim : chance.happens(0.75) ? chance.integer(0, 1) : chance.integer(0, siteCount - 1);
  const other = (site + chance.integer(1, siteCount - 1)) % siteCount;
  return {
    at: Math.round(at * 1000) / 1000,
    kind,
    site,
    other: chance.happens(0.6) && site < 2 ? 1 - site : other,
    millis: Math.round(chance.spread(20, 15_000)),
    amount: chance.integer(1, 1000),
    calls: chance.happens(0.6) ? Math.floor(chance.spread(1, 400)) : -1,
    moment: chance.pick(['before', 'after', 'torn']),
  };
}
