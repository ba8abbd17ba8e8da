// What sites may say of themselves, for tests of the API and of the printing.

import type { CoverageStatus, PeerStatus, ResyncStatus, SiteStatus, VerifyProgress } from '../../../src/core/site/contract.ts';
import { SITE_COUNTERS } from '../../../src/core/site/contract.ts';

const MIB = 1024 * 1024;

/** No verify has ever run. */
const VERIFY_NONE: VerifyProgress = {
  running: false,
  scheduled: false,
  resting: false,
  algorithm: null,
  reportOnly: false,
  totalBytes: 1024 * MIB,
  passedBytes: 0,
  verifiedBytes: 0,
  unverifiedBytes: 0,
  bytesPerSecond: 0,
  etaSeconds: null,
  beganMillis: null,
  endedMillis: null,
  oldestUnverifiedSeconds: null,
  comparedSites: [],
  differingBlocks: 0,
  damagedRecords: 0,
  unmended: 0,
  recordsCheckedSites: [],
  recordsCheckedBytes: 0,
};

/** A mirror as its primary sees it, following and whole. */
export function peerSample(change: Partial<PeerStatus> = {}): PeerStatus {
  return {
    site: 'beta',
    mode: 'sync',
    connected: true,
    role: 'mirror',
    epoch: 3,
    attached: 'following',
    flag: 'true',
    received: 1200,
    durable: 1200,
    destaged: 1100,
    lagRecords: 0,
    lagBytes: 0,
    lagSeconds: 0,
    leaseMillis: 1300,
    copiedBytes: null,
    copyTotalBytes: null,
    level: null,
    resync: null,
    lastError: null,
    traffic: { rawBytes: 4096, sentBytes: 4096, foldedFrames: 0 },
    folding: { frames: 0, records: 0, savedBytes: 0 },
    streams: null,
    paused: false,
    paceBytesPerSecond: null,
    ...change,
  };
}

/** A scan at three eighths. */
export function resyncSample(change: Partial<ResyncStatus> = {}): ResyncStatus {
  return {
    rung: 'scan',
    algorithm: 'md5',
    why: 'there is no bitmap of what it lacks',
    doneBytes: 3 * 1024 * MIB,
    totalBytes: 8 * 1024 * MIB,
    sentBytes: 9,
    ending: false,
    secondsLeft: 41.2,
    ...change,
  };
}

/** The near copy could bring the far one up to date. */
export function coverageSample(change: Partial<CoverageStatus> = {}): CoverageStatus {
  return {
    from: 'beta',
    to: 'gamma',
    state: 'ready',
    why: null,
    slackBytes: 976 * MIB,
    slackRecords: 240_000,
    slackSeconds: 488,
    ...change,
  };
}

/** A primary with a sync and an async mirror, all well. */
export function statusSample(change: Partial<SiteStatus> = {}): SiteStatus {
  return {
    group: 'db',
    site: 'alpha',
    role: 'primary',
    serving: true,
    protection: 'mirrored',
    epoch: 3,
    knownPrimary: 'alpha',
    marks: { oldest: 1, destaged: 1100, committed: 1200, durable: 1200, received: 1200 },
    consistent: true,
    unclean: false,
    sidefileBytes: 48 * MIB,
    sidefileCapacityBytes: 1024 * MIB,
    sidefileFullSeconds: null,
    sidefileSetAsideBytes: null,
    sidefileIn: 'disk',
    points: [],
    witness: {
      reachable: true,
      view: {
        group: 'db',
        groupId: 'g-1',
        instance: 'w-1',
        revision: 4,
        epoch: 3,
        primary: 'alpha',
        copies: [
          { site: 'alpha', mode: 'sync', flag: true },
          { site: 'beta', mode: 'sync', flag: true },
          { site: 'gamma', mode: 'async', flag: true },
        ],
      },
      ageMillis: 120,
      provedAgeMillis: 21_000,
      trouble: null,
    },
    peers: [peerSample(), peerSample({ site: 'gamma', mode: 'async', received: 1188, lagRecords: 12, lagBytes: 49_152, lagSeconds: 0.2 })],
    coverage: [
      coverageSample(),
      coverageSample({ from: 'alpha', to: 'beta' }),
      coverageSample({ from: 'alpha', to: 'gamma' }),
      coverageSample({ from: 'gamma', to: 'beta' }),
    ],
    writers: { state: 'free', for: null, bytesPerSecond: null },
    agreement: null,
    waiting: [],
    heldRequests: 0,
    volumes: [{ name: 'disk0', sizeBytes: 1024 * MIB, heldBytes: 1024 * MIB }],
    counters: Object.fromEntries(SITE_COUNTERS.map((counter) => [counter, 0])) as SiteStatus['counters'],
    failure: null,
    verify: VERIFY_NONE,
    ...change,
  };
}

/** A mirror's own account of itself. */
export function mirrorSample(change: Partial<SiteStatus> = {}): SiteStatus {
  return statusSample({
    site: 'beta',
    role: 'mirror',
    serving: false,
    protection: null,
    peers: [
      peerSample({ site: 'alpha', role: 'primary', attached: 'no', flag: null, leaseMillis: null }),
      peerSample({ site: 'gamma', mode: 'async', attached: 'no', flag: null, leaseMillis: null }),
    ],
    coverage: [coverageSample()],
    writers: null,
    ...change,
  });
}

/** A point that can be read. */
export function pointSample(change: Partial<SiteStatus['points'][number]> = {}): SiteStatus['points'][number] {
  return {
    name: 'noon',
    epoch: 3,
    seq: 1190,
    timeMillis: 1_764_446_400_000,
    madeMillis: 1_764_446_400_000,
    state: 'ready',
    why: null,
    connections: 1,
    pinnedBytes: 40_960,
    ...change,
  };
}
