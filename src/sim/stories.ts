// Short sequences of faults that belong together. Chance alone seldom lines up three faults within one lease, and the rules are mostly about such
// moments: a claim whose asker dies, a mirror that forgets what it promised, a second power loss before the first is mended. A story is a
// pattern; when, whom and how long it hits is chance.

import { Chance } from './random.ts';
import type { Fault, FaultKind } from './schedule.ts';
import { FLIP_STAGED } from './staged-rot.ts';

/** What a story needs to know of the run. */
export interface Plot {
  readonly chance: Chance;
  /** When it begins. */
  readonly at: number;
  readonly leaseMillis: number;
  /** The site that is likely to be primary, and the other sync site. */
  readonly first: number;
  readonly second: number;
}

type Story = (plot: Plot) => readonly Fault[];

function fault(kind: FaultKind, at: number, more: Partial<Fault>): Fault {
  return { kind, site: 0, other: 1, millis: 1000, amount: 100, calls: -1, moment: 'before', ...more, at: Math.round(at * 1000) / 1000 };
}

/** The mirror is cut off, restarts within its promise, and could claim while the primary still serves. */
const quickRestart: Story = ({ chance, at, leaseMillis, first, second }) => [
  fault('cut', at, { site: first, other: second, millis: leaseMillis * chance.between(0.5, 3) }),
  fault('crash', at + leaseMillis * chance.between(0, 0.5), { site: second, millis: chance.between(1, 0.4 * leaseMillis) }),
];

/** The mirror claims and dies before it knows the answer; the old primary cannot ask the witness and meets it again. */
const lostClaim: Story = ({ chance, at, leaseMillis, first, second }) => [
  fault('witness-cut', at, { site: first, millis: leaseMillis * chance.between(3, 8) }),
  fault('cut', at, { site: first, other: second, millis: leaseMillis * chance.between(1.1, 1.6) }),
  fault(chance.pick(['crash', 'crash', 'power']), at + leaseMillis * chance.between(0.7, 1), {
    site: second,
    millis: chance.between(1, 0.5 * leaseMillis),
    calls: chance.integer(0, 3),
    on: 'witness',
    moment: chance.pick(['before', 'after']),
  }),
];

/** The mirror is lost, and the primary loses power while it excludes it. */
const cutExclusion: Story = ({ chance, at, leaseMillis, first, second }) => [
  fault(chance.pick(['crash', 'power']), at, { site: second, millis: leaseMillis * chance.between(0.5, 4) }),
  fault('power', at + leaseMillis * chance.between(0.4, 1.6), {
    site: first,
    millis: leaseMillis * chance.between(0.1, 2),
    calls: chance.integer(0, 30),
    moment: chance.pick(['before', 'after', 'torn']),
  }),
];

/** Power is lost at both, and one of them restarts a second time before it has caught up. */
const twiceDown: Story = ({ chance, at, leaseMillis, first, second }) => {
  const back = chance.spread(5, leaseMillis);
  const away = chance.happens(0.5) ? back : leaseMillis * chance.between(1, 6);
  const [early, late] = chance.happens(0.5) ? [first, second] : [second, first];
  return [
    fault('power', at, { site: early, millis: back }),
    fault('power', at + chance.between(0, 5), { site: late, millis: away }),
    fault(chance.pick(['crash', 'crash', 'power']), at + back + chance.spread(5, leaseMillis), {
      site: early,
      millis: chance.spread(1, 100),
    }),
  ];
};

/** The mirror loses power; the moment it is back, the primary is gone for longer. */
const uncleanHeir: Story = ({ chance, at, leaseMillis, first, second }) => [
  fault('power', at, { site: second, millis: leaseMillis * chance.between(0.1, 1) }),
  fault(chance.pick(['crash', 'freeze', 'isolate']), at + leaseMillis * chance.between(0.05, 1.2), {
    site: first,
    millis: leaseMillis * chance.between(2, 6),
    amount: 1000,
  }),
];

/** The mirror comes back and is lost again while it joins, or the primary is. */
const brokenJoin: Story = ({ chance, at, leaseMillis, first, second }) => {
  const back = leaseMillis * chance.between(1, 4);
  return [
    fault(chance.pick(['crash', 'power', 'wipe']), at, { site: second, millis: back }),
    fault(chance.pick(['crash', 'power', 'reset', 'cut']), at + back + chance.spread(1, 300), {
      site: chance.pick([first, second]),
      other: chance.pick([first, second]),
      millis: chance.between(10, 2 * leaseMillis),
      calls: chance.integer(0, 60),
      moment: chance.pick(['before', 'after', 'torn']),
    }),
  ];
};

