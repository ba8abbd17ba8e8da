// The forms on disk, pinned: these bytes are read for ever, and this program writes exactly them. A new form gets a new version and new files
// beside these. The documentation's offset tables come from the same layouts.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { CELL_BYTES, slotLayout } from '../../../src/core/base/cell.ts';
import { limits } from '../../../src/core/base/limits.ts';
import { readFrame } from '../../../src/core/record/decode.ts';
import { encodeFrame, frameBytes, type NewRecord } from '../../../src/core/record/encode.ts';
import { foldFrames } from '../../../src/core/record/fold.ts';
import {
  FOLDING_BYTES,
  foldingLayout,
  FRAME_HEADER_BYTES,
  frameHeaderLayout,
  groupTagOf,
  RECORD_ENTRY_BYTES,
  RECORD_KIND,
  recordEntryLayout,
} from '../../../src/core/record/layout.ts';
import { recoverSidefile } from '../../../src/core/replica/recover.ts';
import { MARK_BYTES, markLayout, SEGMENT_HEADER_BYTES, segmentHeaderLayout, segmentName } from '../../../src/core/replica/segment.ts';
import { Sidefile } from '../../../src/core/replica/sidefile.ts';
import { Superblock, SUPERBLOCK_FILE, type SuperblockValue } from '../../../src/core/replica/superblock.ts';
import { dump, reading } from '../../support/forms.ts';
import { MemoryStorage } from '../../support/memory-storage.ts';
import { digests } from '../../support/records.ts';

const GROUP_TAG = groupTagOf('golden-group', digests);
const SEGMENT_BYTES = 4096;

const RECORDS: NewRecord[] = [
  { kind: RECORD_KIND.write, volume: 0, offset: 4096, length: 6, payload: Uint8Array.from([0x74, 0x65, 0x72, 0x63, 0x65, 0x74]) },
  { kind: RECORD_KIND.zeroes, volume: 1, offset: 1_099_511_627_776, length: 65_536, payload: null },
  { kind: RECORD_KIND.trim, volume: 0, offset: 0, length: 1_073_741_824, payload: null },
  { kind: RECORD_KIND.write, volume: 63, offset: 512, length: 1, payload: Uint8Array.of(0xff) },
];
const HEAD = { groupTag: GROUP_TAG, epoch: 3, firstSeq: 106, timeMillis: 1_700_000_000_000, chainBefore: 0x0102_0304, committed: 104 };

const SUPERBLOCK: SuperblockValue = {
  format: 1,
  group: 'db',
  groupId: 'golden-group',
  site: 'near',
  volumes: [
    { name: 'db', sizeBytes: 1_073_741_824 },
    { name: 'log', sizeBytes: 4096 },
  ],
  epoch: 4,
  history: [
    { epoch: 1, firstSeq: 1 },
    { epoch: 4, firstSeq: 106 },
  ],
  destaged: 100,
  destageTarget: 104,
  destagedChain: 3_735_928_559,
  durable: 105,
  consistent: true,
  copying: null,
  staging: null,
  unclean: false,
  bootId: '5f0c',
  cleanShutdown: true,
  startCount: 7,
  pendingClaim: { requestId: 'r-1', epoch: 4, revision: 12 },
  committed: 104,
  witness: { instance: 'w-1', revision: 12 },
};

/** One whose digests have a log. */
const HAS_LOGS: SuperblockValue = {
  ...SUPERBLOCK,
  format: 5,
  digestLogs: [3, 12, 1, 1],
};

/** One that has noted the members of the group. */
const WITH_MEMBERS: SuperblockValue = {
  ...SUPERBLOCK,
  format: 2,
  members: [
    { site: 'near', mode: 'sync' },
    { site: 'prim', mode: 'sync' },
    { site: 'far', mode: 'async' },
  ],
};

function golden(name: string): Uint8Array {
  return new Uint8Array(readFileSync(new URL(`../../golden/${name}`, import.meta.url)));
}

function goldenText(name: string): string {
  return readFileSync(new URL(`../../golden/${name}`, import.meta.url), 'utf8');
}

