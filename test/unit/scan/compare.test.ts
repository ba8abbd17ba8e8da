// Comparing over a long way: what matters is how often an answer has to be waited for. A round is everything that is asked before the first answer
// of it comes: one way there and back.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BLOCK_BYTES, type Seq, type VolumeIndex } from '../../../src/core/base/units.ts';
import type { BlockDigests } from '../../../src/core/base/ports.ts';
import { Comparer, type DigestQuestion } from '../../../src/core/scan/compare.ts';
import type { DigestSource, VolumeRange } from '../../../src/core/scan/digest.ts';
import { LocalDigests } from '../../../src/core/scan/local.ts';
import { digestBlocks, digestOf } from '../../../src/sim/digests.ts';

const MIB = 1024 * 1024;
const GEOMETRY = { levels: [16 * MIB, MIB, 64 * 1024, BLOCK_BYTES], chunkBytes: 64 * 1024 };
const VOLUMES = [{ sizeBytes: 128 * MIB }, { sizeBytes: 5 * MIB + BLOCK_BYTES }];
/** What was begun and calls back later. */
const later: (() => void)[] = [];

/** A thin volume: blocks that are named hold their number, everything else reads as zeroes. */
class Thin implements DigestSource {
  readonly marks = { received: 7 as Seq };
  readonly #blocks: ReadonlySet<number>;
  readBytes = 0;

  constructor(blocks: Iterable<number>) {
    this.#blocks = new Set(blocks);
  }

  imageRanges(volume: VolumeIndex, fromOffset: number, bytesMax: number): { offset: number; length: number; zero: boolean } | null {
    const size = VOLUMES[volume]?.sizeBytes ?? 0;
    if (fromOffset >= size) return null;
    const end = Math.min(size, fromOffset + bytesMax);
    const isData = (at: number): boolean => volume === 0 && this.#blocks.has(at / BLOCK_BYTES);
    const data = isData(fromOffset);
    let at = fromOffset + BLOCK_BYTES;
    while (at < end && isData(at) === data) at += BLOCK_BYTES;
    return { offset: fromOffset, length: Math.min(at, end) - fromOffset, zero: !data };
  }

  readCold(_volume: VolumeIndex, offset: number, into: Uint8Array, done: (needSeq: Seq, failure: null) => void): void {
    this.readBytes += into.length;
    const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
    for (let at = 0; at < into.length; at += BLOCK_BYTES) view.setUint32(at, (offset + at) / BLOCK_BYTES + 1, true);
    later.push(() => done(0, null));
  }

  digestBase(): boolean {
    return false;
  }
}

interface Outcome {
  readonly found: readonly VolumeRange[];
  readonly rounds: number;
  readonly asked: number;
  readonly answeredBytes: number;
}

const digests: BlockDigests = {
  take: (byteCount) => new Uint8Array(byteCount).fill(0xdd),
  digest: (algorithm, bytes, blockBytes, done) => void later.push(() => done(digestBlocks(algorithm, bytes, blockBytes))),
  digestNow: digestOf,
};

function settle(): void {
  for (let next = later.shift(); next !== undefined; next = later.shift()) next();
}

/** Compares two volumes, a round of questions at a time. */
function compare(mine: Thin, theirs: Thin): Outcome {
  const side = (source: Thin): LocalDigests => new LocalDigests({ source, digests, algorithm: 'sha256', geometry: GEOMETRY });
  const far = side(theirs);
  const found: VolumeRange[] = [];
  let questions: DigestQuestion[] = [];
  let [done, rounds, asked, answeredBytes] = [false, 0, 0, 0];
  const comparer = new Comparer({
    local: side(mine),
    geometry: GEOMETRY,
    volumes: VOLUMES,
    from: { volume: 0, offset: 0 },
    owner: {
      ask: (question) => void questions.push(question),
      differs: (range) => void found.push(range),
      settled: () => undefined,
      done: () => {
        done = true;
      },
    },
  });
  comparer.start();
  settle();
  for (; !done; rounds++) {
    const round = questions;
    questions = [];
    asked += round.length;
    assert.ok(round.length > 0, 'the comparison stands still');
    for (const { number, range, nodeBytes } of round) {
      far.nodes(range, nodeBytes, (answer) => {
        assert.ok(answer instanceof Uint8Array);
        answeredBytes += answer.length;
        assert.equal(comparer.answered(number, range, nodeBytes, answer), null);
      });
    }
    settle();
  }
  return { found, rounds, asked, answeredBytes };
}

