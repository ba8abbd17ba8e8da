// The groups of a daemon: those of the main thread, and those that live in threads of their own.

import type { Journal } from '../core/base/ports.ts';
import type { SiteName } from '../core/base/units.ts';
import type { Site } from '../core/site/site.ts';
import { canDuplicate } from '../host/libc.ts';
import type { MovedHost } from '../host/nbd-listener.ts';
import type { Config, GroupConfig } from './config.ts';
import type { SharedParts } from './group.ts';
import { GroupRunner } from './group.ts';
import { GroupThread, type GroupThreadOptions } from './group-thread.ts';
import type { MovedLink } from './link-door.ts';

export class Groups {
  readonly #config: Config;
  readonly #site: SiteName;
  readonly #here: readonly GroupConfig[];
  readonly #threaded: readonly GroupConfig[];
  readonly #runners: GroupRunner[] = [];
  readonly #threads: GroupThread[] = [];
  readonly #journal: Journal;
  /** Those that have ended in order. */
  readonly #ended = new Set<string>();

  /** Opens nothing yet. */
  constructor(config: Config, site: SiteName, journal: Journal) {
    this.#config = config;
    this.#site = site;
    this.#journal = journal;
    this.#here = config.groups.filter(({ sites }) => sites.some(({ name }) => name === site));
    const wanted = this.#here.filter(({ thread }) => thread);
    this.#threaded = canDuplicate ? wanted : [];
    if (this.#threaded.length < wanted.length)
      journal('thread.unavailable', {}, 'the C library cannot be called here: all groups live in the main thread');
  }

  /** How many threads share what the configuration gives a site. */
  get shares(): number {
    return Math.max(1, this.#threaded.length + (this.#threaded.length < this.#here.length ? 1 : 0));
  }

  get count(): number {
    return this.#here.length;
  }

  /** All of them, in the order of the configuration. */
  get all(): readonly (GroupRunner | GroupThread)[] {
    const open = [...this.#runners, ...this.#threads];
    return this.#here.flatMap(({ name }) => open.filter(({ group }) => group === name));
  }

  get threads(): readonly GroupThread[] {
    return this.#threads;
  }

  /** Opens all groups; what is open when it rejects is stopped by stop(). */
  async open(parts: SharedParts, options: Pick<GroupThreadOptions, 'happened' | 'adopt'>): Promise<void> {
    for (const group of this.#here) if (!this.#threaded.includes(group)) this.#runners.push(new GroupRunner(group, parts));
    const begin = { config: this.#config, site: this.#site, shares: this.shares };
    const opened = await Promise.allSettled(
      this.#threaded.map(async (config) => {
        this.#threads.push(await GroupThread.open({ ...options, journal: this.#journal, config, begin: { ...begin, group: config.name } }));
      }),
    );
    for (const each of opened) if (each.status === 'rejected') throw each.reason;
  }

  /** The part in a group of the main thread. */
  readonly findSite = (group: string): Site | null => this.#runners.find((each) => each.group === group)?.owner ?? null;

  /** Who takes a peer's connection for a group that is in another thread. */
  readonly takerOf = (group: string): ((link: MovedLink, gone: () => void) => void) | null => this.#thread(group)?.takeLink ?? null;

  /** Hands a host over to the thread of a group. */
  readonly moveHost = (group: string, host: MovedHost, gone: () => void): void => this.#thread(group)?.takeHost(host, gone);

  readonly readCertificates = (): void => {
    for (const thread of this.#threads) thread.readCertificates();
  };

  start(): void {
    for (const group of this.all) group.start();
  }

  /** Ends all side by side: none waits for one that is late. */
  async stop(): Promise<void> {
    await Promise.all(
      this.all.map(async (group) => {
        if (await group.stop()) this.#ended.add(group.group);
      }),
    );
  }

  /** Names of those that have not ended in order, so far. */
  get unended(): readonly string[] {
    return this.all.map(({ group }) => group).filter((name) => !this.#ended.has(name));
  }

  /** Ends hosts that other threads have, in good order; a thread that hangs is not waited for. */
  async endHosts(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.endHosts()));
  }

  /** Resolves when what threads say is as of now, or they take too long. */
  async refresh(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.refresh()));
  }

  /** For how long the event loops of threads were held up at most, since that was asked last. */
  takeLoopDelaySecondsMax(): number {
    return Math.max(0, ...this.#threads.map((thread) => thread.takeLoopDelaySecondsMax()));
  }

  get areAlive(): boolean {
    return this.#threads.every((thread) => thread.isAlive);
  }

  #thread(group: string): GroupThread | undefined {
    return this.#threads.find((each) => each.group === group);
  }
}
