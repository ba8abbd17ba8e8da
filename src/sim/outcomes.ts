// What each event leads to, as rows of a table: a scripted run on a quiet group, one event or two, and what was seen of it. docs/GUARANTEES.md and
// its appendix are printed from here, and a test compares, so the table cannot say what does not happen.

import type { InspectedSite } from './check/observe.ts';
import type { Machine } from './machine.ts';
import { Simulation } from './run.ts';
import type { Fault, FaultKind } from './schedule.ts';
import type { Settings } from './settings.ts';

/** One event: what happens, as people say it, and the faults that make it. */
interface OutcomeEvent {
  readonly key: string;
  readonly text: string;
  readonly faults: readonly Partial<Fault>[];
  /** Told apart from a loss of power: the sites that come back while everything else is still as it is, and when. */
  readonly back?: readonly { readonly site: number; readonly afterMillis: number }[];
}

/** What came of it. */
interface Outcome {
  readonly serves: string;
  readonly held: string;
  readonly lost: string;
  readonly heals: string;
}

const PRIM = 0;
const NEAR = 1;
const FAR = 2;
/** Longer than any run: the event lasts until everything is mended. */
const FOR_GOOD = 1e7;

function of(kind: FaultKind, site: number, more: Partial<Fault> = {}): Partial<Fault> {
  return { kind, site, other: site === PRIM ? NEAR : PRIM, millis: FOR_GOOD, ...more };
}

function event(key: string, text: string, ...faults: readonly Partial<Fault>[]): OutcomeEvent {
  return { key, text, faults };
}

/** Each event by itself. Amounts choose the variant of a fault (faults.ts): 100 both directions of a cut, 900 and 800 one of them. */
const EVENTS: readonly OutcomeEvent[] = [
  event('cut prim-near', 'the link between prim and near is cut', of('cut', PRIM)),
  event('cut prim>near', 'nothing arrives at near from prim any more', of('cut', PRIM, { amount: 900 })),
  event('cut near>prim', 'nothing arrives at prim from near any more', of('cut', PRIM, { amount: 800 })),
  event('slow prim-near', 'the link between prim and near takes 300 ms longer', of('slow-link', PRIM, { amount: 300 })),
  event('cut prim-far', 'the link between prim and far is cut', of('cut', PRIM, { other: FAR })),
  event('cut near-far', 'the link between near and far is cut', of('cut', NEAR, { other: FAR })),
  event('cut prim-witness', 'prim does not reach the witness', of('witness-cut', PRIM)),
  event('cut near-witness', 'near does not reach the witness', of('witness-cut', NEAR)),
  event('isolated prim', 'prim is cut off from everybody', of('isolate', PRIM, { amount: 1000 })),
  event('isolated near', 'near is cut off from everybody', of('isolate', NEAR, { amount: 1000 })),
  event('killed prim', 'the process of prim is killed', of('crash', PRIM)),
  event('killed near', 'the process of near is killed', of('crash', NEAR)),
  event('killed far', 'the process of far is killed', of('crash', FAR)),
  event('frozen prim', 'prim stands still', of('freeze', PRIM)),
  event('frozen near', 'near stands still', of('freeze', NEAR)),
  event('power prim', 'prim loses power', of('power', PRIM)),
  event('power near', 'near loses power', of('power', NEAR)),
  event('power far', 'far loses power', of('power', FAR)),
  event('unclean prim', 'prim loses power and is back after 0.2 s, unclean', of('power', PRIM, { millis: 200 })),
  event('unclean near', 'near loses power and is back after 0.2 s, unclean', of('power', NEAR, { millis: 200 })),
  event('disk prim', 'the disk of prim fails', of('write-error', PRIM)),
  event('disk near', 'the disk of near fails', of('write-error', NEAR)),
  event('new disk near', 'near gets a new, empty disk', of('wipe', NEAR, { millis: 500 })),
  event('witness lost', 'the witness is lost', of('witness-down', PRIM)),
  event('witness restarts', 'the witness is away for 1 s', of('witness-down', PRIM, { millis: 1000 })),
  event('power both', 'prim and near lose power at once', of('power', PRIM), of('power', NEAR)),
  {
    ...event(
      'power all, prim back',
      'all three sites lose power; prim alone is back',
      of('power', PRIM),
      of('power', NEAR),
      of('power', FAR),
    ),
    back: [{ site: PRIM, afterMillis: 1000 }],
  },
  {
    ...event(
      'power all, near back',
      'all three sites lose power; near alone is back',
      of('power', PRIM),
      of('power', NEAR),
      of('power', FAR),
    ),
    back: [{ site: NEAR, afterMillis: 1000 }],
  },
];