/** A primary with a slow disk loses its mirror with writes on the way. */
const slowExclusion: Story = ({ chance, at, leaseMillis, first, second }) => [
  fault('slow-disk', at, { site: chance.pick([first, second]), millis: leaseMillis * 5, amount: chance.integer(200, 5000) }),
  fault(chance.pick(['crash', 'power', 'freeze']), at + chance.between(1, leaseMillis), {
    site: chance.pick([first, second]),
    millis: leaseMillis * 4,
  }),
];

/** A primary stops for longer than its lease while somebody else takes over, and goes on as if nothing had been. */
const sleeper: Story = ({ chance, at, leaseMillis, first, second }) => [
  fault('freeze', at, { site: first, millis: leaseMillis * chance.between(0.8, 5) }),
  fault('crash', at + leaseMillis * chance.between(0, 5), {
    site: second,
    millis: leaseMillis * chance.between(0.1, 1),
    calls: chance.integer(-1, 50),
  }),
];

/** A new or emptied copy is filled and loses power as soon as it is whole. */
const brokenCopy: Story = ({ chance, at, leaseMillis }) => {
  const site = chance.pick([0, 1, 2]);
  const back = chance.spread(10, leaseMillis);
  return [
    fault('wipe', at, { site, millis: back }),
    fault('power', at + back + chance.spread(20, 1000), { site, millis: back, calls: chance.integer(0, 8), on: 'flush', moment: 'after' }),
  ];
};

/** The primary asks for the admission of a mirror that has come back, is not heard, and loses the mirror again. */
const heldAdmission: Story = ({ chance, at, leaseMillis, first, second }) => {
  const back = leaseMillis * chance.between(1.5, 3);
  return [
    fault('crash', at, { site: second, millis: back }),
    fault('witness-cut', at + back, { site: first, millis: leaseMillis * chance.between(1, 6) }),
    fault(chance.pick(['crash', 'power', 'cut']), at + back + leaseMillis * chance.between(0.2, 1.5), {
      site: second,
      other: first,
      millis: leaseMillis * chance.between(2, 6),
    }),
  ];
};

/** A mirror comes back, the answer to its admission is lost, and its disk fails meanwhile. */
const lateAnswer: Story = ({ chance, at, leaseMillis, second }) => {
  const back = leaseMillis * chance.between(1.5, 3);
  return [
    fault('crash', at, { site: second, millis: back }),
    fault('lose-answer', at + back, { amount: 0 }),
    fault(chance.pick(['write-error', 'flush-error']), at + back + chance.spread(20, 2 * leaseMillis), { site: second }),
  ];
};

/** A flush fails, the machine goes on with the same page cache, and loses power some time later. */
const failedFlush: Story = ({ chance, at, leaseMillis, first, second }) => {
  const site = chance.pick([first, second]);
  return [
    fault('flush-error', at, { site }),
    fault('power', at + chance.spread(500, 12_000), { site, millis: leaseMillis * chance.between(0.1, 1) }),
    fault('power', at + chance.spread(2000, 20_000), { site, millis: leaseMillis * chance.between(0.1, 1) }),
  ];
};

/** Both sync sites lose power, and far holds records that neither has on its disk; one of them stays away, or neither. */
const farAhead: Story = ({ chance, at, leaseMillis, first, second }) => {
  const away = leaseMillis * chance.between(2, 12);
  return [
    fault('power', at, { site: first, millis: chance.happens(0.5) ? away : leaseMillis * chance.between(0.1, 1) }),
    fault('power', at + chance.between(0, 3), { site: second, millis: leaseMillis * chance.between(0.1, 1) }),
    fault(chance.pick(['crash', 'cut', 'power']), at + leaseMillis * chance.between(0.2, 2), {
      site: 2,
      other: chance.pick([first, second]),
      millis: leaseMillis * chance.between(0.1, 1),
      calls: chance.integer(-1, 40),
    }),
  ];
};

/** The mirror is cut off and excluded; then the primary is lost, and those who are left may not go on. */
const lostWithoutHeir: Story = ({ chance, at, leaseMillis, first, second }) => {
  const [cut, lost] = [leaseMillis * chance.between(2.5, 5), leaseMillis * chance.between(4, 12)];
  return [
    fault('isolate', at, { site: second, other: first, millis: cut, amount: 100 }),
    fault(chance.pick(['crash', 'power']), at + cut - leaseMillis * chance.between(-0.2, 0.5), { site: first, millis: lost }),
    fault(chance.pick(['crash', 'reset', 'stall']), at + cut + leaseMillis * chance.between(0.2, 2), {
      site: chance.pick([second, 2]),
      other: second,
      millis: leaseMillis * chance.between(0.1, 1),
      calls: chance.integer(-1, 60),
      moment: chance.pick(['before', 'after', 'torn']),
    }),
  ];
};

