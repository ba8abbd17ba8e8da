// Which files of an ext4 volume lie in ranges of its base image, by debugfs, where e2fsprogs is installed: `icheck` tells the inode of a block,
// `ncheck` the names of an inode. It reads the image of this machine as it is now; what is still in the sidefile it does not see.

import { spawnSync } from 'node:child_process';

import type { VerifyStatus } from '../../api/verify.ts';

const BLOCKS_MAX = 4096;

/** What lies in a range. `offset` and `length` are null where nothing can be said of a volume; `why` says why no file is named. */
export interface FileRange {
  readonly volume: string;
  readonly offset: number | null;
  readonly length: number | null;
  readonly file: string | null;
  readonly why: string | null;
}

/** Each range with its file, or why none can be named. */
export function filesOfRanges(
  imageOf: (volume: string) => string,
  volumes: readonly string[],
  findings: VerifyStatus['findings'],
): FileRange[] {
  const found: FileRange[] = [];
  for (const [volume, name] of volumes.entries()) {
    const ranges = findings.filter((finding) => finding.volume === volume);
    if (ranges.length === 0) continue;
    found.push(...filesOf(imageOf(name), name, ranges));
  }
  return found;
}

/** A line of the report for people. */
export function fileLine({ volume, offset, length, file, why }: FileRange): string {
  const where = offset === null || length === null ? '' : `, bytes ${offset} to ${offset + length - 1}`;
  return `  volume ${volume}${where}: ${file === null ? why : `file ${file}`}`;
}

/** The same for one image. */
function filesOf(image: string, volume: string, ranges: readonly { readonly offset: number; readonly length: number }[]): FileRange[] {
  const none = (why: string): FileRange[] => [{ volume, offset: null, length: null, file: null, why }];
  const stats = debugfs(image, 'stats -h');
  const blockBytes = Number(/^Block size: +([0-9]+)$/m.exec(stats.out)?.[1] ?? 0);
  if (stats.failed !== null) return none(`files cannot be named: ${stats.failed}`);
  if (blockBytes === 0) return none('holds no ext4 file system that begins at its first byte');
  const blocks = new Set<number>();
  for (const { offset, length } of ranges) {
    for (let at = Math.floor(offset / blockBytes); at * blockBytes < offset + length && blocks.size < BLOCKS_MAX; at++) blocks.add(at);
  }
  const inodes = pairs(debugfs(image, `icheck ${[...blocks].join(' ')}`).out);
  const numbers = [...new Set([...inodes.values()].filter((inode) => /^[0-9]+$/.test(inode)))];
  const names = numbers.length === 0 ? new Map<string, string>() : pairs(debugfs(image, `ncheck ${numbers.join(' ')}`).out);
  return stretchesOf(inodes).map(({ first, last, inode }) => {
    const file = names.get(inode)?.replace(/^\/+/, '/') ?? null;
    const nameless = /^[0-9]+$/.test(inode)
      ? `file with inode ${inode}, whose name is not known`
      : 'no file: free space or data of the file system itself';
    const why = file === null ? nameless : null;
    return { volume, offset: first * blockBytes, length: (last + 1 - first) * blockBytes, file, why };
  });
}

/** Blocks that lie side by side and belong to the same file, as one. */
function stretchesOf(inodes: ReadonlyMap<string, string>): readonly { first: number; last: number; inode: string }[] {
  const stretches: { first: number; last: number; inode: string }[] = [];
  for (const [text, inode] of [...inodes].sort(([a], [b]) => Number(a) - Number(b))) {
    const block = Number(text);
    const before = stretches.at(-1);
    if (before !== undefined && before.last + 1 === block && before.inode === inode) before.last = block;
    else stretches.push({ first: block, last: block, inode });
  }
  return stretches;
}

function debugfs(image: string, request: string): { readonly out: string; readonly failed: string | null } {
  const { stdout, error, stderr } = spawnSync('debugfs', ['-R', request, image], {
    encoding: 'utf8',
    timeout: 60_000,
    maxBuffer: 64 * 1024 * 1024,
  });
  if (error !== undefined)
    return { out: '', failed: 'code' in error && error.code === 'ENOENT' ? 'debugfs (e2fsprogs) is not installed' : error.message };
  const said = `${stderr}${stdout}`;
  const unopened = /^(?:debugfs: )?(.+) while (?:trying to open|opening)/m.exec(said)?.[1] ?? null;
  if (unopened !== null && !unopened.includes('magic number')) return { out: '', failed: `${image} cannot be opened: ${unopened}` };
  return { out: unopened === null && !said.includes('Filesystem not open') ? stdout : '', failed: null };
}

/** Lines of two columns, without their heading. */
function pairs(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split('\n').slice(1)) {
    const match = /^([0-9]+)\s+(.+)$/.exec(line.trim());
    if (match !== null) found.set(match[1] as string, match[2] as string);
  }
  return found;
}
