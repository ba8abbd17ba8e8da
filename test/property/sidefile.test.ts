// The sidefile against a model: whatever is appended, cut back, dropped, flushed and crashed, what comes back is a prefix of the newest history
// that was durable, with every byte right, and never shorter than what a flush covered.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { EpochStart } from '../../src/core/base/position.ts';
import { lastSeqOf } from '../../src/core/base/position.ts';
import type { Sidefile } from '../../src/core/replica/sidefile.ts';
import { MemoryStorage } from '../support/memory-storage.ts';
import { appendUpTo, chance, contents, frameOf, names, newSidefile, recover } from '../support/records.ts';

/** What a superblock would hold. */
interface Block {
  history: EpochStart[];
  durable: number;
  destaged: number;
  chain: number;
}

type Step =
  | { kind: 'append'; count: number }
  | { kind: 'cut'; back: number; recorded: boolean }
  | { kind: 'beginFlush' | 'endFlush' | 'recordDurable' }
  | { kind: 'destage'; share: number; drop: boolean }
  | { kind: 'crash'; torn: number }
  | { kind: 'powerLoss'; seed: number; keepShare: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: fc.record({ kind: fc.constant('append' as const), count: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('cut' as const), back: fc.nat(12), recorded: fc.boolean() }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom('beginFlush' as const, 'endFlush' as const, 'recordDurable' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('destage' as const), share: fc.double({ min: 0, max: 1, noNaN: true }), drop: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('crash' as const),
      torn: fc.oneof(fc.double({ min: 0, max: 0.99, noNaN: true }), fc.constantFrom(0.9, 0.95)),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('powerLoss' as const), seed: fc.nat(), keepShare: fc.constantFrom(0, 0.3, 0.7, 0.95, 1) }),
  },
);

/** How often a run came to what it is meant to try. */
const reached = { shortened: 0, droppedTail: 0, oldTailAfterCut: 0, tornAppend: 0, tornMark: 0, voidBytes: 0, segmentsBack: 0, reused: 0 };

const SEGMENT_BYTES = 700;

/** One replica's sidefile, run beside a model of what must be there. */
class Run {
  storage = new MemoryStorage();
  sidefile: Sidefile = newSidefile(this.storage, SEGMENT_BYTES);
  history: EpochStart[] = [{ epoch: 1, firstSeq: 1 }];
  block: Block = { history: this.history, durable: 0, destaged: 0, chain: 0 };
  /** Epochs are never used again, also when the superblock never heard of them. */
  nextEpoch = 2;
  /** What a flush has covered, by the durable history; and where the durable history's records end. */
  flushed = 0;
  held = 0;
  flight: { upTo: number; done: boolean } | null = null;
  /** Whether segments get files of full length: made ahead, or used before. */
  readonly spares: boolean;

  constructor(spares: boolean) {
    this.spares = spares;
    this.startSpares();
    // So that there are files to be used again.
    while (spares && this.sidefile.received < 24) this.do({ kind: 'append', count: 2 });
    if (!spares) return;
    this.begin();
    this.storage.settle();
    this.destage(0.9, true);
  }

  startSpares(): void {
    if (!this.spares) return;
    this.sidefile.startSpares({
      begin: (done) => done,
      usable: () => true,
      making: () => false,
      failed: (failure) => assert.fail(JSON.stringify(failure)),
    });
  }

  get epoch(): number {
    return (this.history.at(-1) as EpochStart).epoch;
  }

  get recorded(): boolean {
    return this.history === this.block.history;
  }

  do(one: Step): void {
    switch (one.kind) {
      case 'append':
        appendUpTo(this.sidefile, this.epoch, this.sidefile.received + one.count);
        if (this.recorded) this.held = this.sidefile.received;
        // A file for the next segment is seldom made in time otherwise.
        if (this.spares && this.flight === null) this.storage.settle();
        break;
      case 'cut':
        this.cut(one.back, one.recorded);
        break;
      case 'beginFlush':
        if (this.flight === null) this.begin();
        break;
      case 'endFlush':
        this.storage.settle();
        break;
      case 'recordDurable':
        if (this.recorded) this.block = { ...this.block, durable: this.sidefile.durable };
        break;
      case 'destage':
        this.destage(one.share, one.drop);
        break;
      case 'crash':
        this.crash(one.torn);
        break;
      case 'powerLoss':
        this.losePower(one.seed, one.keepShare);
        break;
    }
  }

  begin(): void {
    const { files, upTo } = this.sidefile.beginFlush();
    const flight = { upTo, done: false };
    this.flight = flight;
    this.storage.flush(files, (failure) => {
      assert.equal(failure, null);
      const durable = this.sidefile.endFlush(true);
      this.flight = null;
      // Records that the durable history does not know yet do not count: a restart will not look for them.
      if (this.recorded) this.flushed = Math.max(this.flushed, durable);
    });
  }

