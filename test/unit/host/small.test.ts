// The small pieces of the real world: clock, names, checksums, boot id, memory, the end of a turn, the timer.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, uptime } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { InvariantError } from '../../../src/core/base/assert.ts';
import { machineBootId } from '../../../src/host/boot-id.ts';
import { BufferPool } from '../../../src/host/buffers.ts';
import { machineClock } from '../../../src/host/clock.ts';
import { machineDigests } from '../../../src/host/digests.ts';
import { bootMillis, fallocate, seekEnd, tryLock } from '../../../src/host/libc.ts';
import { machineRandom } from '../../../src/host/random.ts';
import { TurnScheduler, Waker } from '../../../src/host/wake.ts';

const clock = machineClock();

describe('the clock', () => {
  test('never goes back, and has fractions of a millisecond', () => {
    const times = Array.from({ length: 1000 }, () => clock.now());
    for (let index = 1; index < times.length; index++) assert.ok((times[index] as number) >= (times[index - 1] as number));
    assert.ok(times.some((time) => !Number.isInteger(time)));
  });

  test('counts from the start of the machine, so that time in suspension is counted', () => {
    const millis = bootMillis();
    assert.ok(millis !== null);
    assert.ok(Math.abs(millis - uptime() * 1000) < 5000, `${millis} against ${uptime()} s`);
  });

  test('knows the wall time', () => {
    assert.ok(Math.abs(clock.wall() - Date.now()) < 1000);
  });
});

test('names are never the same', () => {
  const random = machineRandom();
  assert.equal(new Set(Array.from({ length: 1000 }, () => random.id())).size, 1000);
});

test('a checksum may be computed piece by piece', () => {
  const bytes = Uint8Array.from('123456789', (digit) => digit.charCodeAt(0));
  assert.equal(machineDigests.crc32(bytes, 0), 0xcbf43926);
  assert.equal(machineDigests.crc32(bytes.subarray(4), machineDigests.crc32(bytes.subarray(0, 4), 0)), 0xcbf43926);
});

test("a checksum is zlib's, of pieces of any length and at any offset", () => {
  const bytes = Uint8Array.from({ length: 70_000 }, (_, index) => (index * 2_654_435_761) >>> 13);
  for (const length of [0, 1, 15, 16, 64, 95, 96, 97, 127, 128, 129, 1023, 4096, 4097, 65_536]) {
    for (const offset of [0, 1, 7, 63]) {
      const piece = bytes.subarray(offset, offset + length);
      for (const seed of [0, 1, 0xcbf43926, 0xffffffff])
        assert.equal(machineDigests.crc32(piece, seed), crc32(piece, seed), `${length} bytes at ${offset} after ${seed}`);
    }
  }
});

describe('the boot id', () => {
  test("is the kernel's", () => {
    assert.equal(machineBootId(), readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim());
  });

  test('is a new one each time where the kernel does not say, or says nonsense', () => {
    const folder = mkdtempSync(join(tmpdir(), 'tercet-boot-'));
    try {
      const path = join(folder, 'boot_id');
      writeFileSync(path, '\n');
      assert.notEqual(machineBootId(path), machineBootId(path));
      assert.match(machineBootId(path), /^[0-9a-f-]{36}$/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

test('a system call that fails returns the name of its error', () => {
  assert.equal(fallocate(-1, 0, 0, 1), 'EBADF');
  assert.equal(seekEnd(-1), 'EBADF');
  assert.equal(tryLock(-1), 'EBADF');
});

describe('the buffer pool', () => {
  test('gives exactly the length that was asked for', () => {
    const pool = new BufferPool(1 << 20);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1 << 18 }), (byteCount) => {
        const bytes = pool.take(byteCount);
        assert.equal(bytes.length, byteCount);
        assert.ok(bytes.buffer.byteLength < Math.max(2 * byteCount, 513));
        pool.give(bytes);
      }),
    );
    assert.equal(pool.counters().taken, 0);
  });

  test('uses memory again, for another size of the same class too', () => {
    const pool = new BufferPool(1 << 20);
    const first = pool.take(5000);
    pool.give(first.subarray(10, 20));
    assert.equal(pool.take(8192).buffer, first.buffer);
    assert.notEqual(pool.take(8192).buffer, first.buffer);
    assert.deepEqual(pool.counters(), { keptBytes: 0, allocated: 2, taken: 2 });
  });

  test('never hands out the same memory twice', () => {
    const pool = new BufferPool(1 << 16);
    const out = new Set<ArrayBufferLike>();
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5000 }), { maxLength: 40 }), (sizes) => {
        const taken = sizes.map((size) => pool.take(size));
        for (const bytes of taken) assert.ok(!out.has(bytes.buffer) && out.add(bytes.buffer));
        for (const bytes of taken) {
          out.delete(bytes.buffer);
          pool.give(bytes);
        }
      }),
    );
  });

  test('keeps no more than it may', () => {
    const pool = new BufferPool(10_000);
    const pieces = [pool.take(8192), pool.take(8192), pool.take(1024)];
    for (const piece of pieces) pool.give(piece);
    assert.equal(pool.counters().keptBytes, 8192 + 1024);
  });

  test('refuses memory that is given back twice, or is not its own', () => {
    const pool = new BufferPool(1 << 20);
    const bytes = pool.take(100);
    pool.give(bytes);
    assert.throws(() => pool.give(bytes), InvariantError);
    assert.throws(() => pool.give(new Uint8Array(512)), InvariantError);
  });
});

