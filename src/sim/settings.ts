// Everything about a run that its seed decides before it begins: the sites' options, the hosts, the network, the clocks, and how long it lasts.
// The ranges are such that bounds are met within seconds: small segments, a small sidefile, short leases.

import type { HostNature } from './host.ts';
import type { ClockNature } from './machine.ts';
import type { NetworkNature } from './network.ts';
import { Chance } from './random.ts';
import type { DigestLogOptions } from '../core/replica/digest-log.ts';
import type { SidefileGuide } from '../core/replica/set-aside.ts';
import type { ScanHow } from '../core/mirror/forms.ts';
import type { ScrubOptions, Overflow, SiteOptions, SiteSpec, Timings, VolumeSpec } from '../core/site/contract.ts';

/** The three sites of every run. */
export const SITES: readonly SiteSpec[] = [
  { name: 'prim', mode: 'sync' },
  { name: 'near', mode: 'sync' },
  { name: 'far', mode: 'async' },
];

/** What the seed has decided. */
export interface Settings {
  readonly volumes: readonly VolumeSpec[];
  readonly timings: Timings;
  readonly segmentBytes: number;
  readonly capacityBytes: number;
  /** Disk space that is set aside for the sidefile at least; 0: none. */
  readonly setAsideBytes: number;
  /** By which record of the other copies that goes. */
  readonly guide: SidefileGuide;
  /** Most records that are kept for a copy; 0: as many as there is room for. */
  readonly recordsMax: number;
  readonly destageIdleMillis: number;
  readonly destageBacklogBytes: number;
  /** Bytes of records that are looked through in one turn before others are cut off. */
  readonly cutStepBytes: number;
  readonly bitmapChunkBytes: number;
  readonly resyncPieceBytes: number;
  readonly scan: SiteOptions['scan'];
  /** What is done when the sidefile is full of what far lacks. */
  readonly overflow: Overflow;
  /** Copies are compared that often. */
  readonly scrub: ScrubOptions | undefined;
  /** Whether no records are held for far while it is away. */
  readonly bitmapOnly: boolean;
  readonly hosts: HostNature;
  readonly network: NetworkNature;
  readonly clocks: readonly ClockNature[];
  readonly witnessTimeoutMillis: number;
  /** How much slower than others each site's disk is, always. */
  readonly diskSlowness: readonly number[];
  /** Probability that a request to the witness arrives a second time, much later, always. */
  readonly doubled: number;
  /** Probability that a read of a base image needs the disk. */
  readonly cold: number;
  /** How much longer than elsewhere reads that need the disk take. */
  readonly readSlowness: number;
  /** Milliseconds in which faults happen. */
  readonly chaosMillis: number;
  /** A site whose link is bounded, and to what; null for none. */
  readonly pace: { readonly site: string; readonly bytesPerSecond: number } | null;
  /** Sites on whose links records and images are packed. */
  readonly packs: readonly string[];
  /** Of how many streams the links of a site are; those that are not named have one connection. */
  readonly streams: Readonly<Record<string, number>>;
  /** By site: for how long records for it are collected, to be folded; 0: they are not. */
  readonly foldMillis: Readonly<Record<string, number>>;
  /** Whether far keeps its sidefile in memory alone, as long as it is async. */
  readonly farInMemory: boolean;
  /** How long the witness is lost before a pair agrees that its primary may go on alone; undefined: never. */
  readonly preElectionMillis: number | undefined;
  /** Blocks by which the first volume grows; 0: it does not. */
  readonly growthBlocks: number;
  /** Whether there are points, and clients that read them. */
  readonly points: boolean;
  /** Steps of destaging that are small, so that a pass has several, with writes of theirs under way together; undefined: as in a daemon. */
  readonly destageSteps: { readonly roundBytes: number; readonly flushBytes: number; readonly longPieceBytes: number } | undefined;
  /** How large the log of digests of a volume becomes: small, so that its files are begun anew and its entries brought into the table; undefined: as in a daemon. */
  readonly digestLog: DigestLogOptions | undefined;
  /** What stays down when everything else is mended; null for nothing. */
  readonly leftOut: string | null;
}

/** For how long records for each site are collected. */
export function foldingOf(chance: Chance): Settings['foldMillis'] {
  return { far: chance.pick([0, 0, 20, 100, 400]), near: chance.pick([0, 0, 100]), prim: chance.pick([0, 0, 100]) };
}

