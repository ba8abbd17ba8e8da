// What the witness knows of one group, and the only way in which it changes. Pure, so that the daemon and the simulator run the same witness.
//
// The flag of a copy says: this copy is synchronised and may serve alone. A primary that loses its partner puts the partner's flag to false
// before it acknowledges the first write that the partner lacks; so whoever finds its own flag true holds every acknowledged write. That
// rests on four properties, asserted after every operation:
//   W1  some copy's flag is true, always, until the group is deleted: a flag is cleared only in one step with finding another one true;
//   W5  each change of the primary is one step with epoch + 1, and epochs never fall;
//   CAS each change names the revision that it was decided on, and is revision + 1; an exclusion is one even where the flag is false already;
//   ids an operation that was answered is remembered, so asking again with its id gives the same answer and changes nothing.

import { assert, unreachable } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import { type Epoch, isCount, type SiteName } from '../base/units.ts';
import { contentOf, remember } from './answered.ts';
import { refusalText } from './refusals.ts';
import { allWait, type CopyReport, heard, newestOf, seedOf, type Seeding } from './seeding.ts';
import { assertState, assertStep, copyOf } from './witness-rules.ts';

/** How a copy is mirrored. The flag of an async copy means "consistent, may be promoted by hand"; it is never claimed for automatically. */
export type CopyMode = 'sync' | 'async';

/** One copy as the witness knows it. */
export interface WitnessCopy {
  readonly site: SiteName;
  readonly mode: CopyMode;
  readonly flag: boolean;
}

/** What the witness tells about a group. */
export interface WitnessView {
  readonly group: string;
  /** Name of this very group for all time: another group of the same name has another one. */
  readonly groupId: string;
  /** Name of this very witness: a witness that was replaced, or restored elsewhere, has another one. */
  readonly instance: string;
  /** +1 with each change of epoch, primary, a flag, a mode, or who the copies are. */
  readonly revision: number;
  readonly epoch: Epoch;
  /** null before the first claim, and after the primary has resigned. */
  readonly primary: SiteName | null;
  readonly copies: readonly WitnessCopy[];
}

/** Why an operation was refused; nothing was changed then. */
export type RefusalReason =
  | 'unknown-group'
  | 'revision'
  | 'epoch'
  | 'not-primary'
  | 'flag-false'
  | 'not-a-copy'
  | 'mode'
  | 'last-copy'
  | 'flag-true'
  | 'too-many'
  | 'exists-different'
  | 'unseeded'
  | 'other-witness'
  | 'deleted'
  | 'request-id-reused';

/** All reasons, for checks of what comes over the wire. */
export const REFUSAL_REASONS: readonly RefusalReason[] = [
  'unknown-group',
  'revision',
  'epoch',
  'not-primary',
  'flag-false',
  'not-a-copy',
  'mode',
  'last-copy',
  'flag-true',
  'too-many',
  'exists-different',
  'unseeded',
  'other-witness',
  'deleted',
  'request-id-reused',
];

interface Request {
  /** Never used for another operation: asking again with it asks about the same operation. */
  readonly requestId: string;
  readonly group: string;
  /** The site that asks. */
  readonly from: SiteName;
  /**
   * The witness that the asker means, and the newest state that it has seen of it. A change that was meant for another witness is refused, however
   * late it arrives; and a witness that has seen less was put back to an older state.
   */
  readonly seen?: { readonly instance: string; readonly revision: number };
}

interface Change extends Request {
  /** The revision that the asker decided on; any other is refused. */
  readonly revision: number;
}

/** Enters a group. Only for a group that is new everywhere: a site that has ever been in an epoch must not send it (W8). */
export interface CreateOperation extends Request {
  readonly kind: 'create';
  readonly groupId: string;
  readonly copies: readonly { readonly site: SiteName; readonly mode: CopyMode }[];
  /** The copy whose flag is true at first; a sync one. */
  readonly first: SiteName;
}

/** `from` becomes the primary of a new epoch, and every other sync flag false. */
export interface ClaimOperation extends Change {
  readonly kind: 'claim';
  readonly epoch: Epoch;
  /** An operator asked for it: an async copy may be claimed for in no other way (W9). */
  readonly byHand?: true;
}

/** The primary puts another copy's flag to false. */
export interface ExcludeOperation extends Change {
  readonly kind: 'exclude';
  readonly site: SiteName;
  readonly epoch: Epoch;
}

