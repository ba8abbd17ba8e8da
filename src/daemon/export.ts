// A raw image of one volume as of one moment: out of the copy of a site whose daemon is stopped, as of the newest record there; or out of one that
// runs, which sends the image and says as of which record it is. Hosts go on meanwhile.

import { existsSync } from 'node:fs';

import { TercetError } from '../core/base/errors.ts';
import { type ImageEnd, ImageFailure, type ImagePiece } from '../core/base/image.ts';
import { takeImage } from './take-image.ts';
import type { GroupConfig, SiteConfig } from './config.ts';
import { replicaFolder } from './config.ts';
import { lockReplica, openDry } from './dry-replica.ts';
import { ImageFile } from './image-file.ts';

/** What was exported. */
export interface Exported extends ImageEnd {
  readonly file: string;
  /** What it takes on its disk. */
  readonly dataBytes: number;
}

/** What is exported, and from where. */
export interface ExportSource {
  readonly site: SiteConfig;
  readonly group: GroupConfig;
  readonly volume: string;
}

/** Writes an image into a file. Throws TERCET_NOT_IN_STATE when it cannot be had whole, or not be written. */
export async function writeImage(
  what: string,
  file: string,
  image: () => AsyncGenerator<ImagePiece, ImageEnd>,
  signal: AbortSignal,
): Promise<Exported> {
  const into = new ImageFile(file, what);
  try {
    const pieces = image();
    for (;;) {
      const next = await pieces.next();
      signal.throwIfAborted();
      if (next.done !== true) into.write(next.value.offset, next.value.bytes);
      else return { ...next.value, file: into.path, dataBytes: into.finish(next.value.sizeBytes) };
    }
  } catch (error) {
    const reason = signal.aborted ? 'it was interrupted' : error instanceof ImageFailure ? error.message : null;
    throw reason === null ? error : new TercetError('TERCET_NOT_IN_STATE', { what: `${what} was not exported`, reason }, { cause: error });
  } finally {
    into.close();
  }
}

/**
 * Out of the copy of a site whose daemon is stopped; nothing of it is changed. `found` hears what a start of the daemon would mend. Throws
 * TERCET_REPLICA_LOCKED while it runs.
 */
export async function exportStopped(
  { site, group, volume }: ExportSource,
  file: string,
  { signal, found }: { readonly signal: AbortSignal; readonly found: (text: string) => void },
): Promise<Exported> {
  const what = `${group.name}/${volume}`;
  const wrong = (reason: string): TercetError => new TercetError('TERCET_NOT_IN_STATE', { what: `${what} was not exported`, reason });
  const folder = lockReplica(site, group);
  try {
    const opened = await openDry(site, group, { folder, found });
    if (opened === null) throw wrong(`there is no copy of ${group.name} at ${site.name}`);
    if ('error' in opened) throw wrong(opened.error);
    const { replica } = opened;
    const index = group.volumes.findIndex(({ name }) => name === volume);
    // Nothing comes any more, so everything there is is as of the newest record, whether it was committed or not.
    replica.commit(replica.marks.received);
    const ground = { replica: () => replica, pause: () => Promise.resolve() };
    return await writeImage(what, file, () => takeImage(ground, index), signal);
  } finally {
    await folder.close();
  }
}

/** Whether a site has a copy on this machine. */
export function hasCopy({ site, group }: ExportSource): boolean {
  return existsSync(replicaFolder(site, group.name));
}
