// Which lines of the journal are events for others. The journal is written where things happen, so nothing that lasts less than a look is missed.

import type { EventDraft } from './events.ts';

type Facts = Readonly<Record<string, unknown>>;
type Reading = Pick<EventDraft, 'kind' | 'peer'> & { readonly facts?: Facts };

const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);

const readings: Readonly<Record<string, (facts: Facts) => Reading | null>> = {
  role: () => ({ kind: 'role', peer: null }),
  serving: () => ({ kind: 'serving', peer: null }),
  'link.up': (facts) => ({ kind: 'connect', peer: text(facts['peer']) }),
  'link.down': (facts) => ({ kind: 'disconnect', peer: text(facts['peer']) }),
  // A mirror that joins and lacks nothing is no resync.
  'resync.begin': (facts) => (facts['records'] === 0 ? null : { kind: 'resync-start', peer: text(facts['site']) }),
  'mirror.copied': (facts) => (facts['rung'] === 'scan' ? { kind: 'scan-done', peer: text(facts['site']) } : null),
  'mirror.diverged': () => ({ kind: 'diverged', peer: null }),
  'mirror.committed-cut': () => ({ kind: 'diverged', peer: null }),
  'mirror.cut-back': () => ({ kind: 'cut-back', peer: null }),
  writers: ({ site }) => ({ kind: 'writers', peer: typeof site === 'string' ? site : null }),
  'pause.done': ({ site }) => ({ kind: 'paused', peer: text(site) }),
  'pause.kept': ({ site }) => ({ kind: 'paused', peer: text(site) }),
  'pause.end': ({ site }) => ({ kind: 'resumed', peer: text(site) }),
  'mode.done': ({ site }) => ({ kind: 'mode', peer: text(site) }),
  'add.done': ({ site }) => ({ kind: 'member', peer: text(site), facts: { member: true } }),
  'remove.done': ({ site }) => ({ kind: 'member', peer: text(site), facts: { member: false } }),
  'point.begin': () => ({ kind: 'point', peer: null }),
  'point.end': () => ({ kind: 'point-ended', peer: null }),
  'point.lost': () => ({ kind: 'point-lost', peer: null }),
  'coverage.lost': () => ({ kind: 'coverage-lost', peer: null }),
  'exclude.done': (facts) => ({ kind: 'flag', peer: text(facts['site']), facts: { ...facts, flag: false } }),
  'admit.done': (facts) => ({ kind: 'flag', peer: text(facts['site']), facts: { ...facts, flag: true } }),
  'witness.reachable': () => ({ kind: 'witness', peer: null, facts: { reachable: true } }),
  'witness.unreachable': () => ({ kind: 'witness', peer: null, facts: { reachable: false } }),
  'agreement.made': (facts) => agreement('made', facts['with']),
  'agreement.given-back': (facts) => agreement('given-back', facts['with']),
  'agreement.used': (facts) => agreement('used', facts['without']),
  'agreement.told': (facts) => agreement('told', facts['without']),
  'agreement.left': (facts) => agreement('left', facts['to']),
  'agreement.over': (facts) => agreement('over', facts['with']),
  'replica.unclean': () => ({ kind: 'unclean', peer: null }),
  'site.failed': () => ({ kind: 'failed', peer: null }),
  force: () => ({ kind: 'force', peer: null }),
  ready: () => ({ kind: 'started', peer: null }),
  'verify.begin': () => ({ kind: 'verify-start', peer: null }),
  'verify.found': (facts) => (facts['number'] === 1 ? { kind: 'damage', peer: null } : null),
  'verify.end': () => ({ kind: 'verify-done', peer: null }),
  reload: () => ({ kind: 'reload', peer: null }),
};

function agreement(state: string, peer: unknown): Reading {
  return { kind: 'agreement', peer: text(peer), facts: { state } };
}

/** The event that a line of the journal is; null for most. */
export function eventOfLine(name: string, facts: Facts, sentence: string): EventDraft | null {
  const reading = readings[name]?.(facts) ?? null;
  if (reading === null) return null;
  const { group, ...others } = facts;
  return { facts: others, ...reading, group: text(group), text: sentence };
}
