// npm run show:fold [-- --seconds 8 --iops 2000]: how many bytes travel to far with and without folding, while a host writes 4 KiB at a time, at a fixed
// rate, into areas of different sizes. Three sites and a witness of their own on this machine; at the end of each all copies are compared byte for byte.

import { parseArgs } from 'node:util';

import { findTool, mustRun } from '../../demo/tools.ts';
import { pause, until } from '../../demo/waiting.ts';
import { MIB, type TestCluster, withCluster } from '../../test/support/cluster.ts';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '8' }, iops: { type: 'string', default: '2000' } } });
const FAR = 'gamma';
const PRIMARY = 'alpha';
const WAIT_MILLIS = 60_000;
const LOOK_MILLIS = 50;

const AREAS = [
  { name: '1 MiB, everywhere alike', fio: ['--size=1m'] },
  { name: '16 MiB, everywhere alike', fio: ['--size=16m'] },
  { name: '48 MiB, some places more often (zipf 1.1)', fio: ['--size=48m', '--random_distribution=zipf:1.1'] },
] as const;

const say = (text: string): void => console.log(text);

interface Sent {
  readonly bytes: number;
  readonly records: number;
  readonly folded: number;
}

async function sentTo(test: TestCluster): Promise<Sent> {
  const { peers, marks } = await test.status(PRIMARY);
  const peer = peers.find(({ site }) => site === FAR);
  return { bytes: peer?.traffic.sentBytes ?? 0, records: marks?.received ?? 0, folded: peer?.folding.records ?? 0 };
}

async function inStep(test: TestCluster): Promise<void> {
  await until('far is equal', WAIT_MILLIS, async () => {
    if ((await test.status(FAR)).marks?.received === (await test.status(PRIMARY)).marks?.received) return true;
    await pause(LOOK_MILLIS);
    return null;
  });
}

async function write(test: TestCluster, area: readonly string[]): Promise<void> {
  const job = ['--name=over', '--ioengine=nbd', `--uri=${test.uri(PRIMARY, 'unix')}`, '--rw=randwrite', '--bs=4k', '--iodepth=16', ...area];
  const how = ['--norandommap', '--randrepeat=0', '--time_based', `--runtime=${values.seconds}`, `--rate_iops=${values.iops}`, '--minimal'];
  await mustRun('fio', [...job, ...how], { millisMax: WAIT_MILLIS });
}

async function main(): Promise<void> {
  if (findTool('fio') === null) throw new Error('fio is missing: install the Debian package fio');
  say('| `fold_millis` | written to | records | without their payload | sent to far | for each record |');
  say('| --- | --- | --- | --- | --- | --- |');
  for (const foldMillis of [0, 200, 1000, 5000]) {
    await withCluster(
      { group: { fold_millis: `{ ${FAR} = ${foldMillis} }`, segment_mib: 64, sidefile_mib: 1024 }, sizeBytes: 64 * MIB },
      async (test) => {
        await test.healed();
        for (const { name, fio } of AREAS) {
          const before = await sentTo(test);
          await write(test, fio);
          await inStep(test);
          const after = await sentTo(test);
          const [bytes, records, folded] = [after.bytes - before.bytes, after.records - before.records, after.folded - before.folded];
          const share = records === 0 ? 0 : folded / records;
          say(
            `| ${foldMillis} | ${name} | ${records} | ${(100 * share).toFixed(0)} % | ${(bytes / MIB).toFixed(1)} MiB | ${(bytes / records).toFixed(0)} bytes |`,
          );
        }
        await test.compareCopies();
      },
    );
  }
  say('all copies were equal, byte for byte');
}

await main();
