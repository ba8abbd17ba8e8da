// The network between the sites: connections as ordered streams of bytes, each with its own delays. A cut holds bytes back; what was held
// arrives after the cut, also when its sender has closed the connection meanwhile and opened another one (a zombie). The end of a process
// closes its connections half-way; a power loss closes nothing, the other side hears only silence.

import { Chance } from './random.ts';
import type { Gate } from './gate.ts';
import type { World } from './world.ts';
import type { LinkPort } from '../core/base/ports.ts';
import type { LinkReceiver } from '../core/mirror/link.ts';

/** A machine as the network sees it. */
export interface Station {
  readonly name: string;
  readonly gate: Gate;
  /** Without power nothing answers, not even with a refusal. */
  readonly powered: boolean;
  /** Whether a process listens. */
  readonly listening: boolean;
  /** Runs something in the process as an event of its own, unless that life of the process is over; a frozen one gets it later. */
  enter(what: string, life: number, run: () => void, size?: number): void;
  /** Number of the process's life; changes with each start. */
  readonly life: number;
  /** The receiver of an incoming connection. */
  accept(port: LinkPort): LinkReceiver;
}

/** One direction between two machines. */
interface Path {
  blocked: boolean;
  latency: number;
  jitter: number;
  /** Bytes that pass in a millisecond. */
  rate: number;
  /** Streams that have bytes waiting for the path to open. */
  readonly waiting: Set<Stream>;
}

/** What the network is like. */
export interface NetworkNature {
  readonly latency: number;
  readonly jitter: number;
  readonly rate: number;
  /** Probability that a piece of a stream arrives in two pieces. */
  readonly split: number;
  /** A connection on which nothing has arrived for this long is closed by the receiver's system. */
  readonly silentMillis: number;
  /** How long an attempt to connect waits for an answer that does not come. */
  readonly dialMillis: number;
}

/** How an attempt to connect ended. */
export type Dialled = { readonly port: LinkPort; attach(receiver: LinkReceiver): void; readonly connection: End } | null;

/** All connections between the machines. */
export class Network {
  readonly world: World;
  readonly chance: Chance;
  readonly nature: NetworkNature;
  /** Called when bytes reach an end that was closed. */
  onLateBytes: () => void = () => undefined;
  private readonly paths = new Map<string, Path>();
  private readonly ends = new Set<End>();
  private connections = 0;

  constructor(world: World, nature: NetworkNature) {
    this.world = world;
    this.chance = world.chance('network');
    this.nature = nature;
  }

  /** The direction from one machine to another. */
  path(from: string, to: string): Path {
    const key = `${from}>${to}`;
    let path = this.paths.get(key);
    if (path === undefined) {
      path = { blocked: false, latency: this.nature.latency, jitter: this.nature.jitter, rate: this.nature.rate, waiting: new Set() };
      this.paths.set(key, path);
    }
    return path;
  }

  /** Nothing passes in this direction until `open`. */
  block(from: string, to: string): void {
    this.path(from, to).blocked = true;
  }

  /** Lets bytes pass again, those that were held back first. */
  open(from: string, to: string): void {
    const path = this.path(from, to);
    path.blocked = false;
    const waiting = [...path.waiting];
    path.waiting.clear();
    // A sender tries again in growing intervals, so bytes that were held back come some time after the cut.
    for (const stream of waiting) stream.resume(this.chance.spread(1, 500));
  }

  /** Connects two machines; `done` runs in the process that asked. */
  dial(from: Station, to: Station, done: (dialled: Dialled) => void): void {
    const { life } = from;
    const delay = this.delay(this.path(from.name, to.name)) + this.delay(this.path(to.name, from.name));
    this.world.after(delay, () => {
      const passable = !this.path(from.name, to.name).blocked && !this.path(to.name, from.name).blocked;
      if (life !== from.life) return;
      if (!passable || !to.powered || !to.listening) {
        const patience = passable && to.powered ? 0 : this.chance.between(0.3, 1) * this.nature.dialMillis;
        this.world.after(patience, () => from.enter('dial-fail', life, () => done(null)));
        return;
      }
      this.connections++;
      const number = this.connections;
      const near = new End(this, from, to.name, number);
      const far = new End(this, to, from.name, number);
      near.out.connect(far);
      far.out.connect(near);
      this.ends.add(near).add(far);
      to.enter('accepted', to.life, () => far.attach(to.accept(far)));
      from.enter('dialled', life, () => done({ port: near, connection: near, attach: (receiver) => near.attach(receiver) }));
    });
  }

