// What a copy learns of its own blocks when it hears that all copies hold them alike: the digests of the very bytes that were compared, and nothing
// of what came from elsewhere or has been written since.

import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import type { DigestedBase } from '../../../src/core/replica/digested-base.ts';
import { type Answer, type Ask, examine, readAnswer, readEqual, encodeAnswer, encodeEqual } from '../../../src/core/scan/examine.ts';
import { Learner } from '../../../src/core/scan/learn.ts';
import { blockDigests } from '../../support/records.ts';
import { ReplicaRig } from '../../support/replica-rig.ts';

const PRIMARY = {};
const BLOCKS = 16;

let rig: ReplicaRig;
let learner: Learner;

/** A copy whose base image holds data in blocks 0 to 9, of which it has lost the digests of all but the first. */
beforeEach(() => {
  rig = new ReplicaRig().start();
  rig.write(0, 0, 10, 0x31);
  drain();
  learner = new Learner();
  base().table.clear(1, BLOCKS - 1);
});

const base = (): DigestedBase => rig.bases[0] as DigestedBase;

function drain(): void {
  rig.replica.commit(rig.replica.marks.received);
  assert.equal(
    rig.wait((done) => rig.replica.drain(done)),
    null,
  );
}

function ask(change: Partial<Ask> = {}): Ask {
  const { received: seq } = rig.replica.marks;
  const range = { volume: 0, offset: 0, length: BLOCKS * BLOCK_BYTES, blockBytes: 4 * BLOCK_BYTES };
  return { number: 5, kind: 'digest', seq, algorithm: 'sha256', ...range, ...change };
}

function answerTo(question: Ask): Answer {
  const on = { replica: rig.replica, bases: rig.bases, digests: blockDigests, learner };
  return rig.wait((done) => examine(on, PRIMARY, question, done));
}

/** Blocks of the range of which no digest is known. */
function unknown(): readonly number[] {
  const check = rig.checkBase(0, 0, BLOCKS * BLOCK_BYTES);
  assert(check.kind === 'checked');
  assert.deepEqual(check.faults, []);
  return check.unknown;
}

describe('a copy that hears that all copies are equal', () => {
  test('knows the digests of its blocks, and tells rot from then on', () => {
    const answer = answerTo(ask());
    assert.equal(answer.kind === 'digest' && answer.learns, true);
    assert.equal(unknown().length, BLOCKS - 1, 'it takes nothing before it hears that');
    assert.equal(learner.equal(PRIMARY, 5), 9);
    assert.deepEqual(unknown(), [10, 11, 12, 13, 14, 15], 'of what reads as zeroes no digest is kept');
    base().file.write(3 * BLOCK_BYTES, [new Uint8Array(1)]);
    const check = rig.checkBase(0, 0, BLOCKS * BLOCK_BYTES);
    assert.deepEqual(check.kind === 'checked' && check.faults, [{ block: 3, kind: 'rot' }]);
  });

  test('learns nothing of blocks whose content came from records', () => {
    rig.write(0, 4, 2, 0x77);
    answerTo(ask());
    assert.equal(learner.equal(PRIMARY, 5), 7);
    assert.deepEqual(unknown().slice(0, 2), [4, 5]);
  });

  test('learns nothing where something was written since', () => {
    answerTo(ask());
    rig.write(0, 4, 1, 0x77);
    drain();
    assert.equal(learner.equal(PRIMARY, 5), 0);
    assert.deepEqual(unknown().slice(0, 4), [1, 2, 3, 5], 'what was written has the digest of what was written');
  });

  test('learns once, and only from the answer to that question of that asker', () => {
    answerTo(ask());
    assert.equal(learner.equal({}, 5), 0);
    assert.equal(learner.equal(PRIMARY, 4), 0);
    assert.equal(learner.equal(PRIMARY, 5), 9);
    assert.equal(learner.equal(PRIMARY, 5), 0);
  });

  test('keeps a bounded number of answers, the newest ones', () => {
    for (let number = 1; number <= 65; number++) answerTo(ask({ number }));
    assert.equal(learner.equal(PRIMARY, 1), 0);
    assert.equal(learner.equal(PRIMARY, 65), 9);
    learner.clear();
    assert.equal(learner.equal(PRIMARY, 64), 0);
  });
});

test('a weaker digest proves nothing, and of blocks whose digests are known nothing is to be learnt', () => {
  for (const algorithm of ['crc32', 'md5', 'sha1'] as const) {
    const answer = answerTo(ask({ algorithm }));
    assert.equal(answer.kind === 'digest' && answer.learns, undefined);
  }
  const known = answerTo(ask({ length: BLOCK_BYTES, blockBytes: 4 * BLOCK_BYTES }));
  assert.equal(known.kind === 'digest' && known.learns, undefined);
  assert.equal(learner.equal(PRIMARY, 5), 0);
});

test('both travel', () => {
  const answer = answerTo(ask());
  const sent = encodeAnswer(5, answer) as Record<string, unknown>;
  const received = readAnswer(sent, ask());
  assert(received !== null);
  assert.deepEqual(encodeAnswer(5, received), sent);
  assert.equal(received.kind === 'digest' && received.learns, true);
  assert.equal(readEqual(encodeEqual(5) as Record<string, unknown>), 5);
  for (const none of [null, { kind: 'equal' }, { kind: 'equal', number: -1 }, { kind: 'digest', number: 5 }])
    assert.equal(readEqual(none), null);
});
