// A handshake that goes on elsewhere: nothing of what was agreed so far is lost, nothing is answered twice, and no limit begins anew.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { NbdCatalog } from '../../../src/core/nbd/handshake.ts';
import type { MovedHandshake } from '../../../src/core/nbd/session-options.ts';
import { NbdSession } from '../../../src/core/nbd/session.ts';
import {
  catalogOf,
  clientFlags,
  CMD,
  connect,
  DB,
  haggling,
  infoData,
  metaData,
  OLD,
  option,
  optionReplies,
  OPT,
  REP,
  request,
} from './client.ts';

const keeping: NbdCatalog = { list: () => [DB, OLD], find: () => ({ moveTo: 'bank' }) };
const listingElsewhere: NbdCatalog = { ...catalogOf([DB]), list: () => ({ moveTo: 'main' }) };

/** Goes on with what has moved, as another thread does: what goes there are copies. */
function goOn(
  { state, bytes }: MovedHandshake,
  catalog: NbdCatalog,
  optionsMax = 100,
): { session: NbdSession; output: Buffer; commands: string[] } {
  const commands: string[] = [];
  const session = new NbdSession({
    catalog,
    handler: {
      request: (each) => {
        commands.push(each.command);
        if (each.command === 'flush') each.session.reply(each, 0);
      },
    },
    limitsOverride: { optionsMax },
    state: structuredClone(state),
  });
  session.start();
  for (const each of bytes) session.receive(structuredClone(each));
  return { session, output: Buffer.concat(session.takeOutput()), commands };
}

test('an option about an export that is kept elsewhere is answered there, with what was agreed before, and what the client sent behind it', () => {
  const here = haggling({ catalog: keeping });
  assert.equal(optionReplies(here.send(option(OPT.STRUCTURED)))[0]?.type, REP.ACK);
  assert.equal(here.session.movesTo, null);
  const flush = request({ type: CMD.FLUSH, cookie: 7n });
  assert.equal(here.send(option(OPT.SET_META, metaData(DB.name, ['base:allocation'])), option(OPT.GO, infoData(DB.name))).length, 0);
  assert.equal(here.session.movesTo, 'bank');
  assert.equal(here.session.paused, true);
  assert.equal(here.send(flush).length, 0, 'nothing more is answered here');
  const moved = here.session.takeMoved();
  assert.equal(here.session.state, 'closed');
  assert.equal(here.session.movesTo, null);

  const there = goOn(moved, catalogOf([DB, OLD]));
  assert.equal(there.session.state, 'transmission');
  assert.deepEqual(there.commands, ['flush'], 'the request that came behind is carried out');
  // The flush is answered behind the replies to the options.
  const at = there.output.indexOf(Buffer.from('67446698', 'hex'));
  const replies = optionReplies(there.output.subarray(0, at));
  assert.deepEqual([replies[0]?.option, replies[0]?.type], [OPT.SET_META, REP.META]);
  assert.deepEqual([replies.at(-1)?.option, replies.at(-1)?.type], [OPT.GO, REP.ACK]);
  assert.equal(there.output.readBigUInt64BE(at + 8), 7n);
});

test('contexts that were selected before the move count after it', () => {
  const here = haggling({ catalog: { ...catalogOf([DB]), list: () => ({ moveTo: 'main' }) } });
  here.send(option(OPT.STRUCTURED));
  here.send(option(OPT.SET_META, metaData(DB.name, ['base:allocation'])));
  here.send(option(OPT.LIST));
  assert.equal(here.session.movesTo, 'main');
  const there = goOn(here.session.takeMoved(), catalogOf([DB]));
  assert.deepEqual(
    optionReplies(there.output).map(({ option: of, type }) => [of, type]),
    [
      [OPT.LIST, REP.SERVER],
      [OPT.LIST, REP.ACK],
    ],
  );
  there.session.receive(option(OPT.GO, infoData(DB.name)));
  assert.equal(there.session.state, 'transmission');
  there.session.receive(request({ type: CMD.STATUS, length: 4096 }));
  assert.deepEqual(there.commands, ['status'], 'the status of blocks may be asked');
});

test('who goes to and fro ends where everybody ends: the options are counted on', () => {
  const optionsMax = 4;
  let moved = ((): MovedHandshake => {
    const { session } = haggling({ catalog: keeping, limits: { optionsMax } });
    session.receive(option(OPT.INFO, infoData(DB.name)));
    return session.takeMoved();
  })();
  let answered = 0;
  for (;;) {
    const there = goOn(moved, listingElsewhere, optionsMax);
    answered += optionReplies(there.output).length > 0 ? 1 : 0;
    if (there.session.finished) break;
    there.session.receive(option(OPT.LIST));
    if (there.session.finished) break;
    const back = goOn(there.session.takeMoved(), keeping, optionsMax);
    back.session.takeOutput();
    if (back.session.finished) break;
    back.session.receive(option(OPT.INFO, infoData(DB.name)));
    if (back.session.finished) break;
    moved = back.session.takeMoved();
  }
  assert.ok(answered <= optionsMax, `${answered} answers`);
});

test('the old way to name an export moves as well, and a client that was dropped does not move', () => {
  const here = connect({ catalog: keeping });
  here.session.start();
  here.send(clientFlags());
  here.send(option(OPT.NAME, Buffer.from(DB.name)));
  assert.equal(here.session.movesTo, 'bank');
  const there = goOn(here.session.takeMoved(), catalogOf([DB]));
  assert.equal(there.session.state, 'transmission');

  const dropped = haggling({ catalog: keeping });
  dropped.session.receive(option(OPT.GO, infoData(DB.name)));
  dropped.session.abort();
  assert.equal(dropped.session.movesTo, null);
});
