// Runs commands of `tercet` against a test cluster, in this process, as a terminal would see them.

import type { CliContext } from '../../src/cli/context.ts';
import { runCli } from '../../src/cli/app.ts';
import type { TestCluster } from './cluster.ts';

/** What a command came to. */
interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** Both, in the order in which they were printed. */
  readonly text: string;
}

/** Runs a command with the cluster's configuration, where it takes one. */
export async function tercet(cluster: TestCluster, line: string): Promise<Outcome> {
  let out = '';
  let err = '';
  let text = '';
  const fake: CliContext['process'] = {
    stdout: { write: (more: string) => void ((out += more), (text += more)) },
    stderr: { write: (more: string) => void ((err += more), (text += more)) },
    env: { STRICLI_NO_COLOR: '1' },
  };
  const config = /^(witness restore|cert) /.test(line) ? [] : ['--config', cluster.layout.configFile];
  await runCli([...line.split(' '), ...config], { process: fake, env: {}, colour: false, ask: null });
  return { code: Number(fake.exitCode ?? 0), out, err, text };
}
