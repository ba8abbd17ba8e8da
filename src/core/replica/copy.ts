// A whole copy of a replica: what a mirror needs when the sidefiles no longer reach each other. The sender walks over its volumes and sends the
// newest content of each range while records go on streaming; the receiver puts images straight into its bases and records into its sidefile.
// At the end each block is as of some record up to the end, and replaying the sidefile over it makes the whole as of the end.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import { type DiskDone, DiskError, type Journal, type Storage, type StoredFile } from '../base/ports.ts';
import { assertHistory, epochOf, type History } from '../base/position.ts';
import { BLOCK_BYTES, type Epoch, type Seq, type VolumeIndex } from '../base/units.ts';
import type { Background } from './background.ts';
import type { Changes } from './changes.ts';
import type { GroupCommit } from './group-commit.ts';
import { trimHistory } from './history.ts';
import type { Marks } from './marks.ts';
import type { ReplicaDone, ReplicaFailure } from './options.ts';
import type { Reader } from './read.ts';
import type { Sidefile, SidefileStart } from './sidefile.ts';
import type { Superblock, SuperblockValue } from './superblock.ts';

/** A part of a volume that is to be sent; `zero`: it reads as zeroes, so its length says it all. */
export interface ImageRange {
  readonly offset: number;
  readonly length: number;
  readonly zero: boolean;
}

/** What the receiver puts into its base: bytes, or a number of bytes that read as zeroes. */
export type ImageContent = Uint8Array | { readonly zeroLength: number };

/**
 * The next range of a volume from `fromOffset` on, at most `bytesMax` long where it has data; holes and zeroes come as longer ranges. null at
 * the volume's end.
 */
export function nextImage(
  reader: Reader,
  volume: { readonly index: VolumeIndex; readonly sizeBytes: number },
  fromOffset: number,
  bounds: { readonly bytesMax: number; readonly committed: Seq },
): ImageRange | null {
  assert(fromOffset % BLOCK_BYTES === 0, 'a copy goes by whole blocks', { fromOffset });
  assert(bounds.bytesMax >= BLOCK_BYTES, 'an image holds at least a block', { bytesMax: bounds.bytesMax });
  if (fromOffset >= volume.sizeBytes) return null;
  const length = Math.min(volume.sizeBytes - fromOffset, limits.zeroesBytesMax);
  const first = reader.extents(volume.index, { offset: fromOffset, length }, 1, bounds.committed)[0];
  assert(first !== undefined, 'a range that is not empty has extents', { fromOffset, length });
  const wholeBlocks = Math.floor(bounds.bytesMax / BLOCK_BYTES) * BLOCK_BYTES;
  return { offset: fromOffset, length: first.zero ? first.length : Math.min(first.length, wholeBlocks), zero: first.zero };
}

/** What the receiver of a copy needs of its replica. */
export interface CopyGround {
  readonly group: string;
  readonly storage: Storage;
  readonly journal: Journal;
  readonly bases: readonly StoredFile[];
  readonly sidefile: Sidefile;
  readonly block: Superblock;
  readonly background: Background;
  readonly commit: GroupCommit;
  readonly changes: Changes;
  readonly marks: Marks;
  /** The replica's failure, once it has one. */
  readonly failure: () => ReplicaFailure | null;
  /** Calls back as an event of its own, with the replica's failure if there is one by then. */
  readonly later: (done: ReplicaDone) => void;
  /** Stops everything that is begun in the background, or lets it go on. */
  readonly stop: (stopped: boolean) => void;
  /** Everything is as of this record, and nothing waits for destaging. */
  readonly startOver: (position: Seq) => void;
  /** The marks have moved. */
  readonly moved: () => void;
  readonly update: (patch: Partial<SuperblockValue>, done: DiskDone) => void;
  /** Notes a failure of the storage; anything else is thrown on. */
  readonly note: (error: unknown) => void;
}

/** Fills a replica from a primary. See Replica for what each step promises. */
export class CopyReceiver {
  readonly #ground: CopyGround;
  #imagesUnderWay = 0;

  constructor(ground: CopyGround) {
    this.#ground = ground;
  }

