// Replays traces of the model against the real core. What goes wrong in a trace, and what hosts ask for, is brought about; what sites do in it is
// waited for, with the witness held back until the trace says that a question arrives. Whatever the core does meanwhile is looked at (group.ts).

import type { ScopeName } from '../../../spec/scopes.ts';
import { kindOf, Traces } from '../../../spec/trace.ts';
import type { TraceSink, Violation } from '../world.ts';
import { LEASE_MILLIS, ReplayedGroup } from './group.ts';

/** What came of one trace. */
export interface Replayed {
  readonly violation: Violation | null;
  /** Steps of the trace that the core took, or that were brought about, by their kind; and those that it did not take in its place. */
  readonly taken: readonly string[];
  readonly passed: readonly string[];
  /** Steps of the model, by their kind, that may have led to what was seen. */
  readonly explained: ReadonlySet<string>;
  readonly looked: number;
  readonly events: number;
}

/** Replays one trace. */
export function replay(seed: number, scope: ScopeName, trace: readonly string[], sink: TraceSink | null = null): Replayed {
  const group = new ReplayedGroup(seed, sink, scope === 'handover' ? { handover: true } : {});
  group.setUp();
  const taken: string[] = [];
  const passed: string[] = [];
  for (const label of trace) {
    if (group.world.violation !== null) break;
    (step(group, label) ? taken : passed).push(kindOf(label));
  }
  if (group.world.violation === null) comeToRest(group);
  const explained = new Set([...(group.possible?.steps ?? [])].map(kindOf));
  return { violation: group.world.violation, taken, passed, explained, looked: group.possible?.looked ?? 0, events: group.world.events };
}

/** Everything is mended and let through: what the core does then has to be allowed as well, and somebody has to serve. */
function comeToRest(group: ReplayedGroup): void {
  for (const name of ['A', 'B']) {
    if (group.witness.apart.has(name)) brings(group, `the path of ${name} to the witness is mended`);
    if (group.machine(name).site === null) brings(group, `${name} starts`);
    group.witness.letThrough(name);
  }
  if (!group.linked) brings(group, 'the link is mended');
  const serves = (): boolean => group.machines.some(({ site }) => site?.serving === true);
  const follows = (): boolean => group.machines.some(({ site }) => site?.role === 'mirror');
  if (group.waitFor(40 * LEASE_MILLIS, () => serves() && follows() && group.witness.state?.copies.every(({ flag }) => flag) === true))
    return;
  group.world.fail('rest', 'the group does not become whole once everything is mended');
}

/** One step of a trace: brought about, or waited for. Whether it was taken. */
function step(group: ReplayedGroup, label: string): boolean {
  return brings(group, label) ?? awaits(group, label);
}

/** What is done to a group from outside. Null for a step of the sites' own. */
function brings(group: ReplayedGroup, label: string): boolean | null {
  const [who = ''] = /\b[AB]\b/.exec(label) ?? [];
  const isUp = who !== '' && group.machine(who).site !== null;
  const does = (possible: boolean, act: () => void): boolean => {
    if (possible) group.impose(label, act);
    return possible;
  };
  if (label === 'the link is cut') return does(group.linked, () => group.link(false));
  if (label === 'the link is mended') return does(!group.linked, () => group.link(true));
  if (label.startsWith('the path of')) {
    const isCut = label.endsWith('cut');
    settle(group);
    return does(group.witness.apart.has(who) !== isCut, () => (isCut ? group.witness.cutOff(who) : group.witness.mend(who)));
  }
  if (label === `${who} is killed` || label === `${who} loses its power`) settle(group);
  if (label === `${who} is killed`) return does(isUp, () => group.kill(who, 'crash'));
  if (label === `${who} loses its power`) return does(isUp, () => group.kill(who, 'power'));
  if (label === `${who} starts`) return does(!isUp, () => group.machine(who).start());
  if (label.includes('takes write')) {
    const isAsked = isUp && group.machine(who).site?.role === 'primary';
    if (isAsked) group.write(who);
    return isAsked;
  }
  if (label.endsWith('offers the reign')) {
    const isAsked = isUp && group.machine(who).site?.role === 'primary';
    const at = group.machine(who);
    if (isAsked) at.enter('order', at.life, () => at.site?.switchover({ to: null, dryRun: false }, () => undefined));
    return isAsked;
  }
  const late = /^a (\w+) of ([AB]) arrives late$/.exec(label);
  if (late !== null) {
    const isThere = group.witness.arrivesLate(late[1] as string, late[2] as string);
    group.look();
    return isThere;
  }
  const lost = /^the answer to the \w+ of ([AB]) is lost$/.exec(label);
  if (lost === null) return null;
  const site = lost[1] as string;
  if (!group.waitFor(LEASE_MILLIS, () => group.witness.waiting(site) !== null)) return false;
  group.witness.loseAnswer(site);
  group.look();
  return true;
}

