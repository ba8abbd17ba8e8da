// A sidefile record by record, for people: out of a replica that is open, or out of the files of a site that is stopped. Nothing is changed by it,
// and damage is shown where it stands instead of ending it.

import type { Digests, Storage, StoredFile } from '../base/ports.ts';
import { type History, inHistory } from '../base/position.ts';
import type { Epoch, Seq, WallMillis } from '../base/units.ts';
import { limits } from '../base/limits.ts';
import { type FrameView, readFrame } from '../record/decode.ts';
import { FRAME_HEADER_BYTES, groupTagOf, RECORD_KIND } from '../record/layout.ts';
import { decodeMark, decodeSegmentHeader, MARK_BYTES, SEGMENT_HEADER_BYTES, segmentNumberOf } from './segment.ts';
import { segmentFiles } from './sidefile.ts';
import { Superblock, type SuperblockValue } from './superblock.ts';

/** One record as it lies in a sidefile. */
export interface SidefileRecord {
  readonly seq: Seq;
  readonly epoch: Epoch;
  /** Wall clock of the primary when it numbered the record. */
  readonly timeMillis: WallMillis;
  readonly volume: string;
  readonly offset: number;
  readonly length: number;
  readonly kind: 'write' | 'zeroes' | 'trim';
  /** void: cut off, its bytes are still there. folded: it came without its payload, which later records of its frame cover. */
  readonly checksum: 'right' | 'wrong' | 'void' | 'folded';
}

/** What a stopped site's files hold. */
export interface FilesReport {
  readonly superblock: SuperblockValue;
  readonly records: readonly SidefileRecord[];
  /** Oldest and newest record that were found, void ones aside; null when there is none. */
  readonly oldest: Seq | null;
  readonly received: Seq | null;
  /** Places that could not be read as records. */
  readonly faults: readonly { readonly file: string; readonly offset: number; readonly why: string }[];
}

const KINDS = { [RECORD_KIND.write]: 'write', [RECORD_KIND.zeroes]: 'zeroes', [RECORD_KIND.trim]: 'trim' } as const;

/** Which records are wanted. */
export interface RecordRange {
  readonly from: Seq;
  readonly count: number;
}

/** The records of a frame that are wanted, appended to `into`. */
export function recordsOf(
  frame: FrameView,
  range: RecordRange,
  given: { volumes: readonly { readonly name: string }[]; digests: Digests; history: History | null },
  into: SidefileRecord[],
): void {
  for (let index = 0; index < frame.recordCount && into.length < range.count; index++) {
    const seq = frame.firstSeq + index;
    if (seq < range.from) continue;
    const isVoid = given.history !== null && !inHistory(given.history, frame.epoch, seq);
    const right = frame.badPayload(index, index, given.digests) < 0;
    into.push({
      seq,
      epoch: frame.epoch,
      timeMillis: frame.timeAt(index),
      volume: given.volumes[frame.volumeAt(index)]?.name ?? `#${frame.volumeAt(index)}`,
      offset: frame.offsetAt(index),
      length: frame.lengthAt(index),
      kind: KINDS[frame.kindAt(index)],
      checksum: isVoid ? 'void' : frame.foldedAt(index) ? 'folded' : right ? 'right' : 'wrong',
    });
  }
}

/** Reads the files of a site that is stopped. Returns why there is nothing to read, or what was found. Throws DiskError. */
export function inspectFiles(storage: Storage, digests: Digests, range: RecordRange): FilesReport | string {
  const block = Superblock.read(storage, digests);
  if (block.kind === 'absent') return 'there is no replica in this folder';
  if (block.kind === 'damaged') return `the superblock is damaged: ${block.why}`;
  if (block.kind === 'version') return `the superblock has format version ${block.found}`;
  const { value } = block.superblock;
  block.superblock.close();
  if (value.sidefile === 'memory') {
    const { destaged } = value;
    return `its sidefile was in memory (sidefile = "memory" in the configuration), so that nothing of it is on the disk: the base image holds everything up to record ${destaged}`;
  }
  const reader = new FilesReader(digests, value, range);
  for (const name of segmentFiles(storage)) {
    const file = storage.open(name, { create: false });
    try {
      reader.segment(file);
    } finally {
      file.close();
    }
  }
  const { records, oldest, received, faults } = reader;
  records.sort((a, b) => a.seq - b.seq || a.epoch - b.epoch);
  return { superblock: value, records, oldest, received, faults };
}

