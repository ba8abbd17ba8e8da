// npm run show:postgres [-- --kills N]: PostgreSQL on ext4 on a volume that is attached with `tercet attach`, under pgbench, while the site that
// serves is killed again and again. The database must not see an error, and every transaction that pgbench was told of must be there.
//
// Needs root, for a loop device and a mount; takes some minutes. Missing Debian packages are named and installed where that may be done.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { mustRun, runTool } from '../../demo/tools.ts';
import { pause, until } from '../../demo/waiting.ts';
import { Attached } from '../../test/support/attached.ts';
import { TestCluster } from '../../test/support/cluster.ts';

const { values } = parseArgs({ options: { kills: { type: 'string', default: '10' } } });
const KILLS = Number(values.kills);
const MIB = 1024 * 1024;
const VOLUME_BYTES = 768 * MIB;
const CLIENTS = 4;
const SCALE = 5;
/** Between a site that is whole again and the next kill. */
const CALM_MILLIS = 2_000;
const ROUND_MILLIS_MAX = 120_000;

const say = (text: string): void => console.log(`${new Date().toISOString().slice(11, 19)} ${text}`);

/** Folder of the programs of the newest PostgreSQL that is installed. */
function postgresFolder(): string {
  const root = '/usr/lib/postgresql';
  const find = (): string | null => {
    const versions = existsSync(root) ? readdirSync(root).sort((a, b) => Number(b) - Number(a)) : [];
    const found = versions.find(
      (version) => existsSync(join(root, version, 'bin/initdb')) && existsSync(join(root, version, 'bin/pgbench')),
    );
    return found === undefined ? null : join(root, found, 'bin');
  };
  if (find() === null) spawnSync('apt-get', ['install', '-y', '--no-install-recommends', 'postgresql'], { stdio: 'inherit' });
  const folder = find();
  if (folder === null) throw new Error('PostgreSQL is missing: install the Debian package postgresql');
  return folder;
}

/** A database on a mounted folder. */
class Database {
  readonly #bin: string;
  readonly #folder: string;
  readonly #sockets: string;

  constructor(bin: string, mount: string, sockets: string) {
    this.#bin = bin;
    this.#folder = join(mount, 'data');
    this.#sockets = sockets;
  }