/** A planned change, and something goes wrong in the middle of it: with the giver, the taker, the link, the witness or its answer. */
const brokenHandover: Story = ({ chance, at, leaseMillis, first, second }) => {
  const order = fault('switchover', at, { site: first, other: second, amount: chance.pick([1, 2, 3, 5]) });
  const soon = at + chance.spread(0.1, 60);
  const away = leaseMillis * chance.between(0.1, 4);
  const trouble = [
    fault(chance.pick(['crash', 'power']), at, {
      site: chance.pick([first, second]),
      millis: away,
      calls: chance.integer(0, 25),
      moment: chance.pick(['before', 'after', 'torn']),
    }),
    fault(chance.pick(['crash', 'power']), at, {
      site: first,
      millis: away,
      calls: chance.integer(0, 3),
      on: 'witness',
      moment: chance.pick(['before', 'after']),
    }),
    fault('lose-answer', at, { amount: LOSE_HANDOVER }),
    fault('cut', soon, { site: first, other: second, millis: away }),
    fault('freeze', soon, { site: chance.pick([first, second]), millis: away }),
    fault('witness-cut', soon, { site: chance.pick([first, second]), millis: away }),
    fault('witness-lossy', at, { amount: 300, millis: away }),
  ];
  const chosen = chance.happens(0.15) ? [] : [chance.pick(trouble), ...(chance.happens(0.3) ? [chance.pick(trouble)] : [])];
  return [order, ...chosen];
};

/** The giver has asked and is not heard; the taker loses it and claims by itself; then the question arrives. */
const lateHandover: Story = ({ chance, at, leaseMillis, first, second }) => {
  const away = leaseMillis * chance.between(2, 6);
  return [
    fault('cut-asker', at, { amount: LOSE_HANDOVER, millis: away }),
    fault('switchover', at + 1, { site: first, other: second, amount: 1 }),
    fault('cut', at + chance.spread(20, leaseMillis), { site: first, other: second, millis: away }),
  ];
};

/** The witness is lost for good, and something else about the same time; another one takes its place. */
const lostWitness: Story = ({ chance, at, leaseMillis, first, second }) => {
  const away = leaseMillis * chance.between(0.2, 6);
  const soon = at + chance.between(-2, 4) * leaseMillis;
  const trouble = [
    fault(chance.pick(['crash', 'power']), Math.max(0, soon), {
      site: chance.pick([first, second]),
      millis: away,
      calls: chance.integer(-1, 60),
    }),
    fault('double-power', Math.max(0, soon), { site: first, other: second, millis: away }),
    fault('cut', Math.max(0, soon), { site: first, other: second, millis: away }),
    fault('isolate', Math.max(0, soon), { site: chance.pick([first, second]), other: 2, millis: away, amount: chance.pick([100, 1000]) }),
    fault('lose-answer', Math.max(0, at - chance.between(0, 2) * leaseMillis), { amount: chance.integer(0, 3) }),
    fault('witness-cut', at, { site: chance.pick([first, second]), millis: away }),
    fault('switchover', Math.max(0, at - chance.spread(1, 200)), { site: first, other: second, amount: 1 }),
    fault('freeze', Math.max(0, soon), { site: chance.pick([first, second]), millis: away }),
  ];
  const count = chance.pick([0, 1, 1, 1, 2, 3]);
  const chosen = Array.from({ length: count }, () => chance.pick(trouble));
  return [fault('witness-lost', at, { site: chance.integer(0, 2), millis: away * 2, amount: chance.integer(1, 1000) }), ...chosen];
};

/** One site is pointed at an empty witness by mistake, while the others have theirs, or lose it too. */
const twoWitnesses: Story = ({ chance, at, leaseMillis, first, second }) => {
  const away = leaseMillis * chance.between(2, 10);
  const mistake = fault('witness-two', at, { site: chance.pick([first, first, second, 2]), millis: away });
  const lost = fault('witness-lost', at + chance.between(0, 1) * away, {
    site: chance.pick([first, second]),
    millis: away,
    amount: chance.integer(1, 1000),
  });
  const cut = fault('cut', at + chance.between(0, 1) * away, { site: first, other: second, millis: away });
  return [mistake, ...(chance.happens(0.5) ? [lost] : []), ...(chance.happens(0.4) ? [cut] : [])];
};

