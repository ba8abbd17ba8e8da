// Why the witness refuses an operation, in words: what is wrong, and what to do.

import { unreachable } from '../base/assert.ts';
import type { RefusalReason, WitnessOperation, WitnessView } from './witness-state.ts';

/** What is wrong and what to do, for people. */
export function refusalText(reason: RefusalReason, operation: WitnessOperation, view: WitnessView | null): string {
  const asked = `${operation.kind} of group "${operation.group}" by ${operation.from}`;
  const askedEpoch = 'epoch' in operation ? operation.epoch : 'report' in operation ? operation.report.epoch : null;
  const askedRevision = 'revision' in operation ? operation.revision : 'report' in operation ? operation.report.revision : null;
  const copies = (view?.copies ?? ('copies' in operation ? operation.copies : [])).map((copy) => copy.site).join(', ');
  const reign = view === null ? '' : `epoch ${view.epoch}, primary ${view.primary ?? 'none'}`;
  switch (reason) {
    case 'unknown-group':
      return `${asked}: this witness knows no such group; create it first, or check the witness's address`;
    case 'revision':
      return `${asked}: decided on revision ${askedRevision}, the group is at ${view?.revision}; read it and decide again`;
    case 'epoch':
      return `${asked}: decided in epoch ${askedEpoch}, the group is in ${reign}; read it and follow that primary`;
    case 'not-primary':
      return `${asked}: only the primary may do this, and the group is in ${reign}; read it and follow that primary`;
    case 'flag-false':
      return `${asked}: the flag of ${falseFlags(operation, view)} is false, that copy may lack writes; let it catch up with the primary`;
    case 'not-a-copy':
      return `${asked}: it names a site that is not one of the copies it may mean (${copies}); check the configuration`;
    case 'mode':
      return `${asked}: the copy it names is mirrored asynchronously and may lack writes; use a sync copy, or promote it by hand`;
    case 'last-copy':
      return `${asked}: no other sync copy is known to be complete; bring another one in sync first`;
    case 'flag-true':
      return `${asked}: the flag of the copy that it names is true, so that copy may take over at any moment; exclude it first`;
    case 'too-many':
      return `${asked}: the group has as many copies as it may have (${copies}); remove one first`;
    case 'exists-different':
      return `${asked}: a group of this name exists with other copies or another identity; use another name`;
    case 'unseeded':
      return `${asked}: this witness was replaced, restored or put back and may know less than the copies; \`tercet witness replace ${operation.group}\` has them report, or an operator must name the survivor`;
    case 'other-witness':
      return `${asked}: it was meant for another witness, ${operation.seen?.instance}, and this is ${view?.instance}; look at its address`;
    case 'deleted':
      return `${asked}: this group was deleted, and none of its copies serves again; \`tercet delete\` removes them, \`tercet create\` makes a new group`;
    case 'request-id-reused':
      return `${asked}: its request id was used for another operation; a new operation needs a new id`;
    default:
      return unreachable(reason);
  }
}

/** The sites of an operation whose flags must be true and are not. */
function falseFlags(operation: WitnessOperation, view: WitnessView | null): string {
  const sites = operation.kind === 'handover' ? [operation.from, operation.to] : [operation.from];
  return sites.filter((site) => view?.copies.find((copy) => copy.site === site)?.flag === false).join(' and ');
}
