// Who the copies are, as one site knows and wants them: what a primary does about a peer, and what is said of what is waited for.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Member, Mode } from '../../../src/core/base/copies.ts';
import type { PeerState } from '../../../src/core/mirror/forms.ts';
import { FollowedPeer } from '../../../src/core/mirror/followed.ts';
import type { Link } from '../../../src/core/mirror/link.ts';
import { Peer } from '../../../src/core/mirror/peer.ts';
import type { SiteOptions } from '../../../src/core/site/contract.ts';
import type { Lead } from '../../../src/core/site/lead.ts';
import { Members } from '../../../src/core/site/members.ts';

const member = (site: string, mode: Mode): Member => ({ site, mode });
const AS_IT_IS = [member('prim', 'sync'), member('near', 'sync'), member('far', 'async')];

/** Members at prim, which leads, with a configuration; every peer is connected and follows. */
class Group {
  readonly peers: Map<string, Peer>;
  readonly followed = new Map<string, FollowedPeer>();
  readonly members: Members;

  constructor(wish: readonly Member[], copies: readonly Member[] = AS_IT_IS) {
    const sites = wish.map(({ site, mode }) => ({ name: site, mode }));
    this.peers = new Map(sites.filter(({ name }) => name !== 'prim').map(({ name, mode }) => [name, new Peer(name, mode)]));
    const options = { site: 'prim', group: 'db', sites, shell: { wake: () => undefined } } as unknown as SiteOptions;
    this.members = new Members({ options, peers: this.peers, lead: () => ({ followed: this.followed }) as unknown as Lead });
    this.members.begin({ copies: copies.map((copy) => ({ ...copy, flag: true })) });
    const strangers = copies.filter(({ site }) => site !== 'prim' && !this.peers.has(site)).map(({ site, mode }) => new Peer(site, mode));
    for (const peer of [...this.peers.values(), ...strangers]) {
      const followed = new FollowedPeer(peer, 'true', 0.02, 0);
      followed.entered = copies.some(({ site }) => site === peer.name);
      followed.attached = 'following';
      this.followed.set(peer.name, followed);
      this.says(peer.name, wish);
    }
  }

  says(site: string, wish: readonly Member[] | null): void {
    const peer = this.peers.get(site);
    if (peer === undefined) return;
    peer.link = {} as Link;
    peer.said = wish === null ? null : ({ role: 'mirror', wish } as unknown as PeerState);
  }

  step(site: string): string | null {
    const step = this.members.stepFor(this.followed.get(site) as FollowedPeer);
    return step === null ? null : Object.values(step).join(' ');
  }

  waits(): readonly string[] {
    return this.members.waiting().map(({ what, cause }) => `${what}: ${cause}`);
  }
}

test('nothing is done, and nothing waited for, where the configuration is as it is', () => {
  const group = new Group(AS_IT_IS);
  assert.deepEqual([group.step('near'), group.step('far'), group.waits()], [null, null, []]);
});

test('a mode changes once every site that is connected has read the same', () => {
  const wish = AS_IT_IS.map((copy) => member(copy.site, 'sync'));
  const group = new Group(wish);
  assert.equal(group.step('far'), 'mode sync');
  group.says('near', AS_IT_IS);
  assert.equal(group.step('far'), null);
  assert.deepEqual(group.waits(), ['to mirror far as sync: the configuration of near says something else']);
  group.says('near', null);
  assert.equal(group.step('far'), null, 'it has not said yet');
  (group.peers.get('near') as Peer).link = null;
  assert.equal(group.step('far'), 'mode sync', 'one that is away does not count');
});

test('two copies are swapped by bringing the one in first', () => {
  const group = new Group([member('prim', 'sync'), member('near', 'async'), member('far', 'sync')]);
  assert.deepEqual([group.step('near'), group.step('far')], [null, 'mode sync']);
  assert.deepEqual(group.waits()[0], 'to mirror near as async: no other sync copy would be in step with prim');
  (group.peers.get('far') as Peer).mode = 'sync';
  group.members.changed('far', 'sync');
  assert.equal(group.step('near'), 'mode async');
});

test('a copy that the configuration does not have is removed, and excluded whatever others say', () => {
  const group = new Group([member('prim', 'sync'), member('far', 'async')]);
  const near = group.followed.get('near') as FollowedPeer;
  assert.deepEqual([group.step('near'), group.members.isStranger(near)], ['remove', true]);
  group.says('far', AS_IT_IS);
  assert.deepEqual([group.step('near'), group.members.isStranger(near)], [null, true]);
  assert.deepEqual(group.waits(), ['to remove near: the configuration of far says something else']);
});

test('a copy that the group does not have is added, with the mode of the configuration', () => {
  const group = new Group([...AS_IT_IS, member('third', 'async')]);
  assert.equal(group.step('third'), 'add async');
  assert.deepEqual(group.waits(), ['to add third: the flag of third is to be false first']);
});

test('a primary that is to be another thing says that another one has to serve first', () => {
  const group = new Group([member('prim', 'async'), member('near', 'sync'), member('far', 'async')]);
  assert.deepEqual(group.waits(), ['to mirror prim as async: prim is primary']);
});

test('what was noted of the witness counts, and not what the file has come to say', () => {
  const group = new Group(AS_IT_IS);
  group.members.opened([member('prim', 'sync'), member('near', 'sync')], 1);
  assert.deepEqual(group.members.list, [member('prim', 'sync'), member('near', 'sync')]);
});

test('what a primary has said before the copy is open counts, unless that one is of an older epoch', () => {
  const noted = [member('prim', 'sync'), member('near', 'sync')];
  for (const epoch of [3, 5]) {
    const peers = new Map(['near', 'far'].map((name) => [name, new Peer(name, name === 'far' ? 'async' : 'sync')]));
    const sites = noted.map(({ site, mode }) => ({ name: site, mode }));
    const options = { site: 'prim', group: 'db', sites, shell: { wake: () => undefined } } as unknown as SiteOptions;
    const members = new Members({ options, peers, lead: () => null });
    const said = { role: 'primary', epoch, members: AS_IT_IS } as unknown as PeerState;
    (peers.get('near') as Peer).said = said;
    members.heard(said, 0);
    members.opened(noted, 4);
    assert.deepEqual(members.list, epoch === 5 ? AS_IT_IS : noted);
  }
});
