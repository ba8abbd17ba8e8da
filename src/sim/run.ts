// One run: a world made from a seed, a group set up in it, faults, healing, and the questions at the end. The same seed, schedule and mode give
// the same events and the same hash, in any process.

import { compareAll } from './check/contents.ts';
import type { InspectedSite, SeenSite } from './check/observe.ts';
import { allRules } from './check/rules.ts';
import { simCompression } from './compression.ts';
import { coreFactory } from './core.ts';
import type { State } from './coverage.ts';
import { Faults } from './faults.ts';
import type { CrashKind, CrashMoment } from './gate.ts';
import { Hosts } from './host.ts';
import { Machine } from './machine.ts';
import { Network } from './network.ts';
import {
  agreementFaults,
  type Fault,
  handoverFaults,
  makeSchedule,
  growthFaults,
  memberFaults,
  modeFaults,
  pauseFaults,
  scanFaults,
  streamFaults,
  tailFaults,
  witnessFaults,
} from './schedule.ts';
import { deletePhase } from './delete-phase.ts';
import { type FocusStory, focusFaults } from './stories.ts';
import { PointReaders } from './points.ts';
import { scrubPhase } from './scrub-phase.ts';
import {
  cutStepOf,
  destageStepsOf,
  digestLogOf,
  farInMemoryOf,
  foldingOf,
  keepsMuch,
  lateDestagingOf,
  pointsOf,
  preElectionOf,
  readSlownessOf,
  type Settings,
  settingsOf,
  SITES,
} from './settings.ts';
import { Watch } from './watch.ts';
import { SimWitness } from './witness.ts';
import { type TraceSink, type Violation, World } from './world.ts';

/** What runs that look for one thing have in common: settings instead of the seed's, and a story that is told again and again instead of its faults. */
export interface Focus {
  readonly settings?: Partial<Settings>;
  readonly story?: FocusStory;
}

/** What may differ between two runs of one seed. */
export interface RunOptions {
  readonly seed: number;
  readonly trace?: TraceSink | null;
  /** Faults instead of those that the seed makes. */
  readonly schedule?: readonly Fault[];
  readonly focus?: Focus;
  /** How long faults may happen, instead of what the seed says. */
  readonly chaosMillis?: number;
  /** Whether crash points and port calls are counted from the very beginning, and not from the end of the set-up. */
  readonly fromStart?: true;
  /** Ends one site at one port call. */
  readonly crashPoint?: { readonly site: number; readonly call: number; readonly moment: CrashMoment; readonly kind: CrashKind };
}

/** What came of it. */
export interface RunResult {
  readonly seed: number;
  readonly violation: Violation | null;
  readonly events: number;
  readonly simulatedMillis: number;
  readonly hash: number;
  readonly acknowledged: number;
  readonly readsChecked: number;
  readonly coverage: ReadonlyMap<State, number>;
  readonly schedule: readonly Fault[];
  /** Whether the healed group was asked to settle, and did; null when it could not be asked. */
  readonly settled: boolean | null;
  /** Port calls of each site after the set-up. */
  readonly portCalls: readonly number[];
}

const SETUP_MILLIS = 60_000;
const SETTLE_MILLIS = 60_000;
const STEP_MILLIS = 100;

/** A world with its three sites, its witness and its hosts. */
export class Simulation {
  readonly world: World;
  readonly settings: Settings;
  readonly network: Network;
  readonly witness: SimWitness;
  readonly watch: Watch;
  readonly machines: readonly Machine<InspectedSite>[];
  readonly hosts: Hosts<InspectedSite>;
  readonly faults: Faults;
  readonly points: PointReaders;
  /** Once they have grown. */
  readonly volumeBytes: readonly number[];

