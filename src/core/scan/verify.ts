// One verify of a group: the primary walks over its volumes and compares the digests of all copies, each as of the same record, so a difference
// is always real. What differs is looked at again block by block, judged, and mended by writing the right content once more as a record: in the
// one order of writes, so that no copy can be left in between, and only if nothing newer has taken the place of what was judged.

import { assert } from '../base/assert.ts';
import { encodeHex } from '../base/hex.ts';
import { limits } from '../base/limits.ts';
import type { DigestAlgorithm } from '../base/ports.ts';
import { BLOCK_BYTES, type Millis, type Seq, type SiteName, type VolumeIndex } from '../base/units.ts';
import type { NewRecord } from '../record/encode.ts';
import { RECORD_KIND } from '../record/layout.ts';
import { attribute, type Word } from './attribute.ts';
import { DIGEST_BYTES } from './digest.ts';
import { type Answer, type Ask, examine, type Examined, PROOF_ALGORITHM } from './examine.ts';
import { Findings, type Finding } from './findings.ts';
import { RecordScan } from './record-scan.ts';
import type { RecordAnswer, RecordAsk } from './records.ts';

/** How a verify is to be made. */
export interface VerifyOrder {
  readonly algorithm: DigestAlgorithm;
  readonly reportOnly: boolean;
  /** 0: as fast as it goes. */
  readonly bytesPerSecond: number;
}

/** Where a verify stands: kept over restarts. */
export interface VerifyCursor {
  readonly volume: VolumeIndex;
  readonly offset: number;
}

/** What a verify stands on: the primary, seen through the few things it needs. */
export interface VerifyGround {
  readonly site: SiteName;
  readonly examined: Examined & { readonly replica: VerifiedReplica };
  /** A number that no question of this or an earlier run has: an answer that comes late belongs to nobody. */
  nextNumber(): number;
  /** Mirrors that follow. */
  following(): readonly SiteName[];
  /** Sends the rest of the records to those that lack some; true when a question sent now is right behind the newest record. */
  inStep(): boolean;
  ask(site: SiteName, ask: Ask): void;
  /** Tells a copy that all copies are equal in the range of a question that it has answered. */
  equal(site: SiteName, number: number): void;
  /** Appends records and sends them on: the number of the last; null when that is not possible now. */
  append(records: readonly NewRecord[]): Seq | null;
  /** Puts a question about records to a copy, the own one included. */
  askRecords(site: SiteName, ask: RecordAsk): void;
  /** Something is wrong with a copy. */
  found(finding: Finding): void;
  /** Something was read that turn() waits for. */
  wake(): void;
}

/** What it needs of the replica besides. */
export interface VerifiedReplica {
  read(volume: VolumeIndex, offset: number, into: Uint8Array): number;
  readCold(volume: VolumeIndex, offset: number, into: Uint8Array, done: () => void): void;
}

/** A range that is still to be looked at. `fine`: block by block, because copies differ there. `tries`: how often it came to nothing. */
interface Piece {
  readonly kind: 'digest' | 'empty' | 'content';
  readonly volume: VolumeIndex;
  readonly offset: number;
  readonly length: number;
  readonly fine: boolean;
  readonly tries: number;
  /** It is not looked at before. */
  readonly notBefore?: Millis;
  /** For content: whom to ask, and what is to be mended with it. */
  readonly mend?: { readonly from: SiteName; readonly block: JudgedBlock };
}

/** One question to all copies, and what has come back. */
interface Step {
  readonly ask: Ask;
  readonly piece: Piece;
  readonly begunAt: Millis;
  readonly waiting: Set<SiteName>;
  readonly answers: Map<SiteName, Answer>;
}

/** A block on which the copies disagree. */
interface JudgedBlock {
  readonly volume: VolumeIndex;
  readonly offset: number;
  /** What the right content digests to, and what the primary had. */
  readonly goodDigest: string;
  readonly ownDigest: string;
}

/** Content that is to be written; null: the primary's own. */
interface Mend {
  readonly block: JudgedBlock;
  readonly content: Uint8Array | null;
  tries: number;
}

/** Steps that wait for the own copy at one time, and steps that wait for any: those of a far copy are on a long way. */
const OWN_STEPS_MAX = 4;
const STEPS_MAX = 32;
/** Bytes of one digest while the copies are believed to be equal. */
const COARSE_BYTES = 64 * 1024;
/** A range that could not be compared after so many tries is reported as not verified. */
const TRIES_MAX = 20;
/** Before it is tried again to write what is to be mended, where nothing could be written. */
const MEND_RETRY_MILLIS: Millis = 500;
/**
 * After a crash a copy does not know the digests of what was being written, until it is written again: a block that hangs on such a digest is
 * looked at again this much later, this often.
 */
