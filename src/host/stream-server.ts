// Listening on TCP addresses and local sockets, for hosts (NBD) and for peers alike.

import { unlinkSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { TercetError } from '../core/base/errors.ts';
import type { Journal } from '../core/base/ports.ts';
import { type PassedSocket, passedFor } from './passed-sockets.ts';
import { addressText, type StreamAddress } from './stream-address.ts';
import { Strangers } from './strangers.ts';
import { acceptStream, type ReceiveOptions, securedStream, type StreamEvents, type StreamSocket } from './stream-socket.ts';
import type { TlsIdentity } from './tls-identity.ts';
import type { TlsMaterial } from './tls-material.ts';
import { followMaterial, peerIdentity, tlsReason, tlsServerOptions } from './tls-stream.ts';

export interface StreamServerOptions {
  readonly listen: readonly StreamAddress[];
  /** For messages: what the addresses are for. */
  readonly what: string;
  /** Connections at once; one more is closed as soon as it is accepted. */
  readonly connectionsMax: number;
  /** After so long without traffic the system asks whether the other machine still lives. */
  readonly keepAliveMillis: number;
  readonly receive: ReceiveOptions;
  readonly journal: Journal;
  /** Sockets that listen already, for addresses among `listen`. */
  readonly passed?: readonly PassedSocket[] | undefined;
  /** With it every connection is TLS, and both ends show certificates; without it none is. */
  readonly tls?: TlsMaterial | undefined;
  /**
   * Returns what the connection's events go to. `identity`: whose certificate the other end has shown; null without TLS. `at`: which of the addresses
   * it came to.
   */
  accept(stream: StreamSocket, identity: TlsIdentity | null, at: StreamAddress): StreamEvents;
}

/** An open server. */
export interface StreamServer {
  /** Where it listens, with the port that the system chose for port 0. */
  readonly addresses: readonly StreamAddress[];
  connectionCount(): number;
  /** Tells of somebody who was turned away after being accepted: now and then, not for each of a thousand. */
  refused(from: string, reason: string): void;
  /** Accepts nothing more and gives the addresses free. Connections stay. */
  stop(): Promise<void>;
}

/**
 * Listens on all addresses, or on none. Rejects with TercetError TERCET_PORT_IN_USE. A left-over file of a local socket on which nobody
 * answers is removed first.
 */
export async function openStreamServer(options: StreamServerOptions): Promise<StreamServer> {
  const servers: Server[] = [];
  const addresses: StreamAddress[] = [];
  const acceptor = new Acceptor(options);
  const stop = async (): Promise<void> => {
    await Promise.all(servers.map(closeServer));
  };
  for (const address of options.listen) {
    const server = options.tls === undefined ? plainServer(acceptor, address) : tlsServer(options.tls, acceptor, options, address);
    try {
      const passed = passedFor(options.passed ?? [], address);
      if (passed === null) await listenOrReplace(server, address);
      else await listenOn(server, { fd: passed.fd });
    } catch (error) {
      await stop();
      const { code = 'EIO' } = error as NodeJS.ErrnoException;
      throw new TercetError('TERCET_PORT_IN_USE', { address: addressText(address), what: options.what, code }, { cause: error });
    }
    server.on('error', (error: NodeJS.ErrnoException) => {
      const facts = { address: addressText(address), code: error.code };
      options.journal('stream.accept_failed', facts, `a connection for ${options.what} could not be accepted`);
    });
    servers.push(server);
    addresses.push('path' in address ? address : { host: address.host, port: (server.address() as AddressInfo).port });
  }
  return {
    addresses,
    connectionCount: () => acceptor.connectionCount,
    refused: (from, reason) => acceptor.strangers.refused(from, reason),
    stop,
  };
}

function plainServer(acceptor: Acceptor, at: StreamAddress): Server {
  return createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => acceptor.accept(socket, at));
}

/** Those in the middle of a handshake count as connections, so that strangers cannot have more of them than others. */
function tlsServer(material: TlsMaterial, acceptor: Acceptor, { connectionsMax }: StreamServerOptions, at: StreamAddress): Server {
  const server = createTlsServer(tlsServerOptions(material));
  followMaterial(server, material);
  server.maxConnections = connectionsMax;
  server.on('drop', () => acceptor.full());
  server.on('secureConnection', (socket) => acceptor.acceptSecured(socket, at));
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    acceptor.strangers.refused(socket.remoteAddress, tlsReason(error));
    socket.destroy();
  });
  return server;
}

/** Counts connections, and refuses those above the limit. */
class Acceptor {
  connectionCount = 0;
  readonly #options: StreamServerOptions;
  /** The last connection was refused: told once, not for each of a thousand. */
  #isFull = false;
  readonly strangers: Strangers;

  constructor(options: StreamServerOptions) {
    this.#options = options;
    this.strangers = new Strangers(options.journal, options.what);
  }

  accept(socket: Socket, at: StreamAddress): void {
    if (this.connectionCount >= this.#options.connectionsMax) {
      this.full();
      socket.destroy();
      return;
    }
    this.#isFull = false;
    this.#tune(socket);
    this.#begin(acceptStream(socket, this.#options.receive), null, at);
  }

  /** A connection whose handshake is done. */
  acceptSecured(socket: TLSSocket, at: StreamAddress): void {
    const identity = peerIdentity(socket);
    if (identity === null) {
      this.strangers.refused(socket.remoteAddress, 'its certificate names nobody of Tercet');
      socket.destroy();
      return;
    }
    this.#isFull = false;
    this.#tune(socket);
    this.#begin(securedStream(socket, this.#options.receive), identity, at);
  }

  /** One more was refused. */
  full(): void {
    const { connectionsMax, journal, what } = this.#options;
    if (!this.#isFull)
      journal('stream.full', { what, connectionsMax }, `all ${connectionsMax} connections for ${what} are in use: more are refused`);
    this.#isFull = true;
  }

  #tune(socket: Socket): void {
    socket.setNoDelay(true);
    socket.setKeepAlive(true, this.#options.keepAliveMillis);
  }

  #begin(stream: StreamSocket, identity: TlsIdentity | null, at: StreamAddress): void {
    this.connectionCount++;
    const events = this.#options.accept(stream, identity, at);
    stream.start({
      received: (bytes) => events.received(bytes),
      ended: () => events.ended(),
      closed: (reason) => {
        this.connectionCount--;
        events.closed(reason);
      },
    });
  }
}

async function listenOrReplace(server: Server, address: StreamAddress): Promise<void> {
  try {
    await listenOn(server, address);
  } catch (error) {
    const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
    if (!isTaken || !('path' in address) || (await answers(address.path))) throw error;
    unlinkSync(address.path);
    await listenOn(server, address);
  }
}

function listenOn(server: Server, address: StreamAddress | { readonly fd: number }): Promise<void> {
  return new Promise((listening, failed) => {
    server.once('error', failed);
    server.listen(address, () => {
      server.off('error', failed);
      listening();
    });
  });
}

/** Whether a process answers on a local socket. Only a refusal proves that none does. */
function answers(path: string): Promise<boolean> {
  return new Promise((known) => {
    const probe = connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      known(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => known(error.code !== 'ECONNREFUSED'));
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((closed) => {
    server.close(() => closed());
  });
}
