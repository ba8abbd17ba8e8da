// Points by name at one site: how they are made, attached, lost and removed, and what readers of one that is gone get.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { limits } from '../../../src/core/base/limits.ts';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import type { BlockExtent, HostCommand, HostError, HostRequest } from '../../../src/core/site/contract.ts';
import { PointDesk } from '../../../src/core/site/points.ts';
import { ReplicaRig, write } from '../../support/replica-rig.ts';

interface Answer {
  readonly error: HostError;
  readonly bytes: Uint8Array | null;
  readonly extents: readonly BlockExtent[];
}

/** A desk over a replica, and a client of it. */
class Desk {
  readonly rig = new ReplicaRig({ capacityBytes: 256 * 1024 }).start();
  readonly ended: string[] = [];
  readonly answers: Answer[] = [];
  /** What the journal was told. */
  readonly lost: string[] = [];
  isOpen = true;
  /** Whether hosts are served here; null where another site is primary. */
  serves: boolean | null = null;
  readonly desk: PointDesk;

  constructor() {
    const journal = (event: string, { name, why }: Readonly<Record<string, unknown>>): void =>
      void this.lost.push(`${event} ${String(name)}: ${String(why)}`);
    const options = { group: 'db', site: 'here', buffers: this.rig.buffers, journal, shell: { wake: () => undefined } };
    const clock = { now: () => this.rig.now, wall: () => 1_700_000_000_000 + this.rig.now };
    this.desk = new PointDesk({
      options: { ...options, clock } as never,
      replica: () => (this.isOpen ? this.rig.replica : null),
      lead: () => (this.serves === null ? null : { mayServe: () => this.serves === true }),
    });
    this.desk.onEnded = (id, why) => this.ended.push(`${id} ${why}`);
  }

  write(block: number, fill: number): void {
    this.rig.append([write(1, block, 1, fill)]);
    this.rig.replica.commit(this.rig.reference.end);
  }

  make(name: string, at: Parameters<PointDesk['create']>[0]['at'] = null): number {
    const outcome = this.desk.create({ name, at });
    assert.equal(outcome.kind, 'done', JSON.stringify(outcome));
    const found = this.desk.find(name);
    assert(typeof found !== 'string');
    return found.id;
  }

  refused(name: string): string {
    const outcome = this.desk.create({ name, at: null });
    assert(outcome.kind === 'refused');
    return outcome.text;
  }

  /** Everything that is due happens. */
  goOn(): void {
    for (let i = 0; i < 4; i++) {
      this.rig.now += 1000;
      this.rig.replica.flush();
      this.rig.storage.settle();
      this.rig.replica.work(this.rig.now);
      this.rig.storage.settle();
    }
  }

  ask(id: number, command: HostCommand = 'read', blocks = 1, offset = 0): void {
    const session = {
      reply: (_request: HostRequest, error: HostError, data?: Uint8Array | null) =>
        this.answers.push({ error, bytes: data?.slice() ?? null, extents: [] }),
      replyStatus: (_request: HostRequest, extents: readonly BlockExtent[]) => this.answers.push({ error: 0, bytes: null, extents }),
    };
    const plain = { fua: false, noHole: false, payload: null, seq: 0, needSeq: 0, data: null, startedMillis: 0 };
    this.desk.request({ ...plain, session, command, volume: 1, offset, length: blocks * BLOCK_BYTES }, id);
  }

  /** What the only answer says. */
  told(): Answer {
    assert.equal(this.answers.length, 1);
    return this.answers.pop() as Answer;
  }

  /** Why it cannot be attached. */
  why(name: string): string {
    const found = this.desk.find(name);
    assert(typeof found === 'string');
    return found;
  }

  state(name: string): string {
    const found = this.desk.status().find((point) => point.name === name);
    return found === undefined ? 'none' : `${found.state} ${found.seq} ${found.connections}`;
  }
}

