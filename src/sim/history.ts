// What hosts saw of a volume, judged from outside: each unit of it is a register that must behave as one copy in one order of time
// (linearizability, R1 to R5), whatever failed meanwhile. Every write has contents of its own, so the exact test of Gibbons and Korach for
// unique values applies, kept up operation by operation: a value's zone reaches from the earliest end to the latest beginning of the
// operations that wrote or read it, and two values conflict exactly when each ends somewhere before the other begins somewhere.

/** A write as the hosts know it. `response` is null while nobody knows whether it happened. */
export interface HostWrite {
  /** Unique, from 1; the contents of each unit that it covers name it. */
  readonly tag: number;
  readonly zero: boolean;
  readonly fromUnit: number;
  readonly toUnit: number;
  readonly invoked: number;
  response: number | null;
}

interface Zone {
  readonly tag: number;
  readonly zero: boolean;
  readonly invoked: number;
  /** Earliest end of an operation with this value; Infinity while none has ended. */
  ended: number;
  /** Latest beginning of an operation with this value. */
  began: number;
}

/** Tells what is wrong, in words. */
export type Complaint = (text: string) => void;

const INITIAL = 0;

/** The registers of one volume. */
export class UnitHistory {
  readonly unitBytes: number;
  readonly unitCount: number;
  private readonly units: Map<number, Zone>[] = [];
  private readonly complain: Complaint;

  constructor(volumeBytes: number, unitBytes: number, complain: Complaint) {
    this.unitBytes = unitBytes;
    this.unitCount = volumeBytes / unitBytes;
    this.complain = complain;
    const initial: Zone = { tag: INITIAL, zero: true, invoked: -1, ended: -1, began: -1 };
    for (let i = 0; i < this.unitCount; i++) this.units.push(new Map([[INITIAL, { ...initial }]]));
  }

  /** Fills the memory of a write: each unit names the write and itself. */
  static fill(bytes: Uint8Array, unitBytes: number, fromUnit: number, tag: number): void {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const wordsPerUnit = unitBytes / 4;
    for (let i = 0; i < words.length; i++) words[i] = i % 2 === 0 ? tag : fromUnit + Math.floor(i / wordsPerUnit) + 1;
  }

  /** A host sends a write. */
  invoked(write: HostWrite): void {
    for (let unit = write.fromUnit; unit < write.toUnit; unit++) {
      const zone: Zone = { tag: write.tag, zero: write.zero, invoked: write.invoked, ended: Infinity, began: write.invoked };
      (this.units[unit] as Map<number, Zone>).set(write.tag, zone);
    }
  }

  /** A host learns that a write is done. */
  acknowledged(write: HostWrite, now: number): void {
    write.response = now;
    for (let unit = write.fromUnit; unit < write.toUnit; unit++) {
      const zone = (this.units[unit] as Map<number, Zone>).get(write.tag);
      if (zone === undefined) continue;
      zone.ended = Math.min(zone.ended, now);
      this.compare(unit, zone);
    }
  }

  /** A host gets what it read, from a unit on. */
  read(fromUnit: number, bytes: Uint8Array, invoked: number, now: number): void {
    const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
    const words = new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
    const wordsPerUnit = this.unitBytes / 4;
    for (let at = 0; at < words.length; at += wordsPerUnit) {
      const unit = fromUnit + at / wordsPerUnit;
      const tag = tagOf(words, at, wordsPerUnit, unit);
      if (tag === null) this.complain(`unit ${unit} reads as no write's contents: ${describe(words, at, wordsPerUnit)}`);
      else if (tag === INITIAL) this.readZero(unit, invoked);
      else this.readTag(unit, tag, invoked, now);
    }
  }

  /**
   * Acknowledged writes were lost in a way that the rules allow (no copy that was to hold them kept its power): the units that they cover may now
   * hold what they held before, or any later write. What is not lost stays a bound.
   */
  lost(writes: readonly HostWrite[], everLost: ReadonlySet<number>): void {
    const units = new Set<number>();
    for (const write of writes) for (let unit = write.fromUnit; unit < write.toUnit; unit++) units.add(unit);
    for (const unit of units) this.reopen(unit, everLost);
  }

  private reopen(unit: number, everLost: ReadonlySet<number>): void {
    const zones = [...(this.units[unit] as Map<number, Zone>).values()];
    const sure = zones.filter((zone) => zone.ended !== Infinity && !everLost.has(zone.tag));
    const possible = zones.filter((zone) => !sure.some((later) => zone.ended < later.began && later !== zone));
    const next = new Map<number, Zone>();
    for (const zone of possible) next.set(zone.tag, { ...zone, invoked: -1, ended: Infinity, began: -Infinity });
    this.units[unit] = next;
  }

  private readTag(unit: number, tag: number, invoked: number, now: number): void {
    const zone = (this.units[unit] as Map<number, Zone>).get(tag);
    if (zone === undefined) return this.complain(`unit ${unit} reads as write ${tag}, which was lost or never sent there`);
    zone.ended = Math.min(zone.ended, now);
    zone.began = Math.max(zone.began, invoked);
    return this.compare(unit, zone);
  }

  /** Zeroes have no name: one of the writes of zeroes must be possible. */
  private readZero(unit: number, invoked: number): void {
    const zones = [...(this.units[unit] as Map<number, Zone>).values()];
    const full = zones.filter((zone) => !zone.zero && zone.ended < invoked);
    const fits = zones.some((zone) => zone.zero && !full.some((later) => zone.ended < later.began));
    if (fits) return;
    if (full.length === 0) return this.complain(`unit ${unit} reads as zeroes, which were replaced by a write that was not lost`);
    const last = full.reduce((a, b) => (a.began > b.began ? a : b));
    this.complain(
      `unit ${unit} reads as zeroes, but write ${last.tag} came after every write of zeroes and was seen before this read began`,
    );
  }

  private compare(unit: number, zone: Zone): void {
    for (const other of (this.units[unit] as Map<number, Zone>).values()) {
      if (other === zone || other.ended === Infinity) continue;
      if (zone.ended >= other.began || other.ended >= zone.began) continue;
      if (other.zero && zone.zero) continue;
      this.complain(
        `unit ${unit}: write ${zone.tag} was seen by ${zone.ended.toFixed(3)} and again from ${zone.began.toFixed(3)} on, ` +
          `write ${other.tag} by ${other.ended.toFixed(3)} and from ${other.began.toFixed(3)} on: no one order explains both`,
      );
      return;
    }
  }
}

/** The write that a unit's contents name; null when they are nobody's, torn, or another unit's. */
export function tagOf(words: Uint32Array, at: number, wordsPerUnit: number, unit: number): number | null {
  const tag = words[at] as number;
  const place = tag === INITIAL ? 0 : unit + 1;
  for (let i = at; i < at + wordsPerUnit; i += 2) {
    if (words[i] !== tag || words[i + 1] !== place) return null;
  }
  return tag;
}

function describe(words: Uint32Array, at: number, wordsPerUnit: number): string {
  const seen = new Set<string>();
  for (let i = at; i < at + wordsPerUnit && seen.size < 4; i += 2) seen.add(`write ${words[i]} unit ${(words[i + 1] as number) - 1}`);
  return [...seen].join(', ');
}