  cut(back: number, recorded: boolean): void {
    if (!this.recorded) return;
    const floor = Math.max(this.block.destaged, this.sidefile.oldest - 1);
    const seq = Math.max(floor, this.sidefile.received - back);
    this.sidefile.cutTo(seq);
    const epoch = this.nextEpoch++;
    this.history = [...this.history.filter((start) => start.firstSeq <= seq + 1), { epoch, firstSeq: seq + 1 }];
    if (recorded) this.recordHistory();
  }

  recordHistory(): void {
    const start = this.history.at(-1) as EpochStart;
    const durable = Math.min(this.block.durable, start.firstSeq - 1);
    this.block = { ...this.block, history: this.history, durable };
    this.flushed = Math.min(this.flushed, start.firstSeq - 1);
    this.held = this.sidefile.received;
  }

  destage(share: number, drop: boolean): void {
    if (!this.recorded) return this.recordHistory();
    const room = this.flushed - this.block.destaged;
    const destaged = this.block.destaged + Math.floor(room * share);
    this.block = { ...this.block, destaged, chain: this.sidefile.chainAt(destaged) as number };
    if (!drop) return;
    const spares = (): number => this.storage.list().filter((name) => name.startsWith('spare-')).length;
    const before = spares();
    this.sidefile.dropBefore(destaged + 1);
    reached.reused += Math.max(0, spares() - before);
  }

  /** The process ends in the middle of an append. */
  crash(torn: number): void {
    this.storage.killAt = this.storage.calls;
    this.storage.tornShare = torn;
    const frame = frameOf({
      epoch: this.epoch,
      firstSeq: this.sidefile.received + 1,
      lastSeq: this.sidefile.received + 2,
      chainBefore: this.sidefile.chain,
    });
    assert.throws(() => this.sidefile.append(frame.bytes, frame), { name: 'Killed' });
    this.storage.restart();
    reached.tornAppend++;
    if (!this.recorded) reached.oldTailAfterCut++;
    const { held } = this;
    const received = this.restart(false);
    // The write that was under way may have come as far as the end of its frame.
    if (received === held + 2 && this.recorded) reached.tornMark++;
    else assert.equal(received, held, 'a crash of the program loses nothing');
  }

  losePower(seed: number, keepShare: number): void {
    const { held, flushed } = this;
    this.storage.losePower(chance(seed), keepShare);
    const received = this.restart(true);
    assert.ok(received >= flushed, `a flush covered ${flushed}, found ${received}`);
    assert.ok(received <= held, `held ${held}, found ${received}`);
    if (received < held) reached.shortened++;
  }

  restart(powerLost: boolean): number {
    const { history, durable, destaged, chain } = this.block;
    const files = this.storage.list().length;
    const result = recover(this.storage, { history, durable, destaged, startChain: chain, powerLost, segmentBytes: SEGMENT_BYTES });
    assert.equal(result.kind, 'ok', JSON.stringify(result));
    if (result.kind !== 'ok') return -1;
    if (result.droppedTail !== null) reached.droppedTail++;
    if (powerLost && this.storage.list().length < files) reached.segmentsBack++;
    this.sidefile = result.sidefile;
    this.history = history;
    this.flight = null;
    const { oldest, received } = this.sidefile;
    assert.ok(oldest <= destaged + 1);
    assert.deepEqual(contents(this.sidefile), names(history, oldest, received));
    assert.ok(received <= lastSeqOf(history, this.epoch));
    const bytes = this.storage.list().reduce((sum, name) => sum + this.storage.contentOf(name).length, 0);
    // A file may be longer than what was written to its segment, or than what was found of it.
    assert.ok(this.sidefile.heldBytes <= bytes);
    this.startSpares();
    this.held = received;
    // What was lost with the power is numbered again only in another epoch.
    const epoch = this.nextEpoch++;
    this.history = [...history.filter((start) => start.firstSeq <= received + 1), { epoch, firstSeq: received + 1 }];
    this.recordHistory();
    return received;
  }
}

test('records come back as they were written, whatever happens to the process and the power', () => {
  fc.assert(
    fc.property(fc.boolean(), fc.array(step, { minLength: 5, maxLength: 60, size: 'max' }), (spares, steps) => {
      const run = new Run(spares);
      for (const one of steps) {
        run.do(one);
        if (run.sidefile.heldBytes > 0 && !run.recorded) reached.voidBytes++;
      }
      run.storage.settle();
      if (!run.recorded) run.recordHistory();
      assert.deepEqual(contents(run.sidefile), names(run.history, run.sidefile.oldest, run.sidefile.received));
    }),
    { numRuns: 2500 },
  );
  for (const [state, count] of Object.entries(reached))
    assert.ok(count > 10, `${state} was reached ${count} times: the runs try too little`);
});
