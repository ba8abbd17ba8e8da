// What disks do to copies: bits that rot in base images and sidefiles, and a write that never arrived though it was confirmed. Under running
// daemons, through the page cache that they share; the group is drained and idle.

import { closeSync, openSync, readdirSync, readFileSync, readSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';

import { baseImage } from '../../demo/layout.ts';
import { readFrameTable } from '../../src/core/record/decode.ts';
import { frameHeaderLayout } from '../../src/core/record/layout.ts';
import { digestCheck } from '../../src/core/replica/digest-entry.ts';
import { MARK_BYTES, SEGMENT_HEADER_BYTES, segmentNumberOf } from '../../src/core/replica/segment.ts';
import { machineDigests } from '../../src/host/digests.ts';
import type { SiteNameInTests, TestCluster } from './cluster.ts';

const BLOCK_BYTES = 4096;

/** A frame in a segment file. */
export interface DiskFrame {
  readonly file: string;
  readonly firstSeq: number;
  readonly at: number;
  readonly byteCount: number;
}

function baseOf(test: TestCluster, name: SiteNameInTests): string {
  return baseImage(test.layout, test.member(name).layout);
}

function change(path: string, offset: number, length: number, how: (bytes: Buffer) => void): void {
  const file = openSync(path, 'r+');
  const bytes = Buffer.alloc(length);
  readSync(file, bytes, 0, length, offset);
  how(bytes);
  writeSync(file, bytes, 0, length, offset);
  closeSync(file);
}

function flip(path: string, offset: number): void {
  change(path, offset, 1, (bytes) => {
    bytes[0] = (bytes[0] as number) ^ 0x10;
  });
}

/** A bit of a base image flips. */
export function rotBase(test: TestCluster, name: SiteNameInTests, offset: number): void {
  flip(baseOf(test, name), offset);
}

/** A bit of a record flips. */
export function rotRecord(test: TestCluster, name: SiteNameInTests, frame: DiskFrame, byte: number): void {
  flip(join(dirname(baseOf(test, name)), frame.file), frame.at + byte);
}

/** A block that was written in a long stretch holds something older, and its digest in the table with it: as if the last write had never come. */
export function missWrite(test: TestCluster, name: SiteNameInTests, block: number): void {
  const base = baseOf(test, name);
  const older = Buffer.alloc(BLOCK_BYTES, 0x5a);
  change(base, block * BLOCK_BYTES, BLOCK_BYTES, (bytes) => older.copy(bytes));
  const volume = /base-(.+)\.img$/.exec(base)?.[1] ?? '';
  change(join(dirname(base), `digests-${volume}`), block * 8, 8, (entry) => {
    const crc = crc32(older);
    entry.writeUInt32LE(crc, 0);
    entry.writeUInt32LE(digestCheck(crc, block), 4);
  });
}

/** The frames in the segment files of a site, oldest first. */
export function framesOf(test: TestCluster, name: SiteNameInTests): DiskFrame[] {
  const folder = dirname(baseOf(test, name));
  const frames: DiskFrame[] = [];
  for (const file of readdirSync(folder).sort()) {
    if (segmentNumberOf(file) === null) continue;
    const bytes = readFileSync(join(folder, file));
    for (let at = SEGMENT_HEADER_BYTES; at + frameHeaderLayout.bytes < bytes.length;) {
      const groupTag = bytes.readUInt32LE(at + frameHeaderLayout.at.groupTag);
      const check = readFrameTable(bytes, at, { groupTag, digests: machineDigests });
      if (check.kind !== 'frame') break;
      const { firstSeq, byteCount } = check.frame;
      frames.push({ file, firstSeq, at, byteCount });
      at += byteCount + MARK_BYTES;
    }
  }
  return frames;
}
