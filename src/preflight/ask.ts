// The asking side of `tercet check`: what the path to another site is like, measured by sending and waiting, never taken from a setting.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

import type { Address } from '../api/address.ts';
import { CHECK_GREETING, SINK_BYTES_MAX } from './answer.ts';

const WAIT_MILLIS = 5_000;
const ECHOES = 25;
const ECHO_LINE = `${'.'.repeat(63)}\n`;
const CHUNK = new Uint8Array(256 * 1024);
/** Bytes of the first, short try, from which the length of the second is taken. */
const FIRST_BYTES = 1024 * 1024;

/** What was measured of one path. */
export interface PathMeasures {
  /** Milliseconds of a small message there and back, median and worst of 25. */
  readonly roundTripMillis: { readonly median: number; readonly worst: number };
  readonly bytesPerSecond: number;
  /** The other wall clock less this one, in milliseconds, taken at the middle of the question. */
  readonly clockAheadMillis: number;
  /** Whether the other side reached this site where it listens: "ok", or why not. */
  readonly back: string;
}

/** What became of a try. `silent`: something listens there that is not `tercet check --answer`, mostly a daemon. */
export type PathOutcome =
  | { readonly kind: 'measured'; readonly measures: PathMeasures }
  | { readonly kind: 'silent' }
  | { readonly kind: 'unreachable'; readonly reason: string };

/** Measures the path to a site, for about `seconds` of full load. `self` is this site's name, which the other side then tries to reach. */
export async function measurePath(address: Address, self: string, seconds: number): Promise<PathOutcome> {
  try {
    const roundTripMillis = await echo(address);
    if (roundTripMillis === null) return { kind: 'silent' };
    const first = await sendBytes(address, FIRST_BYTES);
    const bytes = Math.min(SINK_BYTES_MAX, Math.max(FIRST_BYTES, Math.round(first * seconds)));
    const bytesPerSecond = await sendBytes(address, bytes);
    const asked = Date.now();
    const clock = Number(await ask(address, 'clock'));
    const clockAheadMillis = clock - (asked + Date.now()) / 2;
    const back = await ask(address, `reach ${self}`);
    return { kind: 'measured', measures: { roundTripMillis, bytesPerSecond, clockAheadMillis, back } };
  } catch (error) {
    return { kind: 'unreachable', reason: error instanceof Error ? ('code' in error ? String(error.code) : error.message) : String(error) };
  }
}

async function open(address: Address): Promise<Socket> {
  const socket = connect(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port });
  socket.setNoDelay(true);
  socket.setTimeout(WAIT_MILLIS, () => socket.destroy(new Error(`no answer within ${WAIT_MILLIS / 1000} s`)));
  await once(socket, 'connect');
  return socket;
}

/** Round trips of small messages; null when what listens there does not answer them. */
async function echo(address: Address): Promise<PathMeasures['roundTripMillis'] | null> {
  const socket = await open(address);
  try {
    socket.write(`${CHECK_GREETING} echo\n`);
    const millis: number[] = [];
    for (let count = 0; count < ECHOES; count++) {
      const begun = performance.now();
      socket.write(ECHO_LINE);
      const answered = await socketLine(socket);
      if (answered !== ECHO_LINE.trimEnd()) return null;
      millis.push(performance.now() - begun);
    }
    millis.sort((a, b) => a - b);
    return { median: millis[Math.floor(ECHOES / 2)] as number, worst: millis[ECHOES - 1] as number };
  } finally {
    socket.destroy();
  }
}

/** The next line that a socket brings; null when it ends before one does. */
export function socketLine(socket: Socket): Promise<string | null> {
  return new Promise((resolve, reject) => {
    let text = '';
    const settle = (found: string | null): void => {
      socket.off('data', read);
      socket.off('end', ended);
      socket.off('error', reject);
      resolve(found);
    };
    const ended = (): void => settle(null);
    const read = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      const end = text.indexOf('\n');
      if (end >= 0) settle(text.slice(0, end));
    };
    socket.on('data', read);
    socket.once('end', ended);
    socket.once('error', reject);
  });
}

async function ask(address: Address, request: string): Promise<string> {
  const socket = await open(address);
  try {
    socket.write(`${CHECK_GREETING} ${request}\n`);
    const answer = await socketLine(socket);
    if (answer === null) throw new Error('the other side hung up');
    return answer;
  } finally {
    socket.destroy();
  }
}

/** Sends so many bytes and waits until the other side has had them all; bytes per second. */
async function sendBytes(address: Address, bytes: number): Promise<number> {
  const socket = await open(address);
  try {
    const begun = performance.now();
    socket.write(`${CHECK_GREETING} sink ${bytes}\n`);
    const answered = socketLine(socket);
    for (let left = bytes; left > 0;) {
      const chunk = CHUNK.subarray(0, Math.min(left, CHUNK.length));
      left -= chunk.length;
      if (!socket.write(chunk)) await Promise.race([once(socket, 'drain'), answered]);
    }
    if ((await answered) !== String(bytes)) throw new Error('the other side did not take the bytes');
    return (bytes / (performance.now() - begun)) * 1000;
  } finally {
    socket.destroy();
  }
}
