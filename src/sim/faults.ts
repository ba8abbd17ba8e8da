// Makes faults happen, and mends what was broken: the operator of the simulated sites. Every machine that ends is started again after a while; a
// site that gives its copy up is started again, and gets an empty disk when its copy is of no use and another one is.

import type { DigestAlgorithm } from '../core/base/ports.ts';
import { DIGEST_ALGORITHMS } from '../core/scan/digest.ts';
import type { CrashKind } from './gate.ts';
import { Chance } from './random.ts';
import type { InspectedSite } from './check/observe.ts';
import type { Machine } from './machine.ts';
import type { Network } from './network.ts';
import type { Fault, FaultKind } from './schedule.ts';
import { FLIP_STAGED, FLIPS_STAGED_EVERY, stagedByte } from './staged-rot.ts';
import { LOSE_HANDOVER, LOSE_MODE } from './stories.ts';
import { type Settings, SITES } from './settings.ts';
import type { Mode } from '../core/base/copies.ts';
import type { Watch } from './watch.ts';
import type { SimWitness } from './witness.ts';
import type { World } from './world.ts';

/** Operations whose answers are worth losing; `amount` of a fault chooses one. */
const LOSABLE = ['admit', 'claim', 'exclude', 'resign'] as const;
/** Longer than any seed keeps a machine away that is to come back by itself. */
const AWAY_MILLIS_MAX = 1_000_000;

function losable(amount: number): (typeof LOSABLE)[number] | 'handover' | 'mode' {
  if (amount === LOSE_MODE) return 'mode';
  return amount === LOSE_HANDOVER ? 'handover' : (LOSABLE[amount % LOSABLE.length] as (typeof LOSABLE)[number]);
}

/** Carries out faults. */
export class Faults {
  private readonly world: World;
  private readonly chance: Chance;
  private readonly older: Chance;
  private readonly network: Network;
  private readonly witness: SimWitness;
  private readonly machines: readonly Machine<InspectedSite>[];
  private readonly watch: Watch;
  private readonly settings: Settings;
  /** Rises when everything is mended: what was to end by itself later is over already. */
  private round = 0;
  private readonly cuts = new Map<string, number>();
  private readonly restartAfter = new Map<string, number>();
  private readonly failures = new Map<string, number>();
  private tending = false;
  /** Whether far was taken out of the configuration. */
  private isFarOut = false;
  /** Far's daemon was stopped for good, as the group does not have it any more. */
  private isFarStopped = false;
  /** What the operator has written into the configuration last. */
  private readonly modes = new Map<string, Mode>(SITES.map(({ name, mode }) => [name, mode]));
  /** Sites that are to find a bit changed in what a resync stages, until when, and where in an image. */
  private readonly stagedFlips = new Map<string, { readonly until: number; readonly place: number }>();
  /** Machines that stay down for good. */
  readonly leftOut = new Set<string>();

  constructor(parts: {
    world: World;
    network: Network;
    witness: SimWitness;
    machines: readonly Machine<InspectedSite>[];
    watch: Watch;
    settings: Settings;
  }) {
    this.world = parts.world;
    this.chance = parts.world.chance('faults');
    this.network = parts.network;
    this.witness = parts.witness;
    this.machines = parts.machines;
    this.watch = parts.watch;
    this.settings = parts.settings;
    this.older = parts.world.chance('older witness');
    parts.watch.onStaged = (machine) => this.flipStaged(machine);
    parts.watch.onEnded = (machine) => this.restartLater(machine);
    parts.watch.onFailed = (machine, reason) => this.mendLater(machine, reason);
  }

