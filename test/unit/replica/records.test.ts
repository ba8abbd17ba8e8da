// Records that a disk has changed: each is named, and brought back from bytes that are proven to be what was appended.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RecordFault, RecordsCheck } from '../../../src/core/replica/records.ts';
import { segmentFiles } from '../../../src/core/replica/sidefile.ts';
import { type RecordAsk, readRecordAnswer, readRecordAsk } from '../../../src/core/scan/records.ts';
import { ReplicaRig, write, zero } from '../../support/replica-rig.ts';

/** Frames in several segments, some of them destaged. */
function filled(): ReplicaRig {
  const rig = new ReplicaRig({ segmentBytes: 24 * 1024 }).start();
  for (let i = 0; i < 8; i++) rig.append([write(1, 4 * i, 2, 0x10 + i), zero('trim', 1, 4 * i + 1, 1)]);
  rig.replica.retainFrom = 0;
  rig.replica.commit(6);
  rig.wait((done) => rig.replica.drain(done));
  return rig;
}

function all(rig: ReplicaRig, bytesMax: number): readonly RecordFault[] {
  const faults: RecordFault[] = [];
  for (let from: number | null = 0; from !== null;) {
    const at: number = from;
    const check: RecordsCheck = rig.wait((done) => rig.replica.records.check(at, bytesMax, done));
    assert(check.kind === 'checked');
    faults.push(...check.faults);
    from = check.next;
  }
  return faults;
}

function mend(rig: ReplicaRig, fault: Pick<RecordFault, 'part' | 'epoch' | 'firstSeq'>, bytes: Uint8Array | null): string | null {
  return rig.wait((done) => rig.replica.records.mend(fault, bytes, done));
}

function flip(rig: ReplicaRig, file: string, at: number): void {
  const handle = rig.disk.open(file, { create: false });
  const byte = new Uint8Array(1);
  handle.read(at, byte);
  byte[0] = (byte[0] as number) ^ 0x20;
  handle.write(at, [byte]);
  handle.close();
}

test('whichever byte of the sidefile a disk changes, it is named with its record, and brought back', () => {
  const rig = filled();
  assert.deepEqual(all(rig, 1), []);
  assert.deepEqual(all(rig, 64 * 1024), []);
  const { received } = rig.replica.marks;
  const files = segmentFiles(rig.disk);
  assert(files.length >= 3, 'the records lie in several segments');
  const kept = new Map<number, Uint8Array>();
  for (let seq = 1; seq <= received; seq += 2) {
    const frame = rig.replica.framesFrom(seq, 1)?.parts[0] as Uint8Array;
    kept.set(seq, frame.slice());
  }
  const parts = new Set<string>();
  for (const file of files) {
    const handle = rig.disk.open(file, { create: false });
    const size = handle.size();
    handle.close();
    for (let at = 0; at < size; at += at % 4096 < 160 ? 3 : 251) {
      flip(rig, file, at);
      const faults = all(rig, 16 * 1024);
      if (faults.length === 0) {
        // Behind the newest mark of a segment lies what was never written, or what its file held before.
        flip(rig, file, at);
        continue;
      }
      for (const { part, epoch, firstSeq, offset, length, file: named } of faults) {
        parts.add(part);
        assert(named === file && at >= offset && at < offset + length, `${part} of record ${firstSeq} for byte ${at} of ${file}`);
        assert.equal(rig.replica.records.frame({ epoch, firstSeq, byteCount: length }), null);
        const bytes = kept.get(firstSeq) as Uint8Array;
        if (part === 'frame')
          assert.match(mend(rig, { part, epoch, firstSeq }, kept.get(firstSeq === 1 ? 3 : 1) ?? null) ?? '', /not this frame/);
        assert.equal(mend(rig, { part, epoch, firstSeq }, part === 'frame' ? bytes : null), null);
      }
      assert.deepEqual(all(rig, 16 * 1024), []);
    }
  }
  assert.deepEqual([...parts].sort(), ['frame', 'header', 'mark']);
  rig.check();
  rig.crash();
  rig.open();
  rig.check();
});

test('what was put right survives a loss of power that comes right after it was said, and a failed flush is no success', () => {
  const rig = filled();
  const frame = rig.replica.records.placeOf(1);
  assert(frame !== null);
  const bytes = rig.replica.framesFrom(1, 1)?.parts[0]?.slice() ?? null;
  // Rotten on the medium too.
  const rot = (): void => {
    flip(rig, segmentFiles(rig.disk)[0] as string, frame.at + 200);
    rig.disk.flush([rig.disk.open(segmentFiles(rig.disk)[0] as string, { create: false })], () => undefined);
    rig.disk.settle();
  };
  rot();
  const fault = all(rig, 64 * 1024)[0] as RecordFault;
  assert.equal(fault.part, 'frame');
  // Two at once, the second while the flush of the first is under way.
  const told: (string | null)[] = [];
  rig.replica.records.mend(fault, bytes, (why) => told.push(why));
  rig.replica.records.mend(fault, bytes, (why) => told.push(why));
  assert.deepEqual(told, [], 'not before it is on stable storage');
  rig.storage.settle();
  assert.deepEqual(told, [null, null]);
  rig.losePower(() => 0, 0);
  rig.open();
  assert.deepEqual(all(rig, 64 * 1024), []);

  rig.storage.settle();
  rot();
  rig.disk.faultAt = (operation, file) => (operation === 'flush' && file.startsWith('sidefile') ? 'EIO' : null);
  assert.equal(mend(rig, fault, bytes), 'the disk has failed');
  assert.equal(rig.failures.length, 1);
});

test('records that are gone, or that never were here, are neither given nor mended', () => {
  const rig = filled();
  const { epoch, seq } = rig.replica.end;
  assert.equal(rig.replica.records.frame({ epoch, firstSeq: seq + 1, byteCount: 100 }), null);
  assert.equal(rig.replica.records.frame({ epoch, firstSeq: seq, byteCount: 100 }), null);
  assert.match(mend(rig, { part: 'frame', epoch, firstSeq: seq + 1 }, null) ?? '', /not held/);
  assert.match(mend(rig, { part: 'mark', epoch: epoch + 1, firstSeq: 1 }, null) ?? '', /not held/);
});

test('a question or an answer about records that does not fit is refused', () => {
  const ask: RecordAsk = { number: 1, kind: 'records', from: 7, byteCount: 4096 };
  assert.deepEqual(readRecordAsk({ ...ask }), ask);
  for (const change of [
    { from: -1 },
    { kind: 'all' },
    { number: 'x' },
    { kind: 'frame' },
    { kind: 'mend', epoch: 1, firstSeq: 1, part: 'x' },
  ])
    assert.equal(readRecordAsk({ ...ask, ...change }), null, JSON.stringify(change));
  assert.equal(readRecordAsk({ number: 1, kind: 'mend', part: 'frame', epoch: 1, firstSeq: 1, bytes: 'zz' }), null);
  const answer = { number: 1, kind: 'records', faults: [], next: 9, byteCount: 5 };
  assert.deepEqual(readRecordAnswer(answer, ask), { kind: 'records', faults: [], next: 9, byteCount: 5 });
  for (const change of [{ next: 7 }, { faults: [{}] }, { byteCount: -1 }, { kind: 'frame', bytes: '00' }])
    assert.equal(readRecordAnswer({ ...answer, ...change }, ask), null, JSON.stringify(change));
});
