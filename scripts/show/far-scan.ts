// npm run show:far-scan [-- --mib 256]: how long it takes to compare a far copy with the primary, by a scan and by a verify, over a link of 0 and of
// 100 ms there and back, when 0, 1 and 1000 blocks of 4 KiB differ, and what a scan sends. Three sites and a witness of their own on this machine, the
// links to far through relays that hold every byte back for so long.

import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { baseImage } from '../../demo/layout.ts';
import { drain } from '../../demo/scene.ts';
import { pause, until } from '../../demo/waiting.ts';
import { MIB, type TestCluster, withCluster } from '../../test/support/cluster.ts';
import { tercet } from '../../test/support/command.ts';

const { values } = parseArgs({ options: { mib: { type: 'string', default: '256' } } });
const BYTES = Number(values.mib) * MIB;
const BLOCK = 4096;
const WAIT_MILLIS = 300_000;
/** Sites have been in step for so long before a scan is ordered: one that has just come back is dialled less eagerly when its connection ends again. */
const IN_STEP_MILLIS = 3_000;
const FAR = 'gamma';
const PRIMARY = 'alpha';
/** No lease runs out because this machine is busy. */
const GROUP = { lease_millis: 20_000, heartbeat_millis: 1000, peer_timeout_millis: 15_000, sidefile_mib: 256 };

const say = (text: string): void => console.log(text);

/** Other bytes in so many blocks of far's base image, spread evenly. */
function spoil(test: TestCluster, count: number): void {
  const file = openSync(baseImage(test.layout, test.member(FAR).layout), 'r+');
  for (let number = 0; number < count; number++)
    writeSync(file, randomBytes(BLOCK), 0, BLOCK, Math.floor((number * BYTES) / count / BLOCK) * BLOCK);
  closeSync(file);
}

const ended = (test: TestCluster): number =>
  readFileSync(test.member(PRIMARY).layout.log, 'utf8').split('"event":"mirror.copied"').length - 1;

/** Bytes of the messages that both sides of a scan have received. */
async function received(test: TestCluster): Promise<number> {
  const statuses = await Promise.all(([PRIMARY, FAR] as const).map((site) => test.status(site)));
  return statuses.reduce((sum, { counters }) => sum + counters.receivedBytes, 0);
}

async function scan(test: TestCluster, oneWay: number, count: number, compare: 'primary' | 'mirror'): Promise<void> {
  spoil(test, count);
  const [bytes, before, began] = [await received(test), ended(test), performance.now()];
  const said = await tercet(test, `resync ${test.layout.group} --site ${FAR} --compare ${compare}`);
  if (said.code !== 0) throw new Error(said.text);
  await until('the scan has ended', WAIT_MILLIS, () => (ended(test) > before ? true : null));
  const seconds = (performance.now() - began) / 1000;
  const sent = ((await received(test)) - bytes).toLocaleString('en');
  say(`| ${2 * oneWay} ms | scan, compared at the ${compare} | ${count} | ${seconds.toFixed(2)} | ${sent} |`);
  await test.healed();
  await pause(IN_STEP_MILLIS);
}

await withCluster({ sizeBytes: BYTES, network: true, group: GROUP }, async (test) => {
  const client = await test.attach(PRIMARY);
  for (let at = 0; at < BYTES; at += MIB) await client.write(at, randomBytes(MIB));
  await client.close();
  await test.healed();
  await drain(test.cluster, WAIT_MILLIS);
  await pause(IN_STEP_MILLIS);
  say(`${BYTES / MIB} MiB of data`);
  say('| there and back | what | blocks that differ | seconds | bytes of both sides |');
  say('| --- | --- | --- | --- | --- |');
  for (const oneWay of [0, 50]) {
    for (const site of [PRIMARY, 'beta'] as const) test.delay(site, FAR, oneWay);
    for (const count of [0, 1, 1000]) for (const compare of ['primary', 'mirror'] as const) await scan(test, oneWay, count, compare);
    const began = performance.now();
    const { code, text } = await tercet(test, `verify ${test.layout.group}`);
    if (code !== 0) throw new Error(text);
    say(`| ${2 * oneWay} ms | verify of all three copies | 0 | ${((performance.now() - began) / 1000).toFixed(2)} | |`);
  }
  await test.compareCopies();
  say('all three copies are equal, byte for byte');
});
