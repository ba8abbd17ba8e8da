// A simulated disk behind the Storage port. What was written is in the page cache: a crash of the process keeps it. What was flushed is
// durable: a power loss keeps exactly that, and of the rest any part (each write lost, kept or torn at 512 bytes, in any order). Names are
// durable only after a flush of their file. Failures, a full disk, slowness and flipped bits are switched on from outside.

import { digestBlocks } from './digests.ts';
import { Chance } from './random.ts';
import type { Gate } from './gate.ts';
import type { World } from './world.ts';
import {
  DiskError,
  type DigestHow,
  type DigestsDone,
  type DiskDone,
  type DiskFailure,
  type Extent,
  type FilePart,
  type Storage,
  type StoredFile,
} from '../core/base/ports.ts';

const SECTOR_BYTES = 512;
const PAGE_BYTES = 4096;
const ZEROES = new Uint8Array(PAGE_BYTES);
/** However slow a disk is, it answers within this time. */
const DELAY_MILLIS_MAX = 1500;

/** One change of a file that is not durable yet. */
type Change =
  | { readonly kind: 'write'; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: 'truncate'; readonly size: number }
  | { readonly kind: 'punch'; readonly offset: number; readonly length: number };

/** Growing bytes with a size. */
class Content {
  bytes = new Uint8Array(0);
  size = 0;

  apply(change: Change): void {
    switch (change.kind) {
      case 'write':
        this.reserve(change.offset + change.bytes.length);
        this.bytes.set(change.bytes, change.offset);
        break;
      case 'truncate':
        if (change.size < this.size) this.bytes.fill(0, change.size, this.size);
        this.size = Math.min(this.size, change.size);
        this.reserve(change.size);
        break;
      case 'punch':
        this.bytes.fill(0, change.offset, Math.min(this.size, change.offset + change.length));
        break;
      default:
        throw new Error(`unknown change ${JSON.stringify(change satisfies never)}`);
    }
  }

  copyOf(other: Content): void {
    if (this.bytes.length < other.size) this.bytes = new Uint8Array(other.bytes.length);
    else this.bytes.fill(0, other.size, Math.max(this.size, other.size));
    this.bytes.set(other.bytes.subarray(0, other.size));
    this.size = other.size;
  }

  private reserve(size: number): void {
    if (size <= this.size) return;
    if (size > this.bytes.length) {
      const larger = new Uint8Array(Math.max(size, 2 * this.bytes.length, PAGE_BYTES));
      larger.set(this.bytes.subarray(0, this.size));
      this.bytes = larger;
    }
    this.size = size;
  }
}

/** A file's contents, apart from its name. */
class Inode {
  readonly cache = new Content();
  readonly durable = new Content();
  /** Changes since the durable state, oldest first. */
  pending: Change[] = [];
  /** Changes that left `pending` from its front. */
  settled = 0;
  /** Whether a flush is to sync the directory too. */
  nameDurable = false;

  change(change: Change): void {
    this.cache.apply(change);
    this.pending.push(change);
  }

  /** Makes the changes before the given count durable; or, for a flush that failed, forgets them. */
  settle(until: number, apply: boolean): void {
    const count = until - this.settled;
    if (count <= 0) return;
    if (apply) for (let i = 0; i < count; i++) this.durable.apply(this.pending[i] as Change);
    this.pending.splice(0, count);
    this.settled = until;
  }
}

/** A lasting write that the system has not carried out yet. */
interface UnderWay {
  readonly inode: Inode;
  readonly parts: readonly FilePart[];
}

/** What is wrong with a disk at the moment. */
export interface DiskTrouble {
  /** The next operations of a kind fail with this code: so many. */
  writeErrors: number;
  readErrors: number;
  flushErrors: number;
  /** No space for what would make a file longer. */
  full: boolean;
  /** Bytes that were given back since it was full: so much may files grow. */
  freedBytes: number;
  /** Times are multiplied with this. */
  slowness: number;
  /** Probability that a read needs the disk. */
  cold: number;
}

/** Carries an answer of the disk into the process that asked, unless that process is gone. */
export type Deliver = (what: string, run: () => void) => void;

/** Puts something back as it was. */
export type Undo = () => void;

