// A raw image that is written: sparse, later bytes over earlier ones, and never over a file that is there.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { ImageFile } from '../../../src/daemon/image-file.ts';

const FOLDER = mkdtempSync(join(tmpdir(), 'tercet-image-'));
after(() => rmSync(FOLDER, { recursive: true }));
const KIB = 1024;

test('it has its name once it is whole: holes stay, and zeroes take the place of what was there before', () => {
  const path = join(FOLDER, 'whole.raw');
  const image = new ImageFile(path, 'db/disk0');
  image.write(0, Buffer.alloc(128 * KIB, 7));
  image.write(256 * KIB, Buffer.alloc(512 * KIB));
  image.write(64 * KIB, Buffer.alloc(4 * KIB));
  assert.ok(!readdirSync(FOLDER).includes('whole.raw'));
  image.finish(1024 * KIB);
  image.close();
  const expected = Buffer.alloc(1024 * KIB);
  expected.fill(7, 0, 128 * KIB).fill(0, 64 * KIB, 68 * KIB);
  assert.ok(readFileSync(path).equals(expected));
  assert.ok(statSync(path).blocks * 512 < 256 * KIB);
  assert.deepEqual(readdirSync(FOLDER), ['whole.raw']);
  assert.throws(() => new ImageFile(path, 'db/disk0'), /exists already/);
});

test('a file that appears meanwhile stays as it is', () => {
  const path = join(FOLDER, 'late.raw');
  const image = new ImageFile(path, 'db/disk0');
  image.write(0, Buffer.alloc(4 * KIB, 7));
  writeFileSync(path, 'mine');
  assert.throws(() => image.finish(8 * KIB), /late\.raw has appeared meanwhile/);
  image.close();
  assert.equal(readFileSync(path, 'utf8'), 'mine');
  assert.ok(!readdirSync(FOLDER).some((name) => name.includes('.part-')));
});
