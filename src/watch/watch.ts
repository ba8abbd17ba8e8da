// Watches the groups of one site from outside the data path: a look each second, and one right behind each change that the journal tells. What it
// sees becomes events, hooks, samples and metrics.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { IntervalHistogram } from 'node:perf_hooks';

import type { DaemonStatus, RpoBreach, SiteStatus } from '../api/schema.ts';
import { summarize } from '../api/summary.ts';
import type { Journal } from '../core/base/ports.ts';
import type { WhatIf, WhatIfGround } from '../core/site/what-if.ts';
import { whatIfs } from '../core/site/what-if.ts';
import { EventLog } from './events.ts';
import type { EventDraft } from './events.ts';
import { Hooks } from './hooks.ts';
import { eventOfLine } from './journal-events.ts';
import { CoverageWatch } from './coverage-watch.ts';
import type { PeerRisk, RpoTarget } from './peer-watch.ts';
import { PeerWatch } from './peer-watch.ts';
import type { Sample } from './samples.ts';
import { SAMPLE_SECONDS, Samples } from './samples.ts';
import { metricsText } from './metrics.ts';

const LOOK_MILLIS = 1000;

const NO_TARGET: RpoTarget = { rpoSeconds: 0, alertPercent: 100 };

/** What a watch is told of the configuration; a reload may change it. */
export interface WatchSettings {
  readonly hooks: string | null;
  /** By group. */
  readonly groups: ReadonlyMap<string, WatchIfSettings>;
}

/** Of one group. */
export interface WatchIfSettings extends WhatIfGround {
  readonly rpo: RpoTarget;
}

/** What is told of a group beside its status: GET /v1/view. */
export interface GroupView {
  readonly status: SiteStatus;
  /** What is wrong, as far as this site knows, the most important first; and what is so, in one line. */
  readonly problems: readonly string[];
  readonly state: string;
  readonly rpoSeconds: number;
  /** What of it is worth an alert. */
  readonly rpoAlertPercent: number;
  readonly risks: readonly PeerRisk[];
  readonly whatIf: readonly WhatIf[];
  readonly samples: readonly Sample[];
}

interface Watched {
  readonly peers: PeerWatch;
  readonly coverage: CoverageWatch;
  readonly samples: Samples;
}

/** Watches until it is stopped. */
export class Watch {
  readonly events: EventLog;
  readonly hooks: Hooks;
  readonly #startedAt = Date.now() / 1000;
  readonly #groups = new Map<string, Watched>();
  readonly #journal: Journal;
  readonly #loopDelay: IntervalHistogram = monitorEventLoopDelay({ resolution: 20 });
  #settings: WatchSettings;
  #status: (() => DaemonStatus) | null = null;
  #othersDelaySeconds: () => number = () => 0;
  #timer: NodeJS.Timeout | null = null;
  #looksSoon = false;
  #lastSample = -Infinity;

  constructor(options: { site: string; settings: WatchSettings; journal: Journal }) {
    this.#settings = options.settings;
    this.#journal = options.journal;
    this.events = new EventLog({ site: options.site, run: Date.now().toString(36), wall: Date.now });
    this.hooks = new Hooks({
      folder: options.settings.hooks,
      journal: options.journal,
      failed: (hook, text) => this.#add({ kind: 'hook-failed', group: null, peer: null, facts: { hook }, text }),
    });
  }

  /** The journal to be used from here on: what it is told goes to the one that was given, and becomes events. */
  get journal(): Journal {
    return (name, facts, text) => {
      this.#journal(name, facts, text);
      const draft = eventOfLine(name, facts, text);
      if (draft !== null) this.happened(draft);
    };
  }

  /** Something has happened that another thread has told its log. */
  happened(draft: EventDraft): void {
    if (draft.kind === 'resync-start') this.#resyncBegun(draft);
    this.#add(draft);
    this.#lookSoon();
  }

  /** Begins to look. `othersDelaySeconds`: for how long the event loops of other threads were held up at most, since that was asked last. */
  start(status: () => DaemonStatus, othersDelaySeconds: () => number = () => 0): void {
    this.#status = status;
    this.#othersDelaySeconds = othersDelaySeconds;
    this.#loopDelay.enable();
    this.#timer = setInterval(() => this.look(), LOOK_MILLIS);
    this.#timer.unref();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#status = null;
    this.#loopDelay.disable();
  }

  /** Other settings from now on. */
  change(settings: WatchSettings): void {
    this.#settings = settings;
    this.hooks.folder = settings.hooks;
  }