/** The disk of one machine. */
export class SimDisk implements Storage {
  readonly trouble: DiskTrouble = { writeErrors: 0, readErrors: 0, flushErrors: 0, full: false, freedBytes: 0, slowness: 1, cold: 0.1 };
  /** Times are multiplied with this too, always. */
  baseSlowness = 1;
  /** Times of reads in the background are multiplied with this, always. */
  readSlowness = 1;
  flushes = 0;
  /** A flush has failed, and nobody has been told what that did to the copy: the process may not have heard of it. */
  dropped = false;
  /** Segments that began in a file that was there before, and files that were kept for another segment. */
  spares = { used: 0, kept: 0 };
  /** The flush that made the names durable. */
  private namesOrder = 0;
  private names = new Map<string, Inode>();
  private durableNames = new Map<string, Inode>();
  private underWay = new Set<UnderWay>();
  private incarnation = 0;
  /** While nothing grows: what is free and not for everybody. */
  private readonly quotaBytes: number;
  private readonly world: World;
  private readonly chance: Chance;
  private readonly gate: Gate;
  private readonly deliver: Deliver;

  constructor(world: World, site: string, gate: Gate, deliver: Deliver) {
    this.world = world;
    this.chance = world.chance(`disk ${site}`);
    this.quotaBytes = world.chance(`quota ${site}`).pick([0, 64 * 1024 * 1024]);
    this.gate = gate;
    this.deliver = deliver;
  }

  list(): readonly string[] {
    return this.gate.pass('list', () => [...this.names.keys()].sort());
  }

  open(name: string, options: { create: boolean }): StoredFile {
    return this.gate.pass('open', () => {
      let inode = this.names.get(name);
      if (inode === undefined) {
        if (!options.create) throw new DiskError({ operation: 'open', file: name, code: 'ENOENT' });
        inode = new Inode();
        this.names.set(name, inode);
      }
      return this.handle(name, inode);
    });
  }

  remove(name: string): void {
    this.gate.pass('remove', () => {
      const inode = this.names.get(name);
      if (inode === undefined) throw new DiskError({ operation: 'remove', file: name, code: 'ENOENT' });
      this.names.delete(name);
      this.trouble.freedBytes += inode.cache.size;
    });
  }

  rename(file: StoredFile, name: string): void {
    this.gate.pass('rename', () => {
      const handle = file as Handle;
      if (this.names.get(handle.name) !== handle.inode) throw new DiskError({ operation: 'rename', file: handle.name, code: 'ENOENT' });
      if (this.names.has(name)) throw new DiskError({ operation: 'rename', file: handle.name, code: 'EEXIST' });
      if (name.startsWith('spare-')) this.spares.kept++;
      else if (handle.inode.durable.size > 0) this.spares.used++;
      this.names.delete(handle.name);
      this.names.set(name, handle.inode);
      handle.inode.nameDurable = false;
      handle.name = name;
    });
  }

  freeBytes(): number {
    return this.gate.pass('freeBytes', () => (this.trouble.full ? this.quotaBytes + this.trouble.freedBytes : Infinity));
  }

  flush(files: readonly StoredFile[], done: DiskDone): void {
    this.gate.pass('flush', () => this.beginFlush(files, done));
  }

  /** The process ended: what it had asked for and not been told of happens in part. */
  processEnded(): void {
    this.incarnation++;
    for (const { inode, parts } of this.underWay) {
      for (const part of parts) {
        if (this.chance.happens(0.5)) inode.change({ kind: 'write', offset: part.offset, bytes: part.bytes.slice() });
      }
    }
    this.underWay.clear();
  }

  /** The machine lost power: only what is durable stays, and any part of the rest. */
  powerLost(): void {
    this.processEnded();
    // Kernels write dirty pages back in their own time: all, nothing, or any part of them may have reached the disk.
    const kept = this.chance.pick([0, 0, 1, 0.5, 0.9]);
    const names = new Map<string, Inode>();
    const renamed = new Set<Inode>();
    for (const [name, inode] of this.names) if (this.durableNames.get(name) !== inode) renamed.add(inode);
    for (const [name, inode] of this.durableNames) {
      // A file that was renamed has the one name or the other.
      const back = renamed.has(inode) ? !this.chance.happens(kept) : this.chance.happens(0.5);
      if (this.names.get(name) === inode || back) names.set(name, inode);
    }
    const found = new Set(names.values());
    const before = new Set(this.durableNames.values());
    for (const [name, inode] of this.names) {
      if (found.has(inode)) continue;
      if (before.has(inode) || this.chance.happens(kept)) names.set(name, inode);
    }
    for (const inode of new Set(names.values())) this.loseUnsynced(inode, kept);
    this.names = names;
    this.durableNames = new Map(names);
    for (const inode of names.values()) inode.nameDurable = true;
  }