/** Amount of a fault that chooses the handover among the operations (faults.ts). */
export const LOSE_HANDOVER = 2000;
/** The same of a change of a mode. */
export const LOSE_MODE = 2001;

/** Amount of a fault that chooses the exclusion among the operations (faults.ts). */
const LOSE_EXCLUDE = 2;

const STORIES: readonly Story[] = [
  farAhead,
  lostWithoutHeir,
  quickRestart,
  lostClaim,
  cutExclusion,
  twiceDown,
  uncleanHeir,
  brokenJoin,
  slowExclusion,
  heldAdmission,
  lateAnswer,
  failedFlush,
  sleeper,
  brokenCopy,
];

/** A few stories between two moments, of a kind or of several. */
export function makeStories(chance: Chance, from: number, to: number, leaseMillis: number): readonly Fault[] {
  const kinds = chance.happens(0.5) ? [chance.pick(STORIES)] : STORIES;
  const rhythm = { pause: Math.max(4 * leaseMillis, 2000), least: 0.5, most: 2.5 };
  return told({ chance, from, to, leaseMillis }, rhythm, (plot) => chance.pick(kinds)(plot));
}

/** Stories one after the other, `least` to `most` pauses apart. */
function told(
  { chance, from, to, leaseMillis }: { chance: Chance; from: number; to: number; leaseMillis: number },
  { pause, least, most }: { pause: number; least: number; most: number },
  story: Story,
): readonly Fault[] {
  const faults: Fault[] = [];
  for (let at = from + chance.between(0, pause); at < to; at += chance.between(least, most) * pause) {
    const first = chance.integer(0, 1);
    faults.push(...story({ chance, at, leaseMillis, first, second: 1 - first }));
  }
  return faults;
}

/** A scan is ordered, and something goes wrong in the middle of it: with either side, the link between them, or the mirror's disk. */
const brokenScan: Story = ({ chance, at, leaseMillis, first, second }) => {
  const mirror = chance.pick([second, second, 2]);
  const soon = at + chance.spread(1, 3 * leaseMillis);
  const away = leaseMillis * chance.between(0.1, 4);
  const trouble = (): Fault =>
    chance.pick([
      fault(chance.pick(['crash', 'power']), at, {
        site: chance.pick([first, mirror, mirror]),
        millis: away,
        calls: Math.floor(chance.spread(1, 600)),
        moment: chance.pick(['before', 'after', 'torn']),
      }),
      fault(chance.pick(['crash', 'power']), soon, { site: chance.pick([first, mirror]), millis: away }),
      fault(chance.pick(['cut', 'reset', 'stall']), soon, { site: first, other: mirror, millis: away }),
      fault('full', soon, { site: mirror, millis: away }),
      fault('slow-disk', at, { site: chance.pick([first, mirror]), millis: 4 * away, amount: 100 }),
      fault('scan', soon, { site: mirror, amount: chance.integer(1, 1000) }),
    ]);
  const order = fault('scan', at, { site: mirror, amount: chance.integer(1, 1000) });
  const count = chance.pick([0, 1, 1, 2, 3]);
  return [order, ...Array.from({ length: count }, trouble)];
};

/** A few scans between two moments. */
export function makeScans(chance: Chance, from: number, to: number, leaseMillis: number): readonly Fault[] {
  return told({ chance, from, to, leaseMillis }, orders(leaseMillis), brokenScan);
}

/** How often somebody orders something. */
function orders(leaseMillis: number): { pause: number; least: number; most: number } {
  return { pause: Math.max(4 * leaseMillis, 2000), least: 0.3, most: 2 };
}

/** A mirror is paused, and something goes wrong in the middle of it: with the primary, the mirror, the witness or its answer. */
const brokenPause: Story = ({ chance, at, leaseMillis, first, second }) => {
  const mirror = chance.pick([second, second, 2]);
  const soon = at + chance.spread(0.1, 3 * leaseMillis);
  const away = leaseMillis * chance.between(0.1, 4);
  const trouble = (): Fault =>
    chance.pick([
      fault(chance.pick(['crash', 'power']), at, {
        site: chance.pick([first, first, mirror]),
        millis: away,
        calls: Math.floor(chance.spread(1, 60)),
        moment: chance.pick(['before', 'after', 'torn']),
      }),
      fault(chance.pick(['crash', 'power']), soon, { site: first, millis: chance.spread(5, leaseMillis) }),
      fault(chance.pick(['crash', 'power', 'freeze']), soon, { site: chance.pick([first, mirror]), millis: away }),
      fault('witness-cut', Math.max(0, at - chance.spread(0.1, 20)), { site: first, millis: away }),
      fault('lose-answer', Math.max(0, at - 1), { amount: LOSE_EXCLUDE }),
      fault(chance.pick(['cut', 'reset', 'stall']), soon, { site: first, other: mirror, millis: away }),
      fault('switchover', soon, { site: first, other: second, amount: chance.integer(1, 1000) }),
      fault('pause', soon, { site: chance.pick([first, second, 2]), millis: away, amount: chance.integer(1, 1000) }),
    ]);
  const order = fault('pause', at, { site: mirror, millis: leaseMillis * chance.spread(0.1, 20), amount: chance.integer(1, 1000) });
  const count = chance.pick([0, 1, 1, 2, 3]);
  return [order, ...Array.from({ length: count }, trouble)];
};

