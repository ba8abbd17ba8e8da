// The records of a stopped site, read out of its files: all of them, in order, with what is wrong shown where it stands.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspectFiles, type FilesReport } from '../../../src/core/replica/inspect.ts';
import { segmentFiles } from '../../../src/core/replica/sidefile.ts';
import { digests } from '../../support/records.ts';
import { ReplicaRig, write, zero } from '../../support/replica-rig.ts';

const ALL = { from: 0, count: 1000 };

function inspect(rig: ReplicaRig, range = ALL): FilesReport {
  const report = inspectFiles(rig.disk, digests, range);
  assert(typeof report !== 'string', 'there is something to read');
  return report;
}

function filled(): ReplicaRig {
  const rig = new ReplicaRig().start();
  for (let round = 0; round < 10; round++) rig.append([write(0, round, 1, 0x11 + round), zero('trim', 0, round + 10, 2)]);
  rig.replica.flush();
  rig.storage.settle();
  return rig;
}

test('every record is there, sorted, with its place, kind and checksum', () => {
  const report = inspect(filled());
  assert.deepEqual(
    report.records.map(({ seq }) => seq),
    Array.from({ length: 20 }, (_none, index) => index + 1),
  );
  assert.deepEqual([report.oldest, report.received], [1, 20]);
  assert.deepEqual(report.faults, []);
  const [first, second] = report.records;
  assert.deepEqual([first?.kind, first?.offset, first?.length, first?.checksum], ['write', 0, 4096, 'right']);
  assert.deepEqual([second?.kind, second?.offset, second?.length], ['trim', 10 * 4096, 2 * 4096]);
});

test('a range of records can be asked for', () => {
  const report = inspect(filled(), { from: 7, count: 3 });
  assert.deepEqual(
    report.records.map(({ seq }) => seq),
    [7, 8, 9],
  );
});

test('a record whose bytes have rotted is shown as wrong, and those behind it as right', () => {
  const rig = filled();
  const name = segmentFiles(rig.disk)[0] as string;
  const file = rig.disk.open(name, { create: false });
  const bytes = new Uint8Array(file.size());
  file.read(0, bytes);
  const at = bytes.findIndex((byte, index) => byte === 0x13 && bytes[index + 1] === 0x13 && bytes[index + 2] === 0x13);
  assert(at > 0);
  file.write(at, [new Uint8Array([0xff])]);
  file.close();
  const { records } = inspect(rig);
  assert.deepEqual(
    records.filter(({ checksum }) => checksum !== 'right').map(({ seq, checksum }) => [seq, checksum]),
    [[5, 'wrong']],
  );
});

test('a folder without a replica is said to be one', () => {
  assert.equal(inspectFiles(new ReplicaRig().disk, digests, ALL), 'there is no replica in this folder');
});
