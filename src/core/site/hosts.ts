// The hosts' requests on their way through a site: taken in, carried out in batches of a turn, and answered when the acknowledgement rule holds
// and the site may serve at that very moment. A request that may not be carried out yet waits untouched; one that was carried out waits for
// its answer. There is no promise, timer or closure for a single request.

import { copyOf } from '../base/bytes.ts';
import type { Millis, Seq } from '../base/units.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { limits } from '../base/limits.ts';
import type { NewRecord } from '../record/encode.ts';
import { RECORD_KIND, type RecordKind } from '../record/layout.ts';
import type { Replica } from '../replica/replica.ts';
import type { BlockExtent, HostError, HostRequest, SiteCounter, SiteOptions } from './contract.ts';
import type { Lead } from './lead.ts';

const EIO: HostError = 5;
const ESHUTDOWN: HostError = 108;
/** Reads up to this size are copied by the session at once, so their memory goes back to the pool with the answer. */
const COPIED_BYTES_MAX = 16 * 1024;
/** What a record takes in the sidefile beside its payload, about. */
const RECORD_COST_BYTES = 64;
/** In `needSeq` while a turn's writes are carried out: this one was left for later. */
const NOT_CARRIED_OUT: Seq = -1;

/** Requests in the order in which they may be answered. */
class Queue {
  #items: HostRequest[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  first(): HostRequest | undefined {
    return this.#items[this.#head];
  }

  push(request: HostRequest): void {
    this.#items.push(request);
  }

  shift(): void {
    this.#head++;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head > 1024) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
  }

  forEach(look: (request: HostRequest) => void): void {
    for (let index = this.#head; index < this.#items.length; index++) look(this.#items[index] as HostRequest);
  }

  /** Takes out those that fit, wherever they are. */
  removeAll(fits: (request: HostRequest) => boolean): readonly HostRequest[] {
    const all = this.#items.slice(this.#head);
    const removed = all.filter(fits);
    if (removed.length > 0) {
      this.#items = all.filter((request) => !fits(request));
      this.#head = 0;
    }
    return removed;
  }

  clear(): void {
    this.#items = [];
    this.#head = 0;
  }
}

/** How long the requests of each volume are held while nobody may serve. */
class Hold {
  readonly #millis: readonly Millis[];
  readonly least: Millis;
  /** All volumes alike. */
  readonly uniform: boolean;

  constructor({ timings, volumes }: SiteOptions) {
    this.#millis = volumes.map((volume) => volume.holdMillis ?? timings.holdMillis);
    this.least = Math.min(...this.#millis);
    this.uniform = this.#millis.every((millis) => millis === this.least);
  }

  of(request: HostRequest): Millis {
    return this.#millis[request.volume] ?? this.least;
  }
}

export class HostDesk {
  readonly #options: SiteOptions;
  readonly #counters: Record<SiteCounter, number>;
  readonly #hold: Hold;
  #incoming: HostRequest[] = [];
  /** Carried out and waiting for nothing but the right to serve. */
  readonly #ready = new Queue();
  /** Carried out; answered once `needSeq` is committed. In rising order of the newest seq when they came. */
  readonly #waiting = new Queue();
  /** Flushes and writes with FUA: answered once `needSeq` is durable wherever it must be. */
  readonly #flushing = new Queue();
  readonly #answered: (latencyMillis: Millis, now: Millis) => void;
  readonly #extents = new Map<HostRequest, readonly BlockExtent[]>();
  /** Writes among `incoming` whose bytes are in memory of their own. */
  readonly #kept = new Set<HostRequest>();
  /** Rises when the requests of a reign are dropped: what still completes for them is forgotten. */
  #reign = 0;
  #coldReads = 0;

  /** `answered` is told how long each request took that was carried out. */
  constructor(
    options: SiteOptions,
    counters: Record<SiteCounter, number>,
    answered: (latencyMillis: Millis, now: Millis) => void = () => undefined,
  ) {
    this.#options = options;
    this.#counters = counters;
    this.#hold = new Hold(options);
    this.#answered = answered;
  }

