// The way from an attached volume to the site that serves it: found, connected, watched, and found again when it is lost. At any moment at
// most one connection is used, and it is never used again once another one was begun.

import type { Clock, Buffers, Journal } from '../core/base/ports.ts';
import type { Position } from '../core/base/position.ts';
import { comparePositions, ORIGIN } from '../core/base/position.ts';
import type { Millis, Seq } from '../core/base/units.ts';
import { BASE_ALLOCATION, ERRNO } from '../core/nbd/constants.ts';
import { attachName } from '../core/nbd/export-name.ts';
import { putRequest, type Reply, ReplyReader } from '../core/nbd/replies.ts';
import { ReplyBuffer } from '../core/nbd/reply.ts';
import type { NbdRequest } from '../core/nbd/session.ts';
import { holds, positionIn, type Standing } from '../core/nbd/standing.ts';
import type { Outgoing } from '../host/nbd-outgoing.ts';
import type { TurnScheduler } from '../host/wake.ts';
import type { Requests } from './requests.ts';
import { type Found, Search, type Target } from './search.ts';

export interface UpstreamOptions {
  /** Name of the export. */
  readonly name: string;
  /** What the configuration says, which counts until a site has said. */
  readonly sizeBytes: number;
  readonly targets: readonly Target[];
  /** A name that no other attachment has. */
  readonly user: string;
  /** How long a request is held while nobody serves; Infinity for ever. */
  readonly holdMillis: Millis;
  readonly requests: Requests;
  readonly buffers: Buffers;
  readonly turns: TurnScheduler;
  readonly clock: Clock;
  readonly journal: Journal;
  /** A site has said the size for the first time. */
  readonly known: () => void;
  /** Clients were told more than there is, by the configuration alone: they are cut off, and connect anew. */
  readonly cutOff: (reason: string) => void;
  /** Answers that were given are no longer true, or cannot be kept: nothing more may be answered. */
  readonly broken: (what: 'lost' | 'size', reason: string) => void;
}

const PAUSE_MILLIS_MIN = 50;
const PAUSE_MILLIS_MAX = 1_000;
/** A request without an answer for this long: another site may serve by now. */
const STALL_MILLIS = 1_500;
/** After this the same site is connected to anew, if it still says that it serves. */
const RENEW_MILLIS = 15_000;
const WATCH_MILLIS = 250;

/** What a site says that will not serve, though the request is good: it is asked for elsewhere, or again. */
const NOT_NOW: ReadonlySet<number> = new Set([ERRNO.ESHUTDOWN, ERRNO.EIO, ERRNO.ENOMEM]);

interface Path {
  readonly site: string;
  readonly standing: Standing;
  readonly connection: Outgoing;
  readonly out: ReplyBuffer;
  readonly reader: ReplyReader;
}

