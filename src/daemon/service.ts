// The life of a daemon's process: it starts or says in one line why not, ends in order at a signal and in bounded time, and ends at once when
// a rule of the program itself was broken.

import { isMainThread } from 'node:worker_threads';

import { InvariantError } from '../core/base/assert.ts';
import { EXIT, TercetError } from '../core/base/errors.ts';
import type { Journal } from '../core/base/ports.ts';
import { endProcess } from '../host/libc.ts';
import { ServiceManager } from '../host/service-manager.ts';

/** Something that runs until it is closed. */
export interface Running {
  close(): Promise<void>;
  /** Reads its configuration again at SIGHUP, and says in the log what became of it. Without it SIGHUP ends the program. */
  reload?(): void;
  /** One line for the service manager's overview. */
  summary?(): string;
  /** Whether all of it answers; the service manager hears nothing while it does not. */
  isAlive?(): boolean;
  /** Groups that have not ended in order, so far. */
  unended?(): readonly string[];
}

/** As who ends a daemon that its manager would kill. */
const BY_WATCHDOG = 'WATCHDOG';
const END_SIGNALS = ['SIGTERM', 'SIGINT'] as const;
/** Between two lines of overview for the service manager. */
const SUMMARY_MILLIS = 5_000;
/** A shutdown that lasts longer has hung, on a dead disk say: the process ends without it, and the next start recovers. */
const SHUTDOWN_MILLIS_MAX = 10_000;

/**
 * Runs a daemon. Never returns while it runs: the process exits with 0 after SIGTERM or SIGINT and an orderly end, 1 when that took too long or a group
 * was not waited for, 70 after a broken invariant, and with the error's own code when the start failed.
 */
export async function runService(log: Journal, start: () => Promise<Running>): Promise<never> {
  process.on('uncaughtException', (error) => dieOf(log, error));
  const manager = ServiceManager.open(process.env);
  let running: Running | null = null;
  let endBy = (_signal: string): void => {};
  const signalled = new Promise<string>((resolve) => {
    endBy = resolve;
    for (const signal of END_SIGNALS) process.once(signal, () => resolve(signal));
    process.on('SIGHUP', () => {
      // While it starts, everything is read anyway.
      if (running === null) return;
      if (running.reload === undefined) resolve('SIGHUP');
      else reloadWithNotice(running.reload.bind(running), manager);
    });
  });
  try {
    running = await start();
  } catch (error) {
    if (!(error instanceof TercetError)) return dieOf(log, error);
    log('start.failed', { code: error.code }, error.message);
    return process.exit(error.exit);
  }
  const end = tellManager(manager, running, () => endBy(BY_WATCHDOG));
  const signal = await signalled;
  end();
  manager?.tell({ STOPPING: '1' });
  log('stopping', { signal }, `stopping because of ${signal}`);
  const ends = running;
  const unended = (): readonly string[] => ends.unended?.() ?? [];
  const seconds = SHUTDOWN_MILLIS_MAX / 1000;
  const deadline = setTimeout(() => endLate(log, unended(), `the shutdown did not end within ${seconds} s`), SHUTDOWN_MILLIS_MAX);
  await ends.close();
  clearTimeout(deadline);
  if (unended().length > 0) return endLate(log, unended(), 'everything else has ended in order');
  log('stopped', {}, 'stopped');
  // Nobody has asked for this end: the manager is to start it again, also if what hung has come back in time to end in order.
  return process.exit(signal === BY_WATCHDOG ? EXIT.failed : EXIT.done);
}

/** Says which groups have not ended in order, and ends the process at once: to wait for a thread that has hung would be to hang. */
function endLate(log: Journal, groups: readonly string[], text: string): never {
  const whose = groups.length === 0 ? '' : `; late: ${groups.join(', ')}, which the next start recovers`;
  log('stop.late', { groups }, `${text}${whose}`);
  endProcess(EXIT.failed);
  process.exit(EXIT.failed);
}

/**
 * Says that the process is ready, and then again and again that it is alive and how it is. Returns what ends that. `doomed`: it has not been alive for half of
 * the time after which the manager kills it: what can end in order is to do so now.
 */
function tellManager(manager: ServiceManager | null, running: Running, doomed: () => void): () => void {
  if (manager === null) return () => {};
  const status = (): Record<string, string> => (running.summary === undefined ? {} : { STATUS: running.summary() });
  manager.tell({ READY: '1', MAINPID: String(process.pid), ...status() });
  const summary = setInterval(() => manager.tell(status()), SUMMARY_MILLIS);
  let aliveAt = performance.now();
  const tellAlive = (): void => {
    const now = performance.now();
    if (running.isAlive === undefined || running.isAlive()) {
      aliveAt = now;
      manager.tell({ WATCHDOG: '1' });
    } else if (now - aliveAt > (manager.watchdogMillis ?? Infinity) / 2) doomed();
  };
  const alive = manager.watchdogMillis === null ? null : setInterval(tellAlive, manager.watchdogMillis / 10);
  return () => {
    clearInterval(summary);
    if (alive !== null) clearInterval(alive);
  };
}

function reloadWithNotice(reload: () => void, manager: ServiceManager | null): void {
  const micros = String(process.hrtime.bigint() / 1000n);
  manager?.tell({ RELOADING: '1', MONOTONIC_USEC: micros });
  reload();
  manager?.tell({ READY: '1' });
}

/** One line, and the end, from any thread: whatever threw, the state that it left behind is one that nobody has thought about. */
export function dieOf(log: Journal, error: unknown): never {
  const text = error instanceof Error ? error.message : String(error);
  const facts = {
    code: 'TERCET_INVARIANT',
    name: error instanceof Error ? error.name : typeof error,
    stack: error instanceof Error ? error.stack : null,
    ...(error instanceof InvariantError && { facts: error.facts }),
  };
  log('fatal', facts, new TercetError('TERCET_INVARIANT', { text }).message);
  // Before exit(), which waits for every thread, also for one that is stuck in a call of the system.
  endProcess(EXIT.invariant);
  if (isMainThread) process.exit(EXIT.invariant);
  // Without the C library only the thread ends, and the main thread does the rest.
  throw error;
}
