// The first words on a connection: who may talk to whom, what a stranger is told, and that a connection that has ended delivers nothing more.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { limits } from '../../../src/core/base/limits.ts';
import type { Compression, LinkIdentity, LinkPort } from '../../../src/core/base/ports.ts';
import { copyOf } from '../../../src/core/base/bytes.ts';
import { acceptLink } from '../../../src/core/mirror/accept.ts';
import { readHello } from '../../../src/core/mirror/forms.ts';
import { Link, type LinkKeeper, type LinkOwner } from '../../../src/core/mirror/link.ts';
import {
  commonVersion,
  decodeJson,
  encodeHeader,
  encodeJson,
  encodeMessage,
  encodeNumbers,
  HELLO_VERSION,
  MESSAGE_HEADER,
  MessageReader,
  PACKED_BODY,
  type MessageName,
  WIRE_VERSIONS,
  type WireVersions,
} from '../../../src/core/mirror/messages.ts';
import { digests } from '../../support/records.ts';
import { WatchedBuffers } from './watched-buffers.ts';

/** What was sent into one end, and whether that end was closed. */
class Port implements LinkPort {
  readonly backlogBytes = 0;
  identity: LinkIdentity | null = null;
  isClosed = false;
  sent: Uint8Array[] = [];

  send(parts: readonly Uint8Array[], sent?: () => void): void {
    for (const part of parts) this.sent.push(copyOf(part));
    sent?.();
  }

  close(): void {
    this.isClosed = true;
  }

  /** The messages that were sent since the last call, with what their JSON says. */
  take(): { name: MessageName; says: Record<string, unknown> | null; body: Uint8Array }[] {
    const reader = new MessageReader(digests, new WatchedBuffers());
    reader.bodyBytesMax = limits.messageBytesMax;
    const found: ReturnType<Port['take']> = [];
    for (const bytes of this.sent) {
      const wrong = reader.receive(bytes, ({ name, body }) => {
        found.push({ name, says: decodeJson(body), body: copyOf(body) });
        return true;
      });
      assert.equal(wrong, null);
    }
    this.sent = [];
    return found;
  }
}

/** A site that notes what it hears. */
class Owner implements LinkOwner {
  readonly group = 'db';
  readonly site: string;
  readonly groupId: string | null;
  readonly peers: readonly string[];
  readonly heard: string[] = [];
  /** Links of one connection. */
  readonly connections: LinkKeeper = {
    linkTo: () => null,
    streamsTo: () => 1,
    nameLink: () => 'none',
    streamNews: () => undefined,
  };

  constructor(site: string, groupId: string | null, peers: readonly string[]) {
    this.site = site;
    this.groupId = groupId;
    this.peers = peers;
  }

  knowsPeer(name: string): boolean {
    return this.peers.includes(name);
  }

  linkUp(link: Link): void {
    this.heard.push(`up ${link.peer}`);
  }

  linkRefused(): void {}
  linkMessage(link: Link, { name, body }: { name: MessageName; body: Uint8Array }): void {
    this.heard.push(`${name} from ${link.peer}, ${body.length} bytes`);
  }

  linkDown(link: Link, reason: string): void {
    this.heard.push(`down ${link.peer}: ${reason}`);
  }
}

const buffers = new WatchedBuffers();
const clock = { time: 0, now: (): number => clock.time, wall: (): number => 0 };
const hello = (says: Record<string, unknown>): Uint8Array => encodeMessage('hello', encodeJson(says), digests);
const FROM_NEAR = { group: 'db', groupId: 'g1', from: 'near', to: 'alpha' };

/** Packs zeroes only. */
const compression: Compression = {
  pack: (parts) => (parts.every((part) => part.every((byte) => byte === 0)) ? new Uint8Array([7]) : null),
  unpack: (bytes, byteCount) => (bytes.length === 1 && bytes[0] === 7 ? new Uint8Array(byteCount) : null),
};

function accepted(owner: Owner | null = new Owner('alpha', 'g1', ['near', 'far'])): { port: Port; owner: Owner; link: Link } {
  const port = new Port();
  const found = owner ?? new Owner('alpha', 'g1', []);
  const link = acceptLink(port, (group) => (owner !== null && group === owner.group ? owner : null), {
    clock,
    digests,
    buffers,
    compression,
  });
  return { port, owner: found, link: link as Link };
}

