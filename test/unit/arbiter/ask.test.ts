// The site's side of the witness: a question is asked again with its id until its answer is known, and nothing older than what is known is believed.

import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { type Change, WitnessDesk } from '../../../src/core/arbiter/ask.ts';
import type { WitnessAnswer, WitnessOperation, WitnessReply, WitnessView } from '../../../src/core/arbiter/witness-state.ts';
import { InvariantError } from '../../../src/core/base/assert.ts';

const RETRY_MILLIS = 500;
const VIEW: WitnessView = {
  group: 'db',
  groupId: 'g1',
  instance: 'w1',
  revision: 7,
  epoch: 2,
  primary: 'alpha',
  copies: [
    { site: 'alpha', mode: 'sync', flag: true },
    { site: 'near', mode: 'sync', flag: true },
  ],
};
const EXCLUDE: Change = { kind: 'exclude', site: 'near', epoch: 2, revision: 7 };
const done = (view: Partial<WitnessView> = {}, repeated = false): WitnessReply => ({
  outcome: 'done',
  view: { ...VIEW, ...view },
  ...(repeated ? { repeated: true as const } : {}),
});
const UNKNOWN: WitnessReply = { outcome: 'unknown' };
const REFUSED: WitnessReply = { outcome: 'refused', reason: 'revision', text: 'decided on revision 7', view: { ...VIEW, revision: 8 } };
const NO_GROUP: WitnessReply = { outcome: 'refused', reason: 'unknown-group', text: 'no such group', view: null };

let now: number;
let ids: number;
let asked: { operation: WitnessOperation; reply: (reply: WitnessReply) => void }[];
let views: number[];
let events: string[];
let ownGroup: string | null;
let desk: WitnessDesk;

beforeEach(() => {
  now = 1000;
  ids = 0;
  asked = [];
  views = [];
  events = [];
  ownGroup = 'g1';
  desk = new WitnessDesk({
    group: 'db',
    site: 'alpha',
    port: { call: (operation, reply) => asked.push({ operation, reply }) },
    clock: { now: () => now, wall: () => 0 },
    random: { id: () => `id${++ids}` },
    journal: (event) => events.push(event),
    retryMillis: RETRY_MILLIS,
    groupId: () => ownGroup,
    proveMillis: 60_000,
    onView: (view) => views.push(view.revision),
  });
});

/** Answers the oldest question that has no answer yet. */
function answer(reply: WitnessReply): void {
  const question = asked.shift();
  assert.ok(question !== undefined, 'a question is under way');
  question.reply(reply);
}

function ask(change: Change = EXCLUDE, requestId?: string): WitnessAnswer[] {
  const answers: WitnessAnswer[] = [];
  desk.ask(change, (one) => answers.push(one), { ...(requestId !== undefined && { requestId }) });
  return answers;
}

