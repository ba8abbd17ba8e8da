// A copy that holds steps: nothing ends within one, whoever asks for it, and what is given on of one is a step again.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { Folder } from '../../../src/core/mirror/fold.ts';
import { groupTagOf } from '../../../src/core/record/layout.ts';
import { inspectFiles } from '../../../src/core/replica/inspect.ts';
import { segmentName } from '../../../src/core/replica/segment.ts';
import { digests } from '../../support/records.ts';
import { frameView, GROUP_ID, ReplicaRig } from '../../support/replica-rig.ts';

/** Blocks that records 1 to 6 write: records 1 to 3 are covered by 5 and 6. */
const BLOCKS = [0, 1, 0, 2, 1, 0];

/** A primary with six records, and the step that they are. */
function source(): { rig: ReplicaRig; step: Uint8Array } {
  const rig = new ReplicaRig().start();
  rig.replica.retainFrom = 1;
  for (const [index, block] of BLOCKS.entries()) rig.write(0, block, 1, index + 1);
  rig.replica.commit(6);
  const count = { frames: 0, records: 0, savedBytes: 0 };
  const given = { buffers: rig.buffers, digests, groupTag: groupTagOf(GROUP_ID, digests), segmentBytes: 1 << 20 };
  const parts = new Folder({ millis: 1, count, ...given }).next(rig.replica, 1, 6, []);
  assert.deepEqual(
    parts.map(({ firstSeq, lastSeq, isFolded }) => [firstSeq, lastSeq, isFolded]),
    [[1, 6, true]],
  );
  assert.deepEqual([count.frames, count.records], [1, 3]);
  const [step] = parts;
  assert.ok(step !== undefined);
  return { rig, step: step.bytes.slice() };
}

/** A mirror that follows it. */
function mirrorOf(primary: ReplicaRig): ReplicaRig {
  const rig = new ReplicaRig();
  rig.create();
  rig.open();
  const { epoch, history } = primary.replica;
  assert.equal(
    rig.wait((done) => rig.replica.adopt({ epoch, history, cutTo: 0 }, done)),
    'done',
  );
  return rig;
}

/** The first frame that a copy gives from a record on. */
function partOf(rig: ReplicaRig, seq: number): Uint8Array {
  const part = rig.replica.framesFrom(seq, 1)?.parts[0];
  assert.ok(part !== undefined);
  return part.slice();
}

function sameAs(mirror: ReplicaRig, primary: ReplicaRig): void {
  mirror.checkContent(0, primary.reference.contentAt(mirror.replica.marks.received));
  assert.equal(mirror.replica.chain, primary.replica.chainAt(mirror.replica.marks.received));
}

describe('a copy that has taken a step', () => {
  test('is as of its last record, and knows that all of it is committed', () => {
    const { rig, step } = source();
    const mirror = mirrorOf(rig);
    assert.deepEqual(mirror.replica.accept(step), { kind: 'appended', lastSeq: 6 });
    assert.deepEqual([mirror.replica.marks.received, mirror.replica.marks.committed, mirror.replica.foldedUpTo], [6, 6, 6]);
    sameAs(mirror, rig);
    // A word of the primary that was on its way longer.
    mirror.replica.commit(3);
    assert.equal(mirror.replica.marks.committed, 6);
    assert.deepEqual(mirror.replica.accept(step), { kind: 'held' });
  });

  test('does not go back into it, by no force, and goes back before it', () => {
    const { rig, step } = source();
    const mirror = mirrorOf(rig);
    mirror.replica.accept(step);
    const history = [
      { epoch: 1, firstSeq: 1 },
      { epoch: 2, firstSeq: 4 },
    ];
    for (const cutTo of [1, 2, 3, 4, 5]) {
      const adopted = mirror.wait<unknown>((done) => mirror.replica.adopt({ epoch: 2, history, cutTo, force: true }, done));
      assert.equal(adopted, 'needs-copy', `record ${cutTo}`);
      assert.equal(mirror.replica.endsAt(cutTo), false);
    }
    assert.deepEqual([mirror.replica.marks.received, mirror.replica.epoch], [6, 1], 'nothing has changed');
    const before = [{ epoch: 2, firstSeq: 1 }];
    const adopted = mirror.wait<unknown>((done) => mirror.replica.adopt({ epoch: 2, history: before, cutTo: 0, force: true }, done));
    assert.equal(adopted, 'done');
    assert.deepEqual([mirror.replica.marks.received, mirror.replica.foldedUpTo], [0, 0]);
  });

  test('gives the rest of it as a step to a copy that has its first records', () => {
    const { rig, step } = source();
    const [mirror, behind] = [mirrorOf(rig), mirrorOf(rig)];
    mirror.replica.accept(step);
    const first = partOf(rig, 1);
    assert.equal(frameView(first).lastSeq, 1);
    behind.replica.accept(first.slice());
    const frame = frameView(partOf(mirror, 2));
    assert.deepEqual([frame.isFolded, frame.firstSeq, frame.lastSeq, frame.committed], [true, 2, 6, 1]);
    assert.deepEqual(behind.replica.accept(frame.bytes), { kind: 'appended', lastSeq: 6 });
    sameAs(behind, rig);
    // Of one that came as a whole, too.
    const other = mirrorOf(rig);
    other.replica.accept(first.slice());
    assert.deepEqual(other.replica.accept(step), { kind: 'appended', lastSeq: 6 });
    sameAs(other, rig);
  });

  test('has it or has it not after a crash in the middle of its append', () => {
    const { rig, step } = source();
    const mirror = mirrorOf(rig);
    mirror.replica.accept(step);
    const name = segmentName(0);
    const whole = mirror.disk.contentOf(name);
    for (const missing of [0, 1, 57, 500, 9000]) {
      const again = new ReplicaRig({}, mirror.disk);
      mirror.crash();
      mirror.disk.plant(name, whole.slice(0, whole.length - missing));
      again.open();
      assert.equal(again.replica.marks.received, missing === 0 ? 6 : 0, `${missing} bytes were not written`);
      if (missing === 0) sameAs(again, rig);
      again.crash();
    }
  });

  test('shows what came without its payload', () => {
    const { rig, step } = source();
    const mirror = mirrorOf(rig);
    mirror.replica.accept(step);
    const report = inspectFiles(mirror.disk, digests, { from: 1, count: 100 });
    assert.ok(typeof report !== 'string');
    assert.deepEqual(
      report.records.map(({ checksum }) => checksum),
      ['folded', 'folded', 'folded', 'right', 'right', 'right'],
    );
  });
});
