// A Debian package below a folder of its own, by dpkg itself, so that its scripts run.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What dpkg is told to have all below `root`. Its libraries are those of this machine: below `root` there is nothing else. */
export function dpkgArguments(root: string): readonly string[] {
  return [`--root=${root}`, '--force-not-root', '--force-depends', '--force-script-chrootless'];
}

/** Prepares `root`, which is new, and returns what dpkg is told to install a package there. */
export function installing(deb: string, root: string): readonly string[] {
  const data = join(root, 'var/lib/dpkg');
  for (const name of ['info', 'updates']) mkdirSync(join(data, name), { recursive: true });
  writeFileSync(join(data, 'status'), '');
  return [...dpkgArguments(root), '-i', deb];
}