function frame(): Uint8Array {
  return encodeFrame(HEAD, RECORDS, new Uint8Array(frameBytes(RECORDS)), digests).bytes;
}

function frameReading(bytes: Uint8Array, offset: number): string[] {
  const check = readFrame(bytes, offset, { groupTag: GROUP_TAG, checkPayload: true, digests });
  assert.equal(check.kind, 'frame');
  if (check.kind !== 'frame') return [];
  const lines = reading('frame header', frameHeaderLayout, bytes, offset);
  const { recordCount, firstSeq, payloadStart, byteCount } = check.frame;
  for (let index = 0; index < recordCount; index++) {
    lines.push(
      ...reading(`entry of record ${firstSeq + index}`, recordEntryLayout, bytes, offset + FRAME_HEADER_BYTES + index * RECORD_ENTRY_BYTES),
    );
  }
  const foldings = offset + FRAME_HEADER_BYTES + recordCount * RECORD_ENTRY_BYTES;
  for (let index = 0; check.frame.isFolded && index < recordCount; index++)
    lines.push(...reading(`folding of record ${firstSeq + index}`, foldingLayout, bytes, foldings + index * FOLDING_BYTES));
  return [...lines, ...dump('payloads', bytes, offset + payloadStart, byteCount - payloadStart)];
}

/** The same records and two more, as one step: the first of them, which the last one covers, goes without its payload. */
function foldedFrame(): Uint8Array {
  const first = encodeFrame(HEAD, RECORDS, new Uint8Array(frameBytes(RECORDS)), digests);
  const records: NewRecord[] = [
    { kind: RECORD_KIND.zeroes, volume: 2, offset: 0, length: 4096, payload: null },
    { kind: RECORD_KIND.write, volume: 0, offset: 4096, length: 6, payload: Uint8Array.from([0x66, 0x6f, 0x6c, 0x64, 0x65, 0x64]) },
  ];
  const head = { ...HEAD, firstSeq: 110, timeMillis: HEAD.timeMillis + 250, chainBefore: first.chain, committed: 108 };
  const next = encodeFrame(head, records, new Uint8Array(frameBytes(records)), digests);
  const frames = [first.bytes, next.bytes].map((bytes) => {
    const check = readFrame(bytes, 0, { groupTag: GROUP_TAG, checkPayload: true, digests });
    assert(check.kind === 'frame');
    return check.frame;
  });
  const buffers = { take: (byteCount: number): Uint8Array => new Uint8Array(byteCount), give: (): void => undefined };
  return foldFrames(frames, Uint8Array.of(1, 0, 0, 0, 0, 0), buffers, digests);
}

/** A segment with its header and two frames with their marks. */
function segment(): { bytes: Uint8Array; second: number; end: number } {
  const storage = new MemoryStorage();
  const options = { storage, digests, groupTag: GROUP_TAG, segmentBytes: SEGMENT_BYTES, firstSegment: 42 };
  const sidefile = new Sidefile(options, { nextSeq: 106, chain: HEAD.chainBefore, epoch: 2 });
  const first = encodeFrame(HEAD, RECORDS, new Uint8Array(frameBytes(RECORDS)), digests);
  sidefile.append(first.bytes, first);
  sidefile.beginFlush();
  sidefile.endFlush(true);
  const records = RECORDS.slice(0, 1);
  const head = { ...HEAD, firstSeq: 110, timeMillis: HEAD.timeMillis + 5, chainBefore: first.chain, committed: 109 };
  const next = encodeFrame(head, records, new Uint8Array(frameBytes(records)), digests);
  const { at } = sidefile.append(next.bytes, next);
  return { bytes: storage.contentOf(segmentName(42)), second: at, end: at + next.bytes.length };
}

/** Of a far copy that keeps its sidefile in memory: version 3. */
const IN_MEMORY: SuperblockValue = {
  ...SUPERBLOCK,
  format: 3,
  members: [
    { site: 'near', mode: 'sync' },
    { site: 'far', mode: 'async' },
  ],
  site: 'far',
  cleanShutdown: false,
  durable: 100,
  sidefile: 'memory',
};

