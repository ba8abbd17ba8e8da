// What happened at a site, as a numbered list that can be followed: for the event stream, the page and the hooks. Bounded: who is too far behind
// is told that events are missing. docs/reference/events.md is written from the table below.

/** What an event means, and the hook that is called for it. */
export interface EventKindEntry {
  readonly meaning: string;
  /** First argument of the hooks' programs; null when none is called. */
  readonly hook: string | null;
}

const kinds = {
  started: { meaning: 'The daemon of the site has started.', hook: null },
  role: { meaning: 'The role of the site has changed. `facts.role` is the new one, `facts.was` the old one.', hook: 'role' },
  serving: { meaning: 'Serving of hosts has begun or ended: `facts.serving`.', hook: 'role' },
  connect: { meaning: 'A connection to the peer stands.', hook: 'connect' },
  disconnect: { meaning: 'The connection to the peer has ended, with `facts.reason`.', hook: 'disconnect' },
  'resync-start': { meaning: 'As primary: the peer is being brought up to date. `facts.rung` says how.', hook: 'resync-start' },
  'resync-done': { meaning: 'As primary: the peer has everything that it lacked.', hook: 'resync-done' },
  'scan-done': {
    meaning:
      'As primary: the peer was compared by `facts.algorithm`, and is equal as of the record `facts.endSeq`. `facts.differingBytes` of it were not, and came: in `facts.ranges`, the first hundred (`volume`, `offset`, `length`), since the scan begun or went on.',
    hook: null,
  },
  'resync-interrupted': { meaning: 'As primary: the peer has not got everything that it lacked.', hook: 'resync-interrupted' },
  diverged: { meaning: 'This copy holds something else than the primary where both should be equal.', hook: 'diverged' },
  'cut-back': { meaning: 'Records that the primary does not have were cut off here.', hook: null },
  point: { meaning: 'A point of this copy was made: record `facts.seq`.', hook: null },
  'point-ended': { meaning: 'A point of this copy, record `facts.seq`, stands no more, with `facts.why`.', hook: null },
  'point-lost': {
    meaning:
      'The point `facts.name` of this copy, record `facts.seq`, was given up before it was removed, with `facts.why`: its readers get errors.',
    hook: 'point',
  },
  'coverage-lost': { meaning: 'The sidefile was full and has dropped records that another copy lacks.', hook: null },
  coverage: {
    meaning:
      'Whether the sidefile of `facts.from` can bring `facts.to` up to date by delta has changed, for some seconds: `facts.state`, with `facts.why`.',
    hook: 'coverage',
  },
  'sidefile-filling': {
    meaning: 'The sidefile will be full within a minute if it goes on like this: `facts.seconds`.',
    hook: 'coverage',
  },
  writers: {
    meaning:
      'As primary: hosts are slowed down (`facts.state` is `slowed`), their writes wait (`stopped`), or they write freely again (`free`), because of what `facts.site` lacks.',
    hook: 'coverage',
  },
  paused: { meaning: 'As primary: the peer is sent nothing until it is resumed, by order.', hook: 'pause' },
  mode: { meaning: 'As primary: the peer is mirrored in another mode from now on: `facts.mode`.', hook: null },
  member: { meaning: 'As primary: the peer is a copy of the group from now on, or no more: `facts.member`.', hook: null },
  resumed: { meaning: 'The pause of the peer has ended: by order, or because another site is primary (`facts.why`).', hook: 'pause' },
  'sidefile-eased': { meaning: 'The sidefile will not be full soon any more.', hook: null },
  flag: { meaning: 'The flag of the peer at the witness has changed: `facts.flag`.', hook: null },
  witness: { meaning: 'The witness answers again, or no longer: `facts.reachable`.', hook: null },
  agreement: {
    meaning:
      'What a pair agrees on while its witness is lost (`pre_election`). `facts.state`: `made`, as primary this site may go on without the peer; `given-back`; `used`, it went on without the peer; `told`, the witness has heard of it; as mirror `left`, the peer may go on alone, and `over`.',
    hook: 'role',
  },
  unclean: {
    meaning:
      'The copy came back from a loss of power, or from the end of its process with the sidefile in memory, and may lack records that were not flushed.',
    hook: null,
  },
  failed: { meaning: 'The copy of this site has failed, with `facts.reason`.', hook: 'role' },
  force: { meaning: 'An administrator has promoted this site by force.', hook: 'role' },
  'rpo-breach': {
    meaning: 'As primary: the peer lacks more than `rpo_alert_percent` of `rpo_seconds`, or has not followed for longer than that.',
    hook: 'rpo',
  },
  'rpo-met': { meaning: 'As primary: the peer has been within nine tenths of that again.', hook: 'rpo' },
  'verify-start': { meaning: 'As primary: all copies are being compared, by order or by schedule.', hook: null },
  damage: {
    meaning:
      'As primary: a verify has found the first difference of its run, at the copy `facts.site`. `tercet verify GROUP --last` names all.',
    hook: 'damage',
  },
  'verify-done': {
    meaning:
      'As primary: the verify has ended. `facts.differingBlocks`, `facts.damagedRecords`; `facts.unmended` of them are as they were.',
    hook: null,
  },
  reload: { meaning: 'The configuration was read again.', hook: null },
  'hook-failed': { meaning: 'A hook ended with an error, or lasted too long and was ended.', hook: null },
  gap: { meaning: 'Events before this one are no longer known here. It has the id of the newest one that is missing.', hook: null },
} as const satisfies Record<string, EventKindEntry>;

