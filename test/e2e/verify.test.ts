// A verify on real processes: what disks do to each of the three base images and sidefiles is found, laid at the right copy's door and called by its
// name, and mended; and while a host writes, nothing is called a difference that is none.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';

import { CELL_BYTES, encodeSlot } from '../../src/core/base/cell.ts';
import type { VerifyMemory } from '../../src/core/site/verify-store.ts';
import { type TestCluster, MIB, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';
import { assertFound, damageAll, settle, verifyCommand } from '../support/scrub.ts';

test('rot and missed writes at each of the three copies are found, attributed, and mended', async () => {
  await withCluster({}, async (test) => {
    const load = test.load();
    await test.acknowledged(load, 300);
    const client = await test.attach('alpha');
    for (let at = 0; at < 4 * MIB; at += MIB) await client.write(at, Buffer.alloc(MIB, 0x40 + at / MIB));
    const clean = await verifyCommand(test);
    assert.equal(clean.code, 0, JSON.stringify(clean));
    assert.deepEqual(clean.report.findings, []);
    assert.deepEqual([...clean.report.comparedSites].sort(), ['beta', 'gamma']);
    assert.deepEqual([...clean.report.recordsCheckedSites].sort(), ['alpha', 'beta', 'gamma']);
    assert.equal(clean.report.verifiedBytes, test.layout.sizeBytes);

    await load.workload.stop();
    await test.verify(load);
    // Frames that no sidefile has dropped when the damage is done, wherever its newest segment began.
    for (let at = 0; at < 4 * MIB; at += MIB / 16) await client.write(at, Buffer.alloc(4096, 0x40 + Math.floor(at / MIB)));
    await settle(test);
    const injected = damageAll(test);
    const only = await verifyCommand(test, '--report-only');
    assert.equal(only.code, 1);
    assertFound(only.report, injected, false);
    assert.equal(only.report.unmended, injected.length);
    const mended = await verifyCommand(test);
    assert.equal(mended.code, 1);
    assertFound(mended.report, injected, true);
    assert.equal(mended.report.unmended, 0);
    const again = await verifyCommand(test);
    assert.equal(again.code, 0, JSON.stringify(again));
    await client.close();
    await test.compareCopies(load);
  });
});

const DAY_MILLIS = 86_400_000;

/** Makes alpha remember something of verifies, and primary again. */
async function remember(test: TestCluster, memory: VerifyMemory): Promise<void> {
  const alpha = test.member('alpha');
  await alpha.daemon.stop();
  const cell = new Uint8Array(CELL_BYTES);
  cell.set(encodeSlot(1_000_000, { ...memory, run: memory.run as never }, crc32));
  writeFileSync(join(alpha.layout.data, test.layout.group, 'verify'), cell);
  await alpha.daemon.start();
  await test.healed();
  const said = await tercet(test, `switchover ${test.layout.group} --to alpha`);
  assert.equal(said.code, 0, said.text);
}

test('a scrub that is due begins by itself, and says how old what it knows is', async () => {
  await withCluster({ group: { scrub: '"daily"', scrub_digest: '"sha1"' } }, async (test) => {
    const client = await test.attach('alpha');
    await client.write(0, Buffer.alloc(4 * MIB, 0x41));
    await client.close();
    const verify = async () => (await test.status('alpha')).verify;
    assert.equal((await verify()).beganMillis, null, 'a new copy is not scrubbed at once');
    await remember(test, { lastBegan: Date.now() - 3 * DAY_MILLIS, lastEnded: Date.now() - 2 * DAY_MILLIS, run: null });
    await test.until('the scrub has ended', async () => {
      const { running, endedMillis, oldestUnverifiedSeconds } = await verify();
      return !running && endedMillis !== null && Date.now() - endedMillis < DAY_MILLIS && (oldestUnverifiedSeconds ?? Infinity) < 600;
    });
    const { code, report } = await verifyCommand(test, '--last');
    assert.equal(code, 0);
    assert.deepEqual([report.algorithm, report.verifiedBytes], ['sha1', test.layout.sizeBytes]);
    const said = await tercet(test, `verify ${test.layout.group} --last`);
    assert.match(said.out, /every block was compared .* ago or later/);
  });
});

test('outside of its window a scrub rests, over restarts too, until somebody orders a verify', async () => {
  const clock = (hours: number): string => new Date(Date.now() + hours * 3_600_000).toISOString().slice(11, 16);
  await withCluster({ group: { scrub: '"daily"', scrub_window: `"${clock(6)}-${clock(7)}"` } }, async (test) => {
    const order = { algorithm: 'sha256', reportOnly: false, bytesPerSecond: 0 } as const;
    const run = { order, cursor: { volume: 0, offset: 8 * MIB }, began: Date.now() - DAY_MILLIS, scheduled: true };
    await remember(test, { lastBegan: null, lastEnded: Date.now() - 2 * DAY_MILLIS, run });
    const verify = async () => (await test.status('alpha')).verify;
    await test.until('it rests', async () => {
      const { running, scheduled, resting, passedBytes } = await verify();
      return running && scheduled && resting && passedBytes === 8 * MIB;
    });
    const said = await tercet(test, `verify ${test.layout.group} --last`);
    assert.match(said.out, /comparing copies: 12 %.*, rests until its window/);
    const { code, report } = await verifyCommand(test);
    assert.equal(code, 0, JSON.stringify(report));
    assert.deepEqual([report.running, report.verifiedBytes], [false, test.layout.sizeBytes - 8 * MIB]);
  });
});
