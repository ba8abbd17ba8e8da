// `npm run docs:outcomes`: runs every event of the outcome table, and every pair, in the simulator, and writes what came of them into
// docs/GUARANTEES.md and its appendix. A minute or two of computing; the tests compare the first table, and a sample of the second.

import { readFileSync, writeFileSync } from 'node:fs';

import { eventsTable, fillOutcomes, pairRow, pairs, PAIRS_HEAD } from '../src/sim/outcomes.ts';

const pages = [
  ['docs/GUARANTEES.md', eventsTable],
  ['docs/appendix/two-events.md', () => [PAIRS_HEAD, ...pairs().map((pair) => pairRow(pair))].join('\n')],
] as const;
for (const [path, make] of pages) {
  const page = new URL(`../${path}`, import.meta.url);
  writeFileSync(page, fillOutcomes(readFileSync(page, 'utf8'), make()));
  console.log(`wrote the outcomes of ${path}`);
}
