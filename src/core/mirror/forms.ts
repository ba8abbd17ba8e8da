// The JSON bodies of the rare messages between sites, with the check that each field has its type: nothing from the network is used before.

import { BLOCK_BYTES, isCount, type Epoch, type Seq, type SiteName } from '../base/units.ts';
import type { EpochStart, History } from '../base/position.ts';
import { limits } from '../base/limits.ts';
import type { Member } from '../base/copies.ts';
import type { ResyncRung, ScanChoice } from '../replica/superblock.ts';
import { DIGEST_ALGORITHMS } from '../scan/digest.ts';
import type { ScanGeometry } from '../scan/local.ts';
import { decodeJson, type WireVersions } from './messages.ts';

export type { ScanChoice } from '../replica/superblock.ts';

/** First message of each side. */
export interface Hello {
  readonly group: string;
  /** Null when this side has no replica yet. */
  readonly groupId: string | null;
  readonly from: SiteName;
  readonly to: SiteName;
  /** Versions of the protocol that this side speaks; a hello without them is of a program that speaks the first only. */
  readonly versions: WireVersions;
  /** Ways of packing that this side takes; left out when there are none. */
  readonly accepts?: readonly string[];
  /** Left out where the link is to be one connection. */
  readonly streams?: HelloStreams;
}

/**
 * Of a link of several streams. The dialler names how many; the answer names them, too, and the link. A hello with `number` makes its connection that
 * stream of the link, and is answered by the same.
 */
export interface HelloStreams {
  readonly count: number;
  readonly link?: string;
  readonly number?: number;
}

const FIRST_VERSIONS: WireVersions = { min: 1, max: 1 };
const VERSION_MAX = 0xffff;

/** What a site says of itself, at the start of a connection and whenever it changes. */
export interface PeerState {
  readonly role: string;
  readonly groupId: string | null;
  /** Newest epoch that it has adopted. */
  readonly epoch: Epoch;
  /** Epoch and seq of its newest record, and the chain there. */
  readonly endEpoch: Epoch;
  readonly endSeq: Seq;
  readonly chain: number;
  readonly unclean: boolean;
  readonly consistent: boolean;
  /** Times its replica was opened: falls when a site was put back from an old copy of its disk. */
  readonly startCount: number;
  readonly primary: SiteName | null;
  /** Of a primary: mirrors that it sends nothing by order. Left out when there are none. */
  readonly paused?: readonly SiteName[];
  /** By volume: what its copy can hold, and what it knows every copy of the group to hold, both as on its disk. Left out without a copy. */
  readonly heldBytes?: readonly number[];
  readonly agreedBytes?: readonly number[];
  /** Who the copies are to be, and how each is to be mirrored, by its configuration. Left out by programs whose members do not change. */
  readonly wish?: readonly Member[];
  /** Of a primary: who they are. */
  readonly members?: readonly Member[];
  /** Left out where nothing is ever agreed without the witness. */
  readonly agreement?: SaidAgreement;
}

/** What a site says of agreements (site/agreement.ts). */
export interface SaidAgreement {
  /** Agreements of this site as primary up to this number are over. */
  readonly over: number;
  /** As primary: it asks this site to leave it the right to go on alone. */
  readonly asks: null | { readonly site: SiteName; readonly number: number };
  /** It went on without that site, and the witness has not heard of it. */
  readonly alone: boolean;
  /** To whom it leaves that right, as it is on its disk. */
  readonly yields: null | { readonly to: SiteName; readonly epoch: Epoch; readonly number: number };
  /** Whether the witness answers it. */
  readonly reaches: boolean;
}

/** A mirror asks the primary to let it follow. */
export interface Join {
  readonly epoch: Epoch;
  readonly history: History;
  readonly received: Seq;
  readonly durable: Seq;
  /** The base image may hold anything up to here: cutting back below it is not possible. */
  readonly destageTarget: Seq;
  /** First seq whose record can be compared by its chain; below it records were destaged and dropped. */
  readonly oldest: Seq;
  readonly consistent: boolean;
  readonly unclean: boolean;
  /** The images of a copy that was cut off went straight into the bases: there is content, of no moment in time. */
  readonly partial: boolean;
  /** A resync that was cut off and whose images are staged beside an older volume. */
  readonly staged: null | StagedJoin;
  /** The mirror was told to be compared, in this way. */
  readonly scan: ScanChoice | null;
  /** Why this mirror cannot be brought up by a delta although positions would allow it; null when it can. */
  readonly needsCopy: string | null;
}

