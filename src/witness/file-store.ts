// The witness's own store: one two-slot cell per group in a folder, and one that names the witness. A state is written to both slots, one
// after the other with an fdatasync behind each, before it is answered: a torn write leaves the slot before, and a slot that rots later
// leaves its twin, so no single fault of the disk takes a grant back. Both slots bad: the witness refuses to start, because a flag that is
// guessed is worse than one that cannot be had (RELIABILITY W8, C3).

import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { stateFault } from '../core/arbiter/witness-rules.ts';
import type { WitnessState } from '../core/arbiter/witness-state.ts';
import { assert } from '../core/base/assert.ts';
import {
  CELL_BYTES,
  CELL_VERSION,
  canonicalJson,
  encodeSlot,
  fitsCell,
  type Json,
  nextSlot,
  readCell,
  type SlotIndex,
} from '../core/base/cell.ts';
import { TercetError } from '../core/base/errors.ts';
import { limits } from '../core/base/limits.ts';
import { DiskError } from '../core/base/ports.ts';
import { lockFile } from '../host/flock.ts';
import { faultsOf, nameSchema, stateSchema } from './schema.ts';
import type { WitnessStore } from './store.ts';

/** The calls on an open file that the store makes; a test hands in ones that fail. All may reject with the system's error. */
export interface CellHandle {
  /** Returns how many bytes were there. */
  read(into: Uint8Array, offset: number): Promise<number>;
  /** Returns how many bytes were written. */
  write(bytes: Uint8Array, offset: number): Promise<number>;
  datasync(): Promise<void>;
  close(): Promise<void>;
}

/** Opens a file for reading and writing; `create`: a new, empty one. */
export type OpenCell = (path: string, create: boolean) => Promise<CellHandle>;

const INSTANCE_FILE = 'witness.cell';
const GROUP_FILE = /^group-(.+)\.cell$/;
/** Ending of a file that is being created: it counts only under its final name. */
const UNFINISHED = '.new';

/** One cell's file, open. */
interface CellFile {
  readonly path: string;
  readonly handle: CellHandle;
  /** Of the value in both slots. */
  revision: number;
  readonly value: Json;
}

/**
 * Opens the store in a folder, creating both when they are not there, and locks it. Throws TercetError: TERCET_WITNESS_LOCKED,
 * TERCET_WITNESS_DAMAGED, TERCET_FORMAT_VERSION or TERCET_WITNESS_DISK, each naming the file.
 */
export async function openFileStore(folder: string, openCell: OpenCell = openOnDisk): Promise<WitnessStore> {
  await diskCall('open', folder, async () => {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await syncFolder(join(folder, '..'));
  });
  const lock = await diskCall('lock', join(folder, 'lock'), () => Promise.resolve(lockFile(join(folder, 'lock'))));
  if (lock === null) throw new TercetError('TERCET_WITNESS_LOCKED', { folder });
  const opened: CellFile[] = [];
  try {
    const names = await diskCall('list', folder, () => readdir(folder));
    for (const name of names.filter((each) => each.endsWith(`.cell${UNFINISHED}`)))
      await diskCall('remove', name, () => rm(join(folder, name)));
    const instance = await openInstance(folder, names.includes(INSTANCE_FILE), openCell);
    const cells = new Map<string, CellFile>();
    for (const name of names.filter((each) => GROUP_FILE.test(each)).sort()) {
      const cell = await openFile(join(folder, name), openCell);
      opened.push(cell);
      cells.set((GROUP_FILE.exec(name) as RegExpExecArray)[1] as string, cell);
    }
    const states = new Map([...cells].map(([group, cell]) => [group, stateOf(group, cell)]));
    return fileStore({ folder, instance, openCell, cells, states, lock });
  } catch (cause) {
    for (const cell of opened) await cell.handle.close();
    lock.release();
    throw cause;
  }
}

