// Foreign programs, such as qemu-img and e2fsck: found where they are, run, and their output kept.

import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

// An ordinary user's PATH leaves out the folders where Debian keeps mke2fs and e2fsck.
const FOLDERS = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];

/** Path of a program, which is given by its name or its path; null when it is not installed. */
export function findTool(name: string): string | null {
  for (const folder of name.includes('/') ? [''] : FOLDERS) {
    const path = folder === '' ? name : join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder: the next one.
    }
  }
  return null;
}

/** What a program did. */
export interface ToolResult {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;

/** Runs a program to its end. Rejects only when it cannot be started, or does not end in time and has been killed. */
export function runTool(name: string, args: readonly string[], options: { millisMax?: number; cwd?: string } = {}): Promise<ToolResult> {
  const { millisMax = 120_000 } = options;
  return new Promise((resolve, reject) => {
    const path = findTool(name);
    if (path === null) {
      reject(new Error(`${name} is not installed`));
      return;
    }
    const child = spawn(path, args, { stdio: ['ignore', 'pipe', 'pipe'], ...(options.cwd !== undefined && { cwd: options.cwd }) });
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8');
      child[stream].on('data', (text: string) => {
        if (output[stream].length < OUTPUT_BYTES_MAX) output[stream] += text;
      });
    }
    let late = false;
    const deadline = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, millisMax);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(deadline);
      if (late) reject(new Error(`${name} ${args.join(' ')} did not end within ${millisMax / 1000} s\n${output.stdout}${output.stderr}`));
      else resolve({ code, signal, ...output });
    });
  });
}

/** Runs a program that must succeed, and returns its standard output. Rejects with everything that it printed. */
export async function mustRun(name: string, args: readonly string[], options: { millisMax?: number; cwd?: string } = {}): Promise<string> {
  const { code, signal, stdout, stderr } = await runTool(name, args, options);
  if (code === 0) return stdout;
  throw new Error(`${name} ${args.join(' ')} ended with ${signal ?? `exit code ${code}`}\n${stdout}${stderr}`);
}
