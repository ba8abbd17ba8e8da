// Connections between sites, as the core's LinkPort: what is sent in one turn leaves with one call, what arrives is handed on at once.
// With TLS the link also says who the other end is, and the core takes nobody else's word for it.

import { connect } from 'node:net';
import type { Journal, LinkIdentity, LinkPort } from '../core/base/ports.ts';
import { limits } from '../core/base/limits.ts';
import { linkProtocol } from './client-hello.ts';
import { type StreamAddress } from './stream-address.ts';
import { openStreamServer, type StreamServer } from './stream-server.ts';
import { ReceiveMemory, type ReceiveOptions, securedStream, type StreamEvents, StreamSocket } from './stream-socket.ts';
import type { TlsIdentity } from './tls-identity.ts';
import type { TlsMaterial } from './tls-material.ts';
import { connectTls } from './tls-stream.ts';

/** Who hears of a connection's bytes and end. */
export interface LinkEvents {
  /** Bytes that arrived, valid only during the call. */
  receive(bytes: Uint8Array): void;
  /** The connection ended, by the other side or a failure; called once, and not after close(). */
  closed(reason: string): void;
}

export type LinkOptions = Omit<ReceiveOptions, 'validity'>;

/** After so long without traffic the system asks whether the other machine still lives; heartbeats ask much sooner. */
const KEEP_ALIVE_MILLIS = 10_000;

/** One connection to a peer. */
export class SocketLink implements LinkPort {
  readonly #stream: StreamSocket;
  readonly #turns: LinkOptions['turns'];
  readonly identity: LinkIdentity | null;
  #events: LinkEvents | null = null;
  #isCorked = false;
  readonly #uncork = (): void => {
    this.#isCorked = false;
    this.#stream.uncork();
  };

  /** `identity`: whose certificate the other end has shown; null without TLS. */
  constructor(stream: StreamSocket, turns: LinkOptions['turns'], identity: TlsIdentity | null) {
    this.#stream = stream;
    this.#turns = turns;
    // Only a site's certificate speaks for a site: that of a client or the witness is one without a name here.
    this.identity = identity === null ? null : { site: identity.kind === 'site' ? identity.name : '', groups: identity.groups };
  }

  /** The other end, for people. */
  get remote(): string {
    return this.#stream.remote;
  }

  get backlogBytes(): number {
    return this.#stream.backlogBytes;
  }

  /** Says who hears of it: called in the turn in which the connection was made, before anything can have arrived. */
  attach(events: LinkEvents): void {
    this.#events = events;
  }

  /** Closes the connection, as if it had failed, once nothing was sent or received for so long; 0 for never. */
  closeWhenSilent(millis: number): void {
    this.#stream.closeWhenSilent(millis);
  }

  send(parts: readonly Uint8Array[], sent?: () => void): void {
    if (!this.#isCorked) {
      this.#isCorked = true;
      this.#stream.cork();
      this.#turns.touchSend(this.#uncork);
    }
    this.#stream.write(parts, sent);
  }

  /** Ends the connection; what was sent before still goes out if the other side takes it soon. */
  close(): void {
    this.#events = null;
    this.#stream.end('closed here', limits.lingerMillis);
  }

  /** What the stream below tells this link; for whoever starts the stream. */
  streamEvents(): StreamEvents {
    return {
      received: (bytes) => this.#events?.receive(bytes),
      ended: () => this.#stream.destroy('closed by the other side'),
      closed: (reason) => {
        const events = this.#events;
        this.#events = null;
        events?.closed(reason);
      },
    };
  }
}

export type DialOutcome = { readonly kind: 'link'; readonly link: SocketLink } | { readonly kind: 'failed'; readonly reason: string };

type DialDone = (outcome: DialOutcome) => void;
/** Ends an attempt. */
type GiveUp = () => void;

/** How to connect: with `tls`, only to a site of that name, for that group. */
export type DialOptions = LinkOptions & {
  readonly timeoutMillis: number;
  readonly tls?: { readonly material: TlsMaterial; readonly site: string; readonly group: string } | undefined;
};

