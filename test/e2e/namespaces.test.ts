// The path of somebody who has never seen this: the Debian package is installed, and examples/three-namespaces.sh makes a replicated, watched volume of it, over
// network namespaces with links that are cut. Where the system does not allow namespaces, the script says so, and that is what is tested.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { installing } from '../support/dpkg.ts';

const ROOT = join(import.meta.dirname, '../..');
const NOT_POSSIBLE = 77;

function run(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): { status: number | null; out: string } {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    timeout: 220_000,
  });
  if (error !== undefined) throw error;
  return { status, out: stdout + stderr };
}

test('from the package to a volume on three networks that outlives the cut of a link', { timeout: 240_000 }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-path-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const packed = run(process.execPath, [join(ROOT, 'scripts/package.ts'), '--fast', '--only', 'deb', '--out', folder]);
  assert.equal(packed.status, 0, packed.out);
  const deb = readdirSync(folder).find((name) => name.endsWith('.deb'));
  assert.ok(deb !== undefined);
  const root = join(folder, 'root');
  const installed = run('dpkg', installing(join(folder, deb), root));
  assert.equal(installed.status, 0, installed.out);
  // Everything comes from there, the script, too.
  const script = join(root, 'usr/share/doc/tercet/examples/three-namespaces.sh');
  const { status, out } = run(script, [], { TERCET_BIN: join(root, 'usr/bin') });
  if (status === NOT_POSSIBLE) {
    // A name for what was not run: on this system nobody can.
    assert.match(out, /^not possible here: .+/m);
    t.diagnostic(out.trim());
    assert.notEqual(process.getuid?.(), 0, out);
    return;
  }
  assert.equal(status, 0, out);
  assert.match(out, /tercet_serving\{group="db"\} 1/);
  assert.match(out, /beta serves/);
  assert.match(out, /Images are identical\./);
  assert.match(out, /tercet_rpo_breached\{group="db",peer="gamma"\} 0\n/);
  assert.match(out, /== done/);
});
