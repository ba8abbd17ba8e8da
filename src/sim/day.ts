// A day of a group whose link to far comes and goes, in simulated time: hosts write little at night and much by day, with bursts that the link cannot
// carry; outages last from seconds to hours, and some are longer than any sidefile of this size can cover. After each event it is looked at whether
// what the design says of the sidefile's size holds. Sizes and rates are those of a real group divided by about a thousand, times are real.

import type { Inspection, InspectedSite } from './check/observe.ts';
import { ONE_REQUEST_BYTES } from './check/overflow.ts';
import { coreFactory } from './core.ts';
import { Machine, type MachineListener } from './machine.ts';
import { Network } from './network.ts';
import { Chance } from './random.ts';
import { SimWitness } from './witness.ts';
import { type Violation, World } from './world.ts';
import type { SidefileGuide } from '../core/replica/set-aside.ts';
import type { HostRequest, HostSession, Overflow } from '../core/site/contract.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const KIB = 1024;
const MIB = 1024 * KIB;

const WRITE_BYTES = 16 * KIB;
const VOLUME_BYTES = 16 * MIB;
/** Requests of hosts that wait for an answer at one time: more are not sent. */
const DEPTH = 16;
/** What the link to far carries in a second. */
const LINK_BYTES = 64 * KIB;
const SEGMENT_BYTES = 512 * KIB;
/** Little must have been kept for so long before space is given back: as in the daemon. */
const CALM_MILLIS = 10 * MINUTE;
/** What a record of that size takes in the sidefile at most. */
const RECORD_BYTES = WRITE_BYTES + 64 + 32 + 56;
/** A gap of this share of the maximum is covered: whole segments are dropped, and what is known of far is some seconds old. */
const COVERED_SHARE = 7 / 8;
/** Beyond a fixed count of records: what comes while a mirror does not know yet that far lacks so many. */
const COUNT_SLACK_BYTES = MIB;
/** Changes of direction that a size may have in any hour: what has grown stays for ten minutes. */
const TURNS_PER_HOUR_MAX = 12;
const SETUP_MILLIS = 10 * MINUTE;
const LOOK_MILLIS = MINUTE;

const TIMINGS = {
  leaseMillis: 60_000,
  heartbeatMillis: 10_000,
  peerTimeoutMillis: 30_000,
  witnessRetryMillis: 10_000,
  witnessProveMillis: HOUR,
  driftShare: 0.02,
  holdMillis: HOUR,
  asyncDelayMillis: 1000,
};

/** Writes in a second by the hour of the day. */
const RATES = [0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.3, 0.6, 1, 1.3, 1.4, 1.3, 1, 1.2, 1.4, 1.3, 1.1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1];

/** What a run is of. */
export interface DayOptions {
  readonly seed: number;
  readonly hours: number;
  /** Hour of the day in which it begins. */
  readonly fromHour: number;
  readonly guide: SidefileGuide;
  readonly overflow: Overflow;
  readonly leastBytes: number;
  readonly mostBytes: number;
  /** Most records that are kept for far; left out: as many as there is room for. */
  readonly recordsMax?: number;
}

/** How it stood at one moment; sizes in bytes, the largest since the look before. */
export interface DayLook {
  /** Minutes since the begin. */
  readonly minute: number;
  readonly linkUp: boolean;
  readonly writtenBytes: number;
  /** What far lacks of the primary's records. */
  readonly lackingBytes: number;
  /** The sidefile of the primary, and of near. */
  readonly heldBytes: number;
  readonly nearHeldBytes: number;
  /** What the primary has set aside. */
  readonly setAsideBytes: number;
  /** Whether the primary could bring far up to date by delta. */
  readonly coverage: 'ready' | 'preparing' | 'not-ready';
}

