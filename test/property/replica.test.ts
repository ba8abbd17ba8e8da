// The replica against a plain reference, whatever happens in whatever order: writes of all kinds, flushes, destaging, cold reads, cut-backs,
// crashes of the program and of the machine. After each restart it must hold exactly what a prefix of the records says, and no flushed record
// may be missing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BLOCK_BYTES } from '../../src/core/base/units.ts';
import type { NewRecord } from '../../src/core/record/encode.ts';
import { RECORD_KIND } from '../../src/core/record/layout.ts';
import type { Adoption } from '../../src/core/replica/options.ts';
import { Killed } from '../support/memory-storage.ts';
import { chance } from '../support/records.ts';
import { assertSame, ReplicaRig, SMALL_BLOCKS, VOLUMES, WIDE_BLOCKS, write, zero } from '../support/replica-rig.ts';

const share = fc.double({ min: 0, max: 0.999, noNaN: true });
const action = fc.record({ act: share, a: share, b: share, c: share });
type Action = { readonly act: number; readonly a: number; readonly b: number; readonly c: number };

const below = (limit: number, part: number): number => Math.floor(part * limit);

/** A record that touches few places often and wide ranges now and then. */
function recordFrom({ a, b, c }: Action, fill: number): NewRecord {
  const volume = a < 0.6 ? 0 : 1;
  const blocks = volume === 0 ? SMALL_BLOCKS : WIDE_BLOCKS;
  const block = below(blocks, b);
  const wide = volume === 1 && c > 0.7;
  const blockCount = Math.min(blocks - block, 1 + below(wide ? 200 : 5, (c * 7) % 1));
  const kind = (a * 10) % 1;
  if (kind < 0.7) return write(volume, block, Math.min(blockCount, 12), 1 + (fill % 255));
  return zero(kind < 0.85 ? 'zeroes' : 'trim', volume, block, blockCount);
}

interface Expected {
  readonly into: Uint8Array;
  readonly wanted: Uint8Array;
}

/** One run: carries out the actions on a rig. */
class Run {
  readonly rig: ReplicaRig;
  readonly #dice: () => number;
  #cold: Expected[] = [];

  constructor(seed: number) {
    this.#dice = chance(seed);
    this.rig = new ReplicaRig({ cutStepBytes: seed % 3 === 0 ? undefined : 1 }).start();
  }

  take(action: Action): void {
    const { rig } = this;
    const { replica } = rig;
    const { act, a, b } = action;
    if (act < 0.3) this.#append(action);
    else if (act < 0.36) this.#unaligned(action);
    else if (act < 0.46) replica.commit(below(replica.marks.received + 1, a));
    else if (act < 0.52) replica.flush();
    else if (act < 0.66) for (let i = below(6, a); i >= 0; i--) rig.storage.step(b);
    else if (act < 0.74) this.#work(below(300, a));
    else if (act < 0.78) this.#readCold(action);
    else if (act < 0.82) this.#retain(action);
    else if (act < 0.85) this.#drain();
    else if (act < 0.9) this.#cut(a);
    else if (act < 0.94) this.#crash();
    else if (act < 0.97) this.#losePower(a);
    else this.#stop(b > 0.5);
    this.#invariants();
  }