  constructor(seed: number, trace: TraceSink | null, given: Partial<Settings> = {}) {
    this.world = new World(seed, trace);
    const { world } = this;
    const own = { later: world.chance('later settings'), streams: world.chance('streams') };
    const foldMillis = foldingOf(world.chance('folding'));
    const farInMemory = farInMemoryOf(world.chance('far in memory'));
    const drawn = settingsOf(world.chance('settings'), own);
    const preElectionMillis = preElectionOf(world.chance('pre-election'), drawn.timings);
    const points = pointsOf(world.chance('points'));
    const late = lateDestagingOf(world.chance('late destaging'));
    const cutStepBytes = cutStepOf(world.chance('cut steps'));
    this.settings = {
      ...drawn,
      foldMillis,
      farInMemory,
      preElectionMillis,
      points,
      cutStepBytes,
      destageSteps: destageStepsOf(world.chance('steps of destaging'), drawn.diskSlowness),
      digestLog: digestLogOf(world.chance('log of digests')),
      readSlowness: readSlownessOf(world.chance('read slowness')),
      ...late,
      ...given,
    };
    const { settings } = this;
    const initialBytes = settings.volumes.map((volume) => volume.sizeBytes);
    const volumeBytes = initialBytes.map((bytes, index) => bytes + (index === 0 ? settings.growthBlocks * 4096 : 0));
    this.volumeBytes = volumeBytes;
    this.network = new Network(world, settings.network);
    this.witness = new SimWitness(world, settings.witnessTimeoutMillis);
    this.witness.baseDoubled = settings.doubled;
    this.watch = new Watch({
      world,
      network: this.network,
      witness: this.witness,
      rules: allRules(volumeBytes, settings.hosts.unitBytes, initialBytes),
      specs: SITES,
      unitCounts: volumeBytes.map((bytes) => bytes / settings.hosts.unitBytes),
      unitBytes: settings.hosts.unitBytes,
      holdMillis: settings.timings.holdMillis,
    });
    this.machines = SITES.map((_spec, index) => this.makeMachine(index));
    this.watch.setMachines(this.machines);
    this.hosts = new Hosts(world, { ...settings.hosts, volumeBytes }, this.machines, this.watch);
    this.watch.hosts = this.hosts;
    this.points = new PointReaders({ world, machines: this.machines, watch: this.watch, unitBytes: settings.hosts.unitBytes });
    this.faults = new Faults({ world, network: this.network, witness: this.witness, machines: this.machines, watch: this.watch, settings });
  }

  private makeMachine(index: number): Machine<InspectedSite> {
    const { settings } = this;
    // Of a fixed count of records the oldest goes: nobody waits for it.
    const overflow = settings.recordsMax > 0 ? 'bitmap' : settings.overflow;
    const machine = new Machine<InspectedSite>(
      {
        world: this.world,
        network: this.network,
        witness: this.witness,
        factory: coreFactory,
        listener: this.watch,
        others: () => this.machines,
      },
      {
        group: 'group',
        site: (SITES[index] as { name: string }).name,
        sites: SITES.map((spec) => ({
          ...spec,
          ...(spec.name === 'far' && { overflow, bitmapOnly: settings.bitmapOnly && overflow === 'bitmap' }),
          ...(spec.name === 'far' && settings.farInMemory && { sidefile: 'memory' as const }),
          ...(settings.packs.includes(spec.name) && { compress: 'zstd' as const }),
          ...(settings.streams[spec.name] !== undefined && { streams: settings.streams[spec.name] }),
          foldMillis: settings.foldMillis[spec.name] ?? 0,
          ...(spec.name === settings.pace?.site && { linkBytesPerSecond: settings.pace.bytesPerSecond }),
        })),
        volumes: settings.volumes.map((volume) => ({ ...volume })),
        timings: settings.timings,
        segmentBytes: settings.segmentBytes,
        capacityBytes: settings.capacityBytes,
        recordsMax: settings.recordsMax,
        setAside: { guide: settings.guide, leastBytes: settings.setAsideBytes, calmMillis: 1500 },
        destageIdleMillis: settings.destageIdleMillis,
        destageBacklogBytes: settings.destageBacklogBytes,
        cutStepBytes: settings.cutStepBytes,
        destageSteps: settings.destageSteps,
        digestLog: settings.digestLog,
        bitmapChunkBytes: settings.bitmapChunkBytes,
        resyncPieceBytes: settings.resyncPieceBytes,
        scan: settings.scan,
        scrub: settings.scrub,
        preElectionMillis: settings.preElectionMillis,
        compression: simCompression,
      },
      settings.clocks[index] as { offset: number; drift: number },
    );
    machine.disk.trouble.cold = settings.cold;
    machine.disk.readSlowness = settings.readSlowness;
    machine.disk.baseSlowness = settings.diskSlowness[index] as number;
    return machine;
  }