  /** Ends of connections at a machine. */
  endsAt(name: string): readonly End[] {
    return [...this.ends].filter((end) => end.station.name === name && end.isOpen);
  }

  /** The process of a machine ended: the system closes its connections, some of what was sent still arrives. */
  processEnded(name: string): void {
    for (const end of this.endsAt(name)) end.abandon(false);
  }

  /** The power of a machine ended: nobody is told. */
  powerLost(name: string): void {
    for (const end of this.endsAt(name)) end.abandon(true);
  }

  /** Holds back, for a while, what one connection from a machine to another carries: others between them go on. */
  stall(from: string, to: string, millis: number): boolean {
    const end = this.endsAt(from).find((candidate) => candidate.peerName === to);
    if (end === undefined) return false;
    end.out.stall(this.world.now + millis);
    return true;
  }

  /** Breaks one connection of a link that has several, or lets what it carries from `from` on stand still for a while. Never its first. */
  troubleStream(from: string, to: string, pick: number, stallMillis: number | null): void {
    const [, ...streams] = this.endsAt(from).filter((end) => end.peerName === to);
    const end = streams[pick % streams.length];
    if (end === undefined) return;
    if (stallMillis === null) end.fail();
    else end.out.stall(this.world.now + stallMillis);
  }

  /** Breaks every connection between two machines, each side hearing of it in its own time. */
  reset(a: string, b: string): void {
    for (const end of this.endsAt(a)) {
      if (end.peerName === b) end.fail();
    }
  }

  forget(end: End): void {
    this.ends.delete(end);
  }

  delay(path: Path): number {
    return path.latency * (1 + path.jitter * this.chance.unit() * this.chance.unit());
  }
}

interface Piece {
  /** null: the end of the stream. */
  readonly bytes: Uint8Array | null;
  arrives: number;
}

/** One direction of one connection. */
class Stream {
  private readonly network: Network;
  private readonly path: Path;
  private target: End | null = null;
  private pieces: Piece[] = [];
  private lastArrival = 0;
  private lineFree = 0;
  private stalledUntil = 0;
  private scheduled = false;
  backlogBytes = 0;

  constructor(network: Network, path: Path) {
    this.network = network;
    this.path = path;
  }

  connect(target: End): void {
    this.target = target;
  }

  /** When bytes handed over now have left the sender's memory. */
  leaveAfter(byteCount: number): number {
    const { now } = this.network.world;
    this.lineFree = Math.max(now, this.lineFree) + byteCount / this.path.rate;
    return this.lineFree - now;
  }

  push(bytes: Uint8Array | null): void {
    const { now } = this.network.world;
    const arrives = Math.max(this.lastArrival, now + this.network.delay(this.path));
    this.lastArrival = arrives;
    this.pieces.push({ bytes, arrives });
    this.schedule();
  }

  stall(until: number): void {
    this.stalledUntil = Math.max(this.stalledUntil, until);
  }

  /** Forgets what has not arrived; keeps, when told to, some of it from the front. */
  cut(keepSome: boolean): void {
    this.pieces.length = keepSome ? this.network.chance.integer(0, this.pieces.length) : 0;
  }

  resume(delay: number): void {
    this.lastArrival = Math.max(this.lastArrival, this.network.world.now + delay);
    for (const piece of this.pieces) piece.arrives = Math.max(piece.arrives, this.network.world.now + delay);
    this.schedule();
  }

  private schedule(): void {
    const first = this.pieces[0];
    if (this.scheduled || first === undefined) return;
    this.scheduled = true;
    this.network.world.at(Math.max(first.arrives, this.stalledUntil), () => this.arrive());
  }

  private arrive(): void {
    this.scheduled = false;
    if (this.path.blocked) {
      this.path.waiting.add(this);
      return;
    }
    const { world, chance, nature } = this.network;
    if (world.now < this.stalledUntil) return this.schedule();
    const first = this.pieces[0];
    if (first === undefined) return;
    if (first.arrives > world.now) return this.schedule();
    this.pieces.shift();
    let { bytes } = first;
    if (bytes !== null && bytes.length > 1 && chance.happens(nature.split)) {
      const cut = chance.happens(0.3) ? 1 : chance.integer(1, bytes.length - 1);
      this.pieces.unshift({ bytes: bytes.subarray(cut), arrives: world.now + chance.between(0, 2) });
      bytes = bytes.subarray(0, cut);
    }
    this.target?.take(bytes);
    this.schedule();
  }
}

