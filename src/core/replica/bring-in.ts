// Tables of records that have left the page cache are brought into it in the background, a stretch of the sidefile at a time, before they are read: who
// looks through many of them does not keep everything else waiting for the disk.

import type { Background } from './background.ts';
import type { RecordsInUse } from './in-use.ts';
import type { HeldFrame } from './records.ts';
import type { Sidefile } from './sidefile.ts';

/** Read from the disk at once. */
const STRETCH_BYTES = 1024 * 1024;
/** Where one place is cached, so much behind it counts as cached too: what leaves the cache does so in long stretches. */
const TRUSTED_BYTES = 64 * 1024;
/** Of a frame: where these are, its table mostly is. */
const PROBE_BYTES = 512;

/** What a sidefile is brought in for. */
export interface BringInGround {
  readonly sidefile: Pick<Sidefile, 'fileOf'>;
  readonly background: Background;
  readonly inUse: RecordsInUse;
  /** Something that was waited for is there. */
  readonly wake: () => void;
}

/** For one who looks through a sidefile in order. */
export class BringIn {
  readonly #ground: BringInGround;
  readonly #probe = new Uint8Array(PROBE_BYTES);
  #underWay = false;
  /** The stretch that was found cached, or was brought in: it is read now, whatever has become of it since. */
  #stretch = { segment: -1, from: 0, to: 0 };

  constructor(ground: BringInGround) {
    this.#ground = ground;
  }

  /** Whether the table of a frame that is held can be read now; else it is being brought in, and wake() follows. */
  has({ segment, at, firstSeq }: HeldFrame): boolean {
    if (this.#underWay) return false;
    const { sidefile, background, inUse, wake } = this.#ground;
    const { segment: known, from, to } = this.#stretch;
    if (segment === known && at >= from && at < to) return true;
    const file = sidefile.fileOf(segment);
    if (file.readCached(at, this.#probe)) {
      this.#stretch = { segment, from: at, to: at + TRUSTED_BYTES };
      return true;
    }
    const bytes = new Uint8Array(STRETCH_BYTES);
    this.#stretch = { segment, from: at, to: at + STRETCH_BYTES - PROBE_BYTES };
    this.#underWay = true;
    const free = inUse.begin(firstSeq);
    const ended = background.begin(() => {
      free();
      this.#underWay = false;
      wake();
    });
    file.readParts([{ offset: at, bytes }], ended);
    return false;
  }
}
