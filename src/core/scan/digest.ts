// Digests of a range of a volume: how two copies are compared without sending what they hold. The content is that of the moment of the call,
// that is, as of the newest record that the replica holds then, however long the reading and digesting takes and whatever is written meanwhile.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { BlockDigests, DigestAlgorithm, DigestHow } from '../base/ports.ts';
import type { Seq, VolumeIndex } from '../base/units.ts';
import type { ReplicaFailure } from '../replica/options.ts';

/** All algorithms, the default first. */
export const DIGEST_ALGORITHMS: readonly DigestAlgorithm[] = ['sha256', 'sha1', 'md5', 'crc32'];

/** Length of one digest. */
export const DIGEST_BYTES: Readonly<Record<DigestAlgorithm, number>> = { crc32: 4, md5: 16, sha1: 20, sha256: 32 };

/** What is digested: a replica, mostly. */
export interface DigestSource {
  readonly marks: { readonly received: Seq };
  /** The next range from `fromOffset` on that is data (at most `bytesMax` of it) or reads as zeroes (and may be longer); null at the end. */
  imageRanges(volume: VolumeIndex, fromOffset: number, bytesMax: number): { offset: number; length: number; zero: boolean } | null;
  /** Fills `into` at once if the disk need not be waited for; -1, with `into` undefined, if it must. Left out where that is not wanted. */
  read?(volume: VolumeIndex, offset: number, into: Uint8Array): number;
  readCold(volume: VolumeIndex, offset: number, into: Uint8Array, done: (needSeq: Seq, failure: ReplicaFailure | null) => void): void;
  /** Digests a range as of this moment without bringing its content here; false, with nothing begun, where that is not possible. */
  digestBase(
    volume: VolumeIndex,
    range: { readonly offset: number; readonly length: number },
    how: DigestHow,
    done: (digests: Uint8Array | ReplicaFailure) => void,
  ): boolean;
}

/** A stretch of a volume: whole blocks. */
export interface VolumeRange {
  readonly volume: VolumeIndex;
  readonly offset: number;
  readonly length: number;
}

/** So few bytes are read and digested here where they are in memory: a trip to another thread would cost hosts more. */
const HERE_BYTES_MAX = 64 * 1024;

export interface RangeDigests {
  /** One behind the other, one for each block of the range. */
  readonly digests: Uint8Array;
  /** The content is as of this record. */
  readonly seq: Seq;
}

/**
 * Digests each `blockBytes` of a range of at most `limits.digestRangeBytesMax`. `done` comes later, with the failure of the copy if it could
 * not be read. Content that nobody here looks at is digested where it is read.
 */
export function digestRange(
  ports: {
    readonly source: DigestSource;
    readonly digests: BlockDigests;
    /** Is shown the bytes before they are digested, and says when to go on. */
    readonly seen?: (bytes: Uint8Array, go: () => void) => void;
  },
  range: VolumeRange,
  how: DigestHow,
  done: (result: RangeDigests | ReplicaFailure) => void,
): void {
  const { source, digests } = ports;
  const { volume, offset, length } = range;
  assert(length > 0 && length <= limits.digestRangeBytesMax, 'a range is digested in bounded pieces', { length });
  const seq = source.marks.received;
  const end = offset + length;
  const digested = (result: Uint8Array | ReplicaFailure): void => done(result instanceof Uint8Array ? { digests: result, seq } : result);
  const here = length <= HERE_BYTES_MAX && source.read !== undefined;
  if (!here && ports.seen === undefined && source.digestBase(volume, { offset, length }, how, digested)) return;
  const bytes = digests.take(length);
  let reads = 1;
  let failed: ReplicaFailure | null = null;
  const ended = (failure: ReplicaFailure | null): void => {
    failed ??= failure;
    if (--reads > 0) return;
    if (failed !== null) return done(failed);
    const go = (): void => digests.digest(how.algorithm, bytes, how.blockBytes, (result) => done({ digests: result, seq }));
    if (ports.seen === undefined) go();
    else ports.seen(bytes, go);
  };
  if (here && (source.read?.(volume, offset, bytes) ?? -1) >= 0) return ended(null);
  for (let at = offset; at < end;) {
    const next = source.imageRanges(volume, at, end - at);
    assert(next !== null && next.offset === at, 'a range that is digested is within its volume', { volume, at });
    const stop = Math.min(end, at + next.length);
    const part = bytes.subarray(at - offset, stop - offset);
    if (next.zero) part.fill(0);
    else {
      reads++;
      source.readCold(volume, at, part, (_needSeq, failure) => ended(failure));
    }
    at = stop;
  }
  ended(null);
}
