// Crash points: every call that a site makes of a port passes through a gate, which can end the process or the machine right before it,
// right after it, or in the middle of it. That is how a crash "between any two effects" is made: no handler of the core can be cut in a finer
// way from outside.

/** Where around a port call the process ends. `torn`: in the middle, for calls that have one (a write); else the same as `before`. */
export type CrashMoment = 'before' | 'after' | 'torn';

/** What ends: the process (the page cache stays) or the power of the machine. */
export type CrashKind = 'crash' | 'power';

/** Thrown out of a port call into the core and caught by the driver of the site: the process no longer exists. */
export class CrashSignal extends Error {
  override readonly name = 'CrashSignal';
  readonly kind: CrashKind;
  constructor(kind: CrashKind) {
    super(`the simulator ends the process here (${kind})`);
    this.kind = kind;
  }
}

/** Counts the port calls of one machine and ends it at the one that was chosen. */
export class Gate {
  /** Port calls so far, over all lives of the process. */
  calls = 0;
  private armedAt = Infinity;
  /** Set while only calls of one name count. */
  private armedName: string | null = null;
  private armedLeft = 0;
  private moment: CrashMoment = 'before';
  private kind: CrashKind = 'crash';
  /** On while an oracle looks into a site: its calls are not the site's, and meet no faults. */
  quiet = false;
  /** Where the last crash was made, for the trace. */
  lastCall = '';

  /** The machine ends at the call with that number (the first is 0). */
  arm(callIndex: number, moment: CrashMoment, kind: CrashKind): void {
    this.armedAt = callIndex;
    this.armedName = null;
    this.moment = moment;
    this.kind = kind;
  }

  /** The machine ends at a call of that name, after so many others of it. */
  armOn(name: string, others: number, moment: CrashMoment, kind: CrashKind): void {
    this.arm(Infinity, moment, kind);
    this.armedName = name;
    this.armedLeft = others;
  }

  disarm(): void {
    this.armedAt = Infinity;
    this.armedName = null;
  }

  /** Carries out one port call. `torn` does the part of it that a crash in its middle leaves behind. */
  pass<T>(name: string, perform: () => T, torn: (() => void) | null = null): T {
    if (this.quiet) return perform();
    const isNamed = this.armedName === name && this.armedLeft-- === 0;
    if (this.calls++ !== this.armedAt && !isNamed) return perform();
    this.disarm();
    this.lastCall = `${this.moment} ${name}`;
    if (this.moment === 'after') perform();
    else if (this.moment === 'torn') torn?.();
    throw new CrashSignal(this.kind);
  }
}
