// One site's machine: power, a process on it, a clock that is a little wrong, and the driver of the core in that process. The driver is the
// only place that calls a site: an event in, a turn, the timer set again. A crash forgets the site object and keeps the page cache; a power
// loss keeps what is durable; a frozen process gets its events later, in their order.

import { digestBlocks, digestOf } from './digests.ts';
import { CrashSignal, Gate, type CrashKind } from './gate.ts';
import { Chance } from './random.ts';
import { SimDisk } from './disk.ts';
import type { End, Network, Station } from './network.ts';
import type { SimWitness } from './witness.ts';
import type { Pending, World } from './world.ts';
import type { Buffers, LinkPort } from '../core/base/ports.ts';
import type { Mode } from '../core/base/copies.ts';
import type { Millis, SiteName, WallMillis } from '../core/base/units.ts';
import type {
  Decision,
  HostRequest,
  OrderOutcome,
  PauseOrder,
  Role,
  SiteOptions,
  SiteStatus,
  SwitchoverOrder,
} from '../core/site/contract.ts';
import type { ScanChoice } from '../core/mirror/forms.ts';
import type { LinkReceiver } from '../core/mirror/link.ts';
import type { Restless } from '../core/site/alarm.ts';
import type { PointDesk } from '../core/site/points.ts';
import type { VerifyOrder } from '../core/scan/verify.ts';

/** The core's site, as far as it is driven: structural, so that the simulator's own tests can drive a fake. */
export interface DrivenSite {
  start(): void;
  create(done: (outcome: OrderOutcome) => void): void;
  promote(order: { force: boolean }, done: (outcome: OrderOutcome) => void): void;
  switchover(order: SwitchoverOrder, done: (outcome: OrderOutcome) => void): void;
  verify(order: VerifyOrder): void;
  replaceWitness(done: (outcome: OrderOutcome) => void): void;
  resync(site: SiteName, choice: ScanChoice, done: (outcome: OrderOutcome) => void): void;
  pause(order: PauseOrder, done: (outcome: OrderOutcome) => void): void;
  resume(site: SiteName, done: (outcome: OrderOutcome) => void): void;
  stop(done: () => void): void;
  request(request: HostRequest): void;
  /** The configuration has other sizes of its volumes. */
  resize?(sizes: readonly number[]): void;
  /** It has other modes of the copies. */
  want?(sites: SiteOptions['sites']): void;
  /** As hosts that connect now are served. */
  readonly sizes?: readonly number[];
  readonly points?: PointDesk;
  turn(): void;
  tick(): void;
  deadline(): Millis;
  /** What its clock has brought again and again, and nothing was done about. */
  readonly restless?: Restless | null;
  readonly serving: boolean;
  readonly role: Role;
  status(): SiteStatus;
  readonly dialTargets: readonly SiteName[];
  /** Numbers of the streams to a peer that are to be opened. */
  streamsWanted?(peer: SiteName): readonly number[];
  dialledStream?(peer: SiteName, number: number, port: LinkPort): LinkReceiver;
  dialled(peer: SiteName, port: LinkPort): LinkReceiver;
}

type StreamDialled = NonNullable<DrivenSite['dialledStream']>;

/** What is the same for all lives of a site. */
export type MachineOptions = Omit<
  SiteOptions,
  'bootId' | 'clock' | 'random' | 'digests' | 'blockDigests' | 'storage' | 'buffers' | 'witness' | 'journal' | 'shell'
>;

/** How sites are made; the real core, or a fake. */
export interface SiteFactory<S extends DrivenSite> {
  make(options: SiteOptions): S;
  accept(machine: Machine<S>, port: LinkPort): LinkReceiver;
  readonly digests: SiteOptions['digests'];
}

