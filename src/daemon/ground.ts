// What groups stand on, in the main thread as in a thread of their own: clock, memory, the witness's client, certificates, and hosts.

import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

import { TercetError } from '../core/base/errors.ts';
import { limits } from '../core/base/limits.ts';
import type { DiskError, Journal } from '../core/base/ports.ts';
import type { SiteName } from '../core/base/units.ts';
import { machineBootId } from '../host/boot-id.ts';
import { BufferPool } from '../host/buffers.ts';
import { machineClock } from '../host/clock.ts';
import { DigestThreads } from '../host/digest-threads.ts';
import { machineDigests } from '../host/digests.ts';
import type { HostTls, NbdListener, NbdListenerOptions } from '../host/nbd-listener.ts';
import { openNbdListener } from '../host/nbd-listener.ts';
import type { PassedSocket } from '../host/passed-sockets.ts';
import { machineRandom } from '../host/random.ts';
import type { StreamAddress } from '../host/stream-address.ts';
import { TlsMaterial } from '../host/tls-material.ts';
import { TurnScheduler } from '../host/wake.ts';
import { WitnessClient } from '../witness/client.ts';
import { waysTo } from './addresses.ts';
import type { Config, SiteConfig } from './config.ts';
import { siteOf, tlsFilesOf } from './config.ts';
import type { Exports } from './exports.ts';
import type { SharedParts } from './group.ts';

/** Memory that waits to be used again, in all threads. */
const KEPT_BYTES_MAX = 128 * 1024 * 1024;

/** What is open so far, to be closed in the opposite order. */
export type Closer = () => Promise<void>;

interface GroundOptions {
  readonly config: Config;
  readonly site: SiteConfig;
  readonly journal: Journal;
  readonly tls: TlsMaterial | null;
  readonly dropHosts: SharedParts['dropHosts'];
  /** Threads that share the memory of the site. */
  readonly shares: number;
}

/** Makes what the groups of one thread share. */
export function openGround(options: GroundOptions, closers: Closer[]): SharedParts {
  const { config, site, journal, tls, dropHosts, shares } = options;
  const clock = machineClock();
  const witness = openWitnessClient(config, tls, closers);
  const threads = new DigestThreads();
  closers.push(() => threads.close());
  return {
    config,
    site,
    bootId: machineBootId(),
    clock,
    random: machineRandom(),
    digests: machineDigests,
    blockDigests: threads,
    buffers: new BufferPool(KEPT_BYTES_MAX / shares),
    turns: new TurnScheduler(clock),
    witness,
    journal,
    tls,
    dropHosts,
  };
}

/** Where hosts come from, and where those of other threads go. */
interface HostsOptions {
  readonly listen: readonly StreamAddress[];
  readonly passed: readonly PassedSocket[];
  readonly move: NonNullable<NbdListenerOptions['move']>;
}

/** Serves hosts, and passes those of other sites on to them. Rejects with TERCET_PORT_IN_USE. */
export function openHosts(exports: Exports, parts: SharedParts, { listen, passed, move }: HostsOptions): Promise<NbdListener> {
  const { buffers, config, journal, site, tls, turns } = parts;
  for (const address of listen) if ('path' in address) mkdirSync(dirname(address.path), { recursive: true });
  return openNbdListener({
    listen,
    turns,
    buffers,
    journal,
    passed,
    move,
    memory: exports.memory,
    limitsOverride: { nbdConnectionsMax: site.nbdConnections },
    tls: hostTls(site, tls),
    newSession: (mode, state) => exports.newSession(mode, state),
    waysTo: (other) => waysTo(siteOf(config, other), tls),
  });
}

/** Ends hosts in good order. */
export function closeHosts(hosts: NbdListener): Promise<void> {
  return hosts.close({ graceMillis: limits.shutdownMillis });
}

function hostTls({ nbdTls, nbdClients }: SiteConfig, material: TlsMaterial | null): HostTls | null {
  if (nbdTls === 'off' || material === null) return null;
  return { mode: nbdTls, clients: nbdClients === 'certificate' ? 'needed' : 'not-asked', material };
}

/** A disk that failed before anything ran, as whoever starts the daemon is told. */
export function diskError(error: DiskError): TercetError {
  const { operation, file, code } = error.failure;
  return new TercetError('TERCET_DISK', { operation, file, code }, { cause: error });
}

/** The certificates of a site; null where links are not encrypted. Throws TERCET_TLS. */
export function openTls(config: Config, name: SiteName): TlsMaterial | null {
  const files = tlsFilesOf(config, name);
  return files === null ? null : new TlsMaterial(files, { kind: 'site', name });
}

function openWitnessClient(config: Config, tls: TlsMaterial | null, closers: Closer[]): WitnessClient {
  const { address } = config.witness;
  if (address.kind !== 'tcp') throw new TercetError('TERCET_BAD_REQUEST', { what: 'the witness', reason: 'its address must be HOST:PORT' });
  const client = new WitnessClient({ host: address.host, port: address.port, tls: tls ?? undefined });
  closers.push(async () => client.close());
  return client;
}