/** The primary puts another copy's flag to true. */
export interface AdmitOperation extends Change {
  readonly kind: 'admit';
  readonly site: SiteName;
  readonly epoch: Epoch;
}

/** The primary makes another sync copy the primary of a new epoch; both flags stay true. */
export interface HandoverOperation extends Change {
  readonly kind: 'handover';
  readonly to: SiteName;
  readonly epoch: Epoch;
}

/** The primary changes how another copy is mirrored, whose flag is false by then: it is admitted anew, as what it is from now on. */
export interface ModeOperation extends Change {
  readonly kind: 'mode';
  readonly site: SiteName;
  readonly mode: CopyMode;
  readonly epoch: Epoch;
}

/** The primary enters another copy, its flag false. */
export interface AddOperation extends Change {
  readonly kind: 'add';
  readonly site: SiteName;
  readonly mode: CopyMode;
  readonly epoch: Epoch;
}

/** The primary strikes another copy out, whose flag is false by then: nothing is granted to it any more. */
export interface RemoveOperation extends Change {
  readonly kind: 'remove';
  readonly site: SiteName;
  readonly epoch: Epoch;
}

/** `from` puts its own flag to false, which it may while another sync flag is true; if it was the primary, nobody is. */
export interface ResignOperation extends Change {
  readonly kind: 'resign';
}

/**
 * An operator makes a copy the primary of a new epoch whatever its flag says, and every other flag false. On an unseeded group it names the
 * survivor: `epoch` is then the highest that any copy has seen, not below the witness's own.
 */
export interface ForceOperation extends Change {
  readonly kind: 'force';
  readonly site: SiteName;
  readonly epoch: Epoch;
}

/**
 * An operator ends the group for all time: nobody serves it again. `from` is a copy that is known not to run; with `force` it need not be the
 * primary's.
 */
export interface DeleteOperation extends Change {
  readonly kind: 'delete';
  readonly groupId: string;
  readonly force?: true;
}

/** Asks for the view; never remembered, always fresh. */
export interface ReadOperation extends Request {
  readonly kind: 'read';
}

/**
 * Asks for the view, and has the state stored anew, as it is: an answer proves the whole path, the witness's disk included. Changes nothing that
 * anybody decides on, so it is never remembered, and does no harm however late or often it arrives.
 */
export interface ProveOperation extends Request {
  readonly kind: 'prove';
}

/**
 * A copy tells a witness that was replaced what it is. `instance` is the witness that it means and believes from now on; `round` what that one
 * told it last. Never remembered: the next report is another one.
 */
export interface ReportOperation extends Request {
  readonly kind: 'report';
  readonly instance: string;
  readonly groupId: string;
  readonly copies: readonly { readonly site: SiteName; readonly mode: CopyMode }[];
  readonly round: number;
  readonly report: CopyReport;
}

export type WitnessOperation =
  | CreateOperation
  | ClaimOperation
  | ExcludeOperation
  | AdmitOperation
  | HandoverOperation
  | ModeOperation
  | AddOperation
  | RemoveOperation
  | ResignOperation
  | ForceOperation
  | DeleteOperation
  | ReadOperation
  | ProveOperation
  | ReportOperation;

/** The witness's answer. `repeated`: this request was answered before, and this is that answer, its view as of then. */
export type WitnessAnswer =
  | { readonly outcome: 'done'; readonly view: WitnessView; readonly repeated?: true }
  | {
      readonly outcome: 'refused';
      readonly reason: RefusalReason;
      /** What is wrong and what to do, for people. */
      readonly text: string;
      /** null when the witness knows no such group. */
      readonly view: WitnessView | null;
      readonly repeated?: true;
      /** Name of the witness, where no view tells it. */
      readonly instance?: string;
      /** Of an unseeded witness: the present round of reports, and who has not reported. */
      readonly seeding?: { readonly round: number; readonly missing: readonly SiteName[] };
      /** Of a group that was deleted: which one. */
      readonly deleted?: { readonly groupId: string };
    };

type Refused = Extract<WitnessAnswer, { outcome: 'refused' }>;

/**
 * What a site learns: an answer, or `unknown`, when none came in time: the operation may have happened, may still happen, or never. `not-understood`: the
 * program of the witness is older than the operation. This try did nothing; another one, on its way to a newer program, may.
 */
