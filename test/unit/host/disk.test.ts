// Files of a replica on the real file system.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { InvariantError } from '../../../src/core/base/assert.ts';
import { TercetError } from '../../../src/core/base/errors.ts';
import { DiskError, type DiskFailure, type Extent, type FilePart, type Storage, type StoredFile } from '../../../src/core/base/ports.ts';
import { digestBlocks } from '../../../src/sim/digests.ts';
import { DigestThreads } from '../../../src/host/digest-threads.ts';
import { openFolder, openReplicaFolder } from '../../../src/host/disk.ts';
import { lockFile } from '../../../src/host/flock.ts';
import { joinRuns, TransferQueue, withoutFirst } from '../../../src/host/transfers.ts';

const base = realpathSync(mkdtempSync(join(tmpdir(), 'tercet-disk-')));
after(() => rmSync(base, { recursive: true }));
let folders = 0;

function newFolder(): string {
  const folder = join(base, `folder-${folders++}`);
  mkdirSync(folder);
  return folder;
}

function newFile(name = 'data'): { storage: Storage; file: StoredFile; path: string } {
  const folder = newFolder();
  const storage = openFolder(folder);
  return { storage, file: storage.open(name, { create: true }), path: join(folder, name) };
}

/** Waits for a callback, which must not come from inside the call. */
function outcome(begin: (done: (failure: DiskFailure | null) => void) => void): Promise<DiskFailure | null> {
  return new Promise((resolve, reject) => {
    let inside = true;
    begin((failure) => (inside ? reject(new Error('called back from inside the call')) : resolve(failure)));
    inside = false;
  });
}

const flushed = (storage: Storage, files: StoredFile[]): Promise<DiskFailure | null> => outcome((done) => storage.flush(files, done));

function filled(length: number, value: number): Uint8Array {
  return new Uint8Array(length).fill(value);
}

function failureOf(call: () => unknown): DiskFailure {
  try {
    call();
  } catch (error) {
    if (error instanceof DiskError) return error.failure;
    throw error;
  }
  return assert.fail('nothing was thrown');
}

