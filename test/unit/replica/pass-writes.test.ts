// What is under way together when a pass of destaging writes to the bases, and what waits for what.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../../src/core/base/assert.ts';
import type { DiskDone, StoredFile } from '../../../src/core/base/ports.ts';
import { type BaseWrite, destage, type DestageEffect } from '../../../src/core/replica/destage.ts';
import { Overlay } from '../../../src/core/replica/overlay.ts';
import { PassWrites } from '../../../src/core/replica/pass-writes.ts';
import { readFrame } from '../../../src/core/record/decode.ts';
import { encodeFrame, frameBytes, type NewRecord } from '../../../src/core/record/encode.ts';
import { RECORD_KIND } from '../../../src/core/record/layout.ts';
import { digests, GROUP_TAG } from '../../support/records.ts';

const base = { name: 'base' } as StoredFile;
const other = { name: 'other' } as StoredFile;

/** A pass whose writes end when the test says so. */
class Pass {
  readonly begun: string[] = [];
  readonly freed: string[] = [];
  readonly ends = new Map<string, DiskDone>();
  wentOn = 0;
  readonly writes: PassWrites = new PassWrites((write, done) => {
    const name = nameOf(write);
    this.begun.push(name);
    this.ends.set(name, done);
  });

  /** Parts are given as [offset, length] in units of 32 KiB. */
  write(file: StoredFile, ...parts: [number, number][]): BaseWrite {
    const write: BaseWrite = {
      kind: 'write',
      file,
      parts: parts.map(([offset, length]) => ({ offset: offset * 32_768, bytes: new Uint8Array(length * 32_768) })),
      ended: () => this.freed.push(nameOf(write)),
    };
    return write;
  }

  add(file: StoredFile, ...parts: [number, number][]): boolean {
    return this.writes.begin(this.write(file, ...parts), () => this.wentOn++);
  }

  end(name: string): void {
    this.ends.get(name)?.(null);
  }
}

function nameOf({ file, parts }: BaseWrite): string {
  return `${file.name} ${parts.map(({ offset }) => offset / 32_768).join(',')}`;
}

test('a second long write is begun beside the first, a third when one of them has ended', () => {
  const pass = new Pass();
  assert.equal(pass.add(base, [0, 2]), true, 'the next round is read meanwhile');
  assert.equal(pass.add(base, [2, 2]), false);
  assert.deepEqual(pass.begun, ['base 0', 'base 2']);
  pass.end('base 2');
  assert.equal(pass.wentOn, 1);
  assert.deepEqual(pass.freed, ['base 2'], 'its memory is free, that of the other is not');
  assert.equal(pass.add(base, [4, 2]), false);
  pass.end('base 4');
  assert.equal(pass.wentOn, 2);
  assert.equal(
    pass.writes.allEnded(() => pass.wentOn++),
    false,
    'a flush waits for all',
  );
  pass.end('base 0');
  assert.equal(pass.wentOn, 3);
  assert.ok(pass.writes.allEnded(() => undefined));
});

test('short ones go one after the other', () => {
  const pass = new Pass();
  assert.equal(pass.add(base, [0, 0.125], [5, 0.125]), false);
  pass.end('base 0,5');
  assert.equal(pass.wentOn, 1);
});

test('one that meets another in a byte is not begun beside it, whatever lies between, and one to another file is', () => {
  const pass = new Pass();
  assert.ok(pass.add(base, [0, 2], [10, 2], [30, 4]));
  const meeting = pass.write(base, [4, 2], [11, 1], [50, 1]);
  assert.ok(pass.writes.meets(meeting));
  assert.ok(!pass.writes.meets(pass.write(base, [2, 8], [12, 18])));
  assert.ok(!pass.writes.meets(pass.write(other, [4, 2], [11, 1])));
  assert.throws(() => pass.writes.begin(meeting, () => undefined), InvariantError);
  pass.end('base 0,10,30');
  assert.ok(!pass.writes.meets(meeting));
});

test('an abandoned pass is not told to go on, and the memory of what is under way is free when it has ended', () => {
  const pass = new Pass();
  pass.add(base, [0, 2]);
  pass.add(base, [2, 2]);
  pass.writes.abandon();
  assert.deepEqual(pass.freed, []);
  pass.end('base 0');
  pass.end('base 2');
  assert.deepEqual(pass.freed, ['base 0', 'base 2']);
  assert.equal(pass.wentOn, 0);
});

const block = { volume: 0, offset: 0, length: 4096 };
const write: NewRecord = { kind: RECORD_KIND.write, ...block, payload: new Uint8Array(4096) };

/** A pass over these records, each of a frame and a round of its own, and what it does. A newer record, behind the target, covers their block, so each goes to the base. */
function passOver(records: readonly NewRecord[], done: string[]): { steps: Generator<DestageEffect, void, void>; out: () => number } {
  const overlay = new Overlay();
  overlay.putData(0, 1, records.length + 1, 0, 0);
  const frames = records.map((record, i) => {
    const head = { groupTag: GROUP_TAG, epoch: 1, firstSeq: i + 1, timeMillis: 1, chainBefore: 0, committed: 0 };
    const { bytes } = encodeFrame(head, [record], new Uint8Array(frameBytes([record])), digests);
    const read = readFrame(bytes, 0, { groupTag: GROUP_TAG, digests, checkPayload: true });
    assert.equal(read.kind, 'frame');
    return read;
  });
  let out = 0;
  const give = (): void => {
    out--;
  };
  const take = (byteCount: number): Uint8Array => {
    out++;
    return new Uint8Array(byteCount);
  };
  const steps = destage(
    {
      overlays: [overlay],
      bases: [{ name: 'base', punch: () => done.push('punch') } as unknown as StoredFile],
      sidefile: {
        chainAt: () => 0,
        visit: (from, _to, visitor, reading) => {
          const frame = frames[from - 1];
          reading?.take?.(1);
          if (frame?.kind === 'frame') visitor(frame.frame, 0, 0, 0, 0);
        },
      },
      buffers: { take, give },
      roundBytes: 1,
      flushBytes: 1 << 20,
      destaged: 0,
      destageTarget: 0,
      finished: () => undefined,
    },
    records.length,
  );
  return { steps, out: () => out };
}

test('blocks are made a hole only when no older content is on its way to them', () => {
  const seen: string[] = [];
  const { steps } = passOver([write, { kind: RECORD_KIND.trim, ...block, payload: null }], seen);
  for (let step = steps.next(); step.done !== true; step = steps.next()) seen.push(step.value.kind);
  assert.deepEqual(seen, ['superblock', 'settle', 'write', 'settle', 'written', 'punch', 'written', 'flush', 'superblock']);
});

test('memory goes back wherever a pass is abandoned, of what is under way when that has ended', () => {
  for (let count = 1; count <= 8; count++) {
    const { steps, out } = passOver([write, write], []);
    const begun: BaseWrite[] = [];
    for (let i = 0; i < count; i++) {
      const { value } = steps.next();
      if (value?.kind === 'write') begun.push(value);
    }
    steps.return();
    assert.equal(out(), begun.length, `after ${count} steps`);
    for (const { ended } of begun) ended();
    assert.equal(out(), 0);
  }
});
