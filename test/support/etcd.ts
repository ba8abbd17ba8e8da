// One member of etcd for a test, which ends with it.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

import type { PortFinder } from '../../demo/layout.ts';
import { until } from '../../demo/waiting.ts';

/** A member that runs. */
export interface Etcd {
  readonly url: string;
  /** A call of its JSON gateway: the path behind `/v3/`. Fails with what it says. */
  readonly call: (path: string, body: object) => Promise<unknown>;
  readonly end: () => Promise<void>;
}

const START_MILLIS = 90_000;

/** Starts a member in a folder. `quotaBytes`: how large what it keeps may become. */
export async function startEtcd(folder: string, ports: PortFinder, quotaBytes: number): Promise<Etcd> {
  const [url, peer] = [`http://127.0.0.1:${await ports.find(null)}`, `http://127.0.0.1:${await ports.find(null)}`];
  const args = ['--name', 'one', '--data-dir', join(folder, 'etcd'), '--listen-client-urls', url, '--advertise-client-urls', url];
  args.push('--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', `one=${peer}`, '--log-level', 'error');
  const process = spawn('etcd', [...args, '--quota-backend-bytes', String(quotaBytes)], { stdio: 'ignore' });
  const call: Etcd['call'] = async (path, body) => {
    const response = await fetch(`${url}/v3/${path}`, { method: 'POST', body: JSON.stringify(body), signal: AbortSignal.timeout(10_000) });
    const text = await response.text();
    if (!response.ok) throw new Error(`etcd: ${path}: ${response.status} ${text}`);
    return JSON.parse(text) as unknown;
  };
  const end = async (): Promise<void> => {
    if (process.exitCode !== null || process.signalCode !== null) return;
    const ended = once(process, 'exit');
    process.kill('SIGKILL');
    await ended;
  };
  try {
    await until('etcd is well', START_MILLIS, () =>
      call('kv/range', { key: 'YQ==' }).then(
        () => true,
        () => null,
      ),
    );
  } catch (error) {
    await end();
    throw error;
  }
  return { url, call, end };
}
