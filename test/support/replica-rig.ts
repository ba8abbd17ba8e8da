// A replica on a disk that loses power and takes its time, beside a reference that remembers every record: after each event the replica must
// hold exactly what some prefix of the records says. Used by the unit and property tests of the replica.

import assert from 'node:assert/strict';
import type { Buffers } from '../../src/core/base/ports.ts';
import { BLOCK_BYTES, type Seq } from '../../src/core/base/units.ts';
import { FrameView, readFrame } from '../../src/core/record/decode.ts';
import type { NewRecord } from '../../src/core/record/encode.ts';
import { groupTagOf, RECORD_KIND } from '../../src/core/record/layout.ts';
import type { BaseCheck, DigestedBase } from '../../src/core/replica/digested-base.ts';
import { createReplica, openReplica } from '../../src/core/replica/open.ts';
import type { ReplicaFailure, ReplicaOptions } from '../../src/core/replica/options.ts';
import type { Replica } from '../../src/core/replica/replica.ts';
import { MemoryStorage } from './memory-storage.ts';
import { blockDigests, digests } from './records.ts';
import { isZero, StepStorage } from './step-storage.ts';

export const GROUP_ID = 'rig-group-id';
export const SMALL_BLOCKS = 24;
export const WIDE_BLOCKS = 300;
export const VOLUMES = [
  { name: 'small', sizeBytes: SMALL_BLOCKS * BLOCK_BYTES, baseFile: 'base-small' },
  { name: 'wide', sizeBytes: WIDE_BLOCKS * BLOCK_BYTES, baseFile: 'base-wide' },
] as const;

/** Memory that notices when it is used after it was given back, or given back twice. */
class CheckedBuffers implements Buffers {
  readonly #taken = new Set<Uint8Array>();

  get taken(): number {
    return this.#taken.size;
  }

  take(byteCount: number): Uint8Array {
    const bytes = new Uint8Array(byteCount).fill(0xcc);
    this.#taken.add(bytes);
    return bytes;
  }

  give(bytes: Uint8Array): void {
    assert(this.#taken.delete(bytes), 'memory is given back once');
    bytes.fill(0xdd);
  }
}

/** What a volume holds, and which record wrote each block last. */
export interface Content {
  readonly bytes: Uint8Array[];
  readonly writers: Float64Array[];
}

function emptyContent(): Content {
  return {
    bytes: VOLUMES.map(({ sizeBytes }) => new Uint8Array(sizeBytes)),
    writers: VOLUMES.map(({ sizeBytes }) => new Float64Array(sizeBytes / BLOCK_BYTES)),
  };
}

function applyRecord(content: Content, seq: Seq, record: NewRecord): void {
  const { volume, offset, length, payload } = record;
  if (payload === null) content.bytes[volume]?.fill(0, offset, offset + length);
  else content.bytes[volume]?.set(payload, offset);
  content.writers[volume]?.fill(seq, offset / BLOCK_BYTES, (offset + length) / BLOCK_BYTES);
}

/** Every record of a group in order: what a replica is compared with. */
export class Reference {
  readonly records: NewRecord[] = [];
  now: Content = emptyContent();
  /** Records of an append that has not returned. */
  pending: readonly NewRecord[] = [];
  /** Records that were appended for certain. */
  least: Seq = 0;

  get end(): Seq {
    return this.records.length;
  }

  add(record: NewRecord): void {
    const kept = { ...record, payload: record.payload === null ? null : record.payload.slice() };
    this.records.push(kept);
    this.least = this.records.length;
    applyRecord(this.now, this.records.length, kept);
  }

  /** The process died: an append that had not returned may have happened or not. */
  adoptPending(): void {
    const { end } = this;
    for (const record of this.pending) this.add(record);
    this.least = end;
    this.pending = [];
  }

  /** Adds the records of a frame that are new. */
  addFrame(bytes: Uint8Array): void {
    const frame = frameView(bytes);
    for (let index = 0; index < frame.recordCount; index++) {
      if (frame.firstSeq + index <= this.end) continue;
      const { kind, volume, offset, length, payloadAt } = frame.record(index);
      const payload = kind === RECORD_KIND.write ? bytes.slice(payloadAt, payloadAt + length) : null;
      this.add({ kind, volume, offset, length, payload });
    }
  }

  contentAt(seq: Seq): Content {
    if (seq === this.end) return this.now;
    const content = emptyContent();
    for (let i = 0; i < seq; i++) applyRecord(content, i + 1, this.records[i] as NewRecord);
    return content;
  }