/** The volume is made larger in the configuration of each site, in any order, and something goes wrong in the middle of it. */
const brokenGrowth: Story = ({ chance, at, leaseMillis, first, second }) => {
  const span = leaseMillis * chance.spread(0.01, 6);
  const soon = (): number => at + span * chance.between(0, 1.3);
  const away = leaseMillis * chance.between(0.1, 4);
  const grows = [0, 1, 2].map((site) => fault('grow', at + span * chance.between(0, 1), { site, amount: chance.integer(1, 1000) }));
  const trouble = (): Fault =>
    chance.pick([
      fault(chance.pick(['crash', 'power']), (chance.pick(grows) as Fault).at, {
        site: chance.pick([first, second, 2]),
        millis: away,
        calls: Math.floor(chance.spread(1, 40)),
        moment: chance.pick(['before', 'after', 'torn']),
      }),
      fault(chance.pick(['crash', 'power', 'freeze']), soon(), { site: chance.pick([first, first, second, 2]), millis: away }),
      fault('double-power', soon(), { site: first, other: second, millis: away }),
      fault(chance.pick(['cut', 'reset', 'stall']), soon(), { site: first, other: chance.pick([second, 2]), millis: away }),
      fault('switchover', soon(), { site: first, other: second, amount: chance.integer(1, 1000) }),
      fault('scan', soon(), { site: chance.pick([second, 2]), amount: chance.integer(1, 1000) }),
      fault('wipe', soon(), { site: chance.pick([second, 2]), millis: away }),
      fault('slow-disk', at, { site: chance.pick([first, second, 2]), millis: 4 * away, amount: 100 }),
    ]);
  const count = chance.pick([0, 1, 1, 2, 3]);
  return [...grows, ...Array.from({ length: count }, trouble)];
};

/** The primary is lost right after the last copy has become larger, and its heir ends before what was agreed is on its slow disk. */
const growthCutShort: Story = ({ chance, at, leaseMillis, first, second }) => {
  const last = at + leaseMillis;
  const end = last + chance.spread(1, 1000);
  return [
    fault('grow', at, { site: first, amount: 1 }),
    fault('grow', at + chance.between(0, 1) * leaseMillis, { site: second, amount: 1 }),
    fault('grow', last, { site: 2, amount: 1 }),
    fault('slow-disk', last - 1, { site: second, millis: 4 * leaseMillis, amount: chance.integer(50, 3000) }),
    fault('crash', end, { site: second, millis: chance.spread(1, 50) }),
    fault('crash', end + chance.between(0, 20), { site: first, millis: leaseMillis * 6 }),
  ];
};

/** The mode of a copy changes in the configuration of each site, one after the other, and something goes wrong in the middle of it. */
const brokenMode: Story = ({ chance, at, leaseMillis, first, second }) => {
  const copy = chance.pick([2, 2, second, second, first]);
  const span = leaseMillis * chance.spread(0.01, 4);
  const soon = (): number => at + span * chance.between(0, 2);
  const away = leaseMillis * chance.between(0.1, 4);
  const trouble = (): Fault =>
    chance.pick([
      fault(chance.pick(['crash', 'power']), soon(), {
        site: chance.pick([first, first, copy]),
        millis: away,
        calls: Math.floor(chance.spread(1, 60)),
        moment: chance.pick(['before', 'after', 'torn']),
      }),
      fault(chance.pick(['crash', 'power', 'freeze']), soon(), { site: chance.pick([first, copy]), millis: away }),
      fault('double-power', soon(), { site: first, other: second, millis: away }),
      fault('witness-cut', soon(), { site: first, millis: away }),
      fault('lose-answer', at, { amount: chance.pick([LOSE_EXCLUDE, LOSE_MODE, LOSE_MODE]) }),
      fault('cut-asker', at, { amount: LOSE_MODE, millis: away }),
      fault(chance.pick(['cut', 'reset', 'stall']), soon(), { site: first, other: copy === first ? second : copy, millis: away }),
      fault('switchover', soon(), { site: first, other: chance.pick([second, 2]), amount: chance.integer(1, 1000) }),
      fault('crash', soon(), { site: first, millis: 6 * leaseMillis }),
      fault('mode', soon(), { site: chance.integer(0, 2), other: chance.integer(0, 2), millis: span, amount: chance.integer(1, 1000) }),
    ]);
  const order = fault('mode', at, { site: chance.integer(0, 2), other: copy, millis: span, amount: chance.integer(1, 1000) });
  const count = chance.pick([0, 1, 1, 2, 3]);
  return [order, ...Array.from({ length: count }, trouble)];
};

