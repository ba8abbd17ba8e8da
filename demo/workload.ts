// A host that goes on writing, whatever becomes of the sites: it attaches to whichever serves, keeps some writes under way, and when the
// connection ends looks for the next. What was acknowledged is in its ledger.

import type { Address } from '../src/api/address.ts';
import type { BlockLedger } from './ledger.ts';
import { LEDGER_BLOCK_BYTES } from './ledger.ts';
import { NbdClient, NbdConnectionError, NbdRequestError } from './nbd-client.ts';
import { pause } from './waiting.ts';

/** A site's address for hosts. */
export interface HostTarget {
  readonly site: string;
  readonly address: Address;
}

export interface WorkloadOptions {
  readonly targets: readonly HostTarget[];
  readonly exportName: string;
  readonly ledger: BlockLedger;
  /** Writes under way at a time. */
  readonly depth: number;
  /** A flush after so many writes of a lane; default: none. */
  readonly flushEvery?: number;
  /** A connection without an answer for this long is given up; default 4 s. */
  readonly stallMillis?: number;
  /** Attached to a site, or lost it. */
  readonly note?: (text: string) => void;
}

/** An acknowledgement as the host saw it. */
export interface Acknowledgement {
  readonly site: string;
  /** performance.now() when it arrived. */
  readonly atMillis: number;
}

const CONNECT_MILLIS = 600;
const PAUSE_MILLIS = 10;
/** A site that let requests wait too long is not asked again at once: a primary that has lost its right holds what it is sent. */
const AVOID_MILLIS = 1_000;
const STALL_MILLIS = 4_000;

/** Writes the blocks of a ledger over and over. */
export class Workload {
  readonly #options: WorkloadOptions;
  #stopping = false;
  #running: Promise<void> | null = null;
  #site: string | null = null;
  #avoided: { site: string; until: number } | null = null;
  #waiting: ((acknowledgement: Acknowledgement) => void)[] = [];

  constructor(options: WorkloadOptions) {
    this.#options = options;
  }

  /** The site it is attached to. */
  get site(): string | null {
    return this.#site;
  }

  start(): void {
    this.#stopping = false;
    this.#running ??= this.#run();
  }

  /** Begins no more writes, waits for those under way, and ends. Rejects with what went wrong in between, if anything did. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
    this.#running = null;
  }

  /** The next acknowledgement after this call that fits; null when none comes in time. */
  async nextAcknowledgement(
    millisMax: number,
    fits: (acknowledgement: Acknowledgement) => boolean = () => true,
  ): Promise<Acknowledgement | null> {
    const deadline = performance.now() + millisMax;
    for (;;) {
      const next = await this.#next(deadline - performance.now());
      if (next === null || fits(next)) return next;
    }
  }

  #next(millisMax: number): Promise<Acknowledgement | null> {
    return new Promise((resolve) => {
      const late = setTimeout(() => resolve(null), Math.max(0, millisMax));
      this.#waiting.push((acknowledgement) => {
        clearTimeout(late);
        resolve(acknowledgement);
      });
    });
  }

  async #run(): Promise<void> {
    const { depth, note } = this.#options;
    while (!this.#stopping) {
      const attached = await this.#attach();
      if (attached === null) {
        await pause(PAUSE_MILLIS);
        continue;
      }
      const { client, site } = attached;
      this.#site = site;
      note?.(`attached to ${site}`);
      await Promise.all(Array.from({ length: depth }, (_, lane) => this.#lane(client, site, lane)));
      this.#site = null;
      const reason = client.ended;
      if (reason === null) await client.close();
      else if (reason.startsWith('no answer')) this.#avoided = { site, until: performance.now() + AVOID_MILLIS };
      if (!this.#stopping) note?.(`lost ${site}: ${reason ?? 'a request failed'}`);
    }
  }

  /** Asks all sites at once and takes the first that gives the export. */
  async #attach(): Promise<{ client: NbdClient; site: string } | null> {
    const { targets, exportName, stallMillis = STALL_MILLIS } = this.#options;
    const avoided = this.#avoided !== null && performance.now() < this.#avoided.until ? this.#avoided.site : null;
    const asked = targets.filter((target) => target.site !== avoided);
    let chosen: string | null = null;
    const tries = asked.map(async ({ site, address }) => {
      const client = await NbdClient.connect({ address, exportName, connectMillis: CONNECT_MILLIS, stallMillis });
      if (chosen === null) {
        chosen = site;
        return { client, site };
      }
      client.destroy('another site was quicker');
      throw new NbdConnectionError('another site was quicker');
    });
    try {
      return await Promise.any(tries);
    } catch (error) {
      if (error instanceof AggregateError && error.errors.every((each) => each instanceof NbdConnectionError)) return null;
      throw error;
    }
  }

  /** Writes the blocks that belong to this lane, so that no block is written twice at a time. */
  async #lane(client: NbdClient, site: string, lane: number): Promise<void> {
    const { ledger, depth, flushEvery } = this.#options;
    const blocks = Math.floor((ledger.blockCount - lane + depth - 1) / depth);
    if (blocks === 0) return;
    for (let count = 1; !this.#stopping && client.ended === null; count++) {
      const block = lane + depth * Math.floor(Math.random() * blocks);
      const { number, content } = ledger.begin(block);
      if (await answered(client, client.write(ledger.offsetOf(block), content))) {
        ledger.acknowledged(block, number);
        this.#acknowledged(site);
      } else {
        ledger.lost(block, number);
      }
      if (flushEvery !== undefined && count % flushEvery === 0) await answered(client, client.flush());
    }
  }

  #acknowledged(site: string): void {
    if (this.#waiting.length === 0) return;
    const acknowledgement = { site, atMillis: performance.now() };
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const tell of waiting) tell(acknowledgement);
  }
}

/** Whether a request was answered well. If not, the connection is of no use any more. */
async function answered(client: NbdClient, request: Promise<void>): Promise<boolean> {
  try {
    await request;
    return true;
  } catch (error) {
    if (error instanceof NbdRequestError) client.destroy(error.message);
    else if (!(error instanceof NbdConnectionError)) throw error;
    return false;
  }
}

const VERIFY_DEPTH = 16;

/** Reads all blocks of a ledger and compares each with what may be there. Nothing may write meanwhile. Returns a sentence for each fault. */
export async function verifyLedger(client: NbdClient, ledger: BlockLedger): Promise<readonly string[]> {
  const faults: string[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let block = next++; block < ledger.blockCount; block = next++) {
      const fault = ledger.check(block, await client.read(ledger.offsetOf(block), LEDGER_BLOCK_BYTES));
      if (fault !== null) faults.push(fault);
    }
  };
  await Promise.all(Array.from({ length: VERIFY_DEPTH }, lane));
  return faults;
}