/**
 * Connects to a peer. `done` is called once, later; it attaches to the link at once. Returns what gives the attempt up, after which
 * `done` is not called.
 */
export function dial(address: StreamAddress, options: DialOptions, done: DialDone): GiveUp {
  return options.tls === undefined ? dialPlain(address, options, done) : dialTls(address, options, options.tls, done);
}

function dialTls(
  address: StreamAddress,
  { buffers, timeoutMillis, turns }: DialOptions,
  { material, site, group }: NonNullable<DialOptions['tls']>,
  done: DialDone,
): GiveUp {
  const how = { material, expected: { kind: 'site', name: site }, protocol: linkProtocol(group) } as const;
  const giveUp = connectTls(address, how, (handshake) => {
    clearTimeout(timer);
    if ('failed' in handshake) {
      done({ kind: 'failed', reason: handshake.failed });
      return;
    }
    handshake.socket.setNoDelay(true);
    handshake.socket.setKeepAlive(true, KEEP_ALIVE_MILLIS);
    const stream = securedStream(handshake.socket, { buffers, turns, validity: 'call' });
    const link = new SocketLink(stream, turns, handshake.identity);
    stream.start(link.streamEvents());
    done({ kind: 'link', link });
  });
  const timer = setTimeout(() => {
    giveUp();
    done({ kind: 'failed', reason: `no answer for ${timeoutMillis} ms` });
  }, timeoutMillis);
  return () => {
    clearTimeout(timer);
    giveUp();
  };
}

function dialPlain(address: StreamAddress, options: DialOptions, done: DialDone): GiveUp {
  const memory = new ReceiveMemory({ buffers: options.buffers, turns: options.turns, validity: 'call' });
  const socket = connect({ ...address, onread: memory.onread, allowHalfOpen: true });
  let isOver = false;
  const fail = (reason: string): void => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    socket.destroy();
    memory.dispose();
    done({ kind: 'failed', reason });
  };
  const timer = setTimeout(() => fail(`no answer for ${options.timeoutMillis} ms`), options.timeoutMillis);
  const failed = (error: NodeJS.ErrnoException): void => fail(error.code ?? error.message);
  socket.on('error', failed);
  socket.once('connect', () => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MILLIS);
    const stream = new StreamSocket(socket, memory);
    socket.off('error', failed);
    const link = new SocketLink(stream, options.turns, null);
    stream.start(link.streamEvents());
    done({ kind: 'link', link });
  });
  return () => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    socket.destroy();
    memory.dispose();
  };
}

export interface LinkServerOptions extends LinkOptions {
  readonly listen: readonly StreamAddress[];
  readonly connectionsMax: number;
  readonly journal: Journal;
  readonly tls?: TlsMaterial | undefined;
  /** Attaches to the link at once. That a stranger soon says who he is, is for the one who reads the bytes to watch. */
  accept(link: SocketLink): void;
  /** Where a connection may be another thread's: returns what its bytes go to until that is known. `own`: it is this thread's, who takes its events. */
  readonly door?: ((stream: StreamSocket, identity: TlsIdentity | null, own: () => StreamEvents) => StreamEvents) | undefined;
}

/** Listens for peers. Rejects with TercetError TERCET_PORT_IN_USE. */
export function openLinkServer(options: LinkServerOptions): Promise<StreamServer> {
  const { buffers, turns } = options;
  return openStreamServer({
    listen: options.listen,
    what: 'peers',
    connectionsMax: options.connectionsMax,
    keepAliveMillis: KEEP_ALIVE_MILLIS,
    receive: { buffers, turns, validity: 'call' },
    journal: options.journal,
    tls: options.tls,
    accept: (stream, identity) => {
      const own = (): StreamEvents => {
        const link = new SocketLink(stream, turns, identity);
        options.accept(link);
        return link.streamEvents();
      };
      return options.door === undefined ? own() : options.door(stream, identity, own);
    },
  });
}