const UNKNOWN_MILLIS = 500;
const UNKNOWN_TRIES_MAX = 6;
/** Blocks that differ are looked at with this one, whatever was ordered for the rest: what is mended hangs on it. */
const FINE_ALGORITHM: DigestAlgorithm = PROOF_ALGORITHM;
/** A copy that has not answered by then is asked anew. */
const ANSWER_MILLIS = 30_000;

/** One run, from its order or its cursor to the end of the last volume. */
export class Verifier {
  readonly order: VerifyOrder;
  readonly findings: Findings = new Findings();
  /** Sites that were compared with the primary in every step so far; null before the first. */
  compared: readonly SiteName[] | null = null;
  verifiedBytes = 0;
  unverifiedBytes = 0;
  /** Newest record that mends something: until it cannot be lost any more, what was mended has still to be looked at. */
  mendedAt: Seq = 0;
  readonly #ground: VerifyGround;
  #volume: VolumeIndex;
  #offset: number;
  readonly #steps = new Map<number, Step>();
  #todo: Piece[] = [];
  /** Content that waits until it can be written. */
  #mends: Mend[] = [];
  #mendNotBefore: Millis = -Infinity;
  #turnedAt: Millis = -Infinity;
  #reading: Mend[] = [];
  /** Records come first: what is not destaged is a part of the content. Null: not begun; a run that goes on at its cursor has done that. */
  #records: RecordScan | null = null;
  readonly #withRecords: boolean;

  constructor(ground: VerifyGround, order: VerifyOrder, cursor: VerifyCursor = { volume: 0, offset: 0 }) {
    this.#ground = ground;
    this.order = order;
    this.#volume = cursor.volume;
    this.#offset = cursor.offset;
    this.#withRecords = cursor.volume === 0 && cursor.offset === 0;
  }