  /** As the user of the database: PostgreSQL refuses to run as root. */
  run(program: string, args: readonly string[], millisMax = 600_000): Promise<string> {
    return mustRun('runuser', ['-u', 'postgres', '--', join(this.#bin, program), ...args], { millisMax, cwd: '/' });
  }

  async start(): Promise<void> {
    await this.run('initdb', ['-D', this.#folder, '-U', 'postgres', '--auth=trust', '--no-instructions']);
    const options = `-k ${this.#sockets} -c listen_addresses='' -c logging_collector=on -c log_directory=${this.#sockets} -c log_filename=server.log`;
    await this.run('pg_ctl', ['-D', this.#folder, '-w', '-l', join(this.#sockets, 'start.log'), '-o', options, 'start']);
    await this.run('pgbench', ['-h', this.#sockets, '-U', 'postgres', '-q', '-i', '-s', String(SCALE), 'postgres']);
  }

  async ask(sql: string): Promise<string> {
    return (await this.run('psql', ['-h', this.#sockets, '-U', 'postgres', '-At', '-c', sql, 'postgres'])).trim();
  }

  stop(): Promise<string> {
    return this.run('pg_ctl', ['-D', this.#folder, '-w', '-m', 'fast', 'stop']);
  }

  /** Lines of its log that speak of trouble. */
  troubles(): string[] {
    const log = readFileSync(join(this.#sockets, 'server.log'), 'utf8');
    // Its own workers are ended by the orderly stop.
    return log.split('\n').filter((line) => /\b(ERROR|FATAL|PANIC|WARNING)\b/.test(line) && !/due to administrator command/.test(line));
  }

  /** pgbench until its time is over: its exit code and what it printed. */
  bench(seconds: number): Promise<{ code: unknown; text: string }> {
    const args = ['-u', 'postgres', '--', join(this.#bin, 'pgbench'), '-h', this.#sockets, '-U', 'postgres', '-n', '-c', String(CLIENTS)];
    const child = spawn('runuser', [...args, '-T', String(seconds), 'postgres'], { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (text += bytes.toString()));
    return once(child, 'close').then(([code]: unknown[]) => ({ code, text }));
  }
}

const SUMS =
  'select (select sum(abalance) from pgbench_accounts), (select sum(bbalance) from pgbench_branches), ' +
  '(select sum(tbalance) from pgbench_tellers), (select sum(delta) from pgbench_history)';

/** One transaction changes all four sums alike: any mixture shows. */
async function checkSums(database: Database): Promise<void> {
  const sums = (await database.ask(SUMS)).split('|');
  if (new Set(sums).size !== 1) throw new Error(`the balances of the database differ: ${sums.join(', ')}`);
}

async function run(test: TestCluster, closers: (() => Promise<unknown>)[]): Promise<void> {
  await test.begin();
  const attached = await Attached.open(test, { hold: '300' });
  const { folder } = test.layout;
  const [fuse, mount, sockets] = ['fuse', 'mount', 'sockets'].map((name) => join(folder, name)) as [string, string, string];
  for (const each of [fuse, mount, sockets]) mkdirSync(each);
  chmodSync(folder, 0o755);
  const nbdfuse = spawn('nbdfuse', [join(fuse, 'disk'), attached.uri], { stdio: 'inherit' });
  const unmounted = once(nbdfuse, 'close');
  closers.push(() => runTool('fusermount3', ['-u', fuse]));
  await until('nbdfuse has mounted the volume', 30_000, () => existsSync(join(fuse, 'disk')));
  const loop = (await mustRun('losetup', ['-f', '--show', join(fuse, 'disk')])).trim();
  closers.push(() => runTool('losetup', ['-d', loop]));
  await mustRun('mkfs.ext4', ['-q', loop]);
  await mustRun('mount', [loop, mount]);
  closers.push(() => runTool('umount', [mount]));
  await mustRun('chown', ['postgres', mount, sockets]);
  const database = new Database(postgresFolder(), mount, sockets);
  await database.start();
  closers.push(() => database.stop().catch(() => 'it was stopped already'));
  say(`PostgreSQL runs on ext4 on ${test.exportName}, ${CLIENTS} clients of pgbench`);

  let processed = 0;
  const pauses: number[] = [];
  for (let round = 1; round <= KILLS; round++) {
    const primary = await test.healed();
    const bench = database.bench(12);
    await pause(CALM_MILLIS);
    const begun = performance.now();
    await test.member(primary).daemon.kill();
    const before = Number(await database.ask('select count(*) from pgbench_history'));
    await until(
      'transactions are committed again',
      ROUND_MILLIS_MAX,
      async () => Number(await database.ask('select count(*) from pgbench_history')) > before + CLIENTS,
    );
    pauses.push((performance.now() - begun) / 1000);
    const serving = await test.servingSite();
    test.member(primary).daemon.launch();
    await until(`${primary} answers again`, ROUND_MILLIS_MAX, async () => (await test.cluster.status(primary)) !== null);
    const { code, text } = await bench;
    const match = /number of transactions actually processed: ([0-9]+)/.exec(text);
    if (code !== 0 || match === null || /aborted/.test(text)) throw new Error(`pgbench saw an error:\n${text}`);
    processed += Number(match[1]);
    const rows = Number(await database.ask('select count(*) from pgbench_history'));
    if (rows !== processed) throw new Error(`pgbench was told of ${processed} transactions, and ${rows} are there`);
    await checkSums(database);
    say(
      `kill ${round} of ${primary}: ${serving ?? 'nobody'} serves, ${pauses.at(-1)?.toFixed(1)} s to the next transactions; ${rows} transactions, none missing`,
    );
  }
  await database.stop();
  const troubles = database.troubles();
  if (troubles.length > 0) throw new Error(`the database saw trouble:\n${troubles.join('\n')}`);
  await mustRun('umount', [mount]);
  await mustRun('e2fsck', ['-fn', loop]);
  await mustRun('losetup', ['-d', loop]);
  await mustRun('fusermount3', ['-u', fuse]);
  await unmounted;
  await attached.daemon.stop();
  await test.compareCopies();
  const longest = Math.max(...pauses).toFixed(1);
  say(`${KILLS} kills, ${processed} transactions, none lost, no error; the longest pause ${longest} s; ext4 clean, the three copies equal`);
}

if (process.getuid?.() !== 0) throw new Error('npm run show:postgres needs root, for a loop device and a mount');
const cluster = await TestCluster.open({
  sizeBytes: VOLUME_BYTES,
  group: {
    sidefile_mib: 512,
    segment_mib: 16,
    destage_backlog_mib: 64,
    hold_seconds: 60,
    lease_millis: 1500,
    heartbeat_millis: 250,
    peer_timeout_millis: 1000,
    witness_retry_millis: 500,
    destage_idle_millis: 1000,
  },
});
const closers: (() => Promise<unknown>)[] = [];
try {
  await run(cluster, closers);
} catch (error) {
  console.error(await cluster.describe());
  throw error;
} finally {
  for (const closer of closers.reverse()) await closer();
  await cluster.close();
}
rmSync(cluster.layout.folder, { recursive: true, force: true });
