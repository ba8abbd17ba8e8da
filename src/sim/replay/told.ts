// `npm run sim -- --traces N`: replays traces, and tells what the core took of them and what of the model was met.

import { replay, replayMany } from './replay.ts';

/** Replays so many traces of each kind in turn. Returns the exit code: 1 when the core did what the model forbids. */
export function replayAll(count: number, from: number, isTraced: boolean): number {
  const taken = new Map<string, number>();
  const passed = new Map<string, number>();
  const explained = new Set<string>();
  const sums = { traces: 0, events: 0, looked: 0, faults: 0 };
  const begun = process.cpuUsage().user;
  replayMany(count, from, (told) => {
    sums.traces++;
    sums.events += told.events;
    sums.looked += told.looked;
    for (const kind of told.taken) taken.set(kind, (taken.get(kind) ?? 0) + 1);
    for (const kind of told.passed) passed.set(kind, (passed.get(kind) ?? 0) + 1);
    for (const kind of told.explained) explained.add(kind);
    const { violation, seed, scope, trace } = told;
    if (violation === null) return true;
    sums.faults++;
    console.log(`trace ${seed} (${scope}), at ${violation.time.toFixed(3)} ms, ${violation.rule}: ${violation.text}`);
    console.log(`    npm run sim -- --traces 1 --from ${seed} --trace`);
    if (isTraced) replay(seed, scope, trace, (line) => console.log(line));
    return sums.faults < 5;
  });
  for (const kind of [...new Set([...taken.keys(), ...passed.keys()])].sort())
    console.log(
      `${kind.padEnd(44)} taken ${String(taken.get(kind) ?? 0).padStart(6)}, passed over ${String(passed.get(kind) ?? 0).padStart(6)}`,
    );
  console.log(`steps of the model met: ${[...explained].sort().join('; ')}`);
  const seconds = ((process.cpuUsage().user - begun) / 1e6).toFixed(1);
  console.log(
    `${sums.traces} traces, ${sums.faults} not allowed by the model; ${sums.events} events, ${sums.looked} states of the model looked at, ${seconds} s of processor time`,
  );
  return sums.faults === 0 ? 0 : 1;
}