  /** Everything is gone: a new disk was put in. */
  wipe(): void {
    this.processEnded();
    this.names = new Map();
    this.durableNames = new Map();
  }

  /** Bytes of a file as the process sees them, for oracles; null when there is none. */
  contentsOf(name: string): Uint8Array | null {
    const inode = this.names.get(name);
    return inode === undefined ? null : inode.cache.bytes.subarray(0, inode.cache.size);
  }

  /** Bytes of a file as a loss of power would surely leave them, for oracles; null when there is none. */
  durableContentsOf(name: string): Uint8Array | null {
    const inode = this.names.get(name);
    return inode === undefined ? null : inode.durable.bytes.subarray(0, inode.durable.size);
  }

  /** Flips one bit in a file whose name fits, in the cache and on the medium; tells where, or null when there is no such file. */
  flipBit(fits: (name: string) => boolean): string | null {
    const names = [...this.names.keys()].sort().filter((name) => fits(name) && (this.names.get(name) as Inode).durable.size > 0);
    if (names.length === 0) return null;
    const name = this.chance.pick(names);
    const inode = this.names.get(name) as Inode;
    const at = this.chance.integer(0, inode.durable.size - 1);
    const bit = 1 << this.chance.integer(0, 7);
    for (const content of [inode.cache, inode.durable]) {
      if (at < content.size) content.bytes[at] = (content.bytes[at] as number) ^ bit;
    }
    return `${name} byte ${at}`;
  }

  /** Flips one bit of a byte, in the cache and on the medium. Returns what flips it back. */
  flipBitAt(name: string, at: number): Undo {
    const inode = this.names.get(name) as Inode;
    const bit = 1 << this.chance.integer(0, 7);
    const flip = (): void => {
      for (const content of [inode.cache, inode.durable]) {
        if (at < content.size) content.bytes[at] = (content.bytes[at] as number) ^ bit;
      }
    };
    flip();
    return flip;
  }

  private loseUnsynced(inode: Inode, kept: number): void {
    for (const change of inode.pending) {
      if (!this.chance.happens(kept)) continue;
      inode.durable.apply(change.kind === 'write' && this.chance.happens(0.3) ? this.torn(change) : change);
    }
    inode.settled += inode.pending.length;
    inode.pending = [];
    inode.cache.copyOf(inode.durable);
  }

  /** The first sectors of a write, or the last: what a torn write leaves. */
  private torn(change: Change & { kind: 'write' }): Change {
    const sectors = Math.ceil(change.bytes.length / SECTOR_BYTES);
    // Heads and ends are where the meaning is: tears there are made more often than chance would.
    const most = this.chance.happens(0.5) ? Math.min(sectors, 4) : sectors;
    const cut = Math.min(change.bytes.length, this.chance.integer(0, most) * SECTOR_BYTES);
    if (this.chance.happens(0.7)) return { kind: 'write', offset: change.offset, bytes: change.bytes.subarray(0, cut) };
    return { kind: 'write', offset: change.offset + cut, bytes: change.bytes.subarray(cut) };
  }

  private beginFlush(files: readonly StoredFile[], done: DiskDone): void {
    const covered = files.map((file) => {
      const inode = (file as Handle).inode;
      return { name: file.name, inode, until: inode.settled + inode.pending.length };
    });
    // Which names there are is settled with the directory, when one of the files is new in it.
    const names = covered.some(({ inode }) => !inode.nameDurable) ? new Map(this.names) : null;
    this.flushes++;
    const order = this.flushes;
    const perform = (): DiskFailure | null => {
      if (this.trouble.flushErrors > 0) {
        this.trouble.flushErrors--;
        for (const { inode, until } of covered) this.dropFlushed(inode, until);
        return { operation: 'flush', file: covered[0]?.name ?? '', code: 'EIO' };
      }
      for (const { inode, until } of covered) inode.settle(until, true);
      // Flushes may end in another order than they began in; what one has made durable no other takes back.
      if (names !== null && order > this.namesOrder) {
        this.namesOrder = order;
        this.durableNames = names;
        // A file that was renamed since has a name that is not durable yet.
        for (const [name, inode] of names) if (this.names.get(name) === inode) inode.nameDurable = true;
      }
      return null;
    };
    this.later('flushed', this.chance.spread(0.1, 3), perform, done);
  }