  /** Makes one fault happen now. */
  apply(fault: Fault): void {
    const machine = this.machines[fault.site] as Machine<InspectedSite>;
    const other = this.machines[fault.other] as Machine<InspectedSite>;
    this.world.note('fault', fault.kind, fault.site, fault.other, () => JSON.stringify(fault));
    if (DISTURBING.has(fault.kind)) this.watch.calmSince = Math.max(this.watch.calmSince, this.world.now + fault.millis);
    switch (fault.kind) {
      case 'crash':
      case 'power':
        return this.endMachine(machine, fault.kind, fault);
      case 'double-power':
        this.endMachine(machine, 'power', fault);
        return this.endMachine(other, 'power', { ...fault, millis: fault.millis * this.chance.between(0.2, 2) });
      case 'freeze':
        machine.freeze();
        return this.later(fault.millis, () => machine.thaw());
      case 'cut':
        return this.cutPaths(pathsBetween(machine.name, other.name, fault.amount), fault.millis);
      case 'isolate':
        return this.isolate(machine, fault);
      case 'stall':
        this.network.stall(machine.name, other.name, fault.millis);
        return undefined;
      case 'reset':
        return this.network.reset(machine.name, other.name);
      case 'stream-reset':
      case 'stream-stall':
        return this.network.troubleStream(machine.name, other.name, fault.amount, fault.kind === 'stream-stall' ? fault.millis : null);
      case 'slow-link':
        return this.slowLink(machine.name, other.name, fault);
      case 'wall':
        machine.wallOffset += (fault.amount - 500) * 86_400_000;
        return undefined;
      case 'order':
      case 'force':
        return machine.enter('order', machine.life, () => machine.site?.promote({ force: fault.kind === 'force' }, () => undefined));
      case 'switchover':
        return this.orderSwitchover(machine, fault);
      case 'witness-lost':
        return this.loseWitness(machine, fault);
      case 'witness-two':
        return this.secondWitness(machine, fault);
      case 'scan':
        return this.orderScan(machine, fault);
      case 'pause':
        return this.orderPause(machine, fault);
      case 'grow':
        return machine.configure(this.sizes(fault.amount % 3 === 0 ? 0.5 : 1));
      case 'mode':
        return this.changeMode(other, fault);
      case 'member':
        return this.changeMembers(fault);
      case 'witness-cut':
      case 'witness-down':
      case 'witness-lossy':
      case 'witness-slow':
      case 'lose-answer':
      case 'cut-asker':
        return this.troubleWitness(machine, fault);
      default:
        return this.troubleDisk(machine, fault);
    }
  }

  /** An operator orders a planned change: mostly at the primary, else wherever he happens to be. */
  private orderSwitchover(machine: Machine<InspectedSite>, fault: Fault): void {
    const primary = this.machines.find((candidate) => candidate.site?.role === 'primary');
    const at = fault.amount % 4 === 0 ? machine : (primary ?? machine);
    const to = fault.amount % 3 === 0 ? (this.machines[fault.other] as Machine<InspectedSite>).name : null;
    if (at !== primary && primary !== undefined) this.watch.coverage.hit('handover ordered at a mirror');
    at.enter('order', at.life, () => at.site?.switchover({ to, dryRun: fault.amount % 10 === 0 }, () => undefined));
  }

  /** An operator has a copy compared: ordered there or at the primary, in any way that there is. */
  private orderScan(named: Machine<InspectedSite>, fault: Fault): void {
    const primary = this.machines.find((candidate) => candidate.site?.role === 'primary');
    // Only now and then he names the primary, by mistake.
    const isCorrected = named === primary && fault.amount % 10 !== 0;
    const machine = isCorrected ? (this.machines.find((candidate) => candidate !== primary) ?? named) : named;
    const atPrimary = fault.amount % 2 === 0;
    const at = atPrimary ? (primary ?? machine) : machine;
    const algorithm = DIGEST_ALGORITHMS[Math.floor(fault.amount / 4) % DIGEST_ALGORITHMS.length] as DigestAlgorithm;
    const choice = { algorithm, compare: fault.amount % 4 < 2 ? 'primary' : 'mirror', confirm: fault.amount % 7 === 0 } as const;
    at.enter('order', at.life, () =>
      at.site?.resync(machine.name, choice, ({ kind }) => {
        if (kind === 'done') this.watch.coverage.hit(atPrimary ? 'scan ordered at the primary' : 'scan ordered at the mirror');
      }),
    );
  }

