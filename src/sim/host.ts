// The hosts: clients that read and write a volume at whichever site serves, remember every answer, and go elsewhere when a connection drops or
// stays silent. What they saw is judged by UnitHistory. A request that was sent on a connection that ended is unknown: it may have happened,
// and its bytes may still arrive.

import { Chance } from './random.ts';
import { type HostWrite, UnitHistory } from './history.ts';
import type { DrivenSite, Machine } from './machine.ts';
import type { World } from './world.ts';
import type { Position } from '../core/base/position.ts';
import type { BlockExtent, HostCommand, HostError, HostRequest, HostSession } from '../core/site/contract.ts';

/** What the hosts do. */
export interface HostNature {
  readonly clients: number;
  /** Unit of contents: a divisor of 4096; requests begin and end at its multiples. */
  readonly unitBytes: number;
  readonly volumeBytes: readonly number[];
  /** Requests of one client that wait for answers at one time, at most. */
  readonly depth: number;
  /** Milliseconds between two bursts of a client, at least and at most. */
  readonly pauseLeast: number;
  readonly pauseMost: number;
  /** Largest request in bytes. */
  readonly requestBytes: number;
  /** A client that has heard nothing for this long gives up its connection. */
  readonly patienceMillis: number;
  /** Probability that a request goes to a site that does not serve. */
  readonly stray: number;
}

/** A request under way. */
export interface HostOperation {
  readonly number: number;
  readonly command: HostCommand;
  readonly fua: boolean;
  readonly volume: number;
  readonly fromUnit: number;
  readonly toUnit: number;
  readonly request: HostRequest;
  readonly session: Session;
  /** When it reached the site, in the world's time. */
  readonly invoked: number;
  /** A write, trim or zeroes; null for the others. */
  readonly write: HostWrite | null;
  /** For a flush: the newest record that a host had been told of when it was sent; the oracles set it. */
  flushTo: Position | null;
}

/** What oracles and coverage want to know of the hosts' requests. */
export interface HostListener<S extends DrivenSite> {
  /** Before the site is asked. */
  sending(machine: Machine<S>, operation: HostOperation): void;
  /** While the site answers, before the hosts know. */
  answering(machine: Machine<S>, operation: HostOperation, error: HostError, data: Uint8Array | null): void;
}

/** A client's connection to one site. */
export class Session implements HostSession {
  open = true;
  readonly waiting = new Map<HostRequest, HostOperation>();
  readonly machine: Machine<DrivenSite>;
  readonly life: number;
  /** Of each volume, as the site said when the client connected. */
  readonly sizes: readonly number[];
  private readonly onReply: (operation: HostOperation, error: HostError, data: Uint8Array | null) => void;

  constructor(
    machine: Machine<DrivenSite>,
    sizes: readonly number[],
    onReply: (operation: HostOperation, error: HostError, data: Uint8Array | null) => void,
  ) {
    this.machine = machine;
    this.sizes = sizes;
    this.life = machine.life;
    this.onReply = onReply;
  }

  /** The client has closed it, and the site has heard so. */
  get gone(): boolean {
    return !this.open;
  }

  reply(request: HostRequest, error: HostError, data: Uint8Array | null = null): void {
    this.machine.gate.pass('reply', () => {
      const operation = this.waiting.get(request);
      if (operation === undefined) {
        this.machine.world.fail(
          'R4 one answer',
          `${this.machine.name} answers a request that is not waiting: ${request.command} at ${request.offset}`,
        );
        return;
      }
      this.waiting.delete(request);
      if (this.open) this.onReply(operation, error, data);
    });
  }

  replyStatus(request: HostRequest, extents: readonly BlockExtent[]): void {
    const sum = extents.reduce((total, extent) => total + extent.length, 0);
    if (sum === 0 || sum > request.length) {
      this.machine.world.fail('R5 contents', `${this.machine.name} describes ${sum} bytes of a range of ${request.length}`);
    }
    this.reply(request, 0);
  }
}

interface Client {
  readonly number: number;
  session: Session | null;
  /** Where it was served last. */
  preferred: number;
  lastHeard: number;
}

/** All clients of the group. */
export class Hosts<S extends DrivenSite> {
  readonly histories: readonly UnitHistory[];
  readonly nature: HostNature;
  /** Writes that were answered well. */
  acknowledged = 0;
  readsChecked = 0;
  refused = 0;
  running = true;
  /** Writes by their tags. */
  readonly writes = new Map<number, HostWrite & { readonly volume: number }>();
  private readonly lost = new Set<number>();
  private judging = true;
  private numbers = 0;
  private readonly world: World;
  private readonly chance: Chance;
  private readonly machines: readonly Machine<S>[];
  private readonly listener: HostListener<S>;
  private readonly clients: Client[] = [];
  private readonly sessions = new Set<Session>();