class FilesReader {
  readonly records: SidefileRecord[] = [];
  readonly faults: { file: string; offset: number; why: string }[] = [];
  oldest: Seq | null = null;
  received: Seq | null = null;
  /** Last record that was read, void ones too. */
  #last: Seq | null = null;
  readonly #digests: Digests;
  readonly #value: SuperblockValue;
  readonly #range: RecordRange;
  readonly #groupTag: number;

  constructor(digests: Digests, value: SuperblockValue, range: RecordRange) {
    this.#digests = digests;
    this.#value = value;
    this.#range = range;
    this.#groupTag = groupTagOf(value.groupId, digests);
  }

  segment(file: StoredFile): void {
    const size = file.size();
    const head = new Uint8Array(SEGMENT_HEADER_BYTES);
    file.read(0, head);
    const check = decodeSegmentHeader(head, segmentNumberOf(file.name) as number, this.#groupTag, this.#digests);
    if (check.kind !== 'segment') {
      this.faults.push({ file: file.name, offset: 0, why: check.kind === 'short' ? 'it is cut short' : check.why });
      return;
    }
    const { firstSeq } = check.header;
    if (this.#last !== null && firstSeq > this.#last + 1)
      this.faults.push({ file: file.name, offset: 0, why: `records ${this.#last + 1} to ${firstSeq - 1} before it cannot be read` });
    for (let at = SEGMENT_HEADER_BYTES; at < size;) {
      const step = this.#step(file, check.header.segmentNumber, at, size);
      if (step === 0) return;
      at += step;
    }
  }

  /**
   * Reads the frame at `at` and the mark behind it; returns how many bytes to go on, 0 at the end of what was written: the file may be longer,
   * and hold anything there.
   */
  #step(file: StoredFile, segmentNumber: number, at: number, size: number): number {
    const options = { groupTag: this.#groupTag, checkPayload: false, digests: this.#digests };
    let bytes = new Uint8Array(Math.min(FRAME_HEADER_BYTES, size - at));
    file.read(at, bytes);
    let check = readFrame(bytes, 0, options);
    while (check.kind === 'short' && check.needBytes > bytes.length && check.needBytes <= Math.min(size - at, limits.frameBytesMax)) {
      bytes = new Uint8Array(check.needBytes);
      file.read(at, bytes);
      check = readFrame(bytes, 0, options);
    }
    const frameBytes = check.kind === 'frame' ? check.frame.byteCount : check.kind === 'damaged' ? (check.head?.frameBytes ?? null) : null;
    if (frameBytes === null || at + frameBytes + MARK_BYTES > size) return 0;
    const mark = new Uint8Array(MARK_BYTES);
    file.read(at + frameBytes, mark);
    if (decodeMark(mark, segmentNumber, this.#groupTag, this.#digests) === null) return 0;
    if (check.kind === 'frame') this.#frame(check.frame);
    else if (check.kind === 'damaged') this.faults.push({ file: file.name, offset: at, why: check.why });
    return frameBytes + MARK_BYTES;
  }

  #frame(frame: FrameView): void {
    const { history, volumes } = this.#value;
    recordsOf(frame, this.#range, { volumes, digests: this.#digests, history }, this.records);
    this.#last = frame.lastSeq;
    if (!inHistory(history, frame.epoch, frame.firstSeq)) return;
    this.oldest ??= frame.firstSeq;
    let last = frame.lastSeq;
    while (last > frame.firstSeq && !inHistory(history, frame.epoch, last)) last--;
    this.received = Math.max(this.received ?? 0, last);
  }
}
