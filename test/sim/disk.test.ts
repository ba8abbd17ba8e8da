// The simulated disk keeps exactly what a real one promises: everything after a crash of the process, what was flushed after a power loss, and
// of the rest any part.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DiskError, type DiskFailure } from '../../src/core/base/ports.ts';
import { SimDisk } from '../../src/sim/disk.ts';
import { CrashSignal, Gate } from '../../src/sim/gate.ts';
import { World } from '../../src/sim/world.ts';

function makeDisk(seed: number): { world: World; gate: Gate; disk: SimDisk } {
  const world = new World(seed);
  const gate = new Gate();
  const disk = new SimDisk(world, 'here', gate, (_what, run) => run());
  return { world, gate, disk };
}

function bytesOf(value: number, length: number): Uint8Array {
  return new Uint8Array(length).fill(value);
}

function contents(disk: SimDisk, name: string, length: number): Uint8Array {
  const into = new Uint8Array(length);
  disk.open(name, { create: false }).read(0, into);
  return into;
}

describe('the simulated disk', () => {
  test('keeps everything when only the process ends', () => {
    const { disk } = makeDisk(1);
    disk.open('a', { create: true }).write(0, [bytesOf(1, 600), bytesOf(2, 400)]);
    disk.processEnded();
    const read = contents(disk, 'a', 1000);
    assert.equal(read[599], 1);
    assert.equal(read[600], 2);
  });

  test('keeps what was flushed when power is lost, name included', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const { world, disk } = makeDisk(seed);
      const file = disk.open('a', { create: true });
      file.write(0, [bytesOf(1, 4096)]);
      let done = false;
      disk.flush([file], (failure) => {
        assert.equal(failure, null);
        done = true;
      });
      world.runUntil(100);
      assert.ok(done);
      file.write(0, [bytesOf(2, 4096)]);
      disk.powerLost();
      const read = contents(disk, 'a', 4096);
      for (let sector = 0; sector < 8; sector++) {
        const part = new Set(read.subarray(sector * 512, (sector + 1) * 512));
        assert.equal(part.size, 1, 'a sector never tears');
        assert.ok(part.has(1) || part.has(2));
      }
    }
  });

  test('a power loss can lose, keep, tear and reorder what was not flushed', () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 300; seed++) {
      const { world, disk } = makeDisk(seed);
      const file = disk.open('a', { create: true });
      file.truncate(2048);
      disk.flush([file], () => undefined);
      world.runUntil(100);
      file.write(0, [bytesOf(1, 1024)]);
      file.write(1024, [bytesOf(2, 1024)]);
      disk.powerLost();
      const read = contents(disk, 'a', 2048);
      seen.add([0, 512, 1024, 1536].map((at) => read[at]).join(''));
    }
    for (const outcome of ['0000', '1122', '1100', '0022', '1022']) assert.ok(seen.has(outcome), `${outcome} among ${[...seen].join(' ')}`);
  });

  test('a name that was never flushed may vanish, a removed file may come back', () => {
    const outcomes = new Set<string>();
    for (let seed = 1; seed <= 100; seed++) {
      const { world, disk } = makeDisk(seed);
      const old = disk.open('old', { create: true });
      disk.flush([old], () => undefined);
      world.runUntil(100);
      disk.remove('old');
      disk.open('new', { create: true });
      disk.powerLost();
      outcomes.add(disk.list().join(' '));
    }
    assert.deepEqual([...outcomes].sort(), ['', 'new', 'new old', 'old']);
  });

  test('a failed flush drops what it was to write and says so once', () => {
    const { world, disk } = makeDisk(3);
    const file = disk.open('a', { create: true });
    disk.flush([file], () => undefined);
    world.runUntil(10);
    file.write(0, [bytesOf(1, 512)]);
    disk.trouble.flushErrors = 1;
    const failures: (DiskFailure | null)[] = [];
    disk.flush([file], (failure) => failures.push(failure));
    world.runUntil(20);
    disk.flush([file], (failure) => failures.push(failure));
    world.runUntil(30);
    assert.equal(failures[0]?.code, 'EIO');
    assert.equal(failures[1], null, 'the second flush succeeds although nothing was written: that is what makes it a trap');
    disk.powerLost();
    assert.equal(contents(disk, 'a', 512)[0], 0);
  });

  test('completions belong to the life of the process that asked', () => {
    const { world, disk } = makeDisk(4);
    const file = disk.open('a', { create: true });
    disk.flush([file], () => assert.fail('the process is gone'));
    file.readParts([{ offset: 0, bytes: new Uint8Array(10) }], () => assert.fail('the process is gone'));
    disk.processEnded();
    world.runUntil(100);
  });

  test('a crash point ends the process before, after or in the middle of a call', () => {
    for (const moment of ['before', 'after', 'torn'] as const) {
      const { gate, disk } = makeDisk(5);
      const file = disk.open('a', { create: true });
      gate.arm(gate.calls, moment, 'crash');
      assert.throws(() => file.write(0, [bytesOf(1, 4096)]), CrashSignal);
      const size = disk.open('a', { create: false }).size();
      if (moment === 'before') assert.equal(size, 0);
      else if (moment === 'after') assert.equal(size, 4096);
      else assert.ok(size > 0 && size < 4096, String(size));
    }
  });

  test('errors and a full disk are thrown as DiskError', () => {
    const { disk } = makeDisk(6);
    const file = disk.open('a', { create: true });
    disk.trouble.full = true;
    assert.throws(
      () => file.write(0, [bytesOf(1, 10)]),
      (error: unknown) => error instanceof DiskError && error.failure.code === 'ENOSPC',
    );
    disk.trouble.full = false;
    disk.trouble.readErrors = 1;
    assert.throws(
      () => file.read(0, new Uint8Array(1)),
      (error: unknown) => error instanceof DiskError && error.failure.code === 'EIO',
    );
    assert.doesNotThrow(() => file.read(0, new Uint8Array(1)));
  });
});
