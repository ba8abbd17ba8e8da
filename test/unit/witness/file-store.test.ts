// The witness's store on disk: what was answered is there after any crash, what is damaged is not used, and a failed write is the end.

import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { apply, type WitnessOperation, type WitnessState } from '../../../src/core/arbiter/witness-state.ts';
import { CELL_BYTES, encodeSlot, type Json, readCell } from '../../../src/core/base/cell.ts';
import { type ErrorCode, TercetError } from '../../../src/core/base/errors.ts';
import { limits } from '../../../src/core/base/limits.ts';
import { type CellHandle, type OpenCell, openFileStore } from '../../../src/witness/file-store.ts';
import type { WitnessStore } from '../../../src/witness/store.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tercet-witness-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const cellPath = (group = 'vm'): string => join(folder, `group-${group}.cell`);

/** A group's first state, and the states after so many changes of it. */
function stateAfter(changes: number, instance: string, group = 'vm'): WitnessState {
  const copies = [
    { site: 'a', mode: 'sync' as const },
    { site: 'b', mode: 'sync' as const },
  ];
  let state = apply(null, { kind: 'create', requestId: 'c', group, from: 'a', groupId: 'id', copies, first: 'a' }, instance)
    .state as WitnessState;
  for (let i = 0; i < changes; i++) {
    const claim: WitnessOperation = {
      kind: 'claim',
      requestId: `claim-${i}`,
      group,
      from: 'a',
      revision: state.revision,
      epoch: state.epoch,
    };
    state = apply(state, claim, instance).state as WitnessState;
  }
  return state;
}

/** Stores a group and so many changes of it; returns the last state. */
async function fill(store: WitnessStore, changes: number, group = 'vm'): Promise<WitnessState> {
  for (let i = 0; i <= changes; i++) {
    const state = stateAfter(i, store.instance, group);
    assert.equal(await store.compareAndSet(group, i === 0 ? null : i, state), 'stored');
  }
  return stateAfter(changes, store.instance, group);
}

async function written(changes: number): Promise<WitnessState> {
  const store = await openFileStore(folder);
  const state = await fill(store, changes);
  await store.close();
  return state;
}

async function readBack(): Promise<WitnessState | undefined> {
  const store = await openFileStore(folder);
  const states = await store.readAll();
  await store.close();
  return states.get('vm');
}

async function refused(code: ErrorCode, openIt: () => Promise<WitnessStore>): Promise<string> {
  let message = '';
  await assert.rejects(openIt, (error) => {
    assert.ok(error instanceof TercetError, String(error));
    assert.equal(error.code, code);
    message = error.message;
    return true;
  });
  return message;
}

/** Overwrites a part of a file with bytes that nobody wrote. */
function spoil(path: string, offset: number, length: number): void {
  const bytes = readFileSync(path);
  bytes.fill(0x5a, offset, offset + length);
  writeFileSync(path, bytes);
}

/** What the store did, in order, and where it is to fail. */
function tracing(failAt: (call: string) => string | null = () => null): { open: OpenCell; calls: string[] } {
  const calls: string[] = [];
  const note = (call: string): void => {
    calls.push(call);
    const code = failAt(call);
    if (code !== null) throw Object.assign(new Error(`${call} fails`), { code });
  };
  const openCell: OpenCell = async (path, create) => {
    const name = path.slice(folder.length + 1);
    const handle = await open(path, create ? 'w+' : 'r+');
    const traced: CellHandle = {
      read: async (into, offset) => (await handle.read(into, 0, into.length, offset)).bytesRead,
      write: async (bytes, offset) => {
        note(`write ${name} ${offset / limits.cellSlotBytes}`);
        return (await handle.write(bytes, 0, bytes.length, offset)).bytesWritten;
      },
      datasync: async () => {
        note(`sync ${name}`);
        await handle.datasync();
      },
      close: () => handle.close(),
    };
    return traced;
  };
  return { open: openCell, calls };
}