describe('a change', () => {
  test('is asked with the names of group and site, and an id of its own', () => {
    ask();
    assert.deepEqual(asked[0]?.operation, { ...EXCLUDE, requestId: 'id1', group: 'db', from: 'alpha' });
    assert.equal(desk.busy, true);
  });

  test('whose answer is lost is asked again with the same id, after the pause and not before', () => {
    const answers = ask();
    answer(UNKNOWN);
    assert.equal(desk.deadline(), 1500);
    now = 1499;
    desk.tick(now);
    assert.equal(asked.length, 0);
    now = 1500;
    desk.tick(now);
    assert.equal(asked[0]?.operation.requestId, 'id1');
    answer(done({ revision: 8 }));
    assert.deepEqual(
      answers.map((one) => one.outcome),
      ['done'],
    );
    assert.deepEqual([desk.busy, desk.deadline()], [false, Infinity]);
  });

  test('that an older program does not understand is given up by whoever can do without it, and asked again by the others', () => {
    let given = 0;
    desk.ask({ kind: 'mode', site: 'near', mode: 'async', epoch: 2, revision: 7 }, () => assert.fail(), { notUnderstood: () => given++ });
    answer({ outcome: 'not-understood' });
    assert.deepEqual([given, desk.busy, desk.reachable], [1, false, true]);
    const answers = ask();
    answer({ outcome: 'not-understood' });
    assert.deepEqual([desk.busy, desk.deadline(), answers.length], [true, 1500, 0]);
  });

  test('is not asked twice while an answer may still come', () => {
    ask();
    now += 10 * RETRY_MILLIS;
    desk.tick(now);
    assert.equal(asked.length, 1);
    assert.equal(desk.deadline(), Infinity);
  });

  test('from before a restart is asked with the id that it had then', () => {
    ask({ kind: 'claim', epoch: 2, revision: 7 }, 'from-before');
    assert.equal(asked[0]?.operation.requestId, 'from-before');
    assert.equal(ids, 0);
  });

  test('that was refused is answered, and the newer view that came with it is known', () => {
    const answers = ask();
    answer(REFUSED);
    assert.deepEqual(
      answers.map((one) => one.outcome),
      ['refused'],
    );
    assert.equal(desk.view?.revision, 8);
  });

  test('is one at a time', () => {
    ask();
    assert.throws(() => ask(), InvariantError);
  });

  test('that was given up is answered to nobody, but what came with the answer is known', () => {
    const answers = ask();
    desk.abandon();
    assert.equal(desk.busy, false);
    answer(done({ revision: 9 }));
    assert.deepEqual([answers, desk.view?.revision], [[], 9]);
  });

  test('that was given up does not end the one that was asked after it', () => {
    const first = ask();
    desk.abandon();
    const second = ask({ ...EXCLUDE, revision: 8 });
    answer(done({ revision: 8 }));
    assert.deepEqual([first.length, second.length, desk.busy], [0, 0, true]);
    answer(done({ revision: 9 }));
    assert.deepEqual([first.length, second.length, desk.busy], [0, 1, false]);
  });

  test('is not answered by another witness', () => {
    desk.remember({ instance: 'w1', revision: 7 });
    const answers = ask();
    answer(done({ instance: 'w2', revision: 100, epoch: 50 }));
    assert.deepEqual([answers, desk.view, desk.busy], [[], null, true]);
    assert.ok(events.includes('witness.foreign'));
    now += RETRY_MILLIS;
    desk.tick(now);
    assert.equal(asked.length, 1, 'it is asked again');
  });
});

describe('a view', () => {
  test('is as old as the question that it answers', () => {
    desk.read();
    now = 1300;
    answer(done());
    assert.deepEqual([desk.view?.revision, desk.viewAt, views], [7, 1000, [7]]);
  });

  test('that is older than one already seen is not believed', () => {
    desk.read();
    const slow = asked.shift();
    ask();
    answer(done({ revision: 8 }));
    slow?.reply(done({ revision: 7 }));
    assert.deepEqual([desk.view?.revision, views], [8, [8]]);
  });

  test('older than what was known before a restart is not believed either', () => {
    desk.remember({ instance: 'w1', revision: 20 });
    desk.read();
    answer(done({ revision: 19 }));
    assert.deepEqual(views, []);
    now += RETRY_MILLIS;
    desk.read();
    answer(done({ revision: 20 }));
    assert.equal(desk.view?.revision, 20);
  });

  test('of an answer about the past is not taken for the present', () => {
    const answers = ask();
    answer(done({ revision: 40 }, true));
    assert.deepEqual([answers.length, desk.view], [1, null]);
  });

  test('is of the first witness that was seen, and of no other afterwards', () => {
    desk.read();
    answer(done());
    desk.read();
    answer(done({ instance: 'w2', revision: 8 }));
    assert.equal(desk.view?.instance, 'w1');
  });
});

describe('reading', () => {
  test('is one question at a time, and a fresh id each time', () => {
    desk.read();
    desk.read();
    assert.equal(asked.length, 1);
    const before = asked[0]?.operation.requestId;
    answer(UNKNOWN);
    desk.read();
    assert.notEqual(asked[0]?.operation.requestId, before);
  });

  test('by a probe waits until the last question is old enough', () => {
    desk.read();
    answer(done());
    now = 1999;
    desk.probe(1000);
    assert.equal(asked.length, 0);
    now = 2000;
    desk.probe(1000);
    assert.equal(asked.length, 1);
    assert.equal(desk.probeDeadline(500), Infinity, 'while it is asking');
    answer(done());
    assert.equal(desk.probeDeadline(500), 2500);
  });

  test('says whether the witness answers, once for each change', () => {
    assert.equal(desk.reachable, null);
    for (const reply of [UNKNOWN, UNKNOWN, done(), done({ revision: 8 }), UNKNOWN]) {
      desk.read();
      answer(reply);
    }
    assert.deepEqual([desk.reachable, events], [false, ['witness.unreachable', 'witness.reachable', 'witness.unreachable']]);
  });

  test('says when the witness does not know the group, until it does', () => {
    desk.read();
    answer(NO_GROUP);
    assert.deepEqual([desk.unknownGroup, desk.reachable, desk.view], [true, true, null]);
    desk.read();
    answer(done());
    assert.equal(desk.unknownGroup, false);
  });
});