interface Opened {
  readonly folder: string;
  readonly instance: string;
  readonly openCell: OpenCell;
  readonly cells: Map<string, CellFile>;
  readonly states: Map<string, WitnessState>;
  readonly lock: { release(): void };
}

function fileStore({ folder, instance, openCell, cells, states, lock }: Opened): WitnessStore {
  let failure: Error | null = null;
  const busy = new Set<string>();
  const store = async (group: string, next: WitnessState): Promise<void> => {
    const value = asJson(next);
    assert(fitsCell(value), "a group's state must fit its cell", { group, requests: next.requests.length });
    const cell = cells.get(group);
    if (cell === undefined) cells.set(group, await createFile(folder, `group-${group}.cell`, { revision: next.writes, value }, openCell));
    else await writeBoth(cell, next.writes, value);
  };
  return {
    instance,
    readAll: () => Promise.resolve(new Map(states)),
    compareAndSet: async (group, writes, next) => {
      if (failure !== null) throw failure;
      assert(!busy.has(group), 'changes of one group are made one after the other', { group });
      assert(nameSchema.safeParse(group).success, 'a group has a valid name', { group });
      if ((states.get(group)?.writes ?? null) !== writes) return 'conflict';
      busy.add(group);
      try {
        await store(group, next);
      } catch (cause) {
        // A file that never got its name is none, and the groups that there are need no more space than they have.
        if (writes === null && isNoRoom(cause) && !cells.has(group)) {
          await diskCall('remove', folder, () => rm(join(folder, `group-${group}.cell${UNFINISHED}`), { force: true }));
          return 'no-room';
        }
        // Final: what the disk holds now is unknown, and a second fsync would not tell.
        failure ??= cause as Error;
        throw cause;
      } finally {
        busy.delete(group);
      }
      states.set(group, next);
      return 'stored';
    },
    close: async () => {
      for (const cell of cells.values()) await cell.handle.close();
      lock.release();
    },
  };
}

/** Whether a file could not be made because there was no space for it: before it had its name. */
function isNoRoom(cause: unknown): boolean {
  if (!(cause instanceof TercetError)) return false;
  const { file, code } = cause.facts;
  return String(file).endsWith(UNFINISHED) && (code === 'ENOSPC' || code === 'EDQUOT');
}

/** The state in a group's cell, checked. */
function stateOf(group: string, cell: CellFile): WitnessState {
  const parsed = stateSchema.safeParse(cell.value);
  if (!parsed.success) throw new TercetError('TERCET_WITNESS_DAMAGED', { file: cell.path, reason: faultsOf(parsed.error) });
  const state = parsed.data;
  const fault = stateFault(state);
  if (fault !== null) throw new TercetError('TERCET_WITNESS_DAMAGED', { file: cell.path, reason: `it breaks a rule: ${fault}` });
  if (state.group !== group)
    throw new TercetError('TERCET_WITNESS_DAMAGED', { file: cell.path, reason: `it holds group "${state.group}"` });
  if (state.writes === cell.revision) return state;
  throw new TercetError('TERCET_WITNESS_DAMAGED', {
    file: cell.path,
    reason: `write ${state.writes} in revision ${cell.revision} of its cell`,
  });
}

/** Reads the name of this witness, or makes one up and keeps it. */
async function openInstance(folder: string, exists: boolean, openCell: OpenCell): Promise<string> {
  const path = join(folder, INSTANCE_FILE);
  const made = { revision: 1, value: { instance: randomUUID() } };
  const cell = exists ? await openFile(path, openCell) : await createFile(folder, INSTANCE_FILE, made, openCell);
  await cell.handle.close();
  const value = cell.value as { readonly instance?: Json } | null;
  if (typeof value?.instance === 'string' && value.instance !== '') return value.instance;
  throw new TercetError('TERCET_WITNESS_DAMAGED', { file: path, reason: 'it holds no name of a witness' });
}

