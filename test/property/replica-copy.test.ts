// A whole copy while the primary goes on writing: records and images share one ordered link, everything in the background ends when chance will,
// and the mirror may die at any moment. It must never call itself consistent with anything but the content of a moment of the primary.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_BYTES, type Seq } from '../../src/core/base/units.ts';
import { chance } from '../support/records.ts';
import { assertSame, ReplicaRig, SMALL_BLOCKS, VOLUMES, WIDE_BLOCKS, write, zero } from '../support/replica-rig.ts';

type Message =
  | { readonly kind: 'frame'; readonly bytes: Uint8Array }
  | {
      readonly kind: 'image';
      readonly volume: number;
      readonly offset: number;
      readonly content: Uint8Array | { readonly zeroLength: number };
    }
  | { readonly kind: 'end'; readonly seq: Seq };

const IMAGE_BYTES = 7 * BLOCK_BYTES;
const SIDEFILE_BYTES = 16 * 1024 * 1024;

class Copying {
  readonly primary = new ReplicaRig().start();
  readonly mirror: ReplicaRig;
  readonly dice: () => number;
  #link: Message[] = [];
  #volume = 0;
  #offset = 0;
  #reading = false;
  #imagesWriting = 0;
  #end: Seq | null = null;
  #ending = false;
  #session = 0;
  /** Whether the copy has ended: from then on the mirror must be consistent, whatever happens. */
  ended = false;
  /** What the mirror held before: kept, as long as it is staged beside it. */
  older: readonly Uint8Array[] | null = null;
  readonly #imageBytes: number | null;

  /** `older`: the mirror has a volume before, and so many blocks of space beyond what it needs by all means. */
  constructor(seed: number, older: { readonly spareBlocks: number; readonly imageBytes: number | null } | null = null) {
    this.dice = chance(seed);
    this.mirror = new ReplicaRig({ capacityBytes: SIDEFILE_BYTES });
    this.#imageBytes = older?.imageBytes ?? null;
    if (older === null) {
      // What lies in the bases before is anybody's.
      for (const { baseFile, sizeBytes } of VOLUMES) this.mirror.disk.plant(baseFile, new Uint8Array(sizeBytes).fill(0x5a));
      this.mirror.create(false);
      this.mirror.open();
    } else {
      this.#makeOlder();
    }
    for (let i = 0; i < 12; i++) this.#append();
    this.primary.replica.commit(8);
    if (this.dice() < 0.5) this.primary.wait((done) => this.primary.replica.drain(done));
    const { disk } = this.mirror;
    // What the sidefile may take, both bases whole, and some blocks for the tables beside them.
    if (older !== null)
      disk.spaceBytes = disk.usedBytes + SIDEFILE_BYTES + (SMALL_BLOCKS + WIDE_BLOCKS + 16 + older.spareBlocks) * BLOCK_BYTES;
    this.begin(older !== null);
  }

