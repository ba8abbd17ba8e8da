// Sends a whole copy: images of every range that is not a hole, in between the records of the ordinary stream. An image holds the content as of
// its place in the stream or a later one, because no records are sent to this peer while an image is being read; the mirror writes images to its
// base image and keeps the records, so once it holds every record up to the end marker its content is exact. Until then it is marked
// inconsistent.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { Digests } from '../base/ports.ts';
import type { Epoch, Seq, VolumeIndex } from '../base/units.ts';
import type { ReplicaFailure } from '../replica/options.ts';
import type { Link } from './link.ts';
import { encodeNumbers, IMAGE_BODY, IMAGE_END_BODY } from './messages.ts';

/** What the sender reads from: the primary's replica. */
export interface ImageSource {
  readonly volumes: readonly { readonly sizeBytes: number }[];
  readonly marks: { readonly received: Seq; readonly committed: Seq };
  imageRanges(volume: VolumeIndex, fromOffset: number, lengthMax: number): { offset: number; length: number; zero: boolean } | null;
  readImage(volume: VolumeIndex, offset: number, into: Uint8Array, done: (failure: ReplicaFailure | null) => void): void;
}

/** Ranges looked at in one turn: finding out what a thin volume does not hold takes time, and hosts are waiting. */
const IMAGES_PER_TURN = 16;

export class CopySender {
  readonly #source: ImageSource;
  readonly #link: Link;
  readonly #digests: Digests;
  readonly #epoch: Epoch;
  readonly #wake: () => void;
  #volume: VolumeIndex = 0;
  #offset = 0;
  #number = 0;
  #acknowledged = 0;
  #unconfirmed: number[] = [];
  #unconfirmedBytes = 0;
  #reading = false;
  #stopped = false;
  /** Seq from which on the copy is whole, once every image was sent. */
  #endSeq: Seq | null = null;
  #endSent = false;
  /** Bytes of the volumes that were passed so far, holes included; for progress. */
  passedBytes = 0;
  sentBytes = 0;
  readonly totalBytes: number;

  constructor(options: { source: ImageSource; link: Link; digests: Digests; epoch: Epoch; wake: () => void }) {
    this.#source = options.source;
    this.#link = options.link;
    this.#digests = options.digests;
    this.#epoch = options.epoch;
    this.#wake = options.wake;
    this.totalBytes = options.source.volumes.reduce((sum, volume) => sum + volume.sizeBytes, 0);
  }

  /** While an image is read no record may be sent to this peer: the image must not be older than its place in the stream. */
  get holdsStream(): boolean {
    return this.#reading;
  }

  get endSent(): boolean {
    return this.#endSent;
  }

  stop(): void {
    this.#stopped = true;
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
    while (!this.#stopped && !this.#reading && this.#endSeq === null && this.#unconfirmedBytes < limits.imageWindowBytes) {
      if (images++ === IMAGES_PER_TURN) {
        this.#wake();
        return;
      }
      const volume = this.#source.volumes[this.#volume];
      if (volume === undefined) {
        this.#endSeq = this.#source.marks.received;
        break;
      }
      const range = this.#offset < volume.sizeBytes ? this.#source.imageRanges(this.#volume, this.#offset, limits.imageBytesMax) : null;
      if (range === null) {
        this.#volume++;
        this.#offset = 0;
        continue;
      }
      assert(range.offset === this.#offset, 'image ranges must leave nothing out', { ...range, expected: this.#offset });
      this.#offset += range.length;
      if (range.zero) this.#sendImage(this.#volume, range.offset, range.length, null);
      else this.#readAndSend(this.#volume, range.offset, range.length);
    }
    const end = this.#endSeq;
    if (end !== null && !this.#endSent && !this.#stopped && nextSeq > end && this.#source.marks.committed >= end) {
      this.#endSent = true;
      this.#link.send('imageEnd', encodeNumbers(IMAGE_END_BODY, [this.#epoch, end]));
    }
  }

  #readAndSend(volume: VolumeIndex, offset: number, length: number): void {
    const bytes = new Uint8Array(length);
    this.#reading = true;
    this.#source.readImage(volume, offset, bytes, (failure) => {
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
    this.passedBytes += length;
    this.sentBytes += cost;
    const head = encodeNumbers(IMAGE_BODY, [this.#epoch, this.#number, offset, length, volume, bytes === null ? 2 : 1, 0]);
    let crc = this.#digests.crc32(head, 0);
    if (bytes !== null) crc = this.#digests.crc32(bytes, crc);
    this.#link.sendParts('image', bytes === null ? [head] : [head, bytes], crc);
  }
}