/** Kind of an event. */
export type EventKind = keyof typeof kinds;

/** All kinds with what they mean. */
export const EVENT_KINDS: Readonly<Record<EventKind, EventKindEntry>> = kinds;

/** Names of the hooks, each once, in the order of the table. */
export const HOOK_NAMES: readonly string[] = [
  ...new Set(Object.values<EventKindEntry>(kinds).flatMap(({ hook }) => (hook === null ? [] : [hook]))),
];

/** An event before it has its number. */
export interface EventDraft {
  readonly kind: EventKind;
  /** null when it is about the daemon as a whole. */
  readonly group: string | null;
  readonly peer: string | null;
  readonly facts: Readonly<Record<string, unknown>>;
  readonly text: string;
}

/** Something that happened. */
export interface SiteEvent extends EventDraft {
  /** RUN-NUMBER: +1 for each event of one run of the daemon. */
  readonly id: string;
  /** RFC 3339. */
  readonly time: string;
  readonly site: string;
}

/** Events that are kept. */
const KEPT_MAX = 2048;

/** The events of one run of a daemon. */
export class EventLog {
  readonly #site: string;
  readonly #run: string;
  readonly #wall: () => number;
  readonly #kept: SiteEvent[] = [];
  readonly #watchers = new Set<(event: SiteEvent) => void>();
  readonly #counts = new Map<EventKind, number>();
  #number = 0;

  /** `run` tells the runs of a daemon apart: ids of an earlier run mean nothing in this one. */
  constructor(options: { site: string; run: string; wall: () => number }) {
    this.#site = options.site;
    this.#run = options.run;
    this.#wall = options.wall;
  }

  /** How many events of each kind there were. */
  get counts(): ReadonlyMap<EventKind, number> {
    return this.#counts;
  }

  /** All that are kept, oldest first. */
  get kept(): readonly SiteEvent[] {
    return this.#kept;
  }

  add(draft: EventDraft): SiteEvent {
    this.#number++;
    const event = { id: `${this.#run}-${this.#number}`, time: new Date(this.#wall()).toISOString(), site: this.#site, ...draft };
    this.#kept.push(event);
    if (this.#kept.length > KEPT_MAX) this.#kept.shift();
    this.#counts.set(draft.kind, (this.#counts.get(draft.kind) ?? 0) + 1);
    for (const watcher of this.#watchers) watcher(event);
    return event;
  }

  /** Calls `watcher` with each event from now on; the returned function ends that. */
  follow(watcher: (event: SiteEvent) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /**
   * Those after an id; all that are kept without one. Where some in between are missing, because they are no longer kept or the id is of
   * another run, the first is a gap.
   */
  after(id: string | null): readonly SiteEvent[] {
    if (id === null) return this.#kept;
    const number = id.startsWith(`${this.#run}-`) ? Number(id.slice(this.#run.length + 1)) : NaN;
    const oldest = this.#number - this.#kept.length + 1;
    if (Number.isSafeInteger(number) && number >= oldest - 1 && number <= this.#number) return this.#kept.slice(number - oldest + 1);
    return [this.#gap(oldest - 1), ...this.#kept];
  }

  #gap(number: number): SiteEvent {
    return {
      id: `${this.#run}-${number}`,
      time: new Date(this.#wall()).toISOString(),
      site: this.#site,
      kind: 'gap',
      group: null,
      peer: null,
      facts: {},
      text: 'events are missing here: the daemon was started again, or there were too many',
    };
  }
}
