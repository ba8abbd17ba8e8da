// Folding against a plain reference, whatever is written and whatever happens to the mirror: what came folded is what would have come unfolded, and
// after each event and each restart the mirror is as of the end of a step, never of a record within one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Folder, type FoldingCount } from '../../src/core/mirror/fold.ts';
import { coverFault } from '../../src/core/replica/cover.ts';
import { readFrame } from '../../src/core/record/decode.ts';
import type { NewRecord } from '../../src/core/record/encode.ts';
import { FOLDED_BIT, FOLDING_BYTES, groupTagOf, payloadStartOf } from '../../src/core/record/layout.ts';
import { chance, digests } from '../support/records.ts';
import { frameView, GROUP_ID, ReplicaRig, SMALL_BLOCKS, write, zero } from '../support/replica-rig.ts';

const share = fc.integer({ min: 0, max: 999 }).map((thousandths) => thousandths / 1000);
const action = fc.record({ act: share, a: share, b: share, c: share });
type Action = { readonly act: number; readonly a: number; readonly b: number; readonly c: number };

const below = (limit: number, part: number): number => Math.floor(part * limit);
const GROUP_TAG = groupTagOf(GROUP_ID, digests);

/** Records of a few places, so that most are soon written over; of different lengths, so that some are covered in part only. */
function recordFrom(part: number, number: number): NewRecord {
  const dice = chance(below(1e9, part) + number);
  const block = below(12, dice());
  const blockCount = Math.min(SMALL_BLOCKS - block, 1 + below(dice() < 0.2 ? 8 : 2, dice()));
  const volume = dice() < 0.8 ? 0 : 1;
  const kind = dice();
  if (kind < 0.8) return write(volume, block, blockCount, 1 + (number % 255));
  return zero(kind < 0.9 ? 'zeroes' : 'trim', volume, block, kind > 0.97 ? SMALL_BLOCKS - block : blockCount);
}

/** A primary and a mirror of it. */
class Run {
  readonly source: ReplicaRig = new ReplicaRig({ capacityBytes: 64 * 1024 * 1024 }).start();
  readonly mirror: ReplicaRig = new ReplicaRig({ capacityBytes: 64 * 1024 * 1024 });
  readonly count: FoldingCount = { frames: 0, records: 0, savedBytes: 0 };
  readonly folder: Folder;
  readonly #dice: () => number;
  /** Last records of the steps that the mirror was given. */
  readonly #ends = new Set<number>();
  /** Records within steps. */
  readonly #within = new Set<number>();
  #durable = 0;

  constructor(seed: number) {
    this.#dice = chance(seed);
    this.source.replica.retainFrom = 1;
    this.mirror.create();
    this.mirror.open();
    const { epoch, history } = this.source.replica;
    assert.equal(
      this.mirror.wait((done) => this.mirror.replica.adopt({ epoch, history, cutTo: 0 }, done)),
      'done',
    );
    const { count } = this;
    const { buffers } = this.source;
    this.folder = new Folder({ millis: 100, count, buffers, digests, groupTag: GROUP_TAG, segmentBytes: 512 * 1024 });
  }

  take({ act, a, b, c }: Action): void {
    const { replica } = this.mirror;
    if (act < 0.45) this.#append(a, b);
    else if (act < 0.55) this.source.replica.commit(below(this.source.replica.marks.received + 1, Math.sqrt(a)));
    else if (act < 0.7) this.ship(c < 0.3);
    else if (act < 0.75) replica.flush();
    else if (act < 0.85) for (let i = below(6, a); i >= 0; i--) this.mirror.storage.step(b);
    else if (act < 0.92) this.#work(below(300, a));
    else if (act < 0.94) this.#drain();
    else this.#restart(a < 0.5, b);
    this.check();
  }