/** The descriptor under which this process has a file open. */
function descriptorOf(path: string): number {
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${name}`) === path) return Number(name);
    } catch {
      // The descriptor of the listing itself is closed by now.
      continue;
    }
  }
  return assert.fail(`${path} is not open`);
}

/** Closes a file's descriptor behind its back, runs `during`, and puts another in its place so that its owner can close that. */
async function withoutDescriptor(path: string, during: () => Promise<void>): Promise<void> {
  const fd = descriptorOf(path);
  closeSync(fd);
  await during();
  assert.equal(openSync(path, 'r+'), fd, 'the lowest free descriptor is used');
}

describe('a file', () => {
  test('gives back what was written, the parts one behind the other', () => {
    const { file, path } = newFile();
    file.write(10, [filled(3, 1), filled(0, 9), filled(2, 2), filled(4, 3)]);
    assert.equal(file.size(), 19);
    const bytes = filled(9, 0xff);
    assert.equal(file.read(10, bytes), 9);
    assert.deepEqual([...bytes], [1, 1, 1, 2, 2, 3, 3, 3, 3]);
    assert.deepEqual([...readFileSync(path).subarray(0, 10)], [...filled(10, 0)]);
    file.write(11, [filled(1, 7)]);
    assert.equal(file.size(), 19);
    file.write(30, []);
    assert.equal(file.size(), 19);
  });

  test('reads as zeroes beyond its end, whichever way it is read', async () => {
    const { file } = newFile();
    file.write(0, [filled(5000, 1)]);
    const ways: ((offset: number, into: Uint8Array) => Promise<unknown>)[] = [
      async (offset, into) => assert.equal(file.read(offset, into), Math.max(0, 5000 - offset)),
      async (offset, into) => assert.equal(file.readCached(offset, into), true),
      async (offset, into) => assert.equal(await outcome((done) => file.readParts([{ offset, bytes: into }], done)), null),
    ];
    for (const way of ways) {
      for (const offset of [4998, 5000, 9000]) {
        const bytes = filled(4, 0xff);
        await way(offset, bytes);
        assert.deepEqual([...bytes], offset === 4998 ? [1, 1, 0, 0] : [0, 0, 0, 0]);
      }
    }
  });

  test('digests its blocks on another thread, cached or not, and its end as zeroes', async () => {
    const threads = new DigestThreads();
    const path = join(newFolder(), 'data');
    const storage = openFolder(dirname(path), { digests: threads });
    const file = storage.open('data', { create: true });
    const content = Uint8Array.from({ length: 1_500_000 }, (_, at) => (at * 37) % 251);
    file.write(0, [content]);
    assert.equal(await flushed(storage, [file]), null);
    const digest = (offset: number, length: number, blockBytes: number): Promise<Uint8Array | DiskFailure> =>
      new Promise((resolve) => {
        file.digestBlocks({ offset, length }, { algorithm: 'sha256', blockBytes }, resolve);
      });
    // Threads do not keep a process alive; a test does.
    const timer = setInterval(() => {}, 1000);
    for (const cached of [true, false]) {
      if (!cached) spawnSync('dd', [`of=${path}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none']);
      for (const [offset, length, blockBytes] of [
        [4096, 1_048_576, 65_536],
        [0, 2_097_152, 1_048_576],
        [1_490_944, 16_384, 4096],
      ] as const) {
        const bytes = new Uint8Array(length);
        bytes.set(content.subarray(offset, offset + length));
        assert.deepEqual(Buffer.from((await digest(offset, length, blockBytes)) as Uint8Array), digestBlocks('sha256', bytes, blockBytes));
      }
    }
    const failed = await new Promise((resolve) => {
      threads.digestFile({ fd: 1_000_000, offset: 0, length: 4096 }, { algorithm: 'sha256', blockBytes: 4096 }, resolve);
    });
    assert.equal(failed, 'EBADF');
    clearInterval(timer);
    await threads.close();
  });

  test('takes more parts than one system call does', async () => {
    const { file } = newFile();
    const parts = Array.from({ length: 2500 }, (_, index) => filled(3, index % 251));
    file.write(0, parts);
    assert.equal(file.size(), 7500);
    let offset = 0;
    const back: FilePart[] = parts.map((part) => ({ offset: (offset += 3) - 3, bytes: filled(part.length, 0xff) }));
    assert.equal(await outcome((done) => file.readParts(back, done)), null);
    back.forEach((part, index) => assert.deepEqual(part.bytes, parts[index]));
  });

  test('holds space that it reserves, until it is made shorter', () => {
    const { file, path } = newFile();
    const held = file.reserve(1 << 20);
    assert.equal(file.size(), 1 << 20);
    assert.equal(statSync(path).blocks * 512 >= 1 << 20, held, 'whether it is held is told');
    file.truncate(1 << 16);
    assert.ok(statSync(path).blocks * 512 < 1 << 20);
    assert.throws(() => file.reserve(2 ** 60), /failed: (ENOSPC|EFBIG)/);
  });

  test('grows and shrinks by truncate', () => {
    const { file, path } = newFile();
    file.write(0, [filled(10, 1)]);
    file.truncate(1 << 20);
    assert.equal(file.size(), 1 << 20);
    assert.ok(statSync(path).blocks * 512 < 1 << 20, 'what is added takes no space');
    file.truncate(4);
    assert.equal(statSync(path).size, 4);
    const bytes = filled(8, 0xff);
    assert.equal(file.read(0, bytes), 4);
    assert.deepEqual([...bytes], [1, 1, 1, 1, 0, 0, 0, 0]);
  });

  test('gives space back where it is punched, and reads as zeroes there to the byte', () => {
    const { file, path } = newFile();
    file.write(0, [filled(1 << 20, 1)]);
    const before = statSync(path).blocks;
    file.punch(100, (1 << 19) - 200);
    assert.ok(statSync(path).blocks < before, 'space was given back');
    assert.equal(file.size(), 1 << 20);
    const bytes = new Uint8Array(1 << 20);
    file.read(0, bytes);
    bytes.forEach((byte, at) => {
      if ((byte === 0) !== (at >= 100 && at < (1 << 19) - 100)) assert.fail(`byte ${at} is ${byte}`);
    });
    file.punch((1 << 20) - 10, 1 << 20);
    assert.equal(file.size(), 1 << 20, 'punching beyond the end does not grow it');
    file.punch(1 << 21, 4096);
  });

  test('tells holes from data, in order, covering the range exactly', () => {
    const { file } = newFile();
    const unit = 1 << 16;
    file.write(2 * unit, [filled(unit, 1)]);
    file.write(5 * unit, [filled(unit, 1)]);
    const all = file.extents(0, 8 * unit, 100);
    const expected = [
      { offset: 0, length: 2 * unit, hole: true },
      { offset: 2 * unit, length: unit, hole: false },
      { offset: 3 * unit, length: 2 * unit, hole: true },
      { offset: 5 * unit, length: unit, hole: false },
      { offset: 6 * unit, length: 2 * unit, hole: true },
    ];
    assert.deepEqual(all, expected);
    assert.deepEqual(file.extents(0, 8 * unit, 2), expected.slice(0, 2));
    assert.deepEqual(file.extents(2 * unit + 5, 10, 100), [{ offset: 2 * unit + 5, length: 10, hole: false }]);
    assert.deepEqual(file.extents(20 * unit, 10, 100), [{ offset: 20 * unit, length: 10, hole: true }]);
    assert.deepEqual(file.extents(0, 0, 100), []);
  });

  test('never calls written bytes a hole, and covers every range exactly', () => {
    const { file } = newFile();
    const unit = 4096;
    const written = new Set<number>();
    const touch = fc.record({ at: fc.nat({ max: 60 }), punch: fc.boolean() });
    fc.assert(
      fc.property(
        fc.array(touch, { maxLength: 10 }),
        fc.nat({ max: 64 * unit }),
        fc.integer({ min: 1, max: 16 * unit }),
        (touches, offset, length) => {
          for (const { at, punch } of touches) {
            if (punch) file.punch(at * unit, unit);
            else file.write(at * unit, [filled(unit, 1)]);
            if (punch) written.delete(at);
            else written.add(at);
          }
          const extents: readonly Extent[] = file.extents(offset, length, 1000);
          let at = offset;
          for (const extent of extents) {
            assert.equal(extent.offset, at);
            assert.ok(extent.length > 0);
            at += extent.length;
            if (!extent.hole) continue;
            for (let byte = extent.offset; byte < at; byte++) assert.ok(!written.has(Math.floor(byte / unit)));
          }
          assert.equal(at, offset + length);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('moves parts in the background, gaps and all', async () => {
    const { file } = newFile();
    const parts = [0, 1, 2, 10, 11, 40].map((unit) => ({ offset: unit * 300_000, bytes: filled(300_000, unit + 1) }));
    assert.equal(await outcome((done) => file.writeParts([...parts, { offset: 7, bytes: filled(0, 0) }], done)), null);
    assert.equal(file.size(), 41 * 300_000);
    const back = parts.map(({ offset }) => ({ offset, bytes: filled(300_000, 0xff) })).reverse();
    assert.equal(await outcome((done) => file.readParts(back, done)), null);
    for (const { offset, bytes } of back) assert.ok(bytes.every((byte) => byte === offset / 300_000 + 1));
    assert.equal(await outcome((done) => file.readParts([], done)), null);
  });

  test('writes many small parts that are apart, none lost and none misplaced', async () => {
    const { storage, file, path } = newFile();
    const parts = Array.from({ length: 700 }, (_, index) => ({
      offset: ((index * 379) % 700) * 8192,
      bytes: filled(4096, (index % 251) + 1),
    }));
    const sets = [parts.slice(0, 350), [...parts.slice(350), { offset: 5, bytes: filled(0, 0) }]];
    assert.deepEqual(await Promise.all(sets.map((set) => outcome((done) => file.writeParts(set, done)))), [null, null]);
    assert.equal(file.size(), 699 * 8192 + 4096);
    assert.equal(await flushed(storage, [file]), null);
    const contents = readFileSync(path);
    for (const { offset, bytes } of parts) assert.deepEqual(new Uint8Array(contents.subarray(offset, offset + 4096)), bytes);
    for (let index = 0; index < 699; index++)
      assert.ok(contents.subarray(index * 8192 + 4096, (index + 1) * 8192).every((byte) => byte === 0));
  });

  test(
    'says of what is not cached that it would have to be waited for',
    { skip: isInMemory() && 'the folder for temporary files is in memory' },
    async () => {
      const { storage, file, path } = newFile();
      file.write(0, [filled(1 << 24, 5)]);
      const bytes = filled(8192, 0);
      assert.equal(file.readCached(4096, bytes), true);
      assert.ok(bytes.every((byte) => byte === 5));
      assert.equal(await flushed(storage, [file]), null);
      // Asked for more than once: pages that another core has just put away are not dropped by the first.
      // Asking brings it in by and by, so only the first answer counts.
      let cached = true;
      for (let tries = 0; cached && tries < 50; tries++) {
        const dropped = spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0'], { stdio: 'ignore' });
        assert.equal(dropped.status, 0);
        cached = file.readCached(4096, bytes);
      }
      assert.equal(cached, false);
      bytes.fill(0);
      assert.equal(await outcome((done) => file.readParts([{ offset: 4096, bytes }], done)), null);
      assert.ok(bytes.every((byte) => byte === 5));
      assert.equal(file.readCached(4096, bytes), true);
      // Far from what was read, where no reading ahead has come. (A read of the whole may be overtaken by it on a busy machine.)
      assert.equal(file.readCached(12 << 20, bytes), false, 'a part is cached, the rest is not');
    },
  );

  /** So many small reads at once, at places apart in a file of `size` bytes; each is to come back with what `expected` says. */
  async function readMany(file: StoredFile, count: number, expected: (offset: number) => number): Promise<void> {
    const reads = Array.from({ length: count }, (_, index) => ({ offset: ((index * 379) % count) * 8192, bytes: filled(4096, 0xff) }));
    const failures = await Promise.all(reads.map((read) => outcome((done) => file.readParts([read], done))));
    assert.ok(failures.every((failure) => failure === null));
    for (const { offset, bytes } of reads)
      assert.ok(
        bytes.every((byte, at) => byte === expected(offset + at)),
        `4096 bytes from ${offset}`,
      );
  }

  test('reads many small parts that are apart and not cached, each its own, with zeroes behind the end', async () => {
    const { storage, file, path } = newFile();
    const contents = Uint8Array.from({ length: 600 * 8192 + 1000 }, (_, at) => (at >> 12) % 251);
    file.write(0, [contents]);
    assert.equal(await flushed(storage, [file]), null);
    assert.equal(spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0'], { stdio: 'ignore' }).status, 0);
    await readMany(file, 700, (at) => contents[at] ?? 0);
    for (const count of [1, 2, 3, 4, 5]) await readMany(file, count, (at) => contents[at] ?? 0);
    file.close();
  });

  test('tells each of many small reads that it has failed, and stays open until the last has ended', async () => {
    const { file, path } = newFile();
    file.write(0, [filled(1 << 20, 1)]);
    const reads = Array.from({ length: 20 }, (_, index) => ({ offset: index * 8192, bytes: filled(4096, 0) }));
    const failure = { operation: 'read', file: 'data', code: 'EBADF' };
    await withoutDescriptor(path, async () => {
      const failures = await Promise.all(reads.map((read) => outcome((done) => file.readParts([read], done))));
      assert.deepEqual(
        failures,
        reads.map(() => failure),
      );
    });
    const last = Promise.all(reads.map((read) => outcome((done) => file.readParts([read], done))));
    file.close();
    assert.ok((await last).every((each) => each === null));
    assert.ok(reads.every(({ bytes }) => bytes.every((byte) => byte === 1)));
    assert.throws(() => descriptorOf(path), /is not open/);
  });

  test('stays open while something is under way, though it was closed', async () => {
    const { file, path } = newFile();
    const bytes = filled(1 << 20, 3);
    const written = outcome((done) => file.writeParts([{ offset: 0, bytes }], done));
    file.close();
    assert.throws(() => file.read(0, bytes), InvariantError);
    assert.equal(await written, null);
    assert.deepEqual(new Uint8Array(readFileSync(path)), bytes);
    assert.throws(() => descriptorOf(path), /is not open/);
  });

  test('that fails under a transfer tells it once, after all that was begun', async () => {
    const { file, path } = newFile();
    file.write(0, [filled(1 << 22, 1)]);
    await withoutDescriptor(path, async () => {
      const parts = [0, 1, 2, 3].map((mebibyte) => ({ offset: mebibyte << 20, bytes: filled(1 << 20, 0) }));
      const failure = { operation: 'read', file: 'data', code: 'EBADF' };
      assert.deepEqual(await outcome((done) => file.readParts(parts, done)), failure);
      assert.deepEqual(await outcome((done) => file.writeParts(parts, done)), { ...failure, operation: 'write' });
    });
    file.close();
  });
});

describe('a write that fails', () => {
  test('says so, however much of it was written', () => {
    const folder = newFolder();
    const program = `
      import { openFolder } from ${JSON.stringify(new URL('../../../src/host/disk.ts', import.meta.url).href)};
      const file = openFolder(${JSON.stringify(folder)}).open('data', { create: true });
      const failures = [];
      const attempt = (parts) => { try { file.write(0, parts); } catch (error) { failures.push(error.failure); } };
      attempt([new Uint8Array(1 << 20)]);
      attempt([new Uint8Array(1 << 12), new Uint8Array(1 << 20)]);
      file.writeParts([{ offset: 0, bytes: new Uint8Array(1 << 20) }], (failure) => {
        failures.push(failure);
        const scattered = Array.from({ length: 16 }, (_, index) => ({ offset: index * 8192 + 100, bytes: new Uint8Array(4096) }));
        file.writeParts(scattered, (failure) => {
          failures.push(failure);
          console.log(JSON.stringify(failures));
        });
      });`;
    // The shell's limit of file size: the write that reaches it is cut short, the next one is refused. A full disk does the same.
    const run = spawnSync('sh', ['-c', 'ulimit -f 64 && exec "$@"', 'sh', process.execPath, '--input-type=module', '-e', program], {
      encoding: 'utf8',
    });
    assert.equal(run.status, 0, run.stderr);
    const failure = { operation: 'write', file: 'data', code: 'EFBIG' };
    assert.deepEqual(JSON.parse(run.stdout), [failure, failure, failure, failure]);
    assert.ok(statSync(join(folder, 'data')).size > 0, 'a part of it was written');
  });
});

describe('a flush', () => {
  test('ends well, for no file, one, several, and several flushes at once', async () => {
    const folder = newFolder();
    const storage = openFolder(folder);
    assert.equal(await flushed(storage, []), null);
    const files = ['a', 'b', 'c'].map((name) => storage.open(name, { create: true }));
    for (const file of files) file.write(0, [filled(100, 1)]);
    const both = await Promise.all([flushed(storage, [...files, ...files]), flushed(storage, files), flushed(storage, [])]);
    assert.deepEqual(both, [null, null, null]);
  });

  test('that failed once is never followed by one that succeeds, though the file is opened again', async () => {
    const { storage, file, path } = newFile();
    const other = storage.open('other', { create: true });
    const failure = { operation: 'flush', file: 'data', code: 'EBADF' };
    // The directory's turn, which opens a descriptor, must not come while one is missing.
    assert.equal(await flushed(storage, [other]), null);
    await withoutDescriptor(path, async () => assert.deepEqual(await flushed(storage, [other, file]), failure));
    file.write(0, [filled(10, 1)]);
    assert.deepEqual(await flushed(storage, [file]), failure);
    file.close();
    const again = storage.open('data', { create: false });
    assert.deepEqual(await flushed(storage, [again]), failure);
    assert.equal(await flushed(storage, [other]), null);
    again.close();
    storage.remove('data');
    assert.equal(await flushed(storage, [storage.open('data', { create: true })]), null, 'a new file begins anew');
  });

  test('covers the directory, and fails for good when that cannot be flushed', async () => {
    const folder = newFolder();
    const storage = openFolder(folder);
    const file = storage.open('data', { create: true });
    // Open, the file outlives its folder; the folder's new entry cannot be made durable any more.
    rmSync(folder, { recursive: true });
    assert.equal((await flushed(storage, [file]))?.operation, 'flush');
    assert.equal((await flushed(storage, [file]))?.code, 'ENOENT');
  });

  test('is told to the owner of the turn after its callback', async () => {
    const order: string[] = [];
    await new Promise<void>((resolve) => {
      const storage = openFolder(newFolder(), {
        afterCallback: () => {
          order.push('after');
          resolve();
        },
      });
      storage.flush([], () => order.push('done'));
    });
    assert.deepEqual(order, ['done', 'after']);
  });
});

describe('a folder', () => {
  test('lists its files sorted, without the lock, and the files that lie elsewhere once they exist', () => {
    const folder = newFolder();
    const elsewhere = newFolder();
    writeFileSync(join(elsewhere, 'disk.raw'), 'x');
    const { storage } = openReplicaFolder(folder, {
      paths: { 'base-0': join(elsewhere, 'disk.raw'), 'base-1': join(elsewhere, 'missing') },
    });
    for (const name of ['b', 'a', 'B']) storage.open(name, { create: true }).close();
    mkdirSync(join(folder, 'some-folder'));
    assert.deepEqual(storage.list(), ['B', 'a', 'b', 'base-0']);
    const file = storage.open('base-1', { create: true });
    file.write(0, [filled(3, 65)]);
    assert.equal(readFileSync(join(elsewhere, 'missing'), 'latin1'), 'AAA');
    assert.deepEqual(storage.list(), ['B', 'a', 'b', 'base-0', 'base-1']);
  });

  test('opens only what exists, unless it may create', () => {
    const storage = openFolder(newFolder());
    assert.deepEqual(
      failureOf(() => storage.open('none', { create: false })),
      { operation: 'open', file: 'none', code: 'ENOENT' },
    );
    assert.throws(() => storage.open('../none', { create: true }), InvariantError);
    assert.throws(() => storage.open('lock', { create: true }), InvariantError);
    assert.deepEqual(failureOf(() => openFolder(join(base, 'nowhere')).list()).operation, 'list');
  });

  test('has one file for all who open the same name', () => {
    const storage = openFolder(newFolder());
    const first = storage.open('data', { create: true });
    const second = storage.open('data', { create: false });
    first.write(0, [filled(10, 1)]);
    assert.equal(second.size(), 10);
    first.close();
    assert.throws(() => storage.remove('data'), InvariantError);
    second.close();
    storage.remove('data');
    assert.deepEqual(storage.list(), []);
    assert.deepEqual(
      failureOf(() => storage.remove('data')),
      { operation: 'remove', file: 'data', code: 'ENOENT' },
    );
  });

  test('does not remove, and does not share, a base image that lies elsewhere', () => {
    const path = join(newFolder(), 'disk.raw');
    writeFileSync(path, 'x');
    const one = openFolder(newFolder(), { paths: { base: path } });
    const two = openFolder(newFolder(), { paths: { base: path } });
    const file = one.open('base', { create: false });
    assert.deepEqual(
      failureOf(() => two.open('base', { create: false })),
      { operation: 'open', file: 'base', code: 'EBUSY' },
    );
    file.close();
    assert.deepEqual(
      failureOf(() => one.remove('base')),
      { operation: 'remove', file: 'base', code: 'EPERM' },
    );
    two.open('base', { create: false }).close();
  });

  test('refuses what is neither a file nor a block device', () => {
    const storage = openFolder(newFolder(), { paths: { base: '/dev/null' } });
    assert.deepEqual(
      failureOf(() => storage.open('base', { create: false })),
      { operation: 'open', file: 'base', code: 'EINVAL' },
    );
  });
});

describe('the lock', () => {
  /** Tries to open a replica's folder in another process: its exit code is that of the error's code, in words. */
  function openElsewhere(folder: string): string {
    const program = `
      import { openReplicaFolder } from ${JSON.stringify(new URL('../../../src/host/disk.ts', import.meta.url).href)};
      try { openReplicaFolder(${JSON.stringify(folder)}); console.log('opened'); } catch (error) { console.log(error.code); }`;
    const run = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
    assert.equal(run.status, 0, run.stderr);
    return run.stdout.trim();
  }

  test('keeps a second process out until the first has closed the folder', async () => {
    const folder = join(newFolder(), 'made', 'on', 'the', 'way');
    const first = openReplicaFolder(folder);
    assert.equal(openElsewhere(folder), 'TERCET_REPLICA_LOCKED');
    assert.throws(() => openReplicaFolder(folder), TercetError);
    await first.close();
    assert.equal(openElsewhere(folder), 'opened');
  });

  test('stays until what was under way has ended, and no callback comes after the close', async () => {
    const folder = newFolder();
    const { storage, close } = openReplicaFolder(folder);
    const file = storage.open('data', { create: true });
    file.writeParts([{ offset: 0, bytes: filled(1 << 22, 1) }], () => assert.fail('called back after the close'));
    storage.flush([file], () => assert.fail('called back after the close'));
    const closing = close();
    assert.equal(lockFile(join(folder, 'lock')), null);
    await closing;
    assert.equal(statSync(join(folder, 'data')).size, 1 << 22);
    const lock = lockFile(join(folder, 'lock'));
    assert.ok(lock !== null);
    lock.release();
  });

  test('names the process that holds it, and cannot be had where there is no folder', () => {
    const path = join(newFolder(), 'lock');
    const lock = lockFile(path);
    assert.equal(readFileSync(path, 'latin1'), `${process.pid}\n`);
    lock?.release();
    assert.equal(failureOf(() => lockFile(join(base, 'nowhere', 'lock'))).code, 'ENOENT');
  });
});

describe('transfers', () => {
  test('join what follows one another, in pieces of bounded size', () => {
    const part = (offset: number, length: number): FilePart => ({ offset, bytes: filled(length, 0) });
    const shape = (parts: FilePart[]): number[][] => joinRuns(parts).map((run) => [run.offset, run.pieces.length]);
    assert.deepEqual(shape([part(0, 10), part(10, 5), part(20, 1), part(15, 5), part(20, 2), part(22, 0)]), [
      [0, 2],
      [20, 1],
      [15, 2],
    ]);
    assert.deepEqual(shape([part(0, 1 << 20), part(1 << 20, 1)]), [
      [0, 1],
      [1 << 20, 1],
    ]);
    assert.deepEqual(shape([part(0, 1 << 23)]), [[0, 1]]);
    assert.equal(shape(Array.from({ length: 1000 }, (_, index) => part(index, 1))).length, 4);
  });

  test('leave nothing out when a part of the pieces was moved', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 5 }), { maxLength: 6 }), fc.nat({ max: 32 }), (pieces, byteCount) => {
        const all = pieces.flatMap((piece) => [...piece]);
        assert.deepEqual(
          withoutFirst(pieces, byteCount).flatMap((piece) => [...piece]),
          all.slice(byteCount),
        );
      }),
    );
  });

  test('run in order and not more at once than allowed', () => {
    const queue = new TransferQueue(2);
    const begun: number[] = [];
    const ends: (() => void)[] = [];
    for (let index = 0; index < 5; index++) {
      queue.add((done) => {
        begun.push(index);
        ends.push(done);
      });
    }
    assert.deepEqual(begun, [0, 1]);
    ends[1]?.();
    assert.deepEqual(begun, [0, 1, 2]);
    ends[0]?.();
    ends[2]?.();
    assert.deepEqual(begun, [0, 1, 2, 3, 4]);
  });
});

/** Whether temporary files are in memory, where everything is always cached. */
function isInMemory(): boolean {
  const TMPFS = 0x01021994;
  return statfsSync(tmpdir()).type === TMPFS;
}