  /** An operator has a mirror paused, and resumed after a while, at whoever is primary then. */
  private orderPause(named: Machine<InspectedSite>, fault: Fault): void {
    const primary = this.machines.find((candidate) => candidate.site?.role === 'primary');
    if (primary === undefined) return;
    const machine = named === primary ? (this.machines.find((candidate) => candidate !== primary) ?? named) : named;
    const { life } = primary;
    primary.enter('order', life, () =>
      primary.site?.pause({ site: machine.name, force: fault.amount % 3 !== 0 }, (outcome) => {
        // An order that only waits for the witness is answered too: it is paused when it says so itself.
        const isPaused = primary.life === life && primary.site?.status().peers.find((peer) => peer.site === machine.name)?.paused === true;
        if (outcome.kind === 'done' && isPaused) this.watch.paused(primary, machine.name);
        else if (outcome.kind === 'refused' && fault.amount % 3 === 0) this.watch.coverage.hit('pause refused for the last mirror');
      }),
    );
    this.later(fault.millis, () => this.resume());
  }

  /** Mirrors that whoever is primary has paused are resumed. */
  private resume(): void {
    for (const primary of this.machines) {
      if (primary.site?.role !== 'primary' || primary.frozen) continue;
      for (const { site } of primary.site.status().peers.filter((peer) => peer.paused)) {
        primary.enter('order', primary.life, () =>
          primary.site?.resume(site, ({ kind }) => {
            if (kind === 'done') this.watch.coverage.hit('paused mirror resumed');
          }),
        );
      }
    }
  }

  /** Mirrors stay paused until somebody ends that. */
  private resumeAll(): void {
    const { round } = this;
    const look = (): void => {
      if (round !== this.round) return;
      this.resume();
      this.world.after(1000, look);
    };
    look();
  }

  /**
   * An operator writes another mode of a copy into the configuration, and has one site after the other read it; sometimes he forgets one, or comes
   * to it much later.
   */
  private changeMode({ name }: Machine<InspectedSite>, fault: Fault): void {
    const mode = this.modes.get(name) === 'sync' ? 'async' : 'sync';
    // A configuration without a sync site is refused.
    if (mode === 'async' && [...this.modes].every(([site, each]) => each === 'async' || site === name)) return;
    this.modes.set(name, mode);
    this.forgetUpgrade();
    const written = new Map(this.modes);
    for (const [step, offset] of [0, 1, 2].entries()) {
      const index = (fault.site + offset) % this.machines.length;
      if (step > 0 && fault.amount % 5 === 0) continue;
      this.later(step * fault.millis * ((fault.amount % 7) / 4), () => this.machines[index]?.configureModes(written));
    }
  }

  /**
   * For a while the witness's program is of before the operations on members; a try of one may arrive at a newer one all the same. The operator waits, or
   * takes back what he wrote.
   */
  private forgetUpgrade(): void {
    const { older, world, witness } = this;
    if (!older.happens(0.4)) return;
    const until = world.now + older.spread(500, 6000);
    witness.isOlder = () => world.now < until;
    witness.onNotUnderstood = (operation) => {
      const again = older.happens(0.8) ? older.spread(10, 1500) : null;
      if (operation.kind !== 'mode') return again;
      const { site } = operation;
      const before = witness.state?.copies.find((copy) => copy.site === site)?.mode;
      if (older.happens(0.8)) this.later((again ?? 0) + older.spread(5, 600), () => this.takeBack(site, before));
      return again;
    };
  }

  /** An operator whose change has come to nothing writes what was there before. */
  private takeBack(site: string, mode: Mode | undefined): void {
    if (mode === undefined || mode === this.modes.get(site)) return;
    if (mode === 'async' && [...this.modes].every(([name, each]) => each === 'async' || name === site)) return;
    this.modes.set(site, mode);
    for (const machine of this.machines) machine.configureModes(this.modes);
  }

  /**
   * An operator takes far out of the configuration, or writes it in again, and starts the sites that stay one after the other. Far may run on with the old
   * file meanwhile; it comes back with what it had, or with an empty disk.
   */
  private changeMembers(fault: Fault): void {
    const far = this.machines[2] as Machine<InspectedSite>;
    this.isFarOut = !this.isFarOut;
    this.forgetUpgrade();
    const without = this.isFarOut ? far.name : null;
    if (without !== null && fault.amount % 2 === 0) {
      this.isFarStopped = true;
      far.end('crash');
    } else if (without === null) {
      this.isFarStopped = false;
      if (fault.amount % 3 === 0) {
        far.end('power');
        far.disk.wipe();
        this.watch.harm(far, 'wipe');
      }
      if (far.site === null && !this.leftOut.has(far.name)) far.start();
    }
    for (const [step, index] of [fault.site, 1 - fault.site].entries()) {
      const machine = this.machines[index] as Machine<InspectedSite>;
      this.later(step * fault.millis, () => this.restartWith(machine, without));
    }
  }

