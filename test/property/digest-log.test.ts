// The digests of a base image against a model: whatever is noted, given back, flushed, cut off, and lost with the power, a digest that a flush has covered
// is there afterwards, and none is there that is of something older. What was noted since is of blocks that the overlay covers: a start forgets it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { DiskFailure } from '../../src/core/base/ports.ts';
import { DigestLog, type DigestLogOptions, type LogPlace } from '../../src/core/replica/digest-log.ts';
import { DigestTable } from '../../src/core/replica/digest-table.ts';
import { MemoryStorage } from '../support/memory-storage.ts';
import { chance, digests } from '../support/records.ts';
import { StepStorage } from '../support/step-storage.ts';

const BLOCKS = 1500;
const UNKNOWN = -1;

type Step =
  | { kind: 'apart' | 'run' | 'clear' | 'churn'; block: number; count: number; digest: number }
  | { kind: 'fill' | 'writeBack' | 'flush' | 'twoFlushes' | 'settle' | 'crash' | 'flushFails' }
  | { kind: 'go'; share: number }
  | { kind: 'powerLoss'; seed: number; keepShare: number; churn: boolean; again: boolean };

// Few places, so that the same ones come again.
const place = fc.oneof(fc.nat(6), fc.nat(40), fc.constantFrom(500, 511, 512, 513, 1023, 1024, 1400));
// Few digests, so that a start may note the very same ones as one before it.
const digest = fc.integer({ min: 1, max: 3 });
const share = fc.double({ min: 0, max: 0.99, noNaN: true });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ kind: fc.constant('apart' as const), block: place, count: fc.constantFrom(1, 1, 1, 3), digest }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('churn' as const), block: place, count: fc.constantFrom(2, 4, 8), digest }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('run' as const), block: place, count: fc.constantFrom(16, 40), digest }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('clear' as const), block: place, count: fc.constantFrom(1, 5, 100, 600), digest }),
  },
  { weight: 7, arbitrary: fc.record({ kind: fc.constantFrom('writeBack' as const, 'settle' as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('flush' as const, 'twoFlushes' as const) }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('go' as const), share }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('crash' as const, 'flushFails' as const, 'fill' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('powerLoss' as const),
      seed: fc.nat(),
      keepShare: fc.constantFrom(0, 0.3, 0.5, 0.7, 0.95, 1),
      churn: fc.boolean(),
      again: fc.boolean(),
    }),
  },
);

/** How often runs came to what they are meant to try. */
const reached = { merged: 0, begunAnew: 0, lost: 0, failed: 0 };

/** One table with its log, beside the truth. */
class Run {
  readonly #disk = new MemoryStorage();
  #storage = new StepStorage(this.#disk);
  readonly #options: DigestLogOptions;
  #table: DigestTable;
  readonly #truth = new Int32Array(BLOCKS).fill(UNKNOWN);
  /** When each block was noted last, counted in notes. */
  readonly #notedAt = new Float64Array(BLOCKS);
  #notes = 0;
  /** Notes up to here are on stable storage. */
  #flushed = 0;
  #failed = false;
  /** As a superblock would note it with a flush. */
  #place: LogPlace | null = null;
  #starts = 0;
  /** Whatever is here counts for nothing before a flush has ended. */
  #isFilled = false;
  /** What was done since the last flush. */
  #unflushed: Step[] = [];

  constructor(options: DigestLogOptions) {
    this.#options = options;
    this.#disk.forgetsOnFailure = true;
    this.#table = this.#open(null);
    this.#flush();
    this.#storage.settle();
  }

