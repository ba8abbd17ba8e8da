// Random faults on real processes. A schedule follows from its seed: which processes are killed, ended or frozen, which links are cut, cut one way,
// reset or slow, when and for how long. Meanwhile hosts write and read, and every answer is held against one register for each 4 KiB block. When
// all faults are over the cluster must heal by itself, and everything that was acknowledged must be there.

import { Chance } from '../../src/sim/random.ts';
import { NbdClient, NbdConnectionError, NbdRequestError } from '../../demo/nbd-client.ts';
import { BlockLedger, LEDGER_BLOCK_BYTES } from '../../demo/ledger.ts';
import { pause } from '../../demo/waiting.ts';
import { verifyLedger, Workload } from '../../demo/workload.ts';
import type { End, SiteNameInTests, TestCluster } from './cluster.ts';
import type { Daemon } from '../../demo/daemon.ts';

const SITES: readonly SiteNameInTests[] = ['alpha', 'beta', 'gamma'];
const ENDS: readonly End[] = [...SITES, 'witness'];
/** Faults begin within this time, and last as long at most, unless a caller says otherwise. */
const SPAN_MILLIS = 2_500;
/** How long healing may take: on a machine with far more to do than it can, a process alone takes a minute to start. */
const HEAL_MILLIS_MAX = 240_000;
/** Shorter than a host's patience, so that no request of one that has gone is still there when it wakes up. */
const FREEZE_MILLIS_MAX = 1_800;
const STALL_MILLIS = 4_000;
const BLOCKS = 512;
const READ_PAUSE_MILLIS = 5;
const RETRY_MILLIS = 40;
const FAULTS_TOLD_MAX = 5;

/** One fault of a schedule. Times in milliseconds from the schedule's begin. */
export type Fault =
  | { readonly kind: 'kill' | 'end' | 'freeze'; readonly who: End; readonly from: number; readonly until: number }
  | {
      readonly kind: 'cut' | 'one-way' | 'reset' | 'slow';
      readonly a: End;
      readonly b: End;
      readonly from: number;
      readonly until: number;
    };

/** The faults of a seed, in the order of their begin; all begin within `spanMillis`, and last no longer than that. */
export function planSchedule(seed: number, spanMillis: number = SPAN_MILLIS): readonly Fault[] {
  const chance = new Chance(seed, 'chaos');
  const faults = Array.from({ length: chance.integer(1, 5) }, (): Fault => {
    const from = Math.round(chance.between(0, spanMillis));
    const length = Math.round(chance.spread(30, spanMillis));
    const kind = chance.pick(['kill', 'kill', 'end', 'freeze', 'freeze', 'cut', 'cut', 'one-way', 'reset', 'slow'] as const);
    if (kind === 'kill' || kind === 'end' || kind === 'freeze') {
      const who = chance.pick(ENDS);
      return { kind, who, from, until: from + (kind === 'freeze' ? Math.min(length, FREEZE_MILLIS_MAX) : length) };
    }
    const a = chance.pick(SITES);
    const b = chance.pick(ENDS.filter((end) => end !== a));
    return { kind, a, b, from, until: from + length };
  });
  return faults.sort((one, other) => one.from - other.from);
}

/** A schedule in a line, for people. */
export function scheduleText(faults: readonly Fault[]): string {
  return faults
    .map((fault) => {
      const what = 'who' in fault ? `${fault.kind} ${fault.who}` : `${fault.kind} ${fault.a}-${fault.b}`;
      return `${what} ${fault.from}-${fault.until}`;
    })
    .join(', ');
}

/** What came of a schedule. */
export interface ScheduleOutcome {
  readonly seed: number;
  readonly text: string;
  readonly faults: readonly string[];
  readonly writes: number;
  readonly reads: number;
  readonly healMillis: number;
}

/** Runs schedules one after the other on one cluster, whose history becomes longer all the time. */
export class Chaos {
  readonly #test: TestCluster;
  readonly #ledger: BlockLedger;
  readonly #faults: string[] = [];
  #reads = 0;

  constructor(test: TestCluster) {
    this.#test = test;
    this.#ledger = new BlockLedger({ offsetBytes: test.layout.sizeBytes / 2, blockCount: BLOCKS });
  }

  get ledger(): BlockLedger {
    return this.#ledger;
  }