  private restartWith(machine: Machine<InspectedSite>, without: string | null): void {
    if (!machine.configureMembers(without)) return;
    this.restartAfter.set(machine.name, 20);
    machine.end('crash');
  }

  /** The volumes with a share of what they grow by. */
  private sizes(share: number): readonly number[] {
    const { volumes, growthBlocks } = this.settings;
    return volumes.map(({ sizeBytes }, index) => sizeBytes + (index === 0 ? Math.ceil(growthBlocks * share) * 4096 : 0));
  }

  /** Ends every trouble and starts every machine that is not left out. */
  heal(): void {
    this.round++;
    this.stagedFlips.clear();
    this.world.note('fault', 'heal', 0, 0);
    for (const key of this.cuts.keys()) this.network.open(...splitPath(key));
    this.cuts.clear();
    this.witness.cut.clear();
    this.witness.nameRight();
    this.witness.loseNext.clear();
    this.witness.cutAt.clear();
    Object.assign(this.witness.trouble, { lostRequests: 0, lostAnswers: 0, doubled: 0, slowness: 1 });
    this.witness.isOlder = () => false;
    if (!this.witness.up && !this.leftOut.has('witness')) this.witness.start();
    this.isFarOut = this.isFarStopped = false;
    for (const machine of this.machines) this.restartWith(machine, null);
    for (const machine of this.machines) {
      Object.assign(machine.disk.trouble, { writeErrors: 0, readErrors: 0, flushErrors: 0, full: false, slowness: 1 });
      for (const other of this.machines) this.network.path(machine.name, other.name).latency = this.network.nature.latency;
      machine.gate.disarm();
      machine.thaw();
      if (this.leftOut.has(machine.name)) machine.end('crash');
      else if (machine.site === null) machine.start();
    }
    // Who was to stay away for good comes back like any other when it ends once more.
    for (const [name, millis] of this.restartAfter) if (millis > AWAY_MILLIS_MAX) this.restartAfter.delete(name);
    for (const machine of this.machines) machine.configure(this.sizes(1));
    for (const machine of this.machines) machine.configureModes(this.modes);
    this.resumeAll();
  }

  private endMachine(machine: Machine<InspectedSite>, kind: CrashKind, fault: Fault): void {
    this.restartAfter.set(machine.name, fault.millis);
    if (fault.calls < 0 || machine.site === null) machine.end(kind);
    else if (fault.on !== undefined) machine.gate.armOn(fault.on, fault.calls, fault.moment, kind);
    else machine.gate.arm(machine.gate.calls + fault.calls, fault.moment, kind);
  }

  private restartLater(machine: Machine<InspectedSite>): void {
    const millis = this.restartAfter.get(machine.name) ?? 1000;
    this.world.after(millis, () => {
      if (!this.leftOut.has(machine.name) && !this.isAway(machine)) machine.start();
    });
  }

  private isAway({ name }: Machine<InspectedSite>): boolean {
    return this.isFarStopped && name === (this.machines[2] as Machine<InspectedSite>).name;
  }

  /** A copy that its site has given up: first the disk is mended and the site started again; if that is no use, a new disk is put in. */
  private mendLater(machine: Machine<InspectedSite>, reason: string): void {
    const { life } = machine;
    this.world.after(this.chance.spread(200, 8000), () => {
      if (machine.life !== life || this.leftOut.has(machine.name)) return;
      const failures = (this.failures.get(machine.name) ?? 0) + 1;
      this.failures.set(machine.name, failures);
      Object.assign(machine.disk.trouble, { writeErrors: 0, readErrors: 0, flushErrors: 0, full: false });
      this.restartAfter.set(machine.name, 100);
      if (failures <= 1 && !reason.includes('damaged')) machine.end('crash');
      // While no other copy is true the operator waits for one, and looks again.
      else if (!this.replaceDisk(machine)) this.mendLater(machine, reason);
    });
  }