export type WitnessReply = WitnessAnswer | { readonly outcome: 'unknown' } | { readonly outcome: 'not-understood' };

/** What a witness of the release before does not know. */
export const NEWER_OPERATIONS: ReadonlySet<WitnessOperation['kind']> = new Set(['mode', 'add', 'remove']);

/** The way to the witness. `done` is called once, later, never from inside the call. */
export interface WitnessPort {
  call(operation: WitnessOperation, done: (reply: WitnessReply) => void): void;
}

/** An answered operation. Small, because up to limits.witnessRequestsMax of them share a slot with the state. */
export interface AnsweredRequest {
  readonly id: string;
  /** The operation in one line; equal for equal operations only. */
  readonly content: string;
  /** null when it was done. */
  readonly refused: RefusalReason | null;
  // The view that was answered; name, id and instance are the group's.
  readonly revision: number;
  readonly epoch: Epoch;
  readonly primary: SiteName | null;
  readonly copies: readonly (readonly [SiteName, CopyMode, boolean])[];
}

/** The whole state of one group at the witness, plain data as it is stored. */
export interface WitnessState extends WitnessView {
  /** +1 with each state that is stored: changes, and answers that were only remembered. What a store compares. */
  readonly writes: number;
  /** The copy that was true at first. */
  readonly first: SiteName;
  /** Whether this witness may grant: false after it was replaced, restored or put back, until the copies have reported or an operator has decided. */
  readonly seeded: boolean;
  /** What the copies have reported to an unseeded witness. */
  readonly seeding?: Seeding;
  /**
   * The group is no more: this stands in its place, so that none of its copies serves again, and so that the revision goes on where a new group
   * takes the name: what was asked about the old one, and what its copies have seen, is never taken for the new one's.
   */
  readonly deleted?: true;
  /** Oldest first. */
  readonly requests: readonly AnsweredRequest[];
}

/** What an operation leads to. `state` is the one given (the same object) when nothing is to be stored. */
export interface Applied<State extends WitnessState | null = WitnessState | null> {
  readonly state: State;
  readonly answer: WitnessAnswer;
}

/** The view of a state. */
export function viewOfState(state: WitnessState): WitnessView {
  const { group, groupId, instance, revision, epoch, primary, copies } = state;
  return { group, groupId, instance, revision, epoch, primary, copies };
}

/**
 * The one step of the witness. `state` is what is durable now (null: no such group), `instance` the name of the witness that answers. The
 * answer may be given, and the new state shown, only once the new state is durable (W4).
 */
export function apply(state: WitnessState | null, operation: WitnessOperation, instance: string): Applied {
  assertOperation(operation);
  // What was asked of another witness, long ago perhaps, at the same address: a first copy that is created a second time, a promotion by force.
  if (operation.kind !== 'read' && operation.seen !== undefined && operation.seen.instance !== instance)
    return { state, answer: refuseStray(state, operation, instance) };
  if (state === null) {
    if (operation.kind === 'create') return create(operation, instance);
    if (operation.kind === 'report' && operation.instance === instance) return report(emptyState(operation, instance), operation);
    return { state, answer: { ...refuse('unknown-group', operation, null), instance } };
  }
  assert(state.group === operation.group, 'an operation goes to the state of its own group', {
    state: state.group,
    operation: operation.group,
  });
  if (state.deleted === true) return applyDeleted(state, operation, instance);
  // The state comes from another witness's disk: it may be older than what the copies have done since.
  const seeded = state.seeded && state.instance === instance;
  if (operation.kind === 'report') return seeded ? reportLate(state, operation) : report(rebound(state, instance), operation);
  if (seeded && operation.seen?.instance === instance && operation.seen.revision > state.revision) {
    // This very witness has told more than it knows: its disk was put back. What it has forgotten only the copies can tell.
    const rolledBack = { ...rebound(state, instance), writes: state.writes + 1 };
    return { state: rolledBack, answer: refuseUnseeded(rolledBack, operation) };
  }
  if (!seeded && operation.kind !== 'force') return { state, answer: refuseUnseeded({ ...state, instance }, operation) };
  if (operation.kind === 'read') return { state, answer: { outcome: 'done', view: viewOfState(state) } };
  if (operation.kind === 'prove') {
    const stored = { ...state, writes: state.writes + 1 };
    assertStep(state, stored);
    return { state: stored, answer: { outcome: 'done', view: viewOfState(stored) } };
  }
  const before = seeded ? state : rebound(state, instance);
  const answered = before.requests.find((request) => request.id === operation.requestId);
  if (answered !== undefined) return { state, answer: answerAgain(before, answered, operation) };

  const result = decide(before, operation);
  if (typeof result === 'string' && !seeded) {
    const { round } = before.seeding ?? { round: 0 };
    return { state, answer: { ...refuse(result, operation, viewOfState(before)), seeding: { round, missing: [] } } };
  }
  const changed = typeof result === 'string' ? before : { ...before, ...result };
  const next = remember({ ...changed, writes: state.writes + 1 }, operation, typeof result === 'string' ? result : null);
  assertStep(state, next);
  const view = viewOfState(next);
  return { state: next, answer: typeof result === 'string' ? refuse(result, operation, view) : { outcome: 'done', view } };
}

