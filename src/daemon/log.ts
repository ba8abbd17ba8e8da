// Lines for people and machines: one JSON object each, on standard error, for transitions only. A fast data path never logs.

import type { DestinationStream } from 'pino';
import { destination, pino, stdTimeFunctions } from 'pino';

import type { Journal } from '../core/base/ports.ts';

/** A journal whose lines carry these facts, such as the site. Lines are written at once, so that the last one before an end is not lost. */
export function createJournal(facts: Readonly<Record<string, unknown>>, stream: DestinationStream = standardError()): Journal {
  const log = pino({ base: facts, timestamp: stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } }, stream);
  return (event, more, text) => {
    if (isTrouble(event)) log.error({ event, ...more }, text);
    else log.info({ event, ...more }, text);
  };
}

/** The same journal, with more facts in each line. */
export function journalWith(journal: Journal, facts: Readonly<Record<string, unknown>>): Journal {
  return (event, more, text) => journal(event, { ...facts, ...more }, text);
}

/** Events that somebody should look at. */
function isTrouble(event: string): boolean {
  return /(^|[.-])(failed|failure|fatal|damaged|late)$/.test(event);
}

/** Levels of syslog, which journald takes from the beginning of a line. */
const PRIORITIES = [
  ['"level":"error"', '<3>'],
  ['"level":"info"', '<6>'],
] as const;

/** Where journald reads the lines, each begins with its priority; elsewhere it is JSON and nothing else. */
function standardError(): DestinationStream {
  const stream = plainError();
  if ((process.env['JOURNAL_STREAM'] ?? '') === '') return stream;
  return {
    write: (line) => {
      const priority = PRIORITIES.find(([level]) => line.startsWith(`{${level}`))?.[1] ?? '<6>';
      stream.write(`${priority}${line}`);
    },
  };
}

function plainError(): DestinationStream {
  const stream = destination({ fd: 2, sync: true });
  // Whoever read the lines may go away; the volumes are served all the same.
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  return stream;
}
