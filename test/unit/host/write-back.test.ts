// Long writes that begin to go to the disk at once, on the real file system.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { FilePart } from '../../../src/core/base/ports.ts';
import { openReplicaFolder } from '../../../src/host/disk.ts';
import { earlyWriteBack, EarlyWriteBack, LONG_WRITE_BYTES, type WrittenFile } from '../../../src/host/write-back.ts';

const base = mkdtempSync(join(tmpdir(), 'tercet-write-back-'));
after(() => rmSync(base, { recursive: true }));

describe('long writes', () => {
  test('of both kinds begin to go to the disk at once, short ones do not, and a flush and a close come after', async () => {
    const folder = openReplicaFolder(base);
    const file = folder.storage.open('base-0', { create: true });
    const begun: [number, number][] = [];
    const queue = new EarlyWriteBack((_fd, offset, length, ended) => {
      begun.push([offset, length]);
      setImmediate(ended);
    });
    const written = earlyWriteBack.written.bind(earlyWriteBack);
    earlyWriteBack.written = (of, offset, length): void => queue.written(of, offset, length);
    try {
      const bytes = new Uint8Array(LONG_WRITE_BYTES);
      file.write(0, [bytes.subarray(1)]);
      file.write(1 << 20, [bytes.subarray(0, 4096), bytes.subarray(4096)]);
      const part = (offset: number, length: number): FilePart => ({ offset, bytes: bytes.subarray(0, length) });
      const parts = [part(0, 65536), part(65536, 65536), part(131072, 131072), part(4 << 20, 65536), part(8 << 20, LONG_WRITE_BYTES)];
      await new Promise<void>((resolve) => {
        file.writeParts(parts, () => resolve());
      });
      await setTimeout(20);
      assert.deepEqual(begun, [
        [1 << 20, LONG_WRITE_BYTES],
        [0, LONG_WRITE_BYTES],
        [8 << 20, LONG_WRITE_BYTES],
      ]);
    } finally {
      earlyWriteBack.written = written;
    }
    file.write(16 << 20, [new Uint8Array(2 << 20)]);
    file.close();
    await folder.close();
  });

  test('one stretch at a time is begun, what follows joins one that waits, and a closed file is left', () => {
    const ends: (() => void)[] = [];
    const begun: string[] = [];
    const queue = new EarlyWriteBack((fd, offset, length, ended) => {
      begun.push(`${fd} ${offset} ${length}`);
      ends.push(ended);
    });
    const file = (fd: number): WrittenFile & { isClosed: boolean } => ({ fd, isClosed: false, hold: (call, done) => call(done) });
    const [a, b, c] = [file(1), file(2), file(3)];
    queue.written(a, 0, 10);
    queue.written(a, 10, 10);
    queue.written(a, 20, 10);
    queue.written(b, 0, 5);
    queue.written(b, 100, 5);
    queue.written(c, 0, 7);
    assert.deepEqual(begun, ['1 0 10']);
    c.isClosed = true;
    for (let end = ends.shift(); end !== undefined; end = ends.shift()) end();
    assert.deepEqual(begun.splice(0), ['1 0 10', '1 10 20', '2 0 5', '2 100 5']);
    queue.written(a, 0, 10);
    queue.written(b, 0, 5);
    queue.written(a, 50, 10);
    queue.flushed(a);
    for (let end = ends.shift(); end !== undefined; end = ends.shift()) end();
    assert.deepEqual(begun.splice(0), ['1 0 10', '2 0 5'], 'a flush does the rest of its file');
    for (let i = 0; i < 100; i++) queue.written(a, 100 * i, 10);
    for (let end = ends.shift(); end !== undefined; end = ends.shift()) end();
    assert.equal(begun.length, 33, 'more is not kept in mind');
  });
});
