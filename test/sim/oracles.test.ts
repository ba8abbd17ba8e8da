// Oracles of joining and of adopting, played by hand: what they report, and what they must not.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { History } from '../../src/core/base/position.ts';
import type { Role } from '../../src/core/site/contract.ts';
import { adopt } from '../../src/sim/check/adopt.ts';
import { join } from '../../src/sim/check/join.ts';
import type { Inspection, Rule, Scene, SeenSite } from '../../src/sim/check/observe.ts';
import { Truth } from '../../src/sim/check/truth.ts';
import type { WitnessStep } from '../../src/sim/witness.ts';

/** What a site looks like to the oracles. */
interface Looks {
  role: Role;
  history: History;
  durableHistory?: History;
  received?: number;
}

const FIRST: History = [{ epoch: 1, firstSeq: 1 }];
const since = (firstSeq: number): History => [...FIRST, { epoch: 2, firstSeq }];

/** A run of one oracle: sites change, and it looks at them. */
class Play {
  readonly complaints: string[] = [];
  readonly #rule: Rule;
  readonly #scene: Scene;
  readonly #world = { now: 0, fail: (rule: string, text: string) => this.complaints.push(`${rule}: ${text}`) };
  readonly #sites = new Map<string, SeenSite>();

  constructor(rule: Rule, witnessEpoch = 2) {
    this.#rule = rule;
    const sites = ['prim', 'near', 'far'].map((name) => {
      const site = { name, role: 'starting', inside: null, machine: { life: 1 } } as unknown as SeenSite;
      this.#sites.set(name, site);
      return site;
    });
    const scene = { world: this.#world, sites, truth: new Truth([1]), witness: { epoch: witnessEpoch }, forced: false, calmSince: 0 };
    this.#scene = { ...scene, connectedSince: () => 0 } as unknown as Scene;
  }

  look(name: string, at: number, { role, history, durableHistory = history, received = 0 }: Looks): void {
    this.#world.now = at;
    const site = this.#sites.get(name) as SeenSite;
    const epochOf = (list: History): number => list.at(-1)?.epoch ?? 0;
    site.role = role;
    site.inside = {
      history,
      durableHistory,
      epoch: epochOf(history),
      durableEpoch: epochOf(durableHistory),
      consistent: true,
      marks: { oldest: 1, destaged: 0, destageTarget: 0, committed: 0, durable: received, received },
      chainAt: () => null,
    } as unknown as Inspection;
    this.#rule.afterEvent?.(this.#scene, site);
  }

  end(name: string): void {
    const site = this.#sites.get(name) as SeenSite;
    site.inside = null;
    this.#rule.ended?.(this.#scene, site, 'crash');
  }

  granted(name: string, at: number): void {
    this.#world.now = at;
    const step = { operation: { kind: 'claim', from: name }, reply: { outcome: 'done' } } as unknown as WitnessStep;
    this.#rule.witnessStep?.(this.#scene, step);
  }
}

describe('an epoch begins at one record', () => {
  test('wherever it is on a disk', () => {
    const play = new Play(join());
    play.look('near', 1, { role: 'primary', history: since(3) });
    play.look('prim', 2, { role: 'standby', history: since(4) });
    assert.match(play.complaints[0] ?? '', /prim has epoch 2 begin at record 4, another copy at 3/);
  });

  test('also for one that has it in memory only', () => {
    const play = new Play(join());
    play.look('near', 1, { role: 'primary', history: since(3) });
    play.look('prim', 2, { role: 'claiming', history: since(4), durableHistory: FIRST });
    assert.match(play.complaints[0] ?? '', /prim has epoch 2 begin at record 4, another copy at 3/);
  });

  test('but one that was granted and whose begin never came to a disk has begun nowhere', () => {
    const play = new Play(join());
    play.look('near', 1, { role: 'claiming', history: since(3), durableHistory: FIRST });
    play.end('near');
    play.look('prim', 2, { role: 'primary', history: since(4) });
    play.look('near', 3, { role: 'mirror', history: since(4) });
    assert.deepEqual(play.complaints, []);
  });

  test('and nobody leads or follows in it before', () => {
    for (const role of ['primary', 'mirror'] as const) {
      const play = new Play(join());
      play.look('near', 1, { role, history: since(3), durableHistory: FIRST });
      assert.match(play.complaints[0] ?? '', /in epoch 2, and on its disk it is in epoch 1/);
    }
  });

  test('nor is it one that no witness gave', () => {
    const play = new Play(join(), 1);
    play.look('near', 1, { role: 'claiming', history: since(3), durableHistory: FIRST });
    assert.match(play.complaints[0] ?? '', /which the witness never gave/);
  });
});

describe('who claims has taken what another survivor holds', () => {
  const standby = (received: number): Looks => ({ role: 'standby', history: FIRST, received });
  const claiming = (received: number): Looks => ({ role: 'claiming', history: FIRST, received });

  test('if they could compare for long enough', () => {
    const play = new Play(adopt());
    play.look('far', 0, standby(4));
    play.look('near', 0, standby(3));
    play.look('near', 1000, claiming(3));
    assert.deepEqual(play.complaints, [], 'a claim that is never granted cuts nothing');
    play.granted('near', 1100);
    assert.match(play.complaints[0] ?? '', /near claims with records up to 3, though far/);
  });

  test('also when it has to ask again, restarts included', () => {
    const play = new Play(adopt());
    play.look('far', 0, standby(4));
    play.look('near', 0, standby(3));
    play.look('near', 1000, claiming(3));
    play.end('near');
    play.look('near', 1200, { ...claiming(3), role: 'starting' });
    play.look('near', 1300, claiming(3));
    play.granted('near', 1400);
    assert.equal(play.complaints.length, 1);
  });

  test('but not what that one has got only after the decision, however late the claim is granted', () => {
    const play = new Play(adopt());
    play.look('far', 0, standby(3));
    play.look('near', 0, standby(3));
    play.look('near', 1000, claiming(3));
    play.look('far', 1100, standby(4));
    play.granted('near', 3000);
    assert.deepEqual(play.complaints, []);
  });

  test('nor what one holds that it has been connected to for a moment only', () => {
    const play = new Play(adopt());
    play.look('near', 0, standby(3));
    play.look('far', 900, standby(4));
    play.look('near', 1000, claiming(3));
    play.granted('near', 3000);
    assert.deepEqual(play.complaints, []);
  });

  test('and it is judged anew when it decides anew', () => {
    const play = new Play(adopt());
    play.look('far', 0, standby(4));
    play.look('near', 0, standby(3));
    play.look('near', 1000, claiming(3));
    play.look('near', 2000, standby(3));
    play.look('near', 2100, standby(4));
    play.look('near', 3000, claiming(4));
    play.granted('near', 3100);
    assert.deepEqual(play.complaints, []);
  });
});
