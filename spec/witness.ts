// The model's witness: what it may grant, and how one that knows nothing learns it. Written from the rules alone; test/unit/spec holds the
// product's own step function against it, question by question.

import { bit, has, isPrefix, isSync, type Question, type Report, type Witness } from './state.ts';

/** How far the revision leaps when a witness begins on what the copies have told it. */
const SEED_LEAP = 1000;

/** Which rule is left out; null: none. */
export type Broken = (mutation: string) => boolean;

/** Why a question was refused, by the product's names; null: it was done. The witness given is changed. */
export function answer(witness: Witness, question: Question, index: number, broken: Broken): string | null {
  const { kind, from, site, epoch, revision } = question;
  // Empty: no copy has told it of the group.
  if (!witness.seeded && witness.round === 0 && witness.revision === 0) return 'unknown-group';
  if (question.witness !== index && !broken('witness-of-any-name')) return 'other-witness';
  if (!witness.seeded && kind !== 'force') return 'unseeded';
  if (revision !== witness.revision && !broken('no-compare-and-set')) return 'revision';
  switch (kind) {
    case 'claim':
      if (epoch !== witness.epoch) return 'epoch';
      if (!isSync(from) && !broken('far-claims')) return 'mode';
      if (!has(witness.flags, from) && !broken('claim-without-flag')) return 'flag-false';
      begin(witness, from, epoch + 1);
      if (!broken('claim-leaves-flags')) witness.flags &= ~(bit(0) | bit(1)) | bit(from);
      return null;
    case 'exclude':
    case 'admit':
    case 'handover': {
      if (epoch !== witness.epoch) return 'epoch';
      if (witness.primary !== from) return 'not-primary';
      if (!has(witness.flags, from)) return 'flag-false';
      return changeOther(witness, question, broken);
    }
    case 'force':
      if (witness.seeded ? epoch !== witness.epoch : epoch < witness.epoch) return 'epoch';
      begin(witness, site, epoch + 1);
      if (!broken('force-leaves-flags')) witness.flags = bit(site);
      if (!witness.seeded) restart(witness, SEED_LEAP - 1);
      return null;
  }
}

function begin(witness: Witness, primary: number, epoch: number): void {
  witness.revision++;
  witness.epoch = epoch;
  witness.primary = primary;
}

function restart(witness: Witness, leap: number): void {
  witness.revision += leap;
  witness.seeded = true;
  witness.round = 0;
  witness.confirmed = 0;
  witness.reports = witness.reports.map(() => null);
}

function changeOther(witness: Witness, { kind, site }: Question, broken: Broken): string | null {
  if (kind === 'handover') {
    if (!isSync(site)) return 'mode';
    if (!has(witness.flags, site)) return 'flag-false';
    begin(witness, site, witness.epoch + 1);
    return null;
  }
  const isTrue = has(witness.flags, site);
  if (kind === 'admit' && isTrue) return null;
  if (kind === 'exclude' && !isTrue && broken('exclude-keeps-revision')) return null;
  witness.revision++;
  witness.flags = kind === 'admit' ? witness.flags | bit(site) : witness.flags & ~bit(site);
  return null;
}

/** Takes a report. True: this witness grants from now on, or did already, and the site may believe it. The witness given is changed. */
export function takeReport(witness: Witness, report: Report, round: number, broken: Broken): boolean {
  if (witness.seeded) return report.epoch <= witness.epoch && report.revision <= witness.revision;
  hear(witness, report, round);
  const told = witness.reports.filter((each) => each !== null);
  const newest = Math.max(...told.map((each) => each.epoch));
  const epoch = Math.max(witness.epoch, newest);
  witness.epoch = epoch;
  witness.revision = Math.max(witness.revision, ...told.map((each) => each.revision));
  // Granted, and never begun: everybody waits, and has given up what it had asked for.
  const isUnbegun = newest < epoch;
  const allWait = told.length === witness.reports.length && told.every((each) => each.role === 'waiting');
  if (isUnbegun && (witness.primary < 0 || epoch > newest + 1 || !allWait)) return false;
  const seed = seedOf(witness, told, newest, broken);
  if (seed === null) return false;
  witness.primary = isUnbegun ? -1 : seed.primary;
  witness.flags = seed.flags;
  restart(witness, SEED_LEAP);
  return true;
}

function hear(witness: Witness, report: Report, round: number): void {
  const before = witness.reports[report.from] ?? null;
  if (before !== null && isSame(before, report)) {
    if (round === witness.round) witness.confirmed |= bit(report.from);
    return;
  }
  witness.reports[report.from] = report;
  witness.round++;
  witness.confirmed = 0;
}

function isSame(a: Report, b: Report): boolean {
  const sameLog = a.log.length === b.log.length && isPrefix(a.log, b.log);
  return sameLog && a.role === b.role && a.epoch === b.epoch && a.revision === b.revision && a.maybe === b.maybe && a.life === b.life;
}

/** Whom a witness may call true on these reports; null: it has to hear more. */
function seedOf(witness: Witness, told: readonly Report[], epoch: number, broken: Broken): { primary: number; flags: number } | null {
  const leading = told.filter((report) => report.role === 'primary' && report.epoch === epoch);
  if (leading.length > 1) return null;
  const [leader] = leading;
  const everybody = witness.reports.map((_, index) => index);
  const isHeard = (index: number): boolean => {
    if (broken('one-report-is-enough')) return true;
    return broken('reports-heard-once') ? witness.reports[index] !== null : has(witness.confirmed, index);
  };
  if (leader !== undefined) {
    const needed = everybody.filter((index) => index === leader.from || (isSync(index) && has(leader.maybe, index)));
    const enough = broken('primary-alone-tells') ? isHeard(leader.from) : needed.every(isHeard);
    return enough ? { primary: leader.from, flags: bit(leader.from) | leader.maybe } : null;
  }
  if (!everybody.every(isHeard) || told.some((report) => report.role !== 'waiting')) return null;
  const able = told.filter((report) => report.epoch === epoch);
  const last = (report: Report): number => 16 * (report.log.at(-1) ?? 0) + report.log.length;
  const most = Math.max(...able.map(last));
  const equal = able.filter((report) => last(report) === most).sort((a, b) => a.from - b.from);
  const sync = equal.filter((report) => isSync(report.from));
  const chosen = sync.length > 0 || able.some((report) => isSync(report.from)) ? sync : equal;
  const [first] = chosen;
  if (first === undefined) return null;
  return { primary: first.from, flags: chosen.reduce((flags, report) => flags | bit(report.from), 0) };
}