  /** Requests that have no answer yet. */
  get held(): number {
    return this.#incoming.length + this.#ready.length + this.#waiting.length + this.#flushing.length + this.#coldReads;
  }

  /** Requests that have not been carried out yet. */
  get pending(): number {
    return this.#incoming.length;
  }

  request(request: HostRequest): void {
    request.startedMillis = this.#options.clock.now();
    this.#incoming.push(request);
    this.#options.shell.wake();
  }

  /** No primary here: nothing can ever answer these. */
  refuseAll(): void {
    const refused = this.#incoming;
    this.#incoming = [];
    for (const request of refused) request.session.reply(request, ESHUTDOWN);
  }

  /** The reign is over. What was not answered stays unknown to the hosts, whose connections are dropped. */
  drop(): void {
    this.#reign++;
    this.#coldReads = 0;
    this.#incoming = [];
    this.#ready.clear();
    this.#waiting.clear();
    this.#flushing.clear();
    this.#extents.clear();
  }

  /** Carries out what came in, as far as there is room: reads first, then all writes as few frames, then flushes. */
  carryOut(lead: Lead, replica: Replica): void {
    if (this.#incoming.length === 0) return;
    // A client that is gone may have sent the same again elsewhere, and something newer since: its untouched requests are never carried out.
    const requests = this.#incoming.some((request) => request.session.gone === true)
      ? this.#incoming.filter((request) => request.session.gone !== true)
      : this.#incoming;
    this.#incoming = [];
    let writes = 0;
    let flushes = 0;
    for (const request of requests) {
      if (request.command === 'read') this.#read(request, replica);
      else if (request.command === 'status') this.#status(request, replica);
      else if (request.command === 'cache') this.#waitFor(request, 0);
      else if (request.command === 'flush') flushes++;
      else writes++;
    }
    if (writes > 0) this.#writeAll(requests, lead, replica);
    if (flushes === 0) return;
    const { received } = replica.marks;
    for (const request of requests) {
      if (request.command !== 'flush') continue;
      this.#counters.flushes++;
      this.#waitForFlush(request, received, lead);
    }
  }

  /** Ends a turn: writes that could not be carried out in it keep their bytes, whose memory the network uses again. */
  keep(): void {
    if (this.#incoming.length === 0) {
      if (this.#kept.size > 0) this.#kept.clear();
      return;
    }
    for (const request of this.#incoming) {
      if (request.payload === null || this.#kept.has(request)) continue;
      if (request.memory !== undefined && request.memory !== null) continue;
      request.payload = copyOf(request.payload);
      this.#kept.add(request);
    }
  }

  /** Answers everything that may be answered now. The caller has just made sure that this site may serve. */
  release(acknowledged: { committed: Seq; durable: Seq }): void {
    for (let request = this.#ready.first(); request !== undefined; request = this.#ready.first()) {
      this.#ready.shift();
      this.#answer(request);
    }
    for (
      let request = this.#waiting.first();
      request !== undefined && request.needSeq <= acknowledged.committed;
      request = this.#waiting.first()
    ) {
      this.#waiting.shift();
      this.#answer(request);
    }
    const flushed = Math.min(acknowledged.committed, acknowledged.durable);
    for (let request = this.#flushing.first(); request !== undefined && request.needSeq <= flushed; request = this.#flushing.first()) {
      this.#flushing.shift();
      request.session.reply(request, 0);
    }
  }

  /** Fails what has waited too long with nobody able to serve: an error is better than silence without end, and a policy says when. */
  expire(now: Millis): void {
    if (this.#earliest() > now) return;
    const isLate = (request: HostRequest): boolean => request.startedMillis + this.#hold.of(request) <= now;
    if (this.#incoming.some(isLate)) {
      const late = this.#incoming.filter(isLate);
      this.#incoming = this.#incoming.filter((request) => !isLate(request));
      for (const request of late) {
        this.#kept.delete(request);
        request.payload = null;
        request.session.reply(request, ESHUTDOWN);
      }
    }
    for (const queue of [this.#ready, this.#waiting, this.#flushing]) {
      for (const request of queue.removeAll(isLate)) {
        this.#giveData(request);
        this.#extents.delete(request);
        request.session.reply(request, ESHUTDOWN);
      }
    }
  }

  /** When a request will have waited too long; not later than that, and Infinity when none ever does. */
  deadline(): Millis {
    const earliest = this.#earliest();
    if (this.#hold.uniform || earliest > this.#options.clock.now()) return earliest;
    // The oldest request is of a volume that holds for longer: each one is looked at.
    let exact = Infinity;
    const look = (request: HostRequest): void => {
      exact = Math.min(exact, request.startedMillis + this.#hold.of(request));
    };
    this.#incoming.forEach(look);
    for (const queue of [this.#ready, this.#waiting, this.#flushing]) queue.forEach(look);
    return exact;
  }

  /** The oldest request, if it were of the volume that holds for the shortest time. */
  #earliest(): Millis {
    let oldest = Infinity;
    for (const request of [this.#incoming[0], this.#ready.first(), this.#waiting.first(), this.#flushing.first()]) {
      if (request !== undefined) oldest = Math.min(oldest, request.startedMillis);
    }
    return oldest + this.#hold.least;
  }

  #waitFor(request: HostRequest, seq: Seq): void {
    request.needSeq = seq;
    if (seq === 0) this.#ready.push(request);
    else this.#waiting.push(request);
  }

  #waitForFlush(request: HostRequest, seq: Seq, lead: Lead): void {
    request.needSeq = seq;
    this.#flushing.push(request);
    lead.flushUpTo(seq);
  }

  #answer(request: HostRequest): void {
    const { session, data } = request;
    const now = this.#options.clock.now();
    this.#answered(now - request.startedMillis, now);
    if (request.command === 'status') {
      const extents = this.#extents.get(request) ?? [];
      this.#extents.delete(request);
      session.replyStatus(request, extents);
      return;
    }
    const copied = request.length <= COPIED_BYTES_MAX;
    session.reply(request, 0, data, !copied);
    if (copied) this.#giveData(request);
    request.data = null;
  }

  #giveData(request: HostRequest): void {
    if (request.data !== null) this.#options.buffers.give(request.data);
    request.data = null;
  }

  #read(request: HostRequest, replica: Replica): void {
    this.#counters.reads++;
    this.#counters.readBytes += request.length;
    const bytes = this.#options.buffers.take(request.length);
    request.data = bytes;
    const needSeq = replica.read(request.volume, request.offset, bytes);
    if (needSeq >= 0) {
      this.#waitFor(request, needSeq);
      return;
    }
    const reign = this.#reign;
    this.#coldReads++;
    this.#counters.coldReads++;
    replica.readCold(request.volume, request.offset, bytes, (seq, failure) => {
      if (reign !== this.#reign) return;
      this.#coldReads--;
      if (failure === null) this.#waitFor(request, seq);
      else request.session.reply(request, EIO);
      this.#options.shell.wake();
    });
  }

  #status(request: HostRequest, replica: Replica): void {
    this.#extents.set(request, replica.extents(request.volume, request.offset, request.length, limits.nbdExtentsMax));
    // As of the newest record: what a host is told must not un-happen any more than what it reads.
    this.#waitFor(request, replica.marks.received);
  }

  #writeAll(requests: readonly HostRequest[], lead: Lead, replica: Replica): void {
    let records: NewRecord[] = [];
    let owners: HostRequest[] = [];
    let payloadBytes = 0;
    const append = (): void => {
      if (records.length === 0) return;
      const frame = replica.append(records);
      this.#counters.frames++;
      this.#counters.frameBytes += frame.bytes.length;
      lead.appended(frame);
      frame.release();
      for (let index = 0; index < owners.length; index++) {
        const owner = owners[index] as HostRequest;
        owner.seq = frame.firstSeq + index;
      }
      records = [];
      owners = [];
      payloadBytes = 0;
    };
    for (const request of requests) {
      const { command } = request;
      if (command !== 'write' && command !== 'trim' && command !== 'zeroes') continue;
      const bytes = command === 'write' ? request.length : 0;
      // Whether there is room is known only with what came before it in the sidefile.
      if (records.length > 0 && payloadBytes + bytes >= replica.spaceLeft()) append();
      if (replica.full || !lead.writers.take(bytes + RECORD_COST_BYTES)) {
        // Back-pressure: it stays where it was and is carried out when there is room, or when its turn has come.
        request.needSeq = NOT_CARRIED_OUT;
        this.#incoming.push(request);
        continue;
      }
      this.#counters.writes++;
      this.#counters.writtenBytes += request.length;
      if (payloadBytes + bytes > limits.framePayloadBytesTarget || records.length >= limits.frameRecordsMax) append();
      const aligned = ((request.offset | request.length) & (BLOCK_BYTES - 1)) === 0;
      if (aligned && (command === 'write' || request.length <= limits.zeroesBytesMax)) {
        records.push({
          kind: kindOf(request),
          volume: request.volume,
          offset: request.offset,
          length: request.length,
          payload: request.payload,
        });
        owners.push(request);
        payloadBytes += bytes;
        continue;
      }
      // The slow path merges with what is there, so everything before it has to be in the sidefile first.
      append();
      for (const whole of splitLong(request)) {
        for (const record of replica.align(whole)) {
          const mayPunch = record.kind === RECORD_KIND.zeroes && !request.noHole;
          records.push(mayPunch ? { ...record, kind: RECORD_KIND.trim } : record);
          owners.push(request);
        }
        append();
      }
    }
    append();
    for (const request of requests) {
      if (request.command === 'write' || request.command === 'trim' || request.command === 'zeroes') this.#written(request, lead, replica);
    }
  }

  #written(request: HostRequest, lead: Lead, replica: Replica): void {
    if (request.needSeq === NOT_CARRIED_OUT) {
      request.needSeq = 0;
      return;
    }
    request.payload = null;
    this.#kept.delete(request);
    // A trim of less than a block leaves no record: there is nothing to wait for but what came before.
    const seq = request.seq > 0 ? request.seq : replica.marks.received;
    if (request.fua) this.#waitForFlush(request, seq, lead);
    else this.#waitFor(request, seq);
  }
}

/** Kind of the one record that an aligned request becomes. */
function kindOf(request: HostRequest): RecordKind {
  if (request.command === 'write') return RECORD_KIND.write;
  return request.command === 'zeroes' && request.noHole ? RECORD_KIND.zeroes : RECORD_KIND.trim;
}

/** Pieces within the length that one record may have. Zeroes stay zeroes here, whose unaligned edges have to be written, not left out. */
function* splitLong(request: HostRequest): Generator<NewRecord> {
  const kind = RECORD_KIND[request.command === 'write' ? 'write' : request.command === 'zeroes' ? 'zeroes' : 'trim'];
  if (kind === RECORD_KIND.write) {
    yield { kind, volume: request.volume, offset: request.offset, length: request.length, payload: request.payload };
    return;
  }
  const end = request.offset + request.length;
  for (let offset = request.offset; offset < end;) {
    // Cut at block bounds, so that only the first and the last piece can be unaligned.
    const next = Math.min(end, Math.floor(offset / BLOCK_BYTES) * BLOCK_BYTES + limits.zeroesBytesMax);
    yield { kind, volume: request.volume, offset, length: next - offset, payload: null };
    offset = next;
  }
}