/** What a mirror says of a staged resync: where it could go on, and what the older volume is. */
export interface StagedJoin {
  readonly rung: ResyncRung;
  /** scan: how it was begun. */
  readonly scan: ScanChoice | null;
  /** Records of the resync come from behind this one on. */
  readonly fromSeq: Seq;
  readonly upTo: { readonly epoch: Epoch; readonly seq: Seq };
  readonly cursor: { readonly volume: number; readonly offset: number };
  readonly olderHistory: History;
  readonly olderSeq: Seq;
}

/** How a scan is done: the same on both sides. */
export interface ScanHow extends ScanGeometry, ScanChoice {}

/** What of it was chosen. */
export function choiceOf({ algorithm, compare, confirm }: ScanChoice): ScanChoice {
  return { algorithm, compare, confirm };
}

/** The primary's answer to a join. */
export interface Follow {
  readonly epoch: Epoch;
  readonly history: History;
  readonly rung: 'delta' | ResyncRung;
  /** A resync by images that was cut off goes on where it was. */
  readonly resume: boolean;
  /** scan: how. */
  readonly scan: ScanHow | null;
  /** scan: how much of each volume is compared. Older programs leave it out: everything. */
  readonly sizes?: readonly number[];
  /** Bytes of all images that will come, at most: the mirror sets space aside for them. Null when that is not known. */
  readonly imageBytes: number | null;
  /** scan that goes on: from where. */
  readonly from: { readonly volume: number; readonly offset: number };
  /** delta, or resume: last shared seq, which the mirror cuts back to. Else: position from which records will come. */
  readonly position: Seq;
  /** bitmap: what the mirror cuts back to first, because only up to there its volume is the primary's; else null. */
  readonly cutTo: Seq | null;
  /** Chain after the record at `position`. */
  readonly chain: number;
  /** Newest seq of the primary at this moment: with it durable, an unclean mirror is clean. */
  readonly target: Seq;
  readonly retain: Seq;
}

/** The mirror has cut back, or is ready for the images, and follows. */
export interface Joined {
  readonly epoch: Epoch;
  readonly received: Seq;
  readonly durable: Seq;
}

/** How far a copy is that follows nobody: what two survivors of a primary tell each other, and all that their comparison looks at. */
export interface Standing {
  readonly epoch: Epoch;
  readonly history: History;
  readonly received: Seq;
  readonly committed: Seq;
  /** The base image may hold anything up to here: cutting back below it is not possible. */
  readonly destageTarget: Seq;
  /** First seq that the sidefile still holds. */
  readonly oldest: Seq;
  /** Chain of the newest record. */
  readonly chain: number;
  readonly consistent: boolean;
}

/** The survivor that is further on offers the other what it lacks. */
export interface Level {
  readonly epoch: Epoch;
  readonly history: History;
  /** Last record that both share: the other cuts back to it, and gets everything behind it. */
  readonly position: Seq;
  /** Chain after the record at `position`. */
  readonly chain: number;
  /** Newest record that will come. */
  readonly target: Seq;
  /** Which of the sender's offers this is. Older programs leave it out. */
  readonly number?: number;
}

/** An offer of records is over, or is not taken. */
export interface LevelEnd {
  readonly reason: string;
  /** Which offer: one that newer ones have followed may be meant. Older programs leave it out. */
  readonly number?: number;
  /** Whether the sender is the one that gives. */
  readonly gives?: boolean;
}

/**
 * Primary to the mirror that is to succeed it. offer: the primary has stopped, and this is its last record. granted: the witness has named the
 * mirror. off: the primary serves on.
 */
export interface HandoverMessage {
  readonly step: 'offer' | 'granted' | 'off';
  readonly epoch: Epoch;
  readonly seq: Seq;
  /** Chain after the record `seq`. */
  readonly chain: number;
}

/** The mirror's answer to an offer: null when it holds everything on its disk, or why it does not take it. */
export interface HandoverReady {
  readonly epoch: Epoch;
  readonly seq: Seq;
  readonly refused: string | null;
}

/** An operator's order for a planned change that was given at a mirror: passed on to the primary. */
export interface PassedOrder {
  readonly number: number;
  /** The site that is to be primary; null for the best one. */
  readonly to: SiteName | null;
  readonly dryRun: boolean;
}

/** What became of a passed order. */
export interface PassedOutcome {
  readonly number: number;
  readonly done: boolean;
  readonly text: string;
  /** The way out; null when it was done. */
  readonly remedy: string | null;
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value.length > 0 && value.length <= 128 ? value : null;
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || text(value) !== null;
}

