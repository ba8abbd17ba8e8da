// The last hour of each group in a few numbers, for graphs: kept in memory, bounded, and lost with the process.

import type { SiteStatus } from '../api/schema.ts';
import type { PeerRisk } from './peer-watch.ts';

/** Between two samples. */
export const SAMPLE_SECONDS = 2;
/** An hour. */
const SAMPLES_MAX = 1800;

/** One look at a group. */
export interface Sample {
  /** Seconds since 1970. */
  readonly time: number;
  readonly writesPerSecond: number;
  readonly writtenBytesPerSecond: number;
  readonly sentBytesPerSecond: number;
  readonly sidefileBytes: number;
  readonly sidefileCapacityBytes: number;
  readonly epoch: number;
  readonly role: string;
  readonly serving: boolean;
  /** By peer; lags are null while they are not known. */
  readonly peers: Readonly<
    Record<
      string,
      {
        readonly lagSeconds: number | null;
        readonly lagRecords: number | null;
        readonly lagBytes: number | null;
        readonly riskSeconds: number | null;
      }
    >
  >;
}

/** Samples of one group. */
export class Samples {
  readonly #kept: Sample[] = [];
  #last: { readonly at: number; readonly counters: SiteStatus['counters'] } | null = null;

  get kept(): readonly Sample[] {
    return this.#kept;
  }

  /** Takes a sample. `now`: seconds of a clock that does not jump. */
  take(status: SiteStatus, risks: readonly PeerRisk[], times: { wall: number; now: number }): void {
    const { counters } = status;
    const last = this.#last;
    this.#last = { at: times.now, counters };
    if (last === null || times.now <= last.at) return;
    const rate = (counter: 'writes' | 'writtenBytes' | 'sentBytes'): number =>
      Math.max(0, Math.round((counters[counter] - last.counters[counter]) / (times.now - last.at)));
    this.#kept.push({
      time: Math.round(times.wall),
      writesPerSecond: rate('writes'),
      writtenBytesPerSecond: rate('writtenBytes'),
      sentBytesPerSecond: rate('sentBytes'),
      sidefileBytes: status.sidefileBytes,
      sidefileCapacityBytes: status.sidefileCapacityBytes,
      epoch: status.epoch,
      role: status.role,
      serving: status.serving,
      peers: Object.fromEntries(
        status.peers.map(({ site, lagSeconds, lagRecords, lagBytes }) => [
          site,
          { lagSeconds, lagRecords, lagBytes, riskSeconds: risks.find((risk) => risk.peer === site)?.seconds ?? null },
        ]),
      ),
    });
    if (this.#kept.length > SAMPLES_MAX) this.#kept.shift();
  }
}
