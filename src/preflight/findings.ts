// What the measures of `tercet check` mean for the person who is about to trust this machine: each becomes one finding, good or not, with a remedy.

import { unreachable } from '../core/base/assert.ts';
import type { PathOutcome } from './ask.ts';
import type { DiskMeasures } from './disk.ts';
import type { Expectation } from './expectation.ts';

/** good: as it should be. doubtful: works, with a consequence that is named. bad: does not work as it is. */
export type Level = 'good' | 'doubtful' | 'bad';

/** One finding: what was looked at, and what is so, with the remedy where one is needed. */
export interface Finding {
  readonly level: Level;
  readonly subject: string;
  readonly text: string;
}

/** A flush that takes longer than this makes every flushed write slow. */
const FLUSH_MILLIS_DOUBTFUL = 10;
/** Record times of sites whose clocks are further apart are confusing to read; nothing is decided by them. */
const CLOCK_MILLIS_DOUBTFUL = 1000;
/** A heartbeat and its answer must fit several times into a lease. */
const ROUND_TRIPS_PER_LEASE = 6;
const GIB = 1024 ** 3;
const MIB = 1024 ** 2;

const millisText = (millis: number): string => `${millis.toFixed(millis < 10 ? 2 : 0)} ms`;
const rateText = (bytes: number): string => `${(bytes / MIB).toFixed(bytes < 10 * MIB ? 1 : 0)} MiB/s`;
const gibText = (bytes: number): string => `${(bytes / GIB).toFixed(1)} GiB`;

/** The disk of a replica's folder, which is to hold so many bytes at most. */
export function diskFindings(folder: string, disk: DiskMeasures, neededBytes: number): readonly Finding[] {
  const { median, p99 } = disk.flushMillis;
  const space = `${folder}: ${gibText(disk.freeBytes)} of ${gibText(disk.totalBytes)} are free; volumes and sidefiles take up to ${gibText(neededBytes)}`;
  const flush = `${folder}: 4 KiB are on stable storage after ${millisText(median)} (99 of 100 within ${millisText(p99)}), ${Math.round(disk.flushesPerSecond)} in a second`;
  const roomy = disk.freeBytes >= neededBytes;
  const quick = median <= FLUSH_MILLIS_DOUBTFUL;
  return [
    {
      level: roomy ? 'good' : 'doubtful',
      subject: 'space',
      text: roomy ? space : `${space}: a full disk takes this copy out of service, so add space or make sidefile_mib smaller`,
    },
    {
      level: quick ? 'good' : 'doubtful',
      subject: 'flush',
      text: quick ? flush : `${flush}: each flushed write waits that long, so use a disk with a protected cache`,
    },
  ];
}

/** The path to another site. */
export function pathFindings(site: string, mode: 'sync' | 'async', leaseMillis: number, outcome: PathOutcome): readonly Finding[] {
  const subject = `path to ${site}`;
  switch (outcome.kind) {
    case 'unreachable':
      return [
        {
          level: 'bad',
          subject,
          text: `nothing answers there (${outcome.reason}): start \`tercet check --answer --site ${site}\` on that machine, and look at its firewall and the address in the configuration`,
        },
      ];
    case 'silent':
      return [
        {
          level: 'doubtful',
          subject,
          text: `something listens there, mostly the daemon, so only that is known; to measure, stop it and start \`tercet check --answer --site ${site}\``,
        },
      ];
    case 'measured':
      return measuredFindings(site, mode, leaseMillis, outcome.measures);
    default:
      return unreachable(outcome);
  }
}

function measuredFindings(
  site: string,
  mode: 'sync' | 'async',
  leaseMillis: number,
  measures: Extract<PathOutcome, { kind: 'measured' }>['measures'],
): readonly Finding[] {
  const { roundTripMillis, bytesPerSecond, clockAheadMillis, back } = measures;
  const subject = `path to ${site}`;
  const trip = `a message there and back takes ${millisText(roundTripMillis.median)} (at worst ${millisText(roundTripMillis.worst)}), and ${rateText(bytesPerSecond)} go through`;
  const slow = roundTripMillis.worst * ROUND_TRIPS_PER_LEASE > leaseMillis;
  const tripText =
    slow && mode === 'sync'
      ? `${trip}: too slow for a lease of ${leaseMillis} ms, so raise lease_millis to ${Math.ceil(roundTripMillis.worst * ROUND_TRIPS_PER_LEASE)} or more`
      : mode === 'sync'
        ? `${trip}: each write waits at least that long`
        : trip;
  const apart = Math.abs(clockAheadMillis);
  const ahead = `its clock is ${Math.round(apart)} ms ${clockAheadMillis >= 0 ? 'ahead of' : 'behind'} this one`;
  return [
    { level: slow && mode === 'sync' ? 'bad' : 'good', subject, text: tripText },
    back === 'ok'
      ? { level: 'good', subject: `way back from ${site}`, text: 'it reaches this site as well' }
      : {
          level: 'bad',
          subject: `way back from ${site}`,
          text: `it does not reach this site (${back}): look at this machine's firewall and its address in the configuration`,
        },
    apart <= CLOCK_MILLIS_DOUBTFUL
      ? { level: 'good', subject: `clock of ${site}`, text: ahead }
      : {
          level: 'doubtful',
          subject: `clock of ${site}`,
          text: `${ahead}: nothing is decided by it, but times in messages will confuse; set up NTP`,
        },
  ];
}

/** What is to be expected of an async mirror at a rate of writes. */
export function expectationFinding(group: string, site: string, writtenBytesPerSecond: number, expected: Expectation): Finding {
  const subject = `${group} at ${site}`;
  const covered = Number.isFinite(expected.coveredSeconds) ? `${Math.round(expected.coveredSeconds / 60)} minutes` : 'any time';
  if (expected.rpoSeconds === null) {
    return {
      level: 'doubtful',
      subject,
      text: `at ${rateText(writtenBytesPerSecond)} written, lasting, it falls behind, and the sidefile covers that for ${covered}: a wider link, or a larger sidefile_mib for shorter bursts`,
    };
  }
  return {
    level: 'good',
    subject,
    text: `at ${rateText(writtenBytesPerSecond)} written it is about ${expected.rpoSeconds.toFixed(2)} s behind, and the sidefile outlasts an outage of its link of ${covered}`,
  };
}