/** A few changes of modes between two moments. */
export function makeModes(chance: Chance, from: number, to: number, leaseMillis: number): readonly Fault[] {
  return told({ chance, from, to, leaseMillis }, orders(leaseMillis), brokenMode);
}

/**
 * Far is removed from the configuration of each site that stays, and these are started again one after the other; later it is added again. Something
 * goes wrong in the middle of both.
 */
const comeAndGo: Story = ({ chance, at, leaseMillis, first, second }) => {
  const span = leaseMillis * chance.spread(0.05, 2);
  const back = at + span + leaseMillis * chance.spread(1, 8);
  const away = leaseMillis * chance.between(0.1, 4);
  const soon = (): number => chance.pick([at, at, back]) + span * chance.between(0, 2);
  const trouble = (): Fault =>
    chance.pick([
      fault(chance.pick(['crash', 'power']), soon(), {
        site: chance.pick([first, second, 2]),
        millis: away,
        calls: Math.floor(chance.spread(1, 60)),
        moment: chance.pick(['before', 'after', 'torn']),
      }),
      fault('double-power', soon(), { site: first, other: second, millis: away }),
      fault('witness-cut', soon(), { site: first, millis: away }),
      fault(chance.pick(['cut', 'reset', 'stall']), soon(), { site: first, other: chance.pick([second, 2]), millis: away }),
      fault('switchover', soon(), { site: first, other: second, amount: chance.integer(1, 1000) }),
      fault('force', soon(), { site: 2 }),
    ]);
  const orders = [at, back].map((when) =>
    fault('member', when, { site: chance.integer(0, 1), millis: span, amount: chance.integer(1, 1000) }),
  );
  const count = chance.pick([0, 0, 1, 1, 2]);
  return [...orders, ...Array.from({ length: count }, trouble)];
};

/**
 * The volumes grow while far is being removed, at far last. The site that has read the new file is handed the reign, and serves for a while with a mirror
 * that still has the old one: until that has read it too, far is one of the group, and cannot connect.
 */
const growWhileGone: Story = ({ chance, at, leaseMillis, first, second }) => {
  const span = leaseMillis * chance.between(1, 5);
  const back = at + span + leaseMillis * chance.spread(1, 8);
  const soon = (): number => at + span * chance.between(0, 1);
  return [
    fault('member', at, { site: second, millis: span, amount: chance.integer(1, 1000) }),
    fault('member', back, { site: chance.integer(0, 1), millis: span, amount: chance.integer(1, 1000) }),
    fault('grow', soon(), { site: first, amount: 1 }),
    fault('grow', soon(), { site: second, amount: 1 }),
    fault('grow', back + span * chance.between(-1, 2), { site: 2, amount: 1 }),
    fault('switchover', soon(), { site: first, other: second, amount: 1 }),
    fault('switchover', soon(), { site: first, other: second, amount: 1 }),
  ];
};

/** Far leaves and comes back a few times between two moments. */
export function makeMembers(chance: Chance, from: number, to: number, leaseMillis: number): readonly Fault[] {
  return told({ chance, from, to, leaseMillis }, orders(leaseMillis), (plot) => chance.pick([comeAndGo, growWhileGone])(plot));
}

/** A few growings between two moments. */
export function makeGrowths(chance: Chance, from: number, to: number, leaseMillis: number): readonly Fault[] {
  return told({ chance, from, to, leaseMillis }, orders(leaseMillis), (plot) =>
    chance.pick([brokenGrowth, brokenGrowth, growthCutShort])(plot),
  );
}

/** A few pauses between two moments. */
export function makePauses(chance: Chance, from: number, to: number, leaseMillis: number): readonly Fault[] {
  return told({ chance, from, to, leaseMillis }, orders(leaseMillis), brokenPause);
}

