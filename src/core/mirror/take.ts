// The survivor that is behind takes what another one has: cuts back to what both share, where its tail is of an older epoch, and appends the
// records in order, so it is a consistent volume at every moment of it. It acknowledges to the giver and promises nothing: no host is answered
// by it, and no flag changes.

import { copyOf } from '../base/bytes.ts';
import type { Journal } from '../base/ports.ts';
import type { Millis, SiteName } from '../base/units.ts';
import type { FollowingReplica } from './follow.ts';
import type { Level, LevelEnd } from './forms.ts';
import type { Link } from './link.ts';
import { ACKNOWLEDGE_BODY, encodeJson, encodeNumbers } from './messages.ts';

/** That an offer is not taken, or not to its end. It says which: a newer one may be on its way. */
export function declined({ number }: Level, reason: string): Uint8Array {
  return encodeJson({ reason, ...(number !== undefined && { number }) } satisfies LevelEnd);
}

export class Taker {
  readonly link: Link;
  readonly level: Level;
  readonly #replica: FollowingReplica;
  readonly #journal: Journal;
  readonly #now: () => Millis;
  readonly #wake: () => void;
  /** Copies other than the two. */
  readonly #others: readonly SiteName[];
  #state: 'adopting' | 'taking' | 'ended' = 'adopting';
  #acknowledgeDue = false;
  #waitingFrames: Uint8Array[] = [];
  /** When records came last. */
  progressAt: Millis;
  receivedBytes = 0;
  cutBackRecords = 0;

  constructor(options: {
    link: Link;
    level: Level;
    replica: FollowingReplica;
    others: readonly SiteName[];
    journal: Journal;
    now: () => Millis;
    wake: () => void;
  }) {
    this.link = options.link;
    this.level = options.level;
    this.#replica = options.replica;
    this.#journal = options.journal;
    this.#now = options.now;
    this.#wake = options.wake;
    this.#others = options.others;
    this.progressAt = options.now();
  }

  /** Begins, or returns why that is not possible: whether it is is looked at here anew, whatever the giver has concluded. */
  begin(): string | null {
    const { level } = this;
    const replica = this.#replica;
    const { received, committed, destageTarget } = replica.marks;
    if (level.epoch < replica.epoch) return `epoch ${level.epoch} is older than ${replica.epoch}, which this site has seen`;
    if (level.position < received && level.epoch === replica.epoch) return 'records of one epoch are not cut back without a primary';
    if (level.position < committed || level.position < destageTarget) return `records up to ${committed} are committed here`;
    const own = level.position <= received ? replica.chainAt(level.position) : null;
    if (own !== level.chain) return `the chains differ at record ${level.position}`;
    this.cutBackRecords = received - level.position;
    if (this.cutBackRecords === 0 && level.epoch === replica.epoch) {
      this.#ready();
      return null;
    }
    replica.adopt({ epoch: level.epoch, history: level.history, cutTo: level.position }, (result) => {
      if (this.#state !== 'adopting') return;
      if (result === 'done') return this.#ready();
      // A failed disk has failed the site by itself; what cannot go back that far waits for a primary.
      if (result === 'needs-copy') this.#endWith(`this copy cannot go back to record ${level.position}`);
    });
    return null;
  }

  get ended(): boolean {
    return this.#state === 'ended';
  }

  get done(): boolean {
    return this.#state === 'taking' && this.#replica.marks.received >= this.level.target;
  }

  /** From now on nothing is taken or acknowledged, whatever still completes. */
  end(): void {
    this.#state = 'ended';
    this.#waitingFrames = [];
  }

  frame(body: Uint8Array): void {
    if (this.#state !== 'taking') return;
    if (this.#replica.full || this.#waitingFrames.length > 0) this.#waitingFrames.push(copyOf(body));
    else this.#accept(body);
  }

  turn(): void {
    // A long cut is no stall.
    if (this.#state === 'adopting') this.progressAt = this.#now();
    if (this.#state !== 'taking') return;
    this.#makeRoom();
    while (this.#waitingFrames.length > 0 && !this.#replica.full && this.#taking()) this.#accept(this.#waitingFrames.shift() as Uint8Array);
    if (!this.#acknowledgeDue || !this.#taking()) return;
    this.#acknowledgeDue = false;
    const { received, durable, destaged } = this.#replica.marks;
    this.link.send('acknowledge', encodeNumbers(ACKNOWLEDGE_BODY, [this.#replica.epoch, received, durable, destaged]));
  }

  #taking(): boolean {
    return this.#state === 'taking';
  }

  #ready(): void {
    this.#state = 'taking';
    this.#acknowledgeDue = true;
    this.progressAt = this.#now();
    if (this.cutBackRecords > 0) {
      const { position } = this.level;
      this.#journal(
        'level.cut-back',
        { to: position, records: this.cutBackRecords },
        'records that a newer epoch does not have were cut off',
      );
    }
    this.#wake();
  }

  #accept(body: Uint8Array): void {
    const accepted = this.#replica.accept(body);
    switch (accepted.kind) {
      case 'appended':
      case 'held':
        this.receivedBytes += body.length;
        this.progressAt = this.#now();
        this.#acknowledgeDue = true;
        return;
      case 'gap':
        return this.#refuse(`a frame left out records from ${accepted.expected}`);
      case 'foreign':
      case 'damaged':
        return this.#refuse(accepted.why);
    }
  }

  /** What is kept for a third copy goes when the sidefile is full, and its blocks are noted first: whoever forgets a record sets its bits. */
  #makeRoom(): void {
    const { bitmaps, full, marks, retainFrom } = this.#replica;
    if (!full || retainFrom > marks.destaged) return;
    for (const site of this.#others) {
      bitmaps.ensure(site, retainFrom, marks.oldest);
      if (this.#replica.fillBitmap(site)) continue;
      this.#wake();
      return;
    }
    this.#journal(
      'coverage.lost',
      { lacksFrom: retainFrom, keptFrom: marks.destaged + 1 },
      'the sidefile is full: records kept for another copy are dropped, their blocks are noted',
    );
    this.#replica.retainFrom = marks.destaged + 1;
  }

  #refuse(reason: string): void {
    this.end();
    this.#journal('level.refused', { from: this.link.peer, reason }, 'what another survivor sent was refused');
    this.link.refuse(reason);
  }

  #endWith(reason: string): void {
    this.end();
    this.link.send('levelEnd', declined(this.level, reason));
    this.#wake();
  }
}
