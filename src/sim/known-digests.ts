// What the files of a simulated copy say of the digests of its blocks, looked at from outside; and an oracle: where everything is destaged, none of them
// is wrong, neither as a process would read them nor as a loss of power would leave them. A wrong one is a false alarm to come.

import { crc32 } from 'node:zlib';

import { BLOCK_BYTES } from '../core/base/units.ts';
import { type LogRead, readBatches } from '../core/replica/digest-batch.ts';
import { digestCheck } from '../core/replica/digest-entry.ts';
import type { SeenSite } from './check/observe.ts';
import type { Settings } from './settings.ts';
import type { SimDisk } from './disk.ts';

/** Bytes of a file by its name. */
type Contents = (name: string) => Uint8Array | null;

/** The digests in the log of a volume, by block. */
export function loggedDigests(contents: Contents, volume: string): ReadonlyMap<number, number> {
  const known = new Map<number, number>();
  const logs = [0, 1].map((index) => readLog(contents(`digest-log-${index}-${volume}`)));
  const newest = logs.sort((a, b) => generationOf(b) - generationOf(a))[0] as LogRead;
  for (const batch of newest.batches) {
    batch.visit(
      (first, count) => {
        for (let block = first; block < first + count; block++) known.delete(block);
      },
      (block, crc) => known.set(block, crc),
    );
  }
  return known;
}

function readLog(bytes: Uint8Array | null): LogRead {
  return readBatches(new Uint8Array(bytes ?? []), { crc32: (part, seed) => crc32(part, seed) });
}

function generationOf({ batches }: LogRead): number {
  return batches[0]?.generation ?? -1;
}

/** The digest of a block in the table of a volume; null when there is none that can be believed. */
function inTable(table: Uint8Array | null, block: number): number | null {
  const entry = Buffer.from(table?.subarray(block * 8, block * 8 + 8) ?? []);
  if (entry.length < 8) return null;
  const crc = entry.readUInt32LE(0);
  return entry.readUInt32LE(4) === digestCheck(crc, block) ? crc : null;
}

/** Whether a copy keeps a digest of a block that can be believed. */
export function knowsDigest(disk: SimDisk, volume: string, block: number): boolean {
  const contents: Contents = (name) => disk.contentsOf(name);
  return loggedDigests(contents, volume).has(block) || inTable(contents(`digests-${volume}`), block) !== null;
}

/** A digest that is wrong though nothing was damaged, in words; null when there is none. The copy is idle, and everything is destaged. */
export function wrongDigest({ machine, name }: SeenSite, { volumes }: Settings): string | null {
  const views: readonly (readonly [string, Contents])[] = [
    ['visible', (file) => machine.disk.contentsOf(file)],
    ['durable', (file) => machine.disk.durableContentsOf(file)],
  ];
  for (const [view, contents] of views) {
    for (const { name: volume, baseFile } of volumes) {
      const logged = loggedDigests(contents, volume);
      const table = contents(`digests-${volume}`);
      const base = contents(baseFile) ?? new Uint8Array(0);
      for (let block = 0; (block + 1) * BLOCK_BYTES <= base.length; block++) {
        const known = logged.get(block) ?? inTable(table, block);
        if (known === null || known === crc32(base.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES))) continue;
        const where = logged.has(block) ? 'log' : 'table';
        return `the ${view} digest of block ${block} of volume ${volume} in the ${where} of ${name} is not that of its content`;
      }
    }
  }
  return null;
}
