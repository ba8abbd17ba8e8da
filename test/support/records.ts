// Records, frames and sidefiles with known contents, for the tests of the record and sidefile forms.

import { crc32 } from 'node:zlib';
import { digestBlocks, digestOf } from '../../src/sim/digests.ts';
import type { BlockDigests, Digests } from '../../src/core/base/ports.ts';
import type { EpochStart } from '../../src/core/base/position.ts';
import { type EncodedFrame, encodeFrame, frameBytes, type NewRecord } from '../../src/core/record/encode.ts';
import { groupTagOf, RECORD_KIND } from '../../src/core/record/layout.ts';
import { recoverSidefile, type Recovery, type RecoverOptions } from '../../src/core/replica/recover.ts';
import { Sidefile } from '../../src/core/replica/sidefile.ts';
import type { MemoryStorage } from './memory-storage.ts';

export const digests: Digests = { crc32: (bytes, seed) => crc32(bytes, seed) };
/** Digests of blocks, told at once. */
export const blockDigests: BlockDigests = {
  take: (byteCount) => new Uint8Array(byteCount).fill(0xdd),
  digest: (algorithm, bytes, blockBytes, done) => done(digestBlocks(algorithm, bytes, blockBytes)),
  digestNow: digestOf,
};
export const GROUP_TAG: number = groupTagOf('test-group', digests);

/** Numbers from 0 to 1 that follow from a seed. */
export function chance(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e37_79b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0_aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a_2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 0x1_0000_0000;
  };
}

/** Bytes that tell which record they belong to. */
export function payloadOf(epoch: number, seq: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (epoch * 131 + seq * 29 + i * 7) & 0xff;
  return bytes;
}

/** The record that (epoch, seq) always is in these tests: mostly a small write, now and then zeroes or a trim. */
export function recordOf(epoch: number, seq: number): NewRecord {
  const offset = seq * 4096;
  if (seq % 7 === 3) return { kind: RECORD_KIND.zeroes, volume: 1, offset, length: 8192, payload: null };
  if (seq % 11 === 5) return { kind: RECORD_KIND.trim, volume: 0, offset, length: 1_000_000, payload: null };
  const length = 1 + ((seq * 37) % 90);
  return { kind: RECORD_KIND.write, volume: seq % 2, offset, length, payload: payloadOf(epoch, seq, length) };
}

/** A frame of records firstSeq to lastSeq, each as recordOf() says. */
export function frameOf(at: { epoch: number; firstSeq: number; lastSeq: number; chainBefore: number; committed?: number }): EncodedFrame {
  const records: NewRecord[] = [];
  for (let seq = at.firstSeq; seq <= at.lastSeq; seq++) records.push(recordOf(at.epoch, seq));
  const head = {
    groupTag: GROUP_TAG,
    epoch: at.epoch,
    firstSeq: at.firstSeq,
    timeMillis: 1_700_000_000_000 + at.firstSeq,
    chainBefore: at.chainBefore,
    committed: at.committed ?? 0,
  };
  return encodeFrame(head, records, new Uint8Array(frameBytes(records)), digests);
}

/** An empty sidefile with small segments. */
export function newSidefile(storage: MemoryStorage, segmentBytes: number = 4096, more: { capacityBytes?: number } = {}): Sidefile {
  return new Sidefile({ storage, digests, groupTag: GROUP_TAG, segmentBytes, ...more }, { nextSeq: 1, chain: 0, epoch: 0 });
}

/** Appends records up to `lastSeq`, as one frame. */
export function appendUpTo(sidefile: Sidefile, epoch: number, lastSeq: number): EncodedFrame & { segment: number; at: number } {
  const frame = frameOf({ epoch, firstSeq: sidefile.received + 1, lastSeq, chainBefore: sidefile.chain });
  return { ...frame, ...sidefile.append(frame.bytes, frame) };
}

/** Flushes everything that was appended, to its end. */
export function flush(storage: MemoryStorage, sidefile: Sidefile): void {
  const { files } = sidefile.beginFlush();
  storage.flush(files, (failure) => sidefile.endFlush(failure === null));
  storage.settle();
}

/** Recovers with what a superblock would say of a replica that has destaged nothing. */
export function recover(storage: MemoryStorage, options: Partial<RecoverOptions> & { history: EpochStart[] }): Recovery {
  const destaged = options.destaged ?? 0;
  return recoverSidefile({
    storage,
    digests,
    groupTag: GROUP_TAG,
    segmentBytes: 4096,
    destaged,
    destageTarget: destaged,
    durable: destaged,
    startSeq: destaged + 1,
    startChain: 0,
    powerLost: false,
    ...options,
  });
}

/** Recovers and insists that it went well. */
export function recovered(storage: MemoryStorage, options: Partial<RecoverOptions> & { history: EpochStart[] }): Sidefile {
  const result = recover(storage, options);
  if (result.kind !== 'ok') throw new Error(`not recovered: ${JSON.stringify(result)}`);
  return result.sidefile;
}

/** Seqs and epochs of the records that a sidefile gives back, each checked to be the one that was written. */
export function contents(sidefile: Sidefile): string[] {
  const found: string[] = [];
  sidefile.visit(sidefile.oldest, sidefile.received, (frame, segment, at, firstIndex, lastIndex) => {
    for (let index = firstIndex; index <= lastIndex; index++) {
      const seq = frame.firstSeq + index;
      const wanted = recordOf(frame.epoch, seq);
      const record = frame.record(index);
      const payload = new Uint8Array(frame.payloadBytesAt(index));
      sidefile.read(segment, at + record.payloadAt, payload);
      const same =
        record.kind === wanted.kind &&
        record.offset === wanted.offset &&
        record.length === wanted.length &&
        record.volume === wanted.volume;
      if (!same || !equal(payload, wanted.payload ?? new Uint8Array(0))) throw new Error(`record (${frame.epoch}, ${seq}) is another one`);
      found.push(`${frame.epoch}.${seq}`);
    }
    return true;
  });
  return found;
}

/** Names of the records from `first` to `last`, by a history. */
export function names(history: readonly EpochStart[], first: number, last: number): string[] {
  const list: string[] = [];
  for (let seq = first; seq <= last; seq++) {
    const start = history.findLast((one) => one.firstSeq <= seq);
    list.push(`${start?.epoch ?? 0}.${seq}`);
  }
  return list;
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
