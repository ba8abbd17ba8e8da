// Which copy is wrong where copies differ, and in what way. A copy that disagrees with its own digest has rotted, and is never believed. Of those
// that agree with themselves the odd one out lacks a write. Two that agree with themselves and differ cannot be told apart by looking: then the
// one that hosts read is taken for the right one, and the report says that this was presumed.

import type { SiteName } from '../base/units.ts';

/** One copy's word on one block. */
export interface Word {
  readonly site: SiteName;
  /** Digest of its content, as text. */
  readonly digest: string;
  /** Whether it disagrees with the digest that its own site keeps; null when that is not known. */
  readonly rotten: boolean | null;
}

export type FindingKind = 'rot' | 'missed-write' | 'difference';

/** What is wrong with one copy of a block. */
export interface Blame {
  readonly site: SiteName;
  readonly kind: FindingKind;
  /** There was no third copy to decide. */
  readonly presumed: boolean;
}

/** Judges one block. `good` is a site whose content is right; null when no copy can be believed. */
export function attribute(
  words: readonly Word[],
  primary: SiteName,
): { readonly good: SiteName | null; readonly blames: readonly Blame[] } {
  const rotten = words.filter((word) => word.rotten === true);
  const sound = words.filter((word) => word.rotten !== true);
  const blames: Blame[] = rotten.map(({ site }) => ({ site, kind: 'rot', presumed: false }));
  if (sound.length === 0) return { good: null, blames };
  const votes = new Map<string, Word[]>();
  for (const word of sound) votes.set(word.digest, [...(votes.get(word.digest) ?? []), word]);
  const most = Math.max(...[...votes.values()].map((group) => group.length));
  const largest = [...votes.values()].filter((group) => group.length === most);
  const own = votes.get(sound.find(({ site }) => site === primary)?.digest ?? '');
  const right = largest.length === 1 ? largest[0] : (own ?? largest[0]);
  const presumed = largest.length > 1;
  for (const word of sound) {
    if (right?.includes(word) === true) continue;
    blames.push({ site: word.site, kind: word.rotten === null ? 'difference' : 'missed-write', presumed });
  }
  const good = right?.find(({ site }) => site === primary) ?? right?.[0];
  return { good: good?.site ?? null, blames };
}