/** What the rest of the simulator wants to hear from a machine. */
export interface MachineListener<S extends DrivenSite> {
  /** After each event of the site, and after each change of the machine. */
  afterEvent(machine: Machine<S>, what: string): void;
  /** The site may have begun or ended to serve. */
  servingChanged(machine: Machine<S>, serving: boolean): void;
  /** The site says that its copy is unusable. */
  failed(machine: Machine<S>, reason: string): void;
  /** The process ended, with its page cache or without. */
  ended(machine: Machine<S>, kind: CrashKind): void;
  started(machine: Machine<S>): void;
  /** The site has decided something about who serves. */
  decided(machine: Machine<S>, decision: Decision): void;
  /** A line that the site writes for people. */
  journal(machine: Machine<S>, event: string, facts: Readonly<Record<string, unknown>>, text: string): void;
  /** A crash in the middle of an event: the site is still there, for the last time. */
  cut(machine: Machine<S>, call: string): void;
}

/** How a machine's clock differs from the world's. */
export interface ClockNature {
  readonly offset: number;
  /** Share by which it runs fast (or slow, when negative). */
  readonly drift: number;
}

const WALL_EPOCH = 1_700_000_000_000;

/** More than the shortest waits of the settings need together (a standby looks 80 times a second), and less than a deadline in the past makes. */
const TICKS_PER_SECOND_MAX = 250;
/** A turn that asks for another one has something left to do; that ends. */
const WAKES_PER_SECOND_MAX = 500;

/** One machine. */
export class Machine<S extends DrivenSite> implements Station {
  readonly name: SiteName;
  readonly gate: Gate = new Gate();
  readonly disk: SimDisk;
  readonly world: World;
  /** The living process's site; null when there is none. */
  site: S | null = null;
  life = 0;
  powered = true;
  frozen = false;
  /** When it last went on after having been frozen. */
  thawedAt = 0;
  /** Jumps when an administrator or a time service sets it. */
  wallOffset = 0;
  /** Why the site gave its copy up, in this life of the process. */
  failure: string | null = null;
  readonly clockNature: ClockNature;
  private boot = 1;
  private ids = 0;
  private held: (() => void)[] = [];
  private timer: Pending | null = null;
  private timerAt: Millis = Infinity;
  private countedSecond = -1;
  private tickCount = 0;
  private wakeCount = 0;
  /** The turn that comes was asked for by the one before it, and by nothing else. */
  private owedOnly = false;
  private turnOwed = false;
  private woken = false;
  private afterTurn: (() => void)[] = [];
  /** By peer, streams by peer and number. */
  private dialling = new Map<string, { end: End | null; waiting: boolean; failures: number }>();
  private readonly chance: Chance;
  private readonly network: Network;
  private readonly witness: SimWitness;
  private options: MachineOptions;
  /** All sites that there are, and the one that the configuration leaves out; a process has those that it named when it began. */
  private written: SiteOptions['sites'];
  private without: SiteName | null = null;
  private readonly factory: SiteFactory<S>;
  private readonly listener: MachineListener<S>;
  private readonly others: () => readonly Machine<S>[];

  constructor(
    parts: {
      world: World;
      network: Network;
      witness: SimWitness;
      factory: SiteFactory<S>;
      listener: MachineListener<S>;
      others: () => readonly Machine<S>[];
    },
    options: MachineOptions,
    clockNature: ClockNature,
  ) {
    this.name = options.site;
    this.world = parts.world;
    this.network = parts.network;
    this.witness = parts.witness;
    this.factory = parts.factory;
    this.listener = parts.listener;
    this.others = parts.others;
    this.options = options;
    this.written = options.sites;
    this.clockNature = clockNature;
    this.chance = this.world.chance(`machine ${this.name}`);
    this.disk = new SimDisk(this.world, this.name, this.gate, (what, run) => this.enter(what, this.life, run));
  }

  get listening(): boolean {
    return this.site !== null;
  }

  /** The machine's monotonic clock. */
  now(): Millis {
    return this.clockNature.offset + this.world.now * (1 + this.clockNature.drift);
  }

  /** Its clock on the wall. */
  wall(): WallMillis {
    return Math.floor(WALL_EPOCH + this.wallOffset + this.world.now);
  }