/** A change of the state, an empty one when what was asked for is so already, or why not. */
type Decision = Partial<Pick<WitnessState, 'revision' | 'epoch' | 'primary' | 'copies' | 'seeded' | 'seeding' | 'deleted'>> | RefusalReason;

function decide(state: WitnessState, operation: Exclude<WitnessOperation, ReadOperation | ProveOperation | ReportOperation>): Decision {
  if (operation.kind === 'create') return isSameGroup(state, operation) ? {} : 'exists-different';
  if (operation.revision !== state.revision) return 'revision';
  switch (operation.kind) {
    case 'claim':
      return claim(state, operation);
    case 'exclude':
      return setFlag(state, operation, false);
    case 'admit':
      return setFlag(state, operation, true);
    case 'handover':
      return handover(state, operation);
    case 'mode':
      return changeMode(state, operation);
    case 'add':
      return add(state, operation);
    case 'remove':
      return remove(state, operation);
    case 'resign':
      return resign(state, operation);
    case 'force':
      return force(state, operation);
    case 'delete':
      return erase(state, operation);
    default:
      return unreachable(operation);
  }
}

/** What stands in a name's place before a group takes it. */
type Tombstone = Pick<WitnessState, 'revision' | 'writes'>;
const NOTHING: Tombstone = { revision: 0, writes: 0 };

/**
 * A group that was deleted. Another one may take its name, whoever keeps this tombstone: it may itself come from an older disk, and the copies of
 * another group then tell what they are. To its own copies it says only that it is no more.
 */
function applyDeleted(state: WitnessState, operation: WitnessOperation, instance: string): Applied {
  const other = 'groupId' in operation && operation.groupId !== state.groupId;
  if (operation.kind === 'create' && other) return create(operation, instance, state);
  if (operation.kind === 'report' && other && operation.instance === instance)
    return report(emptyState(operation, instance, state), operation, state);
  if (operation.kind === 'delete' && !other) return { state, answer: { outcome: 'done', view: viewOfState(state), repeated: true } };
  const { groupId } = state;
  return { state, answer: { ...refuse('deleted', operation, null), instance, deleted: { groupId } } };
}

function erase(state: WitnessState, operation: DeleteOperation): Decision {
  if (operation.groupId !== state.groupId) return 'exists-different';
  if (copyOf(state, operation.from) === undefined) return 'not-a-copy';
  // Whoever asks is known not to run; another primary may be serving at this moment.
  if (operation.force !== true && state.primary !== null && state.primary !== operation.from) return 'not-primary';
  const copies = state.copies.map((copy) => ({ ...copy, flag: false }));
  return { revision: state.revision + 1, primary: null, copies, deleted: true };
}

function create(operation: CreateOperation, instance: string, before: Tombstone = NOTHING): Applied {
  const first = operation.copies.find((copy) => copy.site === operation.first);
  if (first === undefined) return { state: null, answer: refuse('not-a-copy', operation, null) };
  // At least one sync flag must be true from the first moment on.
  if (first.mode !== 'sync') return { state: null, answer: refuse('mode', operation, null) };
  const state: WitnessState = {
    group: operation.group,
    groupId: operation.groupId,
    instance,
    revision: before.revision + 1,
    epoch: 0,
    primary: null,
    copies: operation.copies.map(({ site, mode }) => ({ site, mode, flag: site === operation.first })),
    writes: before.writes + 1,
    first: operation.first,
    seeded: true,
    requests: [],
  };
  const next = remember(state, operation, null);
  assertState(next);
  return { state: next, answer: { outcome: 'done', view: viewOfState(next) } };
}