export interface DayResult {
  readonly options: DayOptions;
  readonly violation: Violation | null;
  readonly looks: readonly DayLook[];
  readonly events: number;
  readonly writes: number;
  /** Writes that were not sent because hosts had to wait. */
  readonly withheld: number;
  /** Outages of the link, and how many of them the maximum could not cover. */
  readonly outages: number;
  readonly uncovered: number;
  readonly grown: number;
  readonly shrunk: number;
  /** Most changes of direction of one size in an hour. */
  readonly turnsMax: number;
  /** Largest that a sidefile ever was, and what one is set aside at most. */
  readonly heldMax: number;
  readonly setAsideMax: number;
}

/** A stretch of time, in milliseconds from the begin. */
interface Stretch {
  readonly from: number;
  readonly to: number;
}

/** One thing that goes up and down: what is set aside at a site. */
interface Size {
  grownAt: number;
  up: boolean;
  /** When its direction changed. */
  turns: number[];
}

class Day {
  readonly #options: DayOptions;
  readonly #world: World;
  readonly #network: Network;
  readonly #witness: SimWitness;
  readonly #machines: readonly Machine<InspectedSite>[];
  readonly #load: Chance;
  readonly #outages: readonly Stretch[];
  readonly #bursts: readonly (Stretch & { readonly rate: number })[];
  readonly #inside = new Map<string, Inspection | null>();
  readonly #sizes = new Map<string, Size>();
  readonly looks: DayLook[] = [];
  #begin = Infinity;
  #waiting = 0;
  /** Pairs whose gap was larger than the maximum allows, until far is covered again. */
  readonly #excused = new Set<string>();
  #most = { lacking: 0, held: 0, near: 0 };
  #writtenBefore = 0;
  writes = 0;
  withheld = 0;
  uncovered = 0;
  grown = 0;
  shrunk = 0;
  turnsMax = 0;
  heldMax = 0;
  setAsideMax = 0;

  constructor(options: DayOptions) {
    this.#options = options;
    this.#world = new World(options.seed);
    const world = this.#world;
    this.#load = world.chance('load');
    this.#outages = outagesOf(world.chance('outages'), options);
    this.#bursts = burstsOf(world.chance('bursts'), options);
    const nature = { latency: 20, jitter: 0.2, rate: 1e9, split: 0, silentMillis: 2 * MINUTE, dialMillis: 30_000 };
    this.#network = new Network(world, nature);
    this.#witness = new SimWitness(world, 5000);
    this.#machines = ['prim', 'near', 'far'].map((name) => this.#machine(name));
  }

