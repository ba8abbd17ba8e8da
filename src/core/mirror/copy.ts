// Sends images of ranges in between the records of the ordinary stream: all of a volume, what a bitmap names, or what a scan finds to differ. An
// image holds the content as of its place in the stream or a later one, because no records are sent to this peer while an image is being read; the
// mirror keeps images and records apart from the volume it has, so once it holds every record up to the end marker its content is exact.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { Digests } from '../base/ports.ts';
import type { Epoch, Millis, Seq, VolumeIndex } from '../base/units.ts';
import type { ReplicaFailure } from '../replica/options.ts';
import type { Cursor } from '../replica/receive.ts';
import type { ResyncRung } from '../replica/superblock.ts';
import type { LinkPace } from './link-pace.ts';
import type { Link } from './link.ts';
import { CURSOR_BODY, encodeNumbers, IMAGE_BODY, IMAGE_END_BODY } from './messages.ts';
import type { RangeSource } from './ranges.ts';
import type { ScanSide } from './scan.ts';

/** What the sender reads from: the primary's replica. */
export interface ImageSource {
  readonly volumes: readonly { readonly sizeBytes: number }[];
  readonly marks: { readonly received: Seq; readonly committed: Seq };
  imageRanges(volume: VolumeIndex, fromOffset: number, lengthMax: number): { offset: number; length: number; zero: boolean } | null;
  readCold(volume: VolumeIndex, offset: number, into: Uint8Array, done: (needSeq: Seq, failure: ReplicaFailure | null) => void): void;
}

/** Ranges looked at in one turn: finding out what a thin volume does not hold takes time, and hosts are waiting. */
const IMAGES_PER_TURN = 16;

export class CopySender {
  readonly rung: ResyncRung;
  /** Why the rung above was not possible, and when this one began. */
  readonly why: string;
  readonly ranges: RangeSource;
  readonly beganAt: Millis;
  readonly passedAtBegin: number;
  /** This side's part of the scan that finds the ranges. */
  readonly scan: ScanSide | null;
  readonly #source: ImageSource;
  readonly #link: Link;
  readonly #digests: Digests;
  readonly #epoch: Epoch;
  readonly #wake: () => void;
  readonly #pace: LinkPace;
  /** The range that is being sent, as far as it is left. */
  #current: { readonly volume: VolumeIndex; offset: number; readonly end: number } | null = null;
  #number = 0;
  #acknowledged = 0;
  #unconfirmed: number[] = [];
  #unconfirmedBytes = 0;
  #reading = false;
  #stopped = false;
  /** Seq from which on the copy is whole, once every image was sent. */
  #endSeq: Seq | null = null;
  #endSent = false;
  sentBytes = 0;

  constructor(options: {
    rung: ResyncRung;
    why: string;
    ranges: RangeSource;
    now: Millis;
    scan: ScanSide | null;
    source: ImageSource;
    link: Link;
    digests: Digests;
    epoch: Epoch;
    pace: LinkPace;
    wake: () => void;
  }) {
    this.rung = options.rung;
    this.why = options.why;
    this.ranges = options.ranges;
    this.beganAt = options.now;
    this.passedAtBegin = options.ranges.passedBytes;
    this.scan = options.scan;
    this.#source = options.source;
    this.#link = options.link;
    this.#digests = options.digests;
    this.#epoch = options.epoch;
    this.#pace = options.pace;
    this.#wake = options.wake;
  }

  /** Bytes of the volumes that were gone through so far, and altogether. */
  get passedBytes(): number {
    return this.ranges.passedBytes;
  }

  get totalBytes(): number {
    return this.ranges.totalBytes;
  }

  /** While an image is read no record may be sent to this peer: the image must not be older than its place in the stream. */
  get holdsStream(): boolean {
    return this.#reading;
  }