  /** Makes the group at the first site and waits until every copy is whole. */
  setUp(): void {
    for (const machine of this.machines) machine.start();
    const first = this.machines[0] as Machine<InspectedSite>;
    const order = (): void => {
      if (this.witness.state !== null) return;
      first.enter('create', first.life, () => first.site?.create(() => undefined));
      this.world.after(500, order);
    };
    this.world.after(50, order);
    if (!this.waitUntil(SETUP_MILLIS, () => this.witness.state?.copies.every((copy) => copy.flag) === true)) {
      this.world.fail('L1 liveness', `the group was not complete ${SETUP_MILLIS} ms after its creation: ${this.describe()}`);
    }
  }

  /** Lets time pass until something holds. */
  waitUntil(millis: number, holds: () => boolean): boolean {
    const end = this.world.now + millis;
    while (this.world.violation === null && this.world.now < end) {
      this.world.runUntil(Math.min(end, this.world.now + STEP_MILLIS));
      this.checkHeld();
      if (holds()) return true;
    }
    return false;
  }

  /** Whether one site serves and every other follows it as a true copy; with `equal`, whether all hold the same records too. */
  settled(equal: boolean): boolean {
    const sites = this.watch.sites.filter((site) => !this.faults.leftOut.has(site.name));
    if (!this.witness.whole) return false;
    const primary = sites.find((site) => site.machine.site?.serving === true);
    if (primary === undefined || primary.inside === null) return false;
    for (const site of sites) {
      if (site === primary) continue;
      if (site.role !== 'mirror' || site.inside === null || site.inside.epoch !== primary.inside.epoch) return false;
      if (equal && site.inside.marks.received !== primary.inside.marks.received) return false;
      if (this.witness.state?.copies.find((copy) => copy.site === site.name)?.flag !== true) return false;
    }
    return true;
  }

  /** Each site in a few words. */
  describe(): string {
    const flags = (this.witness.state?.copies ?? []).map((copy) => `${copy.site}=${copy.flag ? 1 : 0}`).join(' ');
    const sites = this.watch.sites.map((site) => {
      const { inside, machine } = site;
      const marks =
        inside === null
          ? 'no replica'
          : `epoch ${inside.epoch} received ${inside.marks.received}${inside.unclean ? ' unclean' : ''}${inside.consistent ? '' : ' inconsistent'}`;
      const waits = machine.site === null ? [] : machine.site.status().waiting.map((waiting) => waiting.cause);
      return `${site.name} ${machine.site === null ? 'down' : site.role}${site.serving ? ' serving' : ''} ${marks}${machine.failure === null ? '' : ` failed: ${machine.failure}`} [${waits.join('; ')}]`;
    });
    return `witness epoch ${this.witness.state?.epoch} primary ${this.witness.state?.primary} ${flags}; ${sites.join('; ')}`;
  }

  /** Nobody waits longer for an answer than the policy says. */
  private checkHeld(): void {
    const oldest = this.hosts.oldestWaiting();
    if (oldest === null || this.world.now - oldest.since < this.watch.holdMillis * 1.05 + 3000) return;
    const { operation } = oldest;
    this.world.fail(
      'L1 liveness',
      `${operation.session.machine.name} has not answered ${operation.command} ${operation.number} for ${Math.round(this.world.now - oldest.since)} ms`,
    );
  }