test('pieces that wait are digested as they are, in whatever order: what lies before a stretch of zeroes is no part of it', () => {
  const blocks = [0, 1, 2, 3, 1000, 5];
  // As many as are digested at a time, and then, waiting, one of zeroes and one before it.
  const digested = (oneByOne: boolean): ReadonlyMap<number, Uint8Array> => {
    const local = new LocalDigests({ source: new Thin([0, 1, 2, 3, 4, 5]), digests, algorithm: 'sha256', geometry: GEOMETRY });
    const answers = new Map<number, Uint8Array>();
    for (const block of blocks) {
      local.nodes({ volume: 0, offset: block * BLOCK_BYTES, length: BLOCK_BYTES }, BLOCK_BYTES, (answer) => {
        assert.ok(answer instanceof Uint8Array);
        answers.set(block, answer);
      });
      if (oneByOne) settle();
    }
    settle();
    return answers;
  };
  const right = digested(true);
  const together = digested(false);
  for (const block of blocks) assert.deepEqual(together.get(block), right.get(block), `block ${block}`);
});

test('equal volumes cost a question for each unit, and several units are asked about at a time', () => {
  const { found, rounds, asked } = compare(new Thin([3, 20_000]), new Thin([3, 20_000]));
  assert.deepEqual(found, []);
  assert.equal(asked, 9);
  assert.equal(rounds, 2);
});

test('what differs is found exactly, and many blocks that differ take hardly more rounds than one', () => {
  const blocks = Array.from({ length: 250 }, (_, index) => 131 * index + 5);
  const one = compare(new Thin([5]), new Thin([]));
  assert.deepEqual(one.found, [{ volume: 0, offset: 5 * BLOCK_BYTES, length: BLOCK_BYTES }]);
  const many = compare(new Thin(blocks), new Thin([]));
  assert.deepEqual(
    many.found,
    blocks.map((block) => ({ volume: 0, offset: block * BLOCK_BYTES, length: BLOCK_BYTES })),
  );
  // Four levels for the first units that are under way, and again for the rest; a round for each block would be 250.
  assert.ok(one.rounds <= 8 && many.rounds <= 8, `${one.rounds} and ${many.rounds} rounds`);
  // Two answers of 16 digests for each block, and those of the levels above.
  assert.ok(many.answeredBytes < 250 * 2 * 16 * 32 * 1.1, `${many.answeredBytes} bytes`);
});

test('of what reads as zeroes nothing is digested but a node of each size, once', () => {
  let digestedBytes = 0;
  const counting: BlockDigests = {
    ...digests,
    digestNow: (algorithm, bytes) => ((digestedBytes += bytes.length), digestOf(algorithm, bytes)),
  };
  const zeroes = new LocalDigests({ source: new Thin([]), digests: counting, algorithm: 'sha256', geometry: GEOMETRY });
  const nodes: Uint8Array[] = [];
  for (let offset = 0; offset < 128 * MIB; offset += 16 * MIB)
    zeroes.nodes({ volume: 0, offset, length: 16 * MIB }, 16 * MIB, (found) => void nodes.push(found as Uint8Array));
  assert.equal(digestedBytes, 64 * 1024 + 256 * 32);
  // The same as if all of it had been read: a volume with a block of data in its second unit is compared by its chunks there.
  const other = new LocalDigests({ source: new Thin([16 * 256]), digests, algorithm: 'sha256', geometry: GEOMETRY });
  const chunks = digestBlocks('sha256', new Uint8Array(16 * MIB), 64 * 1024);
  assert.deepEqual(
    nodes,
    Array.from({ length: 8 }, () => digestOf('sha256', chunks)),
  );
  let second: Uint8Array | null = null;
  other.nodes({ volume: 0, offset: 16 * MIB, length: 16 * MIB }, 16 * MIB, (found) => void (second = found as Uint8Array));
  settle();
  assert.notDeepEqual(second, nodes[1]);
});

test('neighbours that differ are asked about together', () => {
  const all = Array.from({ length: (128 * MIB) / BLOCK_BYTES }, (_, block) => block);
  const { found, asked, answeredBytes } = compare(new Thin(all), new Thin([]));
  assert.deepEqual(
    found.map(({ length }) => length),
    Array.from({ length: 8 }, () => 16 * MIB),
  );
  // Each of 8 units at four levels, and the second volume.
  assert.equal(asked, 8 * 4 + 1);
  // No more digests than the same questions one by one would bring.
  assert.equal(answeredBytes, 32 * (8 * (1 + 16 + 256 + 4096) + 1));
});

test('the last block of a volume is compared', () => {
  const last = 128 * MIB - BLOCK_BYTES;
  const { found } = compare(new Thin([last / BLOCK_BYTES]), new Thin([]));
  assert.deepEqual(found, [{ volume: 0, offset: last, length: BLOCK_BYTES }]);
});

test('what is asked about level by level is read once, and once more only what lies in a chunk that differs', () => {
  const all = Array.from({ length: (128 * MIB) / BLOCK_BYTES }, (_, block) => block);
  const [mine, theirs] = [new Thin(all), new Thin(all.filter((block) => block % 5000 !== 17))];
  const { found } = compare(mine, theirs);
  assert.equal(found.length, 7);
  assert.equal(mine.readBytes, 128 * MIB + 7 * 64 * 1024);
});