  /** Forgets the records behind `seq`. */
  cutTo(seq: Seq): void {
    this.now = this.contentAt(seq);
    this.records.length = seq;
    this.least = Math.min(this.least, seq);
  }
}

export function frameView(bytes: Uint8Array): FrameView {
  const check = readFrame(bytes, 0, { groupTag: groupTagOf(GROUP_ID, digests), checkPayload: true, digests });
  assert(check.kind === 'frame', check.kind);
  return check.frame;
}

/** See the top of the file. */
export class ReplicaRig {
  readonly reference = new Reference();
  readonly failures: ReplicaFailure[] = [];
  readonly journal: string[] = [];
  readonly disk: MemoryStorage;
  storage: StepStorage;
  buffers = new CheckedBuffers();
  /** Highest durable position that the replica has ever told, less what was cut back. */
  told: Seq = 0;
  now = 1000;
  bases: readonly DigestedBase[] = [];
  #replica: Replica | null = null;
  #boot = 0;
  readonly #overrides: Partial<ReplicaOptions>;

  constructor(overrides: Partial<ReplicaOptions> = {}, disk: MemoryStorage = new MemoryStorage()) {
    this.#overrides = overrides;
    this.disk = disk;
    this.storage = new StepStorage(this.disk);
  }

  get replica(): Replica {
    assert(this.#replica !== null, 'the replica is open');
    return this.#replica;
  }

  options(): ReplicaOptions {
    return {
      group: 'rig',
      groupId: GROUP_ID,
      site: 'here',
      volumes: VOLUMES,
      storage: this.storage,
      digests,
      buffers: this.buffers,
      clock: { now: () => this.now, wall: () => 1_700_000_000_000 + this.now },
      journal: (event) => this.journal.push(event),
      bootId: `boot-${this.#boot}`,
      segmentBytes: 64 * 1024,
      bitmapChunkBytes: 64 * 1024,
      digestLog: { entriesMax: 6, fileBytes: 3 * 4096 },
      capacityBytes: 1024 * 1024,
      destage: { roundBytes: 48 * 1024, flushBytes: 90 * 1024, longPieceBytes: 1, idleMillis: 100, backlogBytes: 256 * 1024 },
      onDurable: (durable) => {
        assert(durable >= this.told, 'durable does not fall');
        this.told = durable;
      },
      onFailure: (failure) => this.failures.push(failure),
      wake: () => undefined,
      ...this.#overrides,
    };
  }

  create(consistent = true, agreedBytes?: readonly number[]): void {
    let result: unknown = 'not called';
    createReplica(this.options(), { consistent, agreedBytes }, (failure) => {
      result = failure;
    });
    this.storage.settle();
    assert.equal(result, null);
  }

  /** Opens the replica; the answer of openReplica when that is not 'ready'. Leaves the flush that opening begins waiting. */
  tryOpen(): string {
    let opened: string | null = null;
    openReplica(this.options(), (result) => {
      opened = result.kind === 'refused' ? result.error.message : result.kind;
      if (result.kind !== 'ready') return;
      this.#replica = result.replica;
      this.bases = result.bases;
    });
    while (opened === null) assert(this.storage.step(), 'opening goes on');
    return opened;
  }

  open(): void {
    assert.equal(this.tryOpen(), 'ready');
  }

  /** A new replica, open, in epoch 1. */
  start(): this {
    this.create();
    this.open();
    this.beginEpoch();
    return this;
  }

  beginEpoch(): void {
    this.wait((done) => this.replica.beginEpoch(this.replica.epoch + 1, done));
  }

  /** Waits for an operation, letting everything else go on. */
  wait<T>(begin: (done: (result: T) => void) => void): T {
    const results: T[] = [];
    begin((result) => results.push(result));
    this.storage.settle();
    assert.equal(results.length, 1, 'the operation has called back once');
    return results[0] as T;
  }

  /** The process ends; the next start is on the same boot. */
  crash(): void {
    this.disk.restart();
    this.#renew();
  }

  /** Power is lost; the next start is on another boot. */
  losePower(keep: () => number, keepShare = 0.5): void {
    this.disk.losePower(keep, keepShare);
    this.#boot++;
    this.#renew();
  }

  #renew(): void {
    this.storage.forget();
    this.storage = new StepStorage(this.disk);
    this.buffers = new CheckedBuffers();
    this.#replica = null;
  }

  /** After a restart: the reference goes back to what the replica still has, which must be at least `least`. */
  takeBack(least: Seq): void {
    const { received } = this.replica.marks;
    assert(received >= least, `records up to ${least} must be there, but the replica ends with ${received}`);
    assert(received <= this.reference.end, `the replica ends with ${received}, but only ${this.reference.end} were ever written`);
    this.reference.cutTo(received);
    this.told = Math.min(this.told, received);
  }

  /** Appends records as one frame; returns its bytes. */
  append(records: readonly NewRecord[]): Uint8Array {
    this.reference.pending = records;
    const frame = this.replica.append(records);
    this.reference.pending = [];
    const bytes = frame.bytes.slice();
    for (const record of records) this.reference.add(record);
    assert.equal(frame.lastSeq, this.reference.end);
    frame.release();
    return bytes;
  }

  /** Appends one write of whole blocks that are filled with a number. */
  write(volume: number, block: number, blockCount: number, fill: number): Uint8Array {
    return this.append([write(volume, block, blockCount, fill)]);
  }

