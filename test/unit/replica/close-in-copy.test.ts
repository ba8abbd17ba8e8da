// A replica that is closed in order at any moment of the begin of a copy: it ends, whatever it was about to do, and opens again.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ReplicaRig } from '../../support/replica-rig.ts';

/** Closes after so many steps of the disk; with records that are in no base image yet, or without. */
function closedAfter(steps: number, { inMemory, backlog }: { inMemory: boolean; backlog: boolean }): void {
  const primary = new ReplicaRig().start();
  const mirror = new ReplicaRig(inMemory ? { sidefileInMemory: true } : {});
  mirror.create();
  mirror.open();
  const { epoch, history } = primary.replica;
  mirror.wait((done) => mirror.replica.adopt({ epoch, history, cutTo: 0 }, done));
  for (let i = 0; i < 10; i++) mirror.replica.accept(primary.write(0, i % 4, 1, 0x10 + i));
  if (!backlog) {
    mirror.replica.commit(10);
    mirror.wait((done) => mirror.replica.drain(done));
  }
  mirror.replica.receiver.begin({ epoch, history, position: 10, chain: primary.replica.chain, rung: 'copy' }, () => undefined);
  for (let i = 0; i < steps; i++) mirror.storage.step();
  const failure = mirror.wait((done) => mirror.replica.close({ clean: true }, done));
  assert.equal(failure, null);
}

for (const inMemory of [false, true])
  for (const backlog of [false, true])
    test(`with the sidefile ${inMemory ? 'in memory' : 'on disk'}${backlog ? ', and records that are in no base image' : ''}`, () => {
      for (let steps = 0; steps < 30; steps++) closedAfter(steps, { inMemory, backlog });
    });
