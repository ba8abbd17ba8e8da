// Bugs in the changes of who the copies are and how each is mirrored.

import type { Edit, PlantedBug } from '../planted.ts';

const CHANGES = 'site/member-changes.ts';
const MEMBERSHIP = 'site/membership.ts';
const WITNESS = 'arbiter/witness-state.ts';

/** Whoever leaves this out has neither this site nor the witness look at the flag. */
const NOT_EXCLUDED: Edit = {
  file: MEMBERSHIP,
  find: 'const changes = this.#changes.excludes(peer);',
  replace: 'const changes = false;',
};

export const MEMBER_BUGS: readonly PlantedBug[] = [
  {
    name: 'the mode of a copy changes while its flag is true',
    breaks: '20 mode',
    edits: [
      NOT_EXCLUDED,
      {
        file: WITNESS,
        find: "  if (target.flag) return 'flag-true';\n  return { revision: state.revision + 1, copies: state.copies.map",
        replace: '  return { revision: state.revision + 1, copies: state.copies.map',
      },
      {
        file: CHANGES,
        find: "if (peer.flag !== 'false' || (step === null && open === undefined)) continue;",
        replace: 'if (step === null && open === undefined) continue;',
      },
    ],
  },
  {
    name: 'a copy counts as what it is to be from the moment in which that is wanted',
    breaks: '20 mode',
    edits: [
      {
        file: MEMBERSHIP,
        find: 'const changes = this.#changes.excludes(peer);',
        replace:
          "const changes = this.#changes.excludes(peer);\n      if (changes) peer.peer.mode = peer.peer.mode === 'sync' ? 'async' : 'sync';",
      },
    ],
  },
  {
    name: 'a new primary takes the modes of its own configuration for those of the group',
    breaks: '20 mode',
    edits: [
      {
        file: 'site/members.ts',
        find: 'const peer = peersToo ? this.#ground.peers.get(site) : undefined;',
        replace: 'const peer = undefined as Peer | undefined;',
      },
    ],
  },
  { name: 'a copy whose mode is to change is not excluded for it', breaks: 'L1 liveness', edits: [NOT_EXCLUDED] },
  {
    name: 'a change of a mode ends with the question, whatever the answer',
    breaks: '20 mode',
    edits: [
      {
        file: CHANGES,
        find: '    this.#asking = peer;\n    // One that is asked for again',
        replace:
          "    this.#asking = peer;\n    peer.flag = 'maybe';\n    if (step.kind === 'mode') peer.peer.mode = step.mode;\n    // One that is asked for again",
      },
    ],
  },
  {
    name: 'a change that the witness does not understand counts as done',
    breaks: '20 mode',
    edits: [
      {
        file: CHANGES,
        find: 'const notUnderstood = (): void => ended(() => this.#givenUp(peer, step));',
        replace:
          "const notUnderstood = (): void => ended(() => (step.kind === 'mode' ? this.#done(peer, step, step.mode) : this.#givenUp(peer, step)));",
      },
    ],
  },
  {
    name: 'a question that was given up is taken for one that is never carried out',
    breaks: '20 mode',
    edits: [{ file: CHANGES, find: '    this.#open.set(peer, step);', replace: '' }],
  },
  {
    name: 'a copy is struck out while its flag is true',
    breaks: '21 member',
    edits: [
      {
        file: CHANGES,
        find: "return peer.flag !== 'false' && (this.concerns(peer) || this.#ground.members.isStranger(peer));",
        replace: "return peer.flag !== 'false' && this.#ground.members.stepFor(peer)?.kind === 'mode';",
      },
      {
        file: WITNESS,
        find: "  if (target.flag) return 'flag-true';\n  return { revision: state.revision + 1, copies: state.copies.filter",
        replace: '  return { revision: state.revision + 1, copies: state.copies.filter',
      },
      {
        file: CHANGES,
        find: "if (peer.flag !== 'false' || (step === null && open === undefined)) continue;",
        replace: 'if (step === null && open === undefined) continue;',
      },
    ],
  },
  {
    name: 'a copy that the group does not have yet follows',
    breaks: '21 member',
    edits: [{ file: 'site/lead.ts', find: 'if (!peer.entered || (peer.paused', replace: 'if ((peer.paused' }],
  },
  {
    name: 'a primary does not wait for a copy that it has no configuration of before a volume grows',
    breaks: '17 growth',
    edits: [
      {
        file: 'site/growth.ts',
        find: 'const said = [...lead.followed.values()].map(({ peer }) => peer.said);',
        replace:
          'const named = [...lead.followed.values()].filter(({ site }) => this.#ground.options.sites.some(({ name }) => name === site));\n    const said = named.map(({ peer }) => peer.said);',
      },
    ],
  },
];
