// Which copy is wrong where copies differ, and in what way; and whether that is proven. A copy that disagrees with its own digest has rotted, and is
// never believed. Content is right when two copies that have not rotted agree on it, or when the only such copy has its own digest. Everything
// else is said and never acted upon: of two copies that agree with themselves nobody can tell by looking which one lacks a write, and a copy whose
// digest is not known may hold what its disk has made of its content.

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
  /** False: it differs from another copy, and which of them is wrong cannot be told. */
  readonly proven: boolean;
}

/** Judges one block. `good` is a site whose content is proven to be right; null when there is none. */
export function attribute(
  words: readonly Word[],
  primary: SiteName,
): { readonly good: SiteName | null; readonly blames: readonly Blame[] } {
  const rotten = words.filter((word) => word.rotten === true);
  const sound = words.filter((word) => word.rotten !== true);
  const blames: Blame[] = rotten.map(({ site }) => ({ site, kind: 'rot', proven: true }));
  const right = rightOf(sound);
  if (right !== null) {
    for (const { site, digest, rotten: known } of sound) {
      if (digest !== right) blames.push({ site, kind: known === null ? 'difference' : 'missed-write', proven: true });
    }
    const believed = sound.filter(({ digest }) => digest === right);
    return { good: (believed.find(({ site }) => site === primary) ?? (believed[0] as Word)).site, blames };
  }
  // One that is left alone is not accused: nothing speaks against it but copies that have rotted.
  const kind = sound.every((word) => word.rotten === false) ? 'missed-write' : 'difference';
  if (sound.length > 1) for (const { site } of sound) blames.push({ site, kind, proven: false });
  return { good: null, blames };
}

/** The digest of what is proven to be right, among copies that are not known to have rotted. */
function rightOf(sound: readonly Word[]): string | null {
  const only = sound.length === 1 ? sound[0] : undefined;
  if (only?.rotten === false) return only.digest;
  const votes = new Map<string, number>();
  for (const { digest } of sound) votes.set(digest, (votes.get(digest) ?? 0) + 1);
  const most = Math.max(0, ...votes.values());
  const leading = [...votes].filter(([, count]) => count === most);
  return most >= 2 && leading.length === 1 ? (leading[0] as [string, number])[0] : null;
}
