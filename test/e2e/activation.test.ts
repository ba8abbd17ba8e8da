// Sockets that are opened by others: systemd's own activator starts a site's daemon at the first connection, and libnbd's clients start `tercet
// attach` as a server of their own.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { mustRun, runTool } from '../../demo/tools.ts';
import { withCluster } from '../support/cluster.ts';

test('a daemon takes hosts at sockets that were passed to it, at those of its configuration only, and attach at one that a client has opened', async () => {
  await withCluster({}, async (test) => {
    const { layout } = test;
    const attach = [process.execPath, 'src/cli/main.ts', 'attach', test.exportName, '--config', layout.configFile];
    const info = await mustRun('nbdinfo', ['--json', '--', '[', ...attach, ']']);
    assert.match(info, /"export-size": 67108864/);
    const image = join(layout.folder, 'copy.raw');
    await mustRun('qemu-io', ['-f', 'raw', '-c', 'write -P 5 1M 64k', '-c', 'flush', test.uri('alpha')]);
    await mustRun('nbdcopy', ['--', '[', ...attach, ']', image]);
    assert.ok(
      readFileSync(image)
        .subarray(1 << 20, (1 << 20) + 65536)
        .equals(Buffer.alloc(65536, 5)),
    );

    const beta = test.member('beta');
    const { nbd, nbdSocket } = beta.layout;
    assert.ok(nbd.kind === 'tcp' && nbdSocket?.kind === 'unix');
    await beta.daemon.stop();
    const activated = (addresses: readonly string[]): ChildProcess => {
      const listen = addresses.flatMap((address) => ['-l', address]);
      const daemon = [process.execPath, 'src/daemon/main.ts', '--site', 'beta', '--config', layout.configFile];
      const child = spawn('systemd-socket-activate', [...listen, ...daemon], { stdio: ['ignore', 'ignore', 'pipe'] });
      test.onClose(async () => {
        child.kill('SIGTERM');
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      });
      return child;
    };
    const outcome = async (child: ChildProcess): Promise<[number | null, string]> => {
      let text = '';
      child.stderr?.on('data', (part: Buffer) => (text += part.toString()));
      const [code] = (await once(child, 'exit')) as [number | null];
      return [code, text];
    };
    const free = nbd.port === 65_000 ? 65_001 : 65_000;
    const stranger = activated([`127.0.0.1:${free}`]);
    const ended = outcome(stranger);
    await test.until('the daemon was started by a connection', async () => {
      await runTool('nbdinfo', [`nbd://127.0.0.1:${free}`]);
      return stranger.exitCode !== null;
    });
    const [code, text] = await ended;
    assert.equal(code, 78);
    assert.match(text, /a socket at 127\.0\.0\.1:65000 was passed to this program, which is none of/);

    const child = activated([`127.0.0.1:${nbd.port}`, nbdSocket.path]);
    // The client is there before the server: it waits, and is passed on to alpha by the daemon that its connection has started.
    await test.until(
      'beta is asked',
      async () => (await runTool('qemu-io', ['-r', '-f', 'raw', '-c', 'read -P 5 1M 64k', test.uri('beta')])).code === 0,
    );
    await mustRun('qemu-io', ['-r', '-f', 'raw', '-c', 'read -P 5 1M 64k', test.uri('beta', 'unix')]);
    await test.healed();
    child.kill('SIGTERM');
    await once(child, 'exit');
    await beta.daemon.start();
    await test.compareCopies();
  });
});