  /** Mends everything and asks for what must follow. */
  heal(): boolean | null {
    const { leftOut } = this.settings;
    if (leftOut !== null) this.faults.leftOut.add(leftOut);
    if (leftOut === 'witness') this.witness.stop();
    this.faults.heal();
    if (leftOut === 'witness') {
      this.world.runUntil(this.world.now + 5000);
      return null;
    }
    const settled = this.waitUntil(SETTLE_MILLIS, () => this.settled(false)) || this.settledInPeace();
    if (this.world.violation !== null || settled) return settled;
    if (this.mayBeStuck()) {
      const apart = this.survivorsApart();
      if (apart !== null) this.world.fail('L1 liveness', `${apart} ${SETTLE_MILLIS} ms after everything was mended: ${this.describe()}`);
      return null;
    }
    this.world.fail('L1 liveness', `not settled ${SETTLE_MILLIS} ms after everything was mended: ${this.describe()}`);
    return false;
  }

  /**
   * Whether it settles once hosts write no more. Asked only where records that a mirror lacked were dropped again and again: a sidefile that holds
   * a moment's writes cannot cover a resync, and what hosts write decides when that ends.
   */
  private settledInPeace(): boolean {
    if (this.world.violation !== null || this.watch.lastUncovered < this.world.now - SETTLE_MILLIS / 2) return false;
    this.hosts.running = false;
    return this.waitUntil(SETTLE_MILLIS, () => this.settled(false));
  }

  /** Whether the rules forbid going on without an operator: no copy that may serve is usable, or the one that is must ask another. */
  private mayBeStuck(): boolean {
    const { state } = this.witness;
    if (state === null) return true;
    // A new witness hears every copy before it begins without a primary: one that is away, or has none, is an operator's decision.
    if (!this.witness.whole) return this.membersDiffer() || this.watch.sites.some(({ inside }) => inside?.consistent !== true);
    const able = this.watch.sites.filter(
      (site) => site.mode === 'sync' && state.copies.some((copy) => copy.site === site.name && copy.flag),
    );
    const usable = able.filter(
      (site) => site.inside?.consistent === true && !this.faults.leftOut.has(site.name) && !this.waitsForGone(site),
    );
    if (usable.length === 0) return true;
    const away = able.filter((site) => !usable.includes(site));
    return away.length > 0 && usable.every((site) => site.inside?.unclean === true);
  }

  /** It has left the right to go on alone to a site that cannot say whether it did: that one is gone, or has another disk. */
  private waitsForGone({ inside }: SeenSite): boolean {
    const holder = this.watch.sites.find(({ name }) => name === inside?.agreement.value?.yields?.to);
    return holder !== undefined && (this.faults.leftOut.has(holder.name) || holder.inside === null || holder.harmed);
  }

  /**
   * A new witness takes the members that a primary knows. Where nobody leads it takes no report that names others than the first one did, or than a
   * backup: which of them is right is an operator's decision too (decision 0012).
   */
  private membersDiffer(): boolean {
    const { sites } = this.watch;
    if (sites.some(({ role }) => role === 'primary')) return false;
    const lists = sites.flatMap(({ inside }) => (inside === null ? [] : [inside.members]));
    const { answering } = this.witness;
    if (answering !== null) lists.push(answering.copies.map(({ site }) => site));
    return new Set(lists.map((members) => [...members].sort().join(', '))).size > 1;
  }

  /** Survivors of a primary that may not go on alone are equal nevertheless, but where the sidefile of the further one does not reach back. */
  private survivorsApart(): string | null {
    const survivors = this.watch.sites.filter((site) => site.role === 'standby' && site.inside?.consistent === true);
    for (const a of survivors) {
      for (const b of survivors) {
        const ahead = a.inside?.marks;
        const behind = b.inside?.marks;
        if (ahead === undefined || behind === undefined || a.inside?.epoch !== b.inside?.epoch) continue;
        if (ahead.received > behind.received && ahead.oldest <= behind.received + 1 && !b.flipped)
          return `${b.name} still lacks records after ${behind.received} that ${a.name} holds`;
      }
    }
    return null;
  }

