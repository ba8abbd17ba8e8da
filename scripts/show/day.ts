// npm run show:day [-- --hours 24 --from-hour 0 --seed 1 --guide newest --overflow bitmap --records 0 --planted NAME]: a day of a group whose link to far comes and
// goes, simulated: how large the sidefiles are over time, and whether they are never over their maximum and cover far whenever that allows it.
// `--all`: both guides and the three overflow modes, one after the other; `--write`: puts tables and pictures into docs/internals. Fails when
// something does not hold. A day takes a minute or two of computing.

import { registerHooks } from 'node:module';
import { parseArgs } from 'node:util';

import type { DayOptions, DayResult } from '../../src/sim/day.ts';
import { plant } from '../../src/sim/planted.ts';
import { DAY_PLANTED } from '../../src/sim/planted/day.ts';
import { daySummary, dayTable, writeDays } from './day-picture.ts';

const { values } = parseArgs({
  options: {
    hours: { type: 'string', default: '24' },
    'from-hour': { type: 'string', default: '0' },
    seed: { type: 'string', default: '1' },
    guide: { type: 'string', default: 'newest' },
    overflow: { type: 'string', default: 'bitmap' },
    all: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    records: { type: 'string', default: '0' },
    planted: { type: 'string' },
  },
});

const MIB = 1024 * 1024;
const GUIDES = ['newest', 'oldest'] as const;
const OVERFLOWS = ['bitmap', 'slow', 'stop'] as const;

type Variant = Pick<DayOptions, 'guide' | 'overflow'>;

function fail(text: string): never {
  console.error(text);
  process.exit(2);
}

function pick<T extends string>(name: string, text: string, from: readonly T[]): T {
  return from.find((each) => each === text) ?? fail(`--${name} is one of ${from.join(', ')}, not "${text}"`);
}

function count(name: string, text: string): number {
  const value = Number(text);
  return text.trim() !== '' && Number.isSafeInteger(value) && value >= 0 ? value : fail(`--${name} needs a whole number, not "${text}"`);
}

/** All of them differ from the first in one thing. */
function variants(): readonly Variant[] {
  if (!values.all) return [{ guide: pick('guide', values.guide, GUIDES), overflow: pick('overflow', values.overflow, OVERFLOWS) }];
  const [guide] = GUIDES;
  return [
    ...GUIDES.map((each) => ({ guide: each, overflow: OVERFLOWS[0] })),
    ...OVERFLOWS.slice(1).map((overflow) => ({ guide, overflow })),
  ];
}

const planted = values.planted === undefined ? null : DAY_PLANTED.find(({ name }) => name === values.planted);
if (planted === undefined)
  fail(`there is no planted bug "${values.planted}"; there are: ${DAY_PLANTED.map(({ name }) => name).join(', ')}`);
// In place before the core is loaded.
if (planted !== null) registerHooks({ load: plant(planted) });
const { day } = await import('../../src/sim/day.ts');

const given = {
  seed: count('seed', values.seed),
  hours: Math.max(1, count('hours', values.hours)),
  fromHour: count('from-hour', values['from-hour']) % 24,
  leastBytes: 4 * MIB,
  mostBytes: 32 * MIB,
  ...(values.records !== '0' && { recordsMax: count('records', values.records) }),
};
const results: DayResult[] = [];
for (const variant of variants()) {
  const begun = performance.now();
  const result = day({ ...given, ...variant });
  results.push(result);
  if (!values.all) console.log(`${dayTable(result)}\n`);
  console.log(`${daySummary(result)}; ${((performance.now() - begun) / 1000).toFixed(0)} s`);
  const { violation } = result;
  if (violation !== null)
    console.log(`BROKEN after ${(violation.time / 3_600_000).toFixed(2)} hours: ${violation.rule}: ${violation.text}`);
}
if (values.write) writeDays(results);
process.exitCode = results.some(({ violation }) => violation !== null) ? 1 : 0;
