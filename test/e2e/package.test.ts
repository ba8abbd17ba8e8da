// What is installed on a machine: the packages are built, the Debian package is put into a folder of its own, its units and manual pages are
// judged by systemd-analyze and mandoc, and a witness and three sites are started from it.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';

import { configText, planLayout } from '../../demo/layout.ts';
import { until } from '../../demo/waiting.ts';
import { dpkgArguments, installing } from '../support/dpkg.ts';

const ROOT = join(import.meta.dirname, '../..');
const MILLIS_MAX = 60_000;

interface Ran {
  readonly code: number | null;
  readonly out: string;
}

function run(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Ran {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', env: { ...process.env, ...env } });
  if (error !== undefined) throw error;
  return { code: status, out: stdout + stderr };
}

function succeed(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): string {
  const { code, out } = run(command, args, env);
  assert.equal(code, 0, `${command} ${args.join(' ')}\n${out}`);
  return out;
}

test('the packages install, and what is installed serves a mirrored volume', { timeout: 300_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-package-'));
  const root = join(folder, 'root');
  const children: ChildProcess[] = [];
  t.after(async () => {
    const alive = children.filter((child) => child.exitCode === null && child.signalCode === null);
    const ended = alive.map((child) => once(child, 'exit'));
    for (const child of alive) child.kill('SIGKILL');
    await Promise.all(ended);
    rmSync(folder, { recursive: true, force: true });
  });
  succeed(process.execPath, [join(ROOT, 'scripts/package.ts'), '--fast', '--out', folder]);
  const built = readdirSync(folder);
  const file = (end: string): string => join(folder, built.find((name) => name.endsWith(end)) ?? `nothing that ends with ${end}`);
  succeed('dpkg', installing(file('.deb'), root));
  const tercet = join(root, 'usr/bin/tercet');
  const tercetd = join(root, 'usr/bin/tercetd');

  await t.test('manual pages and units are without fault', () => {
    const pages = readdirSync(join(root, 'usr/share/man'), { recursive: true })
      .map(String)
      .filter((name) => name.endsWith('.gz'));
    assert.equal(pages.length, 5);
    for (const name of pages) {
      const page = join(folder, 'page');
      const text = gunzipSync(readFileSync(join(root, 'usr/share/man', name)));
      // Nothing of the form that it was written in is left.
      const left = /`|^sh$|\]\(/m.exec(text.toString('utf8'));
      assert.equal(left, null, name);
      writeFileSync(page, text);
      succeed('mandoc', ['-Tlint', '-Wwarning', page]);
    }
    const units = join(folder, 'units');
    mkdirSync(units);
    for (const [name, as] of [
      ['tercetd@.service', 'tercetd@alpha.service'],
      ['tercet-witness.service', 'tercet-witness.service'],
      ['tercet-attach@.service', 'tercet-attach@db-data.service'],
    ] as const) {
      const socket = join(root, 'usr/lib/systemd/system', name.replace('.service', '.socket'));
      if (existsSync(socket)) writeFileSync(join(units, as.replace('.service', '.socket')), readFileSync(socket));
      const unit = readFileSync(join(root, 'usr/lib/systemd/system', name), 'utf8').replaceAll('/usr/bin/tercet', `${root}/usr/bin/tercet`);
      writeFileSync(join(units, as), unit);
      // The manual pages that it names are not in this machine's folders.
      assert.equal(succeed('systemd-analyze', ['--man=no', 'verify', join(units, as)]), '');
      const exposure = /overall exposure level.*?: ([0-9.]+)/i.exec(
        run('systemd-analyze', ['security', '--offline=yes', '--no-pager', join(units, as)]).out,
      );
      assert.ok(exposure?.[1] !== undefined && Number(exposure[1]) < 3, `${as}: exposure ${exposure?.[1]}`);
    }
  });

  await t.test('the shells are told what may come next', () => {
    assert.equal(succeed(tercet, ['__complete', 'witness', 'r']), 'replace\nrestore\nrun\n');
    assert.match(succeed(tercet, ['__complete', 'promote', '--f']), /^--force$/m);
    assert.equal(succeed(tercet, ['__complete', 'resync', 'db', '--digest', 'sha']), 'sha1\nsha256\n');
    const example = { TERCET_CONFIG: join(root, 'usr/share/doc/tercet/examples/three-site.toml') };
    assert.equal(succeed(tercet, ['__complete', 'export', ''], example), 'db/disk0\ndb/log\n');
    assert.equal(succeed(tercet, ['__complete', 'create', 'db', '--first', ''], example), 'alpha\nbeta\ngamma\n');
    const words = succeed('bash', [
      '-c',
      `PATH=${root}/usr/bin:$PATH; . ${root}/usr/share/bash-completion/completions/tercet; COMP_WORDS=(tercet witn); COMP_CWORD=1; _tercet; echo "\${COMPREPLY[@]}"`,
    ]);
    assert.equal(words.trim(), 'witness');
  });

  await t.test('the single file unpacks itself and runs', () => {
    const unpack = join(folder, 'unpacked');
    assert.match(succeed(file('.run'), ['version'], { TERCET_UNPACK: unpack }), /^tercet [0-9.]+$/m);
    assert.match(succeed(file('.run'), ['tercetd', '--version'], { TERCET_UNPACK: unpack }), /^tercetd [0-9.]+$/m);
    assert.equal(readdirSync(unpack).length, 1);
  });

  await t.test('three sites start, tell the service manager, mirror a volume, reload, and end', async () => {
    const layout = await planLayout({ folder, sizeBytes: 16 * 1024 * 1024, usualPorts: false });
    const socket = join(folder, 'notify');
    // Node has no datagram sockets of this kind, and a service manager that is ours would prove nothing.
    const listener = `import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);s.bind(sys.argv[1])\nwhile True: print(s.recv(4096).decode().replace(chr(10)," "),flush=True)`;
    const start = (command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess => {
      const child = spawn(command, args, {
        env: { ...process.env, TERCET_CONFIG: layout.configFile, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      children.push(child);
      return child;
    };
    let heard = '';
    const manager = start('/usr/bin/python3', ['-c', listener, socket]);
    manager.stdout?.on('data', (part: Buffer) => (heard += part.toString('utf8')));
    await until('the socket is there', MILLIS_MAX, async () => existsSync(socket) || null);
    writeFileSync(layout.configFile, configText(layout));
    start(tercet, ['witness', 'run', '--data', layout.witness.data, '--listen', layout.witness.address.text]);
    const sites = layout.sites.map(({ name }) =>
      // The far one runs from the single file.
      name === 'gamma'
        ? start(file('.run'), ['tercetd', '--site', name], { TERCET_UNPACK: join(folder, 'unpacked') })
        : start(tercetd, ['--site', name], name === 'alpha' ? { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '5000000' } : {}),
    );
    const [alpha] = sites as [ChildProcess];
    const log = text(alpha.stderr as NodeJS.ReadableStream);
    await until('alpha is ready', MILLIS_MAX, async () => {
      if (alpha.exitCode !== null) throw new Error(await log);
      return /READY=1/.test(heard) || null;
    });
    await until('it says that it is alive', MILLIS_MAX, async () => /WATCHDOG=1/.test(heard) || null);
    const env = { TERCET_CONFIG: layout.configFile };
    // One that came too late for its asker has been carried out all the same: then the group exists (3).
    await until(
      'the group is created',
      MILLIS_MAX,
      async () => [0, 3].includes(run(tercet, ['create', layout.group], env).code ?? 1) || null,
    );
    const well = /^\S+: alpha serves \(epoch [0-9]+\), beta .*, gamma .*\n$/;
    await until('all is well, in one line', MILLIS_MAX, async () => well.test(run(tercet, ['status'], env).out) || null);
    assert.equal(succeed(tercet, ['__complete', 'status', '--site', 'b'], env), 'beta\n');
    await reloads({ layout, tercet, env, alpha, heard: () => heard });
    for (const child of sites) child.kill('SIGTERM');
    for (const child of sites) if (child.exitCode === null) await once(child, 'exit');
    assert.deepEqual(
      sites.map((child) => child.exitCode),
      [0, 0, 0],
    );
    await until('the manager was told of the end', MILLIS_MAX, async () => /STOPPING=1/.test(heard) || null);
    const lines = (await log)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string; msg: string });
    assert.ok(lines.some(({ event, msg }) => event === 'reload' && /group\.\S+\.rpo_seconds takes effect now/.test(msg)));
    assert.ok(lines.some(({ event }) => event === 'reload.failed'));
  });

  await t.test('it is taken away again, but for what is data or written by hand', () => {
    writeFileSync(join(root, 'etc/tercet/tercet.toml'), '');
    mkdirSync(join(root, 'var/lib/tercet/db'), { recursive: true });
    succeed('dpkg', [...dpkgArguments(root), '--purge', 'tercet']);
    const left = readdirSync(root, { recursive: true }).map(String);
    assert.deepEqual(left.filter((name) => /tercet/.test(name)).sort(), [
      'etc/tercet',
      'etc/tercet/tercet.toml',
      'var/lib/tercet',
      'var/lib/tercet/db',
    ]);
  });
});

interface Reloading {
  readonly layout: Awaited<ReturnType<typeof planLayout>>;
  readonly tercet: string;
  readonly env: Readonly<Record<string, string>>;
  readonly alpha: ChildProcess;
  /** What the service manager has heard. */
  readonly heard: () => string;
}

/** A change that takes effect, one that needs a restart, one with a fault: by command and by signal. */
async function reloads({ layout, tercet, env, alpha, heard }: Reloading): Promise<void> {
  const before = readFileSync(layout.configFile, 'utf8');
  const changed = (rpo: string, more = ''): void =>
    writeFileSync(
      layout.configFile,
      before.replace(/^\[group\.(.+)\]$/m, (line) => `${line}\nrpo_seconds = ${rpo}${more}`),
    );
  changed('7', '\nlease_millis = 2000');
  assert.equal(
    succeed(tercet, ['reload', '--site', 'alpha'], env),
    `group.${layout.group}.lease_millis: not set -> 2000 (needs a restart of this daemon)\ngroup.${layout.group}.rpo_seconds: not set -> 7 (in effect)\n`,
  );
  changed('"soon"');
  assert.equal(run(tercet, ['reload', '--site', 'alpha'], env).code, 78);
  alpha.kill('SIGHUP');
  await until('the manager was told of the reload at the signal', MILLIS_MAX, async () => /RELOADING=1[^]*READY=1/.test(heard()) || null);
  changed('9');
  assert.match(succeed(tercet, ['reload', '--site', 'alpha'], env), /rpo_seconds: 7 -> 9 \(in effect\)/);
}
