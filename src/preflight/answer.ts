// The answering side of `tercet check`: listens where the site's daemon will listen, before there is one, so that another site can measure the
// path to it and have the way back tried. It carries nothing but echoes, bytes that are thrown away, and its clock.

import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

import type { Address } from '../api/address.ts';
import { upgradeServer } from '../host/tls-stream.ts';
import type { TlsMaterial } from '../host/tls-material.ts';

/** First word of each request line: GREETING VERB [ARGUMENT]. */
export const CHECK_GREETING = 'TERCET-CHECK/1';
/** Bytes of the longest request line. */
const LINE_BYTES_MAX = 128;
const CONNECTIONS_MAX = 16;
/** A connection on which nothing happens for this long is closed. */
const IDLE_MILLIS = 10_000;
/** Bytes that one request may have thrown away. */
export const SINK_BYTES_MAX: number = 1024 * 1024 * 1024;
const REACH_MILLIS = 3_000;

/** Where the sites of the configuration listen for each other: the only addresses that an answering side ever connects to. */
export type SiteAddresses = ReadonlyMap<string, Address>;

/** What an answering side knows: the other sites, and its own certificates; null where links are not encrypted. */
export interface AnswerMeans {
  readonly sites: SiteAddresses;
  readonly tls: TlsMaterial | null;
}

/** Listens and answers until close() is called on what is returned. Rejects with the system's error when it cannot listen. */
export async function answerChecks(address: Address, means: AnswerMeans): Promise<Server> {
  const server = createServer((socket) => attend(socket, means));
  server.maxConnections = CONNECTIONS_MAX;
  server.listen(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port });
  await once(server, 'listening');
  return server;
}

function attend(socket: Socket, means: AnswerMeans): void {
  socket.setNoDelay(true);
  socket.setTimeout(IDLE_MILLIS, () => socket.destroy());
  // The other side may go at any moment; that is its business.
  socket.on('error', () => socket.destroy());
  let line = '';
  const read = (chunk: Buffer): void => {
    line += chunk.toString('latin1');
    const end = line.indexOf('\n');
    if (end === -1) {
      if (line.length > LINE_BYTES_MAX) socket.destroy();
      return;
    }
    socket.off('data', read);
    carryOut(socket, line.slice(0, end), Buffer.from(line.slice(end + 1), 'latin1'), means);
  };
  socket.on('data', read);
}

function carryOut(socket: Socket, line: string, rest: Buffer, { sites, tls }: AnswerMeans): void {
  const [greeting, verb, argument = ''] = line.split(' ');
  if (greeting !== CHECK_GREETING) {
    socket.end('this is `tercet check --answer`; it understands nothing else\n');
    return;
  }
  if (verb === 'echo') {
    socket.write(rest);
    socket.on('data', (chunk) => socket.write(chunk));
  } else if (verb === 'clock') {
    socket.end(`${Date.now()}\n`);
  } else if (verb === 'sink') {
    sink(socket, Number(argument), rest.length);
  } else if (verb === 'reach') {
    reach(sites.get(argument) ?? null).then(
      (outcome) => socket.end(`${outcome}\n`),
      (cause: unknown) => socket.destroy(cause instanceof Error ? cause : undefined),
    );
  } else if (verb === 'tls') {
    shake(socket, tls);
  } else {
    socket.end('unknown request\n');
  }
}

/** Makes the connection an encrypted one, and says so on it when the other end has proved to be a site. */
function shake(socket: Socket, tls: TlsMaterial | null): void {
  if (tls === null) {
    socket.end('plain\n');
    return;
  }
  socket.write('tls\n');
  upgradeServer(socket, tls, 'needed', (handshake) => {
    if ('failed' in handshake) {
      socket.destroy();
      return;
    }
    handshake.socket.on('error', () => socket.destroy());
    if (handshake.identity?.kind === 'site') handshake.socket.end(`${handshake.identity.name}\n`);
    else handshake.socket.destroy();
  });
}

/** Throws so many bytes away, and then says so. */
function sink(socket: Socket, bytes: number, already: number): void {
  if (!Number.isSafeInteger(bytes) || bytes < 1 || bytes > SINK_BYTES_MAX) {
    socket.end('wrong size\n');
    return;
  }
  let left = bytes - already;
  const done = (): boolean => {
    if (left > 0) return false;
    socket.end(`${bytes}\n`);
    return true;
  };
  if (!done())
    socket.on('data', (chunk) => {
      left -= chunk.length;
      done();
    });
}

/** Tries to connect: "ok", or why not. */
export async function reach(address: Address | null): Promise<string> {
  if (address === null) return 'no such site in the configuration there';
  const socket = connect(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port });
  socket.setTimeout(REACH_MILLIS, () => socket.destroy(new Error(`no answer within ${REACH_MILLIS / 1000} s`)));
  try {
    await once(socket, 'connect');
    return 'ok';
  } catch (error) {
    return error instanceof Error ? ('code' in error ? String(error.code) : error.message) : String(error);
  } finally {
    socket.destroy();
  }
}
