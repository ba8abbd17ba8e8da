// How large the volumes are. What a copy can hold rises with its configuration, at each site for itself: the base image is made larger, its new part
// zeroes, and then the superblock says so. What is agreed is what every copy of the group is known to hold; a primary finds that out and tells it,
// and nothing beyond it is ever served or compared. Neither falls again.

import { BLOCK_BYTES } from '../base/units.ts';
import { type DiskDone, DiskError, type Journal, type Storage, type StoredFile } from '../base/ports.ts';
import type { Background } from './background.ts';
import type { VolumeOptions } from './options.ts';
import type { Superblock, SuperblockValue } from './superblock.ts';

/** Zeroed at once where something else may lie: leases are at stake in longer turns. */
const ZEROED_BYTES = 16 * 1024 * 1024;

/** A volume that cannot be made as large as it is to be: what its base image has. */
export interface TooSmall {
  readonly volume: string;
  readonly wantedBytes: number;
  readonly foundBytes: number;
  /** What the system said; null where the base image has another size and cannot be given this one. */
  readonly code: string | null;
}

/** What the sizes of a replica stand on. */
export interface SizesGround {
  readonly group: string;
  readonly bases: readonly StoredFile[];
  readonly block: Superblock;
  readonly background: Background;
  readonly storage: Storage;
  readonly journal: Journal;
  readonly update: (patch: Partial<SuperblockValue>, done: DiskDone) => void;
  /** Whether files may be changed now. */
  readonly usable: () => boolean;
  readonly wake: () => void;
}

/** Sizes as agreed by a superblock, one for each volume. */
export function agreedOf({ agreedBytes, volumes }: Pick<SuperblockValue, 'agreedBytes' | 'volumes'>): readonly number[] {
  return agreedBytes ?? volumes.map(({ sizeBytes }) => sizeBytes);
}

/** The patch that makes these the sizes of a superblock: what is agreed stands there only while it is not what the copy holds. */
export function sizesPatch(
  volumes: SuperblockValue['volumes'],
  agreed: readonly number[],
): Pick<SuperblockValue, 'agreedBytes' | 'volumes'> {
  const same = volumes.every(({ sizeBytes }, index) => sizeBytes === agreed[index]);
  return { volumes: volumes.map(({ name, sizeBytes }) => ({ name, sizeBytes })), agreedBytes: same ? undefined : agreed };
}

/** The sizes of one replica's volumes. */
export class VolumeSizes {
  readonly #ground: SizesGround;
  /** What the copy can hold, as it stands on disk. */
  #held: readonly VolumeOptions[];
  #agreed: readonly VolumeOptions[];
  /** By volume: the new part is zeroes up to here. */
  readonly #zeroedTo: number[];
  #busy = false;
  /** By volume: the size that could not be had. It is tried again when something else is wanted, or by order. */
  readonly #refused = new Map<number, TooSmall>();

  /** `volumes`: with the sizes that the superblock is about to have. */
  constructor(ground: SizesGround, volumes: readonly VolumeOptions[], agreed: readonly number[]) {
    this.#ground = ground;
    this.#held = volumes.map((volume) => ({ ...volume }));
    this.#agreed = withSizes(volumes, agreed);
    this.#zeroedTo = volumes.map(({ sizeBytes }) => sizeBytes);
  }

  /** What every record, image and question must stay within. */
  get held(): readonly VolumeOptions[] {
    return this.#held;
  }

  /** What every copy of the group can hold; what is compared and copied ends there, and behind it are zeroes. */
  get agreed(): readonly VolumeOptions[] {
    return this.#agreed;
  }

