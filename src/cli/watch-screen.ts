// `tercet status --watch`: asks all sites again and again, and draws what they say on the whole terminal until it is ended.

import { RemoteError } from '../api/client.ts';
import type { EventLine, SiteStatus } from '../api/schema.ts';
import { TercetError } from '../core/base/errors.ts';
import type { CliContext, LoadedConfig } from './context.ts';
import { toned } from './context.ts';
import type { Screen } from './screen.ts';
import { gatherStatus } from './status-report.ts';
import type { Rates, Scene } from './watch-picture.ts';
import { fitLines, rateKey, sceneLines } from './watch-picture.ts';

/** Between two looks. */
const LOOK_MILLIS = 1000;
/** Events that are kept to be shown. */
const EVENTS_MAX = 200;
const RATE_COUNTERS = ['writes', 'writtenBytes', 'reads', 'readBytes', 'flushes', 'sentBytes'] as const;

/** What is watched: some sites of a configuration, and the groups that have a copy there. */
export interface Watched {
  readonly reach: LoadedConfig['reach'];
  readonly sites: LoadedConfig['sites'];
  readonly groups: LoadedConfig['groups'];
}

/** Ends when somebody presses q or Ctrl-C, or at a signal that ends a program. */
export async function watchStatus(context: CliContext, watched: Watched, screen: Screen): Promise<void> {
  const looker = new Looker(watched);
  const style = toned(context);
  let scene: Scene | null = null;
  let from = 0;
  let end: () => void = () => {};
  const ended = new Promise<'ended'>((resolve) => {
    end = () => resolve('ended');
  });
  const draw = (): void => {
    if (scene === null) return;
    const lines = sceneLines(scene, screen);
    from = Math.max(0, Math.min(from, lines.length - screen.rows));
    screen.draw(fitLines(lines, { columns: screen.columns, rows: screen.rows, from }, style));
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, end);
  screen.onChange(draw);
  screen.onKey((key) => {
    if (key === 'q' || key === 'Q' || key === '\u0003' || key === '\u0004') end();
    const step = STEPS[key];
    if (step === undefined) return;
    from = Math.max(0, from + step * (Math.abs(step) > 1 ? screen.rows - 2 : 1));
    draw();
  });
  let timer: NodeJS.Timeout | undefined;
  const pause = (): Promise<'passed'> =>
    new Promise((resolve) => {
      timer = setTimeout(() => resolve('passed'), LOOK_MILLIS);
    });
  try {
    for (;;) {
      const looked = await Promise.race([looker.look(), ended]);
      if (looked === 'ended') return;
      scene = looked;
      draw();
      if ((await Promise.race([pause(), ended])) === 'ended') return;
    }
  } finally {
    clearTimeout(timer);
    for (const signal of signals) process.off(signal, end);
    screen.close();
  }
}

/** Keys that scroll: by a line, or by a page. */
const STEPS: Readonly<Record<string, number>> = {
  '\u001B[A': -1,
  '\u001B[B': 1,
  k: -1,
  j: 1,
  '\u001B[5~': -2,
  '\u001B[6~': 2,
  ' ': 2,
};

interface Seen {
  readonly at: number;
  readonly status: SiteStatus;
}

/** Looks at all sites, and remembers what is needed to tell rates and new events. */
class Looker {
  readonly #watched: Watched;
  readonly #seen = new Map<string, Seen>();
  readonly #newest = new Map<string, string>();
  #events: EventLine[] = [];

  constructor(watched: Watched) {
    this.#watched = watched;
  }

  async look(): Promise<Scene> {
    const { reach, sites, groups } = this.#watched;
    const report = await gatherStatus(
      reach,
      sites,
      groups.map(({ name }) => name),
    );
    const reachable = sites.filter(({ name }) => report.sites.some((answer) => answer.site === name && answer.reachable));
    await Promise.all(reachable.map((site) => this.#readEvents(site)));
    const rates = new Map<string, Rates>();
    const now = performance.now();
    for (const status of report.groups.flatMap((group) => group.sites)) {
      const key = rateKey(status.group, status.site);
      const before = this.#seen.get(key);
      if (before !== undefined) rates.set(key, ratesOf(before, { at: now, status }));
      this.#seen.set(key, { at: now, status });
    }
    return { time: new Date(), report, sites: new Map(groups.map((group) => [group.name, group.sites])), rates, events: this.#events };
  }

  async #readEvents(site: Watched['sites'][number]): Promise<void> {
    try {
      const found: EventLine[] = [];
      const { client } = await this.#watched.reach.site(site);
      for await (const event of client.events({ after: this.#newest.get(site.name) ?? null, follow: false })) found.push(event);
      const last = found.at(-1);
      if (last === undefined) return;
      this.#newest.set(site.name, last.id);
      const sorted = [...this.#events, ...found].sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
      this.#events = sorted.slice(-EVENTS_MAX);
    } catch (error) {
      // It answered a moment ago: whether it still does is told by the next look.
      if (!(error instanceof TercetError) && !(error instanceof RemoteError)) throw error;
    }
  }
}

function ratesOf(before: Seen, after: Seen): Rates {
  const seconds = Math.max(0.001, (after.at - before.at) / 1000);
  const rate = (now: number, then: number): number => Math.max(0, now - then) / seconds;
  const resyncBytes: Record<string, number> = {};
  for (const peer of after.status.peers) {
    const then = before.status.peers.find(({ site }) => site === peer.site)?.resync ?? null;
    if (peer.resync === null || then?.rung !== peer.resync.rung) continue;
    resyncBytes[peer.site] = rate(peer.resync.doneBytes, then.doneBytes);
  }
  const counted = RATE_COUNTERS.map((counter) => [counter, rate(after.status.counters[counter], before.status.counters[counter])] as const);
  return { ...(Object.fromEntries(counted) as Record<(typeof RATE_COUNTERS)[number], number>), resyncBytes };
}
