// What a site that serves says of its place in the history of a group, to a host that has been served before: carried as the description of
// an export with @direct or @attach. By it the host finds the newest primary, and sees whether everything that it was answered is still there.

import { epochOf, inHistory, type History, type Position } from '../base/position.ts';
import type { Epoch, Seq } from '../base/units.ts';

/** A site's place in the history of its group, as primary. */
export interface Standing {
  readonly site: string;
  readonly epoch: Epoch;
  readonly history: History;
}

/** As text; at most 4096 bytes for the longest history that is kept. */
export function standingText({ site, epoch, history }: Standing): string {
  return JSON.stringify({ site, epoch, history: history.map((start) => [start.epoch, start.firstSeq]) });
}

/** Reads it; null for anything else. */
export function readStanding(text: string): Standing | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Some other server's description.
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { site, epoch, history } = value as Record<string, unknown>;
  if (typeof site !== 'string' || !isCount(epoch) || !Array.isArray(history) || history.length === 0) return null;
  const starts = [];
  for (const entry of history as unknown[]) {
    if (!Array.isArray(entry)) return null;
    const [start, firstSeq] = entry as unknown[];
    const before = starts.at(-1);
    if (!isCount(start) || !isCount(firstSeq)) return null;
    if (before !== undefined && (start <= before.epoch || firstSeq < before.firstSeq)) return null;
    starts.push({ epoch: start, firstSeq });
  }
  return { site, epoch, history: starts };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** The record that an answer of this reign stood for, by its sequence number. */
export function positionIn(standing: Standing, seq: Seq): Position {
  return { epoch: epochOf(standing.history, seq), seq };
}

/** Whether a record that was answered once is part of what this site serves. */
export function holds(standing: Standing, answered: Position): boolean {
  if (answered.seq === 0) return true;
  const [oldest] = standing.history;
  // A history forgets its oldest epochs once their records are in the base images.
  if (oldest !== undefined && answered.epoch < oldest.epoch) return answered.seq < oldest.firstSeq;
  return inHistory(standing.history, answered.epoch, answered.seq);
}