test('a point is made by name, read while hosts go on, and removed: its readers get errors from then on', () => {
  const desk = new Desk();
  desk.write(0, 1);
  const id = desk.make('noon');
  assert.equal(desk.state('noon'), 'preparing 1 0');
  desk.ask(id);
  assert.equal(desk.answers.length, 0, 'it waits until the point can be read');
  desk.write(0, 2);
  desk.goOn();
  assert.equal(desk.told().bytes?.[0], 1);
  const left = desk.desk.attached(id);
  assert(left !== null);
  assert.equal(desk.state('noon'), 'ready 1 1');
  desk.ask(id, 'read', 8);
  assert.equal(desk.told().bytes?.[0], 1);
  desk.ask(id, 'status', 3);
  assert.equal(
    desk.told().extents.reduce((sum, { length }) => sum + length, 0),
    3 * BLOCK_BYTES,
  );
  desk.ask(id, 'flush', 0);
  assert.equal(desk.told().error, 0);
  desk.ask(id, 'write');
  assert.equal(desk.told().error, 1);
  left();
  assert.equal(desk.state('noon'), 'ready 1 0', 'it stands until it is removed');
  assert.match(desk.refused('noon'), /already/);
  assert.equal(desk.desk.remove('noon').kind, 'done');
  assert.deepEqual(desk.ended, [`${id} it was removed by order`]);
  assert.deepEqual(desk.lost, [], 'nobody is called for what was ordered');
  desk.ask(id);
  assert.deepEqual([desk.told().error, desk.desk.attached(id), desk.state('noon')], [108, null, 'none']);
  assert.equal(desk.desk.remove('noon').kind, 'refused');
});

test('a moment that is over at the primary, after which nothing was written, is its newest record', () => {
  const desk = new Desk();
  desk.write(0, 1);
  const timeMillis = 1_700_000_000_000 + desk.rig.now + 5;
  const why = (): string => {
    const outcome = desk.desk.create({ name: 'noon', at: { timeMillis } });
    return outcome.kind === 'refused' ? outcome.text : 'done';
  };
  desk.rig.now += 5;
  desk.serves = true;
  assert.match(why(), /no record of a later time is here yet/, 'one more may come in this very moment');
  desk.rig.now += 1;
  for (const serves of [null, false]) {
    desk.serves = serves;
    assert.match(why(), /no record of a later time is here yet/, 'another site may have numbered one since');
  }
  desk.serves = true;
  desk.rig.append([write(1, 0, 1, 2)]);
  assert.equal(why(), 'done', 'that one is later');
  assert.equal(desk.desk.status()[0]?.seq, 1);
});

test('who reads a point that was removed never reads another one of its name', () => {
  const desk = new Desk();
  desk.write(0, 1);
  const before = desk.make('noon');
  desk.desk.remove('noon');
  desk.write(0, 2);
  const after = desk.make('noon');
  desk.goOn();
  desk.ask(before);
  assert.equal(desk.told().error, 108);
  desk.ask(after);
  assert.equal(desk.told().bytes?.[0], 2);
});

test('a point that was given up says why until it is removed or made anew', () => {
  const desk = new Desk();
  desk.write(0, 1);
  const id = desk.make('noon');
  desk.goOn();
  for (let i = 0; desk.ended.length === 0; i++) {
    assert(i < 100 && !desk.rig.replica.full);
    desk.write(i % 200, i);
    desk.goOn();
  }
  assert.deepEqual(desk.ended, [`${id} less than a quarter of the room for its sidefile is left`]);
  assert.deepEqual(desk.lost, ['point.lost noon: less than a quarter of the room for its sidefile is left']);
  assert.equal(desk.state('noon'), 'lost 1 0');
  assert.match(desk.why('noon'), /was given up: less than a quarter/);
  assert.deepEqual(desk.desk.standing, []);
  desk.ask(id);
  assert.equal(desk.told().error, 108);
  desk.goOn();
  desk.make('noon');
  assert.equal(desk.desk.status().length, 1);
});