/** Of a mirror that leaves its primary the right to go on alone: version 4. */
const HAS_LEFT: SuperblockValue = {
  ...WITH_MEMBERS,
  format: 4,
  agreement: { asked: 2, alone: null, yields: { to: 'prim', epoch: 3, number: 5 } },
};

/** Bytes of a superblock that was just created, without the zeroes at its end. */
function superblock(value: SuperblockValue): Uint8Array {
  const storage = new MemoryStorage();
  Superblock.create(storage, digests, value, () => undefined);
  const bytes = storage.contentOf(SUPERBLOCK_FILE);
  assert.equal(bytes.length, CELL_BYTES);
  assert.ok(bytes.subarray(limits.cellSlotBytes).every((byte) => byte === 0));
  return bytes.slice(0, bytes.findLastIndex((byte) => byte !== 0) + 1);
}

describe('the form on disk', () => {
  test('of a frame', () => {
    assert.deepEqual(frame(), golden('frame-v1.bin'));
    assert.equal(
      `A frame of four records, version 1.\n${frameReading(golden('frame-v1.bin'), 0).join('\n')}\n`,
      goldenText('frame-v1.txt'),
    );
  });

  test('of a folded frame', () => {
    assert.deepEqual(foldedFrame(), golden('frame-v2.bin'));
    assert.equal(
      `A frame of six records as one step, version 2.\n${frameReading(golden('frame-v2.bin'), 0).join('\n')}\n`,
      goldenText('frame-v2.txt'),
    );
  });

  test('of a segment', () => {
    const { bytes, second, end } = segment();
    const pinned = golden('segment-v1.bin');
    assert.deepEqual(bytes, pinned);
    const lines = [
      'Segment 42: a frame and its mark, another frame and its mark; version 1.',
      ...reading('segment header', segmentHeaderLayout, pinned, 0),
      ...frameReading(pinned, SEGMENT_HEADER_BYTES),
      ...reading('mark', markLayout, pinned, second - MARK_BYTES),
      ...frameReading(pinned, second),
      ...reading('mark', markLayout, pinned, end),
    ];
    assert.equal(`${lines.join('\n')}\n`, goldenText('segment-v1.txt'));
    const storage = new MemoryStorage();
    storage.plant(segmentName(42), pinned);
    const recovery = recoverSidefile({
      storage,
      digests,
      groupTag: GROUP_TAG,
      segmentBytes: SEGMENT_BYTES,
      history: [{ epoch: 3, firstSeq: 1 }],
      destaged: 105,
      destageTarget: 105,
      durable: 110,
      startSeq: 106,
      startChain: HEAD.chainBefore,
      powerLost: false,
    });
    assert.equal(recovery.kind === 'ok' && recovery.sidefile.received, 110);
  });

  for (const [version, value] of [
    [1, SUPERBLOCK],
    [2, WITH_MEMBERS],
    [3, IN_MEMORY],
    [4, HAS_LEFT],
    [5, HAS_LOGS],
  ] as const)
    test(`of a superblock, version ${version}`, () => {
      const pinned = golden(`superblock-v${version}.bin`);
      assert.deepEqual(superblock(value), pinned);
      const storage = new MemoryStorage();
      storage.plant(SUPERBLOCK_FILE, pinned);
      const read = Superblock.read(storage, digests);
      assert.equal(read.kind, 'value');
      if (read.kind === 'value') assert.deepEqual(read.superblock.value, value);
      const json = new TextDecoder().decode(pinned.subarray(slotLayout.bytes));
      const lines = [
        `First slot of a superblock, without the zeroes behind it; version ${version}.`,
        ...reading('slot header', slotLayout, pinned, 0),
        '',
        json,
      ];
      assert.equal(`${lines.join('\n')}\n`, goldenText(`superblock-v${version}.txt`));
    });
});

test('the documentation shows the golden frame as it is', () => {
  const page = readFileSync(new URL('../../../docs/internals/sidefile.md', import.meta.url), 'utf8');
  const lines = goldenText('frame-v1.txt')
    .split('\n')
    .filter((line) => /^ *[0-9]+ {2}/.test(line));
  for (const line of lines) assert.ok(page.includes(line), `docs/internals/sidefile.md lacks this line of the worked example:\n${line}`);
});