  /** Begins a new life of the process, on a machine that may have been without power. */
  start(): void {
    if (this.site !== null) return;
    if (!this.powered) {
      this.powered = true;
      this.boot++;
    }
    this.options = { ...this.options, sites: this.written.filter(({ name }) => name !== this.without) };
    this.life++;
    this.failure = null;
    this.frozen = false;
    const { life } = this;
    this.world.note(this.name, 'start', this.life, this.boot);
    this.runGuarded('start', () => {
      this.site = this.factory.make(this.siteOptions(life));
      this.listener.started(this);
      this.site.start();
    });
  }

  /** Ends the process at this moment, or the power with it. */
  end(kind: CrashKind): void {
    const lived = this.site !== null;
    if (!lived && (kind === 'crash' || !this.powered)) return;
    this.world.note(this.name, kind, this.life, 0);
    this.site = null;
    this.held = [];
    this.frozen = false;
    this.turnOwed = false;
    this.owedOnly = false;
    this.runAfterTurn();
    this.world.cancel(this.timer);
    this.timer = null;
    this.timerAt = Infinity;
    this.dialling.clear();
    if (kind === 'power') {
      this.powered = false;
      this.network.powerLost(this.name);
      this.disk.powerLost();
    } else {
      this.network.processEnded(this.name);
      this.disk.processEnded();
    }
    this.listener.ended(this, kind);
    this.listener.afterEvent(this, kind);
  }

  /** Its configuration has other sizes of the volumes now; a process that runs reads it again, one that begins finds it so. */
  configure(sizes: readonly number[]): void {
    const larger = sizes.map((size, index) => Math.max(size, this.options.volumes[index]?.sizeBytes ?? 0));
    if (this.site?.resize === undefined) {
      for (const [index, volume] of this.options.volumes.entries()) volume.sizeBytes = larger[index] as number;
    } else this.enter('reload', this.life, () => this.site?.resize?.(larger));
  }

  /** Its configuration has other modes of the copies now. */
  configureModes(modes: ReadonlyMap<SiteName, Mode>): void {
    this.written = this.written.map((spec) => ({ ...spec, mode: modes.get(spec.name) ?? spec.mode }));
    const { written } = this;
    const running = this.options.sites.map((spec) => written.find(({ name }) => name === spec.name) ?? spec);
    this.options = { ...this.options, sites: running };
    if (this.site !== null) this.enter('reload', this.life, () => this.site?.want?.(running));
  }

  /** Its configuration names all sites, or all but one; the next start finds it so. True when a process runs that has begun with other ones. */
  configureMembers(without: SiteName | null): boolean {
    const sites = this.written.filter(({ name }) => name !== without);
    const differs = sites.length !== this.options.sites.length;
    this.without = without;
    return differs && this.site !== null;
  }

  /** Stops the process for a while without its noticing. */
  freeze(): void {
    if (this.site === null || this.frozen) return;
    this.world.note(this.name, 'freeze', 0, 0);
    this.frozen = true;
    this.listener.afterEvent(this, 'freeze');
  }

  thaw(): void {
    if (!this.frozen) return;
    this.world.note(this.name, 'thaw', this.held.length, 0);
    this.frozen = false;
    this.thawedAt = this.world.now;
    const { life } = this;
    const { held } = this;
    this.held = [];
    // What waited happens in its order; a timer that is over may come first or last.
    if (this.chance.happens(0.5)) this.onTimer(life);
    for (const run of held) this.enter('thawed', life, run);
    if (this.life === life) this.onTimer(life);
  }

  enter(what: string, life: number, run: () => void, size = 0): void {
    if (life !== this.life || this.site === null || this.world.violation !== null) return;
    if (this.frozen) {
      this.held.push(run);
      return;
    }
    this.world.note(this.name, what, size, this.gate.calls);
    this.runGuarded(what, run);
  }