/** Whether far keeps its sidefile in memory. */
export function farInMemoryOf(chance: Chance): Settings['farInMemory'] {
  return chance.happens(0.25);
}

/** When a pair agrees, in a share of all runs. */
export function preElectionOf(chance: Chance, { leaseMillis }: Timings): Settings['preElectionMillis'] {
  return chance.happens(0.4) ? chance.pick([0, 0.5, 1, 2]) * leaseMillis : undefined;
}

/** Whether there are points: in a share of all runs. */
export function pointsOf(chance: Chance): Settings['points'] {
  return chance.happens(0.35);
}

const LATE_MILLIS = 10_000;

/** How much is looked through in one turn before records are cut off: mostly a frame, so that much happens between the begin of a cut and its end. */
export function cutStepOf(chance: Chance): Settings['cutStepBytes'] {
  return chance.pick([1, 1, 1, 64 * 1024, 1024 * 1024]);
}

/** How slow reads from the disk are: much is destaged, dropped and written anew while one lasts. */
export function readSlownessOf(chance: Chance): Settings['readSlowness'] {
  return chance.pick([1, 1, 1, 20]);
}

/** When records are destaged, where that is later than in other runs: much waits, and has to be looked through before a tail is cut off. */
export function lateDestagingOf(chance: Chance): Partial<Settings> {
  return chance.happens(0.15) ? { destageIdleMillis: LATE_MILLIS } : {};
}

/** Whether much waits for the base images in such a run. */
export function keepsMuch({ points, destageIdleMillis }: Settings): boolean {
  return points || destageIdleMillis === LATE_MILLIS;
}

/** How large the steps of destaging are. A disk that is very slow would not get through many small ones in the time that a run has to settle. */
export function destageStepsOf(chance: Chance, diskSlowness: readonly number[]): Settings['destageSteps'] {
  if (chance.happens(0.4) || Math.max(...diskSlowness) > 30) return undefined;
  return {
    roundBytes: chance.pick([4, 8, 32]) * 1024,
    flushBytes: chance.pick([16, 64]) * 1024,
    longPieceBytes: chance.pick([1, 1, 8192]),
  };
}

/** How large the log of digests of a volume becomes; 0 entries: there is none. */
export function digestLogOf(chance: Chance): Settings['digestLog'] {
  if (chance.happens(0.1)) return undefined;
  const entriesMax = chance.pick([0, 2, 6, 20]);
  return { entriesMax, fileBytes: chance.pick([2, 3, 8]) * 4096 };
}

/** The settings of a seed. `later` and `streams`: for those that were added since, so that the others stay as they are. */
export function settingsOf(
  chance: Chance,
  { later, streams }: { readonly later: Chance; readonly streams: Chance },
): Omit<
  Settings,
  'foldMillis' | 'farInMemory' | 'preElectionMillis' | 'points' | 'cutStepBytes' | 'destageSteps' | 'digestLog' | 'readSlowness'