function dialled(owner: Owner = new Owner('alpha', 'g1', ['near', 'far']), peer = 'near'): { port: Port; owner: Owner; link: Link } {
  const port = new Port();
  const link = new Link({ port, digests, clock, buffers, compression, dialled: { owner, peer }, findOwner: () => owner });
  return { port, owner, link };
}

/** What the other side is told when it is turned away; null when it is not. */
function refusal(port: Port): string | null {
  const refused = port.take().find((message) => message.name === 'refuse');
  assert.equal(refused !== undefined, port.isClosed, 'whoever is turned away is told why and cut off');
  return refused === undefined ? null : String(refused.says?.['reason']);
}

describe('a connection that comes in', () => {
  test('is silent until the stranger has said who it is, then answers in kind', () => {
    const { port, owner, link } = accepted();
    assert.deepEqual(port.take(), []);
    link.receive(hello(FROM_NEAR));
    assert.deepEqual(
      port.take().map(({ name, body }) => [name, readHello(body)]),
      [['hello', { group: 'db', groupId: 'g1', from: 'alpha', to: 'near', versions: WIRE_VERSIONS, accepts: ['zstd', 'folded'] }]],
    );
    assert.deepEqual([owner.heard, link.up, link.peer, link.peerGroupId], [['up near'], true, 'near', 'g1']);
  });

  for (const [what, says, text] of [
    ['another group', { ...FROM_NEAR, group: 'web' }, 'there is no group "web" here'],
    ['another site', { ...FROM_NEAR, to: 'beta' }, 'this is site "alpha", not "beta"'],
    ['a site that has no copy', { ...FROM_NEAR, from: 'delta' }, 'site "delta" is not a copy of group "db"'],
    ['this very site', { ...FROM_NEAR, from: 'alpha' }, 'site "alpha" is not a copy of group "db"'],
    ['another group of the same name', { ...FROM_NEAR, groupId: 'g2' }, 'group "db" here is another one of the same name (g1, not g2)'],
  ] as const) {
    test(`from or to ${what} is refused with the reason`, () => {
      const { port, owner, link } = accepted();
      link.receive(hello(says));
      assert.equal(refusal(port), text);
      assert.deepEqual([owner.heard, link.open], [[], false]);
    });
  }

  for (const [what, identity, text] of [
    ['another site', { site: 'far', groups: null }, 'the certificate is not that of site "near"'],
    ['no site', { site: '', groups: null }, 'the certificate is not that of site "near"'],
    ['that site for other groups', { site: 'near', groups: ['web'] }, 'the certificate is not for group "db"'],
  ] as const) {
    test(`with a certificate of ${what} is refused, whatever its hello says`, () => {
      const { port, owner, link } = accepted();
      port.identity = identity;
      link.receive(hello(FROM_NEAR));
      assert.equal(refusal(port), text);
      assert.deepEqual([owner.heard, link.open], [[], false]);
      const outgoing = dialled();
      outgoing.port.take();
      outgoing.port.identity = identity;
      outgoing.link.receive(hello(FROM_NEAR));
      assert.equal(refusal(outgoing.port), text);
    });
  }

  test('with the certificate of the site and group that its hello names is welcome', () => {
    const { port, link } = accepted();
    port.identity = { site: 'near', groups: ['web', 'db'] };
    link.receive(hello(FROM_NEAR));
    assert.equal(link.up, true);
  });

  for (const [what, bytes, text] of [
    ['anything but a hello', encodeMessage('ping', new Uint8Array(0), digests), /the first message of a connection must be a hello/],
    ['a hello that is not one', hello({ group: 'db' }), /the first message of a connection must be a hello/],
    ['garbage', new TextEncoder().encode('SSH-2.0-OpenSSH_9.6\r\n and so on'), /not the bytes of a Tercet site/],
    ['a hello larger than any', encodeHeader('hello', { bytes: limits.helloBytesMax + 1, crc: 0 }, digests), /over the limit of 4096/],
  ] as const) {
    test(`that begins with ${what} is refused with the reason`, () => {
      const { port, owner, link } = accepted();
      link.receive(bytes);
      assert.match(refusal(port) ?? '', text);
      assert.deepEqual(owner.heard, []);
    });
  }

  test('between a site with a copy and one that has none yet is welcome, either way round', () => {
    const stranger = accepted();
    stranger.link.receive(hello({ ...FROM_NEAR, groupId: null }));
    assert.equal(stranger.link.up, true);
    const empty = accepted(new Owner('alpha', null, ['near']));
    empty.link.receive(hello(FROM_NEAR));
    assert.equal(empty.link.up, true);
  });
});

