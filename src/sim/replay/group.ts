// A small group of real sites, and everything that a trace may do to it. After each event of the core what can be seen of it is held against the
// states of the model that it may be in (spec/possible.ts): when none is left, the core has done what the model forbids.

import { crc32 } from 'node:zlib';

import { FOLLOWED, Possible, type Seen, type SeenCopy, type SeenSite, told, whyNot } from '../../../spec/possible.ts';
import { FALSE, firstState, MAYBE, type Role, TRUE } from '../../../spec/state.ts';
import type { Scope } from '../../../spec/world.ts';
import { CELL_BYTES, readCell } from '../../core/base/cell.ts';
import { epochOf } from '../../core/base/position.ts';
import { SUPERBLOCK_FILE } from '../../core/replica/superblock.ts';
import type { HostRequest, SiteSpec, Timings } from '../../core/site/contract.ts';
import type { InspectedSite } from '../check/observe.ts';
import { simCompression } from '../compression.ts';
import { coreFactory } from '../core.ts';
import { Machine } from '../machine.ts';
import { Network } from '../network.ts';
import { type TraceSink, World } from '../world.ts';
import { GatedWitness } from './gated-witness.ts';

const TIMINGS: Timings = {
  leaseMillis: 120,
  heartbeatMillis: 24,
  peerTimeoutMillis: 80,
  witnessRetryMillis: 20,
  driftShare: 0.02,
  holdMillis: 60_000,
  asyncDelayMillis: 1,
};
export const LEASE_MILLIS = TIMINGS.leaseMillis;
const BLOCK = 4096;
const WAYS = [
  ['A', 'B'],
  ['B', 'A'],
] as const;

/** Roles of the model that may stand behind one of the core. A reign that was granted begins once it is on the disk. */
const ROLES: Readonly<Record<string, readonly Role[]>> = {
  standby: ['standby'],
  claiming: ['claiming', 'standby', 'mirror'],
  primary: ['primary'],
  joining: ['standby', 'mirror'],
  mirror: ['mirror'],
};

/** What a trace is replayed against. */
export class ReplayedGroup {
  readonly world: World;
  readonly network: Network;
  readonly witness: GatedWitness;
  readonly machines: readonly Machine<InspectedSite>[];
  readonly sites: readonly SiteSpec[];
  /** The states of the model that it may be in; null until it is complete. */
  possible: Possible | null = null;
  readonly scope: Scope;
  linked = true;
  #last = '';
  #revision = 0;
  /** Numbers of writes by the names of their records. */
  readonly #writes = new Map<string, number>();
  readonly #acked = new Set<string>();
  /** The epoch of each site before it claimed. */
  readonly #epochs = new Map<string, number>();
  #issued = 0;

  constructor(seed: number, sink: TraceSink | null, scope: Partial<Scope>) {
    this.world = new World(seed, sink);
    this.scope = { ...FOLLOWED, ...scope };
    this.network = new Network(this.world, { latency: 0.3, jitter: 0.1, rate: 1e9, split: 0, silentMillis: 5000, dialMillis: 10 });
    this.witness = new GatedWitness(this.world);
    this.witness.onChange = () => this.look();
    this.sites = ['A', 'B'].map((name) => ({ name, mode: 'sync' }));
    this.machines = this.sites.map(({ name }, index) => this.#machine(name, index));
  }

  #machine(site: string, index: number): Machine<InspectedSite> {
    const look = (): void => this.look();
    const nothing = (): void => undefined;
    const parts = {
      world: this.world,
      network: this.network,
      witness: this.witness,
      factory: coreFactory,
      listener: {
        afterEvent: look,
        servingChanged: nothing,
        failed: (machine: Machine<InspectedSite>, reason: string) =>
          this.world.fail('replay', `the copy of ${machine.name} failed: ${reason}`),
        ended: nothing,
        started: nothing,
        decided: nothing,
        journal: nothing,
        cut: nothing,
      },
      others: () => this.machines,
    };
    const options = {
      group: 'group',
      site,
      sites: this.sites,
      volumes: [{ name: 'vol0', sizeBytes: 64 * BLOCK, baseFile: 'base-vol0' }],
      timings: TIMINGS,
      segmentBytes: 256 * 1024,
      capacityBytes: 4 * 1024 * 1024,
      setAside: { leastBytes: 0, calmMillis: 1500 },
      destageIdleMillis: 1000,
      destageBacklogBytes: 1024 * 1024,
      bitmapChunkBytes: BLOCK,
      resyncPieceBytes: 4 * BLOCK,
      scan: null,
      scrub: undefined,
      compression: simCompression,
    };
    return new Machine<InspectedSite>(parts, options, { offset: 1000 * (index + 1), drift: 0 });
  }