  #append(action: Action): void {
    if (this.rig.replica.full) return;
    const records: NewRecord[] = [];
    for (let i = below(4, action.c); i >= 0; i--) {
      records.push(
        recordFrom({ ...action, a: (action.a + i * 0.37) % 1, b: (action.b + i * 0.11) % 1 }, this.rig.reference.end + i * 7 + 1),
      );
    }
    this.rig.append(records);
  }

  #unaligned({ a, b, c }: Action): void {
    const { rig } = this;
    const { sizeBytes } = VOLUMES[0];
    const offset = below(sizeBytes - 1, b);
    const length = Math.min(sizeBytes - offset, 1 + below(3 * BLOCK_BYTES, c));
    const kind = a < 0.6 ? RECORD_KIND.write : a < 0.8 ? RECORD_KIND.zeroes : RECORD_KIND.trim;
    const payload = kind === RECORD_KIND.write ? new Uint8Array(length).fill(rig.reference.end & 0xff) : null;
    const wanted = rig.reference.now.bytes[0]?.slice() as Uint8Array;
    if (kind !== RECORD_KIND.trim) wanted.fill(payload?.[0] ?? 0, offset, offset + length);
    const records = rig.replica.align({ kind, volume: 0, offset, length, payload });
    if (records.length === 0) return;
    rig.append(records);
    if (kind === RECORD_KIND.trim) return;
    const got = new Uint8Array(sizeBytes);
    rig.replica.read(0, 0, got);
    assertSame(got, wanted, 'after an unaligned request');
  }

  #work(millis: number): void {
    this.rig.now += millis;
    this.rig.replica.work(this.rig.now);
  }

  #readCold({ a, b, c }: Action): void {
    const { rig } = this;
    const volume = a < 0.5 ? 0 : 1;
    const { sizeBytes } = VOLUMES[volume];
    const offset = below(sizeBytes, b);
    const into = new Uint8Array(Math.min(sizeBytes - offset, 1 + below(8 * BLOCK_BYTES, c)));
    const wanted = rig.reference.now.bytes[volume]?.slice(offset, offset + into.length) as Uint8Array;
    const writers = rig.reference.now.writers[volume] as Float64Array;
    const needed = rig.needSeq(writers, Math.floor(offset / BLOCK_BYTES), Math.ceil((offset + into.length) / BLOCK_BYTES));
    const expected = { into, wanted };
    this.#cold.push(expected);
    rig.replica.readCold(volume, offset, into, (needSeq, failure) => {
      assert.equal(failure, null);
      assert.equal(needSeq, needed);
      assertSame(into, wanted, `a cold read of volume ${volume} at ${offset}`);
      this.#cold = this.#cold.filter((one) => one !== expected);
    });
  }

  #retain({ a, b }: Action): void {
    const { replica } = this.rig;
    if (a < 0.3) replica.retainFrom = Infinity;
    else if (a < 0.6) replica.retainFrom = Math.max(replica.retainFrom, below(replica.marks.received + 2, b));
    else replica.retainFrom = below(replica.marks.received + 2, b);
  }

  #drain(): void {
    const { rig } = this;
    const { committed } = rig.replica.marks;
    assert.equal(
      rig.wait((done) => rig.replica.drain(done)),
      null,
    );
    assert(rig.replica.marks.destaged >= committed);
    rig.checkDigests();
  }

  /** Joins another primary, which has less. */
  #cut(part: number): void {
    const { rig } = this;
    const { committed, destageTarget, received } = rig.replica.marks;
    const least = Math.max(committed, destageTarget);
    const cutTo = least + below(received - least + 1, part);
    const epoch = rig.replica.epoch + 1;
    // Epochs whose records are all behind the cut are none of the new primary's.
    const history = [...rig.replica.history.filter(({ firstSeq }) => firstSeq <= cutTo + 1), { epoch, firstSeq: cutTo + 1 }];
    let result: Adoption | null = null;
    rig.replica.adopt({ epoch, history, cutTo }, (adoption) => {
      result = adoption;
    });
    // The program may end at any moment of it.
    const crashes = this.#dice() < 0.2;
    while (result === null) {
      // Until everything that stays was looked through it is what it was.
      if (rig.replica.marks.received > cutTo && this.#dice() < 0.3) rig.check();
      if (crashes && this.#dice() < 0.2) {
        rig.crash();
        return this.#reopen(cutTo);
      }
      if (this.#dice() < 0.5) rig.storage.step(this.#dice());
      else this.#work(below(100, this.#dice()));
    }
    assert.equal(result, 'done');
    rig.reference.cutTo(cutTo);
    rig.told = Math.min(rig.told, cutTo);
    assert.equal(rig.replica.marks.received, cutTo);
  }

  #crash(): void {
    const { received } = this.rig.replica.marks;
    this.rig.crash();
    this.#reopen(received);
    assert.equal(this.rig.replica.unclean, false);
  }

  #losePower(keepShare: number): void {
    const { told } = this.rig;
    this.rig.losePower(this.#dice, keepShare);
    this.#reopen(told);
    assert.equal(this.rig.replica.unclean, true);
    assert.equal(
      this.rig.wait((done) => this.rig.replica.markClean(done)),
      null,
    );
  }

  #stop(power: boolean): void {
    const { rig } = this;
    const { received } = rig.replica.marks;
    assert.equal(
      rig.wait((done) => rig.replica.close({ clean: true }, done)),
      null,
    );
    assert.equal(rig.buffers.taken, 0);
    if (power) rig.losePower(this.#dice);
    else rig.crash();
    this.#reopen(received);
    assert.equal(rig.replica.unclean, false);
  }

  /** Opens again; a new reign begins before anything is written, as in the whole program. */
  #reopen(least: number): void {
    this.#cold = [];
    this.rig.open();
    this.rig.takeBack(least);
    this.rig.check();
    this.rig.beginEpoch();
  }

  #invariants(): void {
    const { rig } = this;
    assert.deepEqual(rig.failures, []);
    assert.equal(rig.replica.marks.received, rig.reference.end);
    assert(rig.replica.marks.durable >= rig.told);
    rig.checkContent(0, rig.reference.now);
    if (rig.reference.end % 5 === 0) rig.check();
  }

  finish(): void {
    const { rig } = this;
    rig.check();
    rig.storage.settle();
    assert.equal(this.#cold.length, 0, 'every cold read has ended');
    rig.check();
    rig.replica.commit(rig.reference.end);
    assert.equal(
      rig.wait((done) => rig.replica.drain(done)),
      null,
    );
    for (const [volume, { baseFile }] of VOLUMES.entries()) {
      assertSame(rig.disk.contentOf(baseFile), rig.reference.now.bytes[volume] as Uint8Array, `the base ${baseFile} after a drain`);
    }
    assert.equal(rig.replica.backlogBytes, 0);
    assert.equal(rig.buffers.taken, 0);
  }
}

