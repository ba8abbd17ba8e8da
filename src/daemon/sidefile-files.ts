// The sidefile of a stopped site, read from its data folder: what `tercet sidefile inspect --files` shows. The folder is locked meanwhile, so no
// daemon starts on it, and one that runs is not disturbed.

import { existsSync } from 'node:fs';

import { TercetError } from '../core/base/errors.ts';
import { type FilesReport, inspectFiles } from '../core/replica/inspect.ts';
import { openReplicaFolder } from '../host/disk.ts';
import { machineDigests } from '../host/digests.ts';

/** Throws TERCET_REPLICA_LOCKED while a daemon has the folder, and TERCET_NOT_IN_STATE when there is nothing to read. */
export async function readSidefileFiles(folder: string, range: { from: number; count: number }): Promise<FilesReport> {
  const what = `${folder} cannot be inspected`;
  if (!existsSync(folder)) throw new TercetError('TERCET_NOT_IN_STATE', { what, reason: 'there is no such folder' });
  const opened = openReplicaFolder(folder);
  try {
    const report = inspectFiles(opened.storage, machineDigests, range);
    if (typeof report === 'string') throw new TercetError('TERCET_NOT_IN_STATE', { what, reason: report });
    return report;
  } finally {
    await opened.close();
  }
}
