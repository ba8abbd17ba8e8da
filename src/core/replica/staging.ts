// Where the images of a resync wait for its end: a sparse file for each volume beside the sidefile, each image at its own offset, and an index
// that says which ranges count. Until the end marker the base images are left alone, so that a resync that never ends leaves the older volume
// as it was; then everything here is brought into the bases, which may be begun again as often as it is cut off. Beside each file is a table of the
// digests of its blocks, as beside a base image: what a disk has changed meanwhile goes into no base.

import { assert } from '../base/assert.ts';
import { PagedBits } from '../base/bits.ts';
import { getU64, layout, type Layout, setU64, viewOf } from '../base/bytes.ts';
import { limits } from '../base/limits.ts';
import { type Digests, type DiskDone, DiskError, type DiskFailure, type FilePart, type Storage, type StoredFile } from '../base/ports.ts';
import { BLOCK_BYTES, type VolumeIndex } from '../base/units.ts';
import type { ImageContent } from './copy.ts';
import { DigestTable } from './digest-table.ts';
import { DigestedBase } from './digested-base.ts';
import { ROOM_FILE, StagingRoom } from './staging-room.ts';

const INDEX_FILE = 'staging-index';

const entryFields = [
  ['crc', 'u32', 'CRC-32 of bytes 4 to 31 of this entry'],
  ['volume', 'u16', 'index of the volume in its group'],
  ['reserved', 'u16', '0'],
  ['number', 'u64', 'number of this entry, from 0'],
  ['offset', 'u64', 'first byte of the range in the volume'],
  ['length', 'u64', 'bytes of the range: what the staging file holds there counts, holes as zeroes'],
] as const;

/** One entry of the index of staged images. */
export const stagingEntryLayout: Layout<(typeof entryFields)[number][0]> = layout(32, entryFields);

const ENTRY_BYTES = stagingEntryLayout.bytes;
/** Bytes that are checked, or moved to a base, at once. */
const APPLY_BYTES = 1024 * 1024;
/** What file systems say of content that has not its checksum. */
const CHANGED = 'EBADMSG';

export interface StagingOptions {
  readonly storage: Storage;
  readonly digests: Digests;
  readonly volumes: readonly { readonly sizeBytes: number }[];
  /** What has to stay free for others. */
  readonly leaveBytes: () => number;
}

/** Names of the files of a staging area, for removing what is left of one. */
function stagingFiles(volumeCount: number): string[] {
  const volumes = Array.from({ length: volumeCount }, (_, volume) => [fileOf(volume), tableOf(volume)]);
  return [INDEX_FILE, ROOM_FILE, ...volumes.flat()];
}

/** Removes what is left of a staging area; none of its files may be open. Throws DiskError. */
export function discardStaging(storage: Storage, volumeCount: number): void {
  const there = new Set(storage.list());
  for (const name of stagingFiles(volumeCount)) if (there.has(name)) storage.remove(name);
}

/** How many of the first `entries` entries of the index are there: fewer where the disk has changed one. Throws DiskError. */
export function soundEntries(storage: Storage, digests: Digests, entries: number): number {
  if (entries === 0 || !storage.list().includes(INDEX_FILE)) return 0;
  const bytes = new Uint8Array(entries * ENTRY_BYTES);
  const file = storage.open(INDEX_FILE, { create: false });
  try {
    file.read(0, bytes);
  } finally {
    file.close();
  }
  let sound = 0;
  while (sound < entries && isSound(entryIn(bytes, sound), sound, digests)) sound++;
  return sound;
}

function entryIn(bytes: Uint8Array, number: number): Uint8Array {
  return bytes.subarray(number * ENTRY_BYTES, (number + 1) * ENTRY_BYTES);
}

function isSound(entry: Uint8Array, number: number, digests: Digests): boolean {
  const view = viewOf(entry);
  const { at } = stagingEntryLayout;
  return view.getUint32(at.crc, true) === digests.crc32(entry.subarray(4), 0) && getU64(view, at.number) === number;
}

function fileOf(volume: VolumeIndex): string {
  return `staging-${volume}`;
}

function tableOf(volume: VolumeIndex): string {
  return `staging-digests-${volume}`;
}

/** Whether something that was staged cannot be had as it was put there: that is a matter of this resync, and the disk may be sound. */
export function isChanged({ operation, code }: DiskFailure): boolean {
  return operation === 'read' && code === CHANGED;
}

/** A staging area. Its calls throw DiskError. */
export class Staging {
  readonly #options: StagingOptions;
  readonly #index: StoredFile;
  readonly #files: DigestedBase[] = [];
  /** By volume: the blocks that are staged. */
  readonly #blocks: PagedBits[];
  readonly #room: StagingRoom;
  #entries = 0;
  /** Bytes of images that were staged so far. */
  stagedBytes = 0;
  /** Where the disk was last found to have changed what is staged. */
  changedAt: { readonly volume: VolumeIndex; readonly offset: number } | null = null;

