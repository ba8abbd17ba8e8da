// Sockets that the service manager (systemd, or a client such as nbdinfo that starts its own server) has opened and passed on, listening already:
// clients may connect before this program runs, and while it is started anew. They stand in for addresses of the configuration, never beside
// them, so that what is checked of those holds for these too.

import koffi from 'koffi';
import { isIPv6 } from 'node:net';

import { addressText, type StreamAddress } from './stream-address.ts';

/** A listening socket of this process. */
export interface PassedSocket {
  readonly fd: number;
  readonly address: StreamAddress;
}

const FIRST_FD = 3;
/** More would be no list of sockets. */
const COUNT_MAX = 256;
const FAMILY = { unix: 1, ipv4: 2, ipv6: 10 } as const;
/** sizeof(struct sockaddr_storage). */
const ADDRESS_BYTES_MAX = 128;
const F_SETFD = 2;
const FD_CLOEXEC = 1;

/**
 * Takes what was passed to this very process: LISTEN_PID and LISTEN_FDS of `env`, which are removed, since they are not for programs that this one
 * starts. A descriptor that is no such socket is left out.
 */
export function takePassedSockets(env: Record<string, string | undefined>): readonly PassedSocket[] {
  const count = Number(env['LISTEN_FDS'] ?? '');
  const isMine = env['LISTEN_PID'] === String(process.pid);
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name];
  if (!isMine || !Number.isInteger(count) || count < 1 || count > COUNT_MAX) return [];
  const calls = bind();
  return Array.from({ length: count }, (_, index) => FIRST_FD + index).flatMap((fd) => {
    const address = calls.addressOf(fd);
    // Programs that are started from here must not hold it.
    calls.closeOnExec(fd);
    return address === null ? [] : [{ fd, address }];
  });
}

/** The one that stands in for an address; null when there is none. */
export function passedFor(sockets: readonly PassedSocket[], address: StreamAddress): PassedSocket | null {
  const wanted = comparable(address);
  return sockets.find((each) => comparable(each.address) === wanted) ?? null;
}

/** Those that stand in for none of these. */
export function passedForNone(sockets: readonly PassedSocket[], addresses: readonly StreamAddress[]): readonly PassedSocket[] {
  const wanted = new Set(addresses.map(comparable));
  return sockets.filter((each) => !wanted.has(comparable(each.address)));
}

/** Whatever the way an address is written: and all wildcards are one, because the system's takes both families. */
function comparable(address: StreamAddress): string {
  if ('path' in address) return addressText(address);
  const { host, port } = address;
  if (host === '0.0.0.0' || host === '::') return `*:${port}`;
  return `${isIPv6(host) ? new URL(`http://[${host}]`).hostname : host}:${port}`;
}

interface Calls {
  addressOf(fd: number): StreamAddress | null;
  closeOnExec(fd: number): void;
}

function bind(): Calls {
  const library = koffi.load(null);
  const getsockname = library.func('int getsockname(int fd, _Out_ uint8_t *address, _Inout_ uint32_t *length)') as unknown as (
    fd: number,
    address: Uint8Array,
    length: [number],
  ) => number;
  const fcntl = library.func('int fcntl(int fd, int command, ...)') as unknown as (...args: (number | string)[]) => number;
  return {
    addressOf: (fd) => {
      const bytes = Buffer.alloc(ADDRESS_BYTES_MAX);
      const length: [number] = [bytes.length];
      if (getsockname(fd, bytes, length) !== 0) return null;
      return readAddress(bytes.subarray(0, Math.min(length[0], bytes.length)));
    },
    closeOnExec: (fd) => {
      fcntl(fd, F_SETFD, 'int', FD_CLOEXEC);
    },
  };
}

/** Reads a struct sockaddr; null for one of another family, or a local socket without a name in the file system. */
function readAddress(bytes: Buffer): StreamAddress | null {
  if (bytes.length < 2) return null;
  const family = bytes.readUInt16LE(0);
  if (family === FAMILY.ipv4 && bytes.length >= 8) return { host: bytes.subarray(4, 8).join('.'), port: bytes.readUInt16BE(2) };
  if (family === FAMILY.ipv6 && bytes.length >= 24) {
    const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(8 + 2 * index).toString(16));
    return { host: new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1), port: bytes.readUInt16BE(2) };
  }
  if (family !== FAMILY.unix || bytes.length < 4 || bytes[2] === 0) return null;
  const end = bytes.indexOf(0, 2);
  return { path: bytes.toString('utf8', 2, end < 0 ? bytes.length : end) };
}