function isSameGroup(state: WitnessState, operation: CreateOperation): boolean {
  if (state.groupId !== operation.groupId || state.first !== operation.first || state.copies.length !== operation.copies.length)
    return false;
  return operation.copies.every(({ site, mode }) => copyOf(state, site)?.mode === mode);
}

function claim(state: WitnessState, operation: ClaimOperation): Decision {
  const own = copyOf(state, operation.from);
  if (own === undefined) return 'not-a-copy';
  if (operation.epoch !== state.epoch) return 'epoch';
  if (own.mode === 'async' && operation.byHand !== true) return 'mode';
  if (!own.flag) return 'flag-false';
  // Every other sync flag goes in this very step, and only now that the own one was found true.
  const copies = state.copies.map((copy) => (copy.mode === 'sync' && copy.site !== own.site ? { ...copy, flag: false } : copy));
  return { revision: state.revision + 1, epoch: state.epoch + 1, primary: own.site, copies };
}

/** What a primary needs in order to decide about others. */
function refusePrimary(state: WitnessState, operation: { from: SiteName; epoch: Epoch }): RefusalReason | null {
  const own = copyOf(state, operation.from);
  if (own === undefined) return 'not-a-copy';
  if (operation.epoch !== state.epoch) return 'epoch';
  if (state.primary !== own.site) return 'not-primary';
  return own.flag ? null : 'flag-false';
}

function setFlag(state: WitnessState, operation: ExcludeOperation | AdmitOperation, flag: boolean): Decision {
  const reason = refusePrimary(state, operation);
  if (reason !== null) return reason;
  const target = copyOf(state, operation.site);
  // A primary that takes its own flag away resigns, which asks for more.
  if (target === undefined || target.site === operation.from) return 'not-a-copy';
  // An exclusion is a change even of a flag that is false: an admission that is still on its way names the revision before it, and is refused
  // whenever it arrives. The primary answers hosts alone from here on.
  if (flag && target.flag) return {};
  return { revision: state.revision + 1, copies: withFlag(state, target.site, flag) };
}

function handover(state: WitnessState, operation: HandoverOperation): Decision {
  const reason = refusePrimary(state, operation);
  if (reason !== null) return reason;
  const target = copyOf(state, operation.to);
  if (target === undefined || target.site === operation.from) return 'not-a-copy';
  if (target.mode !== 'sync') return 'mode';
  if (!target.flag) return 'flag-false';
  return { revision: state.revision + 1, epoch: state.epoch + 1, primary: target.site };
}

/** The flag says other things of an async copy than of a sync one: it never outlives a change of the mode. */
function changeMode(state: WitnessState, operation: ModeOperation): Decision {
  const reason = refusePrimary(state, operation);
  if (reason !== null) return reason;
  const { site, mode } = operation;
  const target = copyOf(state, site);
  if (target === undefined || site === operation.from) return 'not-a-copy';
  if (target.mode === mode) return {};
  if (target.flag) return 'flag-true';
  return { revision: state.revision + 1, copies: state.copies.map((copy) => (copy.site === site ? { ...copy, mode } : copy)) };
}

function add(state: WitnessState, operation: AddOperation): Decision {
  const reason = refusePrimary(state, operation);
  if (reason !== null) return reason;
  const { site, mode } = operation;
  const known = copyOf(state, site);
  if (known !== undefined) return known.mode === mode ? {} : 'exists-different';
  if (state.copies.length >= limits.groupSitesMax) return 'too-many';
  return { revision: state.revision + 1, copies: [...state.copies, { site, mode, flag: false }] };
}

function remove(state: WitnessState, operation: RemoveOperation): Decision {
  const reason = refusePrimary(state, operation);
  if (reason !== null) return reason;
  const { site } = operation;
  const target = copyOf(state, site);
  if (site === operation.from) return 'not-a-copy';
  if (target === undefined) return {};
  if (target.flag) return 'flag-true';
  return { revision: state.revision + 1, copies: state.copies.filter((copy) => copy !== target) };
}

function resign(state: WitnessState, operation: ResignOperation): Decision {
  const own = copyOf(state, operation.from);
  if (own === undefined) return 'not-a-copy';
  if (!own.flag) return {};
  if (!state.copies.some((copy) => copy.site !== own.site && copy.mode === 'sync' && copy.flag)) return 'last-copy';
  const primary = state.primary === own.site ? null : state.primary;
  return { revision: state.revision + 1, primary, copies: withFlag(state, own.site, false) };
}

