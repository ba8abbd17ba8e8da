// Listening on an address for people's programs: a TCP port, or a unix socket that only its owner and group can use.

import { lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import type { Server } from 'node:net';
import { connect } from 'node:net';
import { dirname } from 'node:path';

import { TercetError } from '../core/base/errors.ts';
import type { Address } from './address.ts';

/** Takes every right from others, and execution from everybody: sockets get mode 0660. */
const SOCKET_UMASK = 0o117;

/**
 * Starts listening. `what` names the listener in TERCET_PORT_IN_USE, which is thrown when that is impossible. The folder of a unix socket is
 * made when it is missing (/run is empty after each start of the machine), and a socket that a killed process left behind is replaced.
 */
export async function listen(server: Server, address: Address, what: string): Promise<void> {
  try {
    if (address.kind === 'tcp') await listenOnce(server, { host: address.host, port: address.port });
    else await listenUnix(server, address.path);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new TercetError('TERCET_PORT_IN_USE', { address: address.text, what, code }, { cause });
  }
}

async function listenUnix(server: Server, path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  const before = process.umask(SOCKET_UMASK);
  // The socket is made inside the call, so the mask of everything else is not touched.
  const listening = listenOnce(server, { path });
  process.umask(before);
  try {
    await listening;
  } catch (cause) {
    const inUse = cause instanceof Error && 'code' in cause && cause.code === 'EADDRINUSE';
    if (!inUse || !(await isLeftBehind(path))) throw cause;
    unlinkSync(path);
    const mask = process.umask(SOCKET_UMASK);
    const again = listenOnce(server, { path });
    process.umask(mask);
    await again;
  }
}

function listenOnce(server: Server, where: { path: string } | { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Whether a path is a socket at which nobody listens any more. */
function isLeftBehind(path: string): Promise<boolean> {
  if (!lstatSync(path).isSocket()) return Promise.resolve(false);
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}
