// Serves NBD sessions on sockets: carries bytes in, and answers out once per turn of the event loop, and keeps any one client from holding
// what belongs to all: memory, connections, time. What the bytes mean is the session's business (core/nbd).

import type { Buffers, Journal } from '../core/base/ports.ts';
import { limits } from '../core/base/limits.ts';
import { HostMemory } from '../core/nbd/memory.ts';
import type { NbdHolder, NbdTls, PassedOn } from '../core/nbd/handshake.ts';
import type { NbdSession } from '../core/nbd/session.ts';
import type { HandshakeState } from '../core/nbd/handshake.ts';
import type { MovedHandshake } from '../core/nbd/session-options.ts';
import { giveStream, type MovedStream } from './moved-stream.ts';
import type { Way } from './nbd-outgoing.ts';
import type { PassedSocket } from './passed-sockets.ts';
import { Relay } from './nbd-relay.ts';
import { type StreamAddress } from './stream-address.ts';
import { openStreamServer } from './stream-server.ts';
import { adoptStream, type StreamEvents, type StreamSocket } from './stream-socket.ts';
import { identityText, type TlsIdentity } from './tls-identity.ts';
import type { TlsMaterial } from './tls-material.ts';
import { type ClientCertificate, upgradeServer } from './tls-stream.ts';
import type { TurnScheduler } from './wake.ts';

/** What is used of a session. */
export type ServedSession = Pick<
  NbdSession,
  | 'start'
  | 'receive'
  | 'resume'
  | 'takeOutput'
  | 'takeLent'
  | 'paused'
  | 'resumable'
  | 'finished'
  | 'state'
  | 'outstanding'
  | 'closeReason'
  | 'drain'
  | 'abort'
  | 'takePassedOn'
  | 'passed'
  | 'notPassed'
  | 'securing'
  | 'owesPayload'
  | 'secured'
  | 'movesTo'
  | 'takeMoved'
>;

/** A host whose handshake goes on in another thread. */
export interface MovedHost extends MovedStream, MovedHandshake {
  readonly tls: NbdTls;
  /** Until its handshake must have ended. */
  readonly leftMillis: number;
  /** Its number between the threads; null for one that comes from the thread that listens. */
  readonly connection: number | null;
}

/** TLS for hosts that come over TCP; on local sockets it is offered and never needed. */
export interface HostTls {
  readonly mode: Exclude<NbdTls, 'off'>;
  readonly clients: ClientCertificate;
  readonly material: TlsMaterial;
}

export interface NbdListenerOptions {
  readonly listen: readonly StreamAddress[];
  readonly turns: TurnScheduler;
  readonly buffers: Buffers;
  readonly journal: Journal;
  /** What all clients share; the sessions are made with the same. */
  readonly memory?: HostMemory;
  /** Sockets that listen already, for addresses among `listen`. */
  readonly passed?: readonly PassedSocket[];
  /** Null: no TLS. */
  readonly tls?: HostTls | null;
  /** `state`: of a client whose handshake began elsewhere. */
  newSession(tls: NbdTls, state?: HandshakeState): ServedSession;
  /** Hands a host over to the thread that its session names; `gone` is called when that thread is done with it. */
  readonly move?: (to: string, host: MovedHost, gone: () => void) => void;
  /** Where another site takes hosts; none when it cannot be reached. */
  readonly waysTo?: (site: string) => readonly Way[];
  /** Bounds in place of those of limits.ts. */
  readonly limitsOverride?: Partial<NbdListenerLimits>;
}

export interface NbdListenerLimits {
  readonly nbdConnectionsMax: number;
  readonly nbdHandshakeMillis: number;
  readonly nbdUnsentBytesMax: number;
  readonly nbdStallMillis: number;
}

/** An open listener. */
export interface NbdListener {
  /** Where it listens, with the port that the system chose for port 0. */
  readonly addresses: readonly StreamAddress[];
  connectionCount(): number;
  /** Goes on with a host of another thread; `gone` is called once its connection has ended, or has moved on. */
  adopt(host: MovedHost, gone: () => void): void;
  /**
   * Cuts every connection at once but those of sessions that are spared: a site that stopped serving must not answer any more. New clients are still
   * accepted.
   */
  dropAll(reason: string, isSpared?: (session: ServedSession) => boolean): void;
  /**
   * Accepts nothing more, takes nothing more from any client, answers what is under way, and closes; what lasts longer than `graceMillis`
   * is cut. Ends when all connections are gone.
   */
  close(options: { graceMillis: number }): Promise<void>;
}