  constructor(world: World, nature: HostNature, machines: readonly Machine<S>[], listener: HostListener<S>) {
    this.world = world;
    this.chance = world.chance('hosts');
    this.nature = nature;
    this.machines = machines;
    this.listener = listener;
    this.histories = nature.volumeBytes.map((bytes) => new UnitHistory(bytes, nature.unitBytes, (text) => this.judge(text)));
    for (let number = 0; number < nature.clients; number++) this.clients.push({ number, session: null, preferred: 0, lastHeard: 0 });
  }

  /** What hosts see is not judged any more. */
  stopJudging(): void {
    this.judging = false;
  }

  private judge(text: string): void {
    if (this.judging) this.world.fail('R1 linearizable', text);
  }

  /** Sets every client going. */
  start(): void {
    for (const client of this.clients) this.world.after(this.pause(), () => this.act(client));
  }

  /** A site does not serve any more, or its process is gone: its connections end, their unanswered requests are unknown. */
  drop(machine: Machine<S>): void {
    for (const session of this.sessions) {
      if (session.machine === (machine as unknown as Machine<DrivenSite>)) this.disconnect(session);
    }
  }

  /** Whether a request waits at that machine on a connection that stands. */
  hasOpen(machine: Machine<S>): boolean {
    for (const session of this.sessions) {
      if (session.machine === (machine as unknown as Machine<DrivenSite>) && session.waiting.size > 0) return true;
    }
    return false;
  }

  /** Writes that the rules allow to be lost are lost. */
  forgive(tags: readonly number[]): void {
    const writes = tags.map((tag) => this.writes.get(tag)).filter((write) => write !== undefined);
    for (const write of writes) this.lost.add(write.tag);
    this.histories.forEach((history, volume) => {
      history.lost(
        writes.filter((write) => write.volume === volume),
        this.lost,
      );
    });
  }

  /** The oldest request that still waits at a living, running site: when it was sent. */
  oldestWaiting(): { readonly since: number; readonly operation: HostOperation } | null {
    let oldest: { since: number; operation: HostOperation } | null = null;
    for (const session of this.sessions) {
      if (session.machine.frozen || session.life !== session.machine.life) continue;
      for (const operation of session.waiting.values()) {
        const since = Math.max(operation.invoked, session.machine.thawedAt);
        if (oldest === null || since < oldest.since) oldest = { since, operation };
      }
    }
    return oldest;
  }

  /** Requests without an answer on connections that stand. */
  get waitingCount(): number {
    let count = 0;
    for (const session of this.sessions) count += session.waiting.size;
    return count;
  }

  /** Reads a whole volume through one site, in pieces. */
  readAll(machine: Machine<S>): void {
    (machine.site?.sizes ?? this.nature.volumeBytes).forEach((bytes, volume) => {
      const session = this.connect(machine);
      const step = Math.min(bytes, 64 * 1024);
      for (let offset = 0; offset < bytes; offset += step) {
        this.send(machine, session, [{ command: 'read', fua: false, volume, offset, length: Math.min(step, bytes - offset) }]);
      }
    });
  }

  private pause(): number {
    return this.chance.spread(this.nature.pauseLeast, this.nature.pauseMost);
  }

  private act(client: Client): void {
    if (!this.running) return;
    this.world.after(this.pause(), () => this.act(client));
    const { session } = client;
    if (session !== null && session.waiting.size > 0 && this.world.now - client.lastHeard > this.nature.patienceMillis)
      this.disconnect(session);
    if (session === null || !session.open || this.chance.happens(0.002)) {
      if (session !== null) this.disconnect(session);
      this.choose(client);
    }
    const current = client.session;
    if (current === null || current.waiting.size >= this.nature.depth) return;
    if (current.waiting.size === 0) client.lastHeard = this.world.now;
    const count = this.chance.integer(1, Math.min(6, this.nature.depth - current.waiting.size));
    const batch: Wanted[] = [];
    for (let i = 0; i < count; i++) batch.push(this.wanted(current.sizes));
    this.send(current.machine as unknown as Machine<S>, current, batch);
  }

  /** Connects to a site that serves; now and then to any. */
  private choose(client: Client): void {
    client.session = null;
    const alive = this.machines.filter((machine) => machine.site !== null);
    if (alive.length === 0) return;
    const serving = alive.filter((machine) => machine.site?.serving === true);
    const machine = serving.length === 0 || this.chance.happens(this.nature.stray) ? this.chance.pick(alive) : this.chance.pick(serving);
    client.lastHeard = this.world.now;
    client.session = this.connect(machine, client);
  }

  private connect(machine: Machine<S>, client: Client | null = null): Session {
    const sizes = machine.site?.sizes ?? this.nature.volumeBytes;
    const session: Session = new Session(machine as unknown as Machine<DrivenSite>, [...sizes], (operation, error, data) => {
      if (client !== null) client.lastHeard = this.world.now;
      this.answered(machine, operation, error, data);
      if (error !== 0 && client !== null) this.disconnect(session);
    });
    this.sessions.add(session);
    return session;
  }