  /** Copies whose records have all been looked at, and their bytes. */
  get recordsChecked(): { readonly sites: readonly SiteName[]; readonly bytes: number } {
    return { sites: this.#records?.checked ?? [], bytes: this.#records?.checkedBytes ?? 0 };
  }

  /** Everything before it has been compared and, unless only reported, mended. */
  get cursor(): VerifyCursor {
    let cursor = { volume: this.#volume, offset: this.#offset };
    const open = [
      ...this.#todo,
      ...[...this.#steps.values()].map(({ piece }) => piece),
      ...this.#mends.map(({ block }) => block),
      ...this.#reading.map(({ block }) => block),
    ];
    for (const { volume, offset } of open) {
      if (volume < cursor.volume || (volume === cursor.volume && offset < cursor.offset)) cursor = { volume, offset };
    }
    return cursor;
  }

  /** Steps under way: while there are some, hosts share the disks with them. */
  get busy(): boolean {
    return this.#steps.size > 0 || this.#records?.busy === true;
  }

  get done(): boolean {
    if (this.#withRecords && this.#records?.done !== true) return false;
    if (this.#volume < this.#volumes.length || this.#steps.size > 0) return false;
    return this.#todo.length === 0 && this.#mends.length === 0 && this.#reading.length === 0;
  }

  /** When turn() is wanted though nothing else happens. */
  deadline(): Millis {
    let earliest = this.#records?.deadline() ?? Infinity;
    // Its own copy answers when its disk does, however long that takes: nothing is done about it meanwhile.
    const isAwaited = (site: SiteName): boolean => site !== this.#ground.site;
    for (const { begunAt, waiting } of this.#steps.values())
      if ([...waiting].some(isAwaited)) earliest = Math.min(earliest, begunAt + ANSWER_MILLIS);
    return earliest;
  }

  /** Goes on. `bytesMax` bounds what is begun. Returns the bytes that were begun. */
  turn(now: Millis, bytesMax: number): number {
    this.#expire(now);
    this.#turnedAt = now;
    if (now >= this.#mendNotBefore) this.#mend();
    if (this.#withRecords && this.#records?.done !== true) return this.#recordsTurn(now, bytesMax);
    let begun = 0;
    // With little at a time it is one step after the other: hosts are there.
    const atOnce = bytesMax < limits.verifyStepBytes ? 1 : STEPS_MAX;
    while (begun < bytesMax && this.#steps.size < atOnce && this.#ownSteps < OWN_STEPS_MAX && this.#ground.following().length > 0) {
      const piece = this.#waitingPiece(now) ?? this.#nextPiece(Math.min(bytesMax, limits.verifyStepBytes));
      if (piece === null) break;
      if (!this.#ground.inStep()) {
        this.#todo.unshift(piece);
        break;
      }
      begun += piece.kind === 'empty' ? 0 : piece.length;
      this.#begin(piece, now);
    }
    return begun;
  }

  #recordsTurn(now: Millis, bytesMax: number): number {
    if (bytesMax === 0 || this.#ground.following().length === 0) {
      this.#records?.expire(now);
      return 0;
    }
    this.#records ??= new RecordScan(this.#ground, this.findings, {
      reportOnly: this.order.reportOnly,
      upTo: this.#ground.examined.replica.marks.received,
      number: () => this.#ground.nextNumber(),
    });
    return this.#records.turn(now, bytesMax);
  }

  /** The question about records behind a number; null when it is not waited for. */
  askedRecords(number: number): RecordAsk | null {
    return this.#records?.asked(number) ?? null;
  }

  answeredRecords(site: SiteName, number: number, answer: RecordAnswer, now: Millis): void {
    this.#records?.answered(site, number, answer, now);
  }

  /** An answer of another site to a question of this run. */
  answered(site: SiteName, number: number, answer: Answer): void {
    const step = this.#steps.get(number);
    if (step === undefined || !step.waiting.delete(site)) return;
    step.answers.set(site, answer);
    if (step.waiting.size === 0) this.#finish(step);
  }

  /** The question behind a number, to read its answer by; null when it is not waited for. */
  asked(number: number): Ask | null {
    return this.#steps.get(number)?.ask ?? null;
  }

  /** Steps that the own copy has still to answer. */
  get #ownSteps(): number {
    let count = 0;
    for (const { waiting } of this.#steps.values()) if (waiting.has(this.#ground.site)) count++;
    return count;
  }

  get #volumes(): readonly { readonly sizeBytes: number }[] {
    return this.#ground.examined.replica.sizes.agreed;
  }

  /** Copies that no longer follow are not waited for; what is waited for too long is asked anew. */
  #expire(now: Millis): void {
    const following = this.#ground.following();
    for (const step of this.#steps.values()) {
      const late = now >= step.begunAt + ANSWER_MILLIS;
      for (const site of step.waiting) {
        if (site === this.#ground.site || (!late && following.includes(site))) continue;
        step.waiting.delete(site);
        step.answers.set(site, { kind: 'missed' });
      }
      if (step.waiting.size === 0) this.#finish(step);
    }
  }

  #waitingPiece(now: Millis): Piece | null {
    const index = this.#todo.findIndex(({ notBefore }) => notBefore === undefined || notBefore <= now);
    return index < 0 ? null : (this.#todo.splice(index, 1)[0] ?? null);
  }

  #nextPiece(stepBytes: number): Piece | null {
    for (; this.#volume < this.#volumes.length; this.#volume++, this.#offset = 0) {
      const end = this.#volumes[this.#volume]?.sizeBytes ?? 0;
      if (this.#offset >= end) continue;
      const next = this.#ground.examined.replica.imageRanges(this.#volume, this.#offset, stepBytes);
      if (next === null || next.offset >= end) continue;
      const { offset, zero } = next;
      const length = Math.min(next.length, end - offset);
      this.#offset = offset + length;
      return { kind: zero ? 'empty' : 'digest', volume: this.#volume, offset, length, fine: false, tries: 0 };
    }
    return null;
  }

  #begin(piece: Piece, now: Millis): void {
    const { site, examined } = this.#ground;
    const number = this.#ground.nextNumber();
    const blockBytes = piece.fine ? BLOCK_BYTES : COARSE_BYTES;
    const { kind, volume, offset, length } = piece;
    const seq: Seq = examined.replica.marks.received;
    const algorithm = piece.fine ? FINE_ALGORITHM : this.order.algorithm;
    const ask: Ask = { number, kind, seq, volume, offset, length, algorithm, blockBytes };
    const others = piece.mend === undefined ? this.#ground.following() : [piece.mend.from];
    // What is empty here is compared by asking the others whether it is empty there.
    const all = kind === 'digest' ? [site, ...others] : others;
    const step: Step = { ask, piece, begunAt: now, waiting: new Set(all), answers: new Map() };
    this.#steps.set(number, step);
    for (const other of others) this.#ground.ask(other, ask);
    if (kind !== 'digest') return;
    let begun = false;
    examine(examined, this.#ground, ask, (answer) => {
      this.answered(site, number, answer);
      // The next step need not wait for copies that are far away.
      if (begun) this.#ground.wake();
    });
    begun = true;
  }

  #finish(step: Step): void {
    this.#steps.delete(step.ask.number);
    const { piece } = step;
    const answers = [...step.answers].filter(([, answer]) => answer.kind !== 'missed');
    const complete = answers.length === step.answers.size;
    if (!complete || answers.some(([, answer]) => answer.kind === 'failed')) return this.#again(step);
    const sites = answers.map(([site]) => site).filter((site) => site !== this.#ground.site);
    if (piece.kind === 'content') return this.#fetched(piece, answers[0]?.[1]);
    this.compared = this.compared === null ? sites : this.compared.filter((site) => sites.includes(site));
    if (piece.kind === 'empty') return this.#emptied(piece, answers);
    this.#compare(step, answers);
  }

  /** Puts a piece back, or gives it up when that has been done too often. */
  #again(step: Step): void {
    const { piece, answers } = step;
    if (piece.tries < TRIES_MAX) {
      this.#todo.push({ ...piece, tries: piece.tries + 1 });
      return;
    }
    this.unverifiedBytes += piece.length;
    for (const [site, answer] of answers) {
      if (answer.kind !== 'failed') continue;
      const { volume, offset, length } = piece;
      this.#found({ site, kind: 'unreadable', volume, file: null, offset, length, seq: step.ask.seq, repaired: false, proven: true });
    }
  }

  #emptied(piece: Piece, answers: readonly (readonly [SiteName, Answer])[]): void {
    const end = piece.offset + piece.length;
    let upTo = end;
    const starts = new Map<number, number>();
    for (const [, answer] of answers) {
      if (answer.kind !== 'empty') continue;
      upTo = Math.min(upTo, answer.upTo);
      for (const [offset, length] of answer.data) starts.set(offset, Math.max(length, starts.get(offset) ?? 0));
    }
    let at = piece.offset;
    for (const [offset, length] of [...starts].sort(([a], [b]) => a - b)) {
      const stop = Math.min(upTo, offset + length);
      for (at = Math.max(at, offset); at < stop; at += limits.verifyStepBytes) {
        const part = Math.min(limits.verifyStepBytes, stop - at);
        this.#todo.push({ kind: 'digest', volume: piece.volume, offset: at, length: part, fine: false, tries: 0 });
        // It is counted when it has been digested.
        this.verifiedBytes -= part;
      }
      at = Math.max(offset, stop);
    }
    if (upTo < end) this.#todo.push({ ...piece, offset: upTo, length: end - upTo, tries: 0 });
    this.verifiedBytes += upTo - piece.offset;
  }

  #compare(step: Step, answers: readonly (readonly [SiteName, Answer])[]): void {
    const { piece, ask } = step;
    const size = DIGEST_BYTES[ask.algorithm];
    const digests = answers.map(([site, answer]) => {
      assert(answer.kind === 'digest', 'a question for digests is answered with digests', { kind: answer.kind });
      return { site, bytes: answer.digests, own: answer.own };
    });
    const own = digests.find(({ site }) => site === this.#ground.site);
    assert(own !== undefined, 'the primary digests its own copy', { number: ask.number });
    if (
      ask.algorithm === PROOF_ALGORITHM &&
      digests.length > 1 &&
      digests.every(({ bytes }) => sameAt(bytes, own.bytes, 0, own.bytes.length))
    )
      for (const [site, answer] of answers) if (answer.kind === 'digest' && answer.learns === true) this.#ground.equal(site, ask.number);
    for (let i = 0; i * size < own.bytes.length; i++) {
      const begin = i * size;
      if (digests.every(({ bytes }) => sameAt(bytes, own.bytes, begin, size))) continue;
      const offset = ask.offset + i * ask.blockBytes;
      const length = Math.min(ask.blockBytes, ask.offset + ask.length - offset);
      if (!piece.fine) {
        this.#todo.push({ kind: 'digest', volume: ask.volume, offset, length, fine: true, tries: 0 });
        continue;
      }
      const words: Word[] = digests.map(({ site, bytes, own: known }) => ({
        site,
        digest: encodeHex(bytes.subarray(begin, begin + size)),
        rotten: known === null || known.unknown.includes(offset / BLOCK_BYTES) ? null : known.rotten.includes(offset / BLOCK_BYTES),
      }));
      const verdict = attribute(words, this.#ground.site);
      const unknown = words.some(({ rotten }) => rotten === null);
      if (verdict.good === null && unknown && piece.tries < UNKNOWN_TRIES_MAX) {
        const again = { kind: 'digest', volume: ask.volume, offset, length: BLOCK_BYTES, fine: true } as const;
        this.#todo.push({ ...again, tries: piece.tries + 1, notBefore: step.begunAt + UNKNOWN_MILLIS });
      } else this.#judged(verdict, words, { volume: ask.volume, offset, seq: ask.seq });
    }
    if (!piece.fine) this.verifiedBytes += piece.length;
  }

  #judged(
    { good, blames }: ReturnType<typeof attribute>,
    words: readonly Word[],
    at: { volume: VolumeIndex; offset: number; seq: Seq },
  ): void {
    const { site } = this.#ground;
    for (const { site: whose, kind, proven } of blames) {
      const place = { volume: at.volume, file: null, offset: at.offset, length: BLOCK_BYTES, seq: at.seq };
      this.#found({ site: whose, kind, ...place, repaired: false, proven });
    }
    if (this.order.reportOnly || good === null) return;
    const digestOf = (whose: SiteName): string => words.find((word) => word.site === whose)?.digest ?? '';
    const block = { volume: at.volume, offset: at.offset, goodDigest: digestOf(good), ownDigest: digestOf(site) };
    if (good === site) this.#mends.push({ block, content: null, tries: 0 });
    else
      this.#todo.push({
        kind: 'content',
        volume: at.volume,
        offset: at.offset,
        length: BLOCK_BYTES,
        fine: true,
        tries: 0,
        mend: { from: good, block },
      });
  }

  #fetched(piece: Piece, answer: Answer | undefined): void {
    const block = piece.mend?.block;
    if (block === undefined || answer?.kind !== 'content') return;
    // Something newer has taken its place meanwhile, there and so everywhere.
    if (this.#digest(answer.bytes) === block.goodDigest) this.#mends.push({ block, content: answer.bytes, tries: 0 });
    else this.#lookAgain(block);
  }

  /** Writes what is to be mended, where the primary still holds what was judged. */
  #mend(): void {
    const { replica } = this.#ground.examined;
    for (const mend of this.#mends.splice(0)) {
      const { volume, offset } = mend.block;
      const now = new Uint8Array(BLOCK_BYTES);
      if (replica.read(volume, offset, now) >= 0) {
        this.#write(mend, now);
        continue;
      }
      // From the disk: the answer counts only if nothing was written at all meanwhile. Else the block is in memory the next time.
      const { received } = replica.marks;
      this.#reading.push(mend);
      replica.readCold(volume, offset, now, () => {
        this.#reading = this.#reading.filter((one) => one !== mend);
        mend.tries++;
        if (replica.marks.received === received) this.#write(mend, now);
        else if (mend.tries < TRIES_MAX) this.#mends.push(mend);
        else this.#lookAgain(mend.block);
        this.#ground.wake();
      });
    }
  }

  /** `now`: what the primary holds at this moment. */
  #write(mend: Mend, now: Uint8Array): void {
    const { block } = mend;
    const { volume, offset } = block;
    if (this.#digest(now) !== block.ownDigest) return this.#lookAgain(block);
    const payload = mend.content ?? now;
    const seq = this.#ground.append([{ kind: RECORD_KIND.write, volume, offset, length: BLOCK_BYTES, payload }]);
    if (seq === null) {
      // The sidefile is full, or hosts are not served: what the primary holds is read again then, and not over and over until then.
      this.#mends.push(mend);
      this.#mendNotBefore = this.#turnedAt + MEND_RETRY_MILLIS;
      return;
    }
    this.mendedAt = seq;
    this.findings.repaired(volume, offset);
  }

  #found(finding: Finding): void {
    if (this.findings.add(finding)) this.#ground.found(finding);
  }

  #lookAgain({ volume, offset }: JudgedBlock): void {
    this.findings.forget(volume, offset);
    this.#todo.push({ kind: 'digest', volume, offset, length: BLOCK_BYTES, fine: true, tries: 0 });
  }

  #digest(bytes: Uint8Array): string {
    return encodeHex(this.#ground.examined.digests.digestNow(FINE_ALGORITHM, bytes));
  }
}

function sameAt(a: Uint8Array, b: Uint8Array, begin: number, length: number): boolean {
  for (let i = begin; i < begin + length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export type { Finding };
