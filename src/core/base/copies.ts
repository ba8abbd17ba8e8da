// How copies of a group relate, in the words that every layer shares.

/** How a mirror is followed: `sync` before the host is answered, `async` in write order behind it. */
export type Mode = 'sync' | 'async';

/** One copy of a group, and how it is mirrored. */
export interface Member {
  readonly site: string;
  readonly mode: Mode;
}

/** What the primary knows of a peer's flag at the witness. `maybe` while a change is under way or its answer was lost. */
export type FlagView = 'true' | 'maybe' | 'false';

/** What is done when the sidefile is full of what a copy lacks: its records are forgotten and their blocks noted; writers are slowed down; or stopped. */
export type Overflow = 'bitmap' | 'slow' | 'stop';
