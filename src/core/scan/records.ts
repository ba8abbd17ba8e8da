// What a site answers when it is asked about the records of its own sidefile: which of them no longer are what was appended, the bytes of one that
// another copy needs, and that it has put one right. Unlike content these do not hang on a position: a record is the same for ever.

import { decodeHex, encodeHex } from '../base/hex.ts';
import { limits } from '../base/limits.ts';
import { type Epoch, isCount, type Seq } from '../base/units.ts';
import { failureError } from '../replica/options.ts';
import type { RecordFault, Records } from '../replica/records.ts';

/** What is asked. records: look at those from a seq on, about so many bytes of them. frame: its bytes. mend: put this right, with these bytes. */
export type RecordAsk =
  | { readonly number: number; readonly kind: 'records'; readonly from: Seq; readonly byteCount: number }
  | { readonly number: number; readonly kind: 'frame'; readonly epoch: Epoch; readonly firstSeq: Seq; readonly byteCount: number }
  | {
      readonly number: number;
      readonly kind: 'mend';
      readonly part: RecordFault['part'];
      readonly epoch: Epoch;
      readonly firstSeq: Seq;
      /** Null where the copy makes it anew by itself. */
      readonly bytes: Uint8Array | null;
    };

/** The answer. */
export type RecordAnswer =
  | { readonly kind: 'records'; readonly faults: readonly RecordFault[]; readonly next: Seq | null; readonly byteCount: number }
  /** Null: it is not held here, or not whole. */
  | { readonly kind: 'frame'; readonly bytes: Uint8Array | null }
  /** Null: it is right again. */
  | { readonly kind: 'mend'; readonly why: string | null }
  | { readonly kind: 'failed'; readonly why: string };

/** Faults in one answer. */
const FAULTS_MAX = 1000;

/** Carries out one question. `done` comes later, or before this returns. */
export function examineRecords(records: Records, ask: RecordAsk, done: (answer: RecordAnswer) => void): void {
  switch (ask.kind) {
    case 'records':
      return records.check(ask.from, Math.min(ask.byteCount, limits.verifyRecordsBytes), (check) => {
        if (check.kind === 'unreadable') return done({ kind: 'failed', why: failureError(check.failure).message });
        const { next, byteCount } = check;
        done({ kind: 'records', faults: check.faults.slice(0, FAULTS_MAX), next, byteCount });
      });
    case 'frame':
      return done({ kind: 'frame', bytes: ask.byteCount > limits.verifyFrameBytesMax ? null : records.frame(ask) });
    case 'mend':
      return records.mend(ask, ask.bytes, (why) => done({ kind: 'mend', why }));
  }
}

/** A question as it travels. */
export function encodeRecordAsk(ask: RecordAsk): unknown {
  return ask.kind === 'mend' ? { ...ask, bytes: ask.bytes === null ? null : encodeHex(ask.bytes) } : { ...ask };
}

/** A question from the network; null when it is none. */
export function readRecordAsk(o: Record<string, unknown> | null): RecordAsk | null {
  if (o === null || !isCount(o['number'])) return null;
  const { number, kind, from, epoch, firstSeq, byteCount, part } = o;
  if (kind === 'records') return isCount(from) && isCount(byteCount) ? { number, kind, from, byteCount } : null;
  if (!isCount(epoch) || !isCount(firstSeq)) return null;
  if (kind === 'frame') return isCount(byteCount) ? { number, kind, epoch, firstSeq, byteCount } : null;
  if (kind !== 'mend' || !isPart(part)) return null;
  const bytes = o['bytes'] === null ? null : decodeHex(o['bytes']);
  if (bytes === null && o['bytes'] !== null) return null;
  return { number, kind, part, epoch, firstSeq, bytes };
}

/** An answer as it travels. */
export function encodeRecordAnswer(number: number, answer: RecordAnswer): unknown {
  if (answer.kind === 'frame') return { number, kind: 'frame', bytes: answer.bytes === null ? null : encodeHex(answer.bytes) };
  return { number, ...answer };
}

/** An answer from the network to a question; null when it does not answer that. */
export function readRecordAnswer(o: Record<string, unknown> | null, ask: RecordAsk): RecordAnswer | null {
  if (o === null) return null;
  const { kind, why, next, byteCount } = o;
  if (kind === 'failed') return typeof why === 'string' ? { kind, why: why.slice(0, 500) } : null;
  if (kind !== ask.kind) return null;
  if (kind === 'mend') return why === null || typeof why === 'string' ? { kind, why: why?.slice(0, 500) ?? null } : null;
  if (kind === 'frame') {
    const bytes = o['bytes'] === null ? null : decodeHex(o['bytes']);
    return o['bytes'] !== null && bytes === null ? null : { kind, bytes };
  }
  const faults = readFaults(o['faults']);
  if (faults === null || !isCount(byteCount) || ask.kind !== 'records') return null;
  // It has to go on, or it would be asked for ever.
  if (next !== null && !(isCount(next) && next > ask.from)) return null;
  return { kind: 'records', faults, next, byteCount };
}

function isPart(value: unknown): value is RecordFault['part'] {
  return value === 'frame' || value === 'mark' || value === 'header';
}

function readFaults(value: unknown): RecordFault[] | null {
  if (!Array.isArray(value) || value.length > FAULTS_MAX) return null;
  const faults: RecordFault[] = [];
  for (const each of value as unknown[]) {
    if (typeof each !== 'object' || each === null) return null;
    const { part, epoch, seq, firstSeq, file, offset, length, why } = each as Record<string, unknown>;
    if (!isPart(part) || typeof file !== 'string' || typeof why !== 'string') return null;
    if (!isCount(epoch) || !isCount(seq) || !isCount(firstSeq) || !isCount(offset) || !isCount(length)) return null;
    faults.push({ part, epoch, seq, firstSeq, file: file.slice(0, 100), offset, length, why: why.slice(0, 500) });
  }
  return faults;
}