/** Events of which every pair is tried: one of each sort, so that the appendix can be read. */
const PAIRED: readonly string[] = [
  'cut prim-near',
  'cut prim-far',
  'cut prim-witness',
  'cut near-witness',
  'killed prim',
  'killed near',
  'killed far',
  'frozen prim',
  'power prim',
  'power near',
  'unclean near',
  'disk near',
  'witness lost',
];

/** The same quiet group for every row: the default times of the daemon, quick disks and links, hosts that always have something under way. */
const QUIET: Partial<Settings> = {
  growthBlocks: 0,
  farInMemory: false,
  volumes: [{ name: 'vol0', sizeBytes: 32 * 4096, baseFile: 'base-vol0' }],
  timings: {
    leaseMillis: 1500,
    heartbeatMillis: 250,
    peerTimeoutMillis: 1000,
    witnessRetryMillis: 250,
    driftShare: 0.02,
    holdMillis: 60_000,
    asyncDelayMillis: 5,
  },
  segmentBytes: 256 * 1024,
  capacityBytes: 8 * 1024 * 1024,
  setAsideBytes: 0,
  guide: 'newest',
  recordsMax: 0,
  destageIdleMillis: 100,
  destageBacklogBytes: 1024 * 1024,
  hosts: {
    clients: 2,
    unitBytes: 4096,
    volumeBytes: [32 * 4096],
    depth: 4,
    pauseLeast: 20,
    pauseMost: 60,
    requestBytes: 8192,
    patienceMillis: 1000,
    stray: 0,
  },
  network: { latency: 1, jitter: 0.1, rate: 1e9, split: 0, silentMillis: 6000, dialMillis: 500 },
  witnessTimeoutMillis: 500,
  diskSlowness: [1, 1, 1],
  doubled: 0,
  cold: 0,
  readSlowness: 1,
  digestLog: undefined,
  cutStepBytes: 1024 * 1024,
  leftOut: null,
};

const SEED = 20;
/** Between the first event and the second, and after the last. */
const BETWEEN_MILLIS = 3500;
const WINDOW_MILLIS = 8000;
const STEP_MILLIS = 20;

/** Runs events, one some time after the other, on a group of its own. Throws when a rule is broken. */
function outcomeOf(events: readonly OutcomeEvent[], seed: number = SEED): Outcome {
  const simulation = new Simulation(seed, null, QUIET);
  const { world, hosts } = simulation;
  simulation.setUp();
  hosts.start();
  simulation.waitUntil(500, () => false);
  let longest = 0;
  events.forEach((each, index) => {
    begin(simulation, each);
    longest = watchHosts(simulation, index === events.length - 1 ? WINDOW_MILLIS : BETWEEN_MILLIS);
  });
  const serves = servesText(simulation);
  const lostBefore = world.violation === null;
  const healsText = lostBefore ? healing(simulation) : '';
  const { violation } = world;
  if (violation !== null) throw new Error(`${events.map((each) => each.key).join(', then ')}: rule ${violation.rule}: ${violation.text}`);
  return { serves, held: heldText(longest), lost: lostText(simulation), heals: healsText };
}

function begin(simulation: Simulation, { faults, back }: OutcomeEvent): void {
  const { world } = simulation;
  const base: Omit<Fault, 'kind'> = { at: world.now, site: PRIM, other: NEAR, millis: FOR_GOOD, amount: 100, calls: -1, moment: 'before' };
  for (const fault of faults) simulation.faults.apply({ ...base, kind: 'cut', ...fault });
  for (const { site, afterMillis } of back ?? []) world.after(afterMillis, () => simulation.machines[site]?.start());
}