function readHistory(value: unknown): History | null {
  if (!Array.isArray(value) || value.length > limits.historyEpochsMax) return null;
  const history: EpochStart[] = [];
  for (const item of value as unknown[]) {
    if (typeof item !== 'object' || item === null) return null;
    const { epoch, firstSeq } = item as Record<string, unknown>;
    if (!isCount(epoch) || !isCount(firstSeq)) return null;
    const before = history[history.length - 1];
    if (before !== undefined && (before.epoch >= epoch || before.firstSeq > firstSeq)) return null;
    history.push({ epoch, firstSeq });
  }
  return history;
}

/** Each reader returns null when the body is not of its form. */
export function readHello(body: Uint8Array): Hello | null {
  const o = decodeJson(body);
  if (o === null) return null;
  const { group, groupId, from, to } = o;
  const texts = [text(group), text(from), text(to)];
  const versions = o['versions'] === undefined ? FIRST_VERSIONS : versionsOf(o['versions']);
  if (texts.includes(null) || !isTextOrNull(groupId) || versions === null) return null;
  const hello = { group: group as string, groupId, from: from as string, to: to as string, versions };
  const { accepts } = o;
  const streams = readStreams(o['streams']);
  if (streams === null || !(accepts === undefined || isTexts(accepts))) return null;
  return { ...hello, ...(accepts !== undefined && { accepts }), ...(streams !== undefined && { streams }) };
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.length <= 16 && value.every((item) => text(item) !== null);
}

/** null when it is malformed; undefined when there is none. */
function readStreams(value: unknown): HelloStreams | null | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'object' || value === null) return null;
  const { count, link, number } = value as Readonly<Record<string, unknown>>;
  if (!isCount(count) || count < 2 || !(link === undefined || text(link) !== null)) return null;
  if (number !== undefined && (!isCount(number) || number < 1 || number > count || link === undefined)) return null;
  return { count, ...(link !== undefined && { link: link as string }), ...(number !== undefined && { number }) };
}

function versionsOf(value: unknown): WireVersions | null {
  if (typeof value !== 'object' || value === null) return null;
  const { min, max } = value as Readonly<Record<string, unknown>>;
  return isCount(min) && isCount(max) && min >= 1 && min <= max && max <= VERSION_MAX ? { min, max } : null;
}

export function readState(body: Uint8Array): PeerState | null {
  const o = decodeJson(body);
  if (o === null) return null;
  const { role, groupId, epoch, endEpoch, endSeq, chain, unclean, consistent, startCount, primary } = o;
  if (text(role) === null || !isTextOrNull(groupId) || !isTextOrNull(primary)) return null;
  if (!isCount(epoch) || !isCount(endEpoch) || !isCount(endSeq) || !isCount(chain) || !isCount(startCount)) return null;
  if (typeof unclean !== 'boolean' || typeof consistent !== 'boolean') return null;
  const { paused, heldBytes, agreedBytes } = o;
  if ((heldBytes === undefined) !== (agreedBytes === undefined) || (heldBytes !== undefined && !isSizes(heldBytes))) return null;
  if (agreedBytes !== undefined && !isSizes(agreedBytes)) return null;
  const sizes = heldBytes === undefined ? {} : { heldBytes, agreedBytes: agreedBytes as readonly number[] };
  const lists = membersOf(o);
  const agreement = readAgreement(o['agreement']);
  if (lists === null || agreement === null) return null;
  const state = {
    role: role as string,
    groupId,
    epoch,
    endEpoch,
    endSeq,
    chain,
    unclean,
    consistent,
    startCount,
    primary,
    ...sizes,
    ...lists,
    ...(agreement !== undefined && { agreement }),
  };
  if (paused === undefined) return state;
  const named = Array.isArray(paused) ? paused.filter((site) => text(site) !== null) : null;
  return named === null || named.length !== (paused as unknown[]).length || named.length >= limits.groupSitesMax
    ? null
    : { ...state, paused: named as string[] };
}

/** undefined when nothing is said; null when it is malformed. */
function readAgreement(value: unknown): SaidAgreement | undefined | null {
  if (value === undefined) return undefined;
  if (typeof value !== 'object' || value === null) return null;
  const { over, asks, alone, yields, reaches } = value as Readonly<Record<string, unknown>>;
  if (!isCount(over) || typeof alone !== 'boolean' || typeof reaches !== 'boolean') return null;
  const isNamed = (each: unknown, who: string, counts: readonly string[]): boolean => {
    if (typeof each !== 'object' || each === null) return each === null;
    const fields = each as Readonly<Record<string, unknown>>;
    return text(fields[who]) !== null && counts.every((name) => isCount(fields[name]));
  };
  if (!isNamed(asks, 'site', ['number']) || !isNamed(yields, 'to', ['epoch', 'number'])) return null;
  return { over, asks: asks as SaidAgreement['asks'], alone, yields: yields as SaidAgreement['yields'], reaches };
}

