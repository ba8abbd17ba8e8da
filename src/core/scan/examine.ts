// What a site answers when it is asked about a range of its copy as of a record: digests of its blocks, whether it has anything there at all, or
// the bytes. The asker sends the question in the stream of records, right behind that record, so the answer is as of the same position on both
// sides, whatever hosts write meanwhile; a site that is elsewhere says so instead of guessing.

import { assert } from '../base/assert.ts';
import { decodeHex, encodeHex } from '../base/hex.ts';
import { limits } from '../base/limits.ts';
import type { BlockDigests, DigestAlgorithm } from '../base/ports.ts';
import { BLOCK_BYTES, isCount, type Seq, type VolumeIndex } from '../base/units.ts';
import type { DigestedBase } from '../replica/digested-base.ts';
import { failureError } from '../replica/options.ts';
import { DIGEST_ALGORITHMS, DIGEST_BYTES, digestRange, type DigestSource } from './digest.ts';
import { type Learner, Study } from './learn.ts';

/** What is asked of a range. digest: of each `blockBytes`; with blocks of one block, also which of them have rotted. */
export interface Ask {
  readonly number: number;
  readonly kind: 'digest' | 'empty' | 'content';
  /** The answer is to be as of this record. */
  readonly seq: Seq;
  readonly volume: VolumeIndex;
  readonly offset: number;
  readonly length: number;
  readonly algorithm: DigestAlgorithm;
  readonly blockBytes: number;
}

/** Numbers of blocks that do not have the digest that the site keeps of them, and of those of which it keeps none that can be believed. */
export interface OwnWord {
  readonly rotten: readonly number[];
  readonly unknown: readonly number[];
}

/** The answer. */
export type Answer =
  | {
      readonly kind: 'digest';
      readonly digests: Uint8Array;
      /** What the site's own digests say of its blocks; null when that was not asked, or cannot be told now. */
      readonly own: OwnWord | null;
      /** It keeps no digests of some of these blocks, and takes them when it hears that all copies are equal there. */
      readonly learns?: true;
    }
  /** What is not known to read as zeroes, up to a place before which everything was looked at. */
  | { readonly kind: 'empty'; readonly data: readonly (readonly [offset: number, length: number])[]; readonly upTo: number }
  | { readonly kind: 'content'; readonly bytes: Uint8Array }
  /** The copy is not as of that record: ask again. */
  | { readonly kind: 'missed' }
  | { readonly kind: 'failed'; readonly why: string };

/** What is examined. */
export interface Examined {
  readonly replica: DigestSource & {
    readonly consistent: boolean;
    readonly changing: boolean;
    readonly marks: { readonly received: Seq };
    readonly records: { waitingBlocks(volume: VolumeIndex, offset: number, length: number): readonly number[] };
    /** What this copy can hold, and what every copy can: that is compared. */
    readonly volumes: readonly { readonly sizeBytes: number }[];
    readonly sizes: { readonly agreed: readonly { readonly sizeBytes: number }[] };
  };
  readonly bases: readonly DigestedBase[];
  readonly digests: BlockDigests;
  /** What this copy learns from comparisons. */
  readonly learner: Learner;
}

/** The digest by which copies that agree are taken for equal. */
export const PROOF_ALGORITHM: DigestAlgorithm = 'sha256';

/** Extents in one answer to `empty`. */
const DATA_EXTENTS_MAX = 64;

/** Carries out one question of `asker` as of the moment of this call. `done` comes later, or before this returns. */
export function examine(on: Examined, asker: object, ask: Ask, done: (answer: Answer) => void): void {
  const { replica } = on;
  if (replica.marks.received !== ask.seq || !replica.consistent || replica.changing) return done({ kind: 'missed' });
  switch (ask.kind) {
    case 'empty':
      return done(lookForData(on, ask));
    case 'content': {
      const bytes = new Uint8Array(ask.length);
      return replica.readCold(ask.volume, ask.offset, bytes, (_needSeq, failure) => {
        done(failure === null ? { kind: 'content', bytes } : { kind: 'failed', why: failureError(failure).message });
      });
    }
    case 'digest':
      return ask.blockBytes === BLOCK_BYTES ? digestAndCheck(on, ask, done) : digestAndLearn(on, asker, ask, done);
  }
}

