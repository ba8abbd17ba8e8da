// Makes a failing schedule small: leaves out halves, quarters, and at last single faults, as long as the run still breaks a rule (delta
// debugging after Zeller and Hildebrandt). What remains is usually a handful of faults that a person can follow.

/** The smallest list found, and how many runs that took. */
export interface Shrunk<T> {
  readonly items: readonly T[];
  readonly runs: number;
}

/** Leaves out items while `fails` holds, with at most `runsMax` tries. The given list must fail. */
export function shrink<T>(items: readonly T[], fails: (items: readonly T[]) => boolean, runsMax: number): Shrunk<T> {
  let current = items;
  let runs = 0;
  let size = Math.max(1, Math.ceil(current.length / 2));
  while (current.length > 0 && runs < runsMax) {
    let reduced = false;
    for (let from = 0; from < current.length && runs < runsMax;) {
      const without = [...current.slice(0, from), ...current.slice(from + size)];
      runs++;
      if (fails(without)) {
        current = without;
        reduced = true;
      } else {
        from += size;
      }
    }
    if (size === 1 && !reduced) break;
    if (!reduced || size > current.length) size = Math.max(1, Math.floor(size / 2));
  }
  return { items: current, runs };
}
