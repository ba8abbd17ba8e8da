// What hosts may attach at a site, and what becomes of them when it stops serving.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { HostRequest, Role } from '../../../src/core/site/contract.ts';
import { HostMemory } from '../../../src/core/nbd/memory.ts';
import type { ExportedGroup } from '../../../src/daemon/exports.ts';
import { type ExportedPoints, Exports } from '../../../src/daemon/exports.ts';
import { BufferPool } from '../../../src/host/buffers.ts';

const buffers = new BufferPool(1024 * 1024);
const memory = new HostMemory(Infinity);

interface FakeGroup extends ExportedGroup {
  role: Role;
  knownPrimary: string | null;
  readonly requests: HostRequest[];
}

function group(name: string, volumes: readonly string[]): FakeGroup {
  const requests: HostRequest[] = [];
  return {
    group: name,
    site: 'alpha',
    volumes: volumes.map((volume) => ({ name: volume, sizeBytes: 1 << 20, baseFile: `base-${volume}.img` })),
    sites: ['alpha', 'beta'],
    lacks: (_site, { length }) => [{ length, lacking: true }],
    role: 'primary',
    standing: { site: 'alpha', epoch: 3, history: [{ epoch: 3, firstSeq: 1 }] },
    knownPrimary: 'alpha',
    requests,
    request: (request) => requests.push(request),
    points: { standing: [], find: () => 'none', attached: () => null, request: () => undefined, onEnded: () => undefined },
  };
}

function textOf(exports: Exports, name: string): string {
  const found = exports.find(name, null);
  if ('moveTo' in found) return `goes on at ${found.moveTo}`;
  if ('elsewhere' in found) return `${found.elsewhere}: ${found.name}`;
  return 'refused' in found ? `${found.refused}: ${found.text}` : found.name;
}

/** What a client without a certificate, or with one, is told of. */
function listed(exports: Exports, holder: Parameters<Exports['list']>[0] = null): readonly string[] {
  const list = exports.list(holder);
  return 'moveTo' in list ? [`goes on at "${list.moveTo}"`] : list.map((each) => each.name);
}

test('an export is found by its group and name, and by its name alone where that is clear', () => {
  const exports = new Exports([group('db', ['data', 'log']), group('web', ['log'])], buffers, { memory });
  assert.equal(textOf(exports, 'db/log'), 'db/log');
  assert.equal(textOf(exports, 'data'), 'db/data');
  assert.equal(textOf(exports, 'log'), 'unknown: "log" is not clear: say one of db/log, web/log');
  assert.equal(textOf(exports, ''), 'unknown: "" is not clear: say one of db/data, db/log, web/log');
  assert.equal(textOf(exports, 'db'), 'unknown: there is no export "db" here: known are db/data, db/log, web/log');
  assert.equal(textOf(new Exports([group('db', ['data'])], buffers, { memory }), ''), 'db/data');
  const found = exports.find('db/log', null);
  assert.ok('volume' in found);
  assert.deepEqual([found.volume, found.sizeBytes, found.readOnly], [1, 1 << 20, false]);
});

test('a site that does not serve a group passes its hosts on to the one that does, and refuses them when there is none', () => {
  const db = group('db', ['data']);
  const exports = new Exports([db, group('web', ['log'])], buffers, { memory });
  assert.deepEqual(listed(exports), ['db/data', 'web/log']);
  db.role = 'mirror';
  db.knownPrimary = 'beta';
  assert.deepEqual(listed(exports), ['db/data', 'web/log'], 'what is passed on is listed');
  assert.equal(textOf(exports, 'data@ro'), 'beta: db/data@ro@direct');
  assert.equal(textOf(exports, 'db/data@direct'), 'not-serving: group db is served by beta, not here (alpha)');
  db.role = 'standby';
  db.knownPrimary = null;
  assert.deepEqual(listed(exports), ['web/log']);
  assert.equal(textOf(exports, 'data'), 'not-serving: group db is not served by alpha, which is standby now: see `tercet status`');
});

