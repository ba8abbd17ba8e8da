// What `npm start` promises: lines that work when pasted, data that is still there the next time, an end without processes left behind, and the
// story of a failover that checks itself.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { mustRun } from '../../demo/tools.ts';
import { until } from '../../demo/waiting.ts';

const ROOT = join(import.meta.dirname, '..', '..');

interface Demo {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly ended: Promise<number | null>;
}

function start(...args: string[]): Demo {
  const child = spawn(process.execPath, ['bin/launch.js', 'demo/main.ts', ...args], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (piece: string) => (text += piece));
  }
  const ended = new Promise<number | null>((resolve) => {
    child.on('close', resolve);
  });
  return { child, output: () => text, ended };
}

/** Command lines of processes that name a folder. */
function processesOf(folder: string): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name) && name !== String(process.pid))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        // It has ended since the list was made.
        return '';
      }
    })
    .filter((line) => line.includes(folder));
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-demo-'));
  try {
    await body(folder);
    assert.deepEqual(processesOf(folder), [], 'no process is left');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test('npm start serves a volume, prints lines that work, and keeps the data for the next time', async () => {
  await inFolder(async (folder) => {
    const first = start('--data', folder, '--size', '64MiB');
    await until('alpha serves, mirrored', 30_000, () => /alpha SERVES, mirrored/.test(first.output()), first.output);
    const lines = /attach with one of:\n((?: {2}.*\n)+)/.exec(first.output())?.[1]?.trimEnd().split('\n') ?? [];
    const runnable = lines.filter((line) => /^ *(nbdinfo|qemu-img) /.test(line));
    assert.ok(runnable.length >= 4, first.output());
    for (const line of runnable) await mustRun('sh', ['-c', line], { cwd: ROOT });
    assert.ok(
      lines.some((line) => line.includes('nbd-client')),
      first.output(),
    );
    const uri = /nbd:\/\/[^ \n]+/.exec(first.output())?.[0] as string;
    await mustRun('qemu-io', ['-f', 'raw', '-c', 'write -P 0x5a 1M 64k', uri]);
    first.child.kill('SIGINT');
    assert.equal(await first.ended, 0, first.output());
    assert.deepEqual(processesOf(folder), []);

    const second = start('--data', folder, '--seconds', '8');
    await until('alpha serves again', 30_000, () => /alpha SERVES/.test(second.output()), second.output);
    assert.match(second.output(), /^found group demo/m);
    const again = /nbd:\/\/[^ \n]+/.exec(second.output())?.[0] as string;
    await mustRun('qemu-io', ['-f', 'raw', '-c', 'read -P 0x5a 1M 64k', again]);
    assert.equal(await second.ended, 0, second.output());

    const other = start('--data', folder, '--size', '1GiB');
    assert.equal(await other.ended, 2);
    assert.match(other.output(), /leave out --size/);
  });
});

test('npm start -- --failover loses nothing, ends with equal copies, and says so in under two minutes', async () => {
  await inFolder(async (folder) => {
    const begun = performance.now();
    const demo = start('--failover', '--data', folder);
    assert.equal(await demo.ended, 0, demo.output());
    assert.ok(performance.now() - begun < 120_000);
    assert.match(demo.output(), /RTO: [0-9.]+ s/);
    assert.match(demo.output(), /RPO: 0 acknowledged writes lost, of [1-9][0-9]{2,} checked/);
    assert.match(demo.output(), /e2fsck finds the file system clean/);
    assert.match(demo.output(), /all three copies of demo\/disk0 are equal, byte for byte/);
  });
});
