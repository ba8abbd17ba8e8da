// The digests of one side of a comparison, coarse and fine. A coarse node is the digest of the digests of its chunks, and those are remembered, so
// a region is read and digested once however often it is asked about from above; only what lies in a chunk that differs is digested once more, by
// its bytes. A bounded number of pieces is digested at a time.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { BlockDigests, DigestAlgorithm } from '../base/ports.ts';
import type { ReplicaFailure } from '../replica/options.ts';
import { DIGEST_BYTES, digestRange, type DigestSource, type VolumeRange } from './digest.ts';

/** How a comparison is cut up; both sides have the same. */
export interface ScanGeometry {
  /** Sizes of the nodes, coarse to fine, each a multiple of the next; the last is a block. */
  readonly levels: readonly number[];
  /** The largest node that is digested by its bytes: one of the levels. */
  readonly chunkBytes: number;
}

/** Bytes of a piece: a trip to another thread is worth it, and hosts are not kept waiting by what is read of it. */
const PIECE_BYTES = limits.digestRangeBytesMax;
/** Pieces that are digested at one time. */
const PIECES_MAX = 4;
/** Pieces whose digests are remembered, for the finer questions about a region that differs: 8 GiB, 4 MiB of memory by sha256. */
const PIECES_KEPT_MAX = 2048;

type Piece = { readonly range: VolumeRange; readonly blockBytes: number; readonly done: (digests: Uint8Array | ReplicaFailure) => void };

export class LocalDigests {
  readonly algorithm: DigestAlgorithm;
  readonly #source: DigestSource;
  readonly #digests: BlockDigests;
  readonly #geometry: ScanGeometry;
  /** Pieces begin at multiples of this. */
  readonly #pieceBytes: number;
  /** Digests of the chunks of pieces, by volume and number of the piece. */
  readonly #kept = new Map<string, Uint8Array>();
  readonly #zeroes = new Map<number, Uint8Array>();
  #waiting: Piece[] = [];
  #running = 0;
  #stopped = false;
  /** Bytes that were digested so far, holes included. */
  digestedBytes = 0;

  constructor(options: { source: DigestSource; digests: BlockDigests; algorithm: DigestAlgorithm; geometry: ScanGeometry }) {
    this.#source = options.source;
    this.#digests = options.digests;
    this.algorithm = options.algorithm;
    this.#geometry = options.geometry;
    const { levels, chunkBytes } = options.geometry;
    const bytes = Math.min(PIECE_BYTES, levels[0] ?? chunkBytes);
    this.#pieceBytes = Math.max(1, Math.floor(bytes / chunkBytes)) * chunkBytes;
  }

  /** Nobody is told anything any more. */
  stop(): void {
    this.#stopped = true;
    this.#waiting = [];
  }

