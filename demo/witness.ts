// Asks the witness what it knows of a group.

import type { Address } from '../src/api/address.ts';
import { witnessViewSchema } from '../src/api/schema.ts';

/** What the witness says of a group. */
export type WitnessView = ReturnType<typeof witnessViewSchema.parse>;

const QUESTION_MILLIS = 1_000;

/** Null when it does not answer, or knows no such group. */
export async function readWitness(address: Address, group: string): Promise<WitnessView | null> {
  let text: string;
  try {
    const response = await fetch(`http://${address.text}/v1/groups/${group}`, { signal: AbortSignal.timeout(QUESTION_MILLIS) });
    text = await response.text();
    if (!response.ok) return null;
  } catch {
    // Refused, reset or late: all of them mean that it does not answer.
    return null;
  }
  return witnessViewSchema.parse(JSON.parse(text));
}
