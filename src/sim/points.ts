// Administrators who make points at any site, and clients that read volumes as of them while hosts go on. Each read is compared with what the history
// of the run says the volume was at that record, and with what the same place read as before.

import { UNKNOWN_POINT, differs, type PointSeen } from './check/points.ts';
import type { InspectedSite, Inspection } from './check/observe.ts';
import type { Machine } from './machine.ts';
import type { Chance } from './random.ts';
import type { Watch } from './watch.ts';
import type { World } from './world.ts';
import { BLOCK_BYTES, type Seq } from '../core/base/units.ts';
import type { BlockExtent, HostError, HostRequest, HostSession, PointOrder } from '../core/site/contract.ts';

const ESHUTDOWN = 108;
const EIO = 5;

/** A client that reads one point. */
interface Reader extends PointSeen {
  readonly machine: Machine<InspectedSite>;
  /** Of the process. */
  readonly life: number;
  readonly id: number;
  readonly name: string;
  over: boolean;
}

interface Wanted {
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
}

/** All of them. */
export class PointReaders {
  running = true;
  readonly #world: World;
  readonly #chance: Chance;
  readonly #machines: readonly Machine<InspectedSite>[];
  readonly #watch: Watch;
  readonly #unitBytes: number;
  #readers: Reader[] = [];
  #names = 0;
  /** Reads that wait for their answers. */
  readonly #asked = new Set<{ readonly reader: Reader }>();

  constructor(parts: { world: World; machines: readonly Machine<InspectedSite>[]; watch: Watch; unitBytes: number }) {
    this.#world = parts.world;
    this.#chance = parts.world.chance('point readers');
    this.#machines = parts.machines;
    this.#watch = parts.watch;
    this.#unitBytes = parts.unitBytes;
  }

  /** Reads of processes that live, which nobody has answered yet. */
  get waitingCount(): number {
    const lives = ({ machine, life }: Reader): boolean => machine.life === life && machine.site !== null && !machine.frozen;
    return [...this.#asked].filter(({ reader }) => lives(reader)).length;
  }

  start(): void {
    this.#world.after(this.#chance.spread(10, 300), () => this.#act());
  }

  /** Removes all points: the base images are to catch up. */
  stop(): void {
    this.running = false;
    for (const machine of this.#machines) this.#order(machine, () => this.#removeAll(machine));
  }

  #removeAll(machine: Machine<InspectedSite>): void {
    for (const { name } of machine.site?.points?.status() ?? []) machine.site?.points?.remove(name);
  }

  #order(machine: Machine<InspectedSite>, run: () => void): void {
    machine.enter('point', machine.life, run);
  }

