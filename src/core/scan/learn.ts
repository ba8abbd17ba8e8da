// After a crash a copy may not know the digests of blocks that were being written, and of an image that was there before the table it knows none.
// Where a verify has found the same content at all copies as of one record, that content is right: the copy takes its digests into the table, so
// that the next rot is told from a missed write. It takes those of the very bytes that were compared, of blocks that came from the base image and not
// from records that wait, and only if nothing has been written there since.

import { limits } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { DigestedBase, RangeWatch } from '../replica/digested-base.ts';

/** Digests of blocks that could be taken, until it is said that all copies are equal there. */
interface Lesson {
  readonly base: DigestedBase;
  readonly watch: RangeWatch;
  readonly blocks: readonly { readonly block: number; readonly crc: number }[];
}

/** Who asks, and the number of the question. */
interface Question {
  readonly asker: object;
  readonly number: number;
}

/** What one copy could learn from the questions that it has answered. */
export class Learner {
  #lessons: (Question & Lesson)[] = [];

  /** An answer has been given that holds this. Only so many are kept, the newest ones. */
  keep(question: Question, lesson: Lesson): void {
    this.#forget(({ asker, number }) => asker === question.asker && number === question.number);
    while (this.#lessons.length >= limits.verifyLessonsMax) this.#forget((one) => one === this.#lessons[0]);
    this.#lessons.push({ ...question, ...lesson });
  }

  /** All copies are equal in the range of a question. Returns how many blocks have a digest now that had none. */
  equal(asker: object, number: number): number {
    const lesson = this.#lessons.find((one) => one.asker === asker && one.number === number);
    if (lesson === undefined) return 0;
    this.#forget((one) => one === lesson);
    if (lesson.watch.written) return 0;
    for (const { block, crc } of lesson.blocks) lesson.base.learn(block, crc);
    return lesson.blocks.length;
  }

  /** Nothing more will be heard of what was answered. */
  clear(): void {
    this.#forget(() => true);
  }

  #forget(which: (lesson: Question & Lesson) => boolean): void {
    for (const lesson of this.#lessons.filter(which)) lesson.base.unwatch(lesson.watch);
    this.#lessons = this.#lessons.filter((lesson) => !which(lesson));
  }
}

/** Looks, beside a reading of a range that begins now, for what could be learnt from it. */
export class Study {
  readonly #base: DigestedBase;
  readonly #offset: number;
  readonly #watch: RangeWatch;
  readonly #waiting: ReadonlySet<number>;
  #unknown: readonly number[] | null = null;
  #then: (() => void) | null = null;
  #blocks: { readonly block: number; readonly crc: number }[] = [];

  /** `waiting`: blocks whose content comes from records at this moment. */
  constructor(base: DigestedBase, range: { readonly offset: number; readonly length: number }, waiting: readonly number[]) {
    this.#base = base;
    this.#offset = range.offset;
    this.#watch = base.watch(range.offset, range.length);
    this.#waiting = new Set(waiting);
    base.unknownBlocks(range.offset, range.length, (unknown) => {
      this.#unknown = unknown;
      this.#then?.();
    });
  }

  /** Whether it is known by now that there is nothing to learn. */
  get over(): boolean {
    return this.#unknown?.length === 0;
  }

  /** The bytes that will be compared, before anybody else has them; `go` when they have been looked at. */
  seen(bytes: Uint8Array, go: () => void): void {
    const look = (): void => {
      for (const block of this.#unknown ?? []) {
        const at = block * BLOCK_BYTES - this.#offset;
        const content = bytes.subarray(at, at + BLOCK_BYTES);
        // Of what reads as zeroes no digest is kept: it may be a hole.
        if (!this.#waiting.has(block) && content.some((byte) => byte !== 0))
          this.#blocks.push({ block, crc: this.#base.digestOf(content) });
      }
      go();
    };
    if (this.#unknown !== null) look();
    else this.#then = look;
  }

  /** What could be learnt; null when there is nothing. */
  end(): Lesson | null {
    if (this.#blocks.length > 0 && !this.#watch.written) return { base: this.#base, watch: this.#watch, blocks: this.#blocks };
    this.#base.unwatch(this.#watch);
    return null;
  }
}
