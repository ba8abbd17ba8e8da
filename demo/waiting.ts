// Waiting for something that is seen by asking again and again: with a deadline, and a sentence when it passes.

/** How often it is looked again. */
const PAUSE_MILLIS = 25;

/** Resolves after a while. For pauses between two looks, never in place of a condition. */
export function pause(millis: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, millis);
  });
}

/**
 * Looks until it sees something, which it returns: anything but null and false. `what` is what is waited for, in words; `seen` adds to the error
 * what was there instead. Rejects when the time is over.
 */
export async function until<Seen>(
  what: string,
  millisMax: number,
  look: () => Promise<Seen | null | false> | Seen | null | false,
  seen?: () => string,
): Promise<Seen> {
  const begun = performance.now();
  for (;;) {
    const found = await look();
    if (found !== null && found !== false) return found;
    if (performance.now() - begun > millisMax) {
      throw new Error(`not within ${millisMax / 1000} s: ${what}${seen === undefined ? '' : `\n${seen()}`}`);
    }
    await pause(PAUSE_MILLIS);
  }
}
