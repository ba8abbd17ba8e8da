// A volume out of a replica that goes on, as of one moment: everything is read once, piece by piece, and then again what records have touched
// meanwhile, as often as it takes until little is left. That is read as of one record; with it the image is the volume at that record.

import { type ImageEnd, ImageFailure, type ImagePiece } from '../core/base/image.ts';
import { limits } from '../core/base/limits.ts';
import type { Epoch, VolumeIndex } from '../core/base/units.ts';
import { Bitmaps, type DirtyMap } from '../core/replica/bitmaps.ts';
import { failureError } from '../core/replica/options.ts';
import type { Replica } from '../core/replica/replica.ts';

/** Bytes in one piece. */
const PIECE_BYTES = 1024 * 1024;
/** What one bit of what was touched stands for. */
const CHUNK_BYTES = 64 * 1024;
/** So much is read as of one record, all of it asked for in one turn. */
const LAST_BYTES = 16 * 1024 * 1024;
/** Passes over what was touched, after which hosts are too fast. */
const PASSES_MAX = 12;
const EXTENTS_MAX = 64;
const OWN = 'image';

/** What an image is taken with: time passes only in pause(). */
export interface ImageGround {
  /** The replica, as long as it is the same one. */
  readonly replica: () => Replica | null;
  /** Lets other things happen, for so long at least. */
  readonly pause: (millis: number) => Promise<void>;
}

/** Goes on with what was touched, and knows what the image stands on. */
class Touched {
  readonly #ground: ImageGround;
  readonly #replica: Replica;
  readonly #volume: VolumeIndex;
  readonly #bitmaps: Bitmaps;
  #map: DirtyMap;
  #chain: number;
  readonly #epoch: Epoch;

  constructor(ground: ImageGround, replica: Replica, volume: VolumeIndex) {
    this.#ground = ground;
    this.#replica = replica;
    this.#volume = volume;
    this.#epoch = replica.epoch;
    this.#chain = replica.chain;
    this.#bitmaps = new Bitmaps(replica.volumes.length, CHUNK_BYTES);
    const { received } = replica.marks;
    this.#map = this.#bitmaps.begin(OWN, received + 1, received);
  }

  /** Whether everything that records have touched up to now is known; false while more time is needed. Throws ImageFailure. */
  upToDate(): boolean {
    const replica = this.#replica;
    this.check();
    const { oldest, received } = replica.marks;
    const { to } = this.#map;
    if (received < to || oldest > to + 1 || (replica.chainAt(to) ?? this.#chain) !== this.#chain)
      throw new ImageFailure('records that it was taken with are no longer those of this copy: try again');
    if (received > to && !replica.fillBitmap(OWN, this.#bitmaps)) return false;
    this.#chain = replica.chain;
    return true;
  }

  check(): void {
    const replica = this.#replica;
    if (this.#ground.replica() !== replica || replica.failure !== null) throw new ImageFailure('this copy is not open any more');
    if (!replica.consistent) throw new ImageFailure('this copy is being filled, and is of no moment in time: export at another site');
    if (replica.epoch !== this.#epoch) throw new ImageFailure('another reign has begun meanwhile: try again');
  }

  /** What was touched since it was asked last, as pieces of the volume. */
  take(sizeBytes: number): { readonly offset: number; readonly length: number }[] {
    const bits = this.#map.volumes[this.#volume];
    const ranges: { offset: number; length: number }[] = [];
    for (let run = bits?.nextRun(0) ?? null; run !== null; run = bits?.nextRun(run.to) ?? null) {
      const end = Math.min(sizeBytes, run.to * CHUNK_BYTES);
      for (let offset = run.from * CHUNK_BYTES; offset < end; offset += PIECE_BYTES)
        ranges.push({ offset, length: Math.min(PIECE_BYTES, end - offset) });
    }
    const { received } = this.#replica.marks;
    this.#map = this.#bitmaps.begin(OWN, received + 1, received);
    return ranges;
  }
}

/**
 * The pieces of a volume's image, and last as of which record they are. Later pieces stand over earlier ones. Throws ImageFailure.
 */
export async function* takeImage(ground: ImageGround, volume: VolumeIndex): AsyncGenerator<ImagePiece, ImageEnd> {
  const replica = ground.replica();
  if (replica === null) throw new ImageFailure('there is no copy here');
  const sizeBytes = replica.sizes.agreed[volume]?.sizeBytes ?? 0;
  const touched = new Touched(ground, replica, volume);
  const read = (offset: number, length: number): Promise<ImagePiece> => {
    const bytes = new Uint8Array(length);
    return new Promise((done, fail) => {
      replica.readCold(volume, offset, bytes, (_needSeq, failure) => {
        if (failure === null) done({ offset, length, bytes });
        else fail(new ImageFailure(failureError(failure).message));
      });
    });
  };
  // Whatever is read, the records that it is made of are known by then: should one of them be cut off, that is seen.
  for (let at = 0; at < sizeBytes;) {
    while (!touched.upToDate()) await ground.pause(0);
    const [extent] = replica.extents(volume, at, Math.min(limits.zeroesBytesMax, sizeBytes - at), EXTENTS_MAX);
    const length = extent?.length ?? 0;
    if (extent?.zero === true) {
      at += length;
      // Holes cost little to step over, but an empty volume has very many of them: leases are at stake in longer turns.
      await ground.pause(0);
    } else {
      const piece = read(at, Math.min(PIECE_BYTES, length));
      at += Math.min(PIECE_BYTES, length);
      yield await piece;
    }
  }
  for (let pass = 0; pass < PASSES_MAX;) {
    while (!touched.upToDate()) await ground.pause(0);
    const ranges = touched.take(sizeBytes);
    const isLast = ranges.reduce((sum, { length }) => sum + length, 0) <= LAST_BYTES;
    if (!isLast) {
      pass++;
      for (const { offset, length } of ranges) {
        while (!touched.upToDate()) await ground.pause(0);
        yield await read(offset, length);
      }
      continue;
    }
    // As of this moment, all of it: what is asked for now has the content of now.
    const { epoch, seq } = replica.end;
    const timeMillis = replica.timeAt(seq);
    const chain = replica.chain;
    const pieces = await Promise.all(ranges.map(({ offset, length }) => read(offset, length)));
    yield* pieces;
    for (let waited = 0; replica.marks.committed < seq; waited++) {
      touched.check();
      if (waited > limits.orderMillis / 10) throw new ImageFailure(`record ${seq} is not known to be committed: is the primary connected?`);
      await ground.pause(10);
    }
    touched.check();
    if (replica.sizes.agreed[volume]?.sizeBytes !== sizeBytes) throw new ImageFailure('the volume has grown meanwhile: try again');
    if ((replica.chainAt(seq) ?? chain) !== chain) throw new ImageFailure('the newest records were cut off meanwhile: try again');
    return { sizeBytes, epoch, seq, timeMillis };
  }
  throw new ImageFailure(
    'hosts write faster than it can be read: stop this mirror (`tercet stop`), export from its files, and start it again',
  );
}