  /** Volumes that could not be made larger. */
  get refused(): readonly TooSmall[] {
    return [...this.#refused.values()];
  }

  /** What could not be had before may be there now. */
  retry(): void {
    this.#refused.clear();
  }

  /** Goes on with making the copy as large as it is to be. Cut off at any point it is begun again, by the next start too. */
  grow(wanted: readonly VolumeOptions[]): void {
    if (this.#busy || !this.#ground.usable()) return;
    const grown: number[] = [];
    let left = ZEROED_BYTES;
    for (const [index, { sizeBytes }] of wanted.entries()) {
      if (sizeBytes <= (this.#held[index]?.sizeBytes ?? sizeBytes) || this.#refused.get(index)?.wantedBytes === sizeBytes) continue;
      left -= this.#enlarge(index, sizeBytes, left);
      if (this.#zeroedTo[index] === sizeBytes) grown.push(index);
      else if (left <= 0) return this.#ground.wake();
    }
    if (grown.length > 0) this.#settle(grown);
  }

  /** Makes the base image so large, its new part zeroes, as far as one turn goes; returns how many bytes were written for that. */
  #enlarge(index: number, to: number, bytesMax: number): number {
    const base = this.#ground.bases[index] as StoredFile;
    try {
      if (base.size() < to) base.truncate(to);
      if (base.size() === to) return this.#zero(base, index, to, bytesMax);
      this.#refuse(index, to, null);
    } catch (error) {
      // Nobody relies on what is not there yet.
      if (!(error instanceof DiskError)) throw error;
      this.#refuse(index, to, error.failure.code);
    }
    return 0;
  }

  #zero(base: StoredFile, index: number, to: number, bytesMax: number): number {
    let written = 0;
    for (let at = this.#zeroedTo[index] as number; at < to && written < bytesMax; this.#zeroedTo[index] = at) {
      const extent = base.extents(at, to - at, 1)[0] ?? { offset: at, length: to - at, hole: false };
      const length = extent.hole ? extent.length : Math.min(extent.length, bytesMax - written, ZEROED_BYTES);
      const end = Math.min(to, Math.ceil((at + length) / BLOCK_BYTES) * BLOCK_BYTES);
      if (!extent.hole) {
        base.punch(at, end - at);
        written += end - at;
      }
      at = end;
    }
    return written;
  }

  #refuse(index: number, wantedBytes: number, code: string | null): void {
    const { bases, journal, group } = this.#ground;
    const volume = this.#held[index]?.name ?? '';
    const foundBytes = bases[index]?.size() ?? 0;
    this.#refused.set(index, { volume, wantedBytes, foundBytes, code });
    const text = `volume ${volume} was not made larger: its base image has ${foundBytes} bytes, not ${wantedBytes}`;
    journal('replica.too-small', { group, volume, wantedBytes, foundBytes, code }, text);
  }

  /** Everything that grows together is on stable storage first, and then the superblock says so. */
  #settle(grown: readonly number[]): void {
    const { storage, background, bases } = this.#ground;
    this.#busy = true;
    const next = this.#held.map((volume, index) =>
      grown.includes(index) ? { ...volume, sizeBytes: this.#zeroedTo[index] as number } : volume,
    );
    const ended = (told: boolean): void => {
      this.#busy = false;
      if (told) {
        for (const index of grown) this.#tell(index, next[index]?.sizeBytes ?? 0);
        this.#held = next;
      }
      this.#ground.wake();
    };
    storage.flush(
      grown.map((index) => bases[index] as StoredFile),
      background.begin((unflushed) => {
        if (unflushed !== null || !this.#ground.usable()) return ended(false);
        this.#ground.update(sizesPatch(next, agreedOf(this.#ground.block.value)), (failure) => ended(failure === null));
      }),
    );
  }

  #tell(index: number, now: number): void {
    const { journal, group } = this.#ground;
    const { name: volume, sizeBytes: before } = this.#held[index] as VolumeOptions;
    journal('replica.grown', { group, volume, before, now }, `volume ${volume} is made larger: it had ${before} bytes and has ${now}`);
  }

  /** Every copy of the group holds that much: what is agreed rises so far, durably, as far as this copy holds it too. */
  agree(sizes: readonly number[]): void {
    if (this.#busy || !this.#ground.usable()) return;
    const next = this.#agreed.map(({ sizeBytes }, index) =>
      Math.max(sizeBytes, Math.min(sizes[index] ?? 0, this.#held[index]?.sizeBytes ?? 0)),
    );
    if (next.every((size, index) => size === this.#agreed[index]?.sizeBytes)) return;
    this.#busy = true;
    this.#ground.update(sizesPatch(this.#held, next), (failure) => {
      this.#busy = false;
      if (failure === null) this.#agreed = withSizes(this.#held, next);
      this.#ground.wake();
    });
  }
}

function withSizes(volumes: readonly VolumeOptions[], sizes: readonly number[]): readonly VolumeOptions[] {
  return volumes.map((volume, index) => ({ ...volume, sizeBytes: sizes[index] ?? 0 }));
}
