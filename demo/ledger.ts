// Remembers what each block of a volume may hold. Every write of a block has a number of its own, from which its content follows; a write that
// was acknowledged must be found until a newer one is, and one whose answer was lost may be found or not. Each block is thus one register.

/** Blocks are written and checked whole. */
export const LEDGER_BLOCK_BYTES = 4096;
const WORDS = LEDGER_BLOCK_BYTES / 4;

interface Register {
  /** Number of the newest write that is known to have happened; 0: none, the block reads as zeroes. */
  settled: number;
  /** Numbers of newer writes that may have happened. */
  open: number[];
  /** Number of the write that is under way; 0: none. */
  underWay: number;
  /** The newest number that a reader has seen: from then on nothing older may be there. */
  seen: number;
}

/** The registers of consecutive blocks. At most one write of a block may be under way at a time. */
export class BlockLedger {
  /** Place of the first block in the volume. */
  readonly offsetBytes: number;
  readonly blockCount: number;
  readonly #registers: Register[];
  #numbers = 0;
  #acknowledgedCount = 0;
  #lostCount = 0;

  constructor(options: { offsetBytes: number; blockCount: number }) {
    this.offsetBytes = options.offsetBytes;
    this.blockCount = options.blockCount;
    this.#registers = Array.from({ length: options.blockCount }, () => ({ settled: 0, open: [], underWay: 0, seen: 0 }));
  }

  /** Writes that were acknowledged so far. */
  get acknowledgedCount(): number {
    return this.#acknowledgedCount;
  }

  /** Writes whose answer never came, so that they may have happened or not. */
  get lostCount(): number {
    return this.#lostCount;
  }

  /** Blocks of which at least one write was acknowledged. */
  get writtenCount(): number {
    return this.#registers.filter((register) => register.settled > 0).length;
  }

  offsetOf(block: number): number {
    return this.offsetBytes + block * LEDGER_BLOCK_BYTES;
  }

  /** Begins a write: its number, and what is to be written. */
  begin(block: number): { number: number; content: Uint8Array } {
    const register = this.#register(block);
    if (register.underWay !== 0) throw new Error(`block ${block} is being written already`);
    register.underWay = ++this.#numbers;
    return { number: register.underWay, content: contentOf(block, register.underWay) };
  }

  acknowledged(block: number, number: number): void {
    const register = this.#end(block, number);
    // Older writes without an answer came over connections that have ended: none of them may show up behind this one.
    register.open = [];
    register.settled = number;
    this.#acknowledgedCount++;
  }

  /** The answer was an error, or never came. */
  lost(block: number, number: number): void {
    this.#end(block, number).open.push(number);
    this.#lostCount++;
  }

  /**
   * Compares what was read with what may be there; null when that fits, else a sentence. What a reader has seen stays so: from then on only
   * that, or something newer, may be there.
   */
  check(block: number, content: Uint8Array): string | null {
    const register = this.#register(block);
    const found = numberOf(content);
    const allowed = [register.settled, ...register.open, ...(register.underWay === 0 ? [] : [register.underWay])];
    const where = `block ${block} (byte ${this.offsetOf(block)})`;
    if (found !== null && found < register.seen) return `${where} holds write ${found}, stale: a reader has seen write ${register.seen}`;
    if (found === null || !allowed.includes(found) || Buffer.compare(content, contentOf(block, found)) !== 0) {
      const what = found === null ? 'what no write has written' : `write ${found}${allowed.includes(found) ? ', damaged' : ''}`;
      return `${where} holds ${what}; allowed: ${allowed.join(', ')}`;
    }
    if (register.underWay === 0) {
      register.settled = found;
      register.open = [];
    }
    return null;
  }

  /** A read of a block begins, with writes under way: what it must at least see. To be handed to readEnds(). */
  readBegins(block: number): number {
    const { settled, seen } = this.#register(block);
    return Math.max(settled, seen);
  }

  /**
   * What a read saw that began when `atLeast` was known, by the rule of a register: nothing older than that, nothing that was not written, and
   * what one reader has seen, a later one sees too. null when that holds, else a sentence.
   */
  readEnds(block: number, atLeast: number, content: Uint8Array): string | null {
    const register = this.#register(block);
    const found = numberOf(content);
    const where = `a read of block ${block} (byte ${this.offsetOf(block)})`;
    if (found === null || found > this.#numbers || Buffer.compare(content, contentOf(block, found)) !== 0)
      return `${where} returned what no write has written: stale or corrupt`;
    if (found < atLeast) return `${where} returned write ${found}, stale: write ${atLeast} was known before it began`;
    register.seen = Math.max(register.seen, found);
    return null;
  }

  #register(block: number): Register {
    const register = this.#registers[block];
    if (register === undefined) throw new Error(`there is no block ${block} in a ledger of ${this.blockCount}`);
    return register;
  }

  #end(block: number, number: number): Register {
    const register = this.#register(block);
    if (register.underWay !== number) throw new Error(`write ${number} of block ${block} is not under way`);
    register.underWay = 0;
    return register;
  }
}

/** What write `number` puts into a block: the number, the block, then words that follow from both. Write 0 is a block never written. */
function contentOf(block: number, number: number): Uint8Array {
  const words = new Uint32Array(WORDS);
  if (number === 0) return new Uint8Array(words.buffer);
  words[0] = number;
  words[1] = block;
  let state = (Math.imul(number, 0x9e3779b1) ^ Math.imul(block + 1, 0x85ebca77)) | 1;
  for (let at = 2; at < WORDS; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state;
  }
  return new Uint8Array(words.buffer);
}

/** The number that a block's content claims; null when it is no whole block. */
function numberOf(content: Uint8Array): number | null {
  if (content.length !== LEDGER_BLOCK_BYTES) return null;
  return new DataView(content.buffer, content.byteOffset, content.byteLength).getUint32(0, true);
}
