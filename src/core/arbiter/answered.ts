// What the witness keeps of the operations that it has answered: enough to give the same answer to the same question, and little enough to share a
// slot with the state.

import { unreachable } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { AnsweredRequest, RefusalReason, WitnessOperation, WitnessState } from './witness-state.ts';

/** Adds an answered request. When there are too many, refusals go first, oldest first: a confused site must not push out another's claim. */
export function remember(state: WitnessState, operation: WitnessOperation, refused: RefusalReason | null): WitnessState {
  const { revision, epoch, primary } = state;
  const copies = state.copies.map((copy) => [copy.site, copy.mode, copy.flag] as const);
  const requests = [
    ...state.requests,
    { id: operation.requestId, content: contentOf(operation), refused, revision, epoch, primary, copies },
  ];
  let byteCount = requests.reduce((sum, request) => sum + bytesOf(request), 0);
  while (requests.length > limits.witnessRequestsMax || byteCount > limits.witnessRequestsBytesMax) {
    const oldestRefused = requests.findIndex((request) => request.refused !== null);
    const [dropped] = requests.splice(Math.max(oldestRefused, 0), 1);
    if (dropped !== undefined) byteCount -= bytesOf(dropped);
  }
  return { ...state, requests };
}

/** Bytes of a remembered request as JSON with its comma; all its text is ASCII. */
function bytesOf(request: AnsweredRequest): number {
  return JSON.stringify(request).length + 1;
}

/** One line that is equal for equal operations only: no name holds a space. */
export function contentOf(operation: WitnessOperation): string {
  const { kind, from } = operation;
  switch (operation.kind) {
    case 'create': {
      const copies = operation.copies.map(({ site, mode }) => `${site} ${mode}`).sort();
      return `${kind} ${from} ${operation.groupId} ${operation.first} ${copies.join(' ')}`;
    }
    case 'claim':
      return `${kind} ${from} ${operation.revision} ${operation.epoch} ${operation.byHand === true ? 'by-hand' : 'by-itself'}`;
    case 'exclude':
    case 'admit':
    case 'force':
    case 'remove':
      return `${kind} ${from} ${operation.revision} ${operation.epoch} ${operation.site}`;
    case 'handover':
      return `${kind} ${from} ${operation.revision} ${operation.epoch} ${operation.to}`;
    case 'mode':
    case 'add':
      return `${kind} ${from} ${operation.revision} ${operation.epoch} ${operation.site} ${operation.mode}`;
    case 'resign':
      return `${kind} ${from} ${operation.revision}`;
    case 'delete':
      return `${kind} ${from} ${operation.revision} ${operation.groupId} ${operation.force === true ? 'force' : 'primary'}`;
    case 'read':
    case 'prove':
    case 'report':
      return `${kind} ${from}`;
    default:
      return unreachable(operation);
  }
}