function membersOf({ wish, members }: Readonly<Record<string, unknown>>): Pick<PeerState, 'wish' | 'members'> | null {
  if ((wish !== undefined && !isMembers(wish)) || (members !== undefined && !isMembers(members))) return null;
  return { ...(wish !== undefined && { wish }), ...(members !== undefined && { members }) };
}

function isMembers(value: unknown): value is readonly Member[] {
  if (!Array.isArray(value) || value.length > limits.groupSitesMax) return false;
  return (value as unknown[]).every((each) => {
    if (typeof each !== 'object' || each === null) return false;
    const { site, mode } = each as Readonly<Record<string, unknown>>;
    return text(site) !== null && (mode === 'sync' || mode === 'async');
  });
}

function isSizes(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.length <= limits.groupVolumesMax && value.every((each) => isCount(each) && each % BLOCK_BYTES === 0);
}

function isRung(value: unknown): value is ResyncRung {
  return value === 'bitmap' || value === 'scan' || value === 'copy';
}

/** undefined when it is malformed. */
function readStaged(value: unknown): StagedJoin | null | undefined {
  if (value === null) return null;
  if (typeof value !== 'object') return undefined;
  const { rung, fromSeq, upTo, cursor, olderHistory, olderSeq, scan: choice } = value as Record<string, unknown>;
  const scan = readChoice(choice ?? null);
  const history = readHistory(olderHistory);
  if (!isRung(rung) || scan === undefined || !isCount(fromSeq) || !isCount(olderSeq) || history === null) return undefined;
  const at = readCursor(cursor);
  if (typeof upTo !== 'object' || upTo === null || at === null) return undefined;
  const { epoch, seq } = upTo as Record<string, unknown>;
  if (!isCount(epoch) || !isCount(seq)) return undefined;
  return { rung, scan, fromSeq, upTo: { epoch, seq }, cursor: at, olderHistory: history, olderSeq };
}

function readCursor(value: unknown): { volume: number; offset: number } | null {
  if (typeof value !== 'object' || value === null) return null;
  const { volume, offset } = value as Record<string, unknown>;
  return isCount(volume) && isCount(offset) ? { volume, offset } : null;
}

/** undefined when it is malformed. */
function readChoice(value: unknown): ScanChoice | null | undefined {
  if (value === null) return null;
  if (typeof value !== 'object') return undefined;
  const { algorithm, compare, confirm = false } = value as Record<string, unknown>;
  const known = DIGEST_ALGORITHMS.find((name) => name === algorithm);
  if (known === undefined || typeof confirm !== 'boolean') return undefined;
  return compare === 'primary' || compare === 'mirror' ? { algorithm: known, compare, confirm } : undefined;
}

/** undefined when it is malformed. */
function readHow(value: unknown): ScanHow | null | undefined {
  const choice = readChoice(value);
  if (choice === null || choice === undefined) return choice;
  const { levels, chunkBytes } = value as Record<string, unknown>;
  if (!Array.isArray(levels) || levels.length < 2 || levels.length > 8) return undefined;
  const sizes = levels as unknown[];
  for (const [index, size] of sizes.entries()) {
    const next = sizes[index + 1] ?? BLOCK_BYTES;
    if (!isCount(size) || !isCount(next) || size < next || size % next !== 0 || size > limits.scanUnitBytesMax) return undefined;
  }
  if (sizes[sizes.length - 1] !== BLOCK_BYTES || !sizes.includes(chunkBytes) || !isCount(chunkBytes)) return undefined;
  return chunkBytes <= limits.digestRangeBytesMax ? { ...choice, levels: sizes as number[], chunkBytes } : undefined;
}

export function readJoin(body: Uint8Array): Join | null {
  const o = decodeJson(body);
  if (o === null) return null;
  const { epoch, received, durable, destageTarget, oldest, consistent, unclean, needsCopy } = o;
  const history = readHistory(o['history']);
  if (history === null || !isTextOrNull(needsCopy)) return null;
  if (!isCount(epoch) || !isCount(received) || !isCount(durable) || !isCount(destageTarget) || !isCount(oldest)) return null;
  if (typeof consistent !== 'boolean' || typeof unclean !== 'boolean') return null;
  const { partial } = o;
  const staged = readStaged(o['staged']);
  const scan = readChoice(o['scan']);
  if (staged === undefined || scan === undefined || typeof partial !== 'boolean') return null;
  return { epoch, history, received, durable, destageTarget, oldest, consistent, unclean, partial, staged, scan, needsCopy };
}