  #makeOlder(): void {
    const { mirror } = this;
    mirror.start();
    for (let i = 0; i < 6; i++) mirror.write(i % 2, Math.floor(this.dice() * 16), 4, 0x80 + i);
    mirror.replica.commit(mirror.replica.marks.received);
    this.older = mirror.reference.now.bytes.map((bytes) => bytes.slice());
  }

  /** Whether the mirror has given the volume up that it had. */
  get unstaged(): boolean {
    return this.mirror.journal.includes('copy.unstaged');
  }

  /** The mirror joins: by a whole copy unless it is consistent already. */
  begin(afresh = false): void {
    const { primary, mirror } = this;
    this.#session++;
    this.#link = [];
    this.#reading = false;
    this.#imagesWriting = 0;
    this.#end = null;
    this.#ending = false;
    const { epoch, history, chain, marks } = primary.replica;
    if (mirror.replica.consistent && !afresh) {
      const cutTo = mirror.replica.marks.received;
      assert.equal(
        mirror.wait((done) => mirror.replica.adopt({ epoch, history, cutTo }, done)),
        'done',
      );
      for (const part of primary.replica.framesFrom(cutTo + 1, Infinity)?.parts ?? [])
        this.#link.push({ kind: 'frame', bytes: part.slice() });
      return;
    }
    assert.equal(this.ended, false, 'what was consistent stays so');
    this.#volume = 0;
    this.#offset = 0;
    assert.equal(
      mirror.wait((done) => {
        const begin = { epoch, history, position: marks.received, chain, rung: 'copy', imageBytes: this.#imageBytes } as const;
        mirror.replica.receiver.begin(begin, done);
      }),
      null,
    );
    if (this.older === null || this.unstaged) assert.equal(mirror.replica.superblock.durableValue.staging, null);
    assert.equal(mirror.replica.consistent, false);
    assert.equal(mirror.replica.superblock.durableValue.consistent, false);
  }

  get copied(): boolean {
    return this.#volume === VOLUMES.length;
  }

  #append(): void {
    const volume = this.dice() < 0.5 ? 0 : 1;
    const blocks = volume === 0 ? SMALL_BLOCKS : WIDE_BLOCKS;
    const block = Math.floor(this.dice() * blocks);
    const kind = this.dice();
    const wide = Math.min(blocks - block, 1 + Math.floor(this.dice() * (kind > 0.9 ? 150 : 6)));
    const fill = 1 + (this.primary.reference.end % 80);
    const record = kind < 0.75 ? write(volume, block, Math.min(wide, 8), fill) : zero(kind < 0.85 ? 'zeroes' : 'trim', volume, block, wide);
    const bytes = this.primary.append([record]);
    if (this.#session > 0) this.#link.push({ kind: 'frame', bytes });
  }

  /** Sender: reads the next image, which goes behind everything that was sent before it was read. */
  #sendImage(): void {
    if (this.#reading || this.copied || this.mirror.replica.consistent) return;
    const { replica } = this.primary;
    const volume = this.#volume;
    const range = replica.imageRanges(volume, this.#offset, IMAGE_BYTES);
    if (range === null) {
      this.#volume++;
      this.#offset = 0;
      if (this.copied) this.#link.push({ kind: 'end', seq: replica.marks.received });
      return;
    }
    this.#offset = range.offset + range.length;
    if (range.zero) {
      this.#link.push({ kind: 'image', volume, offset: range.offset, content: { zeroLength: range.length } });
      return;
    }
    assert(range.length <= IMAGE_BYTES);
    this.#reading = true;
    const session = this.#session;
    const into = new Uint8Array(range.length);
    replica.readCold(volume, range.offset, into, (_needSeq, failure) => {
      assert.equal(failure, null);
      if (session !== this.#session) return;
      this.#reading = false;
      this.#link.push({ kind: 'image', volume, offset: range.offset, content: into });
    });
  }

  /** Receiver: takes what comes next on the link. */
  #receive(): void {
    const message = this.#link.shift();
    if (message === undefined) return;
    const { replica } = this.mirror;
    if (message.kind === 'frame') {
      assert.equal(replica.accept(message.bytes).kind, 'appended');
    } else if (message.kind === 'end') {
      this.#end = message.seq;
    } else {
      const session = this.#session;
      this.#imagesWriting++;
      replica.receiver.writeImage(message.volume, message.offset, message.content, (failure) => {
        assert.equal(failure, null);
        if (session === this.#session) this.#imagesWriting--;
      });
    }
    this.#finish();
  }

  #finish(): void {
    if (this.#end === null || this.#ending || this.#imagesWriting > 0) return;
    this.#ending = true;
    const session = this.#session;
    this.mirror.replica.receiver.end(this.#end, (failure) => {
      assert.equal(failure, null);
      assert.equal(session, this.#session);
      this.ended = true;
    });
  }

  step(): void {
    const { primary, mirror } = this;
    const act = this.dice();
    if (act < 0.2) this.#append();
    else if (act < 0.45) this.#sendImage();
    else if (act < 0.7) this.#receive();
    else if (act < 0.78) primary.storage.step(this.dice());
    else if (act < 0.86) mirror.storage.step(this.dice());
    else if (act < 0.9) primary.replica.commit(Math.min(primary.replica.marks.received, mirror.replica.marks.received));
    else if (act < 0.94) this.#work(primary);
    else if (act < 0.97) this.#work(mirror);
    else mirror.replica.commit(primary.replica.marks.committed);
    this.#finish();
  }

  #work(rig: ReplicaRig): void {
    rig.now += 200;
    rig.replica.work(rig.now);
  }

  /** The mirror dies and starts again. */
  die(power: boolean): void {
    const { mirror } = this;
    const { told } = mirror;
    const received = mirror.replica.marks.received;
    if (power) mirror.losePower(this.dice, this.dice());
    else mirror.crash();
    mirror.open();
    if (this.ended) assert(mirror.replica.consistent, 'what was consistent stays so');
    if (mirror.replica.consistent) assert(mirror.replica.marks.received >= (power ? told : received));
    mirror.told = 0;
    this.check();
  }

  /** A mirror that calls itself consistent holds what the primary held at some moment. */
  check(): void {
    const { replica } = this.mirror;
    const staged = replica.superblock.value.staging;
    if (this.older !== null && staged?.endSeq === null) {
      for (const [volume, { baseFile }] of VOLUMES.entries())
        assertSame(this.mirror.disk.contentOf(baseFile), this.older[volume] as Uint8Array, `the older volume in ${baseFile}`);
    }
    if (!replica.consistent) return;
    const content = this.primary.reference.contentAt(replica.marks.received);
    for (const volume of VOLUMES.keys()) this.mirror.checkContent(volume, content);
  }

  /** Lets everything come to its end; then both sides must be equal, in the bases too. */
  finish(): void {
    for (let i = 0; !this.ended || this.#link.length > 0; i++) {
      assert(i < 10_000, 'a copy ends');
      this.#sendImage();
      this.primary.storage.settle();
      this.#receive();
      this.mirror.storage.settle();
      this.#finish();
    }
    this.check();
    const { primary, mirror } = this;
    assert.deepEqual(mirror.replica.end, primary.replica.end);
    assert.equal(mirror.replica.chain, primary.replica.chain);
    mirror.replica.commit(mirror.replica.marks.received);
    assert.equal(
      mirror.wait((done) => mirror.replica.drain(done)),
      null,
    );
    for (const [volume, { baseFile }] of VOLUMES.entries()) {
      assertSame(mirror.disk.contentOf(baseFile), primary.reference.now.bytes[volume] as Uint8Array, `the mirror's ${baseFile}`);
    }
    assert.deepEqual([...primary.failures, ...mirror.failures], []);
  }
}

test('a mirror that is filled by a whole copy holds what the primary held, and never claims less than that', () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.integer({ min: 0, max: 500 }),
      fc.array(fc.tuple(fc.integer({ min: 1, max: 400 }), fc.boolean()), { maxLength: 3 }),
      (seed, steps, deaths) => {
        const copying = new Copying(seed);
        for (let i = 0; i < steps; i++) copying.step();
        for (const [after, power] of deaths) {
          copying.check();
          copying.die(power);
          copying.begin();
          for (let i = 0; i < after; i++) copying.step();
        }
        copying.check();
        copying.finish();
      },
    ),
    { numRuns: 40 },
  );
});