/** A few planned changes between two moments. */
export function makeHandovers(chance: Chance, from: number, to: number, leaseMillis: number): readonly Fault[] {
  return told({ chance, from, to, leaseMillis }, orders(leaseMillis), (plot) => {
    if (!chance.happens(0.3)) return chance.pick([brokenHandover, brokenHandover, lateHandover])(plot);
    const { at, second } = plot;
    return [fault('switchover', at, { site: chance.integer(0, 2), other: second, amount: chance.integer(1, 1000) })];
  });
}

/** A few losses of the witness between two moments. */
export function makeLosses(chance: Chance, from: number, to: number, leaseMillis: number): readonly Fault[] {
  const rhythm = { pause: Math.max(8 * leaseMillis, 5000), least: 0.5, most: 2 };
  return told({ chance, from, to, leaseMillis }, rhythm, (plot) => chance.pick([lostWitness, lostWitness, twoWitnesses])(plot));
}

/** The witness is lost, the pair agrees, one of the two is lost, and perhaps the other one, before or after the witness is back. */
const agreed: Story = ({ chance, at, leaseMillis, first, second }) => {
  const lost = leaseMillis * chance.between(4, 14);
  const apart = at + leaseMillis * chance.between(1, 5);
  const parting = chance.pick<FaultKind>(['crash', 'crash', 'power', 'cut', 'cut', 'isolate', 'freeze', 'wipe']);
  const faults = [
    chance.happens(0.7)
      ? fault('witness-down', at, { millis: lost })
      : fault('witness-cut', at, { site: chance.pick([first, second]), millis: lost }),
    fault(parting, apart, {
      site: chance.happens(0.75) ? second : first,
      other: first,
      millis: chance.between(0.5, 8) * leaseMillis,
      amount: chance.integer(1, 1000),
      calls: chance.happens(0.5) ? chance.integer(0, 60) : -1,
      moment: chance.pick(['before', 'after', 'torn']),
    }),
  ];
  if (chance.happens(0.6))
    faults.push(
      fault(chance.pick(['crash', 'power', 'freeze', 'isolate']), apart + leaseMillis * chance.between(0.5, 8), {
        site: chance.happens(0.75) ? first : second,
        other: second,
        millis: chance.between(0.1, 6) * leaseMillis,
        amount: chance.integer(1, 1000),
        calls: chance.happens(0.5) ? chance.integer(0, 60) : -1,
        moment: chance.pick(['before', 'after', 'torn']),
      }),
    );
  return faults;
};

/** A few losses of the witness, and of a copy, between two moments. */
export function makeAgreements(chance: Chance, from: number, to: number, leaseMillis: number): readonly Fault[] {
  const rhythm = { pause: Math.max(10 * leaseMillis, 4000), least: 0.5, most: 2 };
  return told({ chance, from, to, leaseMillis }, rhythm, agreed);
}

/** The primary is cut off from everybody with writes that nobody else has, loses its reign, and is lost again when it comes back to follow. */
const lostReign: Story = ({ chance, at, leaseMillis, first, second }) => {
  const away = leaseMillis * chance.between(2.5, 5);
  // It reads its own records when it looks what of them stays.
  const trouble = fault(chance.pick(['crash', 'power']), at + away, {
    site: first,
    millis: chance.between(10, leaseMillis),
    calls: chance.integer(0, 40),
    on: 'read',
    moment: chance.pick(['before', 'after']),
  });
  return [fault('isolate', at, { site: first, other: second, millis: away, amount: 1000 }), ...(chance.happens(0.7) ? [trouble] : [])];
};

/** A few lost reigns between two moments. */
export function makeTails(chance: Chance, from: number, to: number, leaseMillis: number): readonly Fault[] {
  const rhythm = { pause: 7 * leaseMillis, least: 0.8, most: 1.5 };
  return told({ chance, from, to, leaseMillis }, rhythm, lostReign);
}

/** The primary is lost while the disk of the copy that is to follow it is slow: what it holds is on that disk only much later. */
const slowHeir: Story = ({ chance, at, leaseMillis, first, second }) => [
  fault('slow-disk', at, { site: second, millis: leaseMillis * 4, amount: chance.integer(100, 5000) }),
  fault(chance.pick(['crash', 'power', 'isolate']), at + leaseMillis * chance.between(0.1, 1), {
    site: first,
    millis: leaseMillis * chance.between(3, 6),
    amount: 1000,
  }),
];

