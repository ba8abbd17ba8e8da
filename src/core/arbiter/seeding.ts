// How a witness that knows nothing of a group, or only what a backup says, learns what it may grant: from the copies themselves. A copy reports only
// after it has noted durably that it believes this witness and no other, so whoever has reported can be granted nothing by the old one. It grants
// nothing until enough of them have reported, and it takes their reports for one moment only if each was heard twice with the same content,
// before and after that moment: a report that was on its way too long tells of a world that is gone.

import { assert } from '../base/assert.ts';
import type { Epoch, Seq, SiteName } from '../base/units.ts';

/**
 * What a copy does: it leads its epoch; it follows somebody, or is about to; or it waits, follows nobody, and has everything it holds on its disk.
 */
export type ReportRole = 'primary' | 'following' | 'waiting';

/** A copy's report. */
export interface CopyReport {
  readonly site: SiteName;
  /** Newest epoch that this copy has adopted. */
  readonly epoch: Epoch;
  /** Newest revision of any witness that it has seen. */
  readonly revision: number;
  readonly role: ReportRole;
  /** As primary: the other copies whose flag may be true. */
  readonly mayBeTrue: readonly SiteName[];
  /** Waiting: its newest record; null when the copy is inconsistent. */
  readonly end: { readonly epoch: Epoch; readonly seq: Seq; readonly chain: number } | null;
  /** Changes with each start of the site and each change of its role. */
  readonly life: string;
}

/** A report as the witness keeps it. `confirmed`: heard again since the newest change of any report. */
export interface HeardReport extends CopyReport {
  readonly confirmed: boolean;
}

/** What an unseeded witness has heard. */
export interface Seeding {
  /** +1 with each report that says something new. A report counts as confirmed only with the number of the present round. */
  readonly round: number;
  readonly reports: readonly HeardReport[];
}

/** What a witness may begin with. */
export interface Seed {
  readonly epoch: Epoch;
  readonly primary: SiteName | null;
  /** Copies whose flag is true. */
  readonly able: readonly SiteName[];
}

interface Copy {
  readonly site: SiteName;
  readonly mode: 'sync' | 'async';
}

/** A copy that has to report, or what else stands in the way, in words. */
export interface SeedWait {
  readonly missing: readonly SiteName[];
  readonly why: string;
}

/** Takes a report in. Returns the same object when it says nothing that was not known. */
export function heard(seeding: Seeding, report: CopyReport, round: number): Seeding {
  const before = seeding.reports.find((each) => each.site === report.site);
  const rest = seeding.reports.filter((each) => each.site !== report.site);
  if (before === undefined || !sameReport(before, report)) {
    const others = rest.map((each) => ({ ...each, confirmed: false }));
    return { round: seeding.round + 1, reports: [...others, { ...report, confirmed: false }] };
  }
  if (before.confirmed || round !== seeding.round) return seeding;
  return { round: seeding.round, reports: [...rest, { ...before, confirmed: true }] };
}

function sameReport(a: CopyReport, b: CopyReport): boolean {
  const flat = ({ site, epoch, revision, role, mayBeTrue, end, life }: CopyReport): string =>
    JSON.stringify([site, epoch, revision, role, [...mayBeTrue].sort(), end === null ? null : [end.epoch, end.seq, end.chain], life]);
  return flat(a) === flat(b);
}

/** Newest epoch and revision that any report names. */
export function newestOf(seeding: Seeding): { epoch: Epoch; revision: number } {
  const epoch = Math.max(0, ...seeding.reports.map((report) => report.epoch));
  const revision = Math.max(0, ...seeding.reports.map((report) => report.revision));
  return { epoch, revision };
}

/**
 * What may be granted on these reports, or what is missing. Either a primary is in its reign: then it knows whose flag may be true, and each of
 * these must have reported too. Or nobody leads: then every copy must have reported, and whichever holds the most may go on.
 */
