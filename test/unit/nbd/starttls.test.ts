// STARTTLS as the session sees it: what is refused before TLS, what TLS makes forgotten, and that not one byte from before it counts after it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { Asking } from '../../../src/core/nbd/asking.ts';
import type { NbdCatalog } from '../../../src/core/nbd/handshake.ts';
import { catalogOf, connect, DB, haggling, infoData, metaData, OLD, option, optionReplies, OPT, REP, text } from './client.ts';

function types(bytes: Buffer): number[] {
  return optionReplies(bytes).map((reply) => reply.type);
}

/** A session behind STARTTLS, and TLS. */
function secured(tls: 'optional' | 'required', catalog?: NbdCatalog): ReturnType<typeof haggling> {
  const connection = haggling(catalog === undefined ? { tls } : { tls, catalog });
  assert.deepEqual(types(connection.send(option(OPT.STARTTLS))), [REP.ACK]);
  assert.equal(connection.session.securing, true);
  connection.session.secured(null);
  assert.equal(connection.session.securing, false);
  return connection;
}

describe('where TLS is required', () => {
  test('every option but STARTTLS and ABORT is refused before it, whatever its data', () => {
    const { send, session } = haggling({ tls: 'required' });
    const all = [OPT.LIST, OPT.INFO, OPT.GO, OPT.STRUCTURED, OPT.LIST_META, OPT.SET_META, OPT.EXTENDED, 4, 77];
    for (const code of all) {
      for (const data of [Buffer.alloc(0), infoData(DB.name), Buffer.alloc(1 << 17)]) {
        const [reply] = optionReplies(send(option(code, data)));
        assert.deepEqual([reply?.option, reply?.type], [code, REP.TLS_REQD]);
      }
    }
    assert.equal(session.state, 'handshake');
    assert.deepEqual(types(send(option(OPT.ABORT))), [REP.ACK]);
  });

  test('an export name, which cannot be refused, drops the client', () => {
    for (const data of [Buffer.from(DB.name), Buffer.alloc(1 << 17)]) {
      const { send, session } = haggling({ tls: 'required' });
      assert.equal(send(option(OPT.NAME, data)).length, 0);
      assert.equal(session.finished, true);
    }
  });

  test('behind TLS everything is as elsewhere', () => {
    const { send, session } = secured('required');
    assert.deepEqual(types(send(option(OPT.LIST))), [REP.SERVER, REP.SERVER, REP.ACK]);
    assert.deepEqual(types(send(option(OPT.GO, infoData(DB.name)))), [REP.INFO, REP.ACK]);
    assert.equal(session.state, 'transmission');
  });
});

test('where TLS is optional, exports are had with and without it', () => {
  const plain = haggling({ tls: 'optional' });
  assert.deepEqual(types(plain.send(option(OPT.GO, infoData(DB.name)))), [REP.INFO, REP.ACK]);
  const { send } = secured('optional');
  assert.deepEqual(types(send(option(OPT.GO, infoData(DB.name)))), [REP.INFO, REP.ACK]);
});

test('STARTTLS with data is invalid, and so is a second one', () => {
  const { send, session } = haggling({ tls: 'optional' });
  assert.deepEqual(types(send(option(OPT.STARTTLS, Buffer.from('now')))), [REP.INVALID]);
  assert.equal(session.securing, false);
  assert.deepEqual(types(send(option(OPT.STARTTLS))), [REP.ACK]);
  session.secured(null);
  assert.deepEqual(types(send(option(OPT.STARTTLS), option(OPT.ABORT))), [REP.INVALID, REP.ACK]);
});

test('what was agreed before TLS is forgotten', () => {
  const { send, session } = haggling({ tls: 'optional' });
  send(option(OPT.STRUCTURED), option(OPT.EXTENDED), option(OPT.SET_META, metaData(DB.name, ['base:allocation'])));
  assert.deepEqual(types(send(option(OPT.STARTTLS))), [REP.ACK]);
  session.secured(null);
  assert.deepEqual(types(send(option(OPT.SET_META, metaData(DB.name, [])))), [REP.INVALID], 'structured replies are to be asked for again');
  assert.deepEqual(types(send(option(OPT.EXTENDED))), [REP.ACK], 'and extended headers, which can be agreed once');
});