describe('the file store', () => {
  test('keeps every group and its own name over a restart', async () => {
    const store = await openFileStore(folder);
    const { instance } = store;
    const vm = await fill(store, 3);
    const db = await fill(store, 0, 'db');
    await store.close();
    const again = await openFileStore(folder);
    assert.equal(again.instance, instance);
    assert.deepEqual(
      await again.readAll(),
      new Map([
        ['db', db],
        ['vm', vm],
      ]),
    );
    assert.equal(await again.compareAndSet('vm', 4, stateAfter(4, instance)), 'stored');
    await again.close();
    assert.deepEqual(await readBack(), stateAfter(4, instance));
  });

  test('gives each new folder a name of its own', async () => {
    const first = await openFileStore(join(folder, 'one'));
    const second = await openFileStore(join(folder, 'two'));
    assert.notEqual(first.instance, second.instance);
    await first.close();
    await second.close();
  });

  test('refuses a change of a state that is not the stored one', async () => {
    const store = await openFileStore(folder);
    assert.equal(await store.compareAndSet('vm', 1, stateAfter(1, store.instance)), 'conflict');
    await fill(store, 2);
    assert.equal(await store.compareAndSet('vm', null, stateAfter(0, store.instance)), 'conflict');
    assert.equal(await store.compareAndSet('vm', 2, stateAfter(2, store.instance)), 'conflict');
    await store.close();
    assert.equal((await readBack())?.writes, 3);
  });

  test('is for one process: a second one is refused, and may have it afterwards', async () => {
    const store = await openFileStore(folder);
    assert.match(await refused('TERCET_WITNESS_LOCKED', () => openFileStore(folder)), /in use by another process/);
    await store.close();
    await (await openFileStore(folder)).close();
  });

  test('makes a change durable in one slot before it touches the other, and in both before it answers', async () => {
    await written(1);
    const { open: openCell, calls } = tracing();
    const store = await openFileStore(folder, openCell);
    assert.deepEqual(calls, []);
    await store.compareAndSet('vm', 2, stateAfter(2, store.instance));
    assert.deepEqual(calls, ['write group-vm.cell 1', 'sync group-vm.cell', 'write group-vm.cell 0', 'sync group-vm.cell']);
    await store.close();
  });

  test('creates a group under another name first, so that a crash leaves a whole file or none', async () => {
    const { open: openCell, calls } = tracing();
    const store = await openFileStore(folder, openCell);
    await fill(store, 0);
    assert.ok(calls.every((call) => call.includes('.cell.new')));
    await store.close();
    writeFileSync(join(folder, 'group-torn.cell.new'), 'half a fi');
    const again = await openFileStore(folder);
    assert.deepEqual([...(await again.readAll()).keys()], ['vm']);
    await again.close();
    assert.deepEqual(readdirSync(folder).sort(), ['group-vm.cell', 'lock', 'witness.cell']);
  });
});