  /** Makes the group and waits until both copies are in step; from then on it is followed. */
  setUp(): void {
    for (const { name } of this.sites) this.witness.open.add(name);
    for (const machine of this.machines) machine.start();
    const [first] = this.machines;
    this.world.after(20, () => first?.enter('create', first.life, () => first.site?.create(() => undefined)));
    const inStep = (): boolean =>
      first?.site?.serving === true && first.site.inspect()?.flagView('B') === 'true' && this.machines[1]?.site?.role === 'mirror';
    if (!this.waitFor(5000, inStep)) this.world.fail('replay', 'the group did not become complete');
    this.witness.open.clear();
    this.#revision = (this.witness.state?.revision ?? 0) - 3;
    const seen = this.#see();
    const start = firstState(this.scope.sites, 1);
    const wrong = whyNot(start, seen);
    if (wrong !== null) this.world.fail('replay', `the group does not begin as the model does: ${wrong}`);
    this.possible = new Possible(this.scope, start, seen);
    this.#last = JSON.stringify(seen);
  }

  waitFor(millis: number, holds: () => boolean): boolean {
    const end = this.world.now + millis;
    while (this.world.violation === null) {
      if (holds()) return true;
      if (this.world.now >= end) return false;
      this.world.runUntil(Math.min(end, this.world.now + 2));
    }
    return false;
  }

  machine(name: string): Machine<InspectedSite> {
    return this.machines.find((each) => each.name === name) as Machine<InspectedSite>;
  }

  /** Something is done to the group from outside: the model is told, then it happens. */
  impose(label: string, act: () => void): void {
    this.look();
    this.world.trace?.(`${this.world.now.toFixed(3).padStart(11)} trace    ${label}`);
    if (this.possible?.imposed(label) === false) return this.#fail();
    act();
    this.look();
  }

  kill(name: string, kind: 'crash' | 'power'): void {
    // A message takes no time in the model: none of a site that is gone arrives.
    for (const end of this.network.endsAt(name)) end.out.cut(false);
    for (const [from, to] of WAYS) for (const stream of this.network.path(from, to).waiting) stream.cut(false);
    this.machine(name).end(kind);
    this.witness.ended(name);
  }

  /** Whether the epoch that a copy shows is not on its disk yet: on its way there, which takes the model no time. */
  get adopts(): boolean {
    return this.machines.some(({ site, disk }) => {
      const epoch = site?.inspect()?.epoch;
      const cell = new Uint8Array(CELL_BYTES);
      cell.set(disk.durableContentsOf(SUPERBLOCK_FILE) ?? []);
      const onDisk = readCell(cell, (bytes, seed) => crc32(bytes, seed));
      return epoch !== undefined && onDisk.kind === 'value' && (onDisk.value as { readonly epoch?: number }).epoch !== epoch;
    });
  }

  link(open: boolean): void {
    this.linked = open;
    const change = (from: string, to: string): void => (open ? this.network.open(from, to) : this.network.block(from, to));
    for (const [from, to] of WAYS) change(from, to);
  }

