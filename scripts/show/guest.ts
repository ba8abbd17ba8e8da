// npm run show:guest: a Linux guest in qemu (emulated in software) formats, writes, syncs and reboots on a volume, while the site that serves is
// killed: once behind `tercet attach`, and once with qemu's own way to connect again. Its kernel must not see an error, and every file that it had
// synced must be there.
//
// Needs the Debian packages qemu-system-x86, busybox-static and e2fsprogs, and fetches a kernel with `apt-get download`; takes some minutes.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

import { mustRun } from '../../demo/tools.ts';
import { until } from '../../demo/waiting.ts';
import { Attached } from '../../test/support/attached.ts';
import type { SiteNameInTests } from '../../test/support/cluster.ts';
import { MIB, TestCluster } from '../../test/support/cluster.ts';

const FILES = 60;
const BOOT_MILLIS_MAX = 600_000;
const MODULES = ['virtio', 'virtio_ring', 'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'virtio_pci', 'virtio_blk'];
const PACKAGES = ['qemu-system-x86', 'busybox-static', 'e2fsprogs', 'cpio'];

const say = (text: string): void => console.log(`${new Date().toISOString().slice(11, 19)} ${text}`);

/** What the guest does. `step` is of its kernel's command line. A line that begins with GUEST is for us. */
const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/sbin:/bin
mkdir -p /proc /sys /dev /mnt
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in ${MODULES.join(' ')}; do [ -e /modules/$module.ko ] && insmod /modules/$module.ko; done
step=$(sed 's/.*step=\\([a-z]*\\).*/\\1/' /proc/cmdline)
fail() { echo "GUEST failed: $*"; dmesg | tail -20; poweroff -f; }
files() { # FROM TO
  i=$1
  while [ $i -le $2 ]; do
    dd if=/dev/urandom of=/mnt/file$i bs=64k count=8 conv=fsync 2>/dev/null || fail "writing file $i"
    (cd /mnt && sha256sum file$i >> sums) && sync || fail "syncing file $i"
    echo "GUEST wrote $i"
    i=$((i + 1))
  done
}
check() { (cd /mnt && sha256sum -c sums > /tmp/sums) || fail "a file differs: $(grep -v OK /tmp/sums)"; echo "GUEST found $(wc -l < /tmp/sums) files"; }
mkdir -p /tmp
for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/vda ] && break; sleep 1; done
[ -b /dev/vda ] || fail "there is no disk"
if [ $step = format ]; then /sbin/mke2fs -q -t ext4 /dev/vda || fail "mke2fs"; else /sbin/e2fsck -fn /dev/vda > /tmp/fsck 2>&1 || fail "e2fsck: $(cat /tmp/fsck)"; fi
mount -t ext4 /dev/vda /mnt || fail "mount"
[ $step = format ] || check
case $step in
  format) files 1 20 ;;
  attached) files 21 $((20 + ${FILES})) ;;
  direct) files $((21 + ${FILES})) $((20 + 2 * ${FILES})) ;;
