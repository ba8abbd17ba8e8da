// The part of a verify that looks at records: every copy goes through its own sidefile, one piece after the other, and what its disk has changed is
// brought back from a copy that still has it. The primary only carries bytes: the copy itself knows what belongs there, and takes nothing else.

import { limits } from '../base/limits.ts';
import type { Millis, Seq, SiteName } from '../base/units.ts';
import type { RecordFault } from '../replica/records.ts';
import type { Finding, Findings } from './findings.ts';
import type { RecordAnswer, RecordAsk } from './records.ts';

/** What a record scan stands on. */
export interface RecordGround {
  readonly site: SiteName;
  /** Mirrors that follow. */
  following(): readonly SiteName[];
  /** Puts a question to a copy, the own one included, whose answer comes before this returns or later. */
  askRecords(site: SiteName, ask: RecordAsk): void;
  found(finding: Finding): void;
  wake(): void;
}

/** A question that is not answered yet. */
interface Open {
  /** Who is asked: the copy itself, or one that may hold what it lacks. */
  readonly at: SiteName;
  readonly ask: RecordAsk;
  readonly begunAt: Millis;
}

/** How far the scan of one copy is. */
interface Copy {
  readonly site: SiteName;
  /** Null: its last record has been looked at. */
  next: Seq | null;
  open: Open | null;
  /** What is to be mended, the first of them now. */
  readonly faults: RecordFault[];
  /** Copies that have not been asked for the first of them. Null: it has not been begun. */
  helpers: SiteName[] | null;
}

/** A copy that has not answered by then is left out. */
const ANSWER_MILLIS = 30_000;

export class RecordScan {
  readonly #ground: RecordGround;
  readonly #findings: Findings;
  readonly #reportOnly: boolean;
  readonly #number: () => number;
  #copies: readonly Copy[];
  /** What hosts write after the scan has begun is not looked at: they may write faster than a disk gives it back, for ever. */
  readonly #upTo: Seq;
  /** Copies whose records have all been looked at. */
  readonly checked: SiteName[] = [];
  checkedBytes = 0;
  /** Of these, what turn() has told of. */
  #toldBytes = 0;

  constructor(
    ground: RecordGround,
    findings: Findings,
    how: { readonly reportOnly: boolean; readonly upTo: Seq; readonly number: () => number },
  ) {
    this.#ground = ground;
    this.#findings = findings;
    this.#reportOnly = how.reportOnly;
    this.#number = how.number;
    this.#upTo = how.upTo;
    this.#copies = [ground.site, ...ground.following()].map((site) => ({ site, next: 0, open: null, faults: [], helpers: null }));
  }

  get done(): boolean {
    return this.#copies.length === 0;
  }

  get busy(): boolean {
    return this.#copies.some(({ open }) => open !== null);
  }

  /** When expire() has something to do. */
  deadline(): Millis {
    return Math.min(Infinity, ...this.#copies.map(({ open }) => (open === null ? Infinity : open.begunAt + ANSWER_MILLIS)));
  }

  /** The question behind a number; null when it is not waited for. */
  asked(number: number): RecordAsk | null {
    return this.#copies.find(({ open }) => open?.ask.number === number)?.open?.ask ?? null;
  }

  /** Goes on. Returns the bytes that were looked at since the last time: how many a piece holds is known only afterwards. */
  turn(now: Millis, bytesMax: number): number {
    this.#leaveGone();
    this.expire(now);
    let begun = 0;
    for (const copy of this.#copies) {
      if (copy.open !== null || begun >= bytesMax) continue;
      if (copy.faults.length > 0) this.#mend(copy, now);
      else if (copy.next !== null) {
        const byteCount = Math.min(bytesMax, limits.verifyRecordsBytes);
        begun += byteCount;
        this.#ask(copy, copy.site, { number: this.#number(), kind: 'records', from: copy.next, byteCount }, now);
      }
      this.#ended(copy);
    }
    const bytes = this.checkedBytes - this.#toldBytes;
    this.#toldBytes = this.checkedBytes;
    return bytes;
  }

  #ended(copy: Copy): void {
    if (copy.open !== null || copy.next !== null || copy.faults.length > 0) return;
    if (!this.#copies.includes(copy)) return;
    this.#leaveOut(copy);
    this.checked.push(copy.site);
  }

  /** In place of the list: whoever goes through it may have called this. */
  #leaveOut(copy: Copy): void {
    this.#copies = this.#copies.filter((one) => one !== copy);
  }