describe('the end of a turn', () => {
  const later = (): Promise<void> =>
    new Promise((resolve) => {
      setImmediate(() => setImmediate(resolve));
    });

  test('runs everything once: work first, then what every turn sends, then other sends', async () => {
    const turns = new TurnScheduler(clock);
    const order: string[] = [];
    turns.everyTurn(() => order.push('every'));
    const send = (): unknown => order.push('send');
    const work = (): void => {
      order.push('work');
      turns.touchSend(send);
    };
    turns.touchSend(send);
    turns.touch(work);
    turns.touch(work);
    assert.deepEqual(order, []);
    await later();
    assert.deepEqual(order, ['work', 'every', 'send']);
    assert.equal(turns.turnCount, 1);
  });

  test('is one for all events of a turn, and the next one for what work asks for', async () => {
    const turns = new TurnScheduler(clock);
    let runs = 0;
    const again = (): void => {
      runs++;
      if (runs < 3) turns.touch(again);
    };
    turns.touch(again);
    turns.arm();
    await later();
    await later();
    assert.equal(runs, 3);
    assert.equal(turns.turnCount, 3);
  });

  test('does not come when nothing happened, and forgets what was ended', async () => {
    const turns = new TurnScheduler(clock);
    const end = turns.everyTurn(() => assert.fail('ended'));
    end();
    await later();
    assert.equal(turns.turnCount, 0);
    turns.arm();
    await later();
    assert.equal(turns.turnCount, 1);
  });

  test('comes again when a send asks for another send', async () => {
    const turns = new TurnScheduler(clock);
    let sends = 0;
    turns.touchSend(() => {
      turns.touchSend(() => sends++);
    });
    await later();
    assert.equal(sends, 1);
  });
});

test('a loop that is kept awake turns without sleep until the time is over, and then sleeps', async () => {
  // A clock that goes on by a tenth of a millisecond whenever somebody looks: what counts is turns, not how busy this machine is.
  let now = 0;
  const ticking = { ...clock, now: () => (now += 0.1) };
  const turns = new TurnScheduler(ticking);
  turns.stayAwake(3);
  let loops = 0;
  await new Promise<void>((resolve) => {
    // An unref'd immediate does not keep the loop from sleeping by itself.
    const count = (): void => {
      loops++;
      if (now < 2) setImmediate(count).unref();
      else resolve();
    };
    setImmediate(count).unref();
  });
  assert.ok(loops > 5, `${loops} turns`);
});

describe('the waker', () => {
  /** A clock that the test moves, and timers that run by real time: a wake is due when the clock says so, whenever a timer fires. */
  const armed = (): { waker: Waker; woken: number[]; next: () => Promise<void> } => {
    const woken: number[] = [];
    let tell = (): void => {};
    const waker = new Waker(clock, () => {
      woken.push(clock.now());
      tell();
    });
    const next = (): Promise<void> =>
      new Promise((resolve) => {
        tell = resolve;
      });
    return { waker, woken, next };
  };

  test('wakes once, not before the deadline', async () => {
    const { waker, woken, next } = armed();
    const deadline = clock.now() + 5.5;
    waker.at(deadline);
    await next();
    assert.equal(woken.length, 1);
    assert.ok((woken[0] as number) >= deadline);
    assert.ok(waker.takeLateMillisMax() >= 0);
  });

  test('goes by the deadline that was set last, earlier or later than the one before', async () => {
    const { waker, woken, next } = armed();
    waker.at(clock.now() + 1e9);
    waker.at(clock.now() + 1);
    await next();
    const deadline = clock.now() + 12;
    waker.at(clock.now() + 1);
    waker.at(deadline);
    await next();
    assert.equal(woken.length, 2);
    assert.ok((woken[1] as number) >= deadline);
  });

  test('wakes later, never from inside the call, for a deadline that has passed, and tells how late', async () => {
    const { waker, woken, next } = armed();
    waker.at(clock.now() - 50);
    assert.equal(woken.length, 0);
    await next();
    assert.ok(waker.takeLateMillisMax() >= 50);
    assert.equal(waker.takeLateMillisMax(), 0);
  });

  test('does not wake when the deadline was taken back', async () => {
    const { waker, woken } = armed();
    const other = armed();
    waker.at(clock.now() + 1);
    waker.at(null);
    other.waker.at(clock.now() + 4);
    await other.next();
    assert.equal(woken.length, 0);
    waker.at(clock.now() + 1);
    waker.stop();
    other.waker.at(clock.now() + 4);
    await other.next();
    assert.equal(woken.length, 0);
  });
});
