// `npm run spec`: explores the model within bounds, and then each mutation, which has to break the invariant that is named for it.
//   --depth N         more of everything that goes wrong (1 is what the tests run)
//   --scope NAME      only that scope; may be given several times
//   --mutation NAME   only that mutation, with its whole story; `none`: no mutation
//   --states N        how many states of a scope are looked at, at most

import { parseArgs } from 'node:util';

import { MUTATIONS, SCOPE_NAMES, type ScopeName, scopeOf } from './scopes.ts';
import { explore } from './search.ts';
import type { Scope } from './world.ts';

const { values } = parseArgs({
  options: {
    depth: { type: 'string', default: '1' },
    scope: { type: 'string', multiple: true },
    mutation: { type: 'string' },
    states: { type: 'string', default: '1000000' },
  },
});
const depth = Number(values.depth);
const statesMax = Number(values.states);
const scopes = (values.scope ?? SCOPE_NAMES) as readonly string[];
const unknown = [
  ...scopes.filter((name) => !SCOPE_NAMES.some((each) => each === name)),
  ...(values.mutation === undefined || values.mutation === 'none' || MUTATIONS.some(({ name }) => name === values.mutation)
    ? []
    : [values.mutation]),
];
if (unknown.length > 0 || !(depth >= 1) || !(statesMax >= 1)) {
  console.error(
    `unknown: ${unknown.join(', ')}; scopes: ${SCOPE_NAMES.join(', ')}; mutations: ${MUTATIONS.map(({ name }) => name).join(', ')}`,
  );
  process.exit(2);
}

/** Explores, prints one line, and returns whether it went as it must. */
function look(name: ScopeName, mutation: string | null, breaks: string | null, within: Partial<Scope> = {}): boolean {
  const begun = performance.now();
  const { states, complete, fault } = explore({ ...scopeOf(name, depth), ...within }, { mutation, statesMax });
  const took = `${((performance.now() - begun) / 1000).toFixed(1)} s`;
  const asExpected = (fault?.invariant ?? null) === breaks;
  const what = fault === null ? (complete ? 'all hold' : 'all hold so far') : `${fault.invariant}: ${fault.why}`;
  console.log(
    `${asExpected ? 'ok  ' : 'BAD '} ${name.padEnd(10)} ${(mutation ?? '-').padEnd(28)} ${String(states).padStart(9)} states ${took.padStart(8)}  ${what}`,
  );
  if (fault !== null && (!asExpected || values.mutation !== undefined)) console.log(fault.story.map((step) => `       ${step}`).join('\n'));
  return asExpected;
}

let bad = 0;
const only = values.mutation;
if (only === undefined || only === 'none')
  for (const name of SCOPE_NAMES.filter((each) => scopes.includes(each))) if (!look(name, null, null)) bad++;
for (const { name, scope, breaks, within } of MUTATIONS)
  if (scopes.includes(scope) && (only === undefined || only === name)) if (!look(scope, name, breaks, within)) bad++;
if (bad > 0) console.error(`${bad} of them not as it must be`);
process.exitCode = bad > 0 ? 1 : 0;