  /** Gives up what is here. */
  begin(options: { epoch: Epoch; history: History; position: Seq; chain: number }, done: ReplicaDone): void {
    const { changes, background, block } = this.#ground;
    assertHistory(options.history);
    changes.begin('the begin of a copy', () => {
      assert(options.epoch >= block.value.epoch, 'an epoch that is adopted is not older', {
        epoch: options.epoch,
        newest: block.value.epoch,
      });
      // Nothing of before may reach a base or the sidefile after this.
      this.#ground.stop(true);
      background.whenIdle(() => this.#startOver(options, done));
    });
  }

  #startOver(options: { epoch: Epoch; history: History; position: Seq; chain: number }, done: ReplicaDone): void {
    const { epoch, position, chain } = options;
    const { changes, marks, journal, group } = this.#ground;
    if (this.#ground.failure() !== null) {
      changes.end();
      return this.#ground.later(done);
    }
    this.#ground.startOver(position);
    const history = trimHistory(options.history, marks);
    const copied = { destaged: position, destageTarget: position, destagedChain: chain, consistent: false, copying: { fromSeq: position } };
    this.#ground.update({ epoch, history, ...copied }, (failure) => {
      // Only now: until it says durably that this copy is inconsistent, the superblock stands for the old sidefile.
      if (failure === null) this.#resetSidefile({ nextSeq: position + 1, chain, epoch: epochOf(history, position) });
      this.#ground.stop(changes.closed);
      changes.end();
      journal('copy.begin', { group, fromSeq: position }, 'a whole copy has begun: this copy is inconsistent');
      done(this.#ground.failure());
    });
  }

  #resetSidefile(start: SidefileStart): void {
    try {
      this.#ground.sidefile.reset(start);
    } catch (error) {
      this.#ground.note(error);
    }
  }

  /** Puts an image into a base. */
  writeImage(volume: VolumeIndex, offset: number, content: ImageContent, done: ReplicaDone): void {
    const { block, changes, bases, background } = this.#ground;
    assert(block.durableValue.copying !== null, 'an image is written only while the superblock says so');
    assert(changes.current === null, 'no image is written during a change', { changing: changes.current });
    const base = bases[volume];
    assert(base !== undefined, 'there is no such volume', { volume });
    this.#imagesUnderWay++;
    const ended = background.begin((failure) => {
      this.#imagesUnderWay--;
      done(failure);
    });
    try {
      putImage(base, offset, content, ended);
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      ended(error.failure);
    }
  }

  /** Every image has come, and every record up to `endSeq`. */
  end(endSeq: Seq, done: ReplicaDone): void {
    const { block, marks, changes, journal, group } = this.#ground;
    assert(block.durableValue.copying !== null, 'a copy that ends has begun');
    assert(endSeq <= marks.received, 'a copy ends with records that are here', { endSeq, received: marks.received });
    assert(endSeq >= marks.destageTarget, 'a copy ends behind its begin', { endSeq, begin: marks.destageTarget });
    assert(this.#imagesUnderWay === 0, 'a copy ends when all images are written', { underWay: this.#imagesUnderWay });
    const ended: ReplicaDone = (failure) => {
      changes.end();
      if (failure === null) journal('copy.end', { group, endSeq }, 'the whole copy has ended: this copy is consistent');
      done(failure);
    };
    changes.begin('the end of a copy', () => this.#flushAll(endSeq, ended));
  }

  /** Makes sidefile and bases durable, and only then says so. */
  #flushAll(endSeq: Seq, ended: ReplicaDone): void {
    const { commit, background, storage, bases, marks } = this.#ground;
    commit.whenDurable(endSeq, (unflushed) => {
      if (unflushed !== null) return ended(unflushed);
      const flushed = background.begin((failure) => {
        if (failure !== null) return ended(failure);
        marks.destageTarget = endSeq;
        this.#ground.moved();
        this.#ground.update({ consistent: true, copying: null, destageTarget: endSeq }, ended);
      });
      storage.flush(bases, flushed);
    });
  }
}

/** Puts one image into a base; zeroes are punched here and now, and `done` is called before this returns. Throws DiskError when that fails. */
function putImage(base: StoredFile, offset: number, content: ImageContent, done: DiskDone): void {
  const length = content instanceof Uint8Array ? content.length : content.zeroLength;
  assert(offset % BLOCK_BYTES === 0, 'an image begins with a block', { file: base.name, offset });
  assert(length > 0 && length % BLOCK_BYTES === 0, 'an image is made of whole blocks', { file: base.name, length });
  assert(offset + length <= base.size(), 'an image ends within its volume', { file: base.name, offset, length });
  if (content instanceof Uint8Array) {
    base.writeParts([{ offset, bytes: content }], done);
  } else {
    base.punch(offset, length);
    done(null);
  }
}
