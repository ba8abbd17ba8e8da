// npm run show:wan [-- --mib 256 --rounds 5 --seconds 6 --streams 1,4 --window-mib 1]: how fast far catches up over a link of 0, 20 and 100 ms there and
// back, by one connection and by several streams, where each connection may have as much on its way as it likes, and where it may have no more than a
// window of so much, as TCP has after losses; and what a host feels of a far site that has stalled: 4 KiB writes, one at a time, with far healthy and with far taking nothing, in turn, in one run.
// Three sites and a witness of their own on this machine, the link to far through a relay that holds every byte back for so long.

import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';

import { directName } from '../../demo/layout.ts';
import { NbdClient } from '../../demo/nbd-client.ts';
import { findTool, mustRun } from '../../demo/tools.ts';
import { pause, until } from '../../demo/waiting.ts';
import { MIB, type TestCluster, withCluster } from '../../test/support/cluster.ts';

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '256' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '6' },
    streams: { type: 'string', default: '1,4' },
    'window-mib': { type: 'string', default: '1' },
  },
});
const BYTES = Number(values.mib) * MIB;
const ROUNDS = Number(values.rounds);
const FAR = 'gamma';
const PRIMARY = 'alpha';
const WAIT_MILLIS = 300_000;
const LOOK_MILLIS = 20;
/** What a link of 1 Gbit/s and 100 ms has on its way, and more. */
const LINK_BYTES = 32 * MIB;
/** What one connection has on its way when much was lost. */
const WINDOW_BYTES = Number(values['window-mib']) * MIB;
/** Longer than hosts write in a slice, so that far is stalled and not gone. */
const GROUP = { lease_millis: 30_000, heartbeat_millis: 1000, peer_timeout_millis: 25_000, segment_mib: 16, sidefile_mib: 2048 };

const say = (text: string): void => console.log(text);

async function received(test: TestCluster, site: typeof FAR | typeof PRIMARY): Promise<number> {
  return (await test.status(site)).marks?.received ?? 0;
}

async function inStep(test: TestCluster): Promise<void> {
  await until('far is equal', WAIT_MILLIS, async () => {
    if ((await received(test, FAR)) >= (await received(test, PRIMARY))) return true;
    await pause(LOOK_MILLIS);
    return null;
  });
}

/** Writes everything while far hears nothing, then lets the bytes pass, each so much later. Returns MiB that far took in a second. */
async function catchUp(test: TestCluster, oneWayMillis: number, windowBytes: number): Promise<number> {
  test.stopBytes(PRIMARY, FAR);
  const client = await NbdClient.connect({ address: test.member(PRIMARY).layout.nbd, exportName: directName(test.layout) });
  const data = randomBytes(MIB);
  for (let at = 0; at < BYTES; at += MIB) await client.write(at, data);
  await client.close();
  const before = (await test.status(FAR)).counters.receivedBytes;
  test.mend(PRIMARY, FAR);
  test.delay(PRIMARY, FAR, oneWayMillis, windowBytes);
  const began = performance.now();
  await inStep(test);
  const seconds = (performance.now() - began) / 1000;
  test.delay(PRIMARY, FAR, 0);
  return ((await test.status(FAR)).counters.receivedBytes - before) / MIB / seconds;
}

/** Median latency of a write in microseconds, one at a time, as fio sees it. */
async function latency(test: TestCluster): Promise<number> {
  const { host, port } = test.member(PRIMARY).layout.nbd as { host: string; port: number };
  const uri = `nbd://${host}:${port}/${directName(test.layout)}`;
  const job = ['--name=one', '--ioengine=nbd', `--uri=${uri}`, '--size=64m', '--rw=randwrite', '--bs=4k', '--iodepth=1', '--thread'];
  const how = ['--time_based', `--runtime=${values.seconds}`, '--randrepeat=0', '--output-format=json'];
  const output = await mustRun('fio', [...job, ...how], { millisMax: WAIT_MILLIS });
  const report = JSON.parse(output.slice(output.indexOf('{'))) as {
    jobs: { write: { clat_ns: { percentile: Record<string, number> } } }[];
  };
  return (report.jobs[0]?.write.clat_ns.percentile['50.000000'] ?? NaN) / 1000;
}

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? NaN;

async function stalled(test: TestCluster): Promise<void> {
  const healthy: number[] = [];
  const without: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    healthy.push(await latency(test));
    test.stopBytes(PRIMARY, FAR);
    without.push(await latency(test));
    test.mend(PRIMARY, FAR);
    await inStep(test);
  }
  const [a, b] = [median(healthy), median(without)];
  say(
    `a write of 4 KiB, one at a time: ${a.toFixed(0)} µs with far healthy, ${b.toFixed(0)} µs with far stalled: ${(b / a).toFixed(2)} times`,
  );
}

async function main(): Promise<void> {
  if (findTool('fio') === null) throw new Error('fio is missing: install the Debian package fio');
  say('| streams | there and back | on its way by each connection | MiB/s that far takes, median of rounds |');
  say('| --- | --- | --- | --- |');
  for (const [index, streams] of values.streams.split(',').map(Number).entries()) {
    await withCluster({ sizeBytes: BYTES, network: true, group: { ...GROUP, streams: `{ ${FAR} = ${streams} }` } }, async (test) => {
      await test.healed();
      await rates(test, streams);
      if (index === 0) await stalled(test);
      await test.compareCopies();
      say('all three copies are equal, byte for byte');
    });
  }
}

async function rates(test: TestCluster, streams: number): Promise<void> {
  for (const [oneWay, windowBytes, text] of [
    [0, LINK_BYTES, 'any'],
    [10, LINK_BYTES, 'any'],
    [50, LINK_BYTES, 'any'],
    [10, WINDOW_BYTES, `${values['window-mib']} MiB`],
    [50, WINDOW_BYTES, `${values['window-mib']} MiB`],
  ] as const) {
    const found: number[] = [];
    for (let round = 0; round < ROUNDS; round++) found.push(await catchUp(test, oneWay, windowBytes));
    say(`| ${streams} | ${2 * oneWay} ms | ${text} | ${median(found).toFixed(1)} |`);
  }
}

await main();