function lookForData({ replica }: Examined, ask: Ask): Answer {
  const data: [number, number][] = [];
  const end = ask.offset + ask.length;
  for (let at = ask.offset; at < end;) {
    if (data.length === DATA_EXTENTS_MAX) return { kind: 'empty', data, upTo: at };
    const next = replica.imageRanges(ask.volume, at, limits.zeroesBytesMax);
    assert(next !== null && next.offset === at, 'a range that is asked about is within its volume', { at });
    const stop = Math.min(end, at + next.length);
    if (!next.zero) data.push([at, stop - at]);
    at = stop;
  }
  return { kind: 'empty', data, upTo: end };
}

/** Blocks that copies are believed to hold alike. */
function digestAndLearn(on: Examined, asker: object, ask: Ask, done: (answer: Answer) => void): void {
  const { replica, bases, digests, learner } = on;
  const waiting = replica.records.waitingBlocks(ask.volume, ask.offset, ask.length);
  const study = ask.algorithm === PROOF_ALGORITHM ? new Study(bases[ask.volume] as DigestedBase, ask, waiting) : null;
  // Content that nobody looks at need not be brought here.
  const seen = study === null || study.over ? {} : { seen: study.seen.bind(study) };
  digestRange({ source: replica, digests, ...seen }, ask, ask, (result) => {
    const lesson = study?.end() ?? null;
    if (!('digests' in result)) return done({ kind: 'failed', why: failureError(result).message });
    if (lesson !== null) learner.keep({ asker, number: ask.number }, lesson);
    done({ kind: 'digest', digests: result.digests, own: null, ...(lesson !== null && { learns: true }) });
  });
}

/** Blocks that differ, one by one, with the word of the own digests. */
function digestAndCheck(on: Examined, ask: Ask, done: (answer: Answer) => void): void {
  const { replica, bases, digests } = on;
  let content: Uint8Array | null = null;
  let failed: string | null = null;
  let own: OwnWord | null = null;
  let written = false;
  let left = 2;
  const ended = (): void => {
    if (--left > 0) return;
    if (failed !== null) done({ kind: 'failed', why: failed });
    // It could not be told whether the block or its digest is wrong: the question is asked once more.
    else if (written) done({ kind: 'missed' });
    else done({ kind: 'digest', digests: content as Uint8Array, own });
  };
  // Of these the content does not come from the base image, so nothing that is known of the image proves anything.
  const waiting = new Set(replica.records.waitingBlocks(ask.volume, ask.offset, ask.length));
  (bases[ask.volume] as DigestedBase).check(ask.offset, ask.length, digests, (check) => {
    if (check.kind === 'written') written = true;
    else if (check.kind === 'unreadable') failed = failureError(check.failure).message;
    else {
      const rotten = check.faults.filter(({ kind, block }) => kind === 'rot' && !waiting.has(block)).map(({ block }) => block);
      own = { rotten, unknown: [...check.unknown.filter((block) => !waiting.has(block)), ...waiting] };
    }
    ended();
  });
  digestRange({ source: replica, digests }, ask, ask, (result) => {
    if ('digests' in result) content = result.digests;
    else failed = failureError(result).message;
    ended();
  });
}

/** The news that all copies are equal in the range of a question, as it travels; a question for nothing. */
export function encodeEqual(number: number): unknown {
  return { number, kind: 'equal' };
}

/** The number of the question; null when it is none of these. */
export function readEqual(o: Record<string, unknown> | null): number | null {
  return o?.['kind'] === 'equal' && isCount(o['number']) ? o['number'] : null;
}

/** A question as it travels. */
export function encodeAsk(ask: Ask): unknown {
  return { ...ask };
}

