// An image of a volume as of one moment, as it is handed on piece by piece.

import type { Epoch, Seq, WallMillis } from './units.ts';

/** A piece of a volume: it stands until a later one covers it. What none covers is zeroes. */
export interface ImagePiece {
  readonly offset: number;
  readonly length: number;
  readonly bytes: Uint8Array;
}

/** As of which record the pieces are the volume. */
export interface ImageEnd {
  readonly sizeBytes: number;
  readonly epoch: Epoch;
  readonly seq: Seq;
  readonly timeMillis: WallMillis | null;
}

/** Why there is no image. */
export class ImageFailure extends Error {
  override readonly name = 'ImageFailure';
}