function force(state: WitnessState, operation: ForceOperation): Decision {
  // An unseeded witness may have missed epochs: the operator says which is the highest that any copy has seen.
  if (state.seeded ? operation.epoch !== state.epoch : operation.epoch < state.epoch) return 'epoch';
  if (copyOf(state, operation.site) === undefined) return 'not-a-copy';
  const copies = state.copies.map((copy) => ({ ...copy, flag: copy.site === operation.site }));
  const seeding: Seeding = { round: 0, reports: [] };
  const revision = state.revision + (state.seeded ? 1 : limits.witnessSeedRevisions);
  return { revision, epoch: operation.epoch + 1, primary: operation.site, copies, seeded: true, seeding };
}

/** What an empty witness knows of a group when the first copy reports: who the copies are. */
function emptyState(operation: ReportOperation, instance: string, before: Tombstone = NOTHING): WitnessState {
  return {
    group: operation.group,
    groupId: operation.groupId,
    instance,
    revision: before.revision,
    epoch: 0,
    primary: null,
    copies: operation.copies.map(({ site, mode }) => ({ site, mode, flag: false })),
    writes: before.writes,
    first: operation.from,
    seeded: false,
    seeding: { round: 0, reports: [] },
    requests: [],
  };
}

/** The state of an unseeded witness: what another one knew, or this one once, is at most a lower bound, and its answers are forgotten. */
function rebound(state: WitnessState, instance: string): WitnessState {
  if (!state.seeded && state.instance === instance) return state;
  return { ...state, instance, seeded: false, seeding: { round: 0, reports: [] }, requests: [] };
}

/** A report to an unseeded witness: it may be the last one that was missing. `stored` is what is on its disk. */
function report(
  before: WitnessState,
  operation: ReportOperation,
  stored: WitnessState | null = before.writes === 0 ? null : before,
): Applied {
  const { instance } = before;
  if (operation.instance !== instance) return { state: stored, answer: refuseUnseeded(before, operation) };
  const sameCopies =
    operation.copies.length === before.copies.length && operation.copies.every(({ site }) => copyOf(before, site) !== undefined);
  const known = before.seeding ?? { round: 0, reports: [] };
  const isLeader = leads(operation, Math.max(newestOf(known).epoch, operation.report.epoch));
  if (operation.groupId !== before.groupId || (!sameCopies && !isLeader))
    return { state: stored, answer: refuse('exists-different', operation, viewOfState(before)) };
  const isNews = !sameCopies || operation.copies.some(({ site, mode }) => copyOf(before, site)?.mode !== mode);
  const copies = isLeader && isNews ? operation.copies.map(({ site, mode }) => ({ site, mode, flag: false })) : before.copies;
  if (copyOf({ copies }, operation.from) === undefined || operation.report.site !== operation.from)
    return { state: stored, answer: refuse('not-a-copy', operation, viewOfState(before)) };
  const seeding = heard(onlyOf(copies, known), operation.report, operation.round);
  const newest = newestOf(seeding);
  const epoch = Math.max(before.epoch, newest.epoch);
  const revision = Math.max(before.revision, newest.revision);
  const told: WitnessState = { ...before, copies, epoch, revision, seeding, writes: before.writes + 1 };
  // An epoch that this witness knows of and no copy: it was granted, and the answer lost with the one that granted it.
  const isUnknown = newest.epoch < epoch;
  const isUnbegun = isUnknown && before.primary !== null && epoch === newest.epoch + 1 && allWait(copies, seeding);
  const seed = isUnknown && !isUnbegun ? null : seedOf(copies, seeding);
  if (seed === null || 'why' in seed) {
    if (seeding === known && copies === before.copies && stored !== null)
      return { state: stored, answer: refuseUnseeded(before, operation) };
    assertState(told);
    return { state: told, answer: refuseUnseeded(told, operation) };
  }
  const next: WitnessState = {
    ...told,
    // Further than any change of the old witness can have come that no copy was told of: what was asked of that one is refused here.
    revision: revision + limits.witnessSeedRevisions,
    primary: isUnbegun ? null : seed.primary,
    copies: copies.map((copy) => ({ ...copy, flag: seed.able.includes(copy.site) })),
    seeded: true,
    seeding: { round: 0, reports: [] },
  };
  assertState(next);
  return { state: next, answer: { outcome: 'done', view: viewOfState(next) } };
}