  /** Only where another copy is true: the last good one is never thrown away. Whether it was done. */
  private replaceDisk(machine: Machine<InspectedSite>): boolean {
    const others = this.witness.state?.copies.some((copy) => copy.site !== machine.name && copy.mode === 'sync' && copy.flag) ?? false;
    if (!others) return false;
    this.failures.delete(machine.name);
    machine.end('power');
    machine.disk.wipe();
    this.watch.harm(machine, 'wipe');
    return true;
  }

  private later(millis: number, run: () => void): void {
    const { round } = this;
    this.world.after(millis, () => {
      if (round === this.round) run();
    });
  }

  private cutPaths(paths: readonly string[], millis: number): void {
    for (const path of paths) {
      this.cuts.set(path, (this.cuts.get(path) ?? 0) + 1);
      this.network.block(...splitPath(path));
    }
    this.later(millis, () => {
      for (const path of paths) {
        const left = (this.cuts.get(path) ?? 1) - 1;
        this.cuts.set(path, left);
        if (left === 0) this.network.open(...splitPath(path));
      }
    });
  }

  private isolate(machine: Machine<InspectedSite>, fault: Fault): void {
    const others = this.machines.filter((other) => other !== machine);
    this.cutPaths(
      others.flatMap((other) => pathsBetween(machine.name, other.name, 0)),
      fault.millis,
    );
    if (fault.amount > 300) this.cutWitness(machine.name, fault.millis);
  }

  private cutWitness(name: string, millis: number): void {
    this.witness.cut.add(name);
    this.later(millis, () => this.witness.cut.delete(name));
  }

  private slowLink(a: string, b: string, fault: Fault): void {
    const paths = [this.network.path(a, b), this.network.path(b, a)];
    for (const path of paths) path.latency = this.network.nature.latency + fault.amount;
    this.later(fault.millis, () => {
      for (const path of paths) path.latency = this.network.nature.latency;
    });
  }

  /** Its disk is gone: another one answers, empty or from a backup. Sometimes one site still reaches the old one. */
  private loseWitness(machine: Machine<InspectedSite>, fault: Fault): void {
    const old = this.witness.current;
    this.witness.lose(old);
    this.witness.current = this.witness.another(fault.amount % 3 === 0);
    if (fault.amount % 3 === 0) this.watch.coverage.hit('a new witness begins from a backup');
    if (fault.amount > 700) this.detour(machine, old, fault.millis);
    this.tend();
  }

  /** A site's configuration names an empty witness that somebody has started as well. */
  private secondWitness(machine: Machine<InspectedSite>, fault: Fault): void {
    this.detour(machine, this.witness.another(false), fault.millis);
    this.watch.coverage.hit('a site turned to a witness by mistake');
    this.tend();
  }

  private detour(machine: Machine<InspectedSite>, name: string, millis: number): void {
    this.witness.detours.set(machine.name, name);
    this.later(millis, () => {
      if (this.witness.detours.get(machine.name) === name) this.witness.detours.delete(machine.name);
    });
  }

  /** The operator orders a replacement wherever a site says that it does not believe the witness that answers, now here, now there. */
  private tend(): void {
    if (this.tending) return;
    this.tending = true;
    const chance = this.world.chance('operator');
    const look = (): void => {
      for (const machine of this.machines) {
        const wants = machine.site !== null && !machine.frozen && machine.site.status().witness.trouble !== null;
        if (wants && chance.happens(0.7)) machine.enter('order', machine.life, () => machine.site?.replaceWitness(() => undefined));
      }
      this.world.after(chance.spread(100, 4000), look);
    };
    this.world.after(chance.spread(100, 6000), look);
  }

