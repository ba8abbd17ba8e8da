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

  constructor(seed: number) {
    this.dice = chance(seed);
    this.mirror = new ReplicaRig();
    // What lies in the bases before is anybody's.
    for (const { baseFile, sizeBytes } of VOLUMES) this.mirror.disk.plant(baseFile, new Uint8Array(sizeBytes).fill(0x5a));
    this.mirror.create(false);
    this.mirror.open();
    for (let i = 0; i < 12; i++) this.#append();
    this.primary.replica.commit(8);
    if (this.dice() < 0.5) this.primary.wait((done) => this.primary.replica.drain(done));
    this.begin();
  }

  /** The mirror joins: by a whole copy unless it is consistent already. */
  begin(): void {
    const { primary, mirror } = this;
    this.#session++;
    this.#link = [];
    this.#reading = false;
    this.#imagesWriting = 0;
    this.#end = null;
    this.#ending = false;
    const { epoch, history, chain, marks } = primary.replica;
    if (mirror.replica.consistent) {
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
      mirror.wait((done) => mirror.replica.receiver.begin({ epoch, history, position: marks.received, chain, rung: 'copy' }, done)),
      null,
    );
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
    replica.readImage(volume, range.offset, into, (failure) => {
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

test('a mirror whose copy has ended goes on from what it has after a power loss', () => {
  const copying = new Copying(5);
  copying.finish();
  copying.die(true);
  assert.equal(copying.mirror.replica.consistent, true);
  copying.begin();
  copying.finish();
});
