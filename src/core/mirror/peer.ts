// A peer as every site sees it, whatever its own role: the connection that stands, and what the other side said of itself on it.

import type { Mode, Overflow } from '../base/copies.ts';
import type { SiteName } from '../base/units.ts';
import type { FoldingCount } from './fold.ts';
import type { PeerState } from './forms.ts';
import type { Link, Traffic } from './link.ts';
import { noStreamCounts, type StreamCounts } from './streams.ts';

export class Peer {
  readonly name: SiteName;
  /** As the group has it now, as far as this site knows. */
  mode: Mode;
  readonly overflow: Overflow;
  /** The newest connection; older ones were closed when it came (T3). */
  link: Link | null = null;
  /** What it said on this connection; null until it has. */
  said: PeerState | null = null;
  lastError: string | null = null;
  /** Frames and images are packed on the way to it. */
  readonly packs: boolean;
  readonly traffic: Traffic = { rawBytes: 0, sentBytes: 0, foldedFrames: 0 };
  readonly folding: FoldingCount = { frames: 0, records: 0, savedBytes: 0 };
  readonly streamCounts: StreamCounts = noStreamCounts();

  constructor(name: SiteName, mode: Mode, overflow: Overflow = 'bitmap', packs = false) {
    this.packs = packs;
    this.name = name;
    this.mode = mode;
    this.overflow = overflow;
  }

  get connected(): boolean {
    return this.link !== null;
  }
}
