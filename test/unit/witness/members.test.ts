// The witness's steps that change who the copies are and how each is mirrored.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { AdmitOperation, WitnessState } from '../../../src/core/arbiter/witness-state.ts';
import { limits } from '../../../src/core/base/limits.ts';
import { type Group, mirrored } from '../../support/witness-group.ts';

describe('mode, add and remove', () => {
  const modesOf = (group: Group): string => (group.state as WitnessState).copies.map(({ site, mode }) => `${site} ${mode}`).join(', ');

  test('a mode changes once the flag is false, and the flag stays false', () => {
    const group = mirrored();
    group.refused('flag-true', { kind: 'mode', from: 'primary', site: 'near', mode: 'async', epoch: 1 });
    group.refused('flag-true', { kind: 'mode', from: 'primary', site: 'far', mode: 'sync', epoch: 1 });
    group.done({ kind: 'exclude', from: 'primary', site: 'far', epoch: 1 });
    group.done({ kind: 'mode', from: 'primary', site: 'far', mode: 'sync', epoch: 1 });
    assert.equal(group.picture(), 'r6 e1 primary primary+ near+ far-');
    assert.equal(modesOf(group), 'primary sync, near sync, far sync');
    group.refused('flag-false', { kind: 'claim', from: 'far', epoch: 1 });
    group.done({ kind: 'admit', from: 'primary', site: 'far', epoch: 1 });
    group.done({ kind: 'claim', from: 'far', epoch: 1 });
    assert.equal(group.picture(), 'r8 e2 far primary- near- far+');
  });

  test('a mode that is so already is done without a change', () => {
    const group = mirrored();
    group.done({ kind: 'mode', from: 'primary', site: 'near', mode: 'sync', epoch: 1 });
    assert.equal(group.picture(), 'r4 e1 primary primary+ near+ far+');
  });

  test('a change of the mode fences an admission that is on its way', () => {
    const group = mirrored();
    group.done({ kind: 'exclude', from: 'primary', site: 'far', epoch: 1 });
    const late: AdmitOperation = { kind: 'admit', requestId: 'late', group: 'vm', from: 'primary', site: 'far', epoch: 1, revision: 5 };
    group.done({ kind: 'mode', from: 'primary', site: 'far', mode: 'sync', epoch: 1 });
    const answer = group.do(late);
    assert.equal(answer.outcome === 'refused' && answer.reason, 'revision');
  });

  test('a copy that is entered has a false flag, and its name cannot be entered with another mode', () => {
    const group = mirrored();
    group.done({ kind: 'add', from: 'primary', site: 'third', mode: 'sync', epoch: 1 });
    assert.equal(group.picture(), 'r5 e1 primary primary+ near+ far+ third-');
    group.done({ kind: 'add', from: 'primary', site: 'third', mode: 'sync', epoch: 1 });
    assert.equal(group.state?.revision, 5);
    group.refused('exists-different', { kind: 'add', from: 'primary', site: 'third', mode: 'async', epoch: 1 });
    group.refused('flag-false', { kind: 'claim', from: 'third', epoch: 1 });
    for (let i = 4; i < limits.groupSitesMax; i++) group.done({ kind: 'add', from: 'primary', site: `s${i}`, mode: 'async', epoch: 1 });
    group.refused('too-many', { kind: 'add', from: 'primary', site: 'more', mode: 'async', epoch: 1 });
  });

  test('a copy is struck out once its flag is false, and then is granted nothing', () => {
    const group = mirrored();
    group.refused('flag-true', { kind: 'remove', from: 'primary', site: 'near', epoch: 1 });
    group.done({ kind: 'exclude', from: 'primary', site: 'near', epoch: 1 });
    group.done({ kind: 'remove', from: 'primary', site: 'near', epoch: 1 });
    assert.equal(group.picture(), 'r6 e1 primary primary+ far+');
    group.refused('not-a-copy', { kind: 'claim', from: 'near', epoch: 1 });
    group.refused('not-a-copy', { kind: 'force', from: 'near', site: 'near', epoch: 1 });
    group.done({ kind: 'remove', from: 'primary', site: 'near', epoch: 1 });
    assert.equal(group.state?.revision, 6);
  });

  test('are for the primary of the current epoch, and never about itself', () => {
    const group = mirrored();
    for (const change of [{ kind: 'mode', mode: 'async' }, { kind: 'remove' }] as const) {
      group.refused('not-primary', { ...change, from: 'near', site: 'far', epoch: 1 });
      group.refused('epoch', { ...change, from: 'primary', site: 'far', epoch: 0 });
      group.refused('not-a-copy', { ...change, from: 'primary', site: 'primary', epoch: 1 });
    }
    group.refused('not-a-copy', { kind: 'mode', from: 'primary', site: 'elsewhere', mode: 'sync', epoch: 1 });
    group.refused('not-primary', { kind: 'add', from: 'near', site: 'third', mode: 'sync', epoch: 1 });
    group.refused('not-a-copy', { kind: 'add', from: 'elsewhere', site: 'elsewhere', mode: 'sync', epoch: 1 });
  });
});