  accept(port: LinkPort): LinkReceiver {
    return this.factory.accept(this, port);
  }

  /** Runs something when the turn of the present event is over: memory that is valid until then may be used again. */
  whenTurned(run: () => void): void {
    this.afterTurn.push(run);
  }

  private runGuarded(what: string, run: () => void): void {
    const { life } = this;
    try {
      run();
      // Several events may come before one turn, as several sockets do in one round of an event loop.
      if (this.chance.happens(0.1)) this.oweTurn();
      else this.turn();
    } catch (error) {
      if (!(error instanceof CrashSignal)) {
        const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
        this.world.fail(
          error instanceof Error && error.name === 'InvariantError' ? 'assertion' : 'exception',
          `${this.name}, ${what}: ${text}`,
        );
        return;
      }
      this.world.note(this.name, 'cut', this.gate.calls, 0, () => this.gate.lastCall);
      this.listener.cut(this, this.gate.lastCall);
      this.end(error.kind);
      return;
    }
    if (life !== this.life || this.site === null) return;
    this.setTimer();
    this.dial();
    this.listener.afterEvent(this, what);
  }

  private turn(): void {
    const { owedOnly } = this;
    this.turnOwed = false;
    this.owedOnly = false;
    this.woken = false;
    this.site?.turn();
    this.runAfterTurn();
    // What was asked for before the turn is done with it; what was asked for within it needs another one.
    if (!this.woken) return;
    if (owedOnly) this.countWake();
    this.oweTurn();
  }

  private runAfterTurn(): void {
    if (this.afterTurn.length === 0) return;
    const over = this.afterTurn;
    this.afterTurn = [];
    for (const run of over) run();
  }

  private oweTurn(): void {
    if (this.turnOwed) return;
    this.turnOwed = true;
    const { life } = this;
    this.world.after(this.chance.between(0, 0.3), () => {
      if (!this.turnOwed) return;
      this.enter('turn', life, () => {
        this.owedOnly = true;
      });
    });
  }

  private setTimer(): void {
    const site = this.site as S;
    const deadline = site.deadline();
    if (deadline === this.timerAt && this.timer !== null && this.timer.run !== null) return;
    this.world.cancel(this.timer);
    this.timer = null;
    this.timerAt = deadline;
    if (deadline === Infinity) return;
    const { life } = this;
    // Timers of an event loop are never early, and late by what else there is to do.
    const late = this.chance.happens(0.05) ? this.chance.between(0, 25) : this.chance.between(0.001, 1);
    const at = (deadline - this.clockNature.offset) / (1 + this.clockNature.drift);
    this.timer = this.world.at(Math.max(at, this.world.now) + late, () => this.onTimer(life));
  }

  /** A site whose timer goes off again and again has a deadline that it does nothing about: a process that turns in circles. */
  private countTick(): void {
    this.beginSecond();
    if (++this.tickCount > TICKS_PER_SECOND_MAX)
      this.world.fail('L2 restless', `the timer of ${this.name} went off ${this.tickCount} times within a second`);
  }

  /** The same circle without a timer: turns that nothing but the turn before them has asked for. */
  private countWake(): void {
    this.beginSecond();
    if (++this.wakeCount > WAKES_PER_SECOND_MAX)
      this.world.fail('L2 restless', `${this.name} asked for ${this.wakeCount} turns within a second that nothing else had asked for`);
  }

  private beginSecond(): void {
    const second = Math.floor(this.world.now / 1000);
    if (second === this.countedSecond) return;
    this.countedSecond = second;
    this.tickCount = 0;
    this.wakeCount = 0;
  }

  private onTimer(life: number): void {
    if (life !== this.life || this.frozen) return;
    // There is one timer: after a freeze this is called while it may still be set.
    this.world.cancel(this.timer);
    this.timer = null;
    this.timerAt = Infinity;
    this.countTick();
    this.enter('tick', life, () => this.site?.tick());
    const idle = this.site?.restless ?? null;
    if (idle === null || life !== this.life) return;
    const text = `${this.name}: a tick was wanted for ${idle.name} (${idle.does}), and ${idle.ticks} in a row have done nothing about it`;
    this.world.fail('L2 restless', text);
  }