/**
 * Whether the reporter leads the newest epoch that any copy knows. It knows who the copies are and how each is mirrored, and by that whose flag says
 * what. Where nobody leads, they may know different modes in the middle of a change; it is all one then: whoever holds the most may go on.
 */
function leads({ report: { role, epoch } }: ReportOperation, newest: Epoch): boolean {
  return role === 'primary' && epoch === newest;
}

/** Without the reports of sites that are no copies. */
function onlyOf(copies: readonly WitnessCopy[], seeding: Seeding): Seeding {
  const isCopy = ({ site }: CopyReport): boolean => copyOf({ copies }, site) !== undefined;
  return seeding.reports.every(isCopy) ? seeding : { ...seeding, reports: seeding.reports.filter(isCopy) };
}

/** A report to a witness that may grant already: a copy that knows no more than it does believes it from now on. */
function reportLate(state: WitnessState, operation: ReportOperation): Applied {
  const view = viewOfState(state);
  const { report: said } = operation;
  if (operation.instance !== state.instance) return { state, answer: refuse('unseeded', operation, view) };
  if (operation.groupId !== state.groupId) return { state, answer: refuse('exists-different', operation, view) };
  if (copyOf(state, operation.from) === undefined) return { state, answer: refuse('not-a-copy', operation, view) };
  if (said.epoch > state.epoch) return { state, answer: refuse('epoch', operation, view) };
  if (said.revision > state.revision) return { state, answer: refuse('revision', operation, view) };
  return { state, answer: { outcome: 'done', view } };
}

function refuseStray(state: WitnessState | null, operation: WitnessOperation, instance: string): WitnessAnswer {
  if (state === null) return { ...refuse('unknown-group', operation, null), instance };
  return refuse('other-witness', operation, { ...viewOfState(state), instance });
}

function refuseUnseeded(state: WitnessState, operation: WitnessOperation): WitnessAnswer {
  const seeding = state.seeding ?? { round: 0, reports: [] };
  const seed = seedOf(state.copies, seeding);
  const missing = 'why' in seed ? seed.missing : [];
  const refused = refuse('unseeded', operation, viewOfState(state));
  const text = 'why' in seed && seeding.reports.length > 0 ? `${refused.text}: ${seed.why}` : refused.text;
  return { ...refused, text, seeding: { round: seeding.round, missing } };
}

function withFlag(state: WitnessState, site: SiteName, flag: boolean): readonly WitnessCopy[] {
  return state.copies.map((copy) => (copy.site === site ? { ...copy, flag } : copy));
}

function answerAgain(state: WitnessState, request: AnsweredRequest, operation: WitnessOperation): WitnessAnswer {
  if (request.content !== contentOf(operation)) return refuse('request-id-reused', operation, viewOfState(state));
  const { group, groupId, instance } = state;
  const { revision, epoch, primary } = request;
  const copies = request.copies.map(([site, mode, flag]) => ({ site, mode, flag }));
  const view: WitnessView = { group, groupId, instance, revision, epoch, primary, copies };
  if (request.refused === null) return { outcome: 'done', view, repeated: true };
  return { ...refuse(request.refused, operation, view), repeated: true };
}

function refuse(reason: RefusalReason, operation: WitnessOperation, view: WitnessView | null): Refused {
  return { outcome: 'refused', reason, text: refusalText(reason, operation, view), view };
}

/** What every caller has checked before: an operation from the wire has passed the schema. */
function assertOperation(operation: WitnessOperation): void {
  assert(operation.requestId.length > 0, 'a request has an id', { kind: operation.kind });
  assert(operation.requestId.length <= limits.requestIdCharsMax, 'a request id has a bounded length', { id: operation.requestId });
  if ('revision' in operation) assert(isCount(operation.revision), 'a revision is a count', { revision: operation.revision });
  if ('epoch' in operation) assert(isCount(operation.epoch), 'an epoch is a count', { epoch: operation.epoch });
  if (operation.kind !== 'create' && operation.kind !== 'report') return;
  const sites = new Set(operation.copies.map((copy) => copy.site));
  assert(sites.size === operation.copies.length, 'each copy is at a site of its own', { copies: operation.copies });
  assert(sites.size <= limits.groupSitesMax, 'a group has a bounded number of copies', { count: sites.size });
}
