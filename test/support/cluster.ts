// A witness and three sites as real processes for end-to-end tests, with a breakable network between them, a host that remembers what was
// acknowledged, and a watch for two sites serving. Waiting is always for a condition, with a deadline.

import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Member, SiteStatus } from '../../demo/cluster.ts';
import { Cluster } from '../../demo/cluster.ts';
import { endingText } from '../../demo/daemon.ts';
import { firstDifference } from '../../demo/image.ts';
import type { ConfigChoices, Layout, SiteLayout } from '../../demo/layout.ts';
import { baseImage, configText, directName, exportName, loopback, nbdUri, planLayout, PortFinder } from '../../demo/layout.ts';
import { BlockLedger, LEDGER_BLOCK_BYTES } from '../../demo/ledger.ts';
import { NbdClient } from '../../demo/nbd-client.ts';
import { changeLine, tableLines, troubleLines } from '../../demo/picture.ts';
import { drain, followsInStep, observe } from '../../demo/scene.ts';
import { until } from '../../demo/waiting.ts';
import { verifyLedger, Workload } from '../../demo/workload.ts';
import { holder, TestAuthority } from './certificates.ts';
import type { Direction } from './proxy.ts';
import { Proxy } from './proxy.ts';
import { ServingWatch } from './watch.ts';

export const MIB: number = 1024 * 1024;

/** Shorter than the defaults, so that a failover takes a second, and with small segments, so that many are used up. */
const GROUP_KEYS = {
  lease_millis: 1000,
  heartbeat_millis: 150,
  peer_timeout_millis: 800,
  witness_retry_millis: 150,
  hold_seconds: 20,
  segment_mib: 4,
  sidefile_mib: 128,
  destage_idle_millis: 300,
  destage_backlog_mib: 16,
  // All tests with the group in a thread of its own: TERCET_E2E_THREAD=true npm run e2e
  thread: process.env['TERCET_E2E_THREAD'] ?? 'false',
};

/** How long healing may take at most: a whole copy of a small volume, on a busy machine. */
const HEAL_MILLIS = 60_000;
const ACKNOWLEDGE_MILLIS = 20_000;

export type SiteNameInTests = 'alpha' | 'beta' | 'gamma';
/** An end of a link. */
export type End = SiteNameInTests | 'witness';

export interface TestClusterOptions {
  /** Default: 64 MiB. */
  readonly sizeBytes?: number;
  /** Relays on every link, so that it can be broken. */
  readonly network?: boolean;
  /** Certificates for all, of an authority of the test's own. */
  readonly tls?: boolean;
  /** More keys of every site. */
  readonly site?: Readonly<Record<string, string | number>>;
  /** Keys of the group in place of those for tests: numbers, or TOML as it is. */
  readonly group?: Readonly<Record<string, number | string>>;
  /** Where the witness keeps its state, as arguments of its command; default: its folder. */
  readonly witnessStore?: readonly string[];
  /** Arguments of Node.js for each site's daemon. */
  readonly nodeArgs?: readonly string[];
  /** Called before anything is started, to put something in place of a data folder. What it returns is called at the very end. */
  readonly prepare?: (layout: Layout) => Promise<() => Promise<void>>;
}

/** What a host does in a test. */
export interface TestLoad {
  readonly ledger: BlockLedger;
  readonly workload: Workload;
}

