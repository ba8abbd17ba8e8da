// The smaller forms, pinned like those of the sidefile and the superblock (golden.test.ts): the digests beside a base image, the index of staged images,
// the bitmaps of an orderly stop, and the backup of a witness. These bytes are read for as long as their version is, and this program writes exactly them.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';

import type { StoredFile } from '../../../src/core/base/ports.ts';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import { Bitmaps } from '../../../src/core/replica/bitmaps.ts';
import { digestCheck, digestEntryLayout } from '../../../src/core/replica/digest-entry.ts';
import { digestBatchLayout, digestLogEntryLayout, digestRangeLayout } from '../../../src/core/replica/digest-batch.ts';
import { DigestLog } from '../../../src/core/replica/digest-log.ts';
import { DigestTable } from '../../../src/core/replica/digest-table.ts';
import { soundEntries, Staging, stagingEntryLayout } from '../../../src/core/replica/staging.ts';
import { backupOf, parseBackup } from '../../../src/witness/backup.ts';
import { memoryStore } from '../../../src/witness/memory-store.ts';
import { startService } from '../../../src/witness/service.ts';
import { reading } from '../../support/forms.ts';
import { MemoryStorage } from '../../support/memory-storage.ts';
import { digests } from '../../support/records.ts';
import { StepStorage } from '../../support/step-storage.ts';

const file = (name: string): Buffer => readFileSync(new URL(`../../golden/${name}`, import.meta.url));

/** Each entry of a table in words. */
function entries(title: string, layout: Parameters<typeof reading>[1], bytes: Uint8Array): string {
  const lines = Array.from({ length: bytes.length / layout.bytes }, (_, n) => reading(`entry ${n}`, layout, bytes, n * layout.bytes));
  return `${[title, ...lines.flat()].join('\n')}\n`;
}

test('the form on disk of the digests beside a base image', () => {
  const pinned = new Uint8Array(file('digests-v1.bin'));
  const blocks = [0, 0x5a, 0xff].map((fill) => new Uint8Array(BLOCK_BYTES).fill(fill));
  const made = new Uint8Array(pinned.length);
  const view = new DataView(made.buffer);
  for (const [block, bytes] of blocks.entries()) {
    view.setUint32(block * digestEntryLayout.bytes, crc32(bytes), true);
    view.setUint32(block * digestEntryLayout.bytes + 4, digestCheck(crc32(bytes), block), true);
  }
  assert.deepEqual(made, pinned);
  assert.equal(
    entries('Digests of three blocks, and of one that is not known; version 1.', digestEntryLayout, pinned),
    file('digests-v1.txt').toString(),
  );

  const storage = new MemoryStorage();
  storage.plant('digests', pinned);
  const table = new DigestTable(storage.open('digests', { create: false }), 4);
  const read = table.snapshot(0, 4);
  storage.open('digests', { create: false }).read(read.part.offset, read.part.bytes);
  const known = blocks.map((bytes) => ({ kind: 'known', crc: crc32(bytes) }));
  assert.deepEqual(
    [0, 1, 2, 3].map((block) => read.at(block)),
    [...known, { kind: 'unknown' }],
  );
});

test('the form on disk of the log of digests', () => {
  const pinned = new Uint8Array(file('digest-log-v1.bin'));
  const storage = new StepStorage(new MemoryStorage());
  const open = (name: string): StoredFile => storage.open(name, { create: true });
  const log = new DigestLog([open('digest-log-0'), open('digest-log-1')], digests);
  const table = new DigestTable(open('digests'), 5000, { log, flush: (files, done) => storage.flush(files, done) });
  assert.equal(table.load(null, 1), 'sound');
  const round = (): void => {
    table.writeBack(() => undefined);
    storage.settle();
  };
  table.setApart(4711, 0x1234_5678);
  table.setApart(7, 0xcafe_babe);
  round();
  table.clear(4000, 1000);
  table.setApart(9, 1);
  round();
  const made = new Uint8Array(pinned.length);
  open('digest-log-0').read(0, made);
  assert.deepEqual(made, pinned);
  const lines = [0, 4096, 8192].flatMap((at, n) => {
    const head = reading(`batch ${n}`, digestBatchLayout, pinned, at);
    const [ranges, entries] = [
      [0, 0],
      [0, 2],
      [1, 1],
    ][n] as [number, number];
    const first = at + digestBatchLayout.bytes;
    const items = Array.from({ length: ranges + entries }, (_, i) =>
      reading(i < ranges ? 'range' : 'entry', i < ranges ? digestRangeLayout : digestLogEntryLayout, pinned, first + 16 * i),
    );
    return [...head, ...items.flat()];
  });
  assert.equal(`${['A log of digests with three batches; version 1.', ...lines].join('\n')}\n`, file('digest-log-v1.txt').toString());

  const other = new MemoryStorage();
  other.plant('digest-log-0', pinned);
  const files = (name: string): StoredFile => other.open(name, { create: true });
  const read = new DigestLog([files('digest-log-0'), files('digest-log-1')], digests);
  assert.equal(read.load({ generation: 1, batches: 3 }, 2), 'sound');
  assert.deepEqual([read.get(4711), read.get(7), read.get(9), read.size], [-1, 0xcafe_babe, 1, 2]);
});