  /** Opens the area with its first `entries` entries; what was staged behind them does not count. Throws DiskError. */
  constructor(options: StagingOptions, entries: number) {
    this.#options = options;
    this.#blocks = options.volumes.map(() => new PagedBits());
    const { storage } = options;
    this.#room = new StagingRoom(storage, options.leaveBytes);
    try {
      this.#index = storage.open(INDEX_FILE, { create: true });
    } catch (error) {
      this.#room.file.close();
      throw error;
    }
    try {
      for (const [volume, { sizeBytes }] of options.volumes.entries()) {
        this.#files.push(this.#openFile(volume, sizeBytes));
      }
      this.#read(entries);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** What was lacking when space was refused last. */
  get lack(): StagingRoom['lack'] {
    return this.#room.lack;
  }

  get entries(): number {
    return this.#entries;
  }

  get files(): readonly StoredFile[] {
    return [this.#index, ...this.#files];
  }

  #openFile(volume: VolumeIndex, sizeBytes: number): DigestedBase {
    const { storage, digests } = this.#options;
    const image = storage.open(fileOf(volume), { create: true });
    let table: StoredFile | null = null;
    try {
      table = storage.open(tableOf(volume), { create: true });
      const file = new DigestedBase(image, new DigestTable(table, sizeBytes / BLOCK_BYTES), digests);
      if (file.size() !== sizeBytes) file.truncate(sizeBytes);
      file.opened();
      return file;
    } catch (error) {
      table?.close();
      image.close();
      throw error;
    }
  }

  #read(entries: number): void {
    const bytes = new Uint8Array(entries * ENTRY_BYTES);
    this.#index.read(0, bytes);
    for (let number = 0; number < entries; number++) {
      const entry = entryIn(bytes, number);
      // Flushed before the superblock counted it, and looked at by the start: what is missing here was lost by the disk since, and the code is what file
      // systems give for that.
      if (!isSound(entry, number, this.#options.digests)) throw new DiskError({ operation: 'read', file: INDEX_FILE, code: 'EBADMSG' });
      const view = viewOf(entry);
      const { at } = stagingEntryLayout;
      this.#enter(view.getUint16(at.volume, true), getU64(view, at.offset), getU64(view, at.length));
    }
    this.#entries = entries;
  }

  #enter(volume: VolumeIndex, offset: number, length: number): void {
    const blocks = this.#blocks[volume];
    assert(blocks !== undefined, 'a staged image is of a volume of the group', { volume });
    blocks.add(offset / BLOCK_BYTES, (offset + length) / BLOCK_BYTES);
    this.stagedBytes += length;
  }

  /**
   * What is staged from a place on may have been written again since it was counted, image or table alone: its digests are not known until it comes once
   * more, as it does unless it was compared.
   */
  forgetFrom(cursor: { readonly volume: VolumeIndex; readonly offset: number }): void {
    for (let volume = cursor.volume; volume < this.#files.length; volume++) {
      const blocks = this.#blocks[volume] as PagedBits;
      let from = volume === cursor.volume ? Math.floor(cursor.offset / BLOCK_BYTES) : 0;
      for (let run = blocks.nextRun(from); run !== null; run = blocks.nextRun(from)) {
        this.fileAt(volume).table.clear(run.from, run.to - run.from);
        from = run.to;
      }
    }
  }

  /** Sets space aside for so many bytes of images. Returns null, or the lack of space. */
  reserve(byteCount: number): DiskFailure | null {
    return this.#room.ensure(byteCount);
  }

  /**
   * Puts an image here, over a range of which the base does not hold `baseBytes` yet; it counts in memory when `done` was called with null, and for
   * good once flushed and counted by the superblock.
   */
  put(volume: VolumeIndex, offset: number, content: ImageContent, baseBytes: number, done: DiskDone): void {
    const file = this.#files[volume];
    assert(file !== undefined, 'there is no such volume', { volume });
    const length = content instanceof Uint8Array ? content.length : content.zeroLength;
    // The base has grown since the area was opened.
    const end = offset + length;
    if (file.size() < end) {
      const grown = failureOf(() => file.truncate(end));
      if (grown !== null) return done(grown);
    }
    const entered = (): void => this.#append(volume, offset, length);
    if (content instanceof Uint8Array) {
      const lack = this.#room.take(length, baseBytes);
      if (lack !== null) return done(lack);
      file.writeParts([{ offset, bytes: content }], (failure) => done(failure ?? failureOf(entered)));
    } else {
      done(
        failureOf(() => {
          file.punch(offset, length);
          entered();
        }),
      );
    }
  }

  #append(volume: VolumeIndex, offset: number, length: number): void {
    const entry = new Uint8Array(ENTRY_BYTES);
    const view = viewOf(entry);
    const { at } = stagingEntryLayout;
    view.setUint16(at.volume, volume, true);
    setU64(view, at.number, this.#entries);
    setU64(view, at.offset, offset);
    setU64(view, at.length, length);
    view.setUint32(at.crc, this.#options.digests.crc32(entry.subarray(4), 0), true);
    this.#index.write(this.#entries * ENTRY_BYTES, [entry]);
    this.#entries++;
    this.#enter(volume, offset, length);
  }

  /** The stretch from `offset` on that is staged, or is not, as a whole: no longer than `lengthMax`. */
  stretch(volume: VolumeIndex, offset: number, lengthMax: number): { readonly length: number; readonly staged: boolean } {
    const block = offset / BLOCK_BYTES;
    const run = (this.#blocks[volume] as PagedBits).nextRun(block);
    if (run === null) return { length: lengthMax, staged: false };
    if (run.from > block) return { length: Math.min(lengthMax, (run.from - block) * BLOCK_BYTES), staged: false };
    return { length: Math.min(lengthMax, (run.to - block) * BLOCK_BYTES), staged: true };
  }

  fileAt(volume: VolumeIndex): DigestedBase {
    return this.#files[volume] as DigestedBase;
  }

  /** Whether everything that is staged is as it was put here: else a failure for which isChanged() holds. */
  check(done: DiskDone): void {
    this.#pieces((_volume, _offset, _bytes, next) => next(null), done);
  }

  /** Brings everything that is staged into the bases, and calls back with the first failure. The bases are not flushed by this. */
  apply(bases: readonly StoredFile[], done: DiskDone): void {
    // The bases take the space now.
    const unreleased = failureOf(() => this.#room.release());
    if (unreleased !== null) return done(unreleased);
    this.#pieces((volume, offset, bytes, next) => {
      const base = bases[volume];
      assert(base !== undefined, 'what is staged is of a volume of the group', { volume });
      const refused = failureOf(() => base.writeParts(this.#parts(base, offset, bytes), next));
      if (refused !== null) next(refused);
    }, done);
  }

  /** Reads what is staged piece by piece, and shows each that is as it was put here. `done` is told the first failure. */
  #pieces(each: (volume: VolumeIndex, offset: number, bytes: Uint8Array, next: DiskDone) => void, done: DiskDone): void {
    let volume = 0;
    let at = 0;
    const step = (failure: DiskFailure | null): void => {
      if (failure !== null) return done(failure);
      const blocks = this.#blocks[volume];
      if (blocks === undefined) return done(null);
      const run = blocks.nextRun(at);
      if (run === null) {
        volume++;
        at = 0;
        return step(null);
      }
      const to = Math.min(run.to, run.from + APPLY_BYTES / BLOCK_BYTES);
      at = to;
      const [of, offset] = [volume, run.from * BLOCK_BYTES];
      const bytes = new Uint8Array((to - run.from) * BLOCK_BYTES);
      this.fileAt(of).readChecked(offset, bytes, (unread, changed) => {
        if (unread !== null) return done(unread);
        if (changed === null) return each(of, offset, bytes, step);
        this.changedAt = { volume: of, offset: changed };
        done({ operation: 'read', file: fileOf(of), code: CHANGED });
      });
    };
    // As an event of its own, like everything that takes time.
    this.#options.storage.flush([], step);
  }

  /** What is to be written of a piece: zeroes are punched at once, and left out where they are at its ends or for long. */
  #parts(base: StoredFile, offset: number, bytes: Uint8Array): FilePart[] {
    const parts: FilePart[] = [];
    for (let at = 0; at < bytes.length;) {
      const zero = isZero(bytes.subarray(at, at + BLOCK_BYTES));
      let end = at + BLOCK_BYTES;
      while (end < bytes.length && isZero(bytes.subarray(end, end + BLOCK_BYTES)) === zero) end += BLOCK_BYTES;
      if (zero) base.punch(offset + at, end - at);
      else parts.push({ offset: offset + at, bytes: bytes.subarray(at, end) });
      at = end;
    }
    return parts;
  }

  close(): void {
    this.#index.close();
    this.#room.file.close();
    for (const file of this.#files) file.close();
  }

  /** Closes and removes the area. */
  remove(): void {
    this.close();
    for (const name of stagingFiles(this.#options.volumes.length)) this.#options.storage.remove(name);
  }
}

/** The failure of the storage that a step meets; null when it meets none. */
export function failureOf(step: () => void): DiskFailure | null {
  try {
    step();
    return null;
  } catch (error) {
    if (error instanceof DiskError) return error.failure;
    throw error;
  }
}

function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at++) if (bytes[at] !== 0) return false;
  return true;
}

assert(APPLY_BYTES % BLOCK_BYTES === 0 && APPLY_BYTES <= limits.destageRoundBytes, 'pieces are whole blocks and bounded');
