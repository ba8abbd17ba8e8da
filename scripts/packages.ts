// Foreign programs are the judges of the end-to-end tests: qemu-img, nbdcopy, fio and others. This finds which are missing and installs
// their Debian packages where it may. A test with a real client is never left out because its client is not there.

import { spawnSync } from 'node:child_process';
import { accessSync, constants, mkdtempSync, openSync, closeSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

import { TercetError } from '../src/core/base/errors.ts';

/** A Debian package and how to see that it is there: programs of it that are found, and a command that succeeds. */
interface Package {
  readonly name: string;
  readonly programs: readonly string[];
  /** For what is no program: a command that ends with 0 only where the package works. */
  readonly probe?: readonly string[];
}

const PACKAGES: readonly Package[] = [
  { name: 'qemu-utils', programs: ['qemu-img', 'qemu-io', 'qemu-nbd'] },
  { name: 'libnbd-bin', programs: ['nbdinfo', 'nbdcopy', 'nbdfuse'] },
  // Debian's own Python, by its full path: the one first in PATH may be another, which does not see Debian's modules.
  { name: 'python3-libnbd', programs: ['nbdsh'], probe: ['/usr/bin/python3', '-c', 'import nbd'] },
  { name: 'fio', programs: ['fio'], probe: ['fio', '--enghelp=nbd'] },
  { name: 'e2fsprogs', programs: ['mke2fs', 'e2fsck', 'debugfs'] },
  { name: 'etcd-server', programs: ['etcd'] },
  { name: 'fuse3', programs: ['fusermount3'] },
  // Judges of what is installed and watched: units, manual pages, metrics and alert rules.
  { name: 'systemd', programs: ['systemd-analyze'] },
  { name: 'mandoc', programs: ['mandoc'] },
  { name: 'prometheus', programs: ['promtool'] },
  // Networks of their own for the sites of one machine.
  { name: 'iproute2', programs: ['ip'] },
  { name: 'curl', programs: ['curl'] },
  // Shows the page, and is looked at.
  { name: 'chromium', programs: ['chromium'] },
];

// An ordinary user's PATH leaves out the folders where Debian keeps mke2fs and e2fsck.
const FOLDERS = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];

function isInstalled(program: string): boolean {
  return FOLDERS.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function missingOf(one: Package): string[] {
  const programs = one.programs.filter((program) => !isInstalled(program));
  if (programs.length > 0 || one.probe === undefined) return programs;
  const [command, ...args] = one.probe as [string, ...string[]];
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0 ? [] : [one.probe.join(' ')];
}

/** What is missing now, and the line that installs it; null when nothing is. */
function findMissing(): { programs: string; packages: string[] } | null {
  const found = PACKAGES.map((one) => ({ name: one.name, missing: missingOf(one) })).filter((one) => one.missing.length > 0);
  if (found.length === 0) return null;
  return { programs: found.flatMap((one) => one.missing).join(', '), packages: found.map((one) => one.name) };
}

function missingError(missing: { programs: string; packages: string[] }, remark: string): TercetError {
  const line = `them with: apt-get install -y --no-install-recommends ${missing.packages.join(' ')}${remark}`;
  return new TercetError('TERCET_MISSING_PROGRAM', { programs: missing.programs, packages: line });
}

/**
 * Sees to it that all foreign programs of the tests are installed. Throws TERCET_MISSING_PROGRAM, with the install line, where they are not
 * and this user may not install them, or where installing them failed (then apt-get's output has been printed).
 */
export function ensurePackages(): void {
  const missing = findMissing();
  if (missing === null) return;
  const may = process.getuid?.() === 0 && isInstalled('apt-get');
  if (!may) throw missingError(missing, ' (as root; on other systems, the packages that hold these programs)');
  console.log(`installing ${missing.packages.join(' ')} (missing: ${missing.programs})`);
  const folder = mkdtempSync(join(tmpdir(), 'tercet-apt-'));
  const log = join(folder, 'apt.log');
  const wait = ['-o', 'DPkg::Lock::Timeout=120'];
  // When the list of packages cannot be renewed, the one that is there may still do.
  apt(log, ['update', '-q', ...wait]);
  const installed = apt(log, ['install', '-y', '-q', '--no-install-recommends', ...wait, ...missing.packages]);
  const still = findMissing();
  if (!installed || still !== null) console.error(readFileSync(log, 'utf8'));
  rmSync(folder, { recursive: true });
  if (still !== null) throw missingError(still, ' (tried just now; the output of apt-get is above)');
}

/** Runs apt-get without questions, its output appended to a file; whether it succeeded. */
function apt(log: string, args: readonly string[]): boolean {
  const output = openSync(log, 'a');
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    return spawnSync('apt-get', args, { stdio: ['ignore', output, output], env, timeout: 15 * 60_000 }).status === 0;
  } finally {
    closeSync(output);
  }
}