/** An epoch that is adopted counts, and a reign that was granted begins, once it is on the disk, which takes the model no time. */
function settle(group: ReplayedGroup): void {
  const { state } = group.witness;
  const granted = (): boolean => group.machines.some(({ site, name }) => site?.role === 'claiming' && state?.primary === name);
  group.waitFor(20, () => !granted() && !group.adopts);
}

/** What a site does by itself is waited for. */
function awaits(group: ReplayedGroup, label: string): boolean {
  const [who = '', peer = who === 'A' ? 'B' : 'A'] = label.match(/\b[AB]\b/g) ?? [];
  const inside = (name: string): ReturnType<NonNullable<ReturnType<typeof group.machine>['site']>['inspect']> =>
    group.machine(name).site?.inspect() ?? null;
  const role = (name: string): string => group.machine(name).site?.role ?? 'down';
  const waits = (holds: () => boolean, millis = 2 * LEASE_MILLIS): boolean => group.waitFor(millis, holds);
  if (label.includes(' hears what became of its ')) {
    const isAsked = waits(() => group.witness.waiting(who) !== null);
    group.witness.letThrough(who);
    group.witness.open.delete(who);
    group.waitFor(2, () => false);
    return isAsked;
  }
  if (/ asks (for epoch|to)/.test(label)) return waits(() => group.witness.waiting(who) !== null, 4 * LEASE_MILLIS);
  if (label.includes('begins to exclude')) return waits(() => inside(who)?.flagView(peer) === 'maybe');
  if (label.includes('finds its primary gone')) return waits(() => role(who) !== 'mirror');
  if (label.includes(' joins ') || label.includes('clean')) return waits(() => role(who) === 'mirror' && inside(who)?.unclean === false);
  if (label.includes('runs out')) {
    const at = group.machine(who);
    return waits(
      () => (label.startsWith('the lease') ? (inside(who)?.leaseUntil(peer) ?? -1) : (inside(who)?.promiseUntil ?? -1)) < at.now(),
    );
  }
  if (label.endsWith('flushes')) return waits(() => inside(who)?.marks.durable === inside(who)?.marks.received, 3);
  if (label.includes('hears of a newer epoch')) return waits(() => role(who) !== 'primary');
  if (label.includes('takes over')) return waits(() => role(who) === 'primary');
  // What happens at once, or cannot be told from outside.
  group.waitFor(3, () => false);
  return [...(group.possible?.steps ?? [])].includes(label);
}

/** What came of a trace, and which it was. */
export type ReplayedTrace = Replayed & { readonly scope: ScopeName; readonly seed: number; readonly trace: readonly string[] };

/** Traces of these scopes are drawn in turn. */
const SCOPES: readonly ScopeName[] = ['pair', 'handover'];
const STEPS_MAX = 24;
/** More of everything than an exploration could look at. */
const BOUNDS = { writes: 3, epochs: 6, changes: 6, fails: 3, cuts: 4, strays: 1 };

/** Draws and replays traces from number `from` on; `take` gets what came of each, and returns false to stop. */
export function replayMany(count: number, from: number, take: (told: ReplayedTrace) => boolean): void {
  const drawn = new Map(SCOPES.map((scope) => [scope, new Traces(scope, BOUNDS)]));
  for (let seed = 1; seed < from + count; seed++) {
    const scope = SCOPES[seed % SCOPES.length] as ScopeName;
    // What was drawn before decides what is drawn next.
    const trace = (drawn.get(scope) as Traces).next(seed, STEPS_MAX);
    if (seed >= from && !take({ ...replay(seed, scope, trace), scope, seed, trace })) return;
  }
}