  private dial(): void {
    const site = this.site as S;
    for (const peer of site.dialTargets) {
      this.dialSoon(peer, 0);
      for (const stream of site.streamsWanted?.(peer) ?? []) this.dialSoon(peer, stream);
    }
  }

  private dialSoon(peer: SiteName, stream: number): void {
    const key = `${peer} ${stream}`;
    let state = this.dialling.get(key);
    if (state === undefined) {
      state = { end: null, waiting: false, failures: 0 };
      this.dialling.set(key, state);
    }
    if (state.waiting || state.end?.isOpen === true) return;
    state.end = null;
    state.waiting = true;
    const backOff = state.failures === 0 ? 1 : Math.min(1000, 25 * 2 ** state.failures);
    const { life } = this;
    this.world.after(this.chance.between(0.5, 1) * backOff, () => {
      if (life === this.life) this.dialNow(peer, stream, life);
    });
  }

  private dialNow(peer: SiteName, stream: number, life: number): void {
    const target = this.others().find((machine) => machine.name === peer);
    const state = this.dialling.get(`${peer} ${stream}`);
    if (target === undefined || state === undefined) return;
    this.network.dial(this, target, (dialled) => {
      state.waiting = false;
      state.failures++;
      const site = this.site as S;
      if (dialled === null || life !== this.life || !site.dialTargets.includes(peer)) {
        dialled?.port.close();
        return;
      }
      state.failures = Math.min(state.failures, 2);
      state.end = dialled.connection;
      dialled.attach(stream === 0 ? site.dialled(peer, dialled.port) : (site.dialledStream as StreamDialled)(peer, stream, dialled.port));
    });
  }

  private siteOptions(life: number): SiteOptions {
    const clock = { now: () => this.now(), wall: () => this.wall() };
    return {
      ...this.options,
      bootId: `${this.name}-boot-${this.boot}`,
      clock,
      random: { id: () => `${this.name}-${life}-${this.ids++}` },
      digests: this.factory.digests,
      blockDigests: {
        take: (byteCount) => new Uint8Array(byteCount).fill(0xdd),
        // As slow as it likes, and in any order: other threads compute them.
        digest: (algorithm, bytes, blockBytes, done) => {
          const digests = digestBlocks(algorithm, bytes, blockBytes);
          bytes.fill(0xdd);
          this.gate.pass('digest', () => {
            this.world.after(this.chance.between(0.01, 2), () => this.enter('digested', life, () => done(digests), digests.length));
          });
        },
        digestNow: digestOf,
      },
      storage: this.disk,
      buffers: new PoisoningBuffers(),
      witness: this.witness.portOf(this),
      journal: (event, facts, text) => {
        this.listener.journal(this, event, facts, text);
        this.world.trace?.(`${this.world.now.toFixed(3).padStart(11)} ${this.name.padEnd(8)} . ${event}: ${text} ${JSON.stringify(facts)}`);
      },
      shell: {
        wake: () => {
          this.woken = true;
        },
        servingChanged: (serving, reason) => {
          this.world.note(this.name, serving ? 'serving' : 'not-serving', 0, 0, () => reason);
          this.listener.servingChanged(this, serving);
        },
        decided: (decision) => this.listener.decided(this, decision),
        failed: (reason) => {
          this.world.note(this.name, 'failed', 0, 0, () => reason);
          this.failure = reason;
          this.listener.failed(this, reason);
        },
      },
    };
  }
}

/** Memory that is full of junk when it is taken and again when it is given back. */
export class PoisoningBuffers implements Buffers {
  take(byteCount: number): Uint8Array {
    return new Uint8Array(byteCount).fill(0xa5);
  }

  give(bytes: Uint8Array): void {
    bytes.fill(0xdd);
  }
}