describe('bytes that anybody could have put before TLS', () => {
  const injected = option(OPT.GO, infoData(DB.name));

  test('drop the client, in the segment of STARTTLS or behind it, cut anywhere', () => {
    const both = Buffer.concat([option(OPT.STARTTLS), injected]);
    for (let cut = 1; cut < both.length; cut++) {
      const { send, session } = haggling({ tls: 'required' });
      send(both.subarray(0, cut), both.subarray(cut));
      assert.equal(session.securing, false, `cut at ${cut}`);
      assert.equal(session.finished, true);
      assert.match(session.closeReason ?? '', /between STARTTLS and TLS/);
    }
  });

  test('also when they had to wait until another site had answered', () => {
    const elsewhere: NbdCatalog = { ...catalogOf([DB]), find: () => ({ elsewhere: 'near', export: DB, name: DB.name }) };
    const { send, session } = haggling({ tls: 'optional', catalog: elsewhere });
    send(option(OPT.GO, infoData(DB.name)));
    assert.notEqual(session.takePassedOn(), null);
    send(option(OPT.STARTTLS), injected);
    session.notPassed('near is away');
    session.resume();
    assert.equal(session.securing, false);
    assert.equal(session.finished, true);
  });

  test('of the server make the client give up', () => {
    const server = connect({ tls: 'optional' });
    server.session.start();
    const asking = new Asking({ structured: true, tls: true });
    asking.ask({ name: DB.name, go: false, contexts: [], infos: [] });
    assert.equal(asking.receive(server.output()), null);
    for (const part of asking.takeOutput()) server.session.receive(part);
    const answer = asking.receive(Buffer.concat([server.output(), Buffer.from('more')]));
    assert.ok(answer?.kind === 'broken');
    assert.match(answer.reason, /between the answer to STARTTLS and TLS/);
  });
});

test('the client asks nothing before TLS, and gives up where there is none', () => {
  for (const tls of ['off', 'optional', 'required'] as const) {
    const server = connect({ tls });
    server.session.start();
    const asking = new Asking({ structured: true, tls: true });
    asking.ask({ name: DB.name, go: true, contexts: ['base:allocation'], infos: [2] });
    const sent = Buffer.concat(asking.takeOutput());
    assert.equal(sent.includes(Buffer.from(DB.name)), false);
    server.session.receive(sent);
    let answer = asking.receive(server.output());
    if (tls === 'off') {
      assert.ok(answer?.kind === 'broken');
      assert.match(answer.reason, /there is no TLS at the server/);
      continue;
    }
    assert.equal(answer?.kind, 'secure');
    server.session.secured(null);
    asking.secured();
    for (const part of asking.takeOutput()) server.session.receive(part);
    answer = asking.receive(server.output());
    assert.ok(answer?.kind === 'described');
    assert.equal(answer.sizeBytes, DB.sizeBytes);
    assert.deepEqual([...answer.contexts.keys()], ['base:allocation']);
  }
});

test('the catalog is asked for whoever has shown a certificate', () => {
  const asked: (string | null)[] = [];
  const catalog: NbdCatalog = {
    list: (holder) => {
      asked.push(holder?.text ?? null);
      return [DB];
    },
    find: (name, holder) => {
      asked.push(holder?.text ?? null);
      return catalogOf([DB, OLD]).find(name, holder);
    },
  };
  const { send, session } = haggling({ tls: 'optional', catalog });
  send(option(OPT.LIST));
  send(option(OPT.STARTTLS));
  session.secured({ text: 'client db1', groups: ['bank'] });
  send(option(OPT.LIST), option(OPT.STRUCTURED), option(OPT.LIST_META, Buffer.concat([text(DB.name), Buffer.alloc(4)])));
  send(option(OPT.GO, infoData(DB.name)));
  assert.deepEqual(asked, [null, 'client db1', 'client db1', 'client db1']);
});