esac
umount /mnt || fail "umount"
dmesg | grep -E 'I/O error|EXT4-fs (error|warning)|blk_update' > /tmp/errors && fail "its kernel saw errors: $(cat /tmp/errors)"
echo "GUEST done $step"
reboot -f
`;

/** A kernel and an initial file system with what the guest needs; the packages are Debian's own. */
async function buildGuest(folder: string): Promise<{ kernel: string; initrd: string }> {
  const missing = ['qemu-system-x86_64', 'busybox', 'mke2fs', 'cpio'].some((program) => spawnSync('which', [program]).status !== 0);
  if (missing) spawnSync('apt-get', ['install', '-y', '--no-install-recommends', ...PACKAGES], { stdio: 'inherit' });
  const depends = await mustRun('apt-cache', ['depends', 'linux-image-cloud-amd64']);
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (name === undefined) throw new Error('the Debian package linux-image-cloud-amd64 is not known here: apt-get update');
  await mustRun('apt-get', ['download', name], { cwd: folder, millisMax: 300_000 });
  const deb = readdirSync(folder).find((file) => file.startsWith(name) && file.endsWith('.deb'));
  if (deb === undefined) throw new Error(`apt-get did not fetch ${name}`);
  await mustRun('dpkg-deb', ['-x', deb, 'kernel'], { cwd: folder });
  const version = name.replace('linux-image-', '');

  const root = join(folder, 'root');
  for (const each of ['bin', 'sbin', 'modules', 'etc']) mkdirSync(join(root, each), { recursive: true });
  const place = (from: string, to: string): void => {
    mkdirSync(dirname(join(root, to)), { recursive: true });
    copyFileSync(from, join(root, to));
  };
  place('/bin/busybox', 'bin/busybox');
  for (const program of ['/sbin/mke2fs', '/sbin/e2fsck']) {
    place(program, program);
    for (const [library] of (await mustRun('ldd', [program])).matchAll(/\/\S+/g)) place(library, library);
  }
  writeFileSync(join(root, 'etc/mke2fs.conf'), readFileSync('/etc/mke2fs.conf'));
  const modules = await mustRun('find', [join(folder, 'kernel/lib/modules', version), '-name', '*.ko']);
  for (const path of modules.split('\n')) if (MODULES.includes(basename(path, '.ko'))) place(path, join('modules', basename(path)));
  writeFileSync(join(root, 'init'), INIT);
  chmodSync(join(root, 'init'), 0o755);
  const initrd = join(folder, 'initrd');
  await mustRun('sh', ['-c', `cd ${root} && find . | cpio -o -H newc --quiet > ${initrd}`]);
  return { kernel: join(folder, 'kernel/boot', `vmlinuz-${version}`), initrd };
}

/** One boot of the guest. */
class Guest {
  text = '';
  readonly #ended: Promise<unknown>;
  #isOver = false;

  constructor(files: { kernel: string; initrd: string }, step: string, disk: string) {
    const machine = [
      '-accel',
      'tcg',
      '-m',
      '256',
      '-display',
      'none',
      '-monitor',
      'none',
      '-serial',
      'stdio',
      '-nic',
      'none',
      '-no-reboot',
    ];
    const system = [
      '-kernel',
      files.kernel,
      '-initrd',
      files.initrd,
      '-append',
      `console=ttyS0 quiet no_timer_check panic=-1 step=${step}`,
    ];
    const drive = ['-blockdev', `driver=nbd,node-name=disk,${disk}`, '-device', 'virtio-blk-pci,drive=disk'];
    const child = spawn('qemu-system-x86_64', [...machine, ...system, ...drive], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (this.text += bytes.toString('latin1')));
    this.#ended = once(child, 'close').then(() => (this.#isOver = true));
    process.once('exit', () => child.kill('SIGKILL'));
  }

  get written(): number {
    return Number([...this.text.matchAll(/GUEST wrote ([0-9]+)/g)].at(-1)?.[1] ?? 0);
  }

  async until(what: string, look: () => boolean): Promise<void> {
    await until(what, BOOT_MILLIS_MAX, () => {
      if (/GUEST failed/.test(this.text) || (this.#isOver && !look())) throw new Error(`the guest has failed:\n${this.text.slice(-4000)}`);
      return look();
    });
  }

  async done(step: string): Promise<void> {
    await this.until(`the guest is done (${step})`, () => this.text.includes(`GUEST done ${step}`));
    await this.#ended;
  }
}

/** Kills the site that serves while the guest writes, and says how long the guest then waited for its next file. */
async function killUnder(test: TestCluster, guest: Guest, primary: SiteNameInTests, from: number): Promise<void> {
  await guest.until('the guest writes', () => guest.written >= from);
  const before = guest.written;
  const begun = performance.now();
  await test.member(primary).daemon.kill();
  await guest.until('the guest goes on', () => guest.written > before + 1);
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  say(`${primary} was killed after file ${before}; ${seconds} s to the second file after that`);
  // On a busy machine that takes its time.
  test.member(primary).daemon.launch();
  await until(`${primary} answers again`, BOOT_MILLIS_MAX, async () => (await test.cluster.status(primary)) !== null);
}

async function run(test: TestCluster): Promise<void> {
  const { layout } = test;
  const folder = join(layout.folder, 'guest');
  mkdirSync(folder);
  const files = await buildGuest(folder);
  await test.begin();
  const attached = await Attached.open(test, { hold: '300' });
  if (attached.address.kind !== 'unix') throw new Error('attach listens on a local socket');
  const byAttach = `server.type=unix,server.path=${attached.address.path},export=${test.exportName}`;
  const format = new Guest(files, 'format', byAttach);
  await format.done('format');
  say('the guest has made ext4, written and synced 20 files, and rebooted');

  const first = new Guest(files, 'attached', byAttach);
  await killUnder(test, first, await test.healed(BOOT_MILLIS_MAX), 30);
  await first.done('attached');
  await test.healed(BOOT_MILLIS_MAX);
  await attached.daemon.stop();
  say(`behind tercet attach: ${FILES} more files`);

  const primary = await test.healed();
  const other = primary === 'alpha' ? 'beta' : 'alpha';
  const { nbd } = test.member(other).layout;
  if (nbd.kind !== 'tcp') throw new Error('a TCP address was expected');
  const byItself = `server.type=inet,server.host=${nbd.host},server.port=${nbd.port},export=${test.exportName},reconnect-delay=60,open-timeout=30`;
  const second = new Guest(files, 'direct', byItself);
  await killUnder(test, second, primary, 30 + FILES);
  await second.done('direct');
  say(`by qemu's reconnect-delay, at ${other} while ${primary} was killed: ${FILES} more files`);

  await test.healed();
  const last = new Guest(files, 'check', byItself);
  await last.done('check');
  const found = /GUEST found ([0-9]+) files/.exec(last.text)?.[1];
  if (found !== String(20 + 2 * FILES)) throw new Error(`${found} files were found`);
  await test.compareCopies();
  say(`after four boots: ${found} files, each with its checksum, ext4 clean, no error in the guest's kernel, the three copies equal`);
}

if (!existsSync('/usr/bin/apt-get')) throw new Error('npm run show:guest fetches a kernel with apt-get');
const cluster = await TestCluster.open({
  sizeBytes: 256 * MIB,
  group: { hold_seconds: 60, lease_millis: 1500, heartbeat_millis: 250, peer_timeout_millis: 1000 },
});
try {
  await run(cluster);
} catch (error) {
  console.error(await cluster.describe());
  throw error;
} finally {
  await cluster.close();
}
rmSync(cluster.layout.folder, { recursive: true, force: true });