/** The longest time without an answer to any write. */
function watchHosts(simulation: Simulation, millis: number): number {
  const { world, hosts } = simulation;
  const end = world.now + millis;
  let longest = 0;
  let count = hosts.acknowledged;
  let since = world.now;
  while (world.now < end && world.violation === null) {
    world.runUntil(Math.min(end, world.now + STEP_MILLIS));
    if (hosts.acknowledged !== count) since = world.now;
    count = hosts.acknowledged;
    longest = Math.max(longest, world.now - since);
  }
  // Until the end nothing was answered: for as long as it lasts.
  return world.now - since >= millis / 2 ? Infinity : longest;
}

function servesText(simulation: Simulation): string {
  const serving = simulation.machines.find((machine) => !machine.frozen && machine.site?.serving === true);
  if (serving === undefined) return `nobody${whyNobody(simulation.machines)}`;
  const protection = (serving.site as InspectedSite).status().protection;
  return `${serving.name}, ${protection}`;
}

/** What the living sites wait for. */
function whyNobody(machines: readonly Machine<InspectedSite>[]): string {
  const causes = machines.flatMap((machine) => {
    if (machine.frozen || machine.site === null) return [];
    const [first] = machine.site.status().waiting;
    return first === undefined || first.cause.startsWith('an async copy') ? [] : [`${machine.name}: ${first.cause}`];
  });
  return causes.length === 0 ? '' : ` (${causes.join('; ')})`;
}

/** In classes: the exact time of one run means nothing. */
function heldText(millis: number): string {
  if (millis === Infinity) return 'until mended, or failed by policy';
  if (millis < 500) return 'no';
  return millis <= 2000 ? 'up to 2 s' : millis <= 4000 ? 'up to 4 s' : 'up to 10 s';
}

function lostText(simulation: Simulation): string {
  if ((simulation.watch.coverage.counts.get('acknowledged writes were lost that may be') ?? 0) === 0) return 'nothing';
  return 'writes that no flush covered';
}

function healing(simulation: Simulation): string {
  const { counts } = simulation.watch.coverage;
  const copies = counts.get('whole copy begun') ?? 0;
  const settled = simulation.heal();
  if (settled !== true) return `an operator decides${whyNobody(simulation.machines)}`;
  simulation.finish();
  return (counts.get('whole copy begun') ?? 0) > copies ? 'by itself, by a whole copy' : 'by itself';
}

/** The table of all single events. */
export function eventsTable(): string {
  return tableOf(
    ['event', 'who serves', 'hosts are held', 'what is lost', 'how it heals once mended'],
    EVENTS.map((each) => [each.text, ...cells(outcomeOf([each]))]),
  );
}

/** All ordered pairs of those that are paired; `every` picks each n-th, for a test that has little time. */
export function pairs(every = 1): readonly (readonly [OutcomeEvent, OutcomeEvent])[] {
  const paired = EVENTS.filter((each) => PAIRED.includes(each.key));
  return paired
    .flatMap((first) => paired.filter((second) => second !== first).map((second) => [first, second] as const))
    .filter((_pair, index) => index % every === 0);
}

/** One row of the appendix. */
export function pairRow([first, second]: readonly [OutcomeEvent, OutcomeEvent]): string {
  return line([first.text, second.text, ...cells(outcomeOf([first, second]))]);
}

/** Head of the appendix. */
export const PAIRS_HEAD: string = tableOf(
  ['first', 'then', 'who serves', 'hosts are held', 'what is lost', 'how it heals once mended'],
  [],
);

function cells({ serves, held, lost, heals }: Outcome): readonly string[] {
  return [serves, held, lost, heals];
}

function line(values: readonly string[]): string {
  return `| ${values.join(' | ')} |`;
}

function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

const PLACE = /(<!-- outcomes -->\n)[\s\S]*?(<!-- end of outcomes -->)/;

/** A page with its table in its place. */
export function fillOutcomes(page: string, table: string): string {
  if (!PLACE.test(page)) throw new Error('the page has no place for outcomes');
  return page.replace(PLACE, (_whole, begin: string, end: string) => `${begin}\n${table}\n\n${end}`);
}

/** The rows of a table in a page, as they read whatever the formatter made of their spaces. */
export function rowsOf(text: string): readonly string[] {
  return text
    .split('\n')
    .filter((row) => row.startsWith('|') && !/^\|[ |-]+$/.test(row))
    .map((row) => row.replaceAll(/ +/g, ' '));
}