  /** Stops the hosts, reads everything, and compares all copies and then their base images. */
  finish(): void {
    this.hosts.running = false;
    const { world } = this;
    this.points.stop();
    if (!this.waitUntil(SETTLE_MILLIS, () => this.points.waitingCount === 0)) {
      world.fail('L1 liveness', `${this.points.waitingCount} reads of points have no answer`);
      return;
    }
    if (!this.waitUntil(SETTLE_MILLIS, () => this.hosts.waitingCount === 0 && this.settled(true))) {
      world.fail('L1 liveness', `not settled after the last request: ${this.describe()}`);
      return;
    }
    if (!this.waitUntil(SETTLE_MILLIS, () => this.waits().length === 0)) {
      world.fail('L1 liveness', `somebody waits although everything is mended: ${this.waits().join('; ')}`);
      return;
    }
    // Looked for anew each time: what went wrong before the end may still cost the primary its reign.
    const primary = (): SeenSite | undefined => this.watch.sites.find((site) => site.serving);
    const served = (): string => (primary()?.inside?.served ?? []).join(', ');
    // A site that was given the new size only now may still have to note it.
    const grown = (): boolean => primary() !== undefined && (this.faults.leftOut.size > 0 || served() === this.volumeBytes.join(', '));
    if (!this.waitUntil(SETTLE_MILLIS, grown)) {
      const who = primary()?.name ?? 'nobody';
      world.fail('L1 liveness', `${who} serves ${served()} bytes, and each configuration says ${this.volumeBytes.join(', ')}`);
      return;
    }
    this.hosts.readAll((primary() as SeenSite).machine);
    world.runUntil(world.now + 1000);
    const copies = this.watch.sites.filter((site) => !this.faults.leftOut.has(site.name));
    for (const site of copies) if (world.violation === null) compareAll(this.watch, site, this.volumeBytes, this.settings.hosts.unitBytes);
    const drained = (site: SeenSite): boolean => site.inside !== null && site.inside.marks.destaged === site.inside.marks.received;
    if (!this.waitUntil(SETTLE_MILLIS, () => copies.every((site) => drained(site)))) {
      world.fail(
        'L1 liveness',
        `the base images do not catch up: ${copies.map((site) => `${site.name} ${JSON.stringify(site.inside?.marks)}`).join('; ')}`,
      );
      return;
    }
    this.compareBases(copies);
    if (world.violation === null) scrubPhase(this, copies);
    if (world.violation === null) deletePhase(this);
  }

  /**
   * Each waiting state that is told of in a status, with its cause and what comes next. Writers that wait by order for a copy that never comes back
   * are none: that is what `overflow` says.
   */
  private waits(): readonly string[] {
    const ordered = (cause: string): boolean =>
      [...this.faults.leftOut].some(
        (site) =>
          cause.includes(`records that ${site} lacks, and its overflow`) ||
          cause.includes(`${site} is not connected`) ||
          cause.startsWith('no other sync copy would be in step'),
      );
    // An operator who wants the primary to be async orders another one first; here he does not.
    const isPrimary = (what: string, cause: string): boolean => what.startsWith('to mirror') && cause.endsWith(' is primary');
    const waiting = this.watch.sites.flatMap((site) =>
      (site.machine.site?.status().waiting ?? []).map((each) => ({ ...each, site: site.name })),
    );
    const excused = new Set(waiting.filter(({ what, cause }) => ordered(cause) || isPrimary(what, cause)).map(({ what }) => what));
    // A mirror that waits for the primary's change waits for what the primary waits for.
    const isEcho = (what: string, cause: string): boolean => excused.has(what) && cause.startsWith('the configuration here says so');
    return waiting
      .filter(({ what, cause }) => !ordered(cause) && !isPrimary(what, cause) && !isEcho(what, cause))
      .map(({ site, what, cause, next }) => `${site} waits ${what}: ${cause}; then: ${next}`);
  }

