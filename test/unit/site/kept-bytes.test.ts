// What becomes of the bytes of writes that must wait: those in the network's memory are copied, once, those in memory of their own are not.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { HostRequest, SiteCounter, SiteOptions } from '../../../src/core/site/contract.ts';
import { HostDesk } from '../../../src/core/site/hosts.ts';

function write(payload: Uint8Array, memory: Uint8Array | null): HostRequest {
  return {
    session: { reply: () => undefined, replyStatus: () => undefined },
    command: 'write',
    volume: 0,
    offset: 0,
    length: payload.length,
    fua: false,
    noHole: false,
    payload,
    memory,
    seq: 0,
    needSeq: 0,
    data: null,
    startedMillis: 0,
  };
}

test('a write that waits keeps its bytes, and is copied only where the network uses their memory again', () => {
  const options = { clock: { now: () => 0 }, shell: { wake: () => undefined }, volumes: [], timings: {} } as unknown as SiteOptions;
  const hosts = new HostDesk(options, {} as Record<SiteCounter, number>);
  const network = new Uint8Array(8192).fill(1);
  const own = new Uint8Array(4096).fill(2);
  const first = write(network.subarray(0, 4096), null);
  const second = write(own, own);
  hosts.request(first);
  hosts.request(second);
  hosts.keep();
  network.fill(9);
  assert.deepEqual(first.payload, new Uint8Array(4096).fill(1));
  assert.equal(second.payload, own);
  const kept = first.payload;
  hosts.keep();
  assert.equal(first.payload, kept, 'copied once');
});
