// The end of a replica's use: in order, so that the next start finds everything and is a clean one, or at once.

import type { DiskDone } from '../base/ports.ts';
import type { Whereabouts } from './memory.ts';
import type { ReplicaDone } from './options.ts';
import type { CopyGround } from './receive.ts';

/** What closing needs of its replica. */
interface ClosingGround extends Pick<CopyGround, 'changes' | 'failure' | 'commit' | 'background' | 'marks' | 'stop' | 'update'> {
  /** Whether bases and sidefile are to be left alone by now. */
  readonly stopped: () => boolean;
  readonly whereabouts: Whereabouts;
  readonly drain: (done: ReplicaDone) => void;
  readonly saveBitmaps: (done: DiskDone) => void;
  /** Calls back when none of the digests beside the base images are being written: that is nobody's work in the background. */
  readonly whenWritten: (done: () => void) => void;
  /** Nothing is under way any more: the files may be closed. */
  readonly closeFiles: () => void;
}

/** See Replica.close. */
export function closeReplica(ground: ClosingGround, clean: boolean, done: ReplicaDone): void {
  const { background, commit, changes } = ground;
  const closeFiles: ReplicaDone = (failure) => {
    ground.stop(true);
    const close = (): void => {
      ground.closeFiles();
      done(failure ?? ground.failure());
    };
    // Each may have begun something anew while the other was waited for.
    const whenQuiet = (): void => background.whenIdle(() => ground.whenWritten(() => (background.idle ? close() : whenQuiet())));
    whenQuiet();
  };
  changes.close();
  // Stopped: a copy is about to begin, so there is nothing here that would be clean.
  if (!clean || ground.stopped() || ground.failure() !== null) return closeFiles(null);
  const stop = (): void => {
    // A copy may have begun, or the disk failed, while what is in memory was written out.
    if (ground.stopped() || ground.failure() !== null) return closeFiles(ground.failure());
    commit.whenDurable(ground.marks.received, (failure) => {
      if (failure !== null) return closeFiles(failure);
      ground.stop(true);
      background.whenIdle(() => {
        if (ground.failure() !== null) return closeFiles(ground.failure());
        // What is in memory and not in the bases goes with this process.
        if (ground.whereabouts.inMemory && ground.marks.destaged < ground.marks.received) return closeFiles(null);
        ground.saveBitmaps((unsaved) => (unsaved === null ? ground.update({ cleanShutdown: true }, closeFiles) : closeFiles(unsaved)));
      });
    });
  };
  if (!ground.whereabouts.drains) return stop();
  ground.drain((failure) => (failure === null ? stop() : closeFiles(failure)));
}