describe('after a crash in the middle of a change', () => {
  test('the change is there as a whole or not at all, wherever the write was torn, and the store goes on', async () => {
    const before = await written(2);
    const beforeBytes = readFileSync(cellPath());
    const after = stateAfter(3, before.instance);
    const slot = encodeSlot(4, after as unknown as Json, crc32);
    // Slot 1 is written first, then slot 0, each from its begin; a torn write leaves the rest as it was.
    for (const firstPart of [0, 16, 32, 512, 1024, limits.cellSlotBytes]) {
      for (const secondPart of firstPart === limits.cellSlotBytes ? [0, 20, 512, limits.cellSlotBytes] : [0]) {
        const bytes = Buffer.from(beforeBytes);
        bytes.set(slot.subarray(0, firstPart), limits.cellSlotBytes);
        bytes.set(slot.subarray(0, secondPart), 0);
        writeFileSync(cellPath(), bytes);
        const whole = firstPart >= 1024;
        assert.deepEqual(await readBack(), whole ? after : before, `${firstPart} ${secondPart}`);
        const mended = readCell(new Uint8Array(readFileSync(cellPath())), crc32);
        assert.equal(mended.kind === 'value' && mended.otherSlot.kind === 'value' && mended.otherSlot.revision, whole ? 4 : 3);
      }
    }
  });

  test('a slot that rotted later takes nothing back: its twin has the same value', async () => {
    const state = await written(2);
    for (const index of [0, 1]) {
      spoil(cellPath(), index * limits.cellSlotBytes + 40, 8);
      assert.deepEqual(await readBack(), state);
    }
  });

  test('a file that was cut short in its second slot is mended', async () => {
    const state = await written(2);
    truncateSync(cellPath(), limits.cellSlotBytes + 100);
    assert.deepEqual(await readBack(), state);
    assert.equal(readFileSync(cellPath()).length, CELL_BYTES);
  });
});

describe('a store that cannot be trusted is not opened', () => {
  test('both slots damaged: the file is named', async () => {
    await written(1);
    spoil(cellPath(), 0, 64);
    spoil(cellPath(), limits.cellSlotBytes, 64);
    const message = await refused('TERCET_WITNESS_DAMAGED', () => openFileStore(folder));
    assert.ok(message.includes(cellPath()), message);
    // Refused once is not locked for ever.
    await refused('TERCET_WITNESS_DAMAGED', () => openFileStore(folder));
  });

  test('an empty file is damage, not a new group', async () => {
    await written(1);
    truncateSync(cellPath(), 0);
    assert.match(await refused('TERCET_WITNESS_DAMAGED', () => openFileStore(folder)), /both slots are empty/);
  });

  test('a file of another version is left alone', async () => {
    await written(0);
    const bytes = readFileSync(cellPath());
    bytes.writeUInt16LE(2, 4);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 28)), 28);
    writeFileSync(cellPath(), bytes);
    assert.match(await refused('TERCET_FORMAT_VERSION', () => openFileStore(folder)), /format version 2/);
    assert.deepEqual(readFileSync(cellPath()), bytes);
  });

  test('sound slots with something else in them', async () => {
    const state = await written(1);
    const cases: [RegExp, number, unknown][] = [
      [/epoch: /, 2, { ...state, epoch: -1 }],
      [/requests.0.copies.0.2: /, 2, { ...state, requests: [{ ...state.requests[0], copies: [['a', 'sync', 'yes']] }] }],
      [/the primary's flag must be true/, 2, { ...state, copies: state.copies.map((copy) => ({ ...copy, flag: copy.site === 'b' })) }],
      [
        /some copy must be able to serve alone/,
        2,
        { ...state, primary: null, copies: state.copies.map((copy) => ({ ...copy, flag: false })) },
      ],
      [/surprise/, 2, { ...state, surprise: 1 }],
      [/it holds group "db"/, 2, { ...state, group: 'db' }],
      [/write 2 in revision 9/, 9, state],
    ];
    for (const [why, revision, value] of cases) {
      const slot = encodeSlot(revision, value as Json, crc32);
      writeFileSync(cellPath(), Buffer.concat([slot, slot]));
      assert.match(await refused('TERCET_WITNESS_DAMAGED', () => openFileStore(folder)), why);
    }
  });

  test("a witness's name that is gone bad", async () => {
    await written(0);
    const slot = encodeSlot(1, { instance: 7 }, crc32);
    writeFileSync(join(folder, 'witness.cell'), Buffer.concat([slot, slot]));
    assert.match(await refused('TERCET_WITNESS_DAMAGED', () => openFileStore(folder)), /holds no name of a witness/);
  });

  test('a name that is missing makes another witness, whose groups are of the one before', async () => {
    const state = await written(0);
    rmSync(join(folder, 'witness.cell'));
    const store = await openFileStore(folder);
    assert.notEqual(store.instance, state.instance);
    assert.equal((await store.readAll()).get('vm')?.instance, state.instance);
    await store.close();
  });

  test('a folder that cannot be made', async () => {
    writeFileSync(join(folder, 'file'), '');
    assert.match(await refused('TERCET_WITNESS_DISK', () => openFileStore(join(folder, 'file', 'data'))), /ENOTDIR/);
  });
});

