// A position names a record: (epoch, seq). This is the only place that orders records of different epochs.

import { assert } from './assert.ts';
import type { Epoch, Seq } from './units.ts';

/** Name of a record. seq 0 with epoch 0 is the position before the first record. */
export interface Position {
  readonly epoch: Epoch;
  readonly seq: Seq;
}

/** The position before the first record. */
export const ORIGIN: Position = { epoch: 0, seq: 0 };

/** Negative when a is older than b, positive when newer, 0 when they name the same record. Epoch decides before seq. */
export function comparePositions(a: Position, b: Position): number {
  return a.epoch === b.epoch ? a.seq - b.seq : a.epoch - b.epoch;
}

/** The first record of an epoch. An epoch reaches from here to the record before the next epoch's start. */
export interface EpochStart {
  readonly epoch: Epoch;
  readonly firstSeq: Seq;
}

/**
 * Which epoch each record belongs to: the starts of the epochs, oldest first, epochs rising and firstSeq never falling. Two sidefiles whose
 * histories agree up to a record hold the same record there, because one primary alone numbers the records of an epoch.
 */
export type History = readonly EpochStart[];

/** Checks the order that every history keeps. */
export function assertHistory(history: History): void {
  for (let i = 1; i < history.length; i++) {
    const before = history[i - 1] as EpochStart;
    const start = history[i] as EpochStart;
    assert(before.epoch < start.epoch, 'epochs of a history must rise', { before, start });
    assert(before.firstSeq <= start.firstSeq, 'starts of a history must not fall', { before, start });
  }
}

/** Epoch of a record by its seq; 0 for seq 0 or a seq before the oldest start that is still remembered. */
export function epochOf(history: History, seq: Seq): Epoch {
  for (let i = history.length - 1; i >= 0; i--) {
    const start = history[i] as EpochStart;
    if (start.firstSeq <= seq) return start.epoch;
  }
  return 0;
}

/** Last seq that an epoch can have by this history: the one before the next epoch's start; Infinity for the newest epoch, -1 if it is not listed. */
export function lastSeqOf(history: History, epoch: Epoch): Seq {
  const index = history.findIndex((start) => start.epoch === epoch);
  if (index < 0) return -1;
  const next = history[index + 1];
  return next === undefined ? Infinity : next.firstSeq - 1;
}

/** Whether a record named (epoch, seq) belongs to this history: a record that was cut back does not. */
export function inHistory(history: History, epoch: Epoch, seq: Seq): boolean {
  const index = history.findIndex((start) => start.epoch === epoch);
  if (index < 0) return false;
  const start = history[index] as EpochStart;
  const next = history[index + 1];
  return seq >= start.firstSeq && (next === undefined || seq < next.firstSeq);
}

/**
 * Last seq that two sidefiles share by their histories: the largest seq, at most both ends, up to which both name the same epochs.
 * `floor` is the seq below which histories may have been forgotten and everything is taken as shared (destaged by both).
 */
export function lastSharedSeq(a: { history: History; end: Seq }, b: { history: History; end: Seq }): Seq {
  let shared = Math.min(a.end, b.end);
  while (shared > 0) {
    const epochA = epochOf(a.history, shared);
    const epochB = epochOf(b.history, shared);
    if (epochA === epochB) return shared;
    // The records here differ: go back before the newer of the two epochs, whose start is a bound for both.
    const history = epochA > epochB ? a.history : b.history;
    const newer = history.find((start) => start.epoch === Math.max(epochA, epochB)) as EpochStart;
    shared = newer.firstSeq - 1;
  }
  return Math.max(shared, 0);
}
