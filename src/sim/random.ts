// Chance for the simulator: small, fast, and the same on every machine. Each part of a simulated world draws from a stream of its own, so
// that a change in one part (a fault left out while shrinking) disturbs the others as little as possible.

/** A stream of chance: everything in it follows from its seed. */
export class Chance {
  private a: number;
  private b: number;
  private c: number;
  private d: number;

  /** A stream named by a seed and the part of the world that draws from it. */
  constructor(seed: number, part: string) {
    let h = 0x811c9dc5;
    for (let i = 0; i < part.length; i++) h = Math.imul(h ^ part.charCodeAt(i), 0x01000193);
    this.a = seed >>> 0;
    this.b = Math.floor(seed / 0x1_0000_0000) >>> 0;
    this.c = h >>> 0;
    this.d = 1;
    for (let i = 0; i < 16; i++) this.word();
  }

  /** 32 random bits, by sfc32 (Chris Doty-Humphrey's small fast counting generator). */
  word(): number {
    const sum = (((this.a + this.b) | 0) + this.d) | 0;
    this.d = (this.d + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = ((this.c << 21) | (this.c >>> 11)) + sum;
    this.c |= 0;
    return sum >>> 0;
  }

  /** A number from 0 up to, not including, 1. */
  unit(): number {
    return this.word() / 0x1_0000_0000;
  }

  /** Whether something of that probability happens. */
  happens(probability: number): boolean {
    return this.unit() < probability;
  }

  /** An integer from `least` to `most`, both included. */
  integer(least: number, most: number): number {
    return least + Math.floor(this.unit() * (most - least + 1));
  }

  /** A number from `least` up to `most`. */
  between(least: number, most: number): number {
    return least + this.unit() * (most - least);
  }

  /** A number from `least` to `most` whose logarithm is spread evenly: short times often, long ones sometimes. */
  spread(least: number, most: number): number {
    return least * Math.exp(this.unit() * Math.log(most / least));
  }

  /** One of the items. */
  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.unit() * items.length)] as T;
  }
}