/** The bytes of a client that attaches an export by the oldest way and then flushes. */
function attachAndFlush(name: string): Uint8Array {
  const option = Buffer.alloc(4 + 16);
  option.writeUInt32BE(3, 0);
  option.write('IHAVEOPT', 4, 'latin1');
  option.writeUInt32BE(1, 12);
  option.writeUInt32BE(name.length, 16);
  const flush = Buffer.alloc(28);
  flush.writeUInt32BE(0x25609513, 0);
  flush.writeUInt16BE(3, 6);
  return Buffer.concat([option, Buffer.from(name), flush]);
}

test('requests go to the group of their export, and dropping a group ends its sessions only', () => {
  const db = group('db', ['data']);
  const web = group('web', ['log']);
  const exports = new Exports([db, web], buffers, { memory });
  const sessions = ['db/data', 'web/log'].map((name) => {
    const session = exports.newSession('off');
    session.start();
    session.receive(attachAndFlush(name));
    assert.equal(session.state, 'transmission');
    return session;
  });
  assert.deepEqual([db.requests.length, web.requests.length], [1, 1]);
  exports.drop('db');
  assert.deepEqual(
    sessions.map((session) => session.finished),
    [true, false],
  );
  const late = db.requests[0];
  assert.ok(late !== undefined);
  const before = sessions[0]?.takeOutput().length;
  late.session.reply(late, 0);
  assert.equal(sessions[0]?.takeOutput().length, 0, 'no answer leaves after the drop');
  assert.equal(before, 0, 'nothing that was queued leaves either');
});

test('a newer connection of an attachment ends the older ones before its first request; an older one is refused', () => {
  const db = group('db', ['data']);
  const exports = new Exports([db], buffers, { memory });
  const open = (name: string): ReturnType<Exports['newSession']> => {
    const session = exports.newSession('off');
    session.start();
    session.receive(attachAndFlush(name));
    return session;
  };
  const first = open('db/data@attach=host-0001.4');
  const other = open('db/data@attach=host-0002.1');
  const plain = open('db/data');
  assert.equal(db.requests.length, 3);
  const second = open('db/data@attach=host-0001.5');
  assert.deepEqual([first.gone, other.gone, plain.gone, second.gone], [true, false, false, false]);
  // What it was still sent on the older connection is not taken, and what was taken is not to be carried out.
  first.receive(attachAndFlush('').subarray(-28));
  assert.equal(db.requests.length, 4);
  assert.equal(db.requests[0]?.session.gone, true);
  assert.match(textOf(exports, 'db/data@attach=host-0001.4'), /^unknown: a newer connection/);
  assert.equal(textOf(exports, 'db/data@RW'), 'unknown: "@RW" is not known here: an export may be asked for with @ro or @POINT');
  const readOnly = exports.find('data@ro', null);
  assert.ok('volume' in readOnly && readOnly.readOnly);
  const direct = exports.find('data@direct', null);
  assert.ok('volume' in direct);
  assert.equal(direct.description, '{"site":"alpha","epoch":3,"history":[[3,1]]}');
});

test('a certificate that is limited to groups sees and gets theirs alone, wherever they are served', () => {
  const web = group('web', ['log']);
  const exports = new Exports([group('db', ['data', 'log']), web], buffers, { memory });
  const holder = { text: 'client web1 (for web only)', groups: ['web'] };
  const text = (name: string): string => {
    const found = exports.find(name, holder);
    assert.ok(!('moveTo' in found));
    return 'refused' in found ? found.text : 'elsewhere' in found ? found.elsewhere : found.name;
  };
  assert.deepEqual(listed(exports, holder), ['web/log']);
  assert.equal(text('log'), 'web/log', 'clear among its own');
  assert.match(text('db/data'), /no export "db\/data" for the certificate of client web1 \(for web only\): known are web\/log/);
  web.role = 'mirror';
  web.knownPrimary = 'beta';
  assert.equal(text('web/log'), 'beta');
  assert.match(text('db/log@ro'), /no export/);
});

/** Points that a test makes and ends. */
class FakePoints implements ExportedPoints {
  standing: { name: string; id: number; sizes: readonly number[] }[] = [];
  onEnded: ExportedPoints['onEnded'] = () => undefined;
  readonly requests: number[] = [];
  users = 0;

