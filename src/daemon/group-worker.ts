// The thread of one group: everything of the group lives here, from its data folder to its hosts' and peers' connections, as it would in a daemon that has
// no other group. Only the listeners, the control API and what watches the site are in the main thread (group-thread.ts).

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parentPort, workerData } from 'node:worker_threads';

import { assert, unreachable } from '../core/base/assert.ts';
import { TercetError } from '../core/base/errors.ts';
import type { ImageEnd, ImagePiece } from '../core/base/image.ts';
import type { Journal } from '../core/base/ports.ts';
import { DiskError } from '../core/base/ports.ts';
import type { SiteName } from '../core/base/units.ts';
import { HostMemory } from '../core/nbd/memory.ts';
import type { NbdListener } from '../host/nbd-listener.ts';
import type { TlsMaterial } from '../host/tls-material.ts';
import type { EventDraft } from '../watch/events.ts';
import { eventOfLine } from '../watch/journal-events.ts';
import type { Config } from './config.ts';
import { groupOf, siteOf } from './config.ts';
import type { ExportedGroup, KeptGroup } from './exports.ts';
import { Exports } from './exports.ts';
import { type Closer, closeHosts, diskError, openGround, openHosts, openTls } from './ground.ts';
import type { SharedParts } from './group.ts';
import { GroupRunner } from './group.ts';
import type { GroupAsks } from './live-group.ts';
import { GROUP_ANSWERS } from './live-group.ts';
import { createJournal } from './log.ts';
import { PeerListener } from './peer-listener.ts';
import { dieOf } from './service.ts';
import type { FromThread, ThreadAnswers, ThreadBegin, ThreadLook, ToThread } from './thread-messages.ts';
import { tellError } from './thread-messages.ts';

/** Events that wait until the main thread has heard of those before them. */
const DRAFTS_MAX = 1024;
/** The main thread, as who goes on with a handshake. */
const MAIN = '';

type Asks = {
  readonly [Name in Exclude<keyof ThreadAnswers, 'look' | keyof GroupAsks>]: (
    ...args: Parameters<ThreadAnswers[Name]>
  ) => ReturnType<ThreadAnswers[Name]> | Promise<ReturnType<ThreadAnswers[Name]>>;
} & GroupAsks;

const begin = workerData as ThreadBegin;
const lines = createJournal({ site: begin.site });
process.on('uncaughtException', (error) => dieOf(lines, error));

function tell(message: FromThread): void {
  assert(parentPort !== null, 'this is a thread');
  parentPort.postMessage(message);
}

/** Tells the main thread what has happened: together, at the end of a turn, and no more before it has heard of that. */
class News {
  readonly #look: () => ThreadLook;
  #drafts: EventDraft[] = [];
  #isOnItsWay = false;

  constructor(look: () => ThreadLook) {
    this.#look = look;
  }

