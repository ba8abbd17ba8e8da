// Traces of the model, replayed against the real core: everything that the core does is one of the things that the model allows, most of what a trace
// has a site do is done by it, and a core that leaves a rule out is told from the model.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'node:test';

import { type ReplayedTrace, replay, replayMany } from '../../src/sim/replay/replay.ts';

const MAIN = fileURLToPath(new URL('../../src/sim/main.ts', import.meta.url));
const TRACES = 120;
/** Core bugs of src/sim/planted.ts that one of the first traces meets. */
const PLANTED = ['claim leaves the other flags true', 'acknowledges before the peer holds it', 'unclean copy claims'];

describe("the model's traces", () => {
  test('lead the core to nothing that the model forbids, and the core takes the steps that they are made of', () => {
    const taken = new Map<string, number>();
    const explained = new Set<string>();
    replayMany(TRACES, 1, (told: ReplayedTrace) => {
      assert.equal(told.violation, null, `trace ${told.seed}: ${told.violation?.text}`);
      for (const kind of told.taken) taken.set(kind, (taken.get(kind) ?? 0) + 1);
      for (const kind of told.explained) explained.add(kind);
      return true;
    });
    const steps = [
      'X acknowledges write n',
      'X hears what became of its claim',
      'X hears what became of its exclude',
      'the answer to the claim of X is lost',
      'X joins X',
      'X has caught up and is clean',
      'X finds its primary gone',
      'X loses its power',
      'X takes over',
    ];
    assert.deepEqual(
      steps.filter((kind) => (taken.get(kind) ?? 0) < 2),
      [],
    );
    assert.deepEqual(
      ['X asks to admit X', 'X hears what became of its admit', 'X takes from X what it lacks', 'a claim of X arrives late'].filter(
        (kind) => !explained.has(kind),
      ),
      [],
    );
  });

  test('are replayed twice the same', () => {
    const trace = [
      'A takes write 1',
      'the link is cut',
      'A begins to exclude B',
      'A asks to exclude B',
      'A hears what became of its exclude',
    ];
    const [first, again] = [replay(7, 'pair', trace), replay(7, 'pair', trace)];
    assert.equal(first.violation, null, first.violation?.text);
    assert.deepEqual(first.taken, [
      'X takes write n',
      'the link is cut',
      'X begins to exclude X',
      'X asks to exclude X',
      'X hears what became of its exclude',
    ]);
    assert.equal(first.events, again.events);
  });

  for (const name of PLANTED) {
    test(`tell a core from the model that has this bug: ${name}`, () => {
      const found = spawnSync(process.execPath, [MAIN, '--traces', '25', '--planted', name], { encoding: 'utf8' });
      assert.equal(found.status, 1, found.stderr);
      assert.match(found.stdout, /model: no way leads to it/);
    });
  }
});
