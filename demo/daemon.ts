// One program of Tercet as a child process: started, watched, stopped in order or killed, its output in a file.

import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
const TAIL_LINES = 5;

/** How a process ended: its exit code, or the signal that ended it. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface DaemonOptions {
  /** For messages: 'alpha', 'the witness'. */
  readonly name: string;
  /** Source file of the program, relative to the repository, and its arguments. */
  readonly args: readonly [string, ...string[]];
  /** Arguments of Node.js itself. */
  readonly nodeArgs?: readonly string[];
  /** What it prints is added to this file. */
  readonly log: string;
  /** A process group of its own: Ctrl-C at the terminal then reaches only the one who started it. */
  readonly ownGroup: boolean;
  /** Resolves to true once it answers. */
  readonly isReady: () => Promise<boolean>;
  /** It ended and nobody had asked for that. */
  readonly died?: (ending: Ending) => void;
}

const READY_MILLIS = 60_000;
const READY_PAUSE_MILLIS = 25;
const STOP_MILLIS = 15_000;

/** A daemon that can be started again and again. */
export class Daemon {
  readonly #options: DaemonOptions;
  #child: ChildProcess | null = null;
  #ended: Promise<Ending> = Promise.resolve({ code: 0, signal: null });
  #endingIsWanted = false;

  constructor(options: DaemonOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  /** Process id while it runs; null otherwise. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** Resolves when the process that was started last is gone. */
  get ended(): Promise<Ending> {
    return this.#ended;
  }

  /** The command that starts it, for people. */
  get command(): string {
    const [source, ...args] = this.#options.args;
    return ['node', source, ...args].map(shellWord).join(' ');
  }

  /** Starts it and returns at once. */
  launch(): void {
    if (this.#child !== null) throw new Error(`${this.name} runs already, as process ${this.pid}`);
    const { args, nodeArgs = [], log, ownGroup, died } = this.#options;
    const [source, ...rest] = args;
    const output = openSync(log, 'a');
    const child = spawn(process.execPath, [...nodeArgs, join(ROOT, source), ...rest], {
      stdio: ['ignore', output, output],
      detached: ownGroup,
    });
    closeSync(output);
    this.#child = child;
    this.#endingIsWanted = false;
    this.#ended = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', (code, signal) => {
        this.#child = null;
        resolve({ code, signal });
        if (!this.#endingIsWanted) died?.({ code, signal });
      });
    });
  }

  /** Starts it, and resolves when it answers. Rejects with the last lines that it printed when it ends before that, or takes too long. */
  async start(): Promise<void> {
    this.launch();
    await this.ready();
  }

  /** Resolves when it answers. */
  async ready(): Promise<void> {
    const deadline = performance.now() + READY_MILLIS;
    while (!(await this.#options.isReady())) {
      if (this.#child === null) throw new Error(`${this.name} ended while it started: ${endingText(await this.#ended)}\n${this.logTail()}`);
      if (performance.now() > deadline) throw new Error(`${this.name} does not answer after ${READY_MILLIS / 1000} s\n${this.logTail()}`);
      await new Promise((resolve) => {
        setTimeout(resolve, READY_PAUSE_MILLIS);
      });
    }
  }

  /** Sends a signal; nothing if it does not run. */
  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** SIGKILL, and waits until the process is gone. */
  async kill(): Promise<void> {
    this.#endingIsWanted = true;
    this.signal('SIGKILL');
    await this.#ended;
  }

  /** SIGTERM, and waits until the process is gone; SIGKILL if that takes too long. Returns how it ended. */
  async stop(): Promise<Ending> {
    this.#endingIsWanted = true;
    this.signal('SIGTERM');
    // One that is frozen would never see it.
    this.signal('SIGCONT');
    const late = setTimeout(() => this.signal('SIGKILL'), STOP_MILLIS);
    const ending = await this.#ended;
    clearTimeout(late);
    return ending;
  }

  /** The last lines that it printed. */
  logTail(): string {
    if (!existsSync(this.#options.log)) return '';
    const lines = readFileSync(this.#options.log, 'utf8').trimEnd().split('\n').slice(-TAIL_LINES);
    return lines.map((line) => `  ${line}`).join('\n');
  }
}

/** 'exit code 1', 'SIGKILL'. */
export function endingText(ending: Ending): string {
  return ending.signal ?? `exit code ${ending.code}`;
}

/** A word as a shell takes it. */
export function shellWord(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