test('a desk that was stopped asks nothing and hears nothing', () => {
  const answers = ask();
  desk.read();
  desk.stop();
  answer(done());
  answer(done());
  desk.read();
  now += 10 * RETRY_MILLIS;
  desk.tick(now);
  assert.deepEqual([answers, views, asked.length, desk.busy], [[], [], 0, false]);
});

describe('a witness that is not believed', () => {
  const unseeded = (instance: string, round = 0): WitnessReply => ({
    outcome: 'refused',
    reason: 'unseeded',
    text: 'it grants nothing',
    view: { ...VIEW, instance, revision: 0 },
    seeding: { round, missing: ['near'] },
  });
  const report = {
    groupId: 'g1',
    copies: [],
    report: { site: 'alpha', epoch: 2, revision: 7, role: 'primary' as const, mayBeTrue: [], end: null, life: '1' },
  };
  const heard: WitnessReply[] = [];
  const look = (reply: WitnessReply): void => {
    desk.read();
    answer(reply);
  };

  test('is another one, or one that has forgotten the group', () => {
    look(done());
    look(done({ instance: 'w2', revision: 90 }));
    assert.deepEqual([desk.trouble, desk.view?.revision], [{ kind: 'foreign', instance: 'w2' }, 7]);
    look(NO_GROUP);
    assert.deepEqual([desk.trouble, desk.unknownGroup], [{ kind: 'empty' }, false]);
    look(done());
    assert.equal(desk.trouble, null);
    assert.deepEqual(events, ['witness.reachable', 'witness.foreign', 'witness.empty']);
  });

  test('tells less than was known when it was asked; an answer that was overtaken is no sign of that', () => {
    look(done());
    desk.ask(EXCLUDE, () => undefined);
    desk.read();
    const [exclude, read] = asked.splice(0);
    exclude?.reply(done({ revision: 8 }));
    read?.reply(done({ revision: 7 }));
    assert.deepEqual([desk.trouble, desk.view?.revision], [null, 8]);
    look(done({ revision: 7 }));
    assert.deepEqual([desk.trouble, desk.view?.revision], [{ kind: 'rolled-back', known: 8, found: 7 }, 8]);
  });

  test('tells less than was known before a restart', () => {
    desk.remember({ instance: 'w1', revision: 9 });
    look(done());
    assert.deepEqual([desk.trouble?.kind, desk.view], ['rolled-back', null]);
  });

  test('hears nothing of a change that is under way, which is asked again', () => {
    look(done());
    const answers: string[] = [];
    desk.ask(EXCLUDE, (reply) => answers.push(reply.outcome));
    answer(done({ instance: 'w2', revision: 8 }));
    assert.deepEqual([answers, desk.busy], [[], true]);
  });

  test('says with each question what this site has seen of the witness that it believes', () => {
    look(done());
    desk.read();
    assert.deepEqual(asked[0]?.operation.seen, { instance: 'w1', revision: 7 });
  });

  test('is turned to by order: until it takes the report nothing else that it says counts', () => {
    look(done());
    desk.read();
    const [late] = asked.splice(0);
    desk.moveTo('w2');
    late?.reply(done({ revision: 8 }));
    assert.deepEqual([desk.view, desk.moving, desk.instance], [null, true, 'w2']);
    look(unseeded('w2', 4));
    desk.report(report, (reply) => heard.push(reply));
    assert.equal(asked[0]?.operation.kind === 'report' && asked[0].operation.round, 4);
    answer(unseeded('w2', 5));
    look(done({ instance: 'w2', revision: 2000 }));
    assert.deepEqual([desk.view, desk.moving], [null, true], 'a state that it was not told of is not believed');
    desk.report(report, (reply) => heard.push(reply));
    answer(done({ instance: 'w2', revision: 1007 }));
    assert.deepEqual([desk.view?.revision, desk.moving, desk.trouble], [1007, false, null]);
  });

  test('that refuses the report is named, and not believed', () => {
    desk.moveTo('w2');
    desk.report(report, () => undefined);
    answer({ outcome: 'refused', reason: 'epoch', text: 'you know more', view: { ...VIEW, instance: 'w2' } });
    assert.deepEqual([desk.trouble, desk.view, desk.moving], [{ kind: 'refused', why: 'you know more' }, null, true]);
  });
});