/** One side of a connection, as the core holds it. */
export class End implements LinkPort {
  readonly station: Station;
  readonly peerName: string;
  readonly number: number;
  /** When the connection was made, in the world's time. */
  readonly born: number;
  readonly out: Stream;
  isOpen = true;
  private readonly network: Network;
  private readonly life: number;
  private receiver: LinkReceiver | null = null;
  private lastTake: number;
  /** Parts that were handed over and not taken yet, in order. */
  private leaving = 0;

  constructor(network: Network, station: Station, peerName: string, number: number) {
    this.network = network;
    this.station = station;
    this.peerName = peerName;
    this.number = number;
    this.born = network.world.now;
    this.lastTake = this.born;
    this.life = station.life;
    this.out = new Stream(network, network.path(station.name, peerName));
  }

  get backlogBytes(): number {
    return this.leaving;
  }

  attach(receiver: LinkReceiver): void {
    this.receiver = receiver;
    this.watchSilence(this.network.nature.silentMillis);
  }

  /** Whoever is silent for too long is taken for dead by the shell, as the daemon's listener and the system's keep-alive do. */
  private watchSilence(millis: number): void {
    this.network.world.after(millis, () => {
      if (!this.isOpen) return;
      const silent = this.network.world.now - this.lastTake;
      if (silent < this.network.nature.silentMillis) this.watchSilence(Math.max(1, this.network.nature.silentMillis - silent));
      else this.fail();
    });
  }

  send(parts: readonly Uint8Array[], sent?: () => void): void {
    this.station.gate.pass('send', () => this.handOver(parts, sent));
  }

  close(): void {
    this.station.gate.pass('close', () => {
      if (!this.isOpen) return;
      this.end();
      if (this.network.chance.happens(0.3)) this.out.cut(true);
      this.out.push(null);
    });
  }

  /** The process or machine at this end is gone. */
  abandon(silent: boolean): void {
    if (!this.isOpen) return;
    this.end();
    this.out.cut(true);
    if (!silent) this.out.push(null);
  }

  /** The connection broke on the way: both sides hear of it. */
  fail(): void {
    if (!this.isOpen) return;
    this.out.cut(true);
    this.out.push(null);
    this.hearClosed(this.network.chance.between(0, 50));
  }

  /** Bytes arrive at this end, or the end of the stream (null). */
  take(bytes: Uint8Array | null): void {
    if (!this.isOpen) {
      if (bytes !== null && this.station.listening) this.network.onLateBytes();
      // A machine that knows nothing of this connection says so; one without power says nothing.
      if (bytes !== null && this.station.powered) this.out.push(null);
      return;
    }
    if (bytes === null) return this.hearClosed(0);
    this.lastTake = this.network.world.now;
    this.station.enter(
      'receive',
      this.life,
      () => {
        if (!this.isOpen) return;
        const copy = bytes.slice();
        this.receiver?.receive(copy);
        // The memory is used again for the next bytes.
        copy.fill(0xdb);
      },
      bytes.length,
    );
  }

  private handOver(parts: readonly Uint8Array[], sent: (() => void) | undefined): void {
    const { world, chance } = this.network;
    let byteCount = 0;
    for (const part of parts) byteCount += part.length;
    if (!this.isOpen) {
      if (sent !== undefined) this.tell(sent);
      return;
    }
    const delay = this.out.leaveAfter(byteCount);
    if (delay < 0.1 && this.leaving === 0 && (sent === undefined || chance.happens(0.5))) {
      this.out.push(joined(parts, byteCount));
      sent?.();
      return;
    }
    // The bytes are read late: whoever changes them before `sent` is found out.
    const copy = sent === undefined ? joined(parts, byteCount) : null;
    this.leaving += byteCount;
    world.after(delay, () => {
      this.leaving -= byteCount;
      if (this.isOpen) this.out.push(copy ?? joined(parts, byteCount));
      if (sent !== undefined) this.tell(sent);
    });
  }

  private tell(sent: () => void): void {
    this.network.world.after(0, () => this.station.enter('sent', this.life, sent));
  }

  private hearClosed(delay: number): void {
    this.network.world.after(delay, () =>
      this.station.enter('closed', this.life, () => {
        if (!this.isOpen) return;
        this.end();
        this.receiver?.closed();
      }),
    );
  }

  private end(): void {
    this.isOpen = false;
    this.network.forget(this);
  }
}

function joined(parts: readonly Uint8Array[], byteCount: number): Uint8Array {
  const bytes = new Uint8Array(byteCount);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
