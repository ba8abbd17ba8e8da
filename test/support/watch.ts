// Looks out for two sites serving at once, and for reads of the past. One register of a volume is written over and over through whoever serves;
// every site is asked to read it again and again. A read that begins after a write was acknowledged, or after another read has seen it, must not
// return anything older, wherever it is answered; and no two sites may ever call themselves serving in the same epoch.

import type { Cluster } from '../../demo/cluster.ts';
import { directName } from '../../demo/layout.ts';
import { NbdClient, NbdConnectionError, NbdRequestError } from '../../demo/nbd-client.ts';
import { pause } from '../../demo/waiting.ts';

const REGISTER_BYTES = 4096;
const CONNECT_MILLIS = 400;
const WRITE_STALL_MILLIS = 3_000;
/** Longer than any freeze in a test: the requests are to be there when it ends. */
const READ_STALL_MILLIS = 60_000;
const READS_UNDER_WAY_MAX = 500;
/** The first ones tell enough. */
const FAULTS_MAX = 10;
const READ_PAUSE_MILLIS = 15;
const RETRY_PAUSE_MILLIS = 40;
const STATUS_PAUSE_MILLIS = 150;

/** What was seen in all. */
export interface WatchReport {
  readonly faults: readonly string[];
  /** Reads that were answered, by site. */
  readonly reads: ReadonlyMap<string, number>;
  readonly writes: number;
}

/** Watches a cluster until it is stopped. */
export class ServingWatch {
  readonly #cluster: Cluster;
  readonly #offset: number;
  readonly #faults: string[] = [];
  readonly #reads = new Map<string, number>();
  readonly #servedIn = new Map<number, string>();
  readonly #reading = new Set<Promise<void>>();
  #running: Promise<void>[] = [];
  #stopping = false;
  #number = 0;
  #newest = 0;
  #writes = 0;

  /** `offset`: place of the register, which nobody else writes. */
  constructor(cluster: Cluster, offset: number) {
    this.#cluster = cluster;
    this.#offset = offset;
  }

  start(): void {
    const names = this.#cluster.layout.sites.map((site) => site.name);
    this.#running = [...names.flatMap((name) => [this.#read(name), this.#write(name)]), this.#askStatus()];
  }

  async stop(): Promise<WatchReport> {
    this.#stopping = true;
    await Promise.all(this.#running);
    await Promise.all(this.#reading);
    return { faults: this.#faults, reads: this.#reads, writes: this.#writes };
  }

  /** Asks one site to read again and again, whether it has answered before or not: one that stood still finds requests when it wakes up. */
  #read(name: string): Promise<void> {
    const reader = { stallMillis: READ_STALL_MILLIS };
    let underWay = 0;
    return this.#whileServed(name, reader, async (client) => {
      if (client.ended !== null) throw new NbdConnectionError(client.ended);
      if (underWay < READS_UNDER_WAY_MAX) {
        underWay++;
        const reading = this.#readOnce(name, client).finally(() => {
          underWay--;
          this.#reading.delete(reading);
        });
        this.#reading.add(reading);
      }
      await pause(READ_PAUSE_MILLIS);
    });
  }

  async #readOnce(name: string, client: NbdClient): Promise<void> {
    const newestBefore = this.#newest;
    let found: number;
    try {
      found = (await client.read(this.#offset, REGISTER_BYTES)).readUInt32LE(0);
    } catch (error) {
      if (error instanceof NbdConnectionError || error instanceof NbdRequestError) return;
      throw error;
    }
    this.#reads.set(name, (this.#reads.get(name) ?? 0) + 1);
    if (found < newestBefore) this.#fault(`a read at ${name} returned ${found}, but ${newestBefore} was known before it began`);
    this.#newest = Math.max(this.#newest, found);
  }

  #write(name: string): Promise<void> {
    return this.#whileServed(name, { stallMillis: WRITE_STALL_MILLIS }, async (client) => {
      const number = ++this.#number;
      const content = Buffer.alloc(REGISTER_BYTES);
      content.writeUInt32LE(number, 0);
      await client.write(this.#offset, content);
      this.#writes++;
      this.#newest = Math.max(this.#newest, number);
      await pause(READ_PAUSE_MILLIS);
    });
  }

  async #whileServed(name: string, { stallMillis }: { stallMillis: number }, work: (client: NbdClient) => Promise<void>): Promise<void> {
    const address = this.#cluster.member(name).layout.nbd;
    while (!this.#stopping) {
      try {
        const options = { address, exportName: directName(this.#cluster.layout), connectMillis: CONNECT_MILLIS, stallMillis };
        const client = await NbdClient.connect(options);
        try {
          while (!this.#stopping) await work(client);
        } finally {
          client.destroy('the watch goes on elsewhere');
        }
      } catch (error) {
        if (!(error instanceof NbdConnectionError) && !(error instanceof NbdRequestError)) throw error;
        await pause(RETRY_PAUSE_MILLIS);
      }
    }
  }

  #fault(text: string): void {
    if (this.#faults.length < FAULTS_MAX) this.#faults.push(text);
  }

  async #askStatus(): Promise<void> {
    while (!this.#stopping) {
      for (const status of await this.#cluster.statuses()) {
        if (status?.serving !== true) continue;
        const other = this.#servedIn.get(status.epoch) ?? status.site;
        this.#servedIn.set(status.epoch, other);
        if (other !== status.site) this.#fault(`${other} and ${status.site} have both served in epoch ${status.epoch}`);
      }
      await pause(STATUS_PAUSE_MILLIS);
    }
  }
}