  #open(noted: LogPlace | null): DigestTable {
    this.#storage = new StepStorage(this.#disk);
    const storage = this.#storage;
    const open = (name: string) => storage.open(name, { create: true });
    const log = new DigestLog([open('log-0'), open('log-1')], digests, this.#options);
    const table = new DigestTable(open('table'), BLOCKS, { log, flush: (files, done) => storage.flush(files, done) });
    // A copy that is filled may have lost what it never counted on.
    const found = table.load(noted, ++this.#starts);
    assert.ok(found === 'sound' || this.#isFilled);
    return table;
  }

  /** As a storage whose base images keep digests does. */
  #flush(then: () => void = () => undefined): void {
    const table = this.#table;
    const notes = this.#notes;
    const ended = (failure: DiskFailure | null): void => {
      if (failure !== null) this.#failed = true;
      else {
        this.#flushed = Math.max(this.#flushed, notes);
        this.#place = table.logPlace;
        this.#isFilled = false;
        this.#unflushed = [];
      }
    };
    table.writeBack((unwritten) => {
      if (unwritten !== null) return ended(unwritten);
      const mark = table.mark();
      this.#storage.flush(table.unflushed, (failure) => {
        if (failure === null) table.flushed(mark);
        ended(failure);
      });
      then();
    });
  }

  #note(block: number, crc: number): void {
    this.#truth[block] = crc;
    this.#notedAt[block] = ++this.#notes;
  }

  apply(step: Step): void {
    if (step.kind === 'apart' || step.kind === 'run' || step.kind === 'clear') this.#unflushed.push(step);
    switch (step.kind) {
      case 'apart':
        for (let i = 0; i < step.count; i++) {
          this.#note(step.block + i, step.digest);
          this.#table.setApart(step.block + i, step.digest);
        }
        break;
      case 'churn':
        // Round after round, without a flush: entries go into the table, and files are begun anew.
        for (let i = 0; i < step.count; i++) {
          this.apply({ kind: 'apart', block: step.block + i, count: 1, digest: step.digest });
          this.#table.writeBack(() => undefined);
          this.#storage.settle();
        }
        break;
      case 'run': {
        const crcs = new Uint32Array(step.count).fill(step.digest + 10);
        for (let i = 0; i < step.count; i++) this.#note(step.block + i, crcs[i] as number);
        this.#table.setRun(step.block, crcs);
        break;
      }
      case 'clear': {
        const count = Math.min(step.count, BLOCKS - step.block);
        for (let i = 0; i < count; i++) this.#note(step.block + i, UNKNOWN);
        this.#table.clear(step.block, count);
        break;
      }
      case 'writeBack':
        this.#table.writeBack(() => undefined);
        break;
      case 'flush':
        this.#flush();
        break;
      case 'twoFlushes':
        // The second one begins while what was noted behind the first is being written, and does not cover it.
        this.#flush(() => {
          this.#note(3, 7 + (this.#notes % 5));
          this.#table.setApart(3, this.#truth[3] as number);
          this.#table.writeBack(() => undefined);
        });
        this.#flush();
        break;
      case 'settle':
        this.#storage.settle();
        break;
      case 'go':
        this.#storage.step(step.share);
        break;
      case 'flushFails':
        this.#failFlush();
        break;
      case 'fill':
        // From here on it is inconsistent, as one that is filled by a resync, until a flush has ended.
        this.#isFilled = true;
        this.#restart(() => this.#disk.restart());
        break;
      case 'crash':
        this.#restart(() => this.#disk.restart());
        break;
      case 'powerLoss':
        reached.lost++;
        if (step.churn) this.apply({ kind: 'churn', block: 0, count: 10, digest: 1 });
        this.#restart(() => this.#disk.losePower(chance(step.seed), step.keepShare), step.again);
        break;
      default:
        throw new Error(`unknown step ${JSON.stringify(step satisfies never)}`);
    }
    this.#check(0, 60);
  }

  /** A flush fails: what it should have brought to stable storage is visible, and never comes there by itself. The copy's daemon ends. */
  #failFlush(): void {
    this.#disk.faultAt = (operation) => (operation === 'flush' ? 'EIO' : null);
    this.#flush();
    this.#storage.settle();
    this.#disk.faultAt = null;
    if (!this.#failed) return;
    reached.failed++;
    this.#restart(() => this.#disk.restart());
  }

  #restart(end: () => void, again = false): void {
    this.#storage.forget();
    end();
    this.#failed = false;
    this.#table = this.#open(this.#place);
    const isSettled = (block: number): boolean => !this.#isFilled && (this.#notedAt[block] as number) <= this.#flushed;
    if (this.#isFilled) this.#table.reset();
    for (let block = 0; block < BLOCKS; block++) if (isSettled(block)) this.#checkOne(block);
    for (let block = 0; block < BLOCKS; block++) {
      if (isSettled(block)) continue;
      if (!this.#isFilled) this.#table.clear(block, 1);
      this.#note(block, UNKNOWN);
    }
    this.#check(0, 60);
    // As records that are destaged again.
    const unflushed = this.#unflushed.splice(0);
    for (const step of again ? unflushed : []) this.apply(step);
  }

  #checkOne(block: number): void {
    const snapshot = this.#table.snapshot(block, 1);
    this.#table.file.read(snapshot.part.offset, snapshot.part.bytes);
    const known = snapshot.at(block);
    const found = known.kind === 'known' ? known.crc : UNKNOWN;
    assert.notEqual(known.kind, 'damaged', `block ${block}`);
    assert.equal(found, this.#truth[block], `block ${block}`);
  }

  #check(from: number, to: number): void {
    for (let block = from; block < to; block++) this.#checkOne(block);
  }

  end(): void {
    this.#storage.settle();
    this.#check(0, BLOCKS);
    this.#flush();
    this.#storage.settle();
    this.#restart(() => this.#disk.losePower(() => 1));
    this.#check(0, BLOCKS);
    const generation = Math.max(...[0, 1].map((index) => this.#disk.contentOf(`log-${index}`)[8] ?? 0));
    if (generation > 2) reached.begunAnew++;
    if (this.#disk.contentOf('table').some((byte) => byte !== 0)) reached.merged++;
  }
}

test('digests that a flush has covered are there after any crash, and none that is older', () => {
  const options = fc.record({
    entriesMax: fc.constantFrom(0, 1, 1, 3, 10),
    fileBytes: fc.constantFrom(2 * 4096, 2 * 4096, 3 * 4096, 6 * 4096),
  });
  fc.assert(
    fc.property(options, fc.array(step, { minLength: 20, maxLength: 150 }), (how, steps) => {
      const run = new Run(how);
      for (const one of steps) run.apply(one);
      run.end();
    }),
    { numRuns: 1000 },
  );
  for (const [what, count] of Object.entries(reached)) assert.ok(count > 20, `${what} was tried ${count} times`);
});
