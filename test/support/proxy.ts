// A network that tests can break: a TCP relay between two processes which stops the bytes in one direction or both, delays them, or cuts every
// connection. Stopped bytes are not lost: as with a real cut, they arrive when it heals, and ends of connections are not heard of before.

import type { Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';

import type { Address } from '../../src/api/address.ts';

/** 'out': from the one who connects; 'back': to it. */
export type Direction = 'out' | 'back';

interface Weather {
  readonly stopped: Record<Direction, boolean>;
  delayMillis: number;
  queueBytes: number;
  /** Connections are cut and new ones refused. */
  severed: boolean;
}

const QUEUE_BYTES_MAX = 4 * 1024 * 1024;

/** A relay from one address to another. */
export class Proxy {
  readonly listens: Address;
  readonly #server: Server;
  readonly #target: Address;
  readonly #weather: Weather = { stopped: { out: false, back: false }, delayMillis: 0, queueBytes: QUEUE_BYTES_MAX, severed: false };
  readonly #relays = new Set<Relay>();

  /** Listens on `listens` and relays to `target`. */
  static async open(listens: Address, target: Address): Promise<Proxy> {
    if (listens.kind !== 'tcp') throw new Error('a proxy listens on TCP');
    const proxy = new Proxy(listens, target);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen({ host: listens.host, port: listens.port }, resolve);
    });
    return proxy;
  }

  private constructor(listens: Address, target: Address) {
    this.listens = listens;
    this.#target = target;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /** Stops the bytes of one direction, or lets them pass again. */
  stop(direction: Direction, stopped: boolean): void {
    this.#weather.stopped[direction] = stopped;
    for (const relay of this.#relays) relay.advance();
  }

  /** Cuts all connections and refuses new ones, or no longer. */
  sever(severed: boolean): void {
    this.#weather.severed = severed;
    if (severed) for (const relay of this.#relays) relay.destroy();
  }

  /** Resets one of the connections, but never the oldest. */
  resetOne(pick: number): void {
    const [, ...later] = this.#relays;
    later[pick % later.length]?.destroy();
  }

  /** Every byte arrives so much later, in order; so many may be on their way at once, in each direction. */
  delay(millis: number, queueBytes: number = QUEUE_BYTES_MAX): void {
    this.#weather.delayMillis = millis;
    this.#weather.queueBytes = queueBytes;
  }

  /** Good weather again. */
  heal(): void {
    this.sever(false);
    this.delay(0);
    this.stop('out', false);
    this.stop('back', false);
  }

  async close(): Promise<void> {
    for (const relay of this.#relays) relay.destroy();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  #accept(socket: Socket): void {
    if (this.#weather.severed) {
      socket.resetAndDestroy();
      return;
    }
    const target = this.#target;
    const onward = connect(
      target.kind === 'unix'
        ? { path: target.path, allowHalfOpen: true }
        : { host: target.host, port: target.port, noDelay: true, allowHalfOpen: true },
    );
    socket.setNoDelay(true);
    const relay: Relay = new Relay({ socket, onward, weather: this.#weather, gone: () => this.#relays.delete(relay) });
    this.#relays.add(relay);
  }
}

/** One relayed connection. */
class Relay {
  readonly #flows: readonly Flow[];
  readonly #sockets: readonly Socket[];
  readonly #gone: () => void;

  constructor({ socket, onward, weather, gone }: { socket: Socket; onward: Socket; weather: Weather; gone: () => void }) {
    this.#sockets = [socket, onward];
    this.#gone = gone;
    this.#flows = [new Flow(socket, onward, weather, 'out'), new Flow(onward, socket, weather, 'back')];
    for (const each of this.#sockets) {
      // What went wrong is seen in 'close', which comes next.
      each.on('error', () => undefined);
      each.on('close', () => {
        if (this.#sockets.every((other) => other.destroyed)) this.#gone();
      });
    }
  }

  advance(): void {
    for (const flow of this.#flows) flow.advance();
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
    this.#gone();
  }
}

/** Bytes of one direction, and the end of its source behind them. */
class Flow {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #weather: Weather;
  readonly #direction: Direction;
  #queue: { readonly due: number; readonly bytes: Buffer }[] = [];
  #queuedBytes = 0;
  #ending: 'no' | 'end' | 'close' = 'no';
  #timer: NodeJS.Timeout | null = null;

  constructor(from: Socket, to: Socket, weather: Weather, direction: Direction) {
    this.#from = from;
    this.#to = to;
    this.#weather = weather;
    this.#direction = direction;
    from.on('data', (bytes) => {
      this.#queue.push({ due: performance.now() + weather.delayMillis, bytes });
      this.#queuedBytes += bytes.length;
      this.advance();
    });
    from.on('end', () => this.#end('end'));
    from.on('close', () => this.#end('close'));
    to.on('drain', () => this.advance());
  }

  advance(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (!this.#weather.stopped[this.#direction]) this.#send();
    if (this.#queuedBytes > this.#weather.queueBytes || this.#to.writableNeedDrain) this.#from.pause();
    else this.#from.resume();
  }

  #send(): void {
    while (!this.#to.writableNeedDrain) {
      const next = this.#queue[0];
      if (next === undefined) break;
      const wait = next.due - performance.now();
      if (wait > 0) {
        this.#timer = setTimeout(() => this.advance(), Math.ceil(wait));
        return;
      }
      this.#queue.shift();
      this.#queuedBytes -= next.bytes.length;
      if (!this.#to.destroyed) this.#to.write(next.bytes);
    }
    if (this.#queue.length > 0) return;
    if (this.#ending === 'end') this.#to.end();
    if (this.#ending === 'close') this.#to.destroySoon();
  }

  #end(how: 'end' | 'close'): void {
    this.#ending = how;
    this.advance();
  }
}