  /** A flush that failed has marked its pages clean: they may never reach the disk, and may read as the old ones. */
  private dropFlushed(inode: Inode, until: number): void {
    inode.settle(until, false);
    this.dropped = true;
    if (this.chance.happens(0.5)) return;
    inode.cache.copyOf(inode.durable);
    for (const change of inode.pending) inode.cache.apply(change);
  }

  /** Carries out something in the disk's own time, and tells the process that asked for it unless it is gone. */
  private later: Later = (what, millis, perform, done) => {
    const { incarnation } = this;
    const own = what === 'read' ? this.readSlowness : 1;
    this.world.after(Math.min(DELAY_MILLIS_MAX, millis * own * this.trouble.slowness * this.baseSlowness), () => {
      if (incarnation !== this.incarnation) return;
      const failure = perform();
      this.deliver(what, () => done(failure));
    });
  };

  private handle(name: string, inode: Inode): StoredFile {
    return new Handle(name, inode, {
      gate: this.gate,
      chance: this.chance,
      trouble: this.trouble,
      later: this.later,
      underWay: () => this.underWay,
    });
  }
}

type Later = (what: string, millis: number, perform: () => DiskFailure | null, done: DiskDone) => void;

interface HandlePorts {
  readonly gate: Gate;
  readonly chance: Chance;
  readonly trouble: DiskTrouble;
  readonly later: Later;
  /** The lasting writes of the living process. */
  readonly underWay: () => Set<UnderWay>;
}

class Handle implements StoredFile {
  name: string;
  readonly inode: Inode;
  private readonly ports: HandlePorts;
  private open = true;

  constructor(name: string, inode: Inode, ports: HandlePorts) {
    this.name = name;
    this.inode = inode;
    this.ports = ports;
  }

  size(): number {
    return this.inode.cache.size;
  }

  write(offset: number, parts: readonly Uint8Array[]): void {
    this.assertOpen('write');
    const bytes = joined(parts);
    const tear = (): void => {
      const cut = this.ports.chance.integer(0, bytes.length);
      if (cut > 0) this.inode.change({ kind: 'write', offset, bytes: bytes.subarray(0, cut) });
    };
    this.ports.gate.pass(
      'write',
      () => {
        const failure = this.writeFailure(offset + bytes.length);
        if (failure !== null) {
          // A write that fails may have written some of it.
          if (this.ports.chance.happens(0.5)) tear();
          throw new DiskError(failure);
        }
        this.inode.change({ kind: 'write', offset, bytes });
      },
      tear,
    );
  }

  read(offset: number, into: Uint8Array): number {
    this.assertOpen('read');
    return this.ports.gate.pass('read', () => {
      const failure = this.readFailure();
      if (failure !== null) throw new DiskError(failure);
      return this.fill(offset, into);
    });
  }

  readCached(offset: number, into: Uint8Array): boolean {
    this.assertOpen('read');
    return this.ports.gate.pass('readCached', () => {
      if (!this.ports.gate.quiet && this.ports.chance.happens(this.ports.trouble.cold)) {
        into.fill(0xcc);
        return false;
      }
      this.fill(offset, into);
      return true;
    });
  }

  truncate(size: number): void {
    this.assertOpen('truncate');
    this.ports.gate.pass('truncate', () => {
      this.ports.trouble.freedBytes += Math.max(0, this.inode.cache.size - size);
      this.inode.change({ kind: 'truncate', size });
    });
  }

  reserve(size: number): boolean {
    this.assertOpen('write');
    this.ports.gate.pass('reserve', () => {
      const failure = this.writeFailure(size);
      if (failure !== null) throw new DiskError(failure);
      this.inode.change({ kind: 'truncate', size });
    });
    return true;
  }

  punch(offset: number, length: number): void {
    this.assertOpen('punch');
    const cut = (): void => this.inode.change({ kind: 'punch', offset, length: Math.floor(length / 2) });
    this.ports.gate.pass('punch', () => this.inode.change({ kind: 'punch', offset, length }), cut);
  }

  extents(offset: number, length: number, extentsMax: number): readonly Extent[] {
    this.assertOpen('list');
    return this.ports.gate.pass('extents', () => this.findExtents(offset, length, extentsMax));
  }

