// The sidefile is full of what a far site lacks that cannot be reached: what then becomes of hosts, and of far, is what was chosen.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { pause } from '../../demo/waiting.ts';
import { MIB, type TestCluster, withCluster } from '../support/cluster.ts';

type Status = Awaited<ReturnType<TestCluster['status']>>;
type Overflow = 'bitmap' | 'slow' | 'stop';

/** The room for what far lacks: 128 MiB less one segment. */
const ROOM = 124 * MIB;

/** Far is cut off, hosts write until something holds or everything is written, far comes back; then everything must be equal. */
async function outage(overflow: Overflow, body: (test: TestCluster, writer: Writer) => Promise<void>): Promise<void> {
  const group = { overflow: `{ gamma = "${overflow}" }`, sidefile_mib: 128, segment_mib: 4, hold_seconds: 120 };
  await withCluster({ sizeBytes: 64 * MIB, network: true, group }, async (test) => {
    assert.equal(await test.healed(), 'alpha');
    test.sever('alpha', 'gamma');
    test.sever('beta', 'gamma');
    const writer = await Writer.on(test);
    await body(test, writer);
    test.sever('alpha', 'gamma', false);
    test.sever('beta', 'gamma', false);
    await writer.end();
    await test.healed();
    await test.until('hosts write freely', async () => (await primary(test)).writers?.state === 'free');
    await writer.check();
    await test.compareCopies();
  });
}

function primary(test: TestCluster): Promise<Status> {
  return test.status('alpha');
}

/** A host that writes all of the volume over and over, one MiB at a time. */
class Writer {
  readonly #client: Awaited<ReturnType<TestCluster['attach']>>;
  /** What each MiB was filled with last. */
  readonly #fills = new Map<number, number>();
  #writing: Promise<void> | null = null;
  writtenBytes = 0;

  private constructor(client: Awaited<ReturnType<TestCluster['attach']>>) {
    this.#client = client;
  }

  static async on(test: TestCluster): Promise<Writer> {
    return new Writer(await test.attach('alpha'));
  }

  /** Writes so many bytes, or until one write has not been answered for so long; true when everything was. */
  async write(bytes: number, patienceMillis: number): Promise<boolean> {
    for (const end = this.writtenBytes + bytes; this.writtenBytes < end;) {
      const number = this.writtenBytes / MIB;
      const fill = 1 + (number % 251);
      const writing = this.#client.write((number % 64) * MIB, new Uint8Array(MIB).fill(fill));
      this.writtenBytes += MIB;
      this.#fills.set(number % 64, fill);
      this.#writing = writing;
      const late = pause(patienceMillis).then(() => 'late' as const);
      if ((await Promise.race([writing, late])) === 'late') return false;
    }
    return true;
  }

  /** The write that waits is answered. */
  async end(): Promise<void> {
    await this.#writing;
    await this.#client.flush();
  }

  async check(): Promise<void> {
    for (const [at, fill] of this.#fills) {
      const bytes = await this.#client.read(at * MIB, MIB);
      assert.ok(
        bytes.every((byte) => byte === fill),
        `MiB ${at} is lost`,
      );
    }
    await this.#client.close();
  }
}

test('overflow "bitmap": hosts write on, far loses its records and gets the blocks', async () => {
  await outage('bitmap', async (test, writer) => {
    assert.equal(await writer.write(2 * ROOM, 20_000), true, 'no write waits');
    const { writers, coverage } = await primary(test);
    assert.equal(writers?.state, 'free');
    assert.equal(coverage.find(({ from, to }) => from === 'alpha' && to === 'gamma')?.state, 'not-ready');
    test.sever('alpha', 'gamma', false);
    const log = (): string => readFileSync(test.member('alpha').layout.log, 'utf8');
    await test.until('a bitmap has brought far up', () => /"mirror.copied".*"rung":"bitmap"/.test(log()));
  });
});

test('overflow "slow": hosts are slowed down as the sidefile fills, and go on freely when far is back', async () => {
  await outage('slow', async (test, writer) => {
    await writer.write(ROOM / 2 + 4 * MIB, 20_000);
    await test.until('writers are slowed down', async () => (await primary(test)).writers?.state === 'slowed');
    const began = performance.now();
    await writer.write(8 * MIB, 20_000);
    const seconds = (performance.now() - began) / 1000;
    assert.ok(seconds > 0.5, `8 MiB were taken in ${seconds} s`);
    const { writers, sidefileBytes, sidefileCapacityBytes } = await primary(test);
    assert.equal(writers?.for, 'gamma');
    assert.ok(sidefileBytes <= sidefileCapacityBytes);
  });
});

test('overflow "stop": hosts wait once nine tenths are full, and go on when far is back', async () => {
  await outage('stop', async (test, writer) => {
    assert.equal(await writer.write(ROOM * 0.8, 20_000), true, 'they are not slowed down before');
    assert.equal((await primary(test)).writers?.state, 'free');
    assert.equal(await writer.write(ROOM, 5_000), false, 'a write waits');
    const { writers, sidefileBytes, sidefileCapacityBytes, waiting } = await primary(test);
    assert.deepEqual([writers?.state, writers?.for], ['stopped', 'gamma']);
    assert.ok(sidefileBytes <= sidefileCapacityBytes);
    assert.ok(writer.writtenBytes < ROOM, `${writer.writtenBytes} bytes were taken`);
    assert.ok(
      waiting.some(({ cause }) => cause.includes('"stop"')),
      JSON.stringify(waiting),
    );
  });
});