  /** The digests of the nodes of a range, one behind the other; the last may be shorter where the volume ends. */
  nodes(range: VolumeRange, nodeBytes: number, done: (digests: Uint8Array | ReplicaFailure) => void): void {
    const { chunkBytes } = this.#geometry;
    if (nodeBytes <= chunkBytes) return this.#pieces(range, nodeBytes, done);
    // A thin volume is gone through a unit at a time.
    if (range.length % nodeBytes === 0 && this.#readsAsZeroes(range))
      return done(repeated(this.#zeroNodeOf(nodeBytes), range.length / nodeBytes));
    this.#pieces(range, chunkBytes, (chunks) => {
      if (!(chunks instanceof Uint8Array)) return done(chunks);
      const size = DIGEST_BYTES[this.algorithm];
      const perNode = (nodeBytes / chunkBytes) * size;
      const parts: Uint8Array[] = [];
      for (let at = 0; at < chunks.length; at += perNode) {
        parts.push(this.#digests.digestNow(this.algorithm, chunks.subarray(at, at + perNode)));
      }
      done(joined(parts));
    });
  }

  /** Digests by bytes, in pieces. */
  #pieces(range: VolumeRange, blockBytes: number, done: (digests: Uint8Array | ReplicaFailure) => void): void {
    const { volume, offset, length } = range;
    assert(length > 0 && offset % blockBytes === 0, 'a range of nodes begins with a node', { offset, length, blockBytes });
    const end = offset + length;
    const parts: Uint8Array[] = [];
    let left = 1;
    let failed = false;
    const ended = (index: number, digests: Uint8Array | ReplicaFailure): void => {
      if (failed) return;
      if (!(digests instanceof Uint8Array)) {
        failed = true;
        return done(digests);
      }
      parts[index] = digests;
      if (--left === 0) done(joined(parts));
    };
    let pieces = 0;
    for (let at = offset; at < end;) {
      const stop = Math.min(end, (Math.floor(at / this.#pieceBytes) + 1) * this.#pieceBytes);
      const piece = { volume, offset: at, length: stop - at };
      const index = pieces++;
      left++;
      const known = blockBytes === this.#geometry.chunkBytes ? this.#known(piece) : null;
      if (known === null) this.#waiting.push({ range: piece, blockBytes, done: (digests) => ended(index, digests) });
      else ended(index, known);
      at = stop;
    }
    // Whatever comes after this comes later or, where nothing need be read, before.
    this.#run();
    if (--left === 0 && !failed) done(joined(parts));
  }

  /** The remembered digests of the chunks of a range within a piece; null when they are not all remembered. */
  #known({ volume, offset, length }: VolumeRange): Uint8Array | null {
    const size = DIGEST_BYTES[this.algorithm];
    const { chunkBytes } = this.#geometry;
    const within = offset % this.#pieceBytes;
    const kept = this.#kept.get(`${volume}:${offset - within}`);
    const from = (within / chunkBytes) * size;
    const to = from + Math.ceil(length / chunkBytes) * size;
    return kept === undefined || kept.length < to ? null : kept.subarray(from, to);
  }

  #keep({ volume, offset }: VolumeRange, digests: Uint8Array): void {
    if (offset % this.#pieceBytes !== 0) return;
    if (this.#kept.size >= PIECES_KEPT_MAX) this.#kept.delete(this.#kept.keys().next().value as string);
    this.#kept.set(`${volume}:${offset}`, digests);
  }

  #run(): void {
    // What is known to read as zeroes at this moment: a thin volume is not asked about piece by piece.
    let zeroes = { volume: -1, from: 0, end: 0 };
    while (this.#running < PIECES_MAX && !this.#stopped) {
      const piece = this.#waiting.shift();
      if (piece === undefined) return;
      const { volume, offset, length } = piece.range;
      // Finer pieces come in any order: one before the stretch is not part of it.
      if (zeroes.volume !== volume || offset < zeroes.from || offset >= zeroes.end) {
        const first = this.#source.imageRanges(volume, offset, length);
        zeroes = first?.zero === true ? { volume, from: first.offset, end: first.offset + first.length } : { volume: -1, from: 0, end: 0 };
      }
      this.#digest(piece, zeroes.end >= offset + length);
    }
  }

  #digest({ range, blockBytes, done }: Piece, isZero: boolean): void {
    this.digestedBytes += range.length;
    const ended = (digests: Uint8Array | ReplicaFailure): void => {
      if (blockBytes === this.#geometry.chunkBytes && digests instanceof Uint8Array) this.#keep(range, digests);
      done(digests);
    };
    if (isZero && range.length % blockBytes === 0) return ended(repeated(this.#zeroOf(blockBytes), range.length / blockBytes));
    this.#running++;
    digestRange({ source: this.#source, digests: this.#digests }, range, { algorithm: this.algorithm, blockBytes }, (result) => {
      this.#running--;
      if (this.#stopped) return;
      ended('digests' in result ? result.digests : result);
      this.#run();
    });
  }

  #readsAsZeroes({ volume, offset, length }: VolumeRange): boolean {
    const first = this.#source.imageRanges(volume, offset, length);
    return first?.zero === true && first.offset === offset && first.length >= length;
  }

  /** The digest of a node above the chunks that reads as zeroes. */
  #zeroNodeOf(nodeBytes: number): Uint8Array {
    let digest = this.#zeroes.get(nodeBytes);
    if (digest === undefined) {
      const { chunkBytes } = this.#geometry;
      digest = this.#digests.digestNow(this.algorithm, repeated(this.#zeroOf(chunkBytes), nodeBytes / chunkBytes));
      this.#zeroes.set(nodeBytes, digest);
    }
    return digest;
  }

  /** What reads as zeroes costs nothing after the first time. */
  #zeroOf(byteCount: number): Uint8Array {
    let digest = this.#zeroes.get(byteCount);
    if (digest === undefined) {
      digest = this.#digests.digestNow(this.algorithm, new Uint8Array(byteCount));
      this.#zeroes.set(byteCount, digest);
    }
    return digest;
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function repeated(digest: Uint8Array, count: number): Uint8Array {
  return joined(Array.from({ length: count }, () => digest));
}
