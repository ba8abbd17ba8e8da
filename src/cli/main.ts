// The command `tercet`.

import { createInterface } from 'node:readline/promises';

import type { StricliProcess } from '@stricli/core';

import { runCli } from './app.ts';
import { openScreen } from './screen.ts';

// A reader that has seen enough (`tercet status | head -1`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

async function ask(question: string): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await lines.question(`${question} [y/N] `)).trim());
  } finally {
    lines.close();
  }
}

const { env } = process;
await runCli(process.argv.slice(2), {
  // Its type says exactly the same, except for how an exit code that is not set is written.
  process: process as StricliProcess,
  env,
  colour: process.stdout.isTTY && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb',
  ask: process.stdin.isTTY ? ask : null,
  screen: process.stdin.isTTY && process.stdout.isTTY && env['TERM'] !== 'dumb' ? () => openScreen(process.stdin, process.stdout) : null,
});
