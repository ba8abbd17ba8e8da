// A daemon for tests of the control API: it knows group db, and remembers its orders.

import type { Control } from '../../../src/api/server.ts';
import { TercetError } from '../../../src/core/base/errors.ts';
import type { OrderOutcome } from '../../../src/core/site/contract.ts';
import { statusSample } from '../cli/sample.ts';

export const REFUSED: OrderOutcome = { kind: 'refused', text: 'beta may have newer records', remedy: 'start beta first' };

/** It refuses to promote without force. */
export function fakeControl(): Control & { readonly orders: string[] } {
  const orders: string[] = [];
  const known = (group: string): void => {
    if (group !== 'db') throw new TercetError('TERCET_NO_SUCH_GROUP', { group, known: 'db' });
  };
  return {
    orders,
    status: () => ({ site: 'alpha', version: '0.1.0', tls: null, groups: [statusSample()] }),
    explain: async (group) => {
      known(group);
      return { site: 'alpha', group, sentences: ['alpha serves hosts.'], decisions: [] };
    },
    create: async (group) => {
      known(group);
      orders.push(`create ${group}`);
      return { kind: 'done', text: 'created' };
    },
    promote: async (group, { force }) => {
      known(group);
      orders.push(`promote ${group} ${force}`);
      return force ? { kind: 'done', text: 'promoted' } : REFUSED;
    },
    resync: async (group, { site, algorithm, compare }) => {
      known(group);
      orders.push(`resync ${group} ${site} ${algorithm} ${compare}`);
      return { kind: 'done', text: 'compared' };
    },
    pause: async (group, { site, force }) => {
      known(group);
      orders.push(`pause ${group} ${site} ${force}`);
      return { kind: 'done', text: 'paused' };
    },
    resume: async (group, site) => {
      known(group);
      orders.push(`resume ${group} ${site}`);
      return { kind: 'done', text: 'resumed' };
    },
    switchover: async (group, { to, dryRun }) => {
      known(group);
      orders.push(`switchover ${group} ${to} ${dryRun}`);
      return { kind: 'done', text: 'handed over' };
    },
    replaceWitness: async (group) => {
      known(group);
      orders.push(`replace-witness ${group}`);
      return { kind: 'done', text: 'it reports' };
    },
    drain: async (group) => {
      known(group);
      orders.push(`drain ${group}`);
      return { kind: 'done', text: 'drained' };
    },
  };
}
