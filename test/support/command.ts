// Runs commands of `tercet` against a test cluster, in this process, as a terminal would see them.

import type { CliContext } from '../../src/cli/context.ts';
import { runCli } from '../../src/cli/app.ts';
import type { TestCluster } from './cluster.ts';

/** What a command came to. */
interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command with the cluster's configuration, where it takes one. */
export async function tercet(cluster: TestCluster, line: string): Promise<Outcome> {
  let out = '';
  let err = '';
  const fake: CliContext['process'] = {
    stdout: { write: (text: string) => void (out += text) },
    stderr: { write: (text: string) => void (err += text) },
    env: { STRICLI_NO_COLOR: '1' },
  };
  const config = line.startsWith('witness restore') ? [] : ['--config', cluster.layout.configFile];
  await runCli([...line.split(' '), ...config], { process: fake, env: {}, colour: false, ask: null });
  return { code: Number(fake.exitCode ?? 0), out, err };
}
