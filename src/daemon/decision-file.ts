// The decisions of one group at this site, kept on disk where people find them after a night: one JSON object a line, in two files of bounded
// size beside the copy. Safety rests on nothing in them, so a failing write costs entries and a line in the log, and nothing else.

import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';

import { limits } from '../core/base/limits.ts';
import type { Journal } from '../core/base/ports.ts';
import type { Decision } from '../core/site/contract.ts';
import { decisionSchema } from '../api/schema.ts';

const FILE = 'decisions.jsonl';
const OLDER_FILE = 'decisions.1.jsonl';

/** Entries that wait to be written: a disk that has hung must not fill the memory. */
const WAITING_MAX = 1000;

export class DecisionFile {
  readonly #folder: string;
  readonly #journal: Journal;
  readonly #recent: Decision[];
  #waiting: Decision[] = [];
  #bytes: number;
  #writing: Promise<void> | null = null;
  #failed = false;

  constructor(folder: string, journal: Journal) {
    mkdirSync(folder, { recursive: true });
    this.#folder = folder;
    this.#journal = journal;
    const [older, newer] = [OLDER_FILE, FILE].map((name) => readText(join(folder, name)));
    this.#bytes = Buffer.byteLength(newer ?? '');
    this.#recent = parseLines(`${older}${newer}`);
  }

  /** Oldest first, those of earlier lives of the daemon too, at most limits.decisionsKept. */
  get recent(): readonly Decision[] {
    return this.#recent;
  }

  add(decision: Decision): void {
    this.#recent.push(decision);
    if (this.#recent.length > limits.decisionsKept) this.#recent.shift();
    if (this.#failed || this.#waiting.length >= WAITING_MAX) return;
    this.#waiting.push(decision);
    this.#writing ??= this.#write().catch((error: unknown) => this.#fail(error));
  }

  /** Resolves when everything is written, or cannot be. */
  async close(): Promise<void> {
    while (this.#writing !== null) await this.#writing;
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const text = this.#waiting
        .splice(0)
        .map((decision) => `${JSON.stringify(decision)}\n`)
        .join('');
      if (this.#bytes > limits.decisionFileBytesMax) {
        renameSync(join(this.#folder, FILE), join(this.#folder, OLDER_FILE));
        this.#bytes = 0;
      }
      const file = await open(join(this.#folder, FILE), 'a', 0o640);
      try {
        await file.appendFile(text);
        await file.datasync();
      } finally {
        await file.close();
      }
      this.#bytes += Buffer.byteLength(text);
    }
    this.#writing = null;
  }

  #fail(error: unknown): void {
    this.#writing = null;
    this.#failed = true;
    this.#waiting = [];
    const reason = error instanceof Error ? error.message : String(error);
    this.#journal('decisions.failed', { reason }, `decisions are not kept on disk any more, until the next start: ${reason}`);
  }
}

function readText(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

/** The newest entries; lines that a crash has torn, or that this version does not know, are left out. */
function parseLines(text: string): Decision[] {
  const decisions: Decision[] = [];
  for (const line of text.split('\n').slice(-limits.decisionsKept - 1)) {
    if (line === '') continue;
    try {
      const parsed = decisionSchema.safeParse(JSON.parse(line));
      if (parsed.success) decisions.push(parsed.data);
    } catch (error) {
      // A torn line is what a crash in the middle of a write leaves; anything else is a fault of this program.
      if (!(error instanceof SyntaxError)) throw error;
    }
  }
  return decisions;
}