describe('a connection that goes out', () => {
  test('begins with a hello, and is up when the right site has answered', () => {
    const { port, owner, link } = dialled();
    assert.deepEqual(
      port.take().map(({ name, says }) => [name, says]),
      [['hello', { group: 'db', groupId: 'g1', from: 'alpha', to: 'near', versions: WIRE_VERSIONS, accepts: ['zstd', 'folded'] }]],
    );
    assert.equal(link.up, false);
    link.receive(hello(FROM_NEAR));
    assert.deepEqual([port.take(), owner.heard], [[], ['up near']]);
  });

  test('to a site that is answered by another one is refused', () => {
    const { port, link } = dialled();
    port.take();
    link.receive(hello({ ...FROM_NEAR, from: 'far' }));
    assert.equal(refusal(port), 'site "far" answers where "near" was expected');
  });

  test('to another group is refused', () => {
    const { port, link } = dialled();
    port.take();
    link.receive(hello({ ...FROM_NEAR, group: 'web' }));
    assert.equal(refusal(port), 'this is group "db", not "web"');
  });

  test('that is refused itself ends without a word', () => {
    const { port, owner, link } = dialled();
    port.take();
    link.receive(encodeMessage('refuse', encodeJson({ reason: 'no' }), digests));
    assert.deepEqual([port.take(), port.isClosed, link.open, owner.heard], [[], true, false, []]);
  });
});

describe('a connection that is up', () => {
  test('hands on every message that comes with its hello or after it', () => {
    const { owner, link } = accepted();
    const flush = encodeMessage('flush', new Uint8Array(16), digests);
    link.receive(new Uint8Array([...hello(FROM_NEAR), ...flush]));
    link.receive(flush.subarray(0, 30));
    link.receive(flush.subarray(30));
    assert.deepEqual(owner.heard, ['up near', 'flush from near, 16 bytes', 'flush from near, 16 bytes']);
  });

  test('takes larger messages than a stranger may send', () => {
    const { owner, link } = accepted();
    link.receive(hello(FROM_NEAR));
    link.receive(encodeMessage('state', new Uint8Array(limits.helloBytesMax + 1), digests));
    assert.deepEqual(owner.heard, ['up near', `state from near, ${limits.helloBytesMax + 1} bytes`]);
  });

  test('is refused and ended by bytes that are no message', () => {
    const { port, owner, link } = accepted();
    link.receive(hello(FROM_NEAR));
    port.take();
    link.receive(new Uint8Array(24));
    assert.match(refusal(port) ?? '', /not the bytes of a Tercet site/);
    assert.deepEqual(owner.heard, ['up near', 'down near: these are not the bytes of a Tercet site']);
  });

  test('delivers and sends nothing after its end, whatever the network still brings', () => {
    const { port, owner, link } = accepted();
    link.receive(hello(FROM_NEAR));
    port.take();
    link.close('a newer connection has come');
    link.receive(encodeMessage('flush', new Uint8Array(16), digests));
    link.send('ping', new Uint8Array(0));
    link.closed();
    link.refuse('again');
    assert.deepEqual([port.take(), port.isClosed], [[], true]);
    assert.deepEqual(owner.heard, ['up near', 'down near: a newer connection has come']);
  });

  test('that is ended by its owner in the middle of what came delivers nothing of the rest', () => {
    const owner = new Owner('alpha', 'g1', ['near']);
    const { link } = accepted(owner);
    owner.linkMessage = (ended, { name }) => {
      owner.heard.push(name);
      ended.close('enough');
    };
    const flush = encodeMessage('flush', new Uint8Array(16), digests);
    link.receive(new Uint8Array([...hello(FROM_NEAR), ...flush, ...flush]));
    assert.deepEqual(owner.heard, ['up near', 'flush', 'down near: enough']);
  });

  test('gives memory back that it was to send after its end', () => {
    const { link } = accepted();
    link.close('gone');
    let isBack = false;
    link.sendParts('frame', [new Uint8Array(8)], 0, () => {
      isBack = true;
    });
    assert.ok(isBack);
  });

  test('gives back the memory of a message that it ended in the middle of', () => {
    const { link } = accepted();
    link.receive(hello(FROM_NEAR));
    link.receive(encodeMessage('flush', new Uint8Array(16), digests).subarray(0, 30));
    assert.equal(buffers.outCount, 1);
    link.close('gone');
    assert.equal(buffers.outCount, 0);
  });

  test('sends a large body in parts as one message', () => {
    const { port, link } = accepted();
    link.receive(hello(FROM_NEAR));
    port.take();
    const parts = [new Uint8Array([1, 2, 3]), new Uint8Array([4, 5])];
    link.sendParts('image', parts, digests.crc32(new Uint8Array([1, 2, 3, 4, 5]), 0));
    assert.deepEqual(
      port.take().map(({ name, body }) => [name, [...body]]),
      [['image', [1, 2, 3, 4, 5]]],
    );
  });

  test('knows when it last heard and sent', () => {
    clock.time = 1000;
    const { link } = accepted();
    clock.time = 1200;
    link.receive(hello(FROM_NEAR).subarray(0, 5));
    assert.deepEqual([link.lastHeard, link.lastSent], [1200, 1000]);
    clock.time = 1300;
    link.send('ping', new Uint8Array(0));
    assert.deepEqual([link.lastHeard, link.lastSent], [1200, 1300]);
  });
});

