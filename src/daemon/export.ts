// A raw image of one volume, out of the copy of a site whose daemon is stopped: the volume as of the newest record that is there, which is one moment
// of the group. Hosts may go on at another site meanwhile. The file appears under its name when it is whole and on stable storage, or not at all.

import { closeSync, existsSync, fsyncSync, ftruncateSync, linkSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

import { TercetError } from '../core/base/errors.ts';
import { failureError } from '../core/replica/options.ts';
import type { Replica } from '../core/replica/replica.ts';
import { syncFolder } from '../host/disk.ts';
import type { GroupConfig, SiteConfig } from './config.ts';
import { replicaFolder } from './config.ts';
import { lockReplica, openDry } from './dry-replica.ts';

const CHUNK_BYTES = 4 * 1024 * 1024;
/** Zeroes of this size that begin at a multiple of it become a hole. */
const HOLE_BYTES = 64 * 1024;
const ZEROES = Buffer.alloc(HOLE_BYTES);
const EXTENTS_MAX = 256;
const RANGE_BYTES = 1024 * 1024 * 1024;

/** What was exported. */
export interface Exported {
  readonly file: string;
  readonly sizeBytes: number;
  readonly dataBytes: number;
  /** The newest record that is in it. */
  readonly epoch: number;
  readonly seq: number;
  /** When the primary numbered it; null where the record itself is no longer held. */
  readonly timeMillis: number | null;
  /** What a start of the daemon would mend. */
  readonly findings: readonly string[];
}

/** Throws TERCET_REPLICA_LOCKED while the daemon runs, and TERCET_NOT_IN_STATE when there is nothing whole to export, or the file cannot be written. */
export async function exportVolume(
  { site, group, volume }: { site: SiteConfig; group: GroupConfig; volume: string },
  file: string,
  signal: AbortSignal,
): Promise<Exported> {
  const path = resolve(file);
  const wrong = (reason: string, cause?: unknown): TercetError =>
    new TercetError('TERCET_NOT_IN_STATE', { what: `${group.name}/${volume} was not exported`, reason }, { cause });
  if (existsSync(path)) throw wrong(`${path} exists already, and nothing is written over`);
  if (!existsSync(replicaFolder(site, group.name))) throw wrong(`there is no copy of ${group.name} at ${site.name}`);
  const folder = lockReplica(site, group);
  try {
    const findings: string[] = [];
    const opened = await openDry(site, group, { folder, found: (text) => findings.push(text) });
    if (opened === null) throw wrong(`there is no copy of ${group.name} at ${site.name}`);
    if ('error' in opened) throw wrong(opened.error);
    const { replica } = opened;
    if (!replica.consistent) throw wrong(`the copy at ${site.name} is being filled, and is of no moment in time: export at another site`);
    const index = group.volumes.findIndex(({ name }) => name === volume);
    const part = `${path}.part-${process.pid}`;
    try {
      const dataBytes = await writeImage(replica, { index, sizeBytes: group.volumes[index]?.sizeBytes ?? 0 }, { part, path, signal });
      const { epoch, seq } = replica.end;
      return {
        file: path,
        sizeBytes: group.volumes[index]?.sizeBytes ?? 0,
        dataBytes,
        epoch,
        seq,
        timeMillis: replica.timeAt(seq),
        findings,
      };
    } catch (error) {
      if (signal.aborted) throw wrong('it was interrupted', error);
      const { code, syscall } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST' && syscall === 'link') throw wrong(`${path} has appeared meanwhile, and nothing is written over`, error);
      if (syscall === 'link')
        throw wrong(`${part} cannot be named ${path} (${code}): choose a folder whose file system has hard links`, error);
      throw error instanceof TercetError || code === undefined ? error : wrong(`${part} cannot be written (${code})`, error);
    } finally {
      rmSync(part, { force: true });
    }
  } finally {
    await folder.close();
  }
}

async function writeImage(
  replica: Replica,
  { index, sizeBytes }: { index: number; sizeBytes: number },
  { part, path, signal }: { part: string; path: string; signal: AbortSignal },
): Promise<number> {
  const image = openSync(part, 'wx', 0o600);
  let dataBytes = 0;
  try {
    ftruncateSync(image, sizeBytes);
    const chunk = Buffer.alloc(CHUNK_BYTES);
    for (let at = 0; at < sizeBytes;) {
      for (const { length, zero } of replica.extents(index, at, Math.min(RANGE_BYTES, sizeBytes - at), EXTENTS_MAX)) {
        const end = at + length;
        for (; !zero && at < end; at = Math.min(end, at + CHUNK_BYTES)) {
          const bytes = chunk.subarray(0, Math.min(CHUNK_BYTES, end - at));
          await read(replica, index, at, bytes);
          signal.throwIfAborted();
          dataBytes += writeData(image, at, bytes);
        }
        at = end;
      }
    }
    fsyncSync(image);
  } finally {
    closeSync(image);
  }
  // Unlike a rename, this leaves a file alone that has appeared under that name meanwhile.
  linkSync(part, path);
  syncFolder(dirname(path));
  return dataBytes;
}

function read(replica: Replica, index: number, at: number, into: Uint8Array): Promise<void> {
  return new Promise((done, fail) => {
    replica.readCold(index, at, into, (_needSeq, failure) => {
      if (failure === null) done();
      else fail(failureError(failure));
    });
  });
}

/** Writes what is not zero; returns how much that was. */
function writeData(image: number, at: number, bytes: Buffer): number {
  let written = 0;
  for (let from = 0; from < bytes.length;) {
    const end = Math.min(bytes.length, from + HOLE_BYTES - ((at + from) % HOLE_BYTES));
    const piece = bytes.subarray(from, end);
    if (!piece.equals(ZEROES.subarray(0, piece.length))) {
      for (let done = 0; done < piece.length;) done += writeSync(image, piece, done, piece.length - done, at + from + done);
      written += piece.length;
    }
    from = end;
  }
  return written;
}
