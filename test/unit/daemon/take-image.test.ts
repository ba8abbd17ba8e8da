// The image of a volume that goes on: it is the volume as of the record that it names, whatever was written while it was taken.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { imageStream, readImageStream } from '../../../src/api/image.ts';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import { type ImageEnd, ImageFailure, type ImagePiece } from '../../../src/core/base/image.ts';
import { takeImage } from '../../../src/daemon/take-image.ts';
import { ReplicaRig, VOLUMES, WIDE_BLOCKS, write } from '../../support/replica-rig.ts';

const WIDE = 1;

/** Takes it, with something done before each piece and in each pause; everything is committed at once. */
async function taken(rig: ReplicaRig, meanwhile: () => void): Promise<{ bytes: Uint8Array; end: ImageEnd }> {
  const bytes = new Uint8Array(VOLUMES[WIDE].sizeBytes);
  const pause = async (): Promise<void> => rig.storage.settle();
  const image = takeImage({ replica: () => rig.replica, pause }, WIDE);
  for (;;) {
    meanwhile();
    rig.replica.commit(rig.replica.marks.received);
    const next = await settled(rig, image.next());
    if (next.done === true) return { bytes, end: next.value };
    bytes.set(next.value.bytes, next.value.offset);
  }
}

/** Reads end when the disk is asked to go on. */
async function settled<T>(rig: ReplicaRig, promise: Promise<T>): Promise<T> {
  let done = false;
  const ended = promise.finally(() => (done = true));
  ended.catch(() => {});
  for (let round = 0; round < 1000 && !done; round++) {
    rig.storage.settle();
    await Promise.resolve();
  }
  return ended;
}

test('it is the volume as of the record that it names, though records are written all the time', async () => {
  for (const every of [1, 2, 3, 7]) {
    const rig = new ReplicaRig().start();
    for (let at = 0; at < WIDE_BLOCKS; at += 3) rig.append([write(WIDE, at, 1, 1 + (at % 200))]);
    let step = 0;
    const { bytes, end } = await taken(rig, () => {
      step++;
      if (step % every === 0 && step < 40) rig.append([write(WIDE, (step * 37) % WIDE_BLOCKS, 1, 100 + step), write(0, 0, 1, step)]);
      if (step % 5 === 0 && step < 40) rig.append([{ ...write(WIDE, (step * 11) % WIDE_BLOCKS, 1, 0), kind: 2, payload: null }]);
      if (step === 8) rig.replica.drain(() => {});
    });
    assert.deepEqual([end.sizeBytes, end.epoch], [VOLUMES[WIDE].sizeBytes, rig.replica.epoch]);
    assert.ok(end.seq > WIDE_BLOCKS / 3 && end.seq <= rig.replica.marks.received);
    const right = rig.reference.contentAt(end.seq).bytes[WIDE] as Uint8Array;
    const wrong = bytes.findIndex((byte, at) => byte !== right[at]);
    assert.equal(wrong, -1, `block ${Math.floor(wrong / BLOCK_BYTES)} is not as of record ${end.seq}`);
  }
});

test('records that are cut off while it is taken end it', async () => {
  const rig = new ReplicaRig().start();
  rig.append([write(WIDE, 0, 1, 1), write(WIDE, WIDE_BLOCKS - 1, 1, 2)]);
  rig.replica.commit(2);
  rig.append([write(WIDE, 0, 1, 3)]);
  const image = takeImage({ replica: () => rig.replica, pause: async () => rig.storage.settle() }, WIDE);
  const first = await settled(rig, image.next());
  assert.equal(first.done !== true && first.value.bytes[0], 3);
  rig.replica.adopt({ epoch: rig.replica.epoch, history: rig.replica.history, cutTo: 2 }, () => {});
  rig.storage.settle();
  await assert.rejects(settled(rig, drained(image)), ImageFailure);
});

test('records that stay uncommitted are waited for, and not for ever', async () => {
  const rig = new ReplicaRig().start();
  rig.append([write(WIDE, 0, 1, 1)]);
  const image = takeImage({ replica: () => rig.replica, pause: async () => rig.storage.settle() }, WIDE);
  await assert.rejects(settled(rig, drained(image)), /record 1 is not known to be committed/);
});

async function drained(image: AsyncGenerator<ImagePiece, ImageEnd>): Promise<void> {
  while ((await image.next()).done !== true);
}

async function* pieces(failure: string | null): AsyncGenerator<ImagePiece, ImageEnd> {
  yield { offset: 0, length: 3, bytes: Uint8Array.of(1, 2, 3) };
  await Promise.resolve();
  yield { offset: 2 ** 33, length: 1, bytes: Uint8Array.of(4) };
  if (failure !== null) throw new ImageFailure(failure);
  return { sizeBytes: 8192, epoch: 3, seq: 9, timeMillis: null };
}

/** The same bytes in parts of other lengths. */
async function* cut(stream: ReadableStream<Uint8Array>, partBytes: number, bytesMax = Infinity): AsyncGenerator<Uint8Array> {
  let left = bytesMax;
  for await (const part of stream) {
    for (let at = 0; at < part.length && left > 0; at += partBytes) {
      const bytes = part.subarray(at, Math.min(at + partBytes, at + left));
      left -= bytes.length;
      yield bytes;
    }
  }
}

test('on its way it may come in any parts, says why there is none, and is not taken for whole when it is cut off', async () => {
  for (const partBytes of [1, 7, 16, 1000]) {
    const image = readImageStream(cut(imageStream(pieces(null)), partBytes));
    assert.deepEqual([...((await image.next()).value as ImagePiece).bytes], [1, 2, 3]);
    assert.equal(((await image.next()).value as ImagePiece).offset, 2 ** 33);
    assert.deepEqual(await image.next(), { done: true, value: { sizeBytes: 8192, epoch: 3, seq: 9, timeMillis: null } });
  }
  await assert.rejects(drained(readImageStream(cut(imageStream(pieces('no reason')), 5))), /no reason/);
  await assert.rejects(drained(readImageStream(cut(imageStream(pieces(null)), 5, 40))), /ended in the middle/);
});