  /** Rejects when the cluster does not heal. */
  async run(seed: number, spanMillis?: number): Promise<ScheduleOutcome> {
    const schedule = planSchedule(seed, spanMillis);
    const [writesBefore, readsBefore] = [this.#ledger.acknowledgedCount, this.#reads];
    const load = this.#workload();
    const readers = new Readers(this.#test, this.#ledger, { read: () => this.#reads++, fault: (text) => this.#fault(text) });
    load.start();
    readers.start();
    await this.#play(schedule);
    const healing = performance.now();
    await this.#heal();
    const healMillis = Math.round(performance.now() - healing);
    await load.stop();
    await readers.stop();
    for (const fault of await this.#verify()) this.#fault(fault);
    const faults = this.#faults.splice(0);
    const [writes, reads] = [this.#ledger.acknowledgedCount - writesBefore, this.#reads - readsBefore];
    return { seed, text: scheduleText(schedule), faults, writes, reads, healMillis };
  }

  #workload(): Workload {
    const targets = this.#test.layout.sites.map((site) => ({ site: site.name, address: site.nbd }));
    return new Workload({
      targets,
      exportName: this.#test.exportName,
      ledger: this.#ledger,
      depth: 4,
      flushEvery: 20,
      stallMillis: STALL_MILLIS,
    });
  }

  #fault(text: string): void {
    if (this.#faults.length < FAULTS_TOLD_MAX) this.#faults.push(text);
  }

  async #play(schedule: readonly Fault[]): Promise<void> {
    const begun = performance.now();
    const at = async (millis: number): Promise<void> => pause(Math.max(0, begun + millis - performance.now()));
    await Promise.all(
      schedule.map(async (fault) => {
        await at(fault.from);
        await this.#begin(fault);
        await at(fault.until);
        await this.#end(fault);
      }),
    );
  }

  #daemon(who: End): Daemon {
    return who === 'witness' ? this.#test.cluster.witness : this.#test.member(who).daemon;
  }

  async #begin(fault: Fault): Promise<void> {
    if ('who' in fault) {
      const daemon = this.#daemon(fault.who);
      if (fault.kind === 'kill') await daemon.kill();
      else if (fault.kind === 'end') await daemon.stop();
      else daemon.signal('SIGSTOP');
      return;
    }
    const { a, b } = fault;
    if (fault.kind === 'cut') this.#test.cut(a, b);
    else if (fault.kind === 'one-way') this.#test.stopBytes(a, b);
    else if (fault.kind === 'reset') this.#test.sever(a, b);
    else this.#test.delay(a, b, 200);
  }

  async #end(fault: Fault): Promise<void> {
    if (!('who' in fault)) this.#test.mend(fault.a, fault.b);
    else if (fault.kind === 'freeze') this.#daemon(fault.who).signal('SIGCONT');
    else this.#launch(fault.who);
  }

  /** Another fault may have begun with the same process meanwhile. */
  #launch(who: End): void {
    const daemon = this.#daemon(who);
    if (daemon.pid === null) daemon.launch();
  }

  async #heal(): Promise<void> {
    this.#test.healNetwork();
    for (const who of ENDS) this.#daemon(who).signal('SIGCONT');
    for (const who of ENDS) this.#launch(who);
    await this.#test.healed(HEAL_MILLIS_MAX);
  }

  async #verify(): Promise<readonly string[]> {
    const client = await this.#test.attach((await this.#test.healed()) as SiteNameInTests);
    const faults = await verifyLedger(client, this.#ledger);
    await client.close();
    return faults;
  }
}

/** Hosts that read, each at one site whenever that serves. */
class Readers {
  readonly #test: TestCluster;
  readonly #ledger: BlockLedger;
  readonly #tell: { read(): void; fault(text: string): void };
  #stopping = false;
  #running: Promise<void>[] = [];

  constructor(test: TestCluster, ledger: BlockLedger, tell: { read(): void; fault(text: string): void }) {
    this.#test = test;
    this.#ledger = ledger;
    this.#tell = tell;
  }

  start(): void {
    this.#running = SITES.flatMap((name) => [this.#readAt(name), this.#readAt(name)]);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#running);
  }

  async #readAt(name: SiteNameInTests): Promise<void> {
    const options = {
      address: this.#test.member(name).layout.nbd,
      exportName: this.#test.exportName,
      connectMillis: 600,
      stallMillis: STALL_MILLIS,
    };
    while (!this.#stopping) {
      try {
        const client = await NbdClient.connect(options);
        try {
          while (!this.#stopping) {
            await this.#readOnce(name, client);
            await pause(READ_PAUSE_MILLIS);
          }
        } finally {
          client.destroy('the reader goes on elsewhere');
        }
      } catch (error) {
        if (!(error instanceof NbdConnectionError) && !(error instanceof NbdRequestError)) throw error;
        await pause(RETRY_MILLIS);
      }
    }
  }

  async #readOnce(name: SiteNameInTests, client: NbdClient): Promise<void> {
    const ledger = this.#ledger;
    const block = Math.floor(Math.random() * ledger.blockCount);
    const atLeast = ledger.readBegins(block);
    const content = await client.read(ledger.offsetOf(block), LEDGER_BLOCK_BYTES);
    this.#tell.read();
    const fault = ledger.readEnds(block, atLeast, content);
    if (fault !== null) this.#tell.fault(`at ${name}: ${fault}`);
  }
}
