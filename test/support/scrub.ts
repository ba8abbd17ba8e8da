// One damage of each sort at each copy, and what a verify must say of it: for the end-to-end test and for npm run show:scrub.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { drain } from '../../demo/scene.ts';
import type { VerifyStatus } from '../../src/api/verify.ts';
import { type TestCluster, type SiteNameInTests, MIB } from './cluster.ts';
import { type DiskFrame, framesOf, missWrite, rotBase, rotRecord } from './damage.ts';

const run = promisify(execFile);
const BLOCK_BYTES = 4096;
const SITES: readonly SiteNameInTests[] = ['alpha', 'beta', 'gamma'];

/** `tercet verify` as a person runs it: its exit code, its report as JSON. */
export async function verifyCommand(
  test: TestCluster,
  ...flags: readonly string[]
): Promise<{ code: number; report: VerifyStatus; err: string }> {
  const bin = join(import.meta.dirname, '../../bin/tercet.js');
  const config = join(test.layout.folder, 'tercet.toml');
  const args = [bin, 'verify', test.exportName.split('/')[0] as string, '--config', config, '--json', ...flags];
  try {
    const { stdout, stderr } = await run(process.execPath, args);
    return { code: 0, report: JSON.parse(stdout) as VerifyStatus, err: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    if (stdout === '') throw error;
    return { code, report: JSON.parse(stdout) as VerifyStatus, err: stderr };
  }
}

/** What was damaged: at which copy, in what way, where. */
export interface Injected {
  readonly site: string;
  readonly kind: 'rot' | 'missed-write';
  /** Null: a base image. */
  readonly file: string | null;
  readonly offset: number;
}

/**
 * At each of the three copies a bit rots in the base image and one in a record, and a block is as if its last write had never come. Base images
 * hold data in their first 4 MiB, everything is drained, and no host writes.
 */
export function damageAll(test: TestCluster): Injected[] {
  const injected: Injected[] = [];
  const frames = SITES.map((name) => framesOf(test, name));
  const [first, ...others] = frames as [DiskFrame[], ...DiskFrame[][]];
  // What one copy loses the others must still hold as it was.
  const common = first.filter(({ firstSeq, byteCount }) =>
    others.every((list) => list.some((frame) => frame.firstSeq === firstSeq && frame.byteCount === byteCount)),
  );
  assert.ok(common.length >= SITES.length, `only ${common.length} frames are in all three sidefiles`);
  for (const [index, site] of SITES.entries()) {
    const rotten = (5 + 40 * index) * BLOCK_BYTES;
    rotBase(test, site, rotten + 7 + index);
    injected.push({ site, kind: 'rot', file: null, offset: rotten });
    const missed = 2 * MIB + (9 + 60 * index) * BLOCK_BYTES;
    missWrite(test, site, missed / BLOCK_BYTES);
    injected.push({ site, kind: 'missed-write', file: null, offset: missed });
    const { firstSeq } = common[Math.floor(((index + 1) * common.length) / 4)] as DiskFrame;
    const frame = frames[index]?.find((one) => one.firstSeq === firstSeq) as DiskFrame;
    rotRecord(test, site, frame, Math.floor(frame.byteCount / 2));
    injected.push({ site, kind: 'rot', file: frame.file, offset: frame.at });
  }
  return injected;
}

/** Brings everything into the base images and lets all tables of digests be written. */
export async function settle(test: TestCluster): Promise<void> {
  await test.healed();
  await drain(test.cluster, 60_000);
}

const lineOf = ({ site, kind, file, offset }: Injected): string => `${site} ${kind} ${file ?? 'base image'} at ${offset}`;

/** Fails unless exactly what was damaged was found, with its copy and kind, and mended or not. */
export function assertFound(report: VerifyStatus, injected: readonly Injected[], repaired: boolean): void {
  const found = report.findings.map(({ site, kind, file, offset }) => lineOf({ site, kind: kind as Injected['kind'], file, offset }));
  assert.deepEqual(found.sort(), injected.map((one) => lineOf(one)).sort());
  for (const finding of report.findings) {
    assert.equal(finding.repaired, repaired, JSON.stringify(finding));
    assert.equal(finding.proven, true, JSON.stringify(finding));
  }
}