describe('two sites of different versions', () => {
  /** Two ends that talk until both are silent. Returns the versions in the heads of what each sent. */
  function meet(near: WireVersions, alpha: WireVersions): { near: Link; alpha: Link; heads: number[][]; refusals: (string | null)[] } {
    const ports = [new Port(), new Port()] as const;
    const owners = [new Owner('near', 'g1', ['alpha']), new Owner('alpha', 'g1', ['near'])] as const;
    const common = { digests, clock, buffers, compression: null };
    const first = new Link({
      ...common,
      port: ports[0],
      dialled: { owner: owners[0], peer: 'alpha' },
      findOwner: () => owners[0],
      versions: near,
    });
    const second = new Link({ ...common, port: ports[1], dialled: null, findOwner: () => owners[1], versions: alpha });
    // As a site does: it says how it is as soon as the other one is known.
    for (const owner of owners) owner.linkUp = (link) => link.send('ping', new Uint8Array(0));
    const heads: number[][] = [[], []];
    const refusals: (string | null)[] = [null, null];
    for (let quiet = false; !quiet;) {
      quiet = true;
      for (const [side, to] of [second, first].entries()) {
        const port = ports[side] as Port;
        for (const bytes of port.sent.splice(0)) {
          quiet = false;
          const view = new DataView(bytes.buffer, bytes.byteOffset);
          heads[side]?.push(view.getUint16(MESSAGE_HEADER.at.version, true));
          if (view.getUint16(MESSAGE_HEADER.at.type, true) === 14)
            refusals[side] = String(decodeJson(bytes.subarray(MESSAGE_HEADER.bytes))?.['reason']);
          to.receive(bytes);
        }
      }
    }
    return { near: first, alpha: second, heads, refusals };
  }

  for (const [what, near, alpha, version] of [
    ['the same', [1, 1], [1, 1], 1],
    ['N and N-1', [1, 2], [1, 1], 1],
    ['N-1 and N', [1, 1], [1, 2], 1],
    ['N, each of which knows N-1', [1, 2], [1, 2], 2],
    ['N+1 that has given the first up, and N', [2, 3], [1, 2], 2],
  ] as const) {
    test(`${what}: the highest that both have is spoken, and the hellos stay as they were`, () => {
      const met = meet({ min: near[0], max: near[1] }, { min: alpha[0], max: alpha[1] });
      assert.deepEqual([met.near.up, met.alpha.up, met.near.version, met.alpha.version], [true, true, version, version]);
      assert.deepEqual(met.heads, [
        [HELLO_VERSION, version],
        [HELLO_VERSION, version],
      ]);
    });
  }

  test('that have none in common part with a sentence which says who has what', () => {
    const { near, alpha, refusals } = meet({ min: 3, max: 3 }, { min: 1, max: 2 });
    assert.deepEqual([near.open, alpha.open, near.up, alpha.up], [false, false, false, false]);
    assert.equal(
      refusals[1],
      'site "near" speaks version 3 of the protocol between sites, site "alpha" 1 to 2: upgrade the older one, no more than one version at a time',
    );
  });

  test('a hello without versions is of the first program, which speaks version 1', () => {
    const { link, port } = accepted();
    link.receive(hello(FROM_NEAR));
    assert.deepEqual([link.up, link.version, refusal(port)], [true, 1, null]);
  });

  test('a hello with versions that cannot be is none', () => {
    for (const versions of [{ min: 2, max: 1 }, { min: 0, max: 1 }, { min: 1 }, { min: 1, max: 70_000 }, 1, null]) {
      const { link, port } = accepted();
      link.receive(hello({ ...FROM_NEAR, versions }));
      assert.deepEqual([link.up, refusal(port)], [false, 'the first message of a connection must be a hello']);
    }
  });

  test('a message of another version than was agreed on ends the connection', () => {
    const { link, port } = accepted();
    link.receive(hello(FROM_NEAR));
    port.take();
    link.receive(encodeMessage('ping', new Uint8Array(0), digests, 2));
    assert.equal(refusal(port), 'the other side speaks version 2 of the protocol where 1 was expected: upgrade the older of the two sites');
  });

  test('what this program speaks includes the version of its hello, so that each can be told why', () => {
    assert.equal(commonVersion(WIRE_VERSIONS, { min: 1, max: 1 }), HELLO_VERSION);
  });
});

