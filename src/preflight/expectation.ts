// What the measures mean for a rate of writes: how far the far copy will be behind, and how long an outage of its link the sidefile outlasts.

/** What is known of a path to an async mirror, and of what hosts write. Bytes, seconds. */
export interface Demand {
  readonly writtenBytesPerSecond: number;
  readonly linkBytesPerSecond: number;
  readonly roundTripMillis: number;
  /** For how long records are collected before they are sent. */
  readonly collectMillis: number;
  readonly sidefileBytes: number;
}

export interface Expectation {
  /** Seconds of writes at risk at the far copy while its link stands; null when it falls behind without end. */
  readonly rpoSeconds: number | null;
  /** Seconds until the sidefile no longer covers what the far copy lacks while its link is down, or while it falls behind. */
  readonly coveredSeconds: number;
}

/** Share of a link that is counted on for the stream of records: frames, acknowledgements and other traffic take the rest. */
const LINK_SHARE = 0.9;

/** The steady state; bursts above the rate add what the link cannot carry meanwhile. */
export function expect(demand: Demand): Expectation {
  const { writtenBytesPerSecond, linkBytesPerSecond, sidefileBytes } = demand;
  const surplus = writtenBytesPerSecond - linkBytesPerSecond * LINK_SHARE;
  if (surplus > 0) return { rpoSeconds: null, coveredSeconds: sidefileBytes / surplus };
  // Collected, sent, and held once half a round trip is over; the whole of it until the primary knows.
  const rpoSeconds = (demand.collectMillis + demand.roundTripMillis) / 1000;
  return { rpoSeconds, coveredSeconds: writtenBytesPerSecond === 0 ? Infinity : sidefileBytes / writtenBytesPerSecond };
}