  #ask(copy: Copy, at: SiteName, ask: RecordAsk, now: Millis): void {
    copy.open = { at, ask, begunAt: now };
    this.#ground.askRecords(at, ask);
  }

  /** Ends waiting for what was not answered in time, also while nothing may be begun. */
  expire(now: Millis): void {
    for (const copy of this.#copies) {
      const { open } = copy;
      if (open === null || now < open.begunAt + ANSWER_MILLIS) continue;
      if (open.at === copy.site) this.#leaveOut(copy);
      else copy.open = null;
    }
  }

  /** A copy that no longer follows is left out; one that was to help has not helped. */
  #leaveGone(): void {
    const following = this.#ground.following();
    const gone = (site: SiteName): boolean => site !== this.#ground.site && !following.includes(site);
    for (const copy of this.#copies) {
      if (gone(copy.site)) this.#leaveOut(copy);
      else if (copy.open !== null && gone(copy.open.at)) copy.open = null;
    }
  }

  /** Begins what is to be mended, or goes on with it. */
  #mend(copy: Copy, now: Millis): void {
    const fault = copy.faults[0] as RecordFault;
    const { part, epoch, firstSeq } = fault;
    if (part !== 'frame') {
      if (copy.helpers !== null) return this.#leave(copy);
      copy.helpers = [];
      return this.#ask(copy, copy.site, { number: this.#number(), kind: 'mend', part, epoch, firstSeq, bytes: null }, now);
    }
    copy.helpers ??= [this.#ground.site, ...this.#ground.following()].filter((site) => site !== copy.site);
    const helper = copy.helpers.shift();
    if (helper === undefined || fault.length > limits.verifyFrameBytesMax) return this.#leave(copy);
    this.#ask(copy, helper, { number: this.#number(), kind: 'frame', epoch, firstSeq, byteCount: fault.length }, now);
  }

  /** The first fault is over, mended or not. */
  #leave(copy: Copy): void {
    copy.faults.shift();
    copy.helpers = null;
  }

  answered(site: SiteName, number: number, answer: RecordAnswer, now: Millis): void {
    const copy = this.#copies.find(({ open }) => open?.ask.number === number && open.at === site);
    if (copy === undefined || copy.open === null) return;
    const { ask } = copy.open;
    copy.open = null;
    if (ask.kind === 'records') this.#looked(copy, ask.from, answer);
    else if (ask.kind === 'frame') this.#fetched(copy, answer, now);
    else this.#mended(copy, answer);
    this.#ended(copy);
    this.#ground.wake();
  }

  #looked(copy: Copy, from: Seq, answer: RecordAnswer): void {
    const { site } = copy;
    if (answer.kind !== 'records') {
      // Its disk does not give its records back, and what lies behind them cannot be looked at either.
      const facts = { volume: null, file: 'sidefile', offset: 0, length: 0, seq: from };
      this.#found({ site, kind: 'unreadable', ...facts, repaired: false, proven: true });
      this.#leaveOut(copy);
      return;
    }
    this.checkedBytes += answer.byteCount;
    copy.next = answer.next === null || answer.next > this.#upTo ? null : answer.next;
    for (const fault of answer.faults) {
      const { file, offset, length, seq } = fault;
      this.#found({ site, kind: 'rot', volume: null, file, offset, length, seq, repaired: false, proven: true });
      if (!this.#reportOnly) copy.faults.push(fault);
    }
  }

  #fetched(copy: Copy, answer: RecordAnswer, now: Millis): void {
    if (answer.kind !== 'frame' || answer.bytes === null) return;
    const { part, epoch, firstSeq } = copy.faults[0] as RecordFault;
    this.#ask(copy, copy.site, { number: this.#number(), kind: 'mend', part, epoch, firstSeq, bytes: answer.bytes }, now);
  }

  #mended(copy: Copy, answer: RecordAnswer): void {
    if (answer.kind !== 'mend' || answer.why !== null) {
      if (copy.faults[0]?.part !== 'frame') this.#leave(copy);
      return;
    }
    const { file, offset } = copy.faults[0] as RecordFault;
    this.#findings.repairedRecord(copy.site, file, offset);
    this.#leave(copy);
  }

  #found(finding: Finding): void {
    if (this.#findings.add(finding)) this.#ground.found(finding);
  }
}
