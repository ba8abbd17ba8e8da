// A verify on real processes: bits that rot in each of the three base images are found, laid at the right copy's door, and mended, while a host
// writes; and nothing is called a difference that is none.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { baseImage } from '../../demo/layout.ts';
import { drain } from '../../demo/scene.ts';
import { MIB, type SiteNameInTests, type TestCluster, withCluster } from '../support/cluster.ts';

const run = promisify(execFile);

interface Report {
  readonly verifiedBytes: number;
  readonly differingBlocks: number;
  readonly comparedSites: readonly string[];
  readonly findings: readonly {
    readonly site: string;
    readonly kind: string;
    readonly offset: number;
    readonly length: number;
    readonly repaired: boolean;
  }[];
}

/** `tercet verify` as a person runs it: its exit code, its report as JSON. */
async function verify(test: TestCluster, ...flags: readonly string[]): Promise<{ code: number; report: Report; err: string }> {
  const bin = join(import.meta.dirname, '../../bin/tercet.js');
  const args = [
    bin,
    'verify',
    test.exportName.split('/')[0] as string,
    '--config',
    join(test.layout.folder, 'tercet.toml'),
    '--json',
    ...flags,
  ];
  try {
    const { stdout, stderr } = await run(process.execPath, args);
    return { code: 0, report: JSON.parse(stdout) as Report, err: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    if (stdout === '') throw error;
    return { code, report: JSON.parse(stdout) as Report, err: stderr };
  }
}

/** Flips a bit of a base image under the running daemon, through the page cache that it shares. */
function flip(test: TestCluster, name: SiteNameInTests, offset: number): void {
  const file = openSync(baseImage(test.layout, test.member(name).layout), 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, offset);
  byte[0] = (byte[0] as number) ^ 0x10;
  writeSync(file, byte, 0, 1, offset);
  closeSync(file);
}

test('bits that rot in each of the three base images are found under load, attributed, and mended', async () => {
  await withCluster({}, async (test) => {
    const load = test.load();
    await test.acknowledged(load, 300);
    const client = await test.attach('alpha');
    for (let at = 0; at < 4 * MIB; at += MIB) await client.write(at, Buffer.alloc(MIB, 0x40 + at / MIB));
    const clean = await verify(test);
    assert.equal(clean.code, 0, JSON.stringify(clean));
    assert.deepEqual(clean.report.findings, []);
    assert.deepEqual([...clean.report.comparedSites].sort(), ['beta', 'gamma']);
    assert.equal(clean.report.verifiedBytes, test.layout.sizeBytes);

    await load.workload.stop();
    await test.verify(load);
    await drain(test.cluster, 60_000);
    const rotten = { alpha: 5 * 4096 + 7, beta: MIB + 9 * 4096, gamma: 3 * MIB + 255 * 4096 + 4095 };
    for (const [name, offset] of Object.entries(rotten)) flip(test, name as SiteNameInTests, offset);
    const only = await verify(test, '--report-only');
    assert.equal(only.code, 1);
    const mended = await verify(test);
    assert.equal(mended.code, 1);
    for (const [report, repaired] of [
      [only.report, false],
      [mended.report, true],
    ] as const) {
      const found = report.findings.map(({ seq: _seq, ...finding }: Report['findings'][number] & { seq?: number }) => finding);
      const expected = Object.entries(rotten).map(([site, offset]) => ({
        site,
        kind: 'rot',
        offset: offset - (offset % 4096),
        length: 4096,
        repaired,
      }));
      assert.deepEqual(
        found.map(({ site, kind, offset, length, repaired: done }) => ({ site, kind, offset, length, repaired: done })),
        expected,
      );
    }
    const again = await verify(test);
    assert.equal(again.code, 0, JSON.stringify(again));
    await client.close();
    await test.compareCopies(load);
  });
});
