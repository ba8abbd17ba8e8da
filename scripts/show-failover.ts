// `npm run show:failover -- --kills 100`: the primary is killed at random moments while a host writes, and the time until the host has an answer to a
// write again is measured, with real processes and default times. What was measured is in a file, so that a run that is interrupted goes on where
// it was. Ends with 1 when a write is lost or two sites serve.

import assert from 'node:assert/strict';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { pause } from '../demo/waiting.ts';
import { MIB, withCluster } from '../test/support/cluster.ts';

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '100' },
    lease: { type: 'string', default: '1500' },
    state: { type: 'string', default: 'failover.jsonl' },
  },
});

/** One kill: the site, its moment after the group was in step, and how long hosts had no answer. */
interface Kill {
  readonly site: string;
  readonly afterMillis: number;
  readonly leaseMillis: number;
  readonly heldMillis: number;
}

const BATCH = 20;
const LOOK_MILLIS = 5;

function measured(): readonly Kill[] {
  if (!existsSync(values.state)) return [];
  const lines = readFileSync(values.state, 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Kill);
}

async function batch(count: number, leaseMillis: number): Promise<void> {
  const group = { lease_millis: leaseMillis, heartbeat_millis: 250, peer_timeout_millis: 1000, witness_retry_millis: 500 };
  await withCluster({ sizeBytes: 16 * MIB, group }, async (test) => {
    const watch = test.watch();
    const load = test.load({ blockCount: 1024 });
    for (let kill = 0; kill < count; kill++) {
      const site = await test.healed();
      await test.acknowledged(load, 20);
      const afterMillis = Math.round(Math.random() * 3000);
      await pause(afterMillis);
      const { daemon } = test.member(site);
      const at = performance.now();
      await daemon.kill();
      // The process is gone: whatever is acknowledged from here on, another site has answered.
      const before = load.ledger.acknowledgedCount;
      while (load.ledger.acknowledgedCount === before) {
        assert.ok(performance.now() - at < 60_000, `no write was answered for a minute after ${site} was killed`);
        await pause(LOOK_MILLIS);
      }
      const heldMillis = Math.round(performance.now() - at);
      appendFileSync(values.state, `${JSON.stringify({ site, afterMillis, leaseMillis, heldMillis } satisfies Kill)}\n`);
      console.log(`${site} killed ${afterMillis} ms after all were in step: hosts had no answer for ${heldMillis} ms`);
      await daemon.start();
    }
    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
}

const lease = Number(values.lease);
const wanted = Number(values.kills);
for (let left = wanted - measured().length; left > 0; left = wanted - measured().length) await batch(Math.min(BATCH, left), lease);
const all = measured()
  .map(({ heldMillis }) => heldMillis)
  .sort((a, b) => a - b);
const share = (part: number): number => all[Math.min(all.length - 1, Math.floor(all.length * part))] ?? 0;
console.log(
  `${all.length} kills, lease ${lease} ms: hosts had no answer for ${share(0.5)} ms (median), ${share(0.99)} ms (99 of 100), ` +
    `${share(0)} to ${share(1)} ms; no write lost, never did two sites serve`,
);
