// A group at the witness, for tests of its steps: what was asked, and a picture of what it leads to.

import assert from 'node:assert/strict';
import {
  type AddOperation,
  type AdmitOperation,
  apply,
  type ClaimOperation,
  type CreateOperation,
  type DeleteOperation,
  type ExcludeOperation,
  type ForceOperation,
  type HandoverOperation,
  type ModeOperation,
  type RefusalReason,
  type RemoveOperation,
  type ResignOperation,
  type WitnessAnswer,
  type WitnessOperation,
  type WitnessState,
} from '../../src/core/arbiter/witness-state.ts';

export const INSTANCE = 'witness-1';
export const creation: CreateOperation = {
  kind: 'create',
  requestId: 'create-1',
  group: 'vm',
  from: 'primary',
  groupId: 'id-1',
  copies: [
    { site: 'primary', mode: 'sync' },
    { site: 'near', mode: 'sync' },
    { site: 'far', mode: 'async' },
  ],
  first: 'primary',
};

/** The fields that each kind needs beside those of every request. */
type Fields =
  | Omit<ClaimOperation, 'requestId' | 'group' | 'revision'>
  | Omit<ExcludeOperation, 'requestId' | 'group' | 'revision'>
  | Omit<AdmitOperation, 'requestId' | 'group' | 'revision'>
  | Omit<HandoverOperation, 'requestId' | 'group' | 'revision'>
  | Omit<ModeOperation, 'requestId' | 'group' | 'revision'>
  | Omit<AddOperation, 'requestId' | 'group' | 'revision'>
  | Omit<RemoveOperation, 'requestId' | 'group' | 'revision'>
  | Omit<ResignOperation, 'requestId' | 'group' | 'revision'>
  | Omit<ForceOperation, 'requestId' | 'group' | 'revision'>
  | Omit<DeleteOperation, 'requestId' | 'group' | 'revision'>;

/** A group at the witness and everything that was answered so far. */
export class Group {
  state: WitnessState | null = null;
  #requests = 0;

  do(operation: WitnessOperation, instance: string = INSTANCE): WitnessAnswer {
    const { state, answer } = apply(this.state, operation, instance);
    this.state = state;
    return answer;
  }

  /** Asks with a new id on the current revision, or another one. */
  ask(fields: Fields, other: { revision?: number; requestId?: string; instance?: string } = {}): WitnessAnswer {
    const { requestId = `request-${++this.#requests}`, revision = this.state?.revision ?? 0 } = other;
    return this.do({ ...fields, requestId, group: 'vm', revision }, other.instance);
  }

  done(fields: Fields): void {
    const answer = this.ask(fields);
    assert.equal(answer.outcome, 'done', JSON.stringify(answer));
  }

  refused(reason: RefusalReason, fields: Fields, other: { revision?: number; instance?: string } = {}): string {
    const before = this.picture();
    const answer = this.ask(fields, other);
    assert.equal(answer.outcome, 'refused', JSON.stringify(answer));
    assert.equal(answer.outcome === 'refused' && answer.reason, reason);
    assert.equal(this.picture(), before, 'a refusal changes nothing');
    return answer.outcome === 'refused' ? answer.text : '';
  }

  /** "r4 e2 near primary- near+ far+": revision, epoch, primary, flags. */
  picture(): string {
    if (this.state === null) return 'none';
    const { revision, epoch, primary, copies } = this.state;
    return `r${revision} e${epoch} ${primary ?? 'nobody'} ${copies.map((copy) => `${copy.site}${copy.flag ? '+' : '-'}`).join(' ')}`;
  }
}

/** A new group. */
export function created(): Group {
  const group = new Group();
  assert.equal(group.do(creation).outcome, 'done');
  return group;
}

/** Primary serves in epoch 1, near and far admitted. */
export function mirrored(): Group {
  const group = created();
  group.done({ kind: 'claim', from: 'primary', epoch: 0 });
  group.done({ kind: 'admit', from: 'primary', site: 'near', epoch: 1 });
  group.done({ kind: 'admit', from: 'primary', site: 'far', epoch: 1 });
  assert.equal(group.picture(), 'r4 e1 primary primary+ near+ far+');
  return group;
}
