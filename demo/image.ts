// A real disk image for the demonstration: an ext4 file system made from files of this very program, copied onto a volume by qemu-img. Where
// these tools are missing, the same files one after another, copied by the built-in client.

import {
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  closeSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import type { Address } from '../src/api/address.ts';
import { NbdClient } from './nbd-client.ts';
import { findTool, mustRun, runTool } from './tools.ts';

const ROOT = join(import.meta.dirname, '..');
/** Parts of the repository that are in the image: sources, documents, and some libraries that are always there. */
const PARTS = ['src', 'docs', 'bin', 'examples', 'node_modules/zod', 'node_modules/hono', 'node_modules/pino'];
const COPY_BYTES = 1024 * 1024;
const COPY_DEPTH = 4;

/** An image in a file. */
export interface DiskImage {
  readonly path: string;
  readonly sizeBytes: number;
  readonly kind: 'ext4' | 'plain';
  readonly fileCount: number;
}

/** Makes the image and, beside it, the folder `tree` that it was made from. */
export async function makeImage(folder: string, sizeBytes: number): Promise<DiskImage> {
  mkdirSync(folder, { recursive: true });
  const tree = join(folder, 'tree');
  rmSync(tree, { recursive: true, force: true });
  for (const part of PARTS)
    if (existsSync(join(ROOT, part))) cpSync(join(ROOT, part), join(tree, part), { recursive: true, dereference: true });
  const files = readdirSync(tree, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const path = join(folder, 'image.raw');
  rmSync(path, { force: true });
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  const image = { path, sizeBytes, fileCount: files.length };
  if (findTool('mke2fs') !== null) {
    await mustRun('mke2fs', ['-q', '-F', '-t', 'ext4', '-b', '4096', '-E', 'lazy_itable_init=0', '-d', tree, path]);
    return { ...image, kind: 'ext4' };
  }
  const contents = Buffer.concat(files.map((entry) => readFileSync(join(entry.parentPath, entry.name))));
  writeFileSync(path, contents.subarray(0, sizeBytes));
  truncateSync(path, sizeBytes);
  return { ...image, kind: 'plain' };
}

/** Copies an image to the begin of an export. Returns who did it. */
export async function writeImage(image: DiskImage, target: { uri: string; address: Address; exportName: string }): Promise<string> {
  if (findTool('qemu-img') !== null) {
    await mustRun('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', image.path, target.uri]);
    return 'qemu-img';
  }
  const client = await NbdClient.connect(target);
  const file = openSync(image.path, 'r');
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < image.sizeBytes) {
      const offset = next;
      next += COPY_BYTES;
      const bytes = Buffer.alloc(Math.min(COPY_BYTES, image.sizeBytes - offset));
      readSync(file, bytes, 0, bytes.length, offset);
      await client.write(offset, bytes);
    }
  };
  await Promise.all(Array.from({ length: COPY_DEPTH }, lane));
  await client.flush();
  await client.close();
  closeSync(file);
  return 'the built-in client';
}

/** What e2fsck says of an ext4 image; null when it is not installed. Changes nothing. */
export async function checkFileSystem(path: string): Promise<{ clean: boolean; text: string } | null> {
  if (findTool('e2fsck') === null) return null;
  const { code, stdout, stderr } = await runTool('e2fsck', ['-f', '-n', path]);
  return { clean: code === 0, text: `${stderr}${stdout}`.trim() };
}

/** Offset of the first byte at which files differ, each compared with the first; null when all are equal up to `byteCount`. */
export function firstDifference(paths: readonly string[], byteCount: number): { path: string; offset: number } | null {
  const [reference, ...others] = paths.map((path) => ({ path, file: openSync(path, 'r'), bytes: Buffer.alloc(4 * COPY_BYTES) }));
  if (reference === undefined) return null;
  try {
    for (let offset = 0; offset < byteCount; offset += reference.bytes.length) {
      const length = Math.min(reference.bytes.length, byteCount - offset);
      readWhole(reference, offset, length);
      for (const other of others) {
        readWhole(other, offset, length);
        if (other.bytes.compare(reference.bytes, 0, length, 0, length) === 0) continue;
        const at = other.bytes.findIndex((byte, index) => byte !== reference.bytes[index]);
        return { path: other.path, offset: offset + at };
      }
    }
    return null;
  } finally {
    for (const each of [reference, ...others]) closeSync(each.file);
  }
}

function readWhole({ path, file, bytes }: { path: string; file: number; bytes: Buffer }, offset: number, length: number): void {
  for (let done = 0; done < length;) {
    const count = readSync(file, bytes, done, length - done, offset + done);
    if (count === 0) throw new Error(`${path} ends at ${offset + done}, it has ${statSync(path).size} bytes`);
    done += count;
  }
}