  add(draft: EventDraft): void {
    // As JSON would have it: that is what it becomes.
    const facts = JSON.parse(JSON.stringify(draft.facts)) as EventDraft['facts'];
    if (this.#drafts.length < DRAFTS_MAX) this.#drafts.push({ ...draft, facts });
    else
      this.#drafts[DRAFTS_MAX - 1] = { ...draft, kind: 'gap', peer: null, facts: {}, text: 'events are missing here: there were too many' };
  }

  heard(): void {
    this.#isOnItsWay = false;
    this.send();
  }

  readonly send = (): void => {
    if (this.#isOnItsWay || this.#drafts.length === 0) return;
    this.#isOnItsWay = true;
    tell({ kind: 'news', drafts: this.#drafts, look: this.#look() });
    this.#drafts = [];
  };
}

/** The group and what it stands on. */
class GroupHome {
  readonly #parts: SharedParts;
  readonly #tls: TlsMaterial | null;
  readonly #runner: GroupRunner;
  readonly #exports: Exports;
  readonly #peers: PeerListener;
  readonly #news: News;
  readonly #closers: Closer[] = [];
  readonly #images = new Map<number, AsyncGenerator<ImagePiece, ImageEnd>>();
  readonly #loopDelay = monitorEventLoopDelay({ resolution: 20 });
  readonly #asks: Asks;
  #hosts: NbdListener | null = null;
  #hostsEnd: Promise<void> = Promise.resolve();

  constructor({ config, site: name, group, shares }: ThreadBegin) {
    const site = siteOf(config, name);
    this.#tls = openTls(config, name);
    this.#news = new News(() => this.look());
    const journal: Journal = (event, facts, text) => {
      lines(event, facts, text);
      const draft = eventOfLine(event, facts, text);
      if (draft === null) return;
      this.#news.add(draft);
      this.#parts.turns.touchSend(this.#news.send);
    };
    const dropHosts = (_group: string, reason: string): void => {
      this.#exports.drop(group);
      // Every connection here is this group's.
      this.#hosts?.dropAll(reason, (session) => this.#exports.readsPoint(session));
      this.#parts.turns.arm();
    };
    this.#parts = openGround({ config, site, journal, tls: this.#tls, dropHosts, shares }, this.#closers);
    this.#runner = new GroupRunner(groupOf(config, group), this.#parts);
    const { buffers } = this.#parts;
    const memory = new HostMemory(site.nbdMemoryBytes / shares);
    this.#exports = new Exports(exportsOf(config, name, this.#runner), buffers, { memory, lister: MAIN });
    this.#peers = new PeerListener({ ...this.#parts, findSite: (wanted) => (wanted === group ? this.#runner.owner : null) });
    this.#loopDelay.enable();
    this.#asks = this.#answers();
  }

  look(): ThreadLook {
    const loopDelaySecondsMax = this.#loopDelay.max / 1e9;
    this.#loopDelay.reset();
    return { status: this.#runner.status(), loopDelaySecondsMax };
  }

  async open(): Promise<void> {
    this.#hosts = await openHosts(this.#exports, this.#parts, {
      listen: [],
      passed: [],
      move: (_to, host, gone) => {
        tell({ kind: 'host', connection: host.connection ?? 0, host });
        gone();
      },
    });
  }

  /** Returns whether the group has ended in order. */
  async close(): Promise<boolean> {
    // The main thread does not wait for hosts of a thread that was late to hear of it.
    await this.#hostsEnd;
    const inOrder = await this.#runner.stop();
    await this.#peers.gone();
    for (const closer of this.#closers.splice(0).reverse()) await closer();
    return inOrder;
  }

  take(message: ToThread): void {
    switch (message.kind) {
      case 'start':
        return this.#runner.start();
      case 'heard':
        return this.#news.heard();
      case 'host':
        assert(this.#hosts !== null, 'hosts come when the group is open');
        return this.#hosts.adopt(message.host, () => tell({ kind: 'gone', connection: message.connection }));
      case 'link':
        return this.#peers.adopt(message.link, () => tell({ kind: 'gone', connection: message.connection }));
      case 'ask':
        return this.#answer(message);
      default:
        return unreachable(message);
    }
  }

  #answer({ number, name, args }: Extract<ToThread, { kind: 'ask' }>): void {
    // The compiler knows both ends of this (ThreadAnswers); the message between them is of one form.
    const ask = name === 'look' ? (): null => null : (this.#asks[name] as (...args: readonly unknown[]) => unknown);
    const answered = async (): Promise<void> => {
      try {
        const value = await ask(...args);
        tell({ kind: 'answer', number, value, look: this.look() });
      } catch (error) {
        tell({ kind: 'refused', number, error: tellError(error) });
      }
    };
    // What is no error for the asker was thrown again, and ends the process.
    answered().catch((error: unknown) => dieOf(lines, error));
  }

  #answers(): Asks {
    const runner = this.#runner;
    const asked = Object.fromEntries(
      GROUP_ANSWERS.map((name) => [
        name,
        (...args: readonly unknown[]) => (runner[name] as (...args: readonly unknown[]) => unknown).apply(runner, args as never),
      ]),
    ) as unknown as GroupAsks;
    return {
      ...asked,
      change: (config) => runner.change(config),
      readCertificates: () => this.#readCertificates(),
      imageBegin: (number, volume) => {
        const image = runner.image(volume);
        if (image !== null) this.#images.set(number, image);
      },
      imageNext: async (number) => {
        const image = this.#images.get(number);
        assert(image !== undefined, 'pieces are asked for of an image that was begun', { number });
        const next = await image.next();
        return next.done === true ? { end: next.value } : { piece: next.value };
      },
      imageEnd: async (number) => {
        await this.#images.get(number)?.return(undefined as never);
        this.#images.delete(number);
      },
      endHosts: () => {
        if (this.#hosts !== null) this.#hostsEnd = closeHosts(this.#hosts);
        return this.#hostsEnd;
      },
      stop: () => this.close(),
    };
  }

  /** They are sound, as the main thread has found; should they have changed once more, those that were in use stay in use, and the log says so. */
  #readCertificates(): void {
    try {
      this.#tls?.reload();
    } catch (error) {
      if (!(error instanceof TercetError)) throw error;
      this.#parts.journal('tls.reload-failed', { code: error.code, group: this.#runner.group }, error.message);
    }
  }
}

/** Its own group, and what the main thread answers for. */
function exportsOf(config: Config, site: SiteName, own: GroupRunner): readonly (ExportedGroup | KeptGroup)[] {
  const here = config.groups.filter(({ sites }) => sites.some(({ name }) => name === site));
  return here.map(({ name, sites, volumes }) =>
    name === own.group
      ? own
      : {
          group: name,
          site,
          sites: sites.map((each) => each.name),
          volumes,
          role: 'standby',
          knownPrimary: null,
          points: { standing: [] },
          keeper: MAIN,
        },
  );
}

async function main(): Promise<void> {
  let home: GroupHome | null = null;
  try {
    home = new GroupHome(begin);
    await home.open();
  } catch (error) {
    await home?.close();
    tell({ kind: 'failed', error: tellError(error instanceof DiskError ? diskError(error) : error) });
    return;
  }
  const { look, take } = { look: home.look(), take: home.take.bind(home) };
  parentPort?.on('message', (message: ToThread) => take(message));
  tell({ kind: 'open', look });
}

await main();