/** A question from the network; null when it is none that could be carried out. */
export function readAsk(o: Record<string, unknown> | null, volumes: readonly { readonly sizeBytes: number }[]): Ask | null {
  if (o === null) return null;
  const { number, kind, seq, volume, offset, length, algorithm, blockBytes } = o;
  if (kind !== 'digest' && kind !== 'empty' && kind !== 'content') return null;
  const counts = [number, seq, volume, offset, length, blockBytes];
  if (!counts.every((value) => isCount(value)) || !DIGEST_ALGORITHMS.includes(algorithm as DigestAlgorithm)) return null;
  const ask = { number, kind, seq, volume, offset, length, algorithm, blockBytes } as Ask;
  const size = volumes[ask.volume]?.sizeBytes;
  if (size === undefined || ask.length === 0 || ask.offset + ask.length > size) return null;
  if (ask.offset % BLOCK_BYTES !== 0 || ask.length % BLOCK_BYTES !== 0) return null;
  if (kind !== 'empty' && ask.length > limits.verifyStepBytes) return null;
  if (kind === 'digest' && (ask.blockBytes < BLOCK_BYTES || ask.blockBytes % BLOCK_BYTES !== 0)) return null;
  return ask;
}

/** An answer as it travels. */
export function encodeAnswer(number: number, answer: Answer): unknown {
  if (answer.kind === 'digest') return { number, ...answer, digests: encodeHex(answer.digests) };
  if (answer.kind === 'content') return { number, kind: 'content', bytes: encodeHex(answer.bytes) };
  return { number, ...answer };
}

/** An answer from the network to a question; null when it does not answer that. */
export function readAnswer(o: Record<string, unknown> | null, ask: Ask): Answer | null {
  switch (o?.['kind']) {
    case 'missed':
      return { kind: 'missed' };
    case 'failed':
      return typeof o['why'] === 'string' ? { kind: 'failed', why: o['why'].slice(0, 500) } : null;
    case 'digest': {
      const digests = decodeHex(o['digests']);
      const own = readOwnWord(o['own']);
      if (ask.kind !== 'digest' || digests?.length !== Math.ceil(ask.length / ask.blockBytes) * DIGEST_BYTES[ask.algorithm]) return null;
      return own === undefined ? null : { kind: 'digest', digests, own, ...(o['learns'] === true && { learns: true }) };
    }
    case 'content': {
      const bytes = decodeHex(o['bytes']);
      return ask.kind === 'content' && bytes?.length === ask.length ? { kind: 'content', bytes } : null;
    }
    case 'empty':
      return ask.kind === 'empty' ? readEmpty(o, ask) : null;
    default:
      return null;
  }
}

/** Undefined when it is none. */
function readOwnWord(value: unknown): OwnWord | null | undefined {
  if (value === null) return null;
  const { rotten, unknown } = (typeof value === 'object' ? value : {}) as Record<string, unknown>;
  if (![rotten, unknown].every((blocks) => Array.isArray(blocks) && blocks.every((block) => isCount(block)))) return undefined;
  return { rotten: rotten as readonly number[], unknown: unknown as readonly number[] };
}

function readEmpty(o: Record<string, unknown>, ask: Ask): Answer | null {
  const { data, upTo } = o;
  const end = ask.offset + ask.length;
  if (!Array.isArray(data) || data.length > DATA_EXTENTS_MAX || !isCount(upTo) || upTo <= ask.offset || upTo > end) return null;
  const extents: [number, number][] = [];
  for (const extent of data as unknown[]) {
    if (!Array.isArray(extent)) return null;
    const [offset, length] = extent as unknown[];
    if (!isCount(offset) || !isCount(length) || offset < ask.offset || length === 0 || offset + length > end) return null;
    if (offset % BLOCK_BYTES !== 0 || length % BLOCK_BYTES !== 0) return null;
    extents.push([offset, length]);
  }
  return { kind: 'empty', data: extents, upTo };
}