  /** Compares all volumes with the reference, by reads and by extents. */
  check(): void {
    const content = this.reference.contentAt(this.replica.marks.received);
    for (const [volume, { sizeBytes }] of VOLUMES.entries()) {
      this.checkContent(volume, content);
      this.checkExtents(volume, 0, sizeBytes);
    }
  }

  /** Compares one volume with what it should hold. */
  checkContent(volume: number, content: Content): void {
    const wanted = content.bytes[volume] as Uint8Array;
    const got = new Uint8Array(wanted.length);
    const { cold } = this.storage;
    this.storage.cold = () => false;
    const needSeq = this.replica.read(volume, 0, got);
    this.storage.cold = cold;
    assertSame(got, wanted, `volume ${volume} at record ${this.replica.marks.received}`);
    assert.equal(needSeq, this.needSeq(content.writers[volume] as Float64Array, 0, Infinity));
  }

  /** Looks at one range of a base image. */
  checkBase(volume: number, offset: number, length: number): BaseCheck {
    return this.wait((done) => (this.bases[volume] as DigestedBase).check(offset, length, blockDigests, done));
  }

  /** Every block of every base image has its digest, and only what reads as zeroes has none. */
  checkDigests(): void {
    for (const [volume, { sizeBytes }] of VOLUMES.entries()) {
      const check = this.checkBase(volume, 0, sizeBytes);
      assert(check.kind === 'checked', `volume ${volume}`);
      assert.deepEqual(check.faults, [], `volume ${volume}`);
      const { destaged, destageTarget } = this.replica.marks;
      for (const block of destaged < destageTarget ? [] : check.unknown) {
        const bytes = new Uint8Array(BLOCK_BYTES);
        (this.bases[volume] as DigestedBase).read(block * BLOCK_BYTES, bytes);
        assert(!bytes.some((byte) => byte !== 0), `block ${block} of volume ${volume} holds something, and no digest is known of it`);
      }
    }
  }

  needSeq(writers: Float64Array, fromBlock: number, toBlock: number): Seq {
    const newest = Math.max(0, ...writers.subarray(fromBlock, toBlock));
    return newest > this.replica.marks.committed ? newest : 0;
  }

  /** Checks that what is called zero is zero, and that the extents cover their range from its beginning. */
  checkExtents(volume: number, offset: number, length: number): void {
    const wanted = this.reference.now.bytes[volume] as Uint8Array;
    const committed = this.reference.contentAt(Math.min(this.replica.marks.committed, this.reference.end)).bytes[volume] as Uint8Array;
    for (let at = offset; at < offset + length;) {
      const extents = this.replica.extents(volume, at, offset + length - at, 7);
      assert(extents.length > 0 && extents.length <= 7);
      for (const extent of extents) {
        assert(extent.length > 0);
        assert(extent.zero || !extent.hole, 'a hole reads as zeroes');
        // What is not committed may never have been: then the bytes are those from before.
        if (extent.zero)
          assert(isZero(committed.subarray(at, at + extent.length)), `bytes at ${at} are called zero and were not, when last committed`);
        if (extent.zero) assert(isZero(wanted.subarray(at, at + extent.length)), `bytes at ${at} are called zero and are not`);
        at += extent.length;
      }
      assert(at <= offset + length, 'extents end with their range');
    }
  }
}

export function assertSame(got: Uint8Array, wanted: Uint8Array, what: string): void {
  if (Buffer.compare(got, wanted) === 0) return;
  const at = got.findIndex((byte, i) => byte !== wanted[i]);
  const block = Math.floor(at / BLOCK_BYTES);
  assert.fail(`${what}: byte ${at} (block ${block}) is ${got[at]} and should be ${wanted[at]}`);
}

/** A write of whole blocks filled with a number. */
export function write(volume: number, block: number, blockCount: number, fill: number): NewRecord {
  const length = blockCount * BLOCK_BYTES;
  return { kind: RECORD_KIND.write, volume, offset: block * BLOCK_BYTES, length, payload: new Uint8Array(length).fill(fill) };
}

/** Zeroes or a trim of whole blocks. */
export function zero(kind: 'zeroes' | 'trim', volume: number, block: number, blockCount: number): NewRecord {
  return { kind: RECORD_KIND[kind], volume, offset: block * BLOCK_BYTES, length: blockCount * BLOCK_BYTES, payload: null };
}

/** A copy of 0x0d as of record 1, of which everything is to be brought to what a new primary has: a resync of another epoch has begun. */
export function beginResync(): { readonly rig: ReplicaRig; readonly begin: Parameters<Replica['receiver']['begin']>[0] } {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, SMALL_BLOCKS, 0x0d);
  rig.replica.commit(1);
  const { epoch, history, chain } = rig.replica;
  const begin = { epoch: epoch + 1, history: [...history, { epoch: epoch + 1, firstSeq: 2 }], position: 1, chain, rung: 'copy' } as const;
  rig.wait((done) => rig.replica.receiver.begin(begin, done));
  return { rig, begin };
}