describe('packing', () => {
  const greeting = { group: 'db', groupId: 'g1', from: 'near', to: 'alpha' };
  const up = (accepts: object): ReturnType<typeof accepted> => {
    const end = accepted();
    end.link.receive(encodeMessage('hello', encodeJson({ ...greeting, ...accepts }), digests));
    end.link.packs = true;
    end.port.take();
    end.owner.heard.length = 0;
    return end;
  };
  const zstd = { accepts: ['zstd'] };
  const zeroes = new Uint8Array(8192);

  test('is offered in the hello', () => {
    const { port, link } = accepted();
    link.receive(hello(FROM_NEAR));
    assert.deepEqual(port.take()[0]?.says?.['accepts'], ['zstd', 'folded']);
  });

  test('is done where the other end takes it, for what becomes smaller, and comes back as it was', () => {
    const { port, link } = up(zstd);
    let freed = 0;
    assert.equal(
      link.sendParts('frame', [zeroes, zeroes], 0, () => freed++),
      PACKED_BODY.bytes + 1,
    );
    assert.equal(freed, 1);
    assert.deepEqual(link.traffic, { rawBytes: 16_384, sentBytes: PACKED_BODY.bytes + 1, foldedFrames: 0 });
    const [message] = port.take();
    assert.equal(message?.name, 'packed');
    const other = up(zstd);
    other.link.receive(encodeMessage('packed', message?.body as Uint8Array, digests));
    assert.deepEqual(other.owner.heard, ['frame from near, 16384 bytes']);
  });

  test('is not done where the other end does not take it, nor for small, very large or other messages', () => {
    for (const [accepts, packs, name, length] of [
      [{}, true, 'frame', 8192],
      [{ accepts: ['other'] }, true, 'frame', 8192],
      [zstd, false, 'frame', 8192],
      [zstd, true, 'frame', limits.packBytesMin - 1],
      [zstd, true, 'frame', limits.packBytesMax + 1],
      [zstd, true, 'bitmap', 8192],
    ] as const) {
      const { port, link } = up(accepts);
      link.packs = packs;
      assert.equal(link.sendParts(name, [new Uint8Array(length)], 0), length);
      assert.ok(link.open && port.sent.length === 2, 'head and body');
    }
  });

  test('rests after what did not become smaller', () => {
    const { link } = up(zstd);
    link.sendParts('frame', [new Uint8Array(8192).fill(1)], 0);
    const sent = Array.from({ length: 9 }, () => link.sendParts('frame', [zeroes], 0));
    assert.deepEqual(sent, [...Array.from({ length: 8 }, () => 8192), PACKED_BODY.bytes + 1]);
  });

  test('is refused where it is of another kind, too large, or does not unpack to what it tells', () => {
    const packed = (type: number, rawBytes: number, bytes: readonly number[]): Uint8Array =>
      new Uint8Array([...encodeNumbers(PACKED_BODY, [type, 0, rawBytes]), ...bytes]);
    for (const [body, why] of [
      [packed(8, 32, [7]), /kind 8 is never packed/],
      [packed(32, 32, [7]), /kind 32 is never packed/],
      [packed(6, limits.packBytesMax + 1, [7]), /over the limit/],
      [packed(6, 4096, [8]), /does not unpack to the 4096 bytes/],
      [new Uint8Array(7), /malformed/],
    ] as const) {
      const { port, link, owner } = up(zstd);
      link.receive(encodeMessage('packed', body, digests));
      assert.match(refusal(port) ?? '', why);
      assert.equal(owner.heard.length, 1, 'it hears of the end only');
    }
    const { port, link } = accepted();
    link.receive(encodeMessage('packed', packed(6, 4096, [7]), digests));
    assert.match(refusal(port) ?? '', /must be a hello/);
  });
});
