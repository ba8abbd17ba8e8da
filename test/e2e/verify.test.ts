// A verify on real processes: what disks do to each of the three base images and sidefiles is found, laid at the right copy's door and called by its
// name, and mended; and while a host writes, nothing is called a difference that is none.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { MIB, withCluster } from '../support/cluster.ts';
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