  #act(): void {
    if (!this.running) return;
    this.start();
    const chance = this.#chance;
    this.#readers = this.#readers.filter(({ machine, life, over }) => machine.life === life && machine.site !== null && !over);
    const reader = this.#readers.length === 0 ? null : chance.pick(this.#readers);
    const dice = chance.unit();
    if (reader === null || dice < 0.15) this.#make(chance.pick(this.#machines));
    else if (dice < 0.95) this.#read(reader);
    else
      this.#order(reader.machine, () => {
        reader.machine.site?.points?.remove(reader.name);
        // Who has the number of one that is gone may still ask: he is told so.
        if (chance.happens(0.5)) this.#ask(reader, { volume: 0, offset: 0, length: BLOCK_BYTES });
        reader.over = true;
      });
  }

  #make(machine: Machine<InspectedSite>): void {
    const dice = this.#chance.unit();
    const back = this.#chance.unit();
    this.#order(machine, () => {
      const points = machine.site?.points;
      const inside = machine.site?.inspect() ?? null;
      if (points === undefined || inside === null) return;
      const name = `p${this.#names++}`;
      const { destaged, received } = inside.marks;
      // Any record that is not in the bases for long, and some that it does not have.
      const seq = destaged + Math.floor(back * (received + 3 - destaged));
      const at: PointOrder['at'] = dice < 0.6 ? null : dice < 0.9 ? { seq } : { timeMillis: machine.wall() - back * 2000 };
      if (points.create({ name, at }).kind !== 'done') return;
      const found = points.find(name);
      const point = points.status().find((each) => each.name === name);
      if (typeof found === 'string' || point === undefined) return;
      const seen = { history: inside.history.map((start) => ({ ...start })), seq: point.seq, blocks: new Map<string, Uint8Array>() };
      this.#readers.push({ ...seen, machine, life: machine.life, id: found.id, name, sizes: found.sizes, over: false });
      this.#judgePlace(machine, inside, point.seq);
      if (at !== null && 'seq' in at && seq < inside.marks.committed) this.#watch.reached('a point before the newest record was made');
    });
  }

  /** What a point shows never un-happens. */
  #judgePlace({ name }: Machine<InspectedSite>, { history, epoch }: Inspection, seq: Seq): void {
    const { truth, forced } = this.#watch;
    const epochs = [...history.map((start) => start.epoch), epoch];
    // A host that has its answer knows: a primary that died right behind it was not looked at any more.
    const known = (each: number): number => Math.max(truth.calledCommitted.get(each) ?? 0, truth.reigns.get(each)?.acknowledged ?? 0);
    const committed = Math.max(0, ...epochs.map(known));
    if (!forced && seq > committed)
      this.#world.fail('26 point', `a point at ${name} is record ${seq} of epoch ${epoch}, and ${committed} is committed`);
  }

  #read(reader: Reader): void {
    const chance = this.#chance;
    const volume = chance.integer(0, reader.sizes.length - 1);
    const blocks = (reader.sizes[volume] as number) / BLOCK_BYTES;
    const count = chance.happens(0.3) ? Math.min(blocks, 16) : chance.integer(1, Math.min(blocks, 3));
    const wanted = { volume, offset: chance.integer(0, blocks - count) * BLOCK_BYTES, length: count * BLOCK_BYTES };
    const isStatus = chance.happens(0.1);
    this.#order(reader.machine, () => this.#ask(reader, wanted, isStatus));
  }

  #ask(reader: Reader, wanted: Wanted, isStatus = false): void {
    const { machine, id } = reader;
    const asked = { reader };
    this.#asked.add(asked);
    const reply = (error: HostError, judge: () => void): void =>
      machine.gate.pass('reply', () => {
        this.#asked.delete(asked);
        this.#world.note(machine.name, '< point', reader.seq, error);
        if (error === 0) judge();
        else this.#refused(reader, error);
      });
    const session: HostSession = {
      reply: (_request, error, data = null) => reply(error, () => this.#judge(reader, wanted, data)),
      replyStatus: (_request, extents) => reply(0, () => this.#judgeExtents(reader, wanted, extents)),
    };
    const request: HostRequest = {
      ...wanted,
      session,
      command: isStatus ? 'status' : 'read',
      fua: false,
      noHole: false,
      payload: null,
      seq: 0,
      needSeq: 0,
      data: null,
      startedMillis: machine.now(),
    };
    machine.site?.points?.request(request, id);
  }

  #refused(reader: Reader, error: HostError): void {
    const state = reader.machine.site?.points?.status().find(({ name }) => name === reader.name)?.state ?? UNKNOWN_POINT;
    const isGone = reader.over || state === 'lost' || state === UNKNOWN_POINT;
    if ((error !== ESHUTDOWN && error !== EIO) || !isGone)
      this.#world.fail(
        '26 point',
        `${reader.machine.name} answers a reader of point ${reader.name}, which is ${state}, with error ${error}`,
      );
    this.#watch.reached('a reader of a point that had ended got an error');
    reader.over = true;
  }

  #judge(reader: Reader, wanted: Wanted, data: Uint8Array | null): void {
    const { machine, seq } = reader;
    const site = this.#watch.sites.find(({ name }) => name === machine.name);
    if (site === undefined) return;
    if (data?.length !== wanted.length)
      return this.#world.fail('26 point', `${machine.name} answers a read of ${wanted.length} bytes with ${data?.length ?? 'none'}`);
    const why = differs(this.#watch, site, reader, { ...wanted, bytes: data }, this.#unitBytes);
    if (why !== null) this.#world.fail('26 point', `${machine.name}, point ${reader.name} as of record ${seq}: ${why}`);
    this.#watch.reached(machine.site?.role === 'primary' ? 'a point was read at the primary' : 'a point was read at a mirror');
    const marks = machine.site?.inspect()?.marks;
    if (marks?.destaged === seq && marks.committed > seq) this.#watch.reached('a point that held records back was read');
  }

  #judgeExtents(reader: Reader, wanted: Wanted, extents: readonly BlockExtent[]): void {
    let offset = wanted.offset;
    for (const { length, zero } of extents) {
      const end = Math.min(offset + length, wanted.offset + wanted.length);
      if (zero && end > offset) this.#judge(reader, { ...wanted, offset, length: end - offset }, new Uint8Array(end - offset));
      offset += length;
    }
  }
}