test('a read from the disk that ends after its point gives no data, and memory comes back', () => {
  const desk = new Desk();
  desk.write(0, 1);
  const id = desk.make('noon');
  desk.goOn();
  desk.rig.storage.cold = () => true;
  desk.ask(id, 'read', 8);
  assert.equal(desk.answers.length, 0);
  desk.desk.remove('noon');
  desk.write(0, 2);
  desk.goOn();
  const { error, bytes } = desk.told();
  assert.deepEqual([error, bytes], [108, null]);
  assert.equal(desk.rig.buffers.taken, 0);
});

test('what the disk refuses is an error for the reader, and the point ends with the copy', () => {
  const desk = new Desk();
  desk.write(0, 1);
  const id = desk.make('noon');
  desk.rig.replica.work(desk.rig.now);
  desk.rig.disk.faultAt = (operation) => (operation === 'read' ? 'EIO' : null);
  desk.ask(id);
  assert.equal(desk.told().error, 5);
  assert.match(desk.state('noon'), /^lost/);
});

test('names and their number are bounded, and nothing is made where there is no copy', () => {
  const desk = new Desk();
  for (const name of ['', 'Noon', '2', 'ro', 'direct', 'attach', 'a@b', 'a'.repeat(limits.nameCharsMax + 1)])
    assert.match(desk.refused(name), /is no name for a point/);
  for (let i = 0; i < limits.pointsMax; i++) desk.make(`p${i}`);
  assert.match(desk.refused('more'), /8 points of this copy stand already/);
  assert.match(desk.why('more'), /known are p0, p1/);
  desk.rig.replica.points.endAll('the test ends them');
  for (let i = 0; i < limits.pointsMax; i++) desk.make(`q${i}`);
  desk.rig.replica.points.endAll('the test ends them');
  assert.deepEqual(
    desk.desk.status().map(({ name }) => name),
    Array.from({ length: limits.pointsMax }, (_each, i) => `q${i}`),
    'as many are told of as may stand',
  );
  desk.isOpen = false;
  assert.match(desk.refused('more'), /there is no copy of group db at here that can be read/);
});

test('reads of points take a bounded time of a turn, and what is put off is answered in the next ones', () => {
  const desk = new Desk();
  for (let block = 0; block < 4; block++) desk.write(block, block + 1);
  const id = desk.make('slow');
  desk.goOn();
  const { points } = desk.rig.replica;
  const [point] = points.standing;
  assert.ok(point !== undefined);
  const { read } = point.reader;
  // Each read waits for a disk for 3 ms.
  point.reader.read = (...given): number => {
    desk.rig.now += 3;
    return read.apply(point.reader, given);
  };
  for (let block = 0; block < 4; block++) desk.ask(id, 'read', 1, block * BLOCK_BYTES);
  assert.equal(desk.answers.length, 1, 'no more than one of them in this turn');
  desk.rig.replica.work(desk.rig.now);
  assert.equal(desk.answers.length, 2);
  for (let turn = 0; turn < 2; turn++) desk.rig.replica.work(desk.rig.now);
  assert.deepEqual(
    desk.answers.map(({ error, bytes }) => [error, bytes?.[0]]),
    [
      [0, 1],
      [0, 2],
      [0, 3],
      [0, 4],
    ],
  );
});

test('a read that was put off is told when its point has ended', () => {
  const desk = new Desk();
  desk.write(0, 1);
  const id = desk.make('slow');
  desk.goOn();
  const [point] = desk.rig.replica.points.standing;
  assert.ok(point !== undefined);
  const { read } = point.reader;
  point.reader.read = (...given): number => {
    desk.rig.now += 3;
    return read.apply(point.reader, given);
  };
  desk.ask(id);
  desk.ask(id);
  assert.equal(desk.answers.length, 1);
  assert.equal(desk.desk.remove('slow').kind, 'done');
  assert.equal(desk.answers[1]?.error, 108);
});