/** After so long without traffic the system asks whether the client's machine still lives. */
const KEEP_ALIVE_MILLIS = 60_000;

/** Listens for hosts. Rejects with TercetError TERCET_PORT_IN_USE. */
export async function openNbdListener(options: NbdListenerOptions): Promise<NbdListener> {
  const { buffers, turns, journal, memory = new HostMemory(Infinity), tls = null } = options;
  const bounds: NbdListenerLimits = { ...limits, ...options.limitsOverride };
  const clients = new Set<Client>();
  let whenEmpty = (): void => {};
  let isClosing = false;
  const begin = (stream: StreamSocket, mode: NbdTls, moved?: MovedHost): Client => {
    const gone = (): void => {
      clients.delete(client);
      // What it held is free for others, who may wait for it.
      turns.arm();
      if (clients.size === 0) whenEmpty();
    };
    const client = new Client({
      stream,
      session: options.newSession(mode, moved?.state),
      mode,
      connection: moved?.connection ?? null,
      handshakeMillis: moved?.leftMillis ?? bounds.nbdHandshakeMillis,
      tls,
      turns,
      buffers,
      memory,
      journal,
      bounds,
      gone,
      move: options.move,
      waysTo: options.waysTo,
      refused: (remote, reason) => server.refused(remote, reason),
    });
    clients.add(client);
    return client;
  };
  const server = await openStreamServer({
    listen: options.listen,
    what: 'NBD',
    connectionsMax: bounds.nbdConnectionsMax,
    keepAliveMillis: KEEP_ALIVE_MILLIS,
    receive: { buffers, turns, validity: 'turn' },
    passed: options.passed,
    journal,
    accept: (stream, _identity, at) => begin(stream, modeAt(at, tls)),
  });
  const endSends = turns.everyTurn(() => {
    for (const client of clients) if (client.isDue) client.flush();
  });
  const endWatch = watchMemory({ memory, clients, journal, stallMillis: bounds.nbdStallMillis });
  return {
    addresses: server.addresses,
    connectionCount: () => clients.size,
    adopt: (host, gone) => {
      const client = adoptHost(host, { buffers, turns, begin, gone });
      // It was on its way when this ended.
      if (isClosing) client.cut('the server stops');
    },
    dropAll: (reason, isSpared = () => false) => {
      for (const client of clients) if (!isSpared(client.session)) client.cut(reason);
    },
    close: async ({ graceMillis }) => {
      const stopped = server.stop();
      isClosing = true;
      await endClients(clients, graceMillis, (empty) => {
        whenEmpty = empty;
      });
      await stopped;
      endSends();
      endWatch();
    },
  };
}

/** Not by what the connection says of itself: one that was reset already says nothing. */
function modeAt(at: StreamAddress, tls: HostTls | null): NbdTls {
  if (tls === null) return 'off';
  return 'path' in at ? 'optional' : tls.mode;
}

/** Ends all clients in order, and cuts those for whom that takes too long; `onEmpty` is given what is to be called when none is left. */
async function endClients(clients: ReadonlySet<Client>, graceMillis: number, onEmpty: (empty: () => void) => void): Promise<void> {
  for (const client of clients) client.drain('the server stops');
  const cut = setTimeout(() => {
    for (const client of clients) client.cut('the server has stopped');
  }, graceMillis);
  if (clients.size > 0) await new Promise<void>(onEmpty);
  clearTimeout(cut);
}

interface Adopting extends Pick<NbdListenerOptions, 'buffers' | 'turns'> {
  readonly begin: (stream: StreamSocket, mode: NbdTls, moved: MovedHost) => Client;
  readonly gone: () => void;
}

