// How long requests are held while nobody may serve: by volume.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { HostError, HostRequest, SiteCounter, SiteOptions } from '../../../src/core/site/contract.ts';
import { HostDesk } from '../../../src/core/site/hosts.ts';

/** A desk with volumes that hold for so long, and what it answered. */
function desk(holdMillis: readonly (number | undefined)[]): {
  desk: HostDesk;
  ask: (volume: number, at: number) => void;
  told: [number, HostError][];
  at: (now: number) => void;
} {
  let now = 0;
  const told: [number, HostError][] = [];
  const options = {
    clock: { now: () => now, wall: () => 0 },
    timings: { holdMillis: 60_000 },
    volumes: holdMillis.map((millis, index) => ({
      name: `v${index}`,
      sizeBytes: 4096,
      baseFile: '',
      ...(millis !== undefined && { holdMillis: millis }),
    })),
    shell: { wake: () => undefined },
  } as unknown as SiteOptions;
  const hosts = new HostDesk(options, {} as Record<SiteCounter, number>);
  const session = { reply: (request: HostRequest, error: HostError) => told.push([request.volume, error]), replyStatus: () => undefined };
  return {
    desk: hosts,
    told,
    at: (millis) => {
      now = millis;
      hosts.expire(now);
    },
    ask: (volume, millis) => {
      now = millis;
      hosts.request({
        session,
        command: 'flush',
        volume,
        offset: 0,
        length: 0,
        fua: false,
        noHole: false,
        payload: null,
        seq: 0,
        needSeq: 0,
        data: null,
        startedMillis: 0,
      });
    },
  };
}

test('requests of each volume fail after its own time, and never where they are to be held', () => {
  const { ask, at, desk: hosts, told } = desk([1_000, Infinity, undefined]);
  ask(1, 0);
  ask(2, 10);
  ask(0, 20);
  assert.equal(hosts.deadline(), 1_000, 'not later than the first that fails');
  at(1_000);
  assert.deepEqual(told, []);
  assert.equal(hosts.deadline(), 1_020);
  at(1_020);
  assert.deepEqual(told, [[0, 108]]);
  assert.equal(hosts.deadline(), 60_010, 'the oldest is held for ever, and wakes nobody');
  at(60_009);
  assert.equal(told.length, 1);
  at(60_010);
  assert.deepEqual(told, [
    [0, 108],
    [2, 108],
  ]);
  assert.equal(hosts.deadline(), Infinity);
  assert.equal(hosts.pending, 1);
});

test('with one time for all volumes the oldest request says when', () => {
  const { ask, at, desk: hosts, told } = desk([undefined, undefined]);
  ask(0, 5);
  ask(1, 7);
  assert.equal(hosts.deadline(), 60_005);
  at(60_006);
  assert.deepEqual(told, [[0, 108]]);
  assert.equal(hosts.deadline(), 60_007);
});
