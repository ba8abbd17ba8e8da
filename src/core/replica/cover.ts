// Which records of some that follow one another are covered by later ones of them: what of them is not the newest content of any block. By this a
// sender folds, and by the same a receiver checks that only such records came without their payloads.

import { BLOCK_BYTES } from '../base/units.ts';
import type { FrameView } from '../record/decode.ts';
import { RECORD_KIND } from '../record/layout.ts';
import { Overlay, ZEROES } from './overlay.ts';

/** For each record of the frames in turn: 1 where it is a write of whose blocks later records have written every one. */
export function coveredRecords(frames: readonly FrameView[]): Uint8Array {
  const newest: Overlay[] = [];
  let number = 0;
  for (const frame of frames) {
    for (let index = 0; index < frame.recordCount; index++) {
      const block = frame.offsetAt(index) / BLOCK_BYTES;
      const overlay = (newest[frame.volumeAt(index)] ??= new Overlay());
      // What the content is does not matter here, and where it lies neither.
      number++;
      if (frame.kindAt(index) === RECORD_KIND.write) overlay.putData(block, frame.lengthAt(index) / BLOCK_BYTES, number, 0, 0);
      else overlay.putZeroes(block, frame.lengthAt(index) / BLOCK_BYTES, number, ZEROES);
    }
  }
  const covered = new Uint8Array(number);
  number = 0;
  for (const frame of frames) {
    for (let index = 0; index < frame.recordCount; index++) {
      number++;
      const overlay = newest[frame.volumeAt(index)];
      if (overlay !== undefined && frame.kindAt(index) === RECORD_KIND.write)
        covered[number - 1] = isCovered(overlay, number, frame.offsetAt(index) / BLOCK_BYTES, frame.lengthAt(index) / BLOCK_BYTES) ? 1 : 0;
    }
  }
  return covered;
}

function isCovered(newest: Overlay, number: number, block: number, blockCount: number): boolean {
  for (let i = 0; i < blockCount; i++) if (newest.seek(block + i) === number) return false;
  return true;
}

/** Why the foldings of a frame cannot be; null when they can: nothing is left out that later records of it do not cover. */
export function coverFault(frame: FrameView): string | null {
  if (!frame.isFolded) return null;
  const covered = coveredRecords([frame]);
  for (let index = 0; index < frame.recordCount; index++) {
    if (frame.foldedAt(index) && covered[index] !== 1)
      return `record ${frame.firstSeq + index} came without its payload, and later ones do not cover it`;
  }
  return null;
}