  readParts(parts: readonly FilePart[], done: DiskDone): void {
    this.assertOpen('read');
    this.ports.gate.pass('readParts', () => {
      for (const part of parts) part.bytes.fill(0xcc);
      const perform = (): DiskFailure | null => {
        const failure = this.readFailure();
        if (failure === null) for (const part of parts) this.fill(part.offset, part.bytes);
        return failure;
      };
      this.ports.later('read', this.ports.chance.spread(0.05, 1), perform, done);
    });
  }

  digestBlocks({ offset, length }: { readonly offset: number; readonly length: number }, how: DigestHow, done: DigestsDone): void {
    const bytes = new Uint8Array(length);
    this.readParts([{ offset, bytes }], (failure) => done(failure ?? digestBlocks(how.algorithm, bytes, how.blockBytes)));
  }

  cloneFrom(source: StoredFile, done: DiskDone): void {
    this.assertOpen('write');
    this.ports.gate.pass('cloneFrom', () => {
      const { cache } = (source as Handle).inode;
      // Shared blocks take no space, but it may fail as any write does.
      const perform = (): DiskFailure | null => {
        const failure = this.writeFailure(0);
        if (failure === null) this.inode.change({ kind: 'write', offset: 0, bytes: cache.bytes.slice(0, cache.size) });
        return failure;
      };
      this.ports.later('written', this.ports.chance.spread(0.05, 2), perform, done);
    });
  }

  writeParts(parts: readonly FilePart[], done: DiskDone): void {
    this.assertOpen('write');
    this.ports.gate.pass('writeParts', () => {
      const write: UnderWay = { inode: this.inode, parts };
      this.ports.underWay().add(write);
      const perform = (): DiskFailure | null => {
        this.ports.underWay().delete(write);
        const end = Math.max(...parts.map((part) => part.offset + part.bytes.length));
        const failure = this.writeFailure(end);
        for (const part of parts) {
          if (failure === null || this.ports.chance.happens(0.5)) {
            this.inode.change({ kind: 'write', offset: part.offset, bytes: part.bytes.slice() });
          }
        }
        return failure;
      };
      this.ports.later('written', this.ports.chance.spread(0.05, 2), perform, done);
    });
  }

  close(): void {
    this.open = false;
  }

  private fill(offset: number, into: Uint8Array): number {
    const { bytes, size } = this.inode.cache;
    const count = Math.max(0, Math.min(into.length, size - offset));
    into.set(bytes.subarray(offset, offset + count));
    into.fill(0, count);
    return count;
  }

  private findExtents(offset: number, length: number, extentsMax: number): readonly Extent[] {
    const extents: { offset: number; length: number; hole: boolean }[] = [];
    for (let at = offset; at < offset + length;) {
      const end = Math.min(offset + length, (Math.floor(at / PAGE_BYTES) + 1) * PAGE_BYTES);
      const hole = this.isHole(at, end);
      const last = extents[extents.length - 1];
      if (last !== undefined && last.hole === hole) last.length += end - at;
      else if (extents.length === extentsMax) break;
      else extents.push({ offset: at, length: end - at, hole });
      at = end;
    }
    return extents;
  }

  private isHole(from: number, to: number): boolean {
    const { bytes, size } = this.inode.cache;
    const end = Math.min(to, size);
    return end <= from || Buffer.compare(bytes.subarray(from, end), ZEROES.subarray(0, end - from)) === 0;
  }

  private writeFailure(end: number): DiskFailure | null {
    const { trouble } = this.ports;
    const growth = Math.max(0, end - this.inode.cache.size);
    if (trouble.full && growth > trouble.freedBytes) return { operation: 'write', file: this.name, code: 'ENOSPC' };
    trouble.freedBytes -= Math.min(growth, trouble.freedBytes);
    if (trouble.writeErrors === 0) return null;
    trouble.writeErrors--;
    return { operation: 'write', file: this.name, code: 'EIO' };
  }

  private readFailure(): DiskFailure | null {
    const { trouble, gate } = this.ports;
    if (trouble.readErrors === 0 || gate.quiet) return null;
    trouble.readErrors--;
    return { operation: 'read', file: this.name, code: 'EIO' };
  }

  private assertOpen(operation: DiskFailure['operation']): void {
    if (!this.open) throw new Error(`${operation} of the closed file ${this.name}`);
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return (parts[0] as Uint8Array).slice();
  let length = 0;
  for (const part of parts) length += part.length;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
