// A copy that a newer program has written: it is refused with a sentence that says what, which version and what to do, and not a byte is changed.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { frameHeaderLayout } from '../../../src/core/record/layout.ts';
import { slotLayout } from '../../../src/core/base/cell.ts';
import { limits } from '../../../src/core/base/limits.ts';
import { SEGMENT_HEADER_BYTES, segmentHeaderLayout, segmentName } from '../../../src/core/replica/segment.ts';
import { SUPERBLOCK_FILE } from '../../../src/core/replica/superblock.ts';
import { digests } from '../../support/records.ts';
import { ReplicaRig, write } from '../../support/replica-rig.ts';

const FIRST = segmentName(0);

/** A copy with records that are only in its sidefile, stopped; then one file is changed as a newer program would have written it. */
function newer(
  file: string,
  change: (bytes: Uint8Array, view: DataView) => void,
  powerLost = false,
): { rig: ReplicaRig; unchanged: () => void } {
  const before = new ReplicaRig().start();
  before.append([write(0, 0, 2, 0x11), write(0, 3, 1, 0x22)]);
  before.replica.flush();
  before.storage.settle();
  before.crash();
  const bytes = before.disk.contentOf(file);
  change(bytes, new DataView(bytes.buffer, bytes.byteOffset));
  before.disk.plant(file, bytes);
  const rig = new ReplicaRig({ bootId: powerLost ? 'later' : 'boot-0' }, before.disk);
  const content = (): readonly [string, string][] =>
    before.disk.list().map((name) => [name, Buffer.from(before.disk.contentOf(name)).toString('base64')]);
  const planted = content();
  return { rig, unchanged: () => assert.deepEqual(content(), planted) };
}

const SENTENCE = /has format version 2, this program reads 1: use the program version that wrote it/;
const FRAME_SENTENCE = /has format version 3, this program reads 1 and 2: use the program version that wrote it/;

for (const powerLost of [false, true]) {
  const when = powerLost ? 'after a loss of power' : 'after a crash';
  test(`a slot of the superblock in a newer form, ${when}`, () => {
    const { rig, unchanged } = newer(
      SUPERBLOCK_FILE,
      (bytes, view) => {
        const { at } = slotLayout;
        view.setUint16(limits.cellSlotBytes + at.version, 2, true);
        const slot = bytes.subarray(limits.cellSlotBytes);
        view.setUint32(limits.cellSlotBytes + at.headerCrc32, digests.crc32(slot.subarray(0, at.headerCrc32), 0), true);
      },
      powerLost,
    );
    const said = rig.tryOpen();
    assert.match(said, SENTENCE);
    assert.match(said, /^the superblock of group "/);
    unchanged();
  });

  test(`a segment of the sidefile in a newer form, ${when}`, () => {
    const { rig, unchanged } = newer(
      FIRST,
      (bytes, view) => {
        view.setUint16(segmentHeaderLayout.at.version, 2, true);
        view.setUint32(segmentHeaderLayout.at.headerCrc, digests.crc32(bytes.subarray(8, SEGMENT_HEADER_BYTES), 0), true);
      },
      powerLost,
    );
    const said = rig.tryOpen();
    assert.match(said, SENTENCE);
    assert.match(said, /^sidefile-000000000000 of group "/);
    unchanged();
  });

  test(`a frame in a newer form, in a segment of this one, ${when}`, () => {
    const { rig, unchanged } = newer(
      FIRST,
      (bytes, view) => {
        const at = SEGMENT_HEADER_BYTES;
        view.setUint16(at + frameHeaderLayout.at.version, 3, true);
        view.setUint32(at + frameHeaderLayout.at.headerCrc, digests.crc32(bytes.subarray(at + 8, at + 64), 0), true);
      },
      powerLost,
    );
    assert.match(rig.tryOpen(), FRAME_SENTENCE);
    unchanged();
  });
}