describe('a witness that says that the group was deleted', () => {
  const look = (reply: WitnessReply): void => {
    desk.read();
    answer(reply);
  };
  const deleted = (groupId: string, instance = 'w1'): WitnessReply => ({
    outcome: 'refused',
    reason: 'deleted',
    text: 'it was deleted',
    view: null,
    instance,
    deleted: { groupId },
  });

  test('is believed of the group of the copy here: nothing else is known any more, and what was asked is refused', () => {
    look(done());
    const answers: string[] = [];
    desk.ask(EXCLUDE, (reply) => answers.push(reply.outcome));
    answer(deleted('g1'));
    assert.deepEqual([desk.trouble, desk.view, desk.unknownGroup], [{ kind: 'deleted' }, null, false]);
    assert.deepEqual([answers, desk.busy], [['refused'], false]);
    assert.equal(events.filter((event) => event === 'witness.deleted').length, 1);
  });

  test('is believed by a copy that had heard of no witness yet, and after a restart', () => {
    look(deleted('g1'));
    assert.deepEqual(desk.trouble, { kind: 'deleted' });
    desk.remember({ instance: 'w1', revision: 9 });
    look(deleted('g1'));
    assert.deepEqual(desk.trouble, { kind: 'deleted' });
  });

  test('is not believed when it is another witness, or means another group than the one here', () => {
    look(done());
    look(deleted('g1', 'w2'));
    assert.equal(desk.trouble?.kind, 'foreign');
    look(deleted('g0'));
    assert.deepEqual([desk.trouble, desk.view?.revision], [{ kind: 'empty' }, 7]);
  });

  test('leaves the name for a new group where there is no copy, also to a site that knew the old one', () => {
    ownGroup = null;
    look(done());
    look(deleted('g1'));
    assert.deepEqual([desk.trouble, desk.view, desk.unknownGroup], [null, null, true]);
    desk.ask({ kind: 'create', groupId: 'g2', copies: VIEW.copies, first: 'alpha' }, () => undefined);
    answer(done({ groupId: 'g2', revision: 9, epoch: 0, primary: null }));
    assert.deepEqual([desk.view?.groupId, desk.unknownGroup], ['g2', false]);
  });
});

describe('a proof that the witness can write', () => {
  /** Lets the time pass after which a probe asks, and returns what it asks. */
  function probed(after: number): string | undefined {
    now += after;
    desk.probe(1000);
    return asked.at(-1)?.operation.kind;
  }

  test('is asked for once it is known whose witness it is, and then once a minute', () => {
    assert.equal(probed(0), 'read');
    answer(done());
    assert.equal(desk.provedAt, -Infinity, 'a view proves nothing of the disk');
    assert.equal(probed(1000), 'prove');
    const asking = now;
    now += 40;
    answer(done({ revision: 8 }));
    assert.equal(desk.provedAt, asking, 'counts from when it was asked');
    assert.deepEqual(views, [7, 8]);
    assert.equal(desk.viewAt, asking);
    assert.equal(probed(1000), 'read');
    answer(done({ revision: 8 }));
    assert.equal(probed(60_000), 'prove');
  });

  test('that fails is followed by a plain question, then tried again; nothing is proved meanwhile', () => {
    probed(0);
    answer(done());
    probed(1000);
    answer(UNKNOWN);
    assert.deepEqual([desk.provedAt, desk.reachable], [-Infinity, true], 'the plain question tells whether it answers at all');
    assert.equal(probed(1000), 'read');
    answer(done());
    assert.equal(probed(1000), 'prove');
    answer(UNKNOWN);
    assert.equal(probed(1000), 'read');
    answer(UNKNOWN);
    assert.equal(desk.reachable, false);
    probed(1000);
    answer(UNKNOWN);
    probed(1000);
    answer(done());
    assert.equal(desk.reachable, true);
    assert.equal(probed(1000), 'prove');
    answer(done());
    assert.ok(desk.provedAt > 0);
  });

  test('by a witness that is not believed is none, and is void with the witness that gave it', () => {
    probed(0);
    answer(done());
    probed(1000);
    answer(done({ instance: 'w2' }));
    assert.deepEqual([desk.provedAt, desk.trouble?.kind], [-Infinity, 'foreign']);
    assert.equal(probed(1000), 'read', 'it is asked nothing else while it is not believed');
    answer(done());
    probed(1000);
    answer(done());
    assert.ok(desk.provedAt > 0);
    desk.moveTo('w2');
    assert.equal(desk.provedAt, -Infinity);
  });
});