  find(name: string): FakePoints['standing'][number] | string {
    return this.standing.find((point) => point.name === name) ?? `there is no point "${name}"`;
  }
  attached(id: number): (() => void) | null {
    if (!this.standing.some((point) => point.id === id)) return null;
    this.users++;
    return () => this.users--;
  }
  request(_request: HostRequest, id: number): void {
    this.requests.push(id);
  }
  end(id: number): void {
    this.standing = this.standing.filter((point) => point.id !== id);
    this.onEnded(id, 'enough');
  }
}

test('a volume as of a point is attached here, read only, whoever serves, and its sessions end with the point and not with the reign', () => {
  const points = new FakePoints();
  const db = { ...group('db', ['data', 'log']), points };
  const exports = new Exports([db], buffers, { memory });
  points.standing.push({ name: 'noon', id: 7, sizes: [4096, 8192] });
  const names = (): readonly string[] => listed(exports);
  assert.deepEqual(names(), ['db/data', 'db/log', 'db/data@noon', 'db/log@noon']);
  db.role = 'mirror';
  db.knownPrimary = 'beta';
  const found = exports.find('log@noon', null);
  assert('volume' in found);
  assert.deepEqual([found.name, found.readOnly, found.sizeBytes, found.point, found.copies], ['db/log@noon', true, 8192, 7, undefined]);
  assert.equal(textOf(exports, 'log@night'), 'unknown: there is no point "night"');
  const open = (): ReturnType<Exports['newSession']> => {
    const session = exports.newSession('off');
    session.start();
    session.receive(attachAndFlush('log@noon'));
    return session;
  };
  const [first, second] = [open(), open()];
  assert.deepEqual([points.requests, db.requests.length, points.users], [[7, 7], 0, 2]);
  exports.drop('db');
  assert.deepEqual([first.finished, exports.readsPoint(first)], [false, true]);
  second.abort();
  assert.deepEqual([points.users, exports.readsPoint(second)], [1, false]);
  points.end(7);
  assert.deepEqual([first.state, first.finished], ['closing', false], 'what was asked before is answered');
  const holder = exports.find('data@noon', null);
  assert('refused' in holder);
});

test('a client that begins when its point has ended is closed before it is given anything', () => {
  const points = new FakePoints();
  const db = { ...group('db', ['data']), points };
  const exports = new Exports([db], buffers, { memory });
  points.standing.push({ name: 'noon', id: 7, sizes: [4096] });
  points.attached = () => null;
  const session = exports.newSession('off');
  session.start();
  session.receive(attachAndFlush('data@noon'));
  assert.deepEqual([session.finished, points.requests], [true, []]);
});

test('what is asked of a group in another thread goes there, and a thread that has one group has the others listed where all are known', () => {
  const { group: name, sites, site, volumes } = group('web', ['log']);
  const points = { standing: [{ name: 'noon', id: 0, sizes: [] }] };
  const kept = { group: name, sites, site, volumes, role: 'primary' as const, knownPrimary: 'alpha', points, keeper: 'web' };
  const main = new Exports([group('db', ['data']), kept], buffers, { memory });
  assert.equal(textOf(main, 'db/data'), 'db/data');
  assert.equal(textOf(main, 'log@ro'), 'goes on at web');
  assert.equal(textOf(main, 'log@noon'), 'goes on at web');
  assert.equal(textOf(main, 'web/other'), 'unknown: there is no export "web/other" here: known are db/data, web/log');
  assert.deepEqual(listed(main), ['db/data', 'web/log', 'web/log@noon']);
  const thread = new Exports([{ ...kept, group: 'db', keeper: '' }, group('web', ['log'])], buffers, { memory, lister: '' });
  assert.equal(textOf(thread, 'web/log'), 'web/log');
  assert.equal(textOf(thread, 'db/log'), 'goes on at ');
  assert.equal(textOf(thread, 'log'), 'unknown: "log" is not clear: say one of db/log, web/log');
  assert.deepEqual(listed(thread), ['goes on at ""']);
});