/** Makes a cell's file with its value in both slots. It appears under its name only when it is whole. */
async function createFile(folder: string, name: string, first: { revision: number; value: Json }, openCell: OpenCell): Promise<CellFile> {
  const path = join(folder, name);
  const unfinished = `${path}${UNFINISHED}`;
  const handle = await diskCall('open', unfinished, () => openCell(unfinished, true));
  const cell: CellFile = { path, handle, ...first };
  try {
    await writeBoth({ ...cell, path: unfinished }, first.revision, first.value, [0, 1]);
    await diskCall('open', path, async () => {
      await rename(unfinished, path);
      await syncFolder(folder);
    });
  } catch (cause) {
    await handle.close();
    throw cause;
  }
  return cell;
}

/** Opens a cell's file, and mends the slot that a crash or the disk has spoilt. */
async function openFile(path: string, openCell: OpenCell): Promise<CellFile> {
  const handle = await diskCall('open', path, () => openCell(path, false));
  try {
    const bytes = new Uint8Array(CELL_BYTES);
    await diskCall('read', path, async () => {
      for (let at = 0, count = 1; count > 0 && at < bytes.length; at += count) count = await handle.read(bytes.subarray(at), at);
    });
    const state = readCell(bytes, crc32);
    if (state.kind === 'version') {
      throw new TercetError('TERCET_FORMAT_VERSION', { what: `the witness's file ${path}`, found: state.found, known: CELL_VERSION });
    }
    if (state.kind !== 'value') {
      throw new TercetError('TERCET_WITNESS_DAMAGED', {
        file: path,
        reason: state.kind === 'damaged' ? state.why : 'both slots are empty',
      });
    }
    const { revision, value, otherSlot } = state;
    const twins = otherSlot.kind === 'value' && otherSlot.revision === revision;
    if (!twins) await writeSlot({ path, handle }, nextSlot(state), encodeSlot(revision, value, crc32));
    return { path, handle, revision, value };
  } catch (cause) {
    await handle.close();
    throw cause;
  }
}

/** Puts a value into both slots, durable in the first before the second is touched. */
async function writeBoth(cell: CellFile, revision: number, value: Json, order: readonly [SlotIndex, SlotIndex] = [1, 0]): Promise<void> {
  const slot = encodeSlot(revision, value, crc32);
  for (const index of order) await writeSlot(cell, index, slot);
  cell.revision = revision;
}

async function writeSlot({ path, handle }: Pick<CellFile, 'path' | 'handle'>, index: SlotIndex, slot: Uint8Array): Promise<void> {
  await diskCall('write', path, async () => {
    const count = await handle.write(slot, index * limits.cellSlotBytes);
    // A short write is a full or failing disk: going on with the rest would only hide it.
    if (count !== slot.length) throw Object.assign(new Error(`only ${count} of ${slot.length} bytes were written`), { code: 'ENOSPC' });
  });
  await diskCall('flush', path, () => handle.datasync());
}

/** Does a call on the disk; a failure becomes an error that names operation and file. */
async function diskCall<Result>(operation: string, file: string, call: () => Promise<Result>): Promise<Result> {
  try {
    return await call();
  } catch (cause) {
    const code = cause instanceof DiskError ? cause.failure.code : ((cause as NodeJS.ErrnoException).code ?? String(cause));
    throw new TercetError('TERCET_WITNESS_DISK', { operation, file, code }, { cause });
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function openOnDisk(path: string, create: boolean): Promise<CellHandle> {
  const handle: FileHandle = await open(path, create ? 'w+' : 'r+', 0o600);
  return {
    read: async (into, offset) => (await handle.read(into, 0, into.length, offset)).bytesRead,
    write: async (bytes, offset) => (await handle.write(bytes, 0, bytes.length, offset)).bytesWritten,
    datasync: () => handle.datasync(),
    close: () => handle.close(),
  };
}

/** A state is plain JSON data by its type's fields; this only says so. */
function asJson(state: WitnessState): Json {
  return JSON.parse(canonicalJson(state as unknown as Json)) as Json;
}