export class Upstream {
  readonly #options: UpstreamOptions;
  readonly #watch: NodeJS.Timeout;
  #path: Path | null = null;
  #search: Search | null = null;
  #opening: Outgoing | null = null;
  #pauseMillis = PAUSE_MILLIS_MIN;
  #pause: NodeJS.Timeout | null = null;
  #generation = 0;
  #failuresTold = '';
  #renewedAt: Millis = -Infinity;
  #soughtAt: Millis = -Infinity;
  #isOver = false;
  #sizeBytes: number;
  /** Whether a site has said it. */
  #isKnown = false;
  /** The largest size that a client was told. */
  #toldBytes = 0;
  /** The newest record that a client has been answered for, and the newest that a flush has covered. */
  #answered: Position = ORIGIN;
  #flushed: Position = ORIGIN;
  readonly #flush = (): void => {
    const path = this.#path;
    if (path === null) return;
    const parts = path.out.take();
    if (parts.length > 0) path.connection.stream.write(parts);
  };

  constructor(options: UpstreamOptions) {
    this.#options = options;
    this.#sizeBytes = options.sizeBytes;
    this.#watch = setInterval(() => this.#look(), WATCH_MILLIS);
    this.#seek();
  }

  /** The site in use; null while none is. */
  get site(): string | null {
    return this.#path?.site ?? null;
  }

  /** The size that a client is told which connects now. */
  tellSize(): number {
    this.#toldBytes = Math.max(this.#toldBytes, this.#sizeBytes);
    return this.#sizeBytes;
  }

  /** Connects anew to whoever serves, and so learns of a volume that has grown: nothing is lost, what is under way is sent again. */
  renew(): void {
    if (this.#path === null) return;
    this.#leave('it is connected to anew, by order');
    this.#seek();
  }

  request(request: NbdRequest): void {
    this.#options.requests.take(request, this.#options.clock.now());
  }

  /** Ends it. */
  stop(): void {
    this.#isOver = true;
    clearInterval(this.#watch);
    if (this.#pause !== null) clearTimeout(this.#pause);
    this.#search?.stop();
    this.#opening?.destroy('the attachment ends');
    this.#leave('the attachment ends');
  }

  // ── finding ──

  #seek(): void {
    if (this.#isOver || this.#search !== null || this.#opening !== null) return;
    const { buffers, name, targets, turns } = this.#options;
    this.#search = new Search({ targets, name, buffers, turns }, (found, reasons) => {
      this.#search = null;
      if (found === null) this.#notFound(reasons);
      else this.#found(found);
    });
  }

  #notFound(reasons: ReadonlyMap<string, string>): void {
    if (this.#path !== null) return;
    const told = [...reasons].map(([site, reason]) => `${site}: ${reason}`).join('; ');
    if (told !== this.#failuresTold) {
      this.#failuresTold = told;
      this.#options.journal('attach.searching', { reasons: Object.fromEntries(reasons) }, `no site serves now: ${told}`);
    }
    this.#again();
  }

  #again(): void {
    if (this.#isOver || this.#pause !== null) return;
    this.#pause = setTimeout(() => {
      this.#pause = null;
      this.#seek();
    }, this.#pauseMillis);
    this.#pauseMillis = Math.min(PAUSE_MILLIS_MAX, this.#pauseMillis * 2);
  }

  #found(found: Found): void {
    const path = this.#path;
    if (path !== null) {
      const isNewer = found.standing.epoch > path.standing.epoch;
      const mayRenew =
        found.site === path.site &&
        found.standing.epoch === path.standing.epoch &&
        this.#options.clock.now() - this.#renewedAt >= RENEW_MILLIS;
      if (!isNewer && !mayRenew) {
        found.connection.destroy('not needed any more');
        return;
      }
      this.#leave(isNewer ? `${found.site} serves in epoch ${found.standing.epoch}` : 'no answer for long');
    }
    this.#open(found);
  }

  #open({ connection, site, standing }: Found): void {
    this.#opening = connection;
    const name = attachName(this.#options.name, { user: this.#options.user, generation: ++this.#generation });
    connection.ask({ name, go: true, contexts: [BASE_ALLOCATION.name], infos: [] }, (answer) => {
      this.#opening = null;
      if (answer.kind !== 'described') {
        connection.destroy(answer.reason);
        this.#notFound(new Map([[site, answer.reason]]));
        return;
      }
      if (answer.sizeBytes < this.#toldBytes) {
        const reason = `at ${site} it has ${answer.sizeBytes} bytes, and not the ${this.#toldBytes} that were told here`;
        if (this.#isKnown) {
          connection.destroy('it is smaller than the volume');
          this.#options.broken('size', reason);
          return;
        }
        // The configuration was ahead of what is served. Nobody has been answered anything yet.
        this.#options.cutOff(reason);
        this.#toldBytes = 0;
      }
      this.#learn(answer.sizeBytes);
      this.#begin({ connection, site, standing });
    });
  }

  #begin({ connection, site, standing }: Found): void {
    const { clock, journal, requests, turns } = this.#options;
    if (!holds(standing, this.#answered)) {
      connection.destroy('it lacks what was answered');
      const flushed = holds(standing, this.#flushed)
        ? 'writes that were answered but not flushed'
        : 'writes that were answered and flushed';
      const last = `the last answer stood for record (${this.#answered.epoch}, ${this.#answered.seq})`;
      this.#options.broken('lost', `${site}, primary of epoch ${standing.epoch}, has lost ${flushed}: ${last}`);
      return;
    }
    const reader = new ReplyReader({
      expected: (tag) => {
        const request = requests.sent(tag);
        return request === null ? null : { offset: request.offset, length: request.length, isRead: request.command === 'read' };
      },
      replied: (tag, reply) => this.#replied(tag, reply),
    });
    const path: Path = { site, standing, connection, reader, out: new ReplyBuffer((byteCount) => new Uint8Array(byteCount)) };
    this.#path = path;
    this.#pauseMillis = PAUSE_MILLIS_MIN;
    this.#failuresTold = '';
    this.#renewedAt = clock.now();
    connection.hand({
      received: (bytes) => {
        if (this.#path !== path) return;
        const fault = reader.receive(bytes);
        turns.arm();
        if (fault !== null) this.#lost(path, fault);
      },
      ended: () => this.#lost(path, 'closed by the other side'),
      closed: (reason) => this.#lost(path, reason),
    });
    const again = requests.count;
    journal(
      'attach.served',
      { site, epoch: standing.epoch, again },
      `served by ${site} in epoch ${standing.epoch}; ${again} requests are sent again`,
    );
    requests.connected((tag, request) => {
      putRequest(path.out, tag, request);
      turns.touchSend(this.#flush);
    });
  }

  // ── using ──

  #replied(tag: number, reply: Reply): void {
    const path = this.#path;
    const request = this.#options.requests.sent(tag);
    if (path === null || request === null) return;
    if (NOT_NOW.has(reply.error)) {
      // Nothing was promised to the client: the request stays, and is sent again to whoever serves.
      this.#lost(path, `it answered a ${request.command} with error ${reply.error}${reply.text === '' ? '' : `: ${reply.text}`}`);
      return;
    }
    if (reply.error === 0 && reply.seq !== null) this.#note(path.standing, reply.seq, request.command === 'flush' || request.fua);
    this.#options.requests.replied(tag, reply);
  }

  /** Remembers what an answer stood for. */
  #note(standing: Standing, seq: Seq, isFlushed: boolean): void {
    const position = positionIn(standing, seq);
    if (comparePositions(position, this.#answered) > 0) this.#answered = position;
    if (isFlushed && comparePositions(position, this.#flushed) > 0) this.#flushed = position;
  }

  /** What the volume has at the site that serves: clients that connect from now on see that. */
  #learn(sizeBytes: number): void {
    if (!this.#isKnown) this.#options.known();
    this.#isKnown = true;
    if (sizeBytes === this.#sizeBytes) return;
    const before = this.#sizeBytes;
    this.#sizeBytes = sizeBytes;
    this.#options.journal(
      'attach.size',
      { before, now: sizeBytes },
      `the volume has ${sizeBytes} bytes, not ${before}: clients see that when they connect`,
    );
  }

  #lost(path: Path, reason: string): void {
    if (this.#path !== path) return;
    this.#leave(reason);
    this.#again();
  }

  #leave(reason: string): void {
    const path = this.#path;
    if (path === null) return;
    this.#path = null;
    this.#options.requests.disconnected();
    path.connection.destroy(reason);
    if (this.#isOver) return;
    const facts = { site: path.site, reason, held: this.#options.requests.count };
    this.#options.journal('attach.held', facts, `the connection to ${path.site} ended (${reason}): requests are held`);
  }

  // ── watching ──

  #look(): void {
    const { clock, holdMillis, requests } = this.#options;
    const now = clock.now();
    if (holdMillis !== Infinity && requests.isLate(now - holdMillis)) this.#expire(now - holdMillis);
    if (this.#path === null || now - this.#soughtAt < STALL_MILLIS || !requests.isLate(now - STALL_MILLIS)) return;
    this.#soughtAt = now;
    this.#seek();
  }

  #expire(before: Millis): void {
    const { holdMillis, journal, requests, turns } = this.#options;
    const path = this.#path;
    if (path !== null) this.#lost(path, `a request had no answer for ${holdMillis / 1000} s`);
    const text = `no site has answered for ${holdMillis / 1000} s`;
    const count = requests.fail(before, text);
    turns.arm();
    journal('attach.request-failed', { count, holdSeconds: holdMillis / 1000 }, `${count} requests were answered with an error: ${text}`);
  }
}