test('the form on disk of the index of staged images', () => {
  const pinned = new Uint8Array(file('staging-index-v1.bin'));
  const storage = new StepStorage(new MemoryStorage());
  const volumes = [{ sizeBytes: 16 * BLOCK_BYTES }, { sizeBytes: 16 * BLOCK_BYTES }];
  const staging = new Staging({ storage, digests, volumes, leaveBytes: () => 0 }, 0);
  staging.put(0, 3 * BLOCK_BYTES, new Uint8Array(BLOCK_BYTES).fill(1), 0, () => undefined);
  storage.settle();
  staging.put(1, 5 * BLOCK_BYTES, { zeroLength: 2 * BLOCK_BYTES }, 0, () => undefined);
  storage.settle();
  const made = new Uint8Array(pinned.length);
  storage.open('staging-index', { create: false }).read(0, made);
  assert.deepEqual(made, pinned);
  assert.equal(storage.open('staging-index', { create: false }).size(), pinned.length);
  assert.equal(entries('Two ranges that are staged; version 1.', stagingEntryLayout, pinned), file('staging-index-v1.txt').toString());
  const other = new MemoryStorage();
  other.plant('staging-index', pinned);
  assert.equal(soundEntries(other, digests, 2), 2);
});

test('the form on disk of the bitmaps of an orderly stop', () => {
  const pinned = new Uint8Array(file('bitmaps-v1.bin'));
  const owner = { groupTag: 0x0102_0304, startCount: 7, received: 300 };
  const bitmaps = new Bitmaps(2, 65_536);
  const map = bitmaps.begin('far', 106, 300);
  map.volumes[0]?.add(2, 5);
  map.volumes[0]?.add(9, 10);
  map.volumes[1]?.add(0, 1);
  const storage = new StepStorage(new MemoryStorage());
  let failure: unknown = 'never';
  bitmaps.save({ storage, digests }, owner, (result) => {
    failure = result;
  });
  storage.settle();
  assert.equal(failure, null);
  const saved = storage.open('bitmaps', { create: false });
  const made = new Uint8Array(saved.size());
  saved.read(0, made);
  assert.deepEqual(made, pinned);

  const other = new MemoryStorage();
  other.plant('bitmaps', pinned);
  const again = new Bitmaps(2, 65_536);
  again.load(other, digests, owner);
  assert.deepEqual([again.get('far')?.from, again.get('far')?.to, again.get('far')?.chunkCount], [106, 300, 5]);
});

test('the form of the backup of a witness', async () => {
  const service = await startService(memoryStore('witness-1'), () => {});
  const copies = [
    { site: 'alpha', mode: 'sync' as const },
    { site: 'beta', mode: 'sync' as const },
    { site: 'gamma', mode: 'async' as const },
  ];
  await service.answer({ kind: 'create', requestId: 'c', group: 'db', from: 'alpha', groupId: 'id-db', copies, first: 'alpha' });
  await service.answer({ kind: 'claim', requestId: 'k', group: 'db', from: 'alpha', revision: 1, epoch: 0 });
  const made = backupOf(service.instance, (await service.states()).values());
  const pinned = file('witness-backup-v1.json').toString();
  assert.equal(`${JSON.stringify(made, null, 2)}\n`, pinned);
  assert.deepEqual(parseBackup(pinned, 'b'), made);
});
