// Keys at the terminal: kill a process of the demonstration and start it again, to see what the others make of it.

import type { Cluster } from './cluster.ts';

/** What the keys do, for people. */
export const KEYS_TEXT = 'keys: 1, 2, 3 kill a site and w the witness (SIGKILL); r starts again what is gone; Ctrl-C ends';

const CTRL_C = '\x03';
const WITNESS_KEY = 'w';
const RESTART_KEY = 'r';

/** Takes the terminal back. */
type Release = () => void;

/** Listens to keys. `endings` is kept up to date for the picture. */
export function listenToKeys(cluster: Cluster, endings: Map<string, string>, interrupt: () => void): Release {
  const { stdin } = process;
  if (!stdin.isTTY) return () => undefined;
  const daemonOf = (key: string): (typeof cluster.daemons)[number] | null => {
    if (key === WITNESS_KEY) return cluster.witness;
    return cluster.members[Number(key) - 1]?.daemon ?? null;
  };
  const pressed = (key: string): void => {
    if (key === CTRL_C) {
      interrupt();
      return;
    }
    if (key === RESTART_KEY) {
      for (const daemon of cluster.daemons.filter((each) => each.pid === null)) {
        endings.delete(daemon.name);
        daemon.launch();
      }
      return;
    }
    // Ends like any other process that dies; the picture is told by the one who watches them.
    daemonOf(key)?.signal('SIGKILL');
  };
  stdin.setEncoding('utf8');
  stdin.setRawMode(true);
  stdin.on('data', pressed);
  stdin.resume();
  return () => {
    stdin.off('data', pressed);
    stdin.setRawMode(false);
    stdin.pause();
  };
}
