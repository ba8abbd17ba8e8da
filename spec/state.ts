// What the model of arbitration consists of: two sync sites, perhaps an async one, one or two witnesses, and what is on its way between them.
// Small numbers throughout, so that a state is cheap to copy and to compare. Nothing here is taken from the product: the model is a second opinion.

/** What a site does. A site that is down has a role of no meaning: `standby`. */
export type Role = 'standby' | 'claiming' | 'primary' | 'mirror';

/** What a primary knows of another copy's flag. */
export const FALSE = 0;
export const MAYBE = 1;
export const TRUE = 2;

/** A change that a site asks the witness for. */
export interface Question {
  readonly kind: 'claim' | 'exclude' | 'admit' | 'handover' | 'force';
  readonly from: number;
  /** The site that it is about. */
  readonly site: number;
  readonly epoch: number;
  readonly revision: number;
  /** The witness that it is meant for. */
  readonly witness: number;
}

/** What a site tells a witness that has to learn what it may grant. */
export interface Report {
  readonly from: number;
  readonly role: 'primary' | 'following' | 'waiting';
  readonly epoch: number;
  readonly revision: number;
  /** As primary: the other sync sites whose flag may be true, as bits. */
  readonly maybe: number;
  /** Waiting: everything it holds. */
  readonly log: readonly number[];
  readonly life: number;
}

/** A report on its way, with the round that its site knew. */
export interface Sent {
  readonly report: Report;
  readonly round: number;
}

export interface Site {
  up: boolean;
  role: Role;
  epoch: number;
  /** Records, each 16 * epoch + number of the write. */
  log: number[];
  /** How many of them are on its disk. */
  durable: number;
  /** False after a power loss, until it has caught up or reigns. */
  clean: boolean;
  /** How many records of its primary make it clean again. */
  cleanAt: number;
  /** It has promised somebody not to claim yet. */
  promised: boolean;
  /** Whom it follows; -1: nobody. */
  follows: number;
  /** As primary: what it knows of each flag. */
  view: number[];
  /** As primary: whose promises it counts on, as bits. */
  leases: number;
  /** As primary: whom it is excluding; -1: nobody. */
  excluding: number;
  /** What has to be on its disk before the witness is asked. */
  flushTo: number;
  /** The question whose answer it waits for. */
  asks: Question | null;
  /** A claim whose answer is not known; durable. */
  claim: Question | null;
  /** A handover: 0 none, 1 stopped and offered, 2 the witness was asked. */
  stopped: number;
  /** An offer of the reign that it has confirmed: length of its log + 1; 0 none. */
  offer: number;
  /** The witness that it believes; durable. */
  believes: number;
  /** Newest revision that it knew of the witness that it has turned away from; durable. */
  known: number;
  /** It reports to that witness and hears nothing else of it; durable. */
  moving: boolean;
  /** Numbers of agreements that it has asked for; durable, so that none is used twice. */
  agreed: number;
  /** As primary: number of the agreement that it asks the other one for, and of the one by which it may go on without it; 0: none. */
  asking: number;
  right: number;
  /** It has gone on without the other one by this agreement, and the witness has not heard yet; durable. */
  alone: number;
  /** It does not claim before the other one says that this agreement is over; durable. */
  yields: number;
  /** Changes with each start and each change of role; kept at 0 where no report is ever sent. */
  life: number;
  report: Sent | null;
}

export interface Witness {
  up: boolean;
  seeded: boolean;
  revision: number;
  epoch: number;
  primary: number;
  /** As bits. */
  flags: number;
  /** What came of each site's present question: 0 not answered, 1 done, 2 refused. */
  answered: number[];
  round: number;
  reports: (Report | null)[];
  /** Which reports were heard again in the present round, as bits. */
  confirmed: number;
}

export interface State {
  sites: Site[];
  witnesses: Witness[];
  /** Questions that nobody waits for any more, and that may arrive all the same. */
  strays: Question[];
  /** The link between the two sync sites. */
  link: boolean;
  /** Each site's path to a witness, and to which. */
  path: boolean[];
  route: number[];
  /** Number of the next write. */
  next: number;
  /** Writes that a host was told of, as bits. */
  acked: number;
  /** Writes that each site lost with its power, as bits. */
  gone: number[];
  /** Who began each epoch, and how often it was begun by somebody else: the model's memory, which no site has. */
  reigns: number[];
  broken: string | null;
  fails: number;
  cuts: number;
}

export const bit = (index: number): number => 1 << index;
export const has = (bits: number, index: number): boolean => (bits & (1 << index)) !== 0;
export const isSync = (site: number): boolean => site < 2;

/** Number of the write in a record. */
export const writeOf = (record: number): number => record & 15;

/** Whether the first log is the beginning of the second. */
export function isPrefix(first: readonly number[], second: readonly number[]): boolean {
  return first.length <= second.length && first.every((record, index) => record === second[index]);
}

