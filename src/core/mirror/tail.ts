// The newest frame of a sidefile while it is still in memory: what a peer at the tail is sent without reading anything.

import type { Seq } from '../base/units.ts';

/** A frame as the replica has just appended it. Its bytes stay as they are until release() was called once for each retain(). */
export interface TailFrame {
  readonly bytes: Uint8Array;
  readonly firstSeq: Seq;
  readonly lastSeq: Seq;
  retain(): void;
  release(): void;
}

/** Frames out of a sidefile: release() is to be called once for each of them, when its bytes are no longer needed. */
export interface ReadFrames {
  /** One frame each. */
  readonly parts: readonly Uint8Array[];
  readonly lastSeq: Seq;
  readonly bytes: number;
  release(): void;
}
