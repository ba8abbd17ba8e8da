// The digests of one side of a comparison, coarse and fine. A coarse node is the digest of the digests of its chunks, so a region is read once
// however coarse it is compared; a node of a chunk or less is the digest of its bytes. A bounded number of pieces is read at a time.

import { assert } from '../base/assert.ts';
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

/** Pieces that are read and digested at one time. */
const PIECES_MAX = 6;
/** Chunks whose digests are remembered, for the finer questions about a region that differs. */
const CHUNKS_KEPT_MAX = 16_384;

type Piece = { readonly range: VolumeRange; readonly blockBytes: number; readonly done: (digests: Uint8Array | ReplicaFailure) => void };

export class LocalDigests {
  readonly algorithm: DigestAlgorithm;
  readonly #source: DigestSource;
  readonly #digests: BlockDigests;
  readonly #geometry: ScanGeometry;
  readonly #chunks = new Map<string, Uint8Array>();
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

  /** Digests by bytes, in pieces of at most a chunk. */
  #pieces(range: VolumeRange, blockBytes: number, done: (digests: Uint8Array | ReplicaFailure) => void): void {
    const { chunkBytes } = this.#geometry;
    const { volume, offset, length } = range;
    assert(length > 0 && offset % blockBytes === 0, 'a range of nodes begins with a node', { offset, length, blockBytes });
    const count = Math.ceil(length / chunkBytes);
    const parts: Uint8Array[] = Array.from({ length: count });
    let left = count;
    let failed = false;
    for (let index = 0; index < count; index++) {
      const at = offset + index * chunkBytes;
      const piece = { volume, offset: at, length: Math.min(chunkBytes, offset + length - at) };
      const key = blockBytes === chunkBytes ? `${volume}:${at}` : null;
      const ended = (digests: Uint8Array | ReplicaFailure): void => {
        if (failed) return;
        if (!(digests instanceof Uint8Array)) {
          failed = true;
          return done(digests);
        }
        if (key !== null) this.#keep(key, digests);
        parts[index] = digests;
        if (--left === 0) done(joined(parts));
      };
      const known = key === null ? undefined : this.#chunks.get(key);
      if (known === undefined) this.#waiting.push({ range: piece, blockBytes, done: ended });
      else ended(known);
    }
    this.#run();
  }

  #keep(key: string, digests: Uint8Array): void {
    if (this.#chunks.size >= CHUNKS_KEPT_MAX) this.#chunks.delete(this.#chunks.keys().next().value as string);
    this.#chunks.set(key, digests);
  }

  #run(): void {
    while (this.#running < PIECES_MAX && !this.#stopped) {
      const piece = this.#waiting.shift();
      if (piece === undefined) return;
      this.#digest(piece);
    }
  }

  #digest({ range, blockBytes, done }: Piece): void {
    this.digestedBytes += range.length;
    const first = this.#source.imageRanges(range.volume, range.offset, range.length);
    if (first !== null && first.zero && first.length >= range.length && range.length % blockBytes === 0) {
      return done(repeated(this.#zeroOf(blockBytes), range.length / blockBytes));
    }
    this.#running++;
    digestRange({ source: this.#source, digests: this.#digests }, range, { algorithm: this.algorithm, blockBytes }, (result) => {
      this.#running--;
      if (this.#stopped) return;
      done('digests' in result ? result.digests : result);
      this.#run();
    });
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