/** Goes on with a host whose handshake began in another thread. */
function adoptHost(host: MovedHost, { buffers, turns, begin, gone }: Adopting): Client {
  const stream = adoptStream(host.fd, host.name, { buffers, turns, validity: 'turn' });
  const client = begin(stream, host.tls, host);
  stream.start({
    received: (bytes) => client.received(bytes),
    ended: () => client.ended(),
    closed: (reason) => {
      client.closed(reason);
      gone();
    },
  });
  for (const bytes of host.bytes) client.received(bytes);
  return client;
}

interface MemoryWatch {
  readonly memory: HostMemory;
  readonly clients: ReadonlySet<Client>;
  readonly journal: Journal;
  readonly stallMillis: number;
}

/** Looks now and then who keeps memory from others by doing nothing. Returns what ends that. */
function watchMemory({ memory, clients, journal, stallMillis }: MemoryWatch): () => void {
  let wasShort = false;
  const timer = setInterval(() => {
    for (const client of clients) client.look(memory.isShort);
    if (memory.isShort && !wasShort) {
      const facts = { heldBytes: memory.heldBytes, bytesMax: memory.bytesMax, connections: clients.size };
      journal('nbd.memory-full', facts, `hosts wait: requests and answers of all of them hold ${memory.heldBytes} bytes`);
    }
    wasShort = memory.isShort;
  }, stallMillis / STALL_LOOKS);
  timer.unref();
  return () => clearInterval(timer);
}

/** A client that has not taken yet what it was told is looked at again after so long. */
const MOVE_AGAIN_MILLIS = 5;

/** How often a client is looked at before it counts as one that does nothing. */
const STALL_LOOKS = 10;

interface ClientOptions {
  readonly stream: StreamSocket;
  readonly session: ServedSession;
  readonly mode: NbdTls;
  readonly connection: number | null;
  readonly handshakeMillis: number;
  readonly turns: TurnScheduler;
  readonly journal: Journal;
  readonly buffers: Buffers;
  readonly memory: HostMemory;
  readonly bounds: NbdListenerLimits;
  readonly tls: HostTls | null;
  readonly waysTo: NbdListenerOptions['waysTo'];
  readonly move: NbdListenerOptions['move'];
  /** It was turned away; said at most now and then. */
  readonly refused: (remote: string, reason: string) => void;
  readonly gone: () => void;
}

/** One connection and its session. */
class Client implements StreamEvents {
  readonly #options: ClientOptions;
  readonly #stream: StreamSocket;
  readonly #session: ServedSession;
  readonly #remote: string;
  readonly #handshake: NodeJS.Timeout;
  #isInHandshake = true;
  #isPaused = false;
  #isWaitingForDrain = false;
  #isEnding = false;
  #isGone = false;
  /** Why it was ended from here. */
  #why: string | null = null;
  /** TLS is being begun. */
  #isSecuring = false;
  /** Another site's, or another thread's, once this connection is passed on to it. */
  #relay: Pick<Relay, 'send' | 'hostEnded' | 'stop'> | null = null;
  #isRelayed = false;
  /** Another thread has the session, and ends it. */
  #isMoved = false;
  readonly #begunMillis = performance.now();
  /** What it has not taken is counted as so much. */
  #countedBytes = 0;
  /** Grows with what it sends and takes; as it was at the last look, and how often it was the same. */
  #receivedBytes = 0;
  #seen = '';
  #sameLooks = 0;
  /** Something happened since the last flush, or a request is under way that may be answered at any time. */
  mayHaveOutput = true;

  /** Whether a turn ends with a flush: one that has been told to end, as when its point has, is so though it asks for nothing. */
  get isDue(): boolean {
    return this.mayHaveOutput || this.#session.state === 'closing';
  }