  /** Looks at all groups now. */
  look(): void {
    if (this.#status === null) return;
    const now = performance.now() / 1000;
    const sampling = now - this.#lastSample >= SAMPLE_SECONDS - 0.1;
    if (sampling) this.#lastSample = now;
    for (const status of this.#status().groups) {
      const { peers, coverage, samples } = this.#watched(status.group);
      const rpo = this.#rpoOf(status.group);
      for (const draft of [...peers.look(status, rpo, now), ...coverage.look(status, now)]) this.#add(draft);
      if (sampling) samples.take(status, peers.risks(status, rpo, now), { wall: Date.now() / 1000, now });
    }
  }

  /** Everything that is known of the groups, for the page; of the samples those that are younger than `since`, in seconds since 1970. */
  views(since = 0): readonly GroupView[] {
    const now = performance.now() / 1000;
    return (this.#status?.() ?? { groups: [] }).groups.map((status) => {
      const { peers, samples } = this.#watched(status.group);
      const settings = this.#settings.groups.get(status.group);
      const rpo = this.#rpoOf(status.group);
      const { problems, state } = summarize(status.group, [status]);
      return {
        status,
        problems,
        state,
        rpoSeconds: rpo.rpoSeconds,
        rpoAlertPercent: rpo.alertPercent,
        risks: peers.risks(status, rpo, now),
        whatIf: settings === undefined ? [] : whatIfs(status, settings),
        samples: since === 0 ? samples.kept : samples.kept.filter(({ time }) => time > since),
      };
    });
  }

  /** Copies of these groups that would lose more than is allowed. */
  breaches(groups: readonly SiteStatus[]): readonly RpoBreach[] {
    const now = performance.now() / 1000;
    return groups.flatMap((status) => {
      const rpo = this.#rpoOf(status.group);
      const breached = this.#watched(status.group)
        .peers.risks(status, rpo, now)
        .filter((risk) => risk.breached === true);
      const targetSeconds = (rpo.rpoSeconds * rpo.alertPercent) / 100;
      return breached.map(({ peer, seconds, bound }) => ({ group: status.group, peer, seconds, bound, targetSeconds }));
    });
  }

  /** The answer to Prometheus. */
  metrics(): string {
    const now = performance.now() / 1000;
    const { site, version, tls, groups } = this.#status?.() ?? { site: '', version: '', tls: null, groups: [] };
    const usage = process.cpuUsage();
    const loopDelaySecondsMax = Math.max(this.#loopDelay.max / 1e9, this.#othersDelaySeconds());
    this.#loopDelay.reset();
    return metricsText({
      site,
      version,
      startedAt: this.#startedAt,
      certificateEndsAt: tls === null ? null : Date.parse(tls.expiresAt) / 1000,
      groups: groups.map((status) => {
        const rpo = this.#rpoOf(status.group);
        return { status, rpoSeconds: rpo.rpoSeconds, risks: this.#watched(status.group).peers.risks(status, rpo, now) };
      }),
      events: this.events.counts,
      hooks: { ...this.hooks.counts },
      process: { residentBytes: process.memoryUsage.rss(), cpuSeconds: (usage.user + usage.system) / 1e6, loopDelaySecondsMax },
    });
  }

  #rpoOf(group: string): RpoTarget {
    return this.#settings.groups.get(group)?.rpo ?? NO_TARGET;
  }

  #watched(group: string): Watched {
    let watched = this.#groups.get(group);
    if (watched === undefined) {
      watched = { peers: new PeerWatch(), coverage: new CoverageWatch(), samples: new Samples() };
      this.#groups.set(group, watched);
    }
    return watched;
  }

  #resyncBegun({ group, peer, facts }: EventDraft): void {
    if (group === null || peer === null) return;
    const now = performance.now() / 1000;
    const rung = typeof facts['rung'] === 'string' ? facts['rung'] : 'unknown';
    // The journal is told from within the core: its status is read a moment later.
    setImmediate(() => {
      const status = this.#status?.().groups.find((each) => each.group === group);
      this.#watched(group).peers.begun(peer, rung, status?.marks?.received ?? 0, now);
    });
  }

  #add(draft: EventDraft): void {
    this.hooks.call(this.events.add(draft));
  }

  #lookSoon(): void {
    if (this.#looksSoon) return;
    this.#looksSoon = true;
    setImmediate(() => {
      this.#looksSoon = false;
      this.look();
    });
  }
}