function firstSite(index: number, count: number): Site {
  const mirrored = [MAYBE, MAYBE, FALSE].slice(0, count);
  return {
    up: true,
    role: index === 0 ? 'primary' : 'mirror',
    epoch: 1,
    log: [],
    durable: 0,
    clean: true,
    cleanAt: 0,
    promised: index === 1,
    follows: index === 0 ? -1 : 0,
    view: index === 0 ? mirrored.map((_, peer) => (peer === 1 ? TRUE : FALSE)) : mirrored.map(() => FALSE),
    leases: index === 0 ? bit(1) : 0,
    excluding: -1,
    flushTo: 0,
    asks: null,
    claim: null,
    stopped: 0,
    offer: 0,
    believes: 0,
    known: 0,
    moving: false,
    agreed: 0,
    asking: 0,
    right: 0,
    alone: 0,
    yields: 0,
    life: 0,
    report: null,
  };
}

function firstWitness(index: number, count: number): Witness {
  const isFirst = index === 0;
  return {
    up: true,
    seeded: isFirst,
    revision: isFirst ? 3 : 0,
    epoch: isFirst ? 1 : 0,
    primary: isFirst ? 0 : -1,
    // An async copy's flag says that it is consistent.
    flags: isFirst ? bit(count) - 1 : 0,
    answered: Array.from({ length: count }, () => 0),
    round: 0,
    reports: Array.from({ length: count }, () => null),
    confirmed: 0,
  };
}

/** Site 0 leads epoch 1, site 1 is in step, and the witness knows it. */
export function firstState(siteCount: number, witnessCount: number): State {
  return {
    sites: Array.from({ length: siteCount }, (_, index) => firstSite(index, siteCount)),
    witnesses: Array.from({ length: witnessCount }, (_, index) => firstWitness(index, siteCount)),
    strays: [],
    link: true,
    path: Array.from({ length: siteCount }, () => true),
    route: Array.from({ length: siteCount }, () => 0),
    next: 1,
    acked: 0,
    gone: Array.from({ length: siteCount }, () => 0),
    reigns: [-1, 0],
    broken: null,
    fails: 0,
    cuts: 0,
  };
}

/** A copy that may be changed. Questions and reports are never changed, and are shared. */
export function copyOf(state: State): State {
  return {
    ...state,
    sites: state.sites.map((site) => ({ ...site, log: site.log.slice(), view: site.view.slice() })),
    witnesses: state.witnesses.map((each) => ({ ...each, answered: each.answered.slice(), reports: each.reports.slice() })),
    strays: state.strays.slice(),
    path: state.path.slice(),
    route: state.route.slice(),
    gone: state.gone.slice(),
    reigns: state.reigns.slice(),
  };
}

function pushQuestion(into: number[], question: Question | null): void {
  if (question === null) into.push(-1);
  else {
    const { kind, from, site, epoch, revision, witness } = question;
    into.push(kind.charCodeAt(0), from, site, epoch, revision, witness);
  }
}

function pushReport(into: number[], report: Report | null): void {
  if (report === null) into.push(-1);
  else {
    const { role, epoch, revision, maybe, log, life } = report;
    into.push(role.charCodeAt(0), epoch, revision, maybe, life, log.length, ...log);
  }
}

/** The whole state as numbers: equal for equal states only. */
export function numbersOf(state: State): number[] {
  const into: number[] = [state.link ? 1 : 0, state.next, state.acked, state.fails, state.cuts];
  for (const site of state.sites) {
    const switches = [site.up, site.clean, site.promised, site.moving].reduce((sum, each) => 2 * sum + (each ? 1 : 0), 0);
    into.push(switches, site.role.charCodeAt(0), site.epoch, site.durable, site.follows, site.leases, site.excluding, site.flushTo);
    into.push(site.stopped, site.offer, site.cleanAt, site.believes, site.known, site.life);
    into.push(site.agreed, site.asking, site.right, site.alone, site.yields);
    into.push(site.log.length, ...site.log, ...site.view);
    pushQuestion(into, site.asks);
    pushQuestion(into, site.claim);
    pushReport(into, site.report?.report ?? null);
    into.push(site.report?.round ?? -1);
  }
  for (const each of state.witnesses) {
    into.push(each.up ? 1 : 0, each.seeded ? 1 : 0, each.revision, each.epoch, each.primary, each.flags, each.round, each.confirmed);
    into.push(...each.answered);
    for (const report of each.reports) pushReport(into, report);
  }
  into.push(state.strays.length);
  for (const stray of state.strays) pushQuestion(into, stray);
  for (const path of state.path) into.push(path ? 1 : 0);
  into.push(...state.route, ...state.gone, ...state.reigns);
  return into;
}
