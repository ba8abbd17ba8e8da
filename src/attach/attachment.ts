// `tercet attach`: an NBD server on the host's own machine, behind which the sites of a group change places. Its clients see a device that is
// slow for a moment when a site is lost, and never an error before the time that was set.

import { randomUUID } from 'node:crypto';

import { TercetError } from '../core/base/errors.ts';
import { limits } from '../core/base/limits.ts';
import type { Journal } from '../core/base/ports.ts';
import { readExportName } from '../core/nbd/export-name.ts';
import type { NbdCatalog, NbdExport, NbdRefusal } from '../core/nbd/handshake.ts';
import { HostMemory } from '../core/nbd/memory.ts';
import { NbdSession } from '../core/nbd/session.ts';
import { BufferPool } from '../host/buffers.ts';
import { machineClock } from '../host/clock.ts';
import { type NbdListener, openNbdListener } from '../host/nbd-listener.ts';
import type { PassedSocket } from '../host/passed-sockets.ts';
import type { StreamAddress } from '../host/stream-address.ts';
import { TurnScheduler } from '../host/wake.ts';
import { Requests } from './requests.ts';
import type { Target } from './search.ts';
import { Upstream } from './upstream.ts';

export interface AttachOptions {
  readonly group: string;
  readonly volume: string;
  readonly sizeBytes: number;
  readonly targets: readonly Target[];
  readonly listen: StreamAddress;
  /** A socket that listens there already. */
  readonly passed: readonly PassedSocket[];
  /** How long a request is held while nobody serves; Infinity for ever. */
  readonly holdMillis: number;
  readonly journal: Journal;
  /** It cannot go on: clients were cut off already. */
  readonly broken: (error: TercetError) => void;
}

/** An attachment that runs. */
export interface RunningAttachment {
  /** Looks again at whoever serves: clients that connect from then on see a volume that has grown. */
  renew(): void;
  /** Takes no more requests, answers what is under way as far as a site answers in time, and ends. */
  close(): Promise<void>;
}

/** Memory that waits to be used again. */
const KEPT_BYTES_MAX = 64 * 1024 * 1024;
/** Requests and replies of one client that are held; above it the client is not read from. */
const HELD_BYTES_MAX = 64 * 1024 * 1024;
/** Clients of one attachment: a device has few connections. */
const CONNECTIONS_MAX = 32;
/** The same of all of them together. */
const MEMORY_BYTES_MAX = 512 * 1024 * 1024;

/** So long clients wait for the first site that says how large the volume is; then they are told what the configuration says. */
const SIZE_MILLIS_MAX = 5_000;

/** What the sessions of all clients share. */
interface SessionParts {
  readonly catalog: NbdCatalog;
  readonly upstream: Upstream;
  readonly buffers: BufferPool;
  readonly memory: HostMemory;
}

/** Starts serving. Throws TERCET_PORT_IN_USE. */
export async function startAttachment(options: AttachOptions): Promise<RunningAttachment> {
  const { group, volume, sizeBytes, journal } = options;
  const clock = machineClock();
  const turns = new TurnScheduler(clock);
  const buffers = new BufferPool(KEPT_BYTES_MAX);
  const memory = new HostMemory(MEMORY_BYTES_MAX);
  const name = `${group}/${volume}`;
  const requests = new Requests(buffers);
  const catalog = catalogOf({
    name,
    description: `volume ${volume} of group ${group}`,
    get sizeBytes() {
      return upstream.tellSize();
    },
    volume: 0,
    readOnly: false,
    multiConn: true,
  });
  let listener: NbdListener | null = null;
  const size = Promise.withResolvers<void>();
  const upstream = new Upstream({
    name,
    sizeBytes,
    targets: options.targets,
    user: randomUUID(),
    holdMillis: options.holdMillis,
    requests,
    buffers,
    turns,
    clock,
    journal,
    known: size.resolve,
    cutOff: (reason) => {
      journal('attach.cut-off', { reason }, `clients are cut off, and connect anew: ${reason}`);
      listener?.dropAll(reason);
    },
    broken: (what, reason) => {
      listener?.dropAll(reason);
      upstream.stop();
      const code = what === 'lost' ? 'TERCET_WRITES_LOST' : 'TERCET_VOLUME_SIZE_SERVED';
      options.broken(new TercetError(code, { volume: name, reason }));
    },
  });
  await within(SIZE_MILLIS_MAX, size);
  try {
    listener = await openNbdListener({
      listen: [options.listen],
      passed: options.passed,
      turns,
      buffers,
      journal,
      limitsOverride: { nbdConnectionsMax: CONNECTIONS_MAX },
      memory,
      newSession: () => newSession({ catalog, upstream, buffers, memory }),
    });
  } catch (error) {
    upstream.stop();
    throw error;
  }
  const open = listener;
  return {
    renew: () => upstream.renew(),
    close: async () => {
      await open.close({ graceMillis: limits.shutdownMillis });
      upstream.stop();
    },
  };
}

/** Ends when that is so, and no later than after some time. */
async function within(millisMax: number, { promise, resolve }: PromiseWithResolvers<void>): Promise<void> {
  const late = setTimeout(resolve, millisMax);
  await promise;
  clearTimeout(late);
}

function newSession({ catalog, upstream, buffers, memory }: SessionParts): NbdSession {
  return new NbdSession({
    catalog,
    handler: { request: (request) => upstream.request(request) },
    allocate: (byteCount) => Buffer.allocUnsafeSlow(byteCount),
    payloads: buffers,
    memory,
    limitsOverride: { heldBytesMax: HELD_BYTES_MAX },
  });
}

/** The one volume, by its full name, its own name or none. */
function catalogOf(volume: NbdExport): NbdCatalog {
  return {
    // The way to the sites has 32-bit lengths.
    extended: false,
    list: () => [volume],
    find: (name: string): NbdExport | NbdRefusal => {
      const wishes = readExportName(name);
      if ('wrong' in wishes) return { refused: 'unknown', text: wishes.wrong };
      const known = ['', volume.name, volume.name.slice(volume.name.indexOf('/') + 1)];
      if (!known.includes(wishes.name)) return { refused: 'unknown', text: `there is no export "${name}" here: this is ${volume.name}` };
      if (wishes.direct) return { refused: 'unknown', text: 'this is an attached volume, and no site' };
      return { ...volume, readOnly: wishes.readOnly };
    },
  };
}