/** Both sync copies lose power at once, one of them with a slow disk, and come back soon: each may lack records, and one holds more. */
const bothUnclean: Story = ({ chance, at, leaseMillis, first, second }) => [
  fault('slow-disk', at, { site: chance.pick([first, second]), millis: leaseMillis, amount: chance.integer(10, 500) }),
  fault('power', at + leaseMillis * chance.between(0.2, 1), { site: first, millis: chance.between(10, leaseMillis) }),
  fault('power', at + leaseMillis * chance.between(0.2, 1), { site: second, millis: chance.between(10, leaseMillis) }),
];

/** Far is away for a while, and while it is brought up to date by images its disk changes one of them. */
const stagedRot: Story = ({ chance, at, leaseMillis }) => [
  fault('crash', at, { site: 2, millis: leaseMillis * chance.between(4, 12) }),
  fault('flip', at, { site: 2, amount: FLIP_STAGED }),
];

/** A copy is made larger, the flush of that fails, it is started again and finds the new size in its cache, and loses power much later. */
const unflushedGrowth: Story = ({ chance, at, leaseMillis }) => {
  const site = chance.pick([0, 1, 1, 2]);
  return [
    fault('flush-error', at, { site }),
    fault('grow', at + chance.spread(0.001, 20), { site, amount: chance.pick([1, 3]) }),
    fault('power', at + 2000 + leaseMillis * chance.between(1, 4), { site, millis: leaseMillis * chance.between(0.1, 1) }),
  ];
};

/**
 * The last copy becomes larger, and the mirror is lost before it has noted that all have; the primary has. That one serves alone, with far, and is lost
 * with its witness. The mirror meets far meanwhile, is made equal by it, and may be chosen by the witness that comes next.
 */
const growthWhileAway: Story = ({ chance, at, leaseMillis, first, second }) => {
  const last = at + leaseMillis;
  const end = last + chance.spread(1, 200);
  const over = end + leaseMillis * chance.between(5, 8);
  const amount = chance.pick([1, 3]);
  return [
    fault('grow', at, { site: first, amount }),
    fault('grow', at + chance.between(0, 0.8) * leaseMillis, { site: second, amount }),
    fault('slow-disk', last - 1, { site: second, millis: 2 * leaseMillis, amount: chance.integer(100, 3000) }),
    fault('grow', last, { site: 2, amount }),
    fault('crash', end, { site: second, millis: over - end + leaseMillis * chance.between(0.1, 1) }),
    fault('crash', end + chance.between(0, 20), { site: first, millis: chance.spread(1, leaseMillis) }),
    fault('witness-lost', over + leaseMillis * chance.between(-0.5, 0.5), {
      site: first,
      millis: leaseMillis,
      amount: chance.pick([1, 2]),
    }),
    fault('crash', over, { site: first, millis: leaseMillis * chance.between(2, 4) }),
  ];
};

/**
 * The last copy becomes larger, and all sites are lost before the slow one has noted that all have; that one, whose flag is still true, is back first,
 * and nobody tells it.
 */
const growthUnnoted: Story = ({ chance, at, leaseMillis, first, second }) => {
  const last = at + leaseMillis;
  const end = last + chance.spread(10, 300);
  const amount = chance.pick([1, 3]);
  return [
    fault('grow', at, { site: first, amount }),
    fault('grow', at + chance.between(0, 0.8) * leaseMillis, { site: second, amount }),
    fault('slow-disk', last - 1, { site: second, millis: leaseMillis, amount: chance.integer(300, 3000) }),
    fault('grow', last, { site: 2, amount }),
    fault('crash', end, { site: second, millis: chance.between(10, 50) }),
    fault('crash', end + chance.between(0, 10), { site: first, millis: leaseMillis * chance.between(4, 8) }),
    fault('crash', end + chance.between(0, 10), { site: 2, millis: leaseMillis * chance.between(4, 8) }),
  ];
};

/** Stories that one planted bug each needs, and that are too rare in other runs. */
const FOCUS_STORIES = {
  slowHeir,
  bothUnclean,
  lostReign,
  agreed,
  stagedRot,
  unflushedGrowth,
  growthWhileAway,
  growthUnnoted,
} satisfies Record<string, Story>;
export type FocusStory = keyof typeof FOCUS_STORIES;

/** One of these, again and again. */
export function focusFaults(
  story: FocusStory,
  chance: Chance,
  { from, to, leaseMillis }: { readonly from: number; readonly to: number; readonly leaseMillis: number },
): readonly Fault[] {
  const rhythm = { pause: Math.max(4 * leaseMillis, 2000), least: 1.5, most: 3 };
  return told({ chance, from, to, leaseMillis }, rhythm, FOCUS_STORIES[story]).filter((fault) => fault.at < to);
}