/** Runs a test's body on a cluster of its own, which has a primary and two mirrors in step. In the end no process is left. */
export async function withCluster(options: TestClusterOptions, body: (cluster: TestCluster) => Promise<void>): Promise<void> {
  const test = await TestCluster.open(options);
  // A test file that took too long is ended from outside.
  const ended = (): never => {
    for (const { daemon } of test.cluster.members) daemon.signal('SIGKILL');
    test.cluster.witness.signal('SIGKILL');
    process.exit(1);
  };
  process.once('SIGTERM', ended);
  try {
    await test.begin();
    await body(test);
    await test.cluster.stop();
    assert.deepEqual(test.deaths, [], 'no process may end by itself');
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${await test.describe()}`, { cause: error });
  } finally {
    process.off('SIGTERM', ended);
    await test.close();
  }
  rmSync(test.cluster.layout.folder, { recursive: true, force: true });
}

/** One cluster of a test. */
export class TestCluster {
  readonly cluster: Cluster;
  /** Processes that ended and should not have. */
  readonly deaths: string[] = [];
  readonly #proxies: ReadonlyMap<string, Proxy>;
  readonly #prepare: TestClusterOptions['prepare'];
  #unprepare: () => Promise<void> = () => Promise.resolve();
  readonly #endings: (() => Promise<void>)[] = [];

  /** Plans and prepares; starts nothing. */
  static async open(options: TestClusterOptions): Promise<TestCluster> {
    const folder = mkdtempSync(join(tmpdir(), 'tercet-e2e-'));
    const ports = new PortFinder();
    const layout = await planLayout({ folder, sizeBytes: options.sizeBytes ?? 64 * MIB, usualPorts: false, ports });
    const proxies = options.network === true ? await openProxies(layout, ports) : new Map<string, Proxy>();
    return new TestCluster(layout, proxies, options);
  }

  private constructor(layout: Layout, proxies: ReadonlyMap<string, Proxy>, options: TestClusterOptions) {
    this.#proxies = proxies;
    const group = { ...GROUP_KEYS, ...options.group };
    const tls = options.tls === true ? certificatesFor(layout) : null;
    const choices = { group, site: options.site ?? {}, ...(tls !== null && { tls }) };
    this.cluster = new Cluster({
      layout,
      ownGroup: false,
      config: choices,
      ...(options.witnessStore !== undefined && { witnessStore: options.witnessStore }),
      nodeArgs: () => options.nodeArgs ?? [],
      ...(proxies.size > 0 && { configFileOf: (site) => join(layout.folder, `${site.name}.toml`) }),
      died: (daemon, ending) => this.deaths.push(`${daemon.name} (${endingText(ending)}):\n${daemon.logTail()}`),
    });
    // One file serves all sites in real life. Here each has its own, in which the others are behind relays.
    if (proxies.size > 0)
      for (const site of layout.sites)
        writeFileSync(join(layout.folder, `${site.name}.toml`), siteConfig(layout, site, { proxies, choices }));
    this.#prepare = options.prepare;
  }

  get layout(): Layout {
    return this.cluster.layout;
  }

  get exportName(): string {
    return exportName(this.layout);
  }

  member(name: SiteNameInTests): Member {
    return this.cluster.member(name);
  }

  /** URI of the export at a site, over TCP or its unix socket. */
  uri(name: SiteNameInTests, how: 'tcp' | 'unix' = 'tcp'): string {
    const { nbd, nbdSocket } = this.member(name).layout;
    const address = how === 'tcp' ? nbd : nbdSocket;
    if (address === null) throw new Error(`${name} has no unix socket: the temporary folder's path is too long`);
    return nbdUri(this.layout, address);
  }

  /** Starts all processes, creates the group, and waits until all copies are in step. */
  async begin(): Promise<void> {
    if (this.#prepare !== undefined) this.#unprepare = await this.#prepare(this.layout);
    await this.cluster.start();
    await this.cluster.create();
    await this.healed();
  }

  /** Something to be ended with the cluster, last begun first. */
  onClose(ending: () => Promise<void>): void {
    this.#endings.push(ending);
  }

  /** Ends everything, whatever state it is in. */
  async close(): Promise<void> {
    for (const ending of this.#endings.reverse()) await ending();
    await this.cluster.kill();
    for (const proxy of this.#proxies.values()) await proxy.close();
    await this.#unprepare();
  }

  // ── states ──

  /** The site that serves; null when none says so. */
  async servingSite(): Promise<SiteNameInTests | null> {
    for (const status of await this.cluster.statuses()) if (status?.serving === true) return status.site as SiteNameInTests;
    return null;
  }

  /** What a site says; fails when it does not answer. */
  async status(name: SiteNameInTests): Promise<SiteStatus> {
    const status = await this.cluster.status(name);
    assert.ok(status, `${name} does not answer`);
    return status;
  }

  /** Waits for something that statuses show. */
  until(what: string, look: () => Promise<boolean> | boolean, millisMax: number = HEAL_MILLIS): Promise<true> {
    let last = '';
    return until(
      what,
      millisMax,
      async () => {
        last = changeLine(await observe(this.cluster));
        return (await look()) ? true : null;
      },
      () => last,
    );
  }

  /** Waits until one site serves, and both others follow it with their flags true. Returns the one that serves. */
  async healed(millisMax: number = HEAL_MILLIS): Promise<SiteNameInTests> {
    let serving: SiteNameInTests | null = null;
    await this.until(
      'one site serves and both others are in step',
      async () => {
        serving = await this.servingSite();
        if (serving === null) return false;
        const primary = this.member(serving);
        const others = this.cluster.members.filter((member) => member !== primary);
        const steps = await Promise.all(others.map((member) => followsInStep(this.cluster, primary, member)));
        return steps.every(Boolean);
      },
      millisMax,
    );
    return serving as unknown as SiteNameInTests;
  }

  // ── the network ──

  /** Both directions of a link, silently: nothing arrives, and nobody is told. */
  cut(a: End, b: End): void {
    this.stopBytes(a, b);
    this.stopBytes(b, a);
  }

  /** Bytes from one end to the other do not arrive; those of the other direction do. */
  stopBytes(from: End, to: End): void {
    for (const [key, direction] of lanes(from, to)) this.#proxies.get(key)?.stop(direction, true);
  }

  /** Cuts every connection between two ends with a reset, and refuses new ones, or no longer. */
  sever(a: End, b: End, severed: boolean = true): void {
    for (const key of [`${a}>${b}`, `${b}>${a}`]) this.#proxies.get(key)?.sever(severed);
  }

  /** Resets one connection of a link that has several, but never its first. */
  resetStream(a: End, b: End, pick: number): void {
    for (const key of [`${a}>${b}`, `${b}>${a}`]) this.#proxies.get(key)?.resetOne(pick);
  }

  /** Every byte between two ends arrives so much later. */
  delay(a: End, b: End, millis: number, queueBytes?: number): void {
    for (const key of [`${a}>${b}`, `${b}>${a}`]) this.#proxies.get(key)?.delay(millis, queueBytes);
  }

  /** The links between two ends work again, both ways. */
  mend(a: End, b: End): void {
    for (const key of [`${a}>${b}`, `${b}>${a}`]) this.#proxies.get(key)?.heal();
  }

  /** A machine is lost: its process is killed, and what it had sent and was still on the way is lost with it. */
  async loseMachine(name: SiteNameInTests): Promise<void> {
    const ends = ['alpha', 'beta', 'gamma', 'witness'] as const;
    for (const end of ends) this.sever(name, end);
    await this.member(name).daemon.kill();
    for (const end of ends) for (const key of [`${name}>${end}`, `${end}>${name}`]) this.#proxies.get(key)?.sever(false);
  }

  /** All links work again. */
  healNetwork(): void {
    for (const proxy of this.#proxies.values()) proxy.heal();
  }

  // ── hosts ──

  /** A host that writes the second half of the volume, 4 KiB at a time, through whoever serves. It is ended with the cluster. */
  load(options: { depth?: number; flushEvery?: number; blockCount?: number } = {}): TestLoad {
    const { depth = 8, flushEvery = 50, blockCount = 2048 } = options;
    const ledger = new BlockLedger({ offsetBytes: this.layout.sizeBytes / 2, blockCount });
    const targets = this.layout.sites.map((site) => ({ site: site.name, address: site.nbd }));
    const workload = new Workload({ targets, exportName: directName(this.layout), ledger, depth, flushEvery, stallMillis: 2_500 });
    workload.start();
    this.onClose(() => workload.stop());
    return { ledger, workload };
  }

  /** Waits until so many more writes were acknowledged. */
  async acknowledged(load: TestLoad, count: number): Promise<void> {
    const from = load.ledger.acknowledgedCount;
    await this.until(`${count} more writes are acknowledged`, () => load.ledger.acknowledgedCount >= from + count, ACKNOWLEDGE_MILLIS);
  }

  /** A watch for two sites serving; its register is the last block of the volume. It is ended with the cluster. */
  watch(): ServingWatch {
    const watch = new ServingWatch(this.cluster, this.layout.sizeBytes - LEDGER_BLOCK_BYTES);
    watch.start();
    this.onClose(async () => {
      await watch.stop();
    });
    return watch;
  }

  /** A connection to a site's export. It is ended with the cluster. */
  async attach(name: SiteNameInTests): Promise<NbdClient> {
    const client = await NbdClient.connect({ address: this.member(name).layout.nbd, exportName: directName(this.layout) });
    this.onClose(async () => client.destroy('the test is over'));
    return client;
  }

  /** Reads back all blocks of a host that has stopped, through whoever serves. Fails with the first faults. */
  async verify({ ledger }: TestLoad): Promise<void> {
    const serving = await this.healed();
    const client = await this.attach(serving);
    const faults = await verifyLedger(client, ledger);
    await client.close();
    assert.equal(faults.length, 0, `${faults.length} faults at ${serving}: ${faults.slice(0, 5).join('; ')}`);
  }

  /**
   * Stops the host, brings everything into the base images, ends all processes in order, and compares: the three images with each other, byte
   * for byte, and every block of the host with what was acknowledged.
   */
  async compareCopies(load?: TestLoad): Promise<void> {
    await load?.workload.stop();
    await this.healed();
    await drain(this.cluster, HEAL_MILLIS);
    await this.cluster.stop();
    const bases = this.layout.sites.map((site) => baseImage(this.layout, site));
    const different = firstDifference(bases, this.layout.sizeBytes);
    assert.equal(different, null, `${different?.path} differs from ${bases[0]} at byte ${different?.offset}`);
    if (load !== undefined) checkBase(bases[0] as string, load.ledger);
  }

  /** Everything that helps to understand a failure. */
  async describe(): Promise<string> {
    const scene = await observe(this.cluster);
    const tails = this.cluster.daemons.map((daemon) => `${daemon.name}:\n${daemon.logTail()}`);
    return [...tableLines(scene), ...troubleLines(scene), ...this.deaths, ...tails, `everything is kept in ${this.layout.folder}`].join(
      '\n',
    );
  }
}

function checkBase(path: string, ledger: BlockLedger): void {
  const file = openSync(path, 'r');
  const bytes = Buffer.alloc(LEDGER_BLOCK_BYTES);
  try {
    for (let block = 0; block < ledger.blockCount; block++) {
      readSync(file, bytes, 0, bytes.length, ledger.offsetOf(block));
      assert.equal(ledger.check(block, bytes), null);
    }
  } finally {
    closeSync(file);
  }
}

/** The relays and directions that bytes from one end to the other take: connections may have been opened from either end. */
function lanes(from: End, to: End): readonly (readonly [string, Direction])[] {
  return [
    [`${from}>${to}`, 'out'],
    [`${to}>${from}`, 'back'],
  ];
}

/** A relay from each site to each other one, and to the witness. */
async function openProxies(layout: Layout, ports: PortFinder): Promise<ReadonlyMap<string, Proxy>> {
  const proxies = new Map<string, Proxy>();
  for (const from of layout.sites) {
    for (const to of layout.sites) {
      if (from !== to) proxies.set(`${from.name}>${to.name}`, await Proxy.open(loopback(await ports.find(null)), to.link));
    }
    proxies.set(`${from.name}>witness`, await Proxy.open(loopback(await ports.find(null)), layout.witness.address));
  }
  return proxies;
}

function siteConfig(
  layout: Layout,
  self: SiteLayout,
  { proxies, choices }: { proxies: ReadonlyMap<string, Proxy>; choices: ConfigChoices },
): string {
  const at = (key: string): Proxy => {
    const proxy = proxies.get(key);
    assert.ok(proxy, `no relay ${key}`);
    return proxy;
  };
  return configText(layout, {
    linkOf: (site) => (site === self ? site.link : at(`${self.name}>${site.name}`).listens),
    witness: at(`${self.name}>witness`).listens,
    ...choices,
  });
}

/** Certificates for all sites and the witness, in the folder `tls`. */
export function certificatesFor(layout: Layout): NonNullable<ConfigChoices['tls']> {
  const authority = new TestAuthority(join(layout.folder, 'tls'));
  for (const { name } of layout.sites) authority.issue(name, holder.site(name), { hosts: ['127.0.0.1', 'localhost'] });
  authority.issue('witness', holder.witness);
  const at = (name: string): string => join(authority.folder, name);
  return { ca: at('ca.crt'), cert: at('{site}.crt'), key: at('{site}.key') };
}

/** Resident memory of a process in bytes. */
export function residentBytes(pid: number): number {
  const match = /^VmRSS:\s+([0-9]+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  assert.ok(match, `process ${pid} is not there`);
  return Number(match[1]) * 1024;
}