  private troubleWitness(machine: Machine<InspectedSite>, fault: Fault): void {
    const { trouble } = this.witness;
    switch (fault.kind) {
      case 'witness-cut':
        return this.cutWitness(machine.name, fault.millis);
      case 'witness-down':
        this.witness.stop();
        return this.later(fault.millis, () => this.witness.start());
      case 'witness-lossy':
        trouble.lostRequests = fault.amount / 3000;
        trouble.lostAnswers = (1000 - fault.amount / 2) / 1500;
        trouble.doubled = fault.amount % 3 === 0 ? 0.5 : 0.05;
        return this.later(fault.millis * 2, () => {
          trouble.lostRequests = trouble.lostAnswers = trouble.doubled = 0;
        });
      case 'cut-asker':
        this.witness.cutAt.set(losable(fault.amount), fault.millis);
        return undefined;
      case 'lose-answer':
        this.witness.loseNext.add(losable(fault.amount));
        return undefined;
      default:
        trouble.slowness = 1 + fault.amount / 20;
        return this.later(fault.millis, () => {
          trouble.slowness = 1;
        });
    }
  }

  private troubleDisk(machine: Machine<InspectedSite>, fault: Fault): void {
    const { trouble } = machine.disk;
    switch (fault.kind) {
      case 'slow-disk':
        trouble.slowness = fault.amount;
        return this.later(fault.millis, () => {
          trouble.slowness = 1;
        });
      case 'write-error':
        trouble.writeErrors = 1;
        return undefined;
      case 'read-error':
        trouble.readErrors = 1;
        return undefined;
      case 'flush-error':
        trouble.flushErrors = 1;
        return undefined;
      case 'full':
        trouble.full = true;
        trouble.freedBytes = 0;
        return this.later(fault.millis, () => {
          trouble.full = false;
        });
      case 'flip':
        return this.flip(machine, fault);
      case 'wipe':
        this.restartAfter.set(machine.name, fault.millis);
        this.replaceDisk(machine);
        return undefined;
      default:
        throw new Error(`no such fault: ${fault.kind}`);
    }
  }

  /** A bit rots in the log while the process is down: what it reads at its next start. Base images carry no checksums of their own. */
  private flip(machine: Machine<InspectedSite>, fault: Fault): void {
    if (fault.amount % FLIPS_STAGED_EVERY === 0 || fault.amount === FLIP_STAGED)
      this.stagedFlips.set(machine.name, { until: this.world.now + STAGED_MILLIS, place: fault.at % 1 });
    if (fault.amount === FLIP_STAGED) return;
    this.restartAfter.set(machine.name, fault.millis);
    machine.end(fault.amount > 500 ? 'crash' : 'power');
    if (machine.site !== null) return;
    const place = machine.disk.flipBit((name) => !name.startsWith('base'));
    if (place === null) return;
    this.world.note(machine.name, 'flipped', 0, 0, () => place);
    this.watch.harm(machine, 'flip');
  }

  /** A bit rots in what a resync has staged, under the running process. */
  private flipStaged(machine: Machine<InspectedSite>): void {
    const wanted = this.stagedFlips.get(machine.name);
    const byte = wanted === undefined || this.world.now > wanted.until ? null : stagedByte(machine.disk, wanted.place);
    if (byte === null) return;
    this.stagedFlips.delete(machine.name);
    machine.disk.flipBitAt(byte.file, byte.at);
    this.world.note(machine.name, 'flipped', 0, 0, () => `${byte.file} byte ${byte.at}`);
    this.watch.coverage.hit('bit of a staged image flipped');
    this.watch.harm(machine, 'flip');
  }
}

/** How long it is waited for something that is staged. */
const STAGED_MILLIS = 20_000;

/** Faults that may keep two sites from hearing each other, or from doing what they have heard. */
const DISTURBING: ReadonlySet<FaultKind> = new Set([
  'freeze',
  'cut',
  'isolate',
  'stall',
  'reset',
  'slow-link',
  'slow-disk',
  'stream-reset',
  'stream-stall',
]);

/** Both directions between two machines, or one of them. */
function pathsBetween(a: string, b: string, amount: number): readonly string[] {
  if (amount > 850) return [`${a}>${b}`];
  if (amount > 700) return [`${b}>${a}`];
  return [`${a}>${b}`, `${b}>${a}`];
}

function splitPath(path: string): [string, string] {
  const [from, to] = path.split('>');
  return [from as string, to as string];
}
