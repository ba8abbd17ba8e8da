// Lock files: what keeps two processes from using the same folder or store at once. The lock is the kernel's and ends with the process,
// however it ends; the file stays and means nothing by itself.

import { closeSync, constants, ftruncateSync, openSync, writeSync } from 'node:fs';
import { DiskError } from '../core/base/ports.ts';
import { tryLock } from './libc.ts';

/** A lock that is held. */
export interface FileLock {
  release(): void;
}

/**
 * Locks a file, which is created when it is missing, and notes this process's id in it for people. Null when another process (or another
 * lock of this one) holds it. Throws DiskError when the file cannot be opened or the system has no locks.
 */
export function lockFile(path: string): FileLock | null {
  let fd;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o644);
  } catch (cause) {
    throw new DiskError({ operation: 'open', file: path, code: (cause as NodeJS.ErrnoException).code ?? 'EIO' }, { cause });
  }
  const result = tryLock(fd);
  if (typeof result === 'string') {
    closeSync(fd);
    if (result === 'EAGAIN') return null;
    throw new DiskError({ operation: 'open', file: path, code: result });
  }
  const held = fd;
  ftruncateSync(held, 0);
  writeSync(held, `${process.pid}\n`, 0);
  return { release: () => closeSync(held) };
}
