// Which files a report names: those that debugfs finds in a real ext4 image, at the places where their content really is.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { VerifyStatus } from '../../../src/api/verify.ts';
import { fileLine, filesOfRanges } from '../../../src/cli/commands/verify-files.ts';

type Finding = VerifyStatus['findings'][number];

const BLOCK = 4096;
const folder = mkdtempSync(join(tmpdir(), 'tercet-files-'));
const imageOf = (volume: string): string => join(folder, `${volume}.img`);
after(() => rmSync(folder, { recursive: true, force: true }));

/** Content that is nowhere else in an image: its first block begins with `mark`. */
const contentOf = (mark: string, blocks: number): Buffer => Buffer.from(`${mark}\n`.padEnd(BLOCK, '.').repeat(blocks));

/** Where a file lies, found by its content and not by what is being tested. */
const placeOf = (volume: string, mark: string): number => readFileSync(imageOf(volume)).indexOf(`${mark}\n`);

const found = (volume: number, offset: number, length: number = BLOCK): Finding => ({
  site: 'beta',
  kind: 'rot',
  volume,
  file: null,
  offset,
  length,
  seq: 7,
  repaired: true,
  proven: true,
});

/** The lines of a report. */
const linesOf = (...args: Parameters<typeof filesOfRanges>): string[] => filesOfRanges(...args).map((range) => fileLine(range));

before(() => {
  const tree = join(folder, 'tree');
  mkdirSync(join(tree, 'var', 'log'), { recursive: true });
  writeFileSync(join(tree, 'ledger.db'), contentOf('the ledger', 4));
  writeFileSync(join(tree, 'var', 'log', 'two words.log'), contentOf('the log', 1));
  for (const [volume, blockBytes] of [
    ['large', 4096],
    ['small', 1024],
  ] as const) {
    writeFileSync(imageOf(volume), Buffer.alloc(0));
    execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-b', `${blockBytes}`, '-d', tree, imageOf(volume), '16M'], { stdio: 'pipe' });
  }
  writeFileSync(imageOf('raw'), Buffer.alloc(16 * BLOCK, 0x5a));
});

test('a block of a file is named with its place and its path', () => {
  const [ledger, log] = [placeOf('large', 'the ledger'), placeOf('large', 'the log')];
  assert.ok(ledger > 0 && log > 0);
  assert.deepEqual(linesOf(imageOf, ['large'], [found(0, log)]), [
    `  volume large, bytes ${log} to ${log + BLOCK - 1}: file /var/log/two words.log`,
  ]);
  const inside = linesOf(imageOf, ['large'], [found(0, ledger + 2 * BLOCK), found(0, ledger + BLOCK)]);
  assert.deepEqual(inside, [`  volume large, bytes ${ledger + BLOCK} to ${ledger + 3 * BLOCK - 1}: file /ledger.db`]);
});

test('for programs the same is told in fields', () => {
  const [ledger, free] = [placeOf('large', 'the ledger'), 15 * 1024 * 1024];
  assert.deepEqual(filesOfRanges(imageOf, ['large', 'raw'], [found(0, ledger), found(0, free), found(1, 0)]), [
    { volume: 'large', offset: ledger, length: BLOCK, file: '/ledger.db', why: null },
    { volume: 'large', offset: free, length: BLOCK, file: null, why: 'no file: free space or data of the file system itself' },
    { volume: 'raw', offset: null, length: null, file: null, why: 'holds no ext4 file system that begins at its first byte' },
  ]);
});

test('blocks of a file system that are smaller than those of a report are named as one stretch', () => {
  const ledger = placeOf('small', 'the ledger');
  assert.deepEqual(linesOf(imageOf, ['small'], [found(0, ledger)]), [
    `  volume small, bytes ${ledger} to ${ledger + BLOCK - 1}: file /ledger.db`,
  ]);
});

test('what belongs to no file, and what is no file system, is said to be so; records of a sidefile are left out', () => {
  const free = found(0, 15 * 1024 * 1024);
  const record = { ...found(0, 0), volume: null, file: 'sidefile-1' };
  const lines = linesOf(imageOf, ['large', 'raw', 'untouched'], [free, found(1, 0), record]);
  assert.deepEqual(lines, [
    `  volume large, bytes ${free.offset} to ${free.offset + BLOCK - 1}: no file: free space or data of the file system itself`,
    '  volume raw: holds no ext4 file system that begins at its first byte',
  ]);
});

test('an image that cannot be opened is told with the reason', () => {
  assert.deepEqual(linesOf(imageOf, ['gone'], [found(0, 0)]), [
    `  volume gone: files cannot be named: ${imageOf('gone')} cannot be opened: No such file or directory`,
  ]);
});