  /** A host writes at a site. */
  write(name: string): void {
    const machine = this.machine(name);
    if (machine.site?.role !== 'primary' || this.#issued >= this.scope.writes) return;
    this.#issued++;
    const number = this.#issued;
    const request: HostRequest = {
      session: { reply: (_request, error) => this.#answered(machine, request, error), replyStatus: () => undefined },
      command: 'write',
      volume: 0,
      offset: number * BLOCK,
      length: BLOCK,
      fua: number % 3 === 0,
      noHole: false,
      payload: new Uint8Array(BLOCK).fill(number),
      seq: 0,
      needSeq: 0,
      data: null,
      startedMillis: machine.now(),
    };
    machine.enter('request', machine.life, () => machine.site?.request(request));
  }

  #answered(machine: Machine<InspectedSite>, request: HostRequest, error: number): void {
    if (error === 0) this.#acked.add(`${machine.site?.inspect()?.epoch ?? 0}.${request.seq}`);
  }

  /** Looks at everything, and at what of it the model allows. */
  look(): void {
    if (this.possible === null || this.world.violation !== null) return;
    const seen = this.#see();
    const text = JSON.stringify(seen);
    if (text === this.#last) return;
    this.#last = text;
    if (this.world.trace !== null) this.world.trace(`${''.padStart(11)} seen     ${told(seen)} (${this.possible.count} states)`);
    if (!this.possible.saw(seen)) this.#fail();
  }

  #fail(): void {
    this.world.fail('model', this.possible?.lost ?? '');
  }

  #see(): Seen {
    const { state } = this.witness;
    const names = this.sites.map(({ name }) => name);
    const sites = this.machines.map((machine) => this.#seeSite(machine));
    const flags = (state?.copies ?? []).reduce((bits, copy) => bits | (copy.flag ? 1 << names.indexOf(copy.site) : 0), 0);
    let acked = 0;
    for (const record of this.#acked) acked |= 1 << (this.#writes.get(record) ?? 0);
    const reigns = this.machines.filter(({ site }) => site?.role === 'primary').map(({ site }) => site?.inspect()?.epoch);
    let deaf = 0;
    for (const [record, number] of this.#writes) if (!reigns.includes(Number.parseInt(record, 10))) deaf |= 1 << number;
    const revision = (state?.revision ?? 0) - this.#revision;
    const primary = names.indexOf(state?.primary ?? '');
    return { sites, revision, epoch: state?.epoch ?? 0, primary, flags, acked, deaf };
  }

  #seeSite(machine: Machine<InspectedSite>): SeenSite {
    const { site } = machine;
    if (site === null) return { up: false, copy: null };
    const inside = site.inspect();
    const roles = ROLES[site.role];
    if (inside === null || roles === undefined) return { up: true, copy: null };
    const { epoch, history, marks, unclean } = inside;
    const log = Array.from({ length: marks.received }, (_, index) => {
      const recordEpoch = epochOf(history, index + 1);
      return 16 * recordEpoch + this.#writeOf(`${recordEpoch}.${index + 1}`);
    });
    const isPrimary = site.role === 'primary';
    // The epoch is on its way to the disk, and the reign begins behind it: which of the two it comes to is told by what follows.
    const { state } = this.witness;
    if (site.role !== 'claiming') this.#epochs.set(machine.name, epoch);
    const isGranted = state?.primary === machine.name && state.epoch > (this.#epochs.get(machine.name) ?? 0);
    if (site.role === 'claiming' && isGranted) return { up: true, copy: null };
    const view = isPrimary
      ? this.sites.map(({ name }) => (name === machine.name ? [FALSE] : knowing(inside.flagView(name), inside.mayBeTrue(name))))
      : null;
    const copy: SeenCopy = { roles, epoch, log, durable: marks.durable, clean: !unclean, serves: isPrimary && site.serving, view };
    return { up: true, copy };
  }

  /** Writes are numbered as their primaries take them. */
  #writeOf(record: string): number {
    const known = this.#writes.get(record);
    if (known !== undefined) return known;
    this.#writes.set(record, this.#writes.size + 1);
    return this.#writes.size;
  }
}

/** A peer whose admission was begun and not asked for is required, and may be let go again. */
function knowing(flag: 'true' | 'maybe' | 'false' | null, mayBeTrue: boolean): readonly number[] {
  if (flag === 'true') return [TRUE];
  if (flag === 'maybe') return mayBeTrue ? [MAYBE] : [FALSE, MAYBE];
  return [FALSE];
}
