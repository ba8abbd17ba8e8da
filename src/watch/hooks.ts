// Programs of the administrator's that are called at events: each file of a folder, one after the other, with a bounded time and a bounded queue.
// A hook cannot hold up a volume: it is a process of its own, and what it says decides nothing.

import { spawn } from 'node:child_process';
import { accessSync, constants, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

import type { Journal } from '../core/base/ports.ts';
import type { SiteEvent } from './events.ts';
import { EVENT_KINDS } from './events.ts';

/** A hook that lasts longer is ended. */
const HOOK_MILLIS_MAX = 10_000;
/** Calls that wait; at more, the newest are left out, and the journal says so. */
const QUEUE_MAX = 256;
/** Of what a hook prints, for the journal. */
const OUTPUT_CHARS_MAX = 500;

interface Call {
  readonly hook: string;
  readonly event: SiteEvent;
}

/** What became of calls. */
export interface HookCounts {
  done: number;
  failed: number;
  dropped: number;
}

/** Calls hooks, one at a time, in the order of the events. */
export class Hooks {
  readonly counts: HookCounts = { done: 0, failed: 0, dropped: 0 };
  /** Folder of the programs; null for none. May change while it runs. */
  folder: string | null;
  readonly #journal: Journal;
  readonly #millisMax: number;
  readonly #queue: Call[] = [];
  readonly #failed: (hook: string, text: string) => void;
  #running: Promise<void> | null = null;

  constructor(options: { folder: string | null; journal: Journal; failed: (hook: string, text: string) => void; millisMax?: number }) {
    this.folder = options.folder;
    this.#journal = options.journal;
    this.#failed = options.failed;
    this.#millisMax = options.millisMax ?? HOOK_MILLIS_MAX;
  }

  /** Puts the hook of an event, if it has one, behind those that wait. */
  call(event: SiteEvent): void {
    const { hook } = EVENT_KINDS[event.kind];
    if (hook === null || this.folder === null) return;
    if (this.#queue.length >= QUEUE_MAX) {
      if (this.counts.dropped++ === 0)
        this.#journal('hooks.full', { hook, waiting: QUEUE_MAX }, `${QUEUE_MAX} hooks wait already: newer ones are left out`);
      return;
    }
    this.#queue.push({ hook, event });
    this.#running ??= this.#run();
  }

  /** Resolves when nothing waits any more. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    // Not within the event that is being reported.
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    for (let call = this.#queue.shift(); call !== undefined; call = this.#queue.shift()) {
      for (const program of this.#programs()) await this.#one(program, call);
    }
    this.#running = null;
  }

  #programs(): readonly string[] {
    const { folder } = this;
    if (folder === null) return [];
    let names: readonly string[];
    try {
      names = readdirSync(folder).sort();
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
      if (code === 'ENOENT') return [];
      this.#journal('hooks.failed', { folder, code }, `the folder of the hooks cannot be read: ${code}`);
      return [];
    }
    return names
      .filter((name) => /^[A-Za-z0-9_.-]+$/.test(name) && !name.startsWith('.'))
      .map((name) => join(folder, name))
      .filter(isProgram);
  }

  #one(program: string, { hook, event }: Call): Promise<void> {
    return new Promise((resolve) => {
      const env = {
        ...process.env,
        TERCET_EVENT: event.kind,
        TERCET_SITE: event.site,
        TERCET_GROUP: event.group ?? '',
        TERCET_PEER: event.peer ?? '',
      };
      // A process group of its own: what the hook started ends with it.
      const child = spawn(program, [hook], { stdio: ['pipe', 'pipe', 'pipe'], env, detached: true });
      let output = '';
      let late = false;
      const hear = (part: Buffer): void => {
        if (output.length < OUTPUT_CHARS_MAX) output += part.toString('utf8');
      };
      child.stdout.on('data', hear);
      child.stderr.on('data', hear);
      // A hook need not read what it is told.
      child.stdin.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EPIPE') hear(Buffer.from(`stdin: ${error.message}`));
      });
      const deadline = setTimeout(() => {
        late = true;
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      }, this.#millisMax);
      const end = (fault: string | null): void => {
        clearTimeout(deadline);
        this.#ended(
          program,
          { hook, event },
          { fault: late ? `did not end within ${this.#millisMax / 1000} s and was ended` : fault, output },
        );
        resolve();
      };
      let started = true;
      child.on('error', (error) => {
        started = child.pid !== undefined;
        if (!started) end(`could not be started: ${error.message}`);
      });
      child.on('exit', (code, signal) => {
        // What still holds its output open may go on: nobody waits for that.
        child.stdout.destroy();
        child.stderr.destroy();
        if (started) end(code === 0 ? null : `ended with ${signal ?? `exit code ${code}`}`);
      });
      child.stdin.end(`${JSON.stringify(event)}\n`);
    });
  }

  #ended(program: string, { hook, event }: Call, { fault, output }: { fault: string | null; output: string }): void {
    if (fault === null) {
      this.counts.done++;
      return;
    }
    this.counts.failed++;
    const said = output.trim().slice(0, OUTPUT_CHARS_MAX);
    const text = `hook ${program} ${hook} ${fault}`;
    this.#journal('hook.failed', { program, hook, event: event.id, said }, text);
    this.#failed(hook, text);
  }
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // A file that is no program, or is gone again, is no hook: notes may lie in the folder, too.
    return false;
  }
}