  compareBases(copies: readonly SeenSite[]): void {
    for (const volume of this.settings.volumes) {
      const first = copies[0]?.machine.disk.contentsOf(volume.baseFile) ?? null;
      for (const site of copies) {
        const bytes = site.machine.disk.contentsOf(volume.baseFile);
        const equal = bytes !== null && first !== null && bytes.length === first.length && Buffer.compare(bytes, first) === 0;
        if (!equal)
          this.world.fail(
            'R5 contents',
            `the base image of ${volume.name} differs between ${copies[0]?.name} and ${site.name} after everything was destaged`,
          );
      }
    }
  }
}

function spanOf(settings: Settings): Parameters<typeof makeSchedule>[1] {
  return { from: 500, to: settings.chaosMillis, siteCount: SITES.length, leaseMillis: settings.timings.leaseMillis };
}

/** The faults that the seed makes. */
function scheduleOf(world: World, settings: Settings): readonly Fault[] {
  const span = spanOf(settings);
  const planned = [...handoverFaults(world.chance('handovers'), span), ...witnessFaults(world.chance('witnesses'), span)];
  const members = memberFaults(world.chance('members'), span);
  // A volume grows once: where it does so while a site comes and goes, then.
  const grows = settings.growthBlocks > 0 && !members.some(({ kind }) => kind === 'grow');
  const faults = [
    ...makeSchedule(world.chance('schedule'), span),
    ...planned,
    ...scanFaults(world.chance('scans'), span),
    ...pauseFaults(world.chance('pauses'), span),
    ...(Object.keys(settings.streams).length > 0 ? streamFaults(world.chance('stream faults'), span) : []),
    ...modeFaults(world.chance('modes'), span),
    ...(settings.preElectionMillis === undefined ? [] : agreementFaults(world.chance('agreements'), span)),
    ...(keepsMuch(settings) ? tailFaults(world.chance('tails'), span) : []),
    ...members,
    ...(grows ? growthFaults(world.chance('growths'), span) : []),
  ];
  return faults.sort((a, b) => a.at - b.at);
}

/** The faults of a run with a story of its own; null for one without. */
function focused(world: World, settings: Settings, focus: Focus | undefined): readonly Fault[] | null {
  return focus?.story === undefined ? null : focusFaults(focus.story, world.chance('focus'), spanOf(settings));
}

/** Carries out one run. */
export function run(options: RunOptions): RunResult {
  const simulation = new Simulation(options.seed, options.trace ?? null, options.focus?.settings);
  const { world, settings, machines } = simulation;
  const arm = (): void => {
    const point = options.crashPoint;
    if (point === undefined) return;
    const { gate } = machines[point.site] as Machine<InspectedSite>;
    gate.arm(gate.calls + point.call, point.moment, point.kind);
  };
  if (options.fromStart === true) arm();
  simulation.setUp();
  const from = world.now;
  const schedule = options.schedule ?? focused(world, settings, options.focus) ?? scheduleOf(world, settings);
  const callsBefore = machines.map((machine) => (options.fromStart === true ? 0 : machine.gate.calls));
  simulation.hosts.start();
  if (settings.points) simulation.points.start();
  for (const fault of schedule) world.at(from + fault.at, () => simulation.faults.apply(fault));
  if (options.fromStart !== true) arm();
  simulation.waitUntil(options.chaosMillis ?? settings.chaosMillis, () => false);
  const portCalls = machines.map((machine, index) => machine.gate.calls - (callsBefore[index] as number));
  const settled = world.violation === null ? simulation.heal() : null;
  if (settled === true && world.violation === null) simulation.finish();
  return {
    seed: options.seed,
    violation: world.violation,
    events: world.events,
    simulatedMillis: world.now,
    hash: world.hash,
    acknowledged: simulation.hosts.acknowledged,
    readsChecked: simulation.hosts.readsChecked,
    coverage: simulation.watch.coverage.counts,
    schedule,
    settled,
    portCalls,
  };
}