/** Copies to a mirror that has a volume, on a disk with more or less space: how often the volume was kept, given up, and not kept at all. */
function copyBeside(runs: {
  seed: number;
  spareBlocks: number;
  imageBlocks: number | null;
  steps: number;
  deaths: [number, boolean][];
}): string {
  const { seed, spareBlocks, imageBlocks, steps, deaths } = runs;
  const copying = new Copying(seed, { spareBlocks, imageBytes: imageBlocks === null ? null : imageBlocks * BLOCK_BYTES });
  const begun = copying.unstaged ? 'not kept' : 'kept';
  for (let i = 0; i < steps; i++) {
    copying.step();
    if (i % 16 === 0) copying.check();
  }
  for (const [after, power] of deaths) {
    copying.die(power);
    copying.begin();
    for (let i = 0; i < after; i++) copying.step();
  }
  copying.check();
  copying.finish();
  return begun === 'kept' && copying.unstaged ? 'given up' : begun;
}

for (const [outcome, spareBlocks, imageBlocks] of [
  ['kept', 400, null],
  ['not kept', -80, null],
  ['given up', -250, 4],
] as const)
  test(`with ${spareBlocks} blocks of space to spare the volume that a mirror had is ${outcome}`, () => {
    assert.equal(copyBeside({ seed: 3, spareBlocks, imageBlocks, steps: 300, deaths: [] }), outcome);
  });

test('a mirror keeps the volume that it had as far as there is space for both, and is never short of space for its sidefile', () => {
  fc.assert(
    fc.property(
      fc.record({
        seed: fc.integer(),
        spareBlocks: fc.integer({ min: -80, max: 400 }),
        imageBlocks: fc.option(fc.integer({ min: 0, max: 64 })),
        steps: fc.integer({ min: 0, max: 300 }),
        deaths: fc.array(fc.tuple(fc.integer({ min: 1, max: 200 }), fc.boolean()), { maxLength: 2 }),
      }),
      (runs) => void copyBeside(runs),
    ),
    { numRuns: 15 },
  );
});

test('a mirror whose copy has ended goes on from what it has after a power loss', () => {
  const copying = new Copying(5);
  copying.finish();
  copying.die(true);
  assert.equal(copying.mirror.replica.consistent, true);
  copying.begin();
  copying.finish();
});