> {
  const leaseMillis = chance.pick([400, 1000, 1000, 2000, 3000]);
  const timings: Timings = {
    leaseMillis,
    heartbeatMillis: leaseMillis / chance.integer(4, 8),
    peerTimeoutMillis: chance.pick([0.5, 1, 1, 1.5]) * leaseMillis,
    witnessRetryMillis: chance.pick([100, 250, 500]),
    witnessProveMillis: 3 * leaseMillis,
    driftShare: 0.02,
    holdMillis: chance.pick([2000, 5000, 10_000]),
    asyncDelayMillis: chance.pick([0, 5, 50]),
  };
  const blocks = chance.pick([16, 32, 64]);
  const volumes: VolumeSpec[] = [{ name: 'vol0', sizeBytes: blocks * 4096, baseFile: 'base-vol0' }];
  if (chance.happens(0.3)) volumes.push({ name: 'vol1', sizeBytes: 16 * 4096, baseFile: 'base-vol1' });
  const small = chance.happens(0.5);
  return {
    volumes,
    timings,
    segmentBytes: small ? 64 * 1024 : 256 * 1024,
    capacityBytes: small ? chance.pick([192, 256, 512]) * 1024 : 4 * 1024 * 1024,
    destageIdleMillis: chance.pick([20, 100, 1000]),
    destageBacklogBytes: chance.pick([16, 64, 1024]) * 1024,
    scrub: scrubOptions(chance),
    hosts: hostNature(chance, volumes, timings),
    network: {
      latency: chance.spread(0.2, 30),
      jitter: chance.pick([0.1, 1, 5]),
      rate: chance.pick([1e9, 1e9, 20_000, 2000]),
      split: chance.pick([0, 0.05, 0.3]),
      silentMillis: Math.max(5000, 4 * leaseMillis),
      dialMillis: chance.pick([100, 500, 2000]),
    },
    clocks: SITES.map(() => ({ offset: chance.between(0, 1e6), drift: chance.between(-0.005, 0.005) })),
    witnessTimeoutMillis: chance.pick([300, 1000, 2000]),
    diskSlowness: SITES.map(() => chance.pick([1, 1, 1, 1, 5, 30, 150])),
    doubled: chance.pick([0, 0, 0.05, 0.4]),
    cold: chance.pick([0, 0.05, 0.5, 1]),
    // Most of what goes wrong does so between a few faults: many short histories show more than a few long ones, which are needed too.
    chaosMillis: chance.pick([3000, 5000, 5000, 5000, 10_000, 10_000, 10_000, 30_000]),
    leftOut: chance.happens(0.25) ? chance.pick(['prim', 'near', 'far', 'witness']) : null,
    bitmapChunkBytes: chance.pick([1, 2, 4]) * 4096,
    resyncPieceBytes: chance.pick([2, 4, 16]) * 4096,
    scan: chance.happens(0.8) ? scanOf(chance) : null,
    overflow: chance.pick(['bitmap', 'bitmap', 'bitmap', 'slow', 'stop']),
    bitmapOnly: chance.happens(0.1),
    pace: chance.happens(0.3) ? { site: chance.pick(['far', 'far', 'near']), bytesPerSecond: chance.pick([1_000_000, 3_000_000]) } : null,
    packs: chance.pick([[], [], ['far'], ['near', 'far']]),
    streams: streamsOf(streams),
    growthBlocks: chance.happens(0.35) ? chance.pick([1, 8, 24]) : 0,
    setAsideBytes: chance.pick([0, 0, 128, 192]) * 1024,
    guide: later.pick(['newest', 'oldest']),
    recordsMax: later.pick([0, 0, 0, 30, 100]),
  };
}

/** Drawn by a stream of chance of its own, so that all other settings of a seed are what they were. */
function streamsOf(chance: Chance): Readonly<Record<string, number>> {
  const sites = chance.pick([[], [], ['far'], ['far'], ['near', 'far'], ['near']]);
  return Object.fromEntries(sites.map((site) => [site, chance.integer(2, 4)]));
}

/** Small enough for small volumes to have several units and levels. */
function scanOf(chance: Chance): ScanHow {
  const levels = chance
    .pick([
      [16, 8, 2, 1],
      [8, 4, 1],
      [4, 1],
    ])
    .map((blocks) => blocks * 4096);
  return {
    algorithm: chance.pick(['sha256', 'sha256', 'sha1', 'md5']),
    compare: chance.pick(['primary', 'mirror']),
    confirm: false,
    levels,
    chunkBytes: chance.pick(levels.slice(0, -1)),
  };
}

function scrubOptions(chance: Chance): ScrubOptions | undefined {
  if (chance.happens(0.4)) return undefined;
  return {
    everyMillis: chance.pick([500, 2000, 5000]),
    algorithm: chance.pick(['crc32', 'md5', 'sha1', 'sha256']),
    reportOnly: chance.happens(0.3),
    bytesPerSecond: chance.pick([0, 0, 50_000, 1_000_000]),
    window: null,
  };
}

function hostNature(chance: Chance, volumes: readonly VolumeSpec[], timings: Timings): HostNature {
  const pauseLeast = chance.pick([20, 50, 100]);
  const unitBytes = chance.pick([4096, 512, 512, 64]);
  return {
    clients: chance.integer(1, 3),
    unitBytes,
    volumeBytes: volumes.map((volume) => volume.sizeBytes),
    depth: chance.pick([1, 4, 16]),
    pauseLeast,
    pauseMost: pauseLeast * 20,
    // Each unit is a register of its own to the checkers: requests of very many of them cost much and show little.
    requestBytes: Math.min(chance.pick([4096, 16_384, 65_536]), 64 * unitBytes),
    patienceMillis: chance.pick([0.3, 1.5]) * timings.holdMillis,
    stray: 0.05,
  };
}