test('a replica holds what its records say, through flushes, destaging, cut-backs, crashes and power losses', () => {
  fc.assert(
    fc.property(fc.integer(), fc.array(action, { minLength: 1, maxLength: 120, size: 'max' }), (seed, actions) => {
      const run = new Run(seed);
      for (const one of actions) run.take(one);
      run.finish();
    }),
    { numRuns: 50 },
  );
});

/** A short life: writes, a flush, destaging in two passes, a cut-back. Deterministic, so that it can be killed at each of its calls. */
function shortLife(rig: ReplicaRig): void {
  rig.create();
  rig.open();
  rig.beginEpoch();
  rig.append([write(0, 1, 3, 0x11), zero('trim', 1, 3, 90), write(1, 40, 2, 0x12)]);
  rig.replica.flush();
  rig.write(0, 2, 1, 0x13);
  rig.storage.settle();
  rig.replica.commit(4);
  rig.replica.drain(() => undefined);
  rig.storage.step();
  rig.append([write(0, 2, 2, 0x14), zero('zeroes', 0, 1, 1)]);
  rig.storage.settle();
  rig.write(1, 200, 9, 0x15);
  cutTo(rig, 6);
  rig.write(1, 41, 2, 0x16);
  rig.replica.commit(7);
  rig.wait((done) => rig.replica.drain(done));
  rig.write(0, 0, 1, 0x17);
  rig.wait((done) => rig.replica.close({ clean: true }, done));
}

function cutTo(rig: ReplicaRig, seq: number): void {
  const epoch = rig.replica.epoch + 1;
  const history = [...rig.replica.history, { epoch, firstSeq: seq + 1 }];
  // From here on the tail may be gone or, until the superblock says so, be there.
  lifeCut = { seq, before: rig.reference.records.slice() };
  rig.wait((done) => rig.replica.adopt({ epoch, history, cutTo: seq }, done));
  rig.reference.cutTo(seq);
  rig.told = Math.min(rig.told, seq);
  lifeCut = null;
}

let lifeCut: { seq: number; before: NewRecord[] } | null = null;

/** Opens what a death left behind; a second life on it must work. False when no replica had been made yet. */
function checkAfter(rig: ReplicaRig, least: number): boolean {
  const opened = rig.tryOpen();
  if (opened === 'absent') {
    assert.equal(rig.reference.end, 0);
    return false;
  }
  assert.equal(opened, 'ready');
  rig.takeBack(least);
  rig.check();
  rig.beginEpoch();
  rig.write(0, 3, 2, 0x77);
  rig.replica.commit(rig.reference.end);
  assert.equal(
    rig.wait((done) => rig.replica.drain(done)),
    null,
  );
  rig.check();
  assertSame(rig.disk.contentOf('base-small'), rig.reference.now.bytes[0] as Uint8Array, 'the small base');
  assertSame(rig.disk.contentOf('base-wide'), rig.reference.now.bytes[1] as Uint8Array, 'the wide base');
  rig.checkDigests();
  return true;
}

/** Lives until the given call, then dies. False when life ended before. */
function dieAt(rig: ReplicaRig, call: number, tornShare: number): boolean {
  lifeCut = null;
  rig.disk.killAt = call;
  rig.disk.tornShare = tornShare;
  try {
    shortLife(rig);
    return false;
  } catch (error) {
    if (!(error instanceof Killed)) throw error;
    // The append that was under way may have reached the sidefile.
    rig.reference.adoptPending();
    return true;
  }
}

test('killed at any call to the disk, a replica comes back with every record that it had appended', () => {
  let call = 0;
  for (let alive = true; alive; call++) {
    const rig = new ReplicaRig();
    alive = dieAt(rig, call, call % 3 === 0 ? 0.5 : call % 3 === 1 ? 0 : 1);
    const least = lifeCut === null ? rig.reference.least : lifeCut.seq;
    rig.crash();
    checkAfter(rig, least);
  }
  assert(call > 60, `the short life has ${call} calls`);
});

test('power lost at any call to the disk, a replica comes back with every record that it had said to be durable', () => {
  let call = 0;
  for (let alive = true; alive; call++) {
    for (const keepShare of [0, 0.5, 1]) {
      const rig = new ReplicaRig();
      alive = dieAt(rig, call, 0.5);
      const least = Math.min(rig.told, lifeCut?.seq ?? Infinity);
      rig.losePower(chance(call), keepShare);
      checkAfter(rig, least);
    }
  }
});

test('killed at any call of its recovery, a replica still recovers', () => {
  const first = new ReplicaRig();
  dieAt(first, 70, 0.5);
  first.losePower(chance(7), 0.5);
  for (let call = 0; ; call++) {
    const rig = new ReplicaRig({ bootId: 'boot-after' }, first.disk.copy());
    for (const record of first.reference.records) rig.reference.add(record);
    rig.disk.killAt = call;
    let killed = false;
    try {
      rig.open();
      rig.storage.settle();
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
      killed = true;
    }
    rig.crash();
    checkAfter(rig, first.told);
    if (!killed) break;
  }
});
