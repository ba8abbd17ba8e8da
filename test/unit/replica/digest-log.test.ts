// The log of digests over several starts of a copy that loses its power in each: what one of them has left is never taken for what a later one said, and a
// log that has rotted never seems whole again before the table beside it is empty on stable storage.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StoredFile } from '../../../src/core/base/ports.ts';
import { DigestLog, type LogPlace } from '../../../src/core/replica/digest-log.ts';
import { DigestTable } from '../../../src/core/replica/digest-table.ts';
import { MemoryStorage } from '../../support/memory-storage.ts';
import { chance, digests } from '../../support/records.ts';
import { StepStorage } from '../../support/step-storage.ts';

/** A block that always comes alone, and one that came alone once and is part of a long stretch later. */
const ALONE = 7;
const JOINED = 100;
const STRETCH = Uint32Array.from({ length: 20 }, (_, i) => 0x2000 + i);

/** A copy's table and log over its starts, and what its superblock has noted. */
class Life {
  readonly disk = new MemoryStorage();
  #noted: LogPlace | null = null;
  #starts = 0;
  #storage = new StepStorage(this.disk);
  table: DigestTable;
  found = '';

  constructor() {
    this.table = this.start();
    this.flush();
  }

  start(): DigestTable {
    this.#storage.forget();
    this.disk.restart();
    this.#storage = new StepStorage(this.disk);
    const storage = this.#storage;
    const open = (name: string): StoredFile => storage.open(name, { create: true });
    const log = new DigestLog([open('log-0'), open('log-1')], digests, { entriesMax: 100, fileBytes: 64 * 4096 });
    this.table = new DigestTable(open('table'), 1500, { log, flush: (files, done) => storage.flush(files, done) });
    this.found = this.table.load(this.#noted, ++this.#starts);
    return this.table;
  }

  /** Everything is in the files; nothing of it is known to be on stable storage. */
  write(): void {
    this.table.writeBack((failure) => assert.equal(failure, null));
    this.#storage.settle();
  }

  flush(): void {
    this.write();
    const mark = this.table.mark();
    this.#storage.flush(this.table.unflushed, (failure) => {
      assert.equal(failure, null);
      this.table.flushed(mark);
      this.#noted = this.table.logPlace;
    });
    this.#storage.settle();
  }

  losePower(seed: number): void {
    this.disk.losePower(chance(seed));
  }

  knows(block: number): unknown {
    const snapshot = this.table.snapshot(block, 1);
    this.table.file.read(snapshot.part.offset, snapshot.part.bytes);
    const known = snapshot.at(block);
    return known.kind === 'known' ? known.crc : known.kind;
  }
}

const SEEDS = 400;

test('what a start has noted in vain is not taken for what a later one has noted alike', () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const life = new Life();
    life.start();
    life.table.setApart(ALONE, 0xf1);
    life.write();
    life.start();
    life.table.clear(ALONE, 1);
    life.table.setApart(ALONE, 0xf1);
    life.table.setApart(JOINED, 0x11);
    life.write();
    life.losePower(seed);
    life.start();
    life.table.clear(ALONE, 1);
    life.table.clear(JOINED, 1);
    life.table.setApart(ALONE, 0xf1);
    life.table.setRun(JOINED, STRETCH);
    life.flush();
    life.start();
    assert.deepEqual([life.found, life.knows(ALONE), life.knows(JOINED)], ['sound', 0xf1, 0x2000], `seed ${seed}`);
  }
});

test('a log that begins anew with each start of a copy that is filled has nothing of the starts before', () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const life = new Life();
    life.start().reset();
    life.table.setApart(JOINED, 0x11);
    life.write();
    life.losePower(seed);
    life.start().reset();
    life.table.setRun(JOINED, STRETCH);
    life.flush();
    life.start();
    assert.deepEqual([life.found, life.knows(JOINED)], ['sound', 0x2000], `seed ${seed}`);
  }
});

test('a log that has rotted is never followed by the digests that lay below it', () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const life = new Life();
    life.table.setRun(JOINED, STRETCH);
    life.flush();
    life.table.setApart(JOINED, 0x11);
    life.flush();
    const bytes = life.disk.contentOf('log-0');
    bytes[bytes.length - 4096 + 50] = 0xff;
    life.disk.plant('log-0', bytes);
    life.start();
    assert.equal(life.found, 'damaged');
    if (seed % 3 === 0) life.write();
    if (seed % 3 === 1) life.flush();
    if (seed % 3 === 1) life.table.settle();
    life.losePower(seed);
    life.start();
    assert.equal(life.knows(JOINED), 'unknown', `seed ${seed}`);
    life.flush();
    life.table.settle();
    life.table.setApart(JOINED, 0x33);
    life.flush();
    life.start();
    assert.deepEqual([life.found, life.knows(JOINED)], ['sound', 0x33], `seed ${seed}`);
  }
});