describe('a failed write or flush is final', () => {
  const failures: [string, (call: string) => string | null, RegExp][] = [
    ['the first write', (call) => (call === 'write group-vm.cell 1' ? 'EIO' : null), /^write of .*group-vm\.cell failed with EIO/],
    ['the first flush', (call) => (call === 'sync group-vm.cell' ? 'EIO' : null), /^flush of .*group-vm\.cell failed with EIO/],
    ['the second write', (call) => (call === 'write group-vm.cell 0' ? 'ENOSPC' : null), /^write of .*group-vm\.cell failed with ENOSPC/],
  ];
  for (const [name, failAt, message] of failures) {
    test(name, async () => {
      await written(1);
      let broken = true;
      const store = await openFileStore(folder, tracing((call) => (broken ? failAt(call) : null)).open);
      await assert.rejects(() => store.compareAndSet('vm', 2, stateAfter(2, store.instance)), { message });
      broken = false;
      // The disk would work again; what it holds is unknown all the same.
      await assert.rejects(() => store.compareAndSet('vm', 2, stateAfter(2, store.instance)), { message });
      await assert.rejects(() => store.compareAndSet('db', null, stateAfter(0, store.instance, 'db')), { message });
      await store.close();
      const found = await readBack();
      assert.ok(found?.writes === 2 || found?.writes === 3);
    });
  }

  test('a short write', async () => {
    await written(1);
    const short: OpenCell = async (path, create) => {
      const handle = await tracing().open(path, create);
      return { ...handle, write: (bytes, offset) => handle.write(bytes.subarray(0, 512), offset) };
    };
    const store = await openFileStore(folder, short);
    await assert.rejects(() => store.compareAndSet('vm', 2, stateAfter(2, store.instance)), { message: /failed with ENOSPC/ });
    await store.close();
    assert.equal((await readBack())?.writes, 2);
  });

  test('but one for a new group that there is no space for, which harms no other', async () => {
    await written(1);
    let full = true;
    const store = await openFileStore(folder, tracing((call) => (full && call === 'write group-db.cell.new 1' ? 'ENOSPC' : null)).open);
    assert.equal(await store.compareAndSet('db', null, stateAfter(0, store.instance, 'db')), 'no-room');
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.endsWith('.new')),
      [],
    );
    assert.equal(await store.compareAndSet('vm', 2, stateAfter(2, store.instance)), 'stored');
    full = false;
    assert.equal(await store.compareAndSet('db', null, stateAfter(0, store.instance, 'db')), 'stored');
    await store.close();
  });

  test('a group that could not be created is not there', async () => {
    const store = await openFileStore(folder, tracing((call) => (call === 'sync group-vm.cell.new' ? 'EIO' : null)).open);
    await assert.rejects(() => store.compareAndSet('vm', null, stateAfter(0, store.instance)), {
      message: /^flush of .*group-vm\.cell\.new failed/,
    });
    await store.close();
    assert.equal(await readBack(), undefined);
  });
});

describe('a copy of the folder', () => {
  test('can be read elsewhere as it was (a backup made while nothing changed)', async () => {
    const state = await written(2);
    const elsewhere = join(folder, 'backup');
    mkdirSync(elsewhere);
    for (const name of ['witness.cell', 'group-vm.cell']) copyFileSync(join(folder, name), join(elsewhere, name));
    const store = await openFileStore(elsewhere);
    assert.deepEqual((await store.readAll()).get('vm'), state);
    await store.close();
  });
});
