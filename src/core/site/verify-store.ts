// What a site remembers of its verifies over restarts: when the last one ended, and how far the one under way has come. Losing it loses no data,
// only work; so a disk that fails here is left to those who need it more.

import { CELL_BYTES, encodeSlot, type Json, nextSlot, readCell } from '../base/cell.ts';
import { limits } from '../base/limits.ts';
import { type Digests, DiskError, type DigestAlgorithm, type Storage, type StoredFile } from '../base/ports.ts';
import { isCount, type WallMillis } from '../base/units.ts';
import { DIGEST_ALGORITHMS } from '../scan/digest.ts';
import type { VerifyCursor, VerifyOrder } from '../scan/verify.ts';

const VERIFY_FILE = 'verify';

/** What is remembered. */
export interface VerifyMemory {
  /** When the last whole verify began and ended; null when there was none. */
  readonly lastBegan: WallMillis | null;
  readonly lastEnded: WallMillis | null;
  /** When a verify was given up; left out where that never was. */
  readonly givenUp?: WallMillis;
  /** The verify under way; `scheduled` if it is a scrub, which keeps to its times of the day. */
  readonly run: {
    readonly order: VerifyOrder;
    readonly cursor: VerifyCursor;
    readonly began: WallMillis;
    readonly scheduled?: boolean;
    /** What it could not compare; left out where that is nothing. */
    readonly unverifiedBytes?: number;
  } | null;
}

const NOTHING: VerifyMemory = { lastBegan: null, lastEnded: null, run: null };

/** The memory of one group at one site. */
export class VerifyStore {
  readonly #storage: Storage;
  readonly #digests: Digests;
  #file: StoredFile | null = null;
  #revision = 0;
  #slot: 0 | 1 = 0;
  #flushing = false;
  value: VerifyMemory = NOTHING;

  constructor(storage: Storage, digests: Digests) {
    this.#storage = storage;
    this.#digests = digests;
  }

  /** Reads what is there; what cannot be read counts as nothing. */
  open(): void {
    try {
      this.#file = this.#storage.open(VERIFY_FILE, { create: true });
      const cell = new Uint8Array(CELL_BYTES);
      this.#file.read(0, cell);
      const state = readCell(cell, (bytes, seed) => this.#digests.crc32(bytes, seed));
      this.#slot = state.kind === 'value' || state.kind === 'empty' ? nextSlot(state) : 0;
      if (state.kind !== 'value') return;
      this.#revision = state.revision;
      this.value = readMemory(state.value) ?? NOTHING;
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      this.#file = null;
    }
  }

  /** Remembers something new. */
  set(value: VerifyMemory): void {
    this.value = value;
    const file = this.#file;
    // While one is on its way to the disk the other slot must stay as it is; what comes meanwhile is written behind it.
    if (file === null || this.#flushing) return;
    const slot = encodeSlot(++this.#revision, value as unknown as Json, (bytes, seed) => this.#digests.crc32(bytes, seed));
    try {
      file.write(this.#slot * limits.cellSlotBytes, [slot]);
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      this.#file = null;
      return;
    }
    this.#slot = this.#slot === 0 ? 1 : 0;
    this.#flushing = true;
    this.#storage.flush([file], (failure) => {
      this.#flushing = false;
      if (failure !== null) this.#file = null;
      else if (this.value !== value) this.set(this.value);
    });
  }

  close(): void {
    this.#file?.close();
    this.#file = null;
  }
}

function readMemory(value: Json): VerifyMemory | null {
  const memory = value as unknown as VerifyMemory | null;
  if (memory === null || typeof memory !== 'object') return null;
  const { lastBegan, lastEnded, givenUp, run } = memory;
  if ((lastBegan !== null && !isCount(lastBegan)) || (lastEnded !== null && !isCount(lastEnded))) return null;
  const ends = { lastBegan, lastEnded, ...(isCount(givenUp) && { givenUp }) };
  if (run === null) return { ...ends, run };
  const { order, cursor, began, scheduled, unverifiedBytes = 0 } = run;
  const sound =
    isCount(cursor.volume) &&
    isCount(cursor.offset) &&
    isCount(began) &&
    isCount(unverifiedBytes) &&
    DIGEST_ALGORITHMS.includes(order.algorithm as DigestAlgorithm) &&
    typeof order.reportOnly === 'boolean' &&
    isCount(order.bytesPerSecond);
  return sound
    ? { ...ends, run: { order, cursor, began, scheduled: scheduled === true, ...(unverifiedBytes > 0 && { unverifiedBytes }) } }
    : null;
}
