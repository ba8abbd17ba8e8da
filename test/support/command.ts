// Runs commands of `tercet` on a cluster of a test, as an administrator would.

import { runCli } from '../../src/cli/app.ts';
import type { CliContext } from '../../src/cli/context.ts';
import type { TestCluster } from './cluster.ts';

/** Runs a command; what it printed and its exit code. */
export async function tercet(cluster: TestCluster, line: string): Promise<{ code: number; out: string }> {
  let out = '';
  const write = (text: string): void => void (out += text);
  const fake: CliContext['process'] = { stdout: { write }, stderr: { write }, env: { STRICLI_NO_COLOR: '1' } };
  const words = [...line.split(' '), '--config', cluster.layout.configFile];
  await runCli(words, { process: fake, env: {}, colour: false, ask: null });
  return { code: Number(fake.exitCode ?? 0), out };
}