export function readFollow(body: Uint8Array): Follow | null {
  const o = decodeJson(body);
  if (o === null) return null;
  const { epoch, rung, position, chain, target, retain } = o;
  const history = readHistory(o['history']);
  const { resume, cutTo } = o;
  if (history === null || (rung !== 'delta' && !isRung(rung)) || typeof resume !== 'boolean') return null;
  if (cutTo !== null && !isCount(cutTo)) return null;
  const scan = readHow(o['scan']);
  const from = readCursor(o['from']);
  const { imageBytes, sizes } = o;
  if (sizes !== undefined && !isSizes(sizes)) return null;
  if (scan === undefined || from === null || (imageBytes !== null && !isCount(imageBytes))) return null;
  if (!isCount(epoch) || !isCount(position) || !isCount(chain) || !isCount(target) || !isCount(retain)) return null;
  const compared = sizes === undefined ? {} : { sizes };
  return { epoch, history, rung, resume, scan, imageBytes, from, position, cutTo, chain, target, retain, ...compared };
}

export function readJoined(body: Uint8Array): Joined | null {
  const o = decodeJson(body);
  if (o === null) return null;
  const { epoch, received, durable } = o;
  return isCount(epoch) && isCount(received) && isCount(durable) ? { epoch, received, durable } : null;
}

export function readStanding(body: Uint8Array): Standing | null {
  const o = decodeJson(body);
  if (o === null) return null;
  const { epoch, received, committed, destageTarget, oldest, chain, consistent } = o;
  const history = readHistory(o['history']);
  if (history === null || typeof consistent !== 'boolean') return null;
  if (!isCount(epoch) || !isCount(received) || !isCount(committed) || !isCount(destageTarget) || !isCount(oldest)) return null;
  return isCount(chain) ? { epoch, history, received, committed, destageTarget, oldest, chain, consistent } : null;
}

export function readLevel(body: Uint8Array): Level | null {
  const o = decodeJson(body);
  if (o === null) return null;
  const { epoch, position, chain, target, number } = o;
  const history = readHistory(o['history']);
  if (history === null || !isCount(epoch) || !isCount(position) || !isCount(chain) || !isCount(target)) return null;
  if (target < position || (number !== undefined && !isCount(number))) return null;
  return { epoch, history, position, chain, target, ...(number !== undefined && { number }) };
}

export function readLevelEnd(body: Uint8Array): LevelEnd | null {
  const { reason, number, gives } = decodeJson(body) ?? {};
  if (typeof reason !== 'string' || reason.length > 500) return null;
  if ((number !== undefined && !isCount(number)) || (gives !== undefined && typeof gives !== 'boolean')) return null;
  return { reason, ...(number !== undefined && { number }), ...(gives !== undefined && { gives }) };
}

export function readHandover(body: Uint8Array): HandoverMessage | null {
  const o = decodeJson(body);
  if (o === null) return null;
  const { step, epoch, seq, chain } = o;
  if (step !== 'offer' && step !== 'granted' && step !== 'off') return null;
  return isCount(epoch) && isCount(seq) && isCount(chain) ? { step, epoch, seq, chain } : null;
}

export function readHandoverReady(body: Uint8Array): HandoverReady | null {
  const o = decodeJson(body);
  if (o === null) return null;
  const { epoch, seq, refused } = o;
  return isCount(epoch) && isCount(seq) && isTextOrNull(refused) ? { epoch, seq, refused } : null;
}

export function readOrder(body: Uint8Array): PassedOrder | null {
  const o = decodeJson(body);
  if (o === null) return null;
  const { number, to, dryRun } = o;
  return isCount(number) && isTextOrNull(to) && typeof dryRun === 'boolean' ? { number, to, dryRun } : null;
}

export function readOrderAnswer(body: Uint8Array): PassedOutcome | null {
  const o = decodeJson(body);
  if (o === null) return null;
  const { number, done, text: words, remedy } = o;
  const isSentence = (value: unknown): value is string => typeof value === 'string' && value.length <= limits.orderTextCharsMax;
  if (!isCount(number) || typeof done !== 'boolean' || !isSentence(words) || !(remedy === null || isSentence(remedy))) return null;
  return { number, done, text: words, remedy };
}