  get session(): ServedSession {
    return this.#session;
  }

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#stream = options.stream;
    this.#session = options.session;
    this.#remote = options.stream.remote;
    const { bounds, handshakeMillis } = options;
    this.#handshake = setTimeout(() => this.cut(`no handshake within ${bounds.nbdHandshakeMillis} ms`), handshakeMillis);
    this.#session.start();
    options.turns.arm();
  }

  received(bytes: Uint8Array): void {
    if (this.#isRelayed) {
      this.#relay?.send(bytes);
      return;
    }
    this.#session.receive(bytes);
    this.#receivedBytes += bytes.length;
    this.mayHaveOutput = true;
    this.#options.turns.arm();
    // At once: one event may bring many reads, and a session that is full copies what it cannot take yet.
    if (this.#session.paused) this.#pause();
  }

  /**
   * The client sends no more. After a disconnect request that is in order. Else it has died, and what it has asked for and not yet got must
   * not be begun any more: its machine may have sent it again on another connection.
   */
  ended(): void {
    if (this.#isRelayed) this.#relay?.hostEnded();
    else if (this.#session.state !== 'closing') this.#end('the client closed the connection');
  }

  closed(reason: string): void {
    const wasServed = !this.#isInHandshake;
    clearTimeout(this.#handshake);
    const told = this.#why ?? this.#session.closeReason ?? reason;
    this.#isGone = true;
    this.#countUnsent();
    this.#relay?.stop(told);
    this.#session.abort();
    if (wasServed) this.#options.journal('nbd.gone', { remote: this.#remote, reason: told }, `NBD client ${this.#remote} is gone: ${told}`);
    this.#options.gone();
  }

  /** Sends what the session has, all with one call, and takes up or stops reading. */
  flush(): void {
    const session = this.#session;
    const stream = this.#stream;
    if (this.#isEnding || this.#isRelayed || this.#isSecuring) return;
    do {
      // Whoever does not take answers begins no further request: this is asked in each turn while input is held back.
      if (!this.#hasBacklog()) session.resume();
      const parts = session.takeOutput();
      const lent = session.takeLent();
      if (lent.length > 0) stream.write(parts, () => lent.forEach((bytes) => this.#options.buffers.give(bytes)));
      else if (parts.length > 0) stream.write(parts);
    } while (session.resumable && !this.#hasBacklog());
    if (this.#isInHandshake && session.state === 'transmission') this.#served();
    if (session.finished) {
      this.#end(session.closeReason ?? 'the session has ended');
      return;
    }
    if (session.securing) {
      this.#secure();
      return;
    }
    if (session.movesTo !== null) {
      this.#move(session.movesTo);
      return;
    }
    const passedOn = session.takePassedOn();
    if (passedOn !== null) this.#passOn(passedOn);
    // One that waits for memory is looked at again when others have given some back.
    this.mayHaveOutput = session.outstanding > 0 || session.paused;
    this.#countUnsent();
    if (this.#hasBacklog()) this.#waitForDrain();
    if (session.paused || this.#isWaitingForDrain) this.#pause();
    else this.#resume();
  }

  /** Takes no more from the client, and ends when what is under way is answered. */
  drain(reason: string): void {
    if (this.#isMoved) return;
    if (this.#isRelayed) {
      this.#end(reason);
      return;
    }
    this.#session.drain(reason);
    this.mayHaveOutput = true;
    this.#options.turns.arm();
  }

  /** Looks whether it goes on with what it has begun: cut when it does not, and others need the memory. */
  look(isShort: boolean): void {
    this.#countUnsent();
    const seen = `${this.#receivedBytes} ${this.#countedBytes}`;
    this.#sameLooks = seen === this.#seen ? this.#sameLooks + 1 : 0;
    this.#seen = seen;
    const owes = this.#session.owesPayload || this.#countedBytes > 0;
    if (isShort && owes && this.#sameLooks >= STALL_LOOKS)
      this.cut(`memory was short, and it neither sent nor took anything for ${this.#options.bounds.nbdStallMillis} ms`);
  }

  /** Cuts the connection; unsent answers are lost, later ones ignored. */
  cut(reason: string): void {
    this.#why ??= reason;
    this.#session.abort();
    this.#stream.destroy(reason);
  }

  /** The answer that lets the client begin is written. What it had sent before that was none of this: the session has looked. */
  #secure(): void {
    const { refused, tls, turns } = this.#options;
    if (tls === null) throw new Error('a session without TLS waits for none');
    this.#isSecuring = true;
    this.mayHaveOutput = false;
    this.#stream.secure<TlsIdentity | null>(
      (plain, done) => upgradeServer(plain, tls.material, tls.clients, done),
      (outcome) => {
        if ('failed' in outcome) {
          if (this.#session.state === 'handshake') refused(this.#remote, outcome.failed);
          return;
        }
        this.#isSecuring = false;
        const { identity } = outcome;
        if (tls.clients === 'needed' && (identity === null || identity.kind === 'witness')) {
          const reason = identity === null ? 'its certificate names nobody of Tercet' : 'its certificate is that of the witness';
          refused(this.#remote, reason);
          this.cut(reason);
          return;
        }
        if (!this.#session.securing) return this.#end(this.#session.closeReason ?? 'the session has ended');
        this.#session.secured(identity === null ? null : holderOf(identity));
        this.mayHaveOutput = true;
        turns.arm();
      },
    );
  }

  /** Hands the connection over, once everything that it was told has left. */
  #move(to: string): void {
    const { connection, handshakeMillis, mode, move, turns } = this.#options;
    if (move === undefined) throw new Error('a session moves only where there is somewhere to go');
    if (this.#stream.backlogBytes > 0) {
      setTimeout(() => turns.arm(), MOVE_AGAIN_MILLIS);
      return;
    }
    clearTimeout(this.#handshake);
    const leftMillis = Math.max(0, handshakeMillis - (performance.now() - this.#begunMillis));
    const moved = this.#session.takeMoved();
    this.#isMoved = true;
    this.#isRelayed = true;
    this.mayHaveOutput = false;
    const given = giveStream(this.#stream, (reason) => this.#end(reason));
    if (given === null) return this.cut('there is no descriptor to hand it over with');
    const { carrier, fd, name } = given;
    this.#relay = carrier;
    if (carrier !== null) this.#resume();
    move(to, { ...moved, fd, name, tls: mode, leftMillis, connection }, () => {
      if (carrier === null) this.#stream.wentAway('it has ended');
    });
  }

  #passOn(passed: PassedOn): void {
    const { waysTo, buffers, journal, turns } = this.#options;
    const session = this.#session;
    const relay = new Relay({
      host: this.#stream,
      passed,
      ways: waysTo?.(passed.site) ?? [],
      buffers,
      turns,
      answered: (answer) => {
        if (answer.kind === 'failed') {
          this.#relay = null;
          session.notPassed(
            `${passed.name.replace(/@direct$/, '')} is served by ${passed.site}, which did not take the connection: ${answer.reason}`,
          );
          this.mayHaveOutput = true;
          turns.arm();
          return;
        }
        const sent = session.passed(answer.sizeBytes);
        this.#stream.write(session.takeOutput());
        this.#isRelayed = true;
        for (const bytes of sent) relay.send(bytes);
        this.#isInHandshake = false;
        clearTimeout(this.#handshake);
        journal('nbd.passed', { remote: this.#remote, site: passed.site }, `NBD client ${this.#remote} is passed on to ${passed.site}`);
        this.#resume();
      },
      ended: (reason) => this.#end(reason),
    });
    this.#relay = relay;
  }

  #served(): void {
    this.#isInHandshake = false;
    clearTimeout(this.#handshake);
    this.#options.journal('nbd.connected', { remote: this.#remote }, `NBD client ${this.#remote} is served`);
  }

  #end(reason: string): void {
    this.#why ??= reason;
    this.#isEnding = true;
    this.mayHaveOutput = false;
    clearTimeout(this.#handshake);
    this.#relay?.stop(reason);
    this.#session.abort();
    this.#stream.end(reason, limits.lingerMillis);
  }

  #countUnsent(): void {
    const unsentBytes = this.#isGone ? 0 : this.#stream.backlogBytes;
    this.#options.memory.add(unsentBytes - this.#countedBytes);
    this.#countedBytes = unsentBytes;
  }

  #hasBacklog(): boolean {
    return this.#stream.backlogBytes > this.#options.bounds.nbdUnsentBytesMax;
  }

  #waitForDrain(): void {
    if (this.#isWaitingForDrain) return;
    this.#isWaitingForDrain = true;
    this.#stream.whenDrained(() => {
      this.#isWaitingForDrain = false;
      this.mayHaveOutput = true;
      this.#options.turns.arm();
    });
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#stream.pause();
  }

  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#stream.resume();
  }
}

function holderOf(identity: TlsIdentity): NbdHolder {
  return { text: identityText(identity), groups: identity.groups };
}