  #append(a: number, b: number): void {
    for (let frames = below(3, a); frames >= 0; frames--) {
      const { end } = this.source.reference;
      this.source.now += below(1000, b);
      const records: NewRecord[] = [];
      for (let i = below(4, b); i >= 0; i--) records.push(recordFrom(a, end + i + 1));
      this.source.append(records);
    }
  }

  /** Sends what is committed, and with `all` the rest as it is. */
  ship(all: boolean): void {
    const { replica } = this.source;
    const next = (): number => this.mirror.replica.marks.received + 1;
    for (let parts = this.#folded(next()); parts.length > 0; parts = this.#folded(next())) {
      for (const part of parts) {
        this.#accept(part.bytes.slice());
        part.release();
      }
    }
    if (!all) return;
    for (let run = replica.framesFrom(next(), 4096); run !== null; run = replica.framesFrom(next(), 4096)) {
      for (const part of run.parts) {
        this.#accept(part.slice());
        run.release();
      }
    }
  }

  #folded(seq: number): ReturnType<Folder['next']> {
    return this.folder.next(this.source.replica, seq, this.source.replica.marks.committed, []);
  }

  #accept(bytes: Uint8Array): void {
    const frame = frameView(bytes);
    assert.deepEqual(this.mirror.replica.accept(bytes), { kind: 'appended', lastSeq: frame.lastSeq });
    if (frame.isFolded) {
      assert(frame.lastSeq <= this.source.replica.marks.committed, 'only what is committed is folded');
      assert.equal(this.mirror.replica.marks.committed, frame.lastSeq);
      for (let seq = frame.firstSeq; seq < frame.lastSeq; seq++) this.#within.add(seq);
    }
    this.#ends.add(frame.lastSeq);
    for (let index = 0; index < frame.recordCount; index++)
      assert.equal(frame.timeAt(index), this.source.replica.timeAt(frame.firstSeq + index), 'each record keeps its time');
  }

  #work(millis: number): void {
    this.mirror.now += millis;
    this.mirror.replica.work(this.mirror.now);
  }

  #drain(): void {
    assert.equal(
      this.mirror.wait((done) => this.mirror.replica.drain(done)),
      null,
    );
    this.mirror.checkDigests();
  }

  #restart(powerLost: boolean, keep: number): void {
    const { mirror } = this;
    this.#durable = mirror.replica.marks.durable;
    if (powerLost) mirror.losePower(this.#dice, keep);
    else mirror.crash();
    mirror.open();
    const { received } = mirror.replica.marks;
    assert(received >= this.#durable, 'what was durable is there');
    assert(received === 0 || this.#ends.has(received), `a restart ends with a step, not with record ${received}`);
    // What is lost comes again, and may be folded otherwise.
    for (const seq of this.#within) if (seq > received) this.#within.delete(seq);
  }

  check(): void {
    const { replica } = this.mirror;
    const content = this.source.reference.contentAt(replica.marks.received);
    for (const volume of [0, 1]) this.mirror.checkContent(volume, content);
    for (const [name, seq] of Object.entries(replica.marks)) {
      if (name !== 'oldest') assert(!this.#within.has(seq), `${name} is record ${seq}, within a step`);
    }
    for (const seq of this.#within) if (seq >= replica.marks.oldest) assert(!replica.endsAt(seq), `record ${seq} is within a step`);
    const { committed } = this.source.replica.marks;
    if (replica.marks.committed > committed) assert.fail(`record ${replica.marks.committed} is not committed, only ${committed}`);
  }

  end(): void {
    this.source.replica.commit(this.source.replica.marks.received);
    this.ship(true);
    this.mirror.replica.commit(this.mirror.replica.marks.received);
    this.#drain();
    this.check();
    assert.equal(this.mirror.replica.chain, this.source.replica.chain);
    assert.equal(this.source.buffers.taken, 0, 'memory is given back');
  }
}

test('a mirror that is sent folded frames is what it would be otherwise, through crashes and losses of power', () => {
  let records = 0;
  fc.assert(
    fc.property(fc.array(action, { minLength: 30, maxLength: 80 }), fc.nat(), (actions, seed) => {
      const run = new Run(seed);
      for (const each of actions) run.take(each);
      run.end();
      records += run.count.records;
    }),
    { numRuns: 30 },
  );
  assert(records > 200, `${records} records were folded in all`);
});

/** A folded frame of a few records, some of which are covered. */
function foldedFrame(): Uint8Array {
  const run = new Run(1);
  for (const block of [0, 1, 0, 2, 1, 0]) run.source.write(0, block, 1, block + 1);
  run.source.replica.commit(6);
  const [part] = run.folder.next(run.source.replica, 1, 6, []);
  assert(part !== undefined && part.isFolded);
  return part.bytes.slice();
}

test('a folded frame with any byte changed is found out, and so is one that ends early', () => {
  const bytes = foldedFrame();
  for (let at = 0; at < bytes.length; at += at < 400 ? 1 : 97) {
    const changed = bytes.slice();
    changed[at] = (changed[at] as number) ^ 0x11;
    const check = readFrame(changed, 0, { groupTag: GROUP_TAG, checkPayload: true, digests });
    assert.notEqual(check.kind, 'frame', `byte ${at}`);
  }
  for (let length = 0; length < bytes.length; length += 61)
    assert.equal(readFrame(bytes.subarray(0, length), 0, { groupTag: GROUP_TAG, checkPayload: true, digests }).kind, 'short');
});

test('a record that came without its payload, and that nothing covers, is told', () => {
  const bytes = foldedFrame();
  const frame = frameView(bytes);
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5].filter((index) => frame.foldedAt(index)),
    [0, 1, 2],
  );
  assert.equal(coverFault(frame), null);
  const view = new DataView(bytes.buffer);
  const foldings = payloadStartOf(frame.recordCount, true) - frame.recordCount * FOLDING_BYTES;
  view.setUint32(foldings + 5 * FOLDING_BYTES, FOLDED_BIT, true);
  assert.match(coverFault(frame) ?? '', /record 6 came without its payload, and later ones do not cover it/);
});