  get #prim(): Machine<InspectedSite> {
    return this.#machines[0] as Machine<InspectedSite>;
  }

  get outages(): number {
    return this.#outages.length;
  }

  get events(): number {
    return this.#world.events;
  }

  get violation(): Violation | null {
    return this.#world.violation;
  }

  #machine(name: string): Machine<InspectedSite> {
    const { guide, overflow, leastBytes, mostBytes, recordsMax } = this.#options;
    const parts = {
      world: this.#world,
      network: this.#network,
      witness: this.#witness,
      factory: coreFactory,
      listener: this.#listener(),
      others: () => this.#machines,
    };
    return new Machine<InspectedSite>(
      parts,
      {
        group: 'group',
        site: name,
        sites: [
          { name: 'prim', mode: 'sync' },
          { name: 'near', mode: 'sync' },
          { name: 'far', mode: 'async', overflow, linkBytesPerSecond: LINK_BYTES },
        ],
        volumes: [{ name: 'vol0', sizeBytes: VOLUME_BYTES, baseFile: 'base-vol0', holdMillis: Infinity }],
        timings: TIMINGS,
        segmentBytes: SEGMENT_BYTES,
        capacityBytes: mostBytes,
        recordsMax,
        setAside: { guide, leastBytes, calmMillis: CALM_MILLIS },
        destageIdleMillis: 5000,
        destageBacklogBytes: mostBytes / 8,
        bitmapChunkBytes: 64 * KIB,
        resyncPieceBytes: MIB,
        scan: null,
      },
      { offset: 0, drift: 0 },
    );
  }

  #listener(): MachineListener<InspectedSite> {
    return {
      afterEvent: (machine) => this.#look(machine),
      servingChanged: () => undefined,
      failed: (machine, reason) => this.#world.fail('disk', `${machine.name}: ${reason}`),
      ended: () => undefined,
      started: () => undefined,
      decided: () => undefined,
      journal: (machine, event, facts) => {
        if (event === 'sidefile.set-aside') this.#sizeChanged(machine.name, Number(facts['was']), Number(facts['bytes']));
      },
      cut: () => undefined,
    };
  }

  run(): void {
    const world = this.#world;
    for (const machine of this.#machines) machine.start();
    const order = (): void => {
      if (this.#witness.state !== null) return;
      this.#prim.enter('create', this.#prim.life, () => this.#prim.site?.create(() => undefined));
      world.after(5000, order);
    };
    world.after(100, order);
    const isWhole = (): boolean => this.#witness.state?.copies.every((copy) => copy.flag) === true;
    for (let wait = 0; wait < SETUP_MILLIS && !isWhole() && world.violation === null; wait += 1000) world.runUntil(world.now + 1000);
    if (!isWhole()) return world.fail('set-up', 'the group was not complete in time');
    this.#begin = world.now;
    for (const { from, to } of this.#outages) {
      world.at(this.#begin + from, () => this.#link(false));
      world.at(this.#begin + to, () => this.#link(true));
    }
    this.#nextWrite();
    const minutes = this.#options.hours * 60;
    for (let minute = 1; minute <= minutes && world.violation === null; minute++) {
      world.runUntil(this.#begin + minute * LOOK_MILLIS);
      if (world.violation === null) this.#note(minute);
    }
  }

  /** The link to far, from both other sites. */
  #link(up: boolean): void {
    for (const other of ['prim', 'near']) {
      for (const [from, to] of [
        [other, 'far'],
        ['far', other],
      ] as const) {
        if (up) this.#network.open(from, to);
        else this.#network.block(from, to);
      }
    }
  }

  get #isUp(): boolean {
    const at = this.#world.now - this.#begin;
    return !this.#outages.some(({ from, to }) => from <= at && at < to);
  }

  // ── what hosts do ──

  #rate(): number {
    const at = this.#world.now - this.#begin;
    const burst = this.#bursts.find(({ from, to }) => from <= at && at < to);
    const hour = (this.#options.fromHour + at / HOUR) % 24;
    return burst?.rate ?? (RATES[Math.floor(hour)] as number);
  }

  #nextWrite(): void {
    // Looked at anew at least once in a while: the rate may be another one by then.
    const pause = (-1000 * Math.log(1 - this.#load.unit())) / this.#rate();
    const isDue = pause <= 20_000;
    this.#world.after(Math.min(pause, 20_000), () => {
      if (isDue) this.#write();
      this.#nextWrite();
    });
  }

  #write(): void {
    const machine = this.#prim;
    if (this.#waiting >= DEPTH) {
      this.withheld++;
      return;
    }
    const offset = WRITE_BYTES * this.#load.integer(0, VOLUME_BYTES / WRITE_BYTES - 1);
    const payload = new Uint8Array(WRITE_BYTES).fill(++this.writes & 0xff);
    this.#waiting++;
    const reply = (_request: HostRequest, error: number): void => {
      this.#waiting--;
      if (error !== 0) this.#world.fail('hosts', `a write was answered with error ${error}`);
    };
    const session: HostSession = { reply, replyStatus: () => undefined };
    const common = { session, command: 'write', volume: 0, offset, length: WRITE_BYTES, fua: false, noHole: false } as const;
    machine.enter('write', machine.life, () => {
      machine.site?.request({ ...common, payload, seq: 0, needSeq: 0, data: null, startedMillis: machine.now() });
    });
  }

  // ── what must hold ──

  #look(machine: Machine<InspectedSite>): void {
    const inside = machine.site?.inspect() ?? null;
    this.#inside.set(machine.name, inside);
    if (inside === null || this.#begin === Infinity) return;
    this.#room(machine.name, inside);
    const far = this.#inside.get('far') ?? null;
    if (far === null) return;
    const primary = this.#inside.get('prim') ?? null;
    if (primary === null) return;
    for (const from of machine.name === 'far' ? ['prim', 'near'] : [machine.name]) {
      const giver = this.#inside.get(from) ?? null;
      if (giver !== null) this.#covered(from, giver, far, primary);
    }
    this.#most = {
      lacking: Math.max(this.#most.lacking, (primary.marks.received - far.marks.durable) * RECORD_BYTES),
      held: Math.max(this.#most.held, primary.heldBytes),
      near: Math.max(this.#most.near, this.#inside.get('near')?.heldBytes ?? 0),
    };
  }

  /** Never over the maximum; and there is always as much set aside as is kept, up to the maximum. */
  #room(name: string, inside: Inspection): void {
    const { leastBytes, mostBytes, recordsMax } = this.#options;
    const { heldBytes, keptBytes, setAside } = inside;
    if (recordsMax !== undefined && name !== 'far' && keptBytes > recordsMax * RECORD_BYTES + COUNT_SLACK_BYTES)
      this.#world.fail('count', `${name} keeps ${keptBytes} bytes of records, and ${recordsMax} records are to be kept`);
    this.heldMax = Math.max(this.heldMax, heldBytes);
    if (heldBytes > mostBytes + ONE_REQUEST_BYTES)
      this.#world.fail('maximum', `the sidefile of ${name} takes ${heldBytes} bytes, and its maximum is ${mostBytes}`);
    const wanted = setAside?.wantedBytes ?? 0;
    this.setAsideMax = Math.max(this.setAsideMax, wanted);
    if (wanted < leastBytes || wanted > mostBytes)
      this.#world.fail('maximum', `${wanted} bytes are set aside at ${name}: not from ${leastBytes} to ${mostBytes}`);
    if (keptBytes > wanted && wanted < mostBytes)
      this.#world.fail('grows early', `${name} keeps ${keptBytes} bytes of records, and has ${wanted} set aside`);
  }

  /** A sidefile reaches back to what far lacks, unless that is more than the maximum allows, or was since far was covered last. */
  #covered(from: string, giver: Inspection, far: Inspection, primary: Inspection): void {
    const { overflow, recordsMax = Infinity } = this.#options;
    const mostBytes = Math.min(this.#options.mostBytes, recordsMax * RECORD_BYTES);
    const isCovered = giver.marks.oldest <= far.marks.durable + 1;
    const gapBytes = (primary.marks.received - far.marks.durable) * RECORD_BYTES;
    if (gapBytes > mostBytes * COVERED_SHARE) {
      if (!this.#excused.has(from) && overflow === 'bitmap') {
        this.#excused.add(from);
        if (from === 'prim') this.uncovered++;
      }
    } else if (isCovered && this.#machines[2]?.site?.role === 'mirror') this.#excused.delete(from);
    if (isCovered || this.#excused.has(from)) return;
    this.#world.fail(
      'coverage',
      `the sidefile of ${from} begins at record ${giver.marks.oldest}, and far holds those up to ${far.marks.durable}: a gap of ${gapBytes} bytes, of ${mostBytes}`,
    );
  }

  #sizeChanged(name: string, was: number, bytes: number): void {
    const { now } = this.#world;
    if (this.#begin === Infinity) return;
    const size = this.#sizes.get(name) ?? { grownAt: -Infinity, up: true, turns: [] };
    this.#sizes.set(name, size);
    const up = bytes > was;
    if (up) this.grown++;
    else this.shrunk++;
    if (up !== size.up) size.turns.push(now);
    size.up = up;
    size.turns = size.turns.filter((at) => at > now - HOUR);
    this.turnsMax = Math.max(this.turnsMax, size.turns.length);
    if (up) size.grownAt = now;
    else if (now - size.grownAt < CALM_MILLIS)
      this.#world.fail('oscillation', `${name} gives space back ${Math.round((now - size.grownAt) / 1000)} s after it has taken some`);
    if (size.turns.length > TURNS_PER_HOUR_MAX)
      this.#world.fail('oscillation', `what is set aside at ${name} has changed its direction ${size.turns.length} times in an hour`);
  }

  #note(minute: number): void {
    const status = this.#prim.site?.status();
    const pair = status?.coverage.find(({ from, to }) => from === 'prim' && to === 'far');
    const primary = this.#inside.get('prim') ?? null;
    const far = this.#inside.get('far') ?? null;
    if (status === undefined || pair === undefined || primary === null || far === null)
      return this.#world.fail('service', `prim is not primary after ${minute} minutes`);
    if (pair.state === 'ready' && primary.marks.oldest > far.marks.durable + 1)
      this.#world.fail('honest', 'coverage is called ready, and the sidefile begins behind what far holds');
    this.looks.push({
      minute,
      linkUp: this.#isUp,
      writtenBytes: (this.writes - this.#writtenBefore) * WRITE_BYTES,
      lackingBytes: this.#most.lacking,
      heldBytes: this.#most.held,
      nearHeldBytes: this.#most.near,
      setAsideBytes: primary.setAside?.wantedBytes ?? 0,
      coverage: pair.state,
    });
    this.#writtenBefore = this.writes;
    this.#most = { lacking: 0, held: 0, near: 0 };
  }
}

/** Outages: flaps of seconds, some of minutes, and in each six hours one of an hour or more. None within the first minutes, and none that overlap. */
function outagesOf(chance: Chance, { hours }: DayOptions): readonly Stretch[] {
  const end = hours * HOUR;
  const outages: Stretch[] = [];
  const add = (from: number, millis: number): void => {
    const to = Math.min(from + millis, end);
    const isFree = outages.every((other) => to + MINUTE < other.from || from > other.to + MINUTE);
    if (isFree && to > from) outages.push({ from, to });
  };
  for (let part = 0; part < hours / 6; part++)
    add((6 * part + chance.between(0.2, 2)) * HOUR, chance.spread(hours < 6 ? 0.4 : 1, hours < 6 ? 0.5 : 4) * HOUR);
  for (let at = 5 * MINUTE; at < end; at += chance.between(60, 240) * MINUTE) add(at, chance.spread(2, 25) * MINUTE);
  for (let at = 3 * MINUTE; at < end; at += chance.spread(5, 40) * MINUTE) add(at, chance.spread(1, 90) * 1000);
  return outages.sort((a, b) => a.from - b.from);
}

/** Bursts: for one to six minutes several times as much is written, and at two o'clock a backup for a quarter of an hour. */
function burstsOf(chance: Chance, { hours, fromHour }: DayOptions): readonly (Stretch & { readonly rate: number })[] {
  const bursts: (Stretch & { readonly rate: number })[] = [];
  const backup = ((26 - fromHour) % 24) * HOUR;
  bursts.push({ from: backup, to: backup + HOUR / 4, rate: 6 });
  for (let at = 10 * MINUTE; at < hours * HOUR; at += chance.between(20, 120) * MINUTE)
    bursts.push({ from: at, to: at + chance.between(1, 6) * MINUTE, rate: chance.between(2, 8) });
  return bursts;
}

/** Lets the time pass. */
export function day(options: DayOptions): DayResult {
  const run = new Day(options);
  run.run();
  const { violation, looks, events, writes, withheld, outages, uncovered, grown, shrunk, turnsMax, heldMax, setAsideMax } = run;
  const counts = { events, writes, withheld, outages, uncovered, grown, shrunk, turnsMax, heldMax, setAsideMax };
  return { options, violation, looks, ...counts };
}
