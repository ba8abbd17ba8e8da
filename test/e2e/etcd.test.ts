// The witness on a real etcd of three members: the same suite as the file store, two witnesses that share it, and one member after the other
// killed while the witness is being asked.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { PortFinder } from '../../demo/layout.ts';
import { until } from '../../demo/waiting.ts';
import type { WitnessAnswer, WitnessOperation } from '../../src/core/arbiter/witness-state.ts';
import { openEtcdStore } from '../../src/witness/etcd-store.ts';
import { startService } from '../../src/witness/service.ts';
import type { SharedStore } from '../../src/witness/store.ts';
import { storeSuite } from '../support/store-suite.ts';

interface Member {
  readonly name: string;
  readonly url: string;
  readonly args: readonly string[];
  process: ChildProcess;
}

const folder = mkdtempSync(join(tmpdir(), 'tercet-etcd-'));
const members: Member[] = [];
const START_MILLIS = 90_000;

function launch(args: readonly string[]): ChildProcess {
  return spawn('etcd', args, { stdio: 'ignore' });
}

async function isWell(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(1000) });
    return response.ok && ((await response.json()) as { health?: string }).health === 'true';
  } catch {
    // It does not answer yet.
    return false;
  }
}

before(async () => {
  const ports = new PortFinder();
  const names = ['one', 'two', 'three'];
  const urls = new Map<string, { client: string; peer: string }>();
  for (const name of names) {
    const [client, peer] = [await ports.find(null), await ports.find(null)];
    urls.set(name, { client: `http://127.0.0.1:${client}`, peer: `http://127.0.0.1:${peer}` });
  }
  const all = [...urls].map(([name, { peer }]) => `${name}=${peer}`).join(',');
  for (const [name, { client, peer }] of urls) {
    const args = ['--name', name, '--data-dir', join(folder, name), '--listen-client-urls', client, '--advertise-client-urls', client];
    args.push('--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', all, '--log-level', 'error');
    members.push({ name, url: client, args, process: launch(args) });
  }
  await until('etcd is well', START_MILLIS, async () => (await Promise.all(members.map(({ url }) => isWell(url)))).every(Boolean));
});

after(async () => {
  for (const { process } of members) {
    const ended = process.exitCode !== null || process.signalCode !== null ? null : once(process, 'exit');
    process.kill('SIGKILL');
    await ended;
  }
  rmSync(folder, { recursive: true });
});

const open = (place: string): Promise<SharedStore> =>
  openEtcdStore({ endpoints: members.map(({ url }) => url), prefix: `/tercet/${place}/`, log: () => undefined, timeoutMillis: 30_000 });

storeSuite('etcd', open);

const base = { group: 'vm', groupId: 'id-1' };
const copies = [
  { site: 'alpha', mode: 'sync' as const },
  { site: 'beta', mode: 'sync' as const },
];
const create: WitnessOperation = { ...base, kind: 'create', requestId: 'create', from: 'alpha', copies, first: 'alpha' };

test('two witnesses on one etcd give one answer: whoever claims second is refused', async () => {
  const [one, two] = [await startService(await open('shared'), () => undefined), await startService(await open('shared'), () => undefined)];
  assert.equal(one.instance, two.instance);
  await one.answer(create);
  for (let round = 0; round < 10; round++) {
    const view = await two.view('vm');
    assert.ok(view);
    const { revision, epoch } = view;
    const claim = (service: typeof one, id: string): Promise<WitnessAnswer> =>
      service.answer({ kind: 'claim', requestId: `${id}-${round}`, group: 'vm', from: 'alpha', revision, epoch });
    const answers = await Promise.all([claim(one, 'one'), claim(two, 'two')]);
    assert.deepEqual(answers.map(({ outcome }) => outcome).sort(), ['done', 'refused']);
    assert.equal((await one.view('vm'))?.epoch, epoch + 1);
  }
});

test('members are killed one after the other while the witness is asked, and no claim is lost or done twice', async () => {
  const service = await startService(await open('killed'), () => undefined);
  await service.answer(create);
  /** Asks until there is an answer, like a site does, always with the same id. */
  const answered = async (operation: WitnessOperation): Promise<WitnessAnswer> => {
    for (;;) {
      try {
        return await service.answer(operation);
      } catch {
        // Unknown: it may have happened, and is asked again.
      }
    }
  };
  let epoch = 0;
  let stopping = false;
  const claiming = (async () => {
    while (!stopping) {
      const claim: WitnessOperation = {
        kind: 'claim',
        requestId: `claim-${epoch}`,
        group: 'vm',
        from: 'alpha',
        revision: epoch + 1,
        epoch,
      };
      const { outcome, view } = await answered(claim);
      assert.deepEqual([outcome, view?.epoch, view?.revision], ['done', epoch + 1, epoch + 2]);
      epoch++;
    }
  })();
  for (const member of members) {
    const from = epoch;
    await until('claims go on', START_MILLIS, () => epoch >= from + 5);
    const ended = once(member.process, 'exit');
    member.process.kill('SIGKILL');
    await ended;
    const without = epoch;
    await until('claims go on without it', START_MILLIS, () => epoch >= without + 5);
    member.process = launch(member.args);
    await until(`${member.name} is well again`, START_MILLIS, () => isWell(member.url));
  }
  stopping = true;
  await claiming;
  assert.equal((await service.view('vm'))?.epoch, epoch);
});