export function seedOf(copies: readonly Copy[], seeding: Seeding): Seed | SeedWait {
  const { epoch } = newestOf(seeding);
  const leading = seeding.reports.filter((report) => report.role === 'primary' && report.epoch === epoch);
  if (leading.length > 1) return { missing: [], why: `${leading.map(({ site }) => site).join(' and ')} both lead epoch ${epoch}` };
  const [primary] = leading;
  return primary === undefined ? seedByPositions(copies, seeding, epoch) : seedByPrimary(copies, seeding, primary);
}

/**
 * Whether every copy has reported, is whole, and follows and leads nobody. Then no epoch has begun that none of them has adopted: a primary has its
 * epoch on its disk before it serves; and none will begin, because each has given up what it had asked another witness.
 */
export function allWait(copies: readonly Copy[], seeding: Seeding): boolean {
  return copies.every(({ site }) => {
    const report = seeding.reports.find((each) => each.site === site);
    return report !== undefined && report.role === 'waiting' && report.end !== null;
  });
}

function seedByPrimary(copies: readonly Copy[], seeding: Seeding, primary: HeardReport): Seed | SeedWait {
  const needed = copies.filter(({ site, mode }) => site === primary.site || (mode === 'sync' && primary.mayBeTrue.includes(site)));
  const wait = missingOf(needed, seeding);
  if (wait !== null) return wait;
  const able = copies.filter(({ site }) => site === primary.site || primary.mayBeTrue.includes(site)).map(({ site }) => site);
  return { epoch: primary.epoch, primary: primary.site, able };
}

function seedByPositions(copies: readonly Copy[], seeding: Seeding, epoch: Epoch): Seed | SeedWait {
  const wait = missingOf(copies, seeding);
  if (wait !== null) return wait;
  const busy = seeding.reports.find((report) => report.role !== 'waiting');
  if (busy !== undefined) return { missing: [], why: `${busy.site} follows or leads nobody that has reported, and has to stop first` };
  const able = copies.filter(({ site }) => {
    const report = seeding.reports.find((each) => each.site === site);
    return report?.epoch === epoch && report.end !== null;
  });
  const endOf = (site: SiteName): { epoch: Epoch; seq: Seq; chain: number } => {
    const end = seeding.reports.find((each) => each.site === site)?.end ?? null;
    assert(end !== null, 'only copies with a newest record are compared', { site });
    return end;
  };
  const furthest = able.reduce<Copy | null>((best, copy) => {
    if (best === null) return copy;
    const [a, b] = [endOf(best.site), endOf(copy.site)];
    return b.epoch > a.epoch || (b.epoch === a.epoch && b.seq > a.seq) ? copy : best;
  }, null);
  if (furthest === null) return { missing: [], why: `no consistent copy of epoch ${epoch} is left: an operator must name the survivor` };
  const most = endOf(furthest.site);
  const equal = able.filter(({ site }) => {
    const { epoch: endEpoch, seq, chain } = endOf(site);
    return endEpoch === most.epoch && seq === most.seq && chain === most.chain;
  });
  const sync = equal.filter(({ mode }) => mode === 'sync');
  // A far copy that was promoted by hand leads an epoch that no sync copy has: only it can go on, by hand again.
  const chosen = sync.length > 0 || able.some(({ mode }) => mode === 'sync') ? sync : equal;
  const [first] = chosen;
  if (first === undefined)
    return { missing: [], why: `${furthest.site}, an async copy, holds more than any sync one: they are made equal first` };
  return { epoch, primary: epoch === 0 ? null : first.site, able: chosen.map(({ site }) => site) };
}

function missingOf(needed: readonly Copy[], seeding: Seeding): SeedWait | null {
  const silent = needed.filter(({ site }) => !seeding.reports.some((report) => report.site === site)).map(({ site }) => site);
  if (silent.length > 0) return { missing: silent, why: `${silent.join(' and ')} must report, or an operator name the survivor` };
  const unheard = needed.filter(({ site }) => !seeding.reports.some((report) => report.site === site && report.confirmed));
  return unheard.length === 0 ? null : { missing: [], why: `${unheard.map(({ site }) => site).join(' and ')} must report once more` };
}