  /** Whether there may be something to send once the pace allows it. */
  get hasMore(): boolean {
    return !this.#stopped && !this.#reading && this.#endSeq === null && this.#unconfirmedBytes < limits.imageWindowBytes;
  }

  /** The record as of which the copy is whole; null before every image was sent. */
  get endSeq(): Seq | null {
    return this.#endSeq;
  }

  get endSent(): boolean {
    return this.#endSent;
  }

  stop(): void {
    this.#stopped = true;
    this.scan?.stop();
  }

  /** The mirror has images up to `number` in its base image. Returns what is wrong, or null. */
  acknowledged(number: number): string | null {
    if (number > this.#number || number < this.#acknowledged) return `confirms image ${number}, ${this.#number} were sent`;
    while (this.#acknowledged < number) {
      this.#unconfirmedBytes -= this.#unconfirmed.shift() ?? 0;
      this.#acknowledged++;
    }
    return null;
  }

  /** Sends what the window allows. `nextSeq`: the next record that this peer will be sent. */
  pump(nextSeq: Seq): void {
    let images = 0;
    while (this.hasMore && this.#pace.isOpen) {
      if (images++ === IMAGES_PER_TURN) {
        this.#wake();
        return;
      }
      if (!this.#step()) break;
    }
    const end = this.#endSeq;
    if (end !== null && !this.#endSent && !this.#stopped && nextSeq > end && this.#source.marks.committed >= end) {
      this.#endSent = true;
      this.#link.send('imageEnd', encodeNumbers(IMAGE_END_BODY, [this.#epoch, end]));
    }
  }

  /** Sends or begins one thing; false when there is nothing to do now. */
  #step(): boolean {
    const current = this.#current;
    if (current !== null && current.offset < current.end) {
      const { volume, offset } = current;
      const range = this.#source.imageRanges(volume, offset, limits.imageBytesMax);
      assert(range !== null && range.offset === offset, 'image ranges must leave nothing out', { volume, offset });
      const length = Math.min(range.length, current.end - offset);
      current.offset += length;
      if (range.zero) this.#sendImage(volume, offset, length, null);
      else this.#readAndSend(volume, offset, length);
      return true;
    }
    const next = this.ranges.next();
    if (next === 'wait') return false;
    if (next === 'end') {
      this.#endSeq = this.#source.marks.received;
      return false;
    }
    if (next.kind === 'settled') this.#sendCursor(next.cursor);
    else this.#current = { volume: next.range.volume, offset: next.range.offset, end: next.range.offset + next.range.length };
    return true;
  }

  #sendCursor({ volume, offset }: Cursor): void {
    const upTo = this.#source.marks.received;
    this.#link.send('cursor', encodeNumbers(CURSOR_BODY, [this.#epoch, this.#number, upTo, offset, volume, 0]));
  }

  #readAndSend(volume: VolumeIndex, offset: number, length: number): void {
    const bytes = new Uint8Array(length);
    this.#reading = true;
    this.#source.readCold(volume, offset, bytes, (_needSeq, failure) => {
      this.#reading = false;
      if (this.#stopped) return;
      // A failed read has failed the replica, which ends this reign; nothing is sent in its place.
      if (failure === null) this.#sendImage(volume, offset, length, bytes);
      this.#wake();
    });
  }

  #sendImage(volume: VolumeIndex, offset: number, length: number, bytes: Uint8Array | null): void {
    this.#number++;
    const cost = bytes === null ? 64 : bytes.length;
    this.#unconfirmed.push(cost);
    this.#unconfirmedBytes += cost;
    this.sentBytes += cost;
    const head = encodeNumbers(IMAGE_BODY, [this.#epoch, this.#number, offset, length, volume, bytes === null ? 2 : 1, 0]);
    let crc = this.#digests.crc32(head, 0);
    if (bytes !== null) crc = this.#digests.crc32(bytes, crc);
    this.#pace.spend(this.#link.sendParts('image', bytes === null ? [head] : [head, bytes], crc));
  }
}