  private disconnect(session: Session): void {
    session.open = false;
    this.sessions.delete(session);
  }

  private wanted(sizes: readonly number[]): Wanted {
    const { unitBytes, requestBytes } = this.nature;
    const volume = this.chance.integer(0, sizes.length - 1);
    const size = sizes[volume] as number;
    const dice = this.chance.unit();
    const command: HostCommand =
      dice < 0.5
        ? 'write'
        : dice < 0.78
          ? 'read'
          : dice < 0.86
            ? 'flush'
            : dice < 0.91
              ? 'trim'
              : dice < 0.96
                ? 'zeroes'
                : dice < 0.98
                  ? 'cache'
                  : 'status';
    if (command === 'flush') return { command, fua: false, volume, offset: 0, length: 0 };
    const fine = this.chance.happens(0.3) && command !== 'trim';
    const grain = fine ? unitBytes : 4096;
    const most = requestBytes / grain;
    const length = grain * (this.chance.happens(0.6) ? 1 : this.chance.integer(1, most));
    // Most requests meet in a few places: there they overlap, overtake and wait for each other.
    const room = this.chance.happens(0.6) ? Math.min(size, 8 * 4096 + length) : size;
    const offset = grain * this.chance.integer(0, Math.max(0, Math.floor((Math.min(room, size) - length) / grain)));
    const fua = (command === 'write' || command === 'zeroes' || command === 'trim') && this.chance.happens(0.1);
    return { command, fua, volume, offset, length };
  }

  private send(machine: Machine<S>, session: Session, batch: readonly Wanted[]): void {
    this.world.after(this.chance.spread(0.02, 1), () => {
      machine.enter(
        'requests',
        session.life,
        () => {
          for (const wanted of batch) this.sendOne(machine, session, wanted);
        },
        batch.length,
      );
    });
  }

  private sendOne(machine: Machine<S>, session: Session, wanted: Wanted): void {
    const { unitBytes } = this.nature;
    const number = ++this.numbers;
    const fromUnit = wanted.offset / unitBytes;
    const toUnit = (wanted.offset + wanted.length) / unitBytes;
    const changes = wanted.command === 'write' || wanted.command === 'trim' || wanted.command === 'zeroes';
    let payload: Uint8Array | null = null;
    if (wanted.command === 'write') {
      const memory = new Uint8Array(wanted.length);
      UnitHistory.fill(memory, unitBytes, fromUnit, number);
      payload = memory;
      machine.whenTurned(() => memory.fill(0xee));
    }
    const request: HostRequest = {
      session,
      command: wanted.command,
      volume: wanted.volume,
      offset: wanted.offset,
      length: wanted.length,
      fua: wanted.fua,
      noHole: wanted.command === 'zeroes' && number % 2 === 0,
      payload,
      seq: 0,
      needSeq: 0,
      data: null,
      startedMillis: machine.now(),
    };
    const invoked = this.world.now;
    const write = changes
      ? { tag: number, zero: payload === null, fromUnit, toUnit, invoked, response: null, volume: wanted.volume }
      : null;
    const operation: HostOperation = {
      number,
      command: wanted.command,
      fua: wanted.fua,
      volume: wanted.volume,
      fromUnit,
      toUnit,
      request,
      session,
      invoked,
      write,
      flushTo: null,
    };
    session.waiting.set(request, operation);
    if (write !== null) {
      this.writes.set(number, write);
      (this.histories[wanted.volume] as UnitHistory).invoked(write);
    }
    this.world.note(machine.name, `> ${wanted.command}`, number, wanted.offset, () => `length ${wanted.length}${wanted.fua ? ' fua' : ''}`);
    this.listener.sending(machine, operation);
    machine.site?.request(request);
  }

  private answered(machine: Machine<S>, operation: HostOperation, error: HostError, data: Uint8Array | null): void {
    this.world.note(machine.name, `< ${operation.command}`, operation.number, error, () => `seq ${operation.request.seq}`);
    this.listener.answering(machine, operation, error, data);
    if (error !== 0) {
      this.refused++;
      return;
    }
    const history = this.histories[operation.volume] as UnitHistory;
    if (operation.write !== null) {
      this.acknowledged++;
      history.acknowledged(operation.write, this.world.now);
    } else if (operation.command === 'read') {
      this.readsChecked++;
      if (data?.length === operation.request.length) history.read(operation.fromUnit, data, operation.invoked, this.world.now);
      else
        this.world.fail(
          'R5 contents',
          `${machine.name} answers a read of ${operation.request.length} bytes with ${data?.length ?? 'none'}`,
        );
    }
  }
}

interface Wanted {
  readonly command: HostCommand;
  readonly fua: boolean;
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
}
