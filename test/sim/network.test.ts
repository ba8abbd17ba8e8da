// The simulated network carries each connection's bytes in order, holds them back while a path is cut, and lets the bytes of a dead connection
// arrive late, as real networks do.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { LinkPort } from '../../src/core/base/ports.ts';
import { Gate } from '../../src/sim/gate.ts';
import { Network, type Station } from '../../src/sim/network.ts';
import { World } from '../../src/sim/world.ts';

class FakeStation implements Station {
  readonly name: string;
  readonly gate = new Gate();
  powered = true;
  listening = true;
  life = 1;
  readonly received: string[] = [];
  readonly ports: LinkPort[] = [];
  constructor(name: string) {
    this.name = name;
  }
  enter(_what: string, life: number, run: () => void): void {
    if (life === this.life) run();
  }
  accept(port: LinkPort): { receive(bytes: Uint8Array): void; closed(): void } {
    const number = this.ports.push(port);
    return this.receiver(String(number));
  }
  receiver(label: string): { receive(bytes: Uint8Array): void; closed(): void } {
    return {
      receive: (bytes) => void this.received.push(`${label}:${new TextDecoder().decode(bytes)}`),
      closed: () => void this.received.push(`${label}:closed`),
    };
  }
  get text(): string {
    return this.received.map((item) => item.slice(item.indexOf(':') + 1)).join('');
  }
}

function connect(
  seed: number,
  nature: { split: number; rate?: number; silentMillis?: number } = { split: 0 },
): { world: World; network: Network; a: FakeStation; b: FakeStation; dial: () => LinkPort } {
  const world = new World(seed);
  const network = new Network(world, {
    latency: 1,
    jitter: 1,
    rate: nature.rate ?? 1e9,
    dialMillis: 500,
    split: nature.split,
    silentMillis: nature.silentMillis ?? 1e9,
  });
  const a = new FakeStation('a');
  const b = new FakeStation('b');
  const dial = (): LinkPort => {
    let port: LinkPort | null = null;
    network.dial(a, b, (dialled) => {
      if (dialled === null) return;
      port = dialled.port;
      dialled.attach(a.receiver('own'));
    });
    world.runUntil(world.now + 50);
    assert.ok(port !== null);
    return port;
  };
  return { world, network, a, b, dial };
}

function send(port: LinkPort, text: string, sent?: () => void): void {
  port.send([new TextEncoder().encode(text)], sent);
}

describe('the simulated network', () => {
  test('keeps the order of a stream, however it is cut into pieces', () => {
    for (let seed = 1; seed <= 30; seed++) {
      const { world, b, dial } = connect(seed, { split: 0.5, rate: 3 });
      const port = dial();
      for (let i = 0; i < 20; i++) send(port, `<${i}>`, i % 2 === 0 ? () => undefined : undefined);
      world.runUntil(world.now + 1000);
      assert.equal(b.text, Array.from({ length: 20 }, (_, i) => `<${i}>`).join(''));
      assert.equal(port.backlogBytes, 0);
    }
  });

  test('holds bytes back during a cut and delivers them after it, behind those of a newer connection too', () => {
    const { world, network, b, dial } = connect(2);
    const first = dial();
    network.block('a', 'b');
    send(first, 'old');
    world.runUntil(world.now + 100);
    assert.equal(b.text, '');
    first.close();
    network.open('a', 'b');
    const second = dial();
    send(second, 'new');
    world.runUntil(world.now + 2000);
    assert.equal(b.ports.length, 2);
    assert.ok(b.text.includes('new'));
    // Closing may drop what had not arrived, in which case only the end of the stream comes.
    assert.ok(b.received.includes('1:old') || b.received.includes('1:closed'));
  });

  test('tells the other side when a process ends, and nothing when power is lost', () => {
    const { world, network, b, dial } = connect(3);
    dial();
    network.processEnded('a');
    world.runUntil(world.now + 100);
    assert.ok(b.received.includes('1:closed'));
    dial();
    network.powerLost('a');
    world.runUntil(world.now + 10_000);
    assert.ok(!b.received.includes('2:closed'));
  });

  test('a machine that has come back refuses bytes for a connection that it does not know', () => {
    const { world, network, a, b, dial } = connect(4);
    dial();
    network.powerLost('a');
    const port = b.ports[0] as LinkPort;
    a.powered = false;
    send(port, 'into the void');
    world.runUntil(world.now + 100);
    assert.ok(!b.received.includes('1:closed'));
    a.powered = true;
    send(port, 'anybody there?');
    world.runUntil(world.now + 100);
    assert.ok(b.received.includes('1:closed'));
  });

  test('a connection on which nothing arrives is closed after a while', () => {
    const { world, network, a, b, dial } = connect(8, { split: 0, silentMillis: 5000 });
    dial();
    network.powerLost('b');
    b.powered = false;
    world.runUntil(world.now + 4000);
    assert.ok(!a.received.includes('own:closed'));
    world.runUntil(world.now + 2000);
    assert.ok(a.received.includes('own:closed'));
  });

  test('a stalled connection is silent and then goes on', () => {
    const { world, network, b, dial } = connect(5);
    const port = dial();
    assert.ok(network.stall('a', 'b', 500));
    send(port, 'late');
    world.runUntil(world.now + 400);
    assert.equal(b.text, '');
    world.runUntil(world.now + 400);
    assert.equal(b.text, 'late');
  });

  test('memory handed over with a callback is read late: changing it before the callback shows', () => {
    const { world, b, dial } = connect(6, { split: 0, rate: 0.1 });
    const port = dial();
    const memory = new TextEncoder().encode('before');
    let sent = false;
    port.send([memory], () => {
      sent = true;
    });
    assert.equal(sent, false);
    memory.set(new TextEncoder().encode('change'));
    world.runUntil(world.now + 1000);
    assert.ok(sent);
    assert.equal(b.text, 'change');
  });

  test('nobody can be reached across a cut or without power', () => {
    const { world, network, a, b } = connect(7);
    const outcomes: boolean[] = [];
    network.block('b', 'a');
    network.dial(a, b, (dialled) => outcomes.push(dialled !== null));
    world.runUntil(world.now + 5000);
    network.open('b', 'a');
    b.powered = false;
    network.dial(a, b, (dialled) => outcomes.push(dialled !== null));
    world.runUntil(world.now + 5000);
    assert.deepEqual(outcomes, [false, false]);
  });
});
